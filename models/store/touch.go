package store

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"github.com/tvzero/tokenvault/models"
)

// TouchGrants writes when grants were last used, many in one statement. A time
// never goes back; unknown grants are passed over. It is not a change.
func (s *Store) TouchGrants(ctx context.Context, used []models.GrantUse) error {
	rows := make([]lastUse, len(used))
	for i, u := range used {
		rows[i] = lastUse{u.AccountID, u.GrantID, models.Stamp(u.At)}
	}
	return s.touch(ctx, "grants", rows)
}

// TouchAgents writes when agents were last used, as TouchGrants does.
func (s *Store) TouchAgents(ctx context.Context, used []models.AgentUse) error {
	rows := make([]lastUse, len(used))
	for i, u := range used {
		rows[i] = lastUse{u.AccountID, u.AgentID, models.Stamp(u.At)}
	}
	return s.touch(ctx, "agents", rows)
}

type lastUse struct {
	account, id uuid.UUID
	at          time.Time
}

// touchBatch keeps a statement within SQLite's limit of parameters and the time
// that rows stay locked short.
const touchBatch = 1000

func (s *Store) touch(ctx context.Context, table string, rows []lastUse) error {
	// The newest use of each row first, so that Compact keeps that one.
	slices.SortFunc(rows, func(a, b lastUse) int {
		return cmp.Or(bytes.Compare(a.account[:], b.account[:]), bytes.Compare(a.id[:], b.id[:]), b.at.Compare(a.at))
	})
	rows = slices.CompactFunc(rows, func(a, b lastUse) bool { return a.account == b.account && a.id == b.id })
	for batch := range slices.Chunk(rows, touchBatch) {
		err := s.record(ctx, func(db *gorm.DB) error {
			if s.dialect == Postgres {
				return failed(touchPostgres(db, table, batch), "last use of %s", table)
			}
			return failed(touchSQLite(db, table, batch), "last use of %s", table)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// touchPostgres locks the rows in the order of their key before it writes, so
// that replicas that touch the same rows never deadlock.
func touchPostgres(db *gorm.DB, table string, rows []lastUse) error {
	var accounts, ids, times []string
	for _, row := range rows {
		accounts = append(accounts, row.account.String())
		ids = append(ids, row.id.String())
		times = append(times, row.at.Format(time.RFC3339Nano))
	}
	array := func(items []string) string { return "{" + strings.Join(items, ",") + "}" }
	return db.Exec(fmt.Sprintf(`WITH used AS (
			SELECT t.account_id, t.id, u.at
			FROM unnest(?::uuid[], ?::uuid[], ?::timestamptz[]) AS u(account_id, id, at)
			JOIN %[1]s t ON t.account_id = u.account_id AND t.id = u.id
			WHERE t.last_used_at IS NULL OR t.last_used_at < u.at
			ORDER BY t.account_id, t.id FOR UPDATE OF t
		)
		UPDATE %[1]s AS t SET last_used_at = used.at FROM used
		WHERE t.account_id = used.account_id AND t.id = used.id`, table), array(accounts), array(ids), array(times)).Error
}

func touchSQLite(db *gorm.DB, table string, rows []lastUse) error {
	args := make([]any, 0, 3*len(rows))
	for _, row := range rows {
		args = append(args, row.account, row.id, row.at)
	}
	values := strings.Repeat(",(?,?,?)", len(rows))[1:]
	return db.Exec(fmt.Sprintf(`WITH used(account_id, id, at) AS (VALUES %[2]s)
		UPDATE %[1]s AS t SET last_used_at = used.at FROM used
		WHERE t.account_id = used.account_id AND t.id = used.id
		AND (t.last_used_at IS NULL OR t.last_used_at < used.at)`, table, values), args...).Error
}
