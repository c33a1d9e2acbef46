package storetest_test

import (
	"database/sql"
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/models/store/storetest"
)

func TestEachRunsOnEveryDialectWithItsOwnDatabase(t *testing.T) {
	t.Parallel()
	ran := make(chan string, 10)
	t.Run("bodies", func(t *testing.T) {
		for range 2 {
			storetest.Each(t, func(t *testing.T, s *store.Store) {
				a := models.Account{ID: models.NewID(), Email: "the-same@example.com"}
				if err := s.CreateAccount(t.Context(), &a); err != nil {
					t.Errorf("%s: got error %v, want an empty database", s.Dialect(), err)
				}
				ran <- s.Dialect()
			})
		}
	})
	close(ran)
	counts := map[string]int{}
	for dialect := range ran {
		counts[dialect]++
	}
	if counts[store.SQLite] != 2 || counts[store.Postgres] != 2 {
		t.Fatalf("got runs %v, want 2 on each dialect", counts)
	}
}

// What tests begin with is what a server makes of an empty database.
func TestAMigratedDatabaseIsAsMigratingMakesIt(t *testing.T) {
	t.Parallel()
	for dialect, questions := range map[string][]string{
		store.SQLite: {
			"SELECT concat_ws(' ', type, name, tbl_name, sql) FROM sqlite_master",
			"SELECT concat_ws(' ', id, version_id, is_applied) FROM goose_db_version",
		},
		store.Postgres: {
			`SELECT concat_ws(' ', table_name, column_name, ordinal_position, column_default, is_nullable, data_type, udt_name, is_identity,
				identity_generation, is_generated, generation_expression) FROM information_schema.columns WHERE table_schema = current_schema()`,
			"SELECT concat_ws(' ', c.conrelid::regclass, c.conname, pg_get_constraintdef(c.oid)) FROM pg_constraint c WHERE c.connamespace = current_schema()::regnamespace",
			"SELECT replace(indexdef, current_schema(), '') FROM pg_indexes WHERE schemaname = current_schema()",
			"SELECT concat_ws(' ', relname, relkind, relpersistence, reloptions) FROM pg_class WHERE relnamespace = current_schema()::regnamespace",
			"SELECT replace(pg_get_functiondef(oid), current_schema(), '') FROM pg_proc WHERE pronamespace = current_schema()::regnamespace",
			"SELECT concat_ws(' ', t.tgrelid::regclass, t.tgname) FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid WHERE NOT t.tgisinternal AND c.relnamespace = current_schema()::regnamespace",
			"SELECT concat_ws(' ', id, version_id, is_applied) FROM goose_db_version",
		},
	} {
		t.Run(dialect, func(t *testing.T) {
			t.Parallel()
			migrated, given := storetest.Blank(t, dialect), storetest.URL(t, dialect)
			if err := storetest.Open(t, migrated).Migrate(t.Context()); err != nil {
				t.Fatal(err)
			}
			s := storetest.Open(t, given)
			if err := errors.Join(s.Ready(t.Context()), s.Migrate(t.Context())); err != nil {
				t.Errorf("the given database: %v", err)
			}
			for _, question := range questions {
				want, got := answers(t, migrated, question), answers(t, given, question)
				if !slices.Equal(want, got) || len(want) == 0 && !strings.Contains(question, "pg_proc") && !strings.Contains(question, "pg_trigger") {
					t.Errorf("%s\nmigrated %q\ngiven    %q", question, want, got)
				}
			}
		})
	}
}

// answers are the rows of a question about one column, sorted.
func answers(t *testing.T, address, question string) (list []string) {
	t.Helper()
	driver, name := "pgx", address
	if path, isSQLite := strings.CutPrefix(address, "sqlite:"); isSQLite {
		driver, name = "sqlite", "file:"+path
	}
	db, err := sql.Open(driver, name)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	rows, err := db.QueryContext(t.Context(), question)
	if err != nil {
		t.Fatalf("%s: %v", question, err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var row string
		if err := rows.Scan(&row); err != nil {
			t.Fatal(err)
		}
		list = append(list, row)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	slices.Sort(list)
	return list
}

// Without PostgreSQL a database test fails and says how to run it.
func TestWithoutPostgresNothingPasses(t *testing.T) {
	t.Parallel()
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestEachRunsOnEveryDialectWithItsOwnDatabase$")
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, storetest.Variable+"=") {
			child.Env = append(child.Env, v)
		}
	}
	out, err := child.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "make test") {
		t.Fatalf("got %v and the output below, want a failure that names `make test`\n%s", err, out)
	}
}
