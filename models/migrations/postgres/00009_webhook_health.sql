-- +goose Up
-- When each bound webhook is asked next how it is; whichever replica finds it due asks.
CREATE TABLE webhook_probes (
    account_id uuid NOT NULL,
    binding_id uuid NOT NULL,
    due_at     timestamptz NOT NULL,
    lease_id   uuid, -- who is asking; whoever it is, it is due again at due_at
    PRIMARY KEY (account_id, binding_id),
    FOREIGN KEY (account_id, binding_id) REFERENCES bindings (account_id, id) ON DELETE CASCADE
);
CREATE INDEX webhook_probes_due ON webhook_probes (due_at);

-- What webhooks answered, for thirty days.
CREATE TABLE webhook_health (
    account_id uuid NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    at         timestamptz NOT NULL,
    binding_id uuid NOT NULL,
    ok         boolean NOT NULL,
    status     integer NOT NULL, -- of the answer; 0: none
    latency_ms bigint NOT NULL,
    code       text NOT NULL, -- of the failure, from a closed set
    PRIMARY KEY (account_id, at, binding_id)
);

INSERT INTO webhook_probes (account_id, binding_id, due_at)
SELECT account_id, id, CURRENT_TIMESTAMP FROM bindings WHERE state = 'active';

-- +goose Down
DROP TABLE webhook_health;
DROP TABLE webhook_probes;
