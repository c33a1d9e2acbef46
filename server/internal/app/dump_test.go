package app_test

import (
	"database/sql"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

// connect opens a database with the bare driver, to look behind the server.
func connect(t testing.TB, address string) *sql.DB {
	t.Helper()
	driver, name := "pgx", address
	if path, isSQLite := strings.CutPrefix(address, "sqlite:"); isSQLite {
		driver, name = "sqlite", "file:"+path+"?_pragma=busy_timeout(10000)"
	}
	db, err := sql.Open(driver, name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// dump is all rows of all tables but the audit record, a line each, by table.
// What the server notes at times of its own is left out: when something was last used,
// and how webhooks are.
func dump(t testing.TB, db *sql.DB) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	for _, table := range tables(t, db) {
		out[table] = lines(t, db, table)
	}
	return out
}

func lines(t testing.TB, db *sql.DB, table string) []string {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), "SELECT * FROM "+table) // #nosec G202 -- a name from the catalogue
	if err != nil {
		t.Fatalf("dump %s: %v", table, err)
	}
	defer func() { _ = rows.Close() }()
	columns, err := rows.Columns()
	if err != nil {
		t.Fatal(err)
	}
	out := []string{}
	for rows.Next() {
		values, targets := make([]any, len(columns)), make([]any, len(columns))
		for i := range values {
			targets[i] = &values[i]
		}
		if err := rows.Scan(targets...); err != nil {
			t.Fatalf("dump %s: %v", table, err)
		}
		var line strings.Builder
		for i, name := range columns {
			if name != "last_used_at" && !strings.HasPrefix(name, "health_") {
				fmt.Fprintf(&line, "%s=%v ", name, values[i])
			}
		}
		out = append(out, line.String())
	}
	if err := rows.Err(); err != nil {
		t.Fatalf("dump %s: %v", table, err)
	}
	slices.Sort(out)
	return out
}

func tables(t testing.TB, db *sql.DB) []string {
	t.Helper()
	list := "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()"
	var version string
	if db.QueryRowContext(t.Context(), "SELECT sqlite_version()").Scan(&version) == nil {
		list = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
	}
	rows, err := db.QueryContext(t.Context(), list)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	var names []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(name, "audit_") && !strings.HasPrefix(name, "goose_") && !strings.HasPrefix(name, "webhook_") {
			names = append(names, name)
		}
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	if len(names) < 8 {
		t.Fatalf("the database has the tables %v: too few to be all of them", names)
	}
	return names
}

// wantUnchanged compares two dumps.
func wantUnchanged(t testing.TB, what string, before, after map[string][]string) {
	t.Helper()
	for _, table := range slices.Sorted(maps.Keys(before)) {
		if !slices.Equal(before[table], after[table]) {
			t.Errorf("%s: table %s changed\nbefore %q\nafter  %q", what, table, before[table], after[table])
		}
	}
}
