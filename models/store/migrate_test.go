package store_test

import (
	"context"
	"database/sql"
	"io/fs"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/pressly/goose/v3"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/models/migrations"
	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/models/store/storetest"
)

// rawDB is a connection of the test's own, with the drivers that the store
// brings along.
func rawDB(t *testing.T, dialect, url string) *sql.DB {
	t.Helper()
	driver, dsn := "pgx", url
	if dialect == store.SQLite {
		driver, dsn = "sqlite", strings.TrimPrefix(url, "sqlite:")+"?_pragma=foreign_keys(1)"
	}
	db, err := sql.Open(driver, dsn)
	ok(t, err)
	t.Cleanup(func() { ok(t, db.Close()) })
	return db
}

func provider(t *testing.T, dialect string, db *sql.DB) *goose.Provider {
	t.Helper()
	files, err := fs.Sub(migrations.Files(), dialect)
	ok(t, err)
	names := map[string]goose.Dialect{store.SQLite: goose.DialectSQLite3, store.Postgres: goose.DialectPostgres}
	p, err := goose.NewProvider(names[dialect], db, files, goose.WithSlog(slog.New(slog.DiscardHandler)))
	ok(t, err)
	return p
}

func eachBlank(t *testing.T, body func(t *testing.T, dialect, url string)) {
	t.Helper()
	for _, dialect := range storetest.Dialects {
		t.Run(dialect, func(t *testing.T) {
			t.Parallel()
			body(t, dialect, storetest.Blank(t, dialect))
		})
	}
}

// fillFirst writes a row into every table of version 1, in which no store of today
// can write, and returns the id that all of them bear.
func fillFirst(t *testing.T, db *sql.DB) uuid.UUID {
	t.Helper()
	id := models.NewID()
	for _, statement := range []string{
		`INSERT INTO accounts VALUES (ID, 'first@example.com', '', NULL, NULL, CURRENT_TIMESTAMP, CURRENT_TIMESTAMP)`,
		`INSERT INTO first_account VALUES (1, CURRENT_TIMESTAMP)`,
		`INSERT INTO vaults VALUES (ID, ID, 'webhook', CURRENT_TIMESTAMP)`,
		`INSERT INTO bindings VALUES (ID, ID, ID, 'active', 'https://webhook.example', '', '', 0, NULL, '2', NULL, '', '', 'healthy', '',
			NULL, CURRENT_TIMESTAMP, NULL, NULL)`,
		`INSERT INTO grants VALUES (ID, ID, 'agent_key', 'ci', ID, NULL, NULL, '', '', CURRENT_TIMESTAMP, NULL, NULL, NULL, 0, NULL)`,
		`INSERT INTO grant_keys VALUES (ID, ID, 1, 0, NULL, CURRENT_TIMESTAMP, NULL, 0, NULL)`,
		`INSERT INTO agents VALUES (ID, ID, 'ci', '', 'active', ID, CURRENT_TIMESTAMP, CURRENT_TIMESTAMP, NULL)`,
		`INSERT INTO tokens VALUES (ID, ID, ID, 'github', 'ApiKey', '', '', NULL, '', '1', NULL, false, false, false, false, false, NULL,
			NULL, '', '', CURRENT_TIMESTAMP, CURRENT_TIMESTAMP)`,
		`INSERT INTO tokens SELECT account_id, 'OTHER', vault_id, 'google', 'OAuth', '', '', NULL, '', '1', '2030-01-01 12:00:00.25+00:00',
			true, false, false, false, false, NULL, NULL, '', '', created_at, updated_at FROM tokens`,
		`INSERT INTO credential_grants VALUES (ID, ID, 'github', ID, 'auto', NULL, CURRENT_TIMESTAMP, 0, NULL)`,
	} {
		_, err := db.ExecContext(t.Context(), strings.NewReplacer("ID,", "'"+id.String()+"',", "OTHER", models.NewID().String()).Replace(statement))
		ok(t, err)
	}
	return id
}

// fillPlatform writes a row into every table of platform mode, and of refreshes.
func fillPlatform(t *testing.T, s *store.Store) {
	t.Helper()
	v := newPlatformVault(t, s)
	superseded := v.credential(t, s, "github", func(token *models.Token) { token.SupersededAt = models.StampPtr(at) })
	v.credential(t, s, "github", func(token *models.Token) { token.Bridge = "weather" })
	v.agentKey(t, s, superseded, models.WholeGrant)
	next := filled[models.Successor](t)
	next.AccountID, next.GrantID, next.Slot = v.AccountID, v.grant.ID, v.slot.Slot
	key := v.slot
	key.Slot = 7
	_, _, err := s.PutSuccessor(t.Context(), &next, &key)
	ok(t, err)
	other, _ := newGrant(t, s, v.AccountID)
	e := newEscrow(t, v.Vault, v.grant.ID, other.ID)
	ok(t, s.PutEscrow(t.Context(), &e))
	_, err = s.TakeLease(t.Context(), v.AccountID, superseded.ID, time.Minute)
	ok(t, err)
	waiting := filled[models.OutboxEntry](t)
	waiting.AccountID, waiting.TokenID = v.AccountID, superseded.ID
	ok(t, s.PutOutbox(t.Context(), &waiting))
}

func TestMigrationsGoForwardAndBackWithDataInTheTables(t *testing.T) {
	t.Parallel()
	eachBlank(t, func(t *testing.T, dialect, url string) {
		db := rawDB(t, dialect, url)
		p := provider(t, dialect, db)
		s := storetest.Open(t, url)
		if _, err := p.UpTo(t.Context(), 1); err != nil {
			t.Fatalf("up to 1: %v", err)
		}
		id := fillFirst(t, db)
		if err := s.Ready(t.Context()); err == nil || !strings.Contains(err.Error(), "version 1") {
			t.Fatalf("ready with an old schema: got %v, want an error that names its version", err)
		}
		ok(t, s.Migrate(t.Context()))
		ok(t, s.Ready(t.Context()))
		got, granted, err := s.AgentWithGrants(t.Context(), id, id)
		ok(t, err)
		same(t, "agent after the migration", got.Name, "ci")
		same(t, "its grants", len(granted), 1)
		same(t, "its token exists", granted[0].TokenExists, true)
		token, err := s.Token(t.Context(), id, id, "github")
		ok(t, err)
		same(t, "token after the migration", token.CreationID, "1")
		_, err = s.Refresh(t.Context(), id, token.ID)
		wantErr(t, err, models.ErrNotFound)
		refreshable, err := s.Token(t.Context(), id, id, "google")
		ok(t, err)
		same(t, "a refresh that was never scheduled", refreshOf(t, s, refreshable), models.Refresh{AccountID: id, TokenID: refreshable.ID,
			DueAt: models.StampPtr(time.Date(2030, 1, 1, 11, 0, 0, 250e6, time.UTC))})
		grant, _, err := s.GrantWithKey(t.Context(), id, id, 1)
		ok(t, err)
		same(t, "grant after the migration", grant.Label, "ci")
		_, err = s.BindingByState(t.Context(), id, models.BindingActive)
		ok(t, err)
		ok(t, s.AppendAudit(t.Context(), stream(id, 3)))
		fillPlatform(t, s)

		if _, err := p.DownTo(t.Context(), 1); err != nil {
			t.Fatalf("down to 1: %v", err)
		}
		same(t, "tokens of names that version 1 has", texts(t, db, "SELECT service_name FROM tokens"), []string{"github", "google"})
		if _, err := p.DownTo(t.Context(), 0); err != nil {
			t.Fatalf("down to 0: %v", err)
		}
		same(t, "tables left", tables(t, dialect, db), []string{"goose_db_version"})
		ok(t, s.Migrate(t.Context()))
		fillPlatform(t, s)
	})
}

func tables(t *testing.T, dialect string, db *sql.DB) []string {
	t.Helper()
	query := "SELECT table_name FROM information_schema.tables WHERE table_schema = current_schema()"
	if dialect == store.SQLite {
		query = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
	}
	return texts(t, db, query)
}

func texts(t *testing.T, db *sql.DB, query string, args ...any) []string {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), query, args...)
	ok(t, err)
	defer func() { ok(t, rows.Close()) }()
	var list []string
	for rows.Next() {
		var text string
		ok(t, rows.Scan(&text))
		list = append(list, text)
	}
	ok(t, rows.Err())
	slices.Sort(list)
	return list
}

func TestBothDialectsHaveTheSameTablesColumnsAndIndexes(t *testing.T) {
	t.Parallel()
	shape := func(dialect string) []string {
		url := storetest.URL(t, dialect)
		db := rawDB(t, dialect, url)
		if dialect == store.SQLite {
			return texts(t, db, `SELECT m.name || '.' || c.name || CASE WHEN c."notnull" OR c.pk THEN ' required' ELSE '' END
				FROM sqlite_master m, pragma_table_info(m.name) c WHERE m.type = 'table' AND m.name NOT LIKE 'goose%' AND m.name NOT LIKE 'sqlite%'
				UNION ALL SELECT 'index ' || name FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL`)
		}
		return texts(t, db, `SELECT table_name || '.' || column_name || CASE WHEN is_nullable = 'NO' THEN ' required' ELSE '' END
			FROM information_schema.columns WHERE table_schema = current_schema() AND table_name NOT LIKE 'goose%'
			UNION ALL SELECT 'index ' || indexname FROM pg_indexes WHERE schemaname = current_schema() AND indexname NOT LIKE '%_pkey'`)
	}
	same(t, "schema on SQLite, against PostgreSQL", shape(store.SQLite), shape(store.Postgres))
}

func TestSeveralReplicasMigrateAtOnce(t *testing.T) {
	t.Parallel()
	eachBlank(t, func(t *testing.T, dialect, url string) {
		replicas := make([]*store.Store, 6)
		for i := range replicas {
			replicas[i] = storetest.Open(t, url)
		}
		for _, err := range together(len(replicas), func(i int) error { return replicas[i].Migrate(t.Context()) }) {
			ok(t, err)
		}
		for _, s := range replicas {
			ok(t, s.Ready(t.Context()))
		}
		db, versions := rawDB(t, dialect, url), []string{"0"}
		for _, source := range provider(t, dialect, db).ListSources() {
			versions = append(versions, strconv.FormatInt(source.Version, 10))
		}
		slices.Sort(versions) // as text, as texts does
		same(t, "versions applied, once each", texts(t, db, "SELECT CAST(version_id AS text) FROM goose_db_version"), versions)
	})
}

func TestMigrateWaitsNoLongerThanItsContext(t *testing.T) {
	t.Parallel()
	url := storetest.Blank(t, store.Postgres)
	db := rawDB(t, store.Postgres, url)
	held, err := db.Conn(t.Context())
	ok(t, err)
	defer func() { ok(t, held.Close()) }()
	_, err = held.ExecContext(t.Context(), "SELECT pg_advisory_lock(hashtextextended('tokenvault/migrate/' || current_schema(), 0))")
	ok(t, err)
	s := storetest.Open(t, url)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Migrate(ctx) }()
	const waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND pid IN (SELECT pid FROM pg_stat_activity WHERE application_name = current_setting('application_name'))"
	for n := 0; n == 0; {
		ok(t, db.QueryRowContext(t.Context(), waiting).Scan(&n))
	}
	cancel()
	wantErr(t, <-done, context.Canceled)
}

func TestStoreIsNotReadyBeforeMigrationAndReadyAheadOfIt(t *testing.T) {
	t.Parallel()
	eachBlank(t, func(t *testing.T, dialect, url string) {
		s := storetest.Open(t, url)
		if err := s.Ready(t.Context()); err == nil {
			t.Fatal("ready before any migration: got no error, want one")
		}
		ok(t, s.Migrate(t.Context()))
		_, err := rawDB(t, dialect, url).ExecContext(t.Context(), "INSERT INTO goose_db_version (version_id, is_applied) VALUES (999, true)")
		ok(t, err)
		ok(t, s.Ready(t.Context())) // a newer replica has migrated
		ok(t, s.Migrate(t.Context()))
	})
}

func TestAuditLogOnlyGrows(t *testing.T) {
	t.Parallel()
	storetest.EachURL(t, func(t *testing.T, url string) {
		s := storetest.Open(t, url)
		events := stream(models.NewID(), 2)
		ok(t, s.AppendAudit(t.Context(), events))
		checkpoint := filled[models.AuditCheckpoint](t)
		ok(t, s.PutCheckpoint(t.Context(), &checkpoint))
		db := rawDB(t, s.Dialect(), url)
		statements := []string{
			"UPDATE audit_events SET detail = 'x'", "DELETE FROM audit_events",
			"UPDATE audit_checkpoints SET seq = 1", "DELETE FROM audit_checkpoints",
		}
		if s.Dialect() == store.Postgres {
			statements = append(statements, "TRUNCATE audit_events", "TRUNCATE audit_checkpoints")
		}
		for _, statement := range statements {
			_, err := db.ExecContext(t.Context(), statement)
			if err == nil || !strings.Contains(err.Error(), "append-only") {
				t.Errorf("%s: got error %v, want that the log is append-only", statement, err)
			}
		}
		wantEvents(t, s, events[0].AccountID, models.AuditFilter{}, newestFirst(events))
	})
}
