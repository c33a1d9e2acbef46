package store

import (
	"database/sql"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"github.com/tvzero/tokenvault/models"
)

// A Statement is one that the store ran.
type Statement struct {
	SQL  string
	Args []any
}

// CaptureStatements notes every statement that is run in a transaction, or written,
// from now on.
func (s *Store) CaptureStatements() func() []Statement {
	var captured []Statement
	note := func(db *gorm.DB) {
		captured = append(captured, Statement{db.Statement.SQL.String(), db.Statement.Vars})
	}
	callbacks := s.write.Callback()
	for _, register := range []func(string, func(*gorm.DB)) error{
		callbacks.Query().After("*").Register, callbacks.Row().After("*").Register, callbacks.Raw().After("*").Register,
		callbacks.Update().After("*").Register, callbacks.Delete().After("*").Register,
	} {
		if err := register("test:note", note); err != nil {
			panic(err)
		}
	}
	return func() []Statement { return captured }
}

// CapturePlans notes every statement from now on. What it returns asks
// PostgreSQL how it would run each of them.
func (s *Store) CapturePlans() func(t *testing.T) []string {
	captured := s.CaptureStatements()
	return func(t *testing.T) []string {
		var plans []string
		for _, c := range captured() {
			if strings.Contains(c.SQL, "pg_notify") {
				continue
			}
			pool, err := s.write.DB()
			if err != nil {
				t.Fatal(err)
			}
			rows, err := pool.QueryContext(t.Context(), "EXPLAIN "+c.SQL, c.Args...)
			if err != nil {
				t.Fatalf("explain %s: %v", c.SQL, err)
			}
			plans = append(plans, c.SQL+"\n"+lines(t, rows))
		}
		return plans
	}
}

func lines(t *testing.T, rows *sql.Rows) string {
	var text strings.Builder
	for rows.Next() {
		var line string
		if err := rows.Scan(&line); err != nil {
			t.Fatal(err)
		}
		text.WriteString(line + "\n")
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return text.String()
}

// ReleasePlan is how PostgreSQL would look up credentials for agents.
func (s *Store) ReleasePlan(t *testing.T, id uuid.UUID) string {
	pool, err := s.write.DB()
	if err != nil {
		t.Fatal(err)
	}
	ids := "{" + id.String() + "}"
	rows, err := pool.QueryContext(t.Context(), "EXPLAIN "+releaseQuery, ids, ids, ids)
	if err != nil {
		t.Fatalf("explain %s: %v", releaseQuery, err)
	}
	return releaseQuery + "\n" + lines(t, rows)
}

// Setting is a PostgreSQL setting as connections of the pool have it.
func (s *Store) Setting(t *testing.T, name string) string {
	var value string
	if err := s.write.WithContext(t.Context()).Raw("SELECT current_setting(?)", name).Row().Scan(&value); err != nil {
		t.Fatal(err)
	}
	return value
}

// SetSyncBatch makes batches of SyncTokens smaller, so that a few tokens are
// many batches.
func (s *Store) SetSyncBatch(n int) { s.syncBatch = n }

// SetRefreshDue is Options.RefreshDue.
func (s *Store) SetRefreshDue(due func(models.Token) time.Time) { s.due = due }

// PassLease makes the end of a token's lease, and when it is due, a time in the past.
func (s *Store) PassLease(t *testing.T, accountID, tokenID uuid.UUID) {
	past := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, column := range []string{"lease_until", "due_at"} {
		err := s.write.WithContext(t.Context()).Model(&models.Refresh{}).
			Where("account_id = ? AND token_id = ? AND "+column+" IS NOT NULL", accountID, tokenID).UpdateColumn(column, past).Error
		if err != nil {
			t.Fatal(err)
		}
	}
}

// Count counts the rows of a table.
func (s *Store) Count(t *testing.T, table string) (n int64) {
	if err := s.write.WithContext(t.Context()).Table(table).Count(&n).Error; err != nil {
		t.Fatal(err)
	}
	return n
}

// Owned are the tables that DeleteAccount empties by itself.
func Owned() []string { return owned[:] }

// PassProbe makes the time when an account's webhook is asked next one in the past.
func (s *Store) PassProbe(t *testing.T, accountID uuid.UUID) {
	past := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	err := s.write.WithContext(t.Context()).Model(&models.WebhookProbe{}).Where("account_id = ?", accountID).UpdateColumn("due_at", past).Error
	if err != nil {
		t.Fatal(err)
	}
}
