-- +goose Up
-- Refreshing OAuth credentials: when, who is at it, what came of it; and what waits
-- for a webhook that was away. All of it goes with its token.
ALTER TABLE tokens ADD COLUMN subject text NOT NULL DEFAULT '';
ALTER TABLE tokens ADD COLUMN issued_at datetime;
ALTER TABLE tokens ADD COLUMN scope text NOT NULL DEFAULT '';

CREATE TABLE refreshes (
    account_id       text    NOT NULL,
    token_id         text    NOT NULL,
    due_at           datetime,
    lease_id         text,
    lease_until      datetime,
    lease_generation integer  NOT NULL DEFAULT 0,
    attempts         integer NOT NULL DEFAULT 0,
    outcome          text    NOT NULL DEFAULT '',
    reason           text    NOT NULL DEFAULT '',
    path             text    NOT NULL DEFAULT '',
    tried_at         datetime,
    refreshed_at     datetime,
    retry_at         datetime,
    platform_at      datetime,
    mediated_at      datetime,
    notified_at      datetime,
    PRIMARY KEY (account_id, token_id),
    FOREIGN KEY (account_id, token_id) REFERENCES tokens (account_id, id) ON DELETE CASCADE,
    CHECK ((lease_id IS NULL) = (lease_until IS NULL))
);
CREATE INDEX refreshes_due ON refreshes (due_at) WHERE due_at IS NOT NULL;

CREATE TABLE outbox (
    account_id  text        NOT NULL,
    token_id    text        NOT NULL,
    creation_id text        NOT NULL,
    sequence    integer      NOT NULL,
    key_id      text        NOT NULL, -- of the webhook, which alone opens it
    sealed      blob       NOT NULL,
    created_at  datetime NOT NULL,
    due_at      datetime NOT NULL,
    attempts    integer     NOT NULL DEFAULT 0,
    PRIMARY KEY (account_id, token_id),
    FOREIGN KEY (account_id, token_id) REFERENCES tokens (account_id, id) ON DELETE CASCADE
);
CREATE INDEX outbox_due ON outbox (due_at);

-- Tokens that webhooks reported before: their lifetime is not known, so that the
-- longest lead counts.
INSERT INTO refreshes (account_id, token_id, due_at)
SELECT t.account_id, t.id, strftime('%Y-%m-%d %H:%M:%f', t.expires_at, '-1 hour') || '+00:00'
FROM tokens t JOIN vaults v ON v.account_id = t.account_id AND v.id = t.vault_id
WHERE v.mode = 'webhook' AND t.token_type = 'OAuth' AND t.has_refresh_token AND t.expires_at IS NOT NULL;

-- +goose Down
DROP TABLE outbox;
DROP TABLE refreshes;
ALTER TABLE tokens DROP COLUMN scope;
ALTER TABLE tokens DROP COLUMN issued_at;
ALTER TABLE tokens DROP COLUMN subject;
