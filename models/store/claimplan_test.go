package store_test

import (
	"context"
	"database/sql"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/models/store/storetest"
)

const (
	manyRefreshes = 100_000
	dueOfThem     = 50
)

// fillRefreshes stores many tokens with their refreshes, and as much in the outbox,
// few of which are due. Under the race detector, where SQLite, being Go, takes minutes
// for as many, it gets fewer.
func fillRefreshes(t *testing.T, dialect string, db *sql.DB) {
	t.Helper()
	account := "00000000-0000-7000-8000-000000000000"
	id, tenure, past := `lpad(to_hex(n), 8, '0') || '-0000-7000-8000-000000000000'`, `::uuid`, `timestamptz '2020-01-01 00:00:00Z' + n * interval '1 second'`
	numbers := fmt.Sprintf(`WITH ns AS (SELECT n FROM generate_series(1, %d) AS n) `, manyRefreshes)
	if dialect == store.SQLite {
		many := manyRefreshes
		if raceDetector {
			many /= 50
		}
		id, tenure, past = `printf('%08x-0000-7000-8000-000000000000', n)`, ``, `printf('2020-01-01 00:00:%02d+00:00', n)`
		numbers = fmt.Sprintf(`WITH RECURSIVE ns(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM ns WHERE n < %d) `, many)
	}
	due := fmt.Sprintf(`CASE WHEN n <= %d THEN %s ELSE '2999-01-01 00:00:00+00:00' END`, dueOfThem, past)
	for _, statement := range []string{
		`INSERT INTO accounts VALUES ('ACCOUNT', 'a@example.com', '', NULL, NULL, CURRENT_TIMESTAMP, CURRENT_TIMESTAMP)`,
		`INSERT INTO vaults (account_id, id, mode, created_at) VALUES ('ACCOUNT', 'ACCOUNT', 'webhook', CURRENT_TIMESTAMP)`,
		numbers + `INSERT INTO tokens (account_id, id, vault_id, service_name, token_type, display_name, notes, provider, creation_id,
				has_refresh_token, has_certificate, has_private_key, has_ssh_key, has_totp_secret, seen_path, seen_creation_id, created_at, updated_at)
			SELECT 'ACCOUNT'UUID, (ID)UUID, 'ACCOUNT'UUID, 's' || n, 'OAuth', '', '', 'p', '1', true, false, false, false, false, '', '',
				CURRENT_TIMESTAMP, CURRENT_TIMESTAMP FROM ns`,
		numbers + `INSERT INTO refreshes (account_id, token_id, due_at) SELECT 'ACCOUNT'UUID, (ID)UUID, ` + due + ` FROM ns`,
		numbers + `INSERT INTO outbox (account_id, token_id, creation_id, sequence, key_id, sealed, created_at, due_at)
			SELECT 'ACCOUNT'UUID, (ID)UUID, '1', 1, '', '', CURRENT_TIMESTAMP, ` + due + ` FROM ns`,
	} {
		_, err := db.ExecContext(t.Context(), strings.NewReplacer("ACCOUNT", account, "UUID", tenure, "ID)", id+")").Replace(statement))
		ok(t, err)
	}
}

// Claiming finds what is due through the index of due times, and everything else by
// its key, whatever the planner knows of the tables, and reads no more than it claims.
func TestClaimingDoesNotScan(t *testing.T) {
	t.Parallel()
	storetest.EachURL(t, func(t *testing.T, url string) {
		s := storetest.Open(t, url)
		db := rawDB(t, s.Dialect(), url)
		fillRefreshes(t, s.Dialect(), db)
		if s.Dialect() == store.Postgres { // what it is told of new tables before it looks at them
			_, err := db.ExecContext(t.Context(), "VACUUM tokens, refreshes, outbox")
			ok(t, err)
		}
		statements := s.CaptureStatements()
		for _, round := range []struct {
			analyze     bool
			limit, want int
		}{{false, 20, 20}, {true, 20, 20}, {true, 1000, dueOfThem - 40}} {
			if round.analyze {
				_, err := db.ExecContext(t.Context(), "ANALYZE")
				ok(t, err)
			}
			before := len(statements())
			refreshes, err := s.ClaimDue(t.Context(), round.limit, time.Hour)
			ok(t, err)
			entries, err := s.ClaimOutbox(t.Context(), round.limit, time.Hour)
			ok(t, err)
			same(t, "claimed", []int{len(refreshes), len(entries)}, []int{round.want, round.want})
			explained := 0
			for _, statement := range statements()[before:] {
				if strings.Contains(statement.SQL, "refreshes") || strings.Contains(statement.SQL, "outbox") {
					explained++
					explain(t, s.Dialect(), db, statement)
				}
			}
			if explained != 4 {
				t.Fatalf("got %d statements about refreshes and the outbox, want 4", explained)
			}
		}
	})
}

// explain fails for a plan that reads a whole table or sorts.
func explain(t *testing.T, dialect string, db *sql.DB, statement store.Statement) {
	t.Helper()
	var plan string
	bad := regexp.MustCompile(`Seq Scan|Sort|Hash|Merge`)
	if dialect == store.SQLite {
		bad = regexp.MustCompile(`SCAN (r|o|c|t|refreshes|outbox|tokens)\b|TEMP B-TREE`)
		rows, err := db.QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+statement.SQL, statement.Args...)
		ok(t, err)
		defer func() { _ = rows.Close() }()
		for rows.Next() {
			var id, parent, unused int
			var detail string
			ok(t, rows.Scan(&id, &parent, &unused, &detail))
			plan += detail + "\n"
		}
		ok(t, rows.Err())
	} else {
		plan = genericPlan(t, db, statement)
		var pages int
		for _, hit := range regexp.MustCompile(`(?m)^  Buffers: shared (?:hit=(\d+))?(?: ?read=(\d+))?`).FindAllStringSubmatch(plan, 1) {
			for _, n := range hit[1:] {
				if n != "" {
					more, err := strconv.Atoi(n)
					ok(t, err)
					pages += more
				}
			}
		}
		if pages == 0 || pages > 2000 {
			t.Errorf("%d pages are read, want some, and about as many as rows are claimed:\n%s", pages, plan)
		}
	}
	if plan == "" || bad.MatchString(plan) {
		t.Errorf("no index is used, or too much is read:\n%s\n%s", statement.SQL, plan)
	}
}

// genericPlan runs a statement as connections of the store do, planned once for all
// arguments, and undoes it.
func genericPlan(t *testing.T, db *sql.DB, statement store.Statement) string {
	t.Helper()
	tx, err := db.BeginTx(t.Context(), nil)
	ok(t, err)
	defer func() { ok(t, tx.Rollback()) }()
	_, err = tx.ExecContext(t.Context(), "SET LOCAL plan_cache_mode = force_generic_plan")
	ok(t, err)
	_, err = tx.ExecContext(t.Context(), "PREPARE claim AS "+statement.SQL)
	ok(t, err)
	args := make([]string, len(statement.Args))
	for i, arg := range statement.Args {
		if at, isTime := arg.(time.Time); isTime {
			arg = at.Format(time.RFC3339Nano)
		}
		args[i] = fmt.Sprintf("'%v'", arg)
	}
	plan := explained(t, tx, "EXPLAIN (ANALYZE, BUFFERS, COSTS OFF, TIMING OFF, SUMMARY OFF) EXECUTE claim("+strings.Join(args, ", ")+")")
	_, err = tx.ExecContext(context.WithoutCancel(t.Context()), "DEALLOCATE claim")
	ok(t, err)
	return plan
}

// explained is the text of a plan.
func explained(t *testing.T, tx *sql.Tx, statement string) string {
	t.Helper()
	rows, err := tx.QueryContext(t.Context(), statement)
	ok(t, err)
	defer func() { _ = rows.Close() }()
	var plan strings.Builder
	for rows.Next() {
		var line string
		ok(t, rows.Scan(&line))
		plan.WriteString(line + "\n")
	}
	ok(t, rows.Err())
	return plan.String()
}
