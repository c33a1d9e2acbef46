-- +goose Up
-- How far the chain of each stream of the audit log was verified while the server runs.
-- It says no more than what a reader of the database could write into it: what counts
-- is `tokenvault audit verify`, which does not look here.
CREATE TABLE audit_verifications (
    stream_id  text NOT NULL PRIMARY KEY,
    due_at     datetime NOT NULL,
    lease_id   text, -- who is at it; whoever it is, it is due again at due_at
    began_at   datetime, -- the pass that is under way; each pass begins with the first row
    seq        integer NOT NULL DEFAULT 0, -- the row from which it goes on, with its hash
    hash       blob,
    through    integer NOT NULL DEFAULT 0, -- the last row that was ever seen
    final      boolean NOT NULL DEFAULT false, -- the stream was ended in order
    checked_at datetime, -- when its end was reached last
    found      text NOT NULL DEFAULT '', -- what the pass under way has found
    problem    text NOT NULL DEFAULT '' -- what the last whole pass found, or this one
);
CREATE INDEX audit_verifications_due ON audit_verifications (due_at);

-- +goose Down
DROP TABLE audit_verifications;
