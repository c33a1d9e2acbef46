-- +goose Up
-- Events that were written together under load and are not yet rows of
-- audit_events: a block holds them as COPY's binary tuples. Writing one row a batch
-- costs a fraction of writing each with its two index entries. Who reads the log
-- makes rows of what is pending first; so does a replica that has nothing to do.
-- hash is that of the first event. Deleting is what making rows ends with.
CREATE TABLE audit_blocks (
    stream_id  uuid        NOT NULL,
    seq        bigint      NOT NULL, -- of the first event
    events     integer     NOT NULL,
    hash       bytea       NOT NULL,
    tuples     bytea       NOT NULL,
    written_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    refused_at timestamptz, -- it could not be made rows of: somebody wrote rows in its place
    PRIMARY KEY (stream_id, seq)
);
ALTER TABLE audit_blocks ALTER COLUMN tuples SET STORAGE EXTERNAL;

-- +goose Down
-- Read the log once before: blocks that are pending go with the table.
DROP TABLE audit_blocks;
