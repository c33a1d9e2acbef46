package store

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"strings"

	"github.com/tvzero/tokenvault/models"
)

// sqliteAudit writes a batch as one INSERT of many rows: the driver compiles a
// statement each time it runs, and SQLite syncs each commit.
type sqliteAudit struct {
	db *sql.DB
}

// auditChunk is the most rows of one INSERT: compiling a statement for each row
// is slow, and so is a long one, because the driver looks for each parameter
// among all of them.
const auditChunk = 32

func (a *sqliteAudit) append(ctx context.Context, events []models.AuditEvent) error {
	if len(events) <= auditChunk {
		return insertAudit(ctx, a.db, events)
	}
	tx, err := a.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	for chunk := range slices.Chunk(events, auditChunk) {
		if err := insertAudit(ctx, tx, chunk); err != nil {
			return errors.Join(err, tx.Rollback())
		}
	}
	return tx.Commit()
}

type execer interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

func insertAudit(ctx context.Context, db execer, events []models.AuditEvent) error {
	const row = ",(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"
	args := make([]any, 0, 16*len(events))
	for i := range events {
		e := &events[i]
		args = append(args, e.AccountID, e.ID, e.StreamID, e.Seq, e.At, e.EventType, e.Source, e.Outcome, e.ServiceName,
			e.AgentID, e.GrantID, e.Client, e.Address, e.RequestID, e.Detail, e.Hash)
	}
	_, err := db.ExecContext(ctx, "INSERT INTO audit_events ("+auditColumns+") VALUES "+strings.Repeat(row, len(events))[1:], args...)
	return err
}

func (a *sqliteAudit) close() error { return nil } // the pool is the Store's
