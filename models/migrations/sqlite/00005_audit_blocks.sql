-- +goose Up
-- The twin of the PostgreSQL file. Nothing is written here: with one process beside
-- its database, writing rows costs no more.
CREATE TABLE audit_blocks (
    stream_id  text     NOT NULL,
    seq        integer  NOT NULL,
    events     integer  NOT NULL,
    hash       blob     NOT NULL,
    tuples     blob     NOT NULL,
    written_at datetime NOT NULL,
    refused_at datetime,
    PRIMARY KEY (stream_id, seq)
) WITHOUT ROWID;

-- +goose Down
DROP TABLE audit_blocks;
