-- +goose Up
-- What guards signing in besides the password: the second factor with its recovery
-- codes, passkeys, challenges that were answered, and how often something was tried.
CREATE TABLE second_factors (
    account_id   uuid        NOT NULL PRIMARY KEY REFERENCES accounts (id) ON DELETE CASCADE,
    id           uuid        NOT NULL,
    key_id       integer     NOT NULL,
    sealed       bytea       NOT NULL,
    last_step    bigint      NOT NULL,
    created_at   timestamptz NOT NULL,
    confirmed_at timestamptz
);

CREATE TABLE recovery_codes (
    account_id uuid        NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    hash       bytea       NOT NULL,
    created_at timestamptz NOT NULL,
    used_at    timestamptz,
    PRIMARY KEY (account_id, hash)
);

CREATE TABLE passkeys (
    account_id      uuid        NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    id              uuid        NOT NULL,
    credential_id   bytea       NOT NULL,
    public_key      bytea       NOT NULL,
    name            text        NOT NULL,
    transports      text,
    backup_eligible boolean     NOT NULL,
    backed_up       boolean     NOT NULL,
    sign_count      bigint      NOT NULL,
    created_at      timestamptz NOT NULL,
    last_used_at    timestamptz,
    key_id          integer     NOT NULL,
    mac             bytea,
    PRIMARY KEY (account_id, id)
);
CREATE UNIQUE INDEX passkeys_credential ON passkeys (account_id, credential_id);

-- Each challenge counts once, on whichever replica. Rows go when their challenge
-- would be refused for its age.
CREATE TABLE used_challenges (
    account_id uuid        NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    id         uuid        NOT NULL,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (account_id, id)
);

CREATE TABLE sign_in_tries (
    account_id uuid        NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    kind       text        NOT NULL,
    since      timestamptz NOT NULL,
    tries      integer     NOT NULL,
    PRIMARY KEY (account_id, kind)
);

-- +goose Down
DROP TABLE sign_in_tries;
DROP TABLE used_challenges;
DROP TABLE passkeys;
DROP TABLE recovery_codes;
DROP TABLE second_factors;
