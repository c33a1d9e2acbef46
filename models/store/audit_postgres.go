package store

import (
	"context"
	"encoding/binary"
	"errors"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/tvzero/tokenvault/models"
)

// auditTimeout bounds one COPY on the wire: a half-open connection must not hold
// up all releases for longer.
const auditTimeout = 4 * time.Second

// keptBuffer is the largest send buffer that stays for the next batch.
const keptBuffer = 4 << 20

// postgresAudit writes batches over one connection of its own, reused, each as
// one COPY: the statement, the rows and the end go out in a single write, and
// the answer comes back after the commit. That is one round trip and no
// goroutine, where the driver's CopyFrom takes several writes and two
// goroutines. The protocol allows it: after an error the server drops what is
// left of a COPY (PostgreSQL manual, "Message Flow", COPY Operations).
type postgresAudit struct {
	config *pgx.ConnConfig
	turn   chan struct{} // holds one element while a batch is written or the connection closed
	conn   *pgconn.HijackedConn
	buf    []byte
	closed bool
}

var errClosed = errors.New("the store is closed")

func (a *postgresAudit) append(ctx context.Context, events []models.AuditEvent) error {
	select {
	case a.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-a.turn }()
	if a.closed {
		return errClosed
	}
	if cap(a.buf) > keptBuffer {
		a.buf = nil
	}
	a.buf = encodeAudit(a.buf[:0], events)
	if a.conn == nil {
		if err := a.connect(ctx); err != nil {
			return err
		}
		return a.copy(ctx)
	}
	err := a.copy(ctx)
	if err == nil || isServerError(err) || ctx.Err() != nil {
		return err
	}
	return a.copyAgain(ctx, &events[0])
}

// copyAgain is for a batch whose connection broke, so that nobody knows what the
// server did with it. A COPY is all or nothing: its first event tells. The server
// may still be finishing the batch when it is looked for; then the second copy
// waits for that, and is refused as a duplicate.
func (a *postgresAudit) copyAgain(ctx context.Context, first *models.AuditEvent) error {
	there, err := a.reconnect(ctx, first)
	if err != nil || there {
		return err
	}
	err = a.copy(ctx)
	if classify(err) != uniqueViolation {
		return err
	}
	if there, lookErr := a.reconnect(ctx, first); lookErr != nil || !there {
		return err
	}
	return nil
}

// reconnect replaces the connection, and looks for an event on the way.
func (a *postgresAudit) reconnect(ctx context.Context, event *models.AuditEvent) (there bool, err error) {
	a.drop()
	err = a.connect(ctx, func(conn *pgx.Conn) error {
		return conn.QueryRow(ctx, "SELECT EXISTS (SELECT 1 FROM audit_events"+
			" WHERE account_id = $1 AND id = $2 AND stream_id = $3 AND seq = $4 AND hash = $5)"+
			" OR EXISTS (SELECT 1 FROM audit_blocks WHERE stream_id = $3 AND seq = $4 AND hash = $5)",
			event.AccountID.String(), event.ID.String(), event.StreamID.String(), event.Seq, event.Hash).Scan(&there)
	})
	return there, err
}

// connect opens the connection, and takes it from the driver after what still
// needs it.
func (a *postgresAudit) connect(ctx context.Context, before ...func(*pgx.Conn) error) error {
	conn, err := pgx.ConnectConfig(ctx, a.config)
	if err != nil {
		return err
	}
	err = prepareConnection(ctx, conn)
	for _, fn := range before {
		if err == nil {
			err = fn(conn)
		}
	}
	if err == nil {
		err = conn.PgConn().SyncConn(ctx)
	}
	if err == nil {
		a.conn, err = conn.PgConn().Hijack()
	}
	if err != nil {
		return errors.Join(err, conn.Close(context.WithoutCancel(ctx)))
	}
	return nil
}

// copy sends the buffer and reads the answer. After an error that is not the
// server's own the connection is gone.
func (a *postgresAudit) copy(ctx context.Context) error {
	conn := a.conn.Conn
	deadline := time.Now().Add(auditTimeout)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	err := conn.SetDeadline(deadline)
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	if err == nil {
		_, err = conn.Write(a.buf)
	}
	if err == nil {
		err = readAnswer(a.conn.Frontend)
	}
	if !stop() || err != nil && !isServerError(err) {
		a.drop()
		if err != nil && ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return err
}

// readAnswer reads until the server is ready for the next statement, by when the
// rows are committed or it has said why not.
func readAnswer(frontend *pgproto3.Frontend) error {
	var answer error
	for {
		msg, err := frontend.Receive()
		if err != nil {
			return err
		}
		switch msg := msg.(type) {
		case *pgproto3.ErrorResponse:
			answer = pgconn.ErrorResponseToPgError(msg)
		case *pgproto3.ReadyForQuery:
			return answer
		}
	}
}

func isServerError(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg)
}

func (a *postgresAudit) drop() {
	if a.conn != nil {
		_ = a.conn.Conn.Close()
		a.conn = nil
	}
}

func (a *postgresAudit) close() error {
	a.turn <- struct{}{}
	defer func() { <-a.turn }()
	a.closed = true
	if a.conn != nil {
		if terminate, err := (&pgproto3.Terminate{}).Encode(nil); err == nil {
			_ = a.conn.Conn.SetDeadline(time.Now().Add(time.Second))
			_, _ = a.conn.Conn.Write(terminate)
		}
		a.drop()
	}
	return nil
}

// copyEvents is the statement that takes rows of the log.
const copyEvents = "COPY audit_events (" + auditColumns + ") FROM STDIN BINARY"

// What stands before and after the tuples (COPY, "Binary Format").
const (
	copyHeader  = "PGCOPY\n\xff\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	copyTrailer = "\xff\xff"
)

// encodeCopy appends the messages of one COPY of rows.
func encodeCopy(buf []byte, events []models.AuditEvent) []byte {
	buf, data := beginCopy(buf, copyEvents)
	for i := range events {
		buf = appendEvent(buf, &events[i])
	}
	return endCopy(buf, data)
}

// beginCopy and endCopy are what stands around the tuples of one COPY in binary
// format: Query, CopyData, CopyDone (PostgreSQL manual, "Message Formats").
func beginCopy(buf []byte, query string) (out []byte, data int) {
	buf = append(buf, 'Q')
	buf = binary.BigEndian.AppendUint32(buf, uint32(4+len(query)+1)) // #nosec G115 -- ours
	buf = append(append(buf, query...), 0, 'd')
	data = len(buf)
	return append(append(buf, 0, 0, 0, 0), copyHeader...), data
}

func endCopy(buf []byte, data int) []byte {
	buf = append(buf, copyTrailer...)
	binary.BigEndian.PutUint32(buf[data:], uint32(len(buf)-data)) // #nosec G115 -- a batch
	return append(buf, 'c', 0, 0, 0, 4)
}

func appendEvent(buf []byte, e *models.AuditEvent) []byte {
	buf = binary.BigEndian.AppendUint16(buf, 16) // columns
	buf = appendID(buf, &e.AccountID)
	buf = appendID(buf, &e.ID)
	buf = appendID(buf, &e.StreamID)
	buf = appendInt64(buf, e.Seq)
	buf = appendInt64(buf, e.At.UnixMicro()-postgresEpoch)
	for _, text := range [...]string{e.EventType, e.Source, e.Outcome, e.ServiceName} {
		buf = appendText(buf, text)
	}
	buf = appendID(buf, e.AgentID)
	buf = appendID(buf, e.GrantID)
	for _, text := range [...]string{e.Client, e.Address, e.RequestID, e.Detail} {
		buf = appendText(buf, text)
	}
	return appendBytes(buf, e.Hash)
}

// postgresEpoch is 2000-01-01, from where timestamptz counts, in µs since 1970.
const postgresEpoch = 946684800 * 1_000_000

func appendNull(buf []byte) []byte { return append(buf, 0xff, 0xff, 0xff, 0xff) }

func appendID(buf []byte, id *uuid.UUID) []byte {
	if id == nil {
		return appendNull(buf)
	}
	buf = append(buf, 0, 0, 0, 16)
	return append(buf, id[:]...)
}

func appendInt64(buf []byte, n int64) []byte {
	buf = append(buf, 0, 0, 0, 8)
	return binary.BigEndian.AppendUint64(buf, uint64(n))
}

func appendBytes(buf, b []byte) []byte {
	if b == nil {
		return appendNull(buf)
	}
	buf = binary.BigEndian.AppendUint32(buf, uint32(len(b)))
	return append(buf, b...)
}

func appendText(buf []byte, text string) []byte {
	buf = binary.BigEndian.AppendUint32(buf, uint32(len(text)))
	return append(buf, text...)
}
