-- +goose Up
-- The audit log is written at every release, so it has as little as possible:
-- no foreign key, the table stored in its primary key, and one index.
--   primary key (account_id, id): an account's events, newest first.
--   audit_events_stream (stream_id, seq): reading a stream in order to verify
--   its chain, and the promise that a place in a chain is taken once.
CREATE TABLE audit_events (
    account_id   text     NOT NULL,
    id           text     NOT NULL,
    stream_id    text     NOT NULL,
    seq          integer  NOT NULL,
    at           datetime NOT NULL,
    event_type   text     NOT NULL,
    source       text     NOT NULL,
    outcome      text     NOT NULL,
    service_name text     NOT NULL,
    agent_id     text,
    grant_id     text,
    client       text     NOT NULL,
    address      text     NOT NULL,
    request_id   text     NOT NULL,
    detail       text     NOT NULL,
    hash         blob     NOT NULL,
    PRIMARY KEY (account_id, id)
) WITHOUT ROWID;
CREATE UNIQUE INDEX audit_events_stream ON audit_events (stream_id, seq);

CREATE TABLE audit_checkpoints (
    stream_id text     NOT NULL,
    seq       integer  NOT NULL,
    at        datetime NOT NULL,
    hash      blob     NOT NULL,
    key_id    integer  NOT NULL,
    signature blob     NOT NULL,
    final     boolean  NOT NULL,
    PRIMARY KEY (stream_id, seq, final) -- a stream may end where it was signed last
) WITHOUT ROWID;

-- Both tables only grow. The triggers stop mistakes, not an attacker, whom the
-- hash chain and the checkpoints expose; they do not run for an INSERT.
-- +goose StatementBegin
CREATE TRIGGER audit_events_no_update BEFORE UPDATE ON audit_events
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER audit_events_no_delete BEFORE DELETE ON audit_events
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER audit_checkpoints_no_update BEFORE UPDATE ON audit_checkpoints
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER audit_checkpoints_no_delete BEFORE DELETE ON audit_checkpoints
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
-- +goose StatementEnd

-- +goose Down
DROP TABLE audit_checkpoints;
DROP TABLE audit_events;
