-- +goose Up
-- Flows of connecting an account that have come back from a provider: each counts
-- once, on whichever replica. Rows go when their flow would be refused for its age.
CREATE TABLE used_connects (
    account_id uuid        NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    id         uuid        NOT NULL,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (account_id, id)
);

-- +goose Down
DROP TABLE used_connects;
