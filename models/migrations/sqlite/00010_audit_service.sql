-- +goose Up
-- What happened last to one token, by each kind of event: its page says by which ways
-- it went, and when. Releases and refusals are not in it: they are most of all events, and
-- each would pay for it where somebody waits; they are looked for among the latest.
CREATE INDEX audit_events_service ON audit_events (account_id, service_name, event_type, id)
    WHERE event_type NOT IN ('release', 'refusal');

-- +goose Down
DROP INDEX audit_events_service;
