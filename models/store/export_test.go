package store

import (
	"database/sql"
	"strings"
	"testing"

	"github.com/google/uuid"
	"gorm.io/gorm"
)

// CapturePlans notes every statement from now on. What it returns asks
// PostgreSQL how it would run each of them.
func (s *Store) CapturePlans() func(t *testing.T) []string {
	type statement struct {
		sql  string
		args []any
	}
	var captured []statement
	note := func(db *gorm.DB) {
		captured = append(captured, statement{db.Statement.SQL.String(), db.Statement.Vars})
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
	return func(t *testing.T) []string {
		var plans []string
		for _, c := range captured {
			if strings.Contains(c.sql, "pg_notify") {
				continue
			}
			pool, err := s.write.DB()
			if err != nil {
				t.Fatal(err)
			}
			rows, err := pool.QueryContext(t.Context(), "EXPLAIN "+c.sql, c.args...)
			if err != nil {
				t.Fatalf("explain %s: %v", c.sql, err)
			}
			plans = append(plans, c.sql+"\n"+lines(t, rows))
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
