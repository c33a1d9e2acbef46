-- +goose Up
-- When each bound webhook is asked next how it is; whichever replica finds it due asks.
CREATE TABLE webhook_probes (
    account_id text NOT NULL,
    binding_id text NOT NULL,
    due_at     datetime NOT NULL,
    lease_id   text, -- who is asking; whoever it is, it is due again at due_at
    PRIMARY KEY (account_id, binding_id),
    FOREIGN KEY (account_id, binding_id) REFERENCES bindings (account_id, id) ON DELETE CASCADE
);
CREATE INDEX webhook_probes_due ON webhook_probes (due_at);

-- What webhooks answered, for thirty days.
CREATE TABLE webhook_health (
    account_id text NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    at         datetime NOT NULL,
    binding_id text NOT NULL,
    ok         boolean NOT NULL,
    status     integer NOT NULL, -- of the answer; 0: none
    latency_ms integer NOT NULL,
    code       text NOT NULL, -- of the failure, from a closed set
    PRIMARY KEY (account_id, at, binding_id)
);

INSERT INTO webhook_probes (account_id, binding_id, due_at)
SELECT account_id, id, CURRENT_TIMESTAMP FROM bindings WHERE state = 'active';

-- +goose Down
DROP TABLE webhook_health;
DROP TABLE webhook_probes;
