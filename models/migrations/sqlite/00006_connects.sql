-- +goose Up
-- Flows of connecting an account that have come back from a provider: each counts
-- once. Rows go when their flow would be refused for its age.
CREATE TABLE used_connects (
    account_id text     NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    id         text     NOT NULL,
    expires_at datetime NOT NULL,
    PRIMARY KEY (account_id, id)
);

-- +goose Down
DROP TABLE used_connects;
