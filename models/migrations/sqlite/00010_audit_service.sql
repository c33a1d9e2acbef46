-- +goose Up
-- What happened last to one token, by each kind of event: its page says by which ways
-- it went, and when. Without it that would be a look through all events of the account.
CREATE INDEX audit_events_service ON audit_events (account_id, service_name, event_type, id);

-- +goose Down
DROP INDEX audit_events_service;
