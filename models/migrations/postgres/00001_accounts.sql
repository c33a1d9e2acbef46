-- +goose Up
-- Every primary key and index starts with the account id, so that a distributed
-- engine keeps an account together. Uniqueness across accounts (the e-mail) is
-- the one exception.
CREATE TABLE accounts (
    id            uuid        NOT NULL PRIMARY KEY,
    email         text        NOT NULL,
    display_name  text        NOT NULL,
    password_hash bytea,
    locked_at     timestamptz,
    created_at    timestamptz NOT NULL,
    updated_at    timestamptz NOT NULL
);
CREATE UNIQUE INDEX accounts_email ON accounts (email);

-- One row for ever: who inserts it made the first account.
CREATE TABLE first_account (
    id         smallint    NOT NULL PRIMARY KEY,
    claimed_at timestamptz NOT NULL
);

CREATE TABLE vaults (
    account_id uuid        NOT NULL REFERENCES accounts (id),
    id         uuid        NOT NULL,
    mode       text        NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (account_id, id)
);
-- An account has one vault of mode webhook.
CREATE UNIQUE INDEX vaults_webhook ON vaults (account_id) WHERE mode = 'webhook';

CREATE TABLE bindings (
    account_id        uuid        NOT NULL REFERENCES accounts (id),
    id                uuid        NOT NULL,
    vault_id          uuid        NOT NULL,
    state             text        NOT NULL,
    url               text        NOT NULL,
    webhook_id        text        NOT NULL,
    fingerprint       text        NOT NULL,
    secret_key_id     integer     NOT NULL,
    sealed_secret     bytea,
    version           text        NOT NULL,
    capabilities      text,
    seal_key          text        NOT NULL,
    sign_key          text        NOT NULL,
    health_status     text        NOT NULL,
    health_detail     text        NOT NULL,
    health_checked_at timestamptz,
    created_at        timestamptz NOT NULL,
    activated_at      timestamptz,
    ended_at          timestamptz,
    PRIMARY KEY (account_id, id)
);
CREATE UNIQUE INDEX bindings_active ON bindings (account_id) WHERE state = 'active';
CREATE UNIQUE INDEX bindings_pending ON bindings (account_id) WHERE state = 'pending';

CREATE TABLE grants (
    account_id   uuid        NOT NULL REFERENCES accounts (id),
    id           uuid        NOT NULL,
    kind         text        NOT NULL,
    label        text        NOT NULL,
    agent_id     uuid,
    vault_id     uuid,
    public_key   bytea,
    client       text        NOT NULL,
    address      text        NOT NULL,
    created_at   timestamptz NOT NULL,
    expires_at   timestamptz,
    last_used_at timestamptz,
    ended_at     timestamptz,
    key_id       integer     NOT NULL,
    mac          bytea,
    PRIMARY KEY (account_id, id)
);

CREATE TABLE grant_keys (
    account_id          uuid        NOT NULL,
    grant_id            uuid        NOT NULL,
    slot                bigint      NOT NULL,
    token_key_id        integer     NOT NULL,
    wrapped_private_key bytea,
    issued_at           timestamptz NOT NULL,
    expires_at          timestamptz,
    key_id              integer     NOT NULL,
    mac                 bytea,
    PRIMARY KEY (account_id, grant_id, slot),
    FOREIGN KEY (account_id, grant_id) REFERENCES grants (account_id, id)
);

CREATE TABLE agents (
    account_id   uuid        NOT NULL REFERENCES accounts (id),
    id           uuid        NOT NULL,
    name         text        NOT NULL,
    description  text        NOT NULL,
    status       text        NOT NULL,
    grant_id     uuid        NOT NULL,
    created_at   timestamptz NOT NULL,
    updated_at   timestamptz NOT NULL,
    last_used_at timestamptz,
    PRIMARY KEY (account_id, id)
);
CREATE UNIQUE INDEX agents_name ON agents (account_id, name);

-- A credential grant outlives the token that it names: the answer to its agent
-- is then "gone", not "never granted". So there is no foreign key to tokens.
CREATE TABLE credential_grants (
    account_id     uuid             NOT NULL,
    agent_id       uuid             NOT NULL,
    service_name   text COLLATE "C" NOT NULL,
    token_id       uuid             NOT NULL,
    refresh_policy text             NOT NULL,
    expires_at     timestamptz,
    created_at     timestamptz      NOT NULL,
    key_id         integer          NOT NULL,
    mac            bytea,
    PRIMARY KEY (account_id, agent_id, service_name),
    FOREIGN KEY (account_id, agent_id) REFERENCES agents (account_id, id)
);

-- Service names sort by their bytes, here as in SQLite and in Go.
CREATE TABLE tokens (
    account_id        uuid             NOT NULL,
    id                uuid             NOT NULL,
    vault_id          uuid             NOT NULL,
    service_name      text COLLATE "C" NOT NULL,
    token_type        text             NOT NULL,
    display_name      text             NOT NULL,
    notes             text             NOT NULL,
    tags              text,
    provider          text             NOT NULL,
    creation_id       text             NOT NULL,
    expires_at        timestamptz,
    has_refresh_token boolean          NOT NULL,
    has_certificate   boolean          NOT NULL,
    has_private_key   boolean          NOT NULL,
    has_ssh_key       boolean          NOT NULL,
    has_totp_secret   boolean          NOT NULL,
    stored_at         timestamptz,
    seen_at           timestamptz,
    seen_path         text             NOT NULL,
    seen_creation_id  text             NOT NULL,
    created_at        timestamptz      NOT NULL,
    updated_at        timestamptz      NOT NULL,
    PRIMARY KEY (account_id, id),
    FOREIGN KEY (account_id, vault_id) REFERENCES vaults (account_id, id)
);
CREATE UNIQUE INDEX tokens_service ON tokens (account_id, vault_id, service_name);

-- +goose Down
DROP TABLE tokens;
DROP TABLE credential_grants;
DROP TABLE agents;
DROP TABLE grant_keys;
DROP TABLE grants;
DROP TABLE bindings;
DROP TABLE vaults;
DROP TABLE first_account;
DROP TABLE accounts;
