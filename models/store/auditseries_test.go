package store_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/models/store/storetest"
)

// timed makes events that bear ids of their own times.
func timed(events []models.AuditEvent) []models.AuditEvent {
	for i := range events {
		id := models.FirstID(events[i].At)
		copy(id[9:], events[i].ID[9:])
		events[i].ID = id
	}
	return events
}

func TestASeriesCountsEachBucketsEvents(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		account, agent := models.NewID(), models.NewID()
		events := timed(stream(account, 60)) // one a second
		for i := range events {
			e := &events[i]
			switch {
			case i < 10: // releases, one of another agent
			case i < 14:
				e.EventType, e.Outcome = "refusal", "NO_GRANT"
			case i < 24:
				e.EventType, e.Detail = "refresh", "path=notify outcome=rotated"
			case i < 26:
				e.EventType, e.Detail = "refresh", "path=tv-mediated: the webhook is asked for the refresh token"
			case i < 29:
				e.EventType, e.Outcome = "refresh", "REFRESH_FAILED"
			case i < 31:
				e.EventType, e.Outcome, e.Detail = "refresh", "REAUTHORIZATION_REQUIRED", "path=notify outcome=needs_reauthorization"
			case i < 40:
				e.EventType = "store"
			}
		}
		events[3].AgentID, events[12].AgentID, events[41].AgentID = &agent, &agent, &agent
		events[5].ServiceName = "gitlab"
		ok(t, s.AppendAudit(t.Context(), events))
		ok(t, s.AppendAudit(t.Context(), timed(stream(models.NewID(), 20))))

		filter := models.AuditSeries{Since: at, Until: at.Add(time.Minute), Bucket: 20 * time.Second}
		wantCounts(t, s, account, filter, []models.AuditCounts{
			{Bucket: 0, Releases: 10, Refusals: 4, Refreshed: 6},
			{Bucket: 1, Refreshed: 4, RefreshFailed: 3, Reauthorize: 2},
			{Bucket: 2, Releases: 20},
		})
		byService := filter
		byService.ServiceName = "gitlab"
		wantCounts(t, s, account, byService, []models.AuditCounts{{Releases: 1}})
		byAgent := filter
		byAgent.AgentID = &agent
		wantCounts(t, s, account, byAgent, []models.AuditCounts{{Releases: 1, Refusals: 1}, {Bucket: 2, Releases: 1}})
		part := models.AuditSeries{Since: at.Add(2 * time.Second), Until: at.Add(12 * time.Second), Bucket: time.Second * 8}
		wantCounts(t, s, account, part, []models.AuditCounts{{Releases: 8}, {Bucket: 1, Refusals: 2}})
		wantCounts(t, s, account, models.AuditSeries{Since: at.AddDate(0, 0, 1), Until: at.AddDate(0, 0, 2), Bucket: time.Hour}, nil)
		for _, bucket := range []time.Duration{0, time.Millisecond, 1500 * time.Millisecond} {
			if _, err := s.AuditSeries(t.Context(), account, models.AuditSeries{Since: at, Until: at.Add(time.Hour), Bucket: bucket}); !errors.Is(err, models.ErrInvalid) {
				t.Errorf("a bucket of %s: got %v, want ErrInvalid", bucket, err)
			}
		}
	})
}

func wantCounts(t *testing.T, s *store.Store, account [16]byte, f models.AuditSeries, want []models.AuditCounts) {
	t.Helper()
	got, err := s.AuditSeries(t.Context(), account, f)
	ok(t, err)
	if len(got) == 0 && len(want) == 0 {
		return
	}
	same(t, fmt.Sprintf("counts of %+v", f), got, want)
}

func TestEventsAreFilteredByTimeAndOutcome(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		account := models.NewID()
		events := timed(stream(account, 6))
		events[2].Outcome, events[4].Outcome = "NO_GRANT", "VAULT_LOCKED"
		ok(t, s.AppendAudit(t.Context(), events))
		pick := func(indexes ...int) (list []models.AuditEvent) {
			for _, i := range indexes {
				list = append(list, events[i])
			}
			return list
		}
		done, refused := true, false
		since, until := events[1].At, events[4].At
		wantEvents(t, s, account, models.AuditFilter{Done: &done}, pick(5, 3, 1, 0))
		wantEvents(t, s, account, models.AuditFilter{Done: &refused}, pick(4, 2))
		wantEvents(t, s, account, models.AuditFilter{Until: &until}, pick(3, 2, 1, 0))
		wantEvents(t, s, account, models.AuditFilter{Since: &since, Until: &until, Done: &done}, pick(3, 1))
		wantEvents(t, s, account, models.AuditFilter{Since: &until, Until: &since}, nil)
	})
}

// What covers a time reads that part of the primary key alone, whatever else there is.
func TestARangeOfTimesIsARangeOfThePrimaryKey(t *testing.T) {
	t.Parallel()
	storetest.EachURL(t, func(t *testing.T, url string) {
		s := storetest.Open(t, url)
		db := rawDB(t, s.Dialect(), url)
		account := models.NewID()
		for range 10 {
			ok(t, s.AppendAudit(t.Context(), timed(stream(account, 300))))
		}
		if s.Dialect() == store.Postgres {
			_, err := db.ExecContext(t.Context(), "ANALYZE audit_events")
			ok(t, err)
		}
		statements := s.CaptureStatements()
		since, until := at, at.Add(time.Hour)
		ok(t, s.InTx(t.Context(), func(ctx context.Context) error {
			_, counted := s.AuditSeries(ctx, account, models.AuditSeries{Since: since, Until: until, Bucket: time.Minute})
			_, listed := s.AuditEvents(ctx, account, models.AuditFilter{Since: &since, Until: &until, Limit: 50})
			return errors.Join(counted, listed)
		}))
		checked := 0
		for _, statement := range statements() {
			if !strings.Contains(statement.SQL, "audit_events") {
				continue
			}
			checked++
			plan := planOf(t, s.Dialect(), db, statement)
			if !regexp.MustCompile(`(?s)Index Cond: .*id >= .*id < |PRIMARY KEY \(account_id=\? AND id>\? AND id<\?\)`).MatchString(plan) {
				t.Errorf("%s\nreads more than a range of the primary key:\n%s", statement.SQL, plan)
			}
		}
		if checked != 2 {
			t.Fatalf("got %d statements about the events, want 2", checked)
		}
	})
}

// planOf is how a database would run a statement.
func planOf(t *testing.T, dialect string, db *sql.DB, statement store.Statement) string {
	t.Helper()
	explain := "EXPLAIN "
	if dialect == store.SQLite {
		explain = "EXPLAIN QUERY PLAN "
	}
	rows, err := db.QueryContext(t.Context(), explain+statement.SQL, statement.Args...)
	ok(t, err)
	defer func() { _ = rows.Close() }()
	var plan strings.Builder
	for rows.Next() {
		var line string
		var ignored [3]int
		if dialect == store.SQLite {
			err = rows.Scan(&ignored[0], &ignored[1], &ignored[2], &line)
		} else {
			err = rows.Scan(&line)
		}
		ok(t, err)
		plan.WriteString(line + "\n")
	}
	ok(t, rows.Err())
	return plan.String()
}
