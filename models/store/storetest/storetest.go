// Package storetest gives each test its own migrated database, on SQLite and on
// real PostgreSQL alike. There is no way to run a database test on one of them
// alone, nor to skip it: without PostgreSQL it fails and says how to run it.
//
// It knows models/store and its migrations, and nothing of what is stored.
package storetest

import (
	"context"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/models/store"
)

// Variable names the environment variable with the URL of a PostgreSQL database
// in which tests may create schemas, by a superuser: some change settings of the server's.
const Variable = "TOKENVAULT_TEST_POSTGRES_URL"

// Dialects are the databases that every test must pass on.
var Dialects = [...]string{store.SQLite, store.Postgres}

// Each runs body as a parallel subtest on each dialect, with a migrated store
// that is closed, and its database removed, when the subtest ends.
func Each(t *testing.T, body func(t *testing.T, s *store.Store)) {
	t.Helper()
	for _, dialect := range Dialects {
		t.Run(dialect, func(t *testing.T) {
			t.Parallel()
			body(t, Open(t, URL(t, dialect)))
		})
	}
}

// EachURL is Each for a body that opens the database by itself.
func EachURL(t *testing.T, body func(t *testing.T, url string)) {
	t.Helper()
	for _, dialect := range Dialects {
		t.Run(dialect, func(t *testing.T) {
			t.Parallel()
			body(t, URL(t, dialect))
		})
	}
}

// URL is the address of a new, migrated database, which is removed when the test
// ends.
func URL(t testing.TB, dialect string) string {
	t.Helper()
	address := Blank(t, dialect)
	if path, isSQLite := strings.CutPrefix(address, "sqlite:"); isSQLite {
		file, err := migratedFile()
		if err == nil {
			err = os.WriteFile(path, file, 0o600)
		}
		if err != nil {
			t.Fatalf("make a migrated %s database: %v", dialect, err)
		}
		return address
	}
	script, err := migratedSchema()
	if err != nil {
		t.Fatalf("make a migrated %s database: %v", dialect, err)
	}
	administer(t, address, script)
	return address
}

// Blank is the address of a new database without a schema, which is removed when
// the test ends.
func Blank(t testing.TB, dialect string) string {
	t.Helper()
	switch dialect {
	case store.SQLite:
		return "sqlite:" + filepath.Join(t.TempDir(), "tokenvault.db")
	case store.Postgres:
		return schema(t)
	}
	t.Fatalf("dialect %q: want one of %v", dialect, Dialects)
	return ""
}

// Open opens a database and closes it when the test ends.
func Open(t testing.TB, address string) *store.Store {
	t.Helper()
	s := open(t, address)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close the store: %v", err)
		}
	})
	return s
}

func open(t testing.TB, address string) *store.Store {
	t.Helper()
	// A busy machine makes nobody give up who waits for the database.
	s, err := store.Open(t.Context(), store.Options{URL: address, MaxConns: 8, LoadTime: time.Minute, HeartbeatWait: 10 * time.Second})
	if err != nil {
		t.Fatalf("open the store: %v", err)
	}
	return s
}

// schema makes a schema in the test database and returns the URL that leads to
// it.
func schema(t testing.TB) string {
	t.Helper()
	base := os.Getenv(Variable)
	if base == "" {
		t.Fatalf("%s is not set, and database tests run on PostgreSQL too: run `make test`, or `scripts/with-postgres go test ./...`", Variable)
	}
	name := "t_" + strings.ReplaceAll(models.NewID().String(), "-", "")
	administer(t, base, "CREATE SCHEMA "+name)
	t.Cleanup(func() { administer(t, base, "DROP SCHEMA "+name+" CASCADE") })

	u, err := url.Parse(base)
	if err != nil {
		t.Fatalf("%s is not a URL", Variable)
	}
	query := u.Query()
	query.Set("options", strings.TrimSpace(query.Get("options")+" -csearch_path="+name))
	query.Set("application_name", name) // tells this test's connections from others'
	u.RawQuery = query.Encode()
	return u.String()
}

func administer(t testing.TB, base, statement string) {
	t.Helper()
	// Not the test's context: that has ended when its cleanups run. A test that
	// left a transaction open would otherwise hold up the DROP for ever.
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, base)
	if err != nil {
		t.Fatalf("connect to the database in %s: %v", Variable, err)
	}
	defer func() { _ = conn.Close(ctx) }()
	if _, err := conn.Exec(ctx, statement); err != nil {
		t.Fatalf("%.100s: %v", statement, err)
	}
}
