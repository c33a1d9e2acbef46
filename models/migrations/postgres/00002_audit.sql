-- +goose Up
-- The audit log is written at every release, so it has as little as possible:
-- no foreign key, and two indexes.
--   primary key (account_id, id): an account's events, newest first.
--   audit_events_stream (stream_id, seq): reading a stream in order to verify
--   its chain, and the promise that a place in a chain is taken once.
CREATE TABLE audit_events (
    account_id   uuid        NOT NULL,
    id           uuid        NOT NULL,
    stream_id    uuid        NOT NULL,
    seq          bigint      NOT NULL,
    at           timestamptz NOT NULL,
    event_type   text        NOT NULL,
    source       text        NOT NULL,
    outcome      text        NOT NULL,
    service_name text        NOT NULL,
    agent_id     uuid,
    grant_id     uuid,
    client       text        NOT NULL,
    address      text        NOT NULL,
    request_id   text        NOT NULL,
    detail       text        NOT NULL,
    hash         bytea       NOT NULL,
    PRIMARY KEY (account_id, id)
);
CREATE UNIQUE INDEX audit_events_stream ON audit_events (stream_id, seq);

CREATE TABLE audit_checkpoints (
    stream_id uuid        NOT NULL,
    seq       bigint      NOT NULL,
    at        timestamptz NOT NULL,
    hash      bytea       NOT NULL,
    key_id    integer     NOT NULL,
    signature bytea       NOT NULL,
    final     boolean     NOT NULL,
    PRIMARY KEY (stream_id, seq, final) -- a stream may end where it was signed last
);

-- Both tables only grow. The triggers stop mistakes, not an attacker, whom the
-- hash chain and the checkpoints expose; they do not run for an INSERT.
-- +goose StatementBegin
CREATE FUNCTION audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit log is append-only';
END
$$;
-- +goose StatementEnd
CREATE TRIGGER audit_events_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_events
    FOR EACH STATEMENT EXECUTE FUNCTION audit_is_append_only();
CREATE TRIGGER audit_checkpoints_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_checkpoints
    FOR EACH STATEMENT EXECUTE FUNCTION audit_is_append_only();

-- +goose Down
DROP TABLE audit_checkpoints;
DROP TABLE audit_events;
DROP FUNCTION audit_is_append_only();
