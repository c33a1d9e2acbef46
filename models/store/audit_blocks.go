package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/tvzero/tokenvault/models"
)

// A batch of at least blockEvents events is written as one row, a block, on
// PostgreSQL; a smaller one, or one whose tuples take more than blockBytes, as rows
// of audit_events. (docs/adr/0019.)
const (
	blockEvents = 8
	blockBytes  = 1 << 20
)

// blocksAtOnce are made rows of in one transaction.
const blocksAtOnce = 16

// encodeAudit appends the messages of one COPY: of a block, or of rows.
func encodeAudit(buf []byte, events []models.AuditEvent) []byte {
	if len(events) < blockEvents {
		return encodeCopy(buf, events)
	}
	start := len(buf)
	first := &events[0]
	buf, data := beginCopy(buf, "COPY audit_blocks (stream_id, seq, events, hash, tuples) FROM STDIN BINARY")
	buf = binary.BigEndian.AppendUint16(buf, 5) // columns
	buf = appendID(buf, &first.StreamID)
	buf = appendInt64(buf, first.Seq)
	buf = append(buf, 0, 0, 0, 4)
	buf = binary.BigEndian.AppendUint32(buf, uint32(len(events))) // #nosec G115 -- a batch is small
	buf = appendBytes(buf, first.Hash)
	buf = append(buf, 0, 0, 0, 0)
	tuples := len(buf)
	for i := range events {
		buf = appendEvent(buf, &events[i])
	}
	size := len(buf) - tuples
	if size > blockBytes {
		return encodeCopy(buf[:start], events)
	}
	binary.BigEndian.PutUint32(buf[tuples-4:], uint32(size)) // #nosec G115 -- see above
	return endCopy(buf, data)
}

// ProjectAudit makes rows of the blocks that were committed before the call, and
// returns the number of events. Reading the log does it first; elsewhere it is
// housekeeping, and several replicas may do it at once. A block in whose place
// somebody else wrote rows is left, marked, and logged: verifying the log names the
// stream.
func (s *Store) ProjectAudit(ctx context.Context) (events int64, err error) {
	if s.dialect != Postgres {
		return 0, nil
	}
	pool, err := s.write.DB()
	if err != nil {
		return 0, failed(err, "project the audit log")
	}
	// Most often nothing is pending, and that is all there is to ask.
	var until *time.Time
	err = pool.QueryRowContext(ctx, "SELECT clock_timestamp() WHERE EXISTS (SELECT 1 FROM audit_blocks WHERE refused_at IS NULL)"+
		" UNION ALL SELECT NULL LIMIT 1").Scan(&until)
	if err != nil || until == nil {
		return 0, failed(err, "project the audit log")
	}
	conn, err := pool.Conn(ctx)
	if err != nil {
		return 0, failed(err, "project the audit log")
	}
	defer func() { _ = conn.Close() }()
	err = conn.Raw(func(driver any) error {
		c, ok := driver.(*stdlib.Conn)
		if !ok {
			return fmt.Errorf("a connection of type %T", driver)
		}
		for atOnce := blocksAtOnce; ; {
			n, more, err := s.projectSome(ctx, c.Conn(), *until, atOnce)
			events += n
			if classify(err) == uniqueViolation && atOnce > 1 {
				atOnce = 1 // one of them cannot be: find it
				continue
			}
			if err != nil || !more {
				return err
			}
		}
	})
	return events, failed(err, "project the audit log")
}

// A block's key, and its first event's hash.
type blockKey struct {
	streamID uuid.UUID
	seq      int64
	hash     []byte
}

// projectSome makes rows of some blocks in one transaction, and says whether there
// may be more. Who finds a block locked waits for it, so that what was pending when
// one began is there when one ends, whoever did it.
func (s *Store) projectSome(ctx context.Context, conn *pgx.Conn, until time.Time, limit int) (events int64, more bool, err error) {
	var alone *blockKey
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		keys, tuples, err := lockBlocks(ctx, tx, until, limit)
		if err != nil || len(keys) == 0 {
			return err
		}
		more = true
		if limit == 1 {
			alone = &keys[0]
		}
		done, err := tx.Conn().PgConn().CopyFrom(ctx, bytes.NewReader(tuples), copyEvents)
		if err != nil {
			return err
		}
		events = done.RowsAffected()
		for _, k := range keys {
			if _, err := tx.Exec(ctx, "DELETE FROM audit_blocks WHERE stream_id = $1 AND seq = $2", k.streamID, k.seq); err != nil {
				return err
			}
		}
		return nil
	})
	switch {
	case err == nil:
		return events, more, nil
	case alone != nil && classify(err) == uniqueViolation:
		return 0, true, s.settleTwin(ctx, conn, *alone, err)
	}
	return 0, false, err
}

// lockBlocks locks blocks in order, and puts their tuples together as one COPY.
func lockBlocks(ctx context.Context, tx pgx.Tx, until time.Time, limit int) ([]blockKey, []byte, error) {
	rows, err := tx.Query(ctx, "SELECT stream_id, seq, hash, tuples FROM audit_blocks"+
		" WHERE written_at <= $1 AND refused_at IS NULL ORDER BY stream_id, seq LIMIT $2 FOR UPDATE", until, limit)
	if err != nil {
		return nil, nil, err
	}
	defer rows.Close()
	var keys []blockKey
	data := append([]byte(nil), copyHeader...)
	for rows.Next() {
		var id [16]byte
		var k blockKey
		var tuples []byte
		if err := rows.Scan(&id, &k.seq, &k.hash, &tuples); err != nil {
			return nil, nil, err
		}
		k.streamID = id
		keys, data = append(keys, k), append(data, tuples...)
	}
	return keys, append(data, copyTrailer...), rows.Err()
}

// settleTwin is for a block of which rows exist: it was written twice, which a
// broken connection can lead to, or somebody else's rows stand in its place.
func (s *Store) settleTwin(ctx context.Context, conn *pgx.Conn, k blockKey, cause error) error {
	tag, err := conn.Exec(ctx, "DELETE FROM audit_blocks b WHERE stream_id = $1 AND seq = $2 AND b.events ="+
		" (SELECT count(*) FROM audit_events e WHERE e.stream_id = b.stream_id AND e.seq >= b.seq AND e.seq < b.seq + b.events)"+
		" AND EXISTS (SELECT 1 FROM audit_events e WHERE e.stream_id = b.stream_id AND e.seq = b.seq AND e.hash = b.hash)", k.streamID, k.seq)
	if err != nil || tag.RowsAffected() > 0 {
		return err
	}
	s.log.ErrorContext(ctx, "audit: events of a batch are not readable, because rows stand in their place that were not written by this server;"+
		" run `tokenvault audit verify`", "stream", k.streamID, "seq", k.seq, "error", cause)
	_, err = conn.Exec(ctx, "UPDATE audit_blocks SET refused_at = clock_timestamp() WHERE stream_id = $1 AND seq = $2", k.streamID, k.seq)
	return err
}
