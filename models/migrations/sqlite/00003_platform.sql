-- +goose Up
-- Platform mode: what the server keeps and cannot read. Each key is wrapped for
-- somebody who holds a token; nothing here opens with a server key.
ALTER TABLE grants ADD COLUMN scopes text;
ALTER TABLE vaults ADD COLUMN generation integer NOT NULL DEFAULT 1;
ALTER TABLE vaults ADD COLUMN rotation_due_at datetime;
ALTER TABLE vaults ADD COLUMN key_id integer NOT NULL DEFAULT 0;
ALTER TABLE vaults ADD COLUMN mac blob;

ALTER TABLE tokens ADD COLUMN owner text NOT NULL DEFAULT '';
ALTER TABLE tokens ADD COLUMN bridge text NOT NULL DEFAULT '';
ALTER TABLE tokens ADD COLUMN scheme text NOT NULL DEFAULT '';
ALTER TABLE tokens ADD COLUMN superseded_at datetime;
DROP INDEX tokens_service;
CREATE UNIQUE INDEX tokens_service ON tokens (account_id, vault_id, service_name, owner, bridge, scheme) WHERE superseded_at IS NULL;
CREATE INDEX tokens_superseded ON tokens (account_id, vault_id) WHERE superseded_at IS NOT NULL;

CREATE INDEX grants_vault ON grants (account_id, vault_id) WHERE vault_id IS NOT NULL;
CREATE INDEX grants_live ON grants (account_id, id) WHERE ended_at IS NULL;
CREATE INDEX credential_grants_token ON credential_grants (account_id, token_id);
CREATE INDEX credential_grants_due ON credential_grants (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE vault_keys (
    account_id text        NOT NULL,
    grant_id   text        NOT NULL,
    vault_id   text        NOT NULL,
    generation integer      NOT NULL,
    slot       integer      NOT NULL,
    form       text        NOT NULL,
    sender_id  text,
    wrapped    blob       NOT NULL,
    created_at datetime NOT NULL,
    key_id     integer     NOT NULL,
    mac        blob       NOT NULL,
    PRIMARY KEY (account_id, grant_id, vault_id, generation, slot),
    FOREIGN KEY (account_id, grant_id) REFERENCES grants (account_id, id),
    FOREIGN KEY (account_id, vault_id) REFERENCES vaults (account_id, id)
);
CREATE INDEX vault_keys_vault ON vault_keys (account_id, vault_id);

CREATE TABLE credentials (
    account_id   text        NOT NULL,
    id           text        NOT NULL,
    vault_id     text        NOT NULL,
    generation   integer      NOT NULL,
    epoch        integer      NOT NULL,
    version      integer      NOT NULL,
    sealed       blob       NOT NULL,
    rekey_due_at datetime,
    updated_at   datetime NOT NULL,
    PRIMARY KEY (account_id, id),
    FOREIGN KEY (account_id, id) REFERENCES tokens (account_id, id),
    FOREIGN KEY (account_id, vault_id) REFERENCES vaults (account_id, id)
);
CREATE INDEX credentials_vault ON credentials (account_id, vault_id);

CREATE TABLE credential_keys (
    account_id    text        NOT NULL,
    credential_id text        NOT NULL,
    grant_id      text        NOT NULL,
    slot          integer      NOT NULL,
    epoch         integer      NOT NULL,
    form          text        NOT NULL,
    sender_id     text,
    wrapped       blob       NOT NULL,
    created_at    datetime NOT NULL,
    key_id        integer     NOT NULL,
    mac           blob       NOT NULL,
    PRIMARY KEY (account_id, credential_id, grant_id, slot),
    FOREIGN KEY (account_id, credential_id) REFERENCES credentials (account_id, id),
    FOREIGN KEY (account_id, grant_id) REFERENCES grants (account_id, id)
);
CREATE INDEX credential_keys_grant ON credential_keys (account_id, grant_id);

CREATE TABLE successors (
    account_id text        NOT NULL,
    grant_id   text        NOT NULL,
    slot       integer      NOT NULL,
    next_slot  integer      NOT NULL,
    sealed     blob       NOT NULL,
    created_at datetime NOT NULL,
    seen_at    datetime,
    PRIMARY KEY (account_id, grant_id, slot),
    FOREIGN KEY (account_id, grant_id) REFERENCES grants (account_id, id)
);

CREATE TABLE escrows (
    account_id text        NOT NULL,
    id         text        NOT NULL,
    vault_id   text        NOT NULL, -- no foreign key: an escrow that ended outlives its vault
    generation integer      NOT NULL,
    from_id    text        NOT NULL,
    to_id      text        NOT NULL,
    wrapped    blob,
    state      text        NOT NULL,
    created_at datetime NOT NULL,
    expires_at datetime NOT NULL,
    ended_at   datetime,
    key_id     integer     NOT NULL,
    mac        blob       NOT NULL,
    PRIMARY KEY (account_id, id),
    FOREIGN KEY (account_id, from_id) REFERENCES grants (account_id, id),
    FOREIGN KEY (account_id, to_id) REFERENCES grants (account_id, id),
    CHECK ((state = 'pending') = (wrapped IS NOT NULL))
);
CREATE UNIQUE INDEX escrows_pending ON escrows (account_id, from_id, to_id) WHERE state = 'pending';
CREATE INDEX escrows_due ON escrows (expires_at) WHERE state = 'pending';

-- +goose Down
DROP TABLE escrows;
DROP TABLE successors;
DROP TABLE credential_keys;
DROP TABLE credentials;
DROP TABLE vault_keys;
DROP INDEX credential_grants_due;
DROP INDEX credential_grants_token;
DROP INDEX grants_live;
DROP INDEX grants_vault;
DROP INDEX tokens_superseded;
DROP INDEX tokens_service;
DELETE FROM tokens WHERE superseded_at IS NOT NULL OR owner <> '' OR bridge <> '' OR scheme <> '';
CREATE UNIQUE INDEX tokens_service ON tokens (account_id, vault_id, service_name);
ALTER TABLE tokens DROP COLUMN superseded_at;
ALTER TABLE tokens DROP COLUMN scheme;
ALTER TABLE tokens DROP COLUMN bridge;
ALTER TABLE tokens DROP COLUMN owner;
ALTER TABLE vaults DROP COLUMN mac;
ALTER TABLE vaults DROP COLUMN key_id;
ALTER TABLE vaults DROP COLUMN rotation_due_at;
ALTER TABLE vaults DROP COLUMN generation;
ALTER TABLE grants DROP COLUMN scopes;
