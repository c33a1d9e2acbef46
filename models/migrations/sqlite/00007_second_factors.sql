-- +goose Up
-- The twin of the PostgreSQL file: what guards signing in besides the password.
CREATE TABLE second_factors (
    account_id   text     NOT NULL PRIMARY KEY REFERENCES accounts (id) ON DELETE CASCADE,
    id           text     NOT NULL,
    key_id       integer  NOT NULL,
    sealed       blob     NOT NULL,
    last_step    integer  NOT NULL,
    created_at   datetime NOT NULL,
    confirmed_at datetime
);

CREATE TABLE recovery_codes (
    account_id text     NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    hash       blob     NOT NULL,
    created_at datetime NOT NULL,
    used_at    datetime,
    PRIMARY KEY (account_id, hash)
);

CREATE TABLE passkeys (
    account_id      text     NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    id              text     NOT NULL,
    credential_id   blob     NOT NULL,
    public_key      blob     NOT NULL,
    name            text     NOT NULL,
    transports      text,
    backup_eligible boolean  NOT NULL,
    backed_up       boolean  NOT NULL,
    sign_count      integer  NOT NULL,
    created_at      datetime NOT NULL,
    last_used_at    datetime,
    key_id          integer  NOT NULL,
    mac             blob,
    PRIMARY KEY (account_id, id)
);
CREATE UNIQUE INDEX passkeys_credential ON passkeys (account_id, credential_id);

-- Each challenge counts once, on whichever replica. Rows go when their challenge
-- would be refused for its age.
CREATE TABLE used_challenges (
    account_id text     NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    id         text     NOT NULL,
    expires_at datetime NOT NULL,
    PRIMARY KEY (account_id, id)
);

CREATE TABLE sign_in_tries (
    account_id text     NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    kind       text     NOT NULL,
    since      datetime NOT NULL,
    tries      integer  NOT NULL,
    PRIMARY KEY (account_id, kind)
);

-- +goose Down
DROP TABLE sign_in_tries;
DROP TABLE used_challenges;
DROP TABLE passkeys;
DROP TABLE recovery_codes;
DROP TABLE second_factors;
