package audit_test

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/models/store/storetest"
	"github.com/tvzero/tokenvault/server/internal/audit"
)

// A watched record is written by a run and verified beside it.
type watched struct {
	run
	t        *testing.T
	db       *store.Store
	raw      *sql.DB
	verifier *audit.Verifier
	now      time.Time
}

func eachWatched(t *testing.T, body func(w *watched)) {
	t.Helper()
	storetest.EachURL(t, func(t *testing.T, url string) {
		db := storetest.Open(t, url)
		driver, dsn := "pgx", url
		if db.Dialect() == store.SQLite {
			driver, dsn = "sqlite", strings.TrimPrefix(url, "sqlite:")+"?_pragma=busy_timeout(10000)"
		}
		raw, err := sql.Open(driver, dsn)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = raw.Close() })
		w := &watched{run: start(t, db, db, ring(t)), t: t, db: db, raw: raw, now: time.Now()}
		w.verifier = w.newVerifier()
		body(w)
	})
}

func (w *watched) newVerifier() *audit.Verifier {
	return audit.NewVerifier(audit.VerifierDeps{
		Chains: w.db, Verifications: w.db, Keys: w.keys, Written: func() int64 { return 0 },
		Now: func() time.Time { return w.now }, Random: func() float64 { return 0.5 }, Logger: slog.New(slog.DiscardHandler),
	})
}

// exec changes the database as somebody who has it would, without the triggers.
func (w *watched) exec(statements ...string) {
	w.t.Helper()
	for _, statement := range statements {
		if _, err := w.raw.ExecContext(w.t.Context(), statement); err != nil {
			w.t.Fatalf("%s: %v", statement, err)
		}
	}
}

func (w *watched) dropTriggers() {
	w.t.Helper()
	if w.db.Dialect() == store.SQLite {
		w.exec("DROP TRIGGER audit_events_no_update", "DROP TRIGGER audit_events_no_delete", "DROP TRIGGER audit_checkpoints_no_delete")
		return
	}
	w.exec("DROP TRIGGER audit_events_append_only ON audit_events", "DROP TRIGGER audit_checkpoints_append_only ON audit_checkpoints")
}

// verify visits every stream once, as if all were due, and returns what is known then.
func (w *watched) verify() audit.ChainState {
	w.t.Helper()
	if err := w.db.FindStreams(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	w.exec("UPDATE audit_verifications SET due_at = '2020-01-01 00:00:00+00:00'")
	for more := true; more; {
		var err error
		if more, err = w.verifier.Next(w.t.Context()); err != nil {
			w.t.Fatalf("a visit: %v", err)
		}
	}
	return w.state()
}

func (w *watched) state() audit.ChainState {
	w.t.Helper()
	state, err := w.verifier.State(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return state
}

func (w *watched) wantWhole(state audit.ChainState, streams int, entries int64) {
	w.t.Helper()
	if state.Streams != streams || state.Entries != entries || state.Pending != 0 || len(state.Breaks) != 0 || state.UpTo.IsZero() {
		w.t.Errorf("got %+v, want %d entries in %d streams, all of them verified", state, entries, streams)
	}
}

func (w *watched) wantBreak(state audit.ChainState, problem string) {
	w.t.Helper()
	if len(state.Breaks) != 1 || !strings.Contains(strings.Join(state.Breaks[0].Problems, "; "), problem) {
		w.t.Errorf("got %+v, want one break that says %q", state.Breaks, problem)
	}
}

func (w *watched) record(n int) {
	w.t.Helper()
	for range n {
		mustRecord(w.t, w.run, event("released"))
	}
}

func TestAVerifierGoesOnWhereItEndedAndReadsAllAgainEachDay(t *testing.T) {
	t.Parallel()
	eachWatched(t, func(w *watched) {
		w.record(5)
		w.wantWhole(w.verify(), 1, 5)
		w.record(3)
		if err := w.stop(); err != nil { // with a final checkpoint
			t.Fatal(err)
		}
		w.wantWhole(w.verify(), 1, 8)
		read := w.verifier.Stats().Rows
		w.now = w.now.Add(23 * time.Hour)
		w.wantWhole(w.verify(), 1, 8)
		if got := w.verifier.Stats().Rows; got != read {
			t.Errorf("%d rows were read of a stream that has nothing new", got-read)
		}
		if got := w.state().UpTo; !got.Equal(models.Stamp(w.now)) {
			t.Errorf("verified up to %s, want now, %s", got, w.now)
		}
		w.now = w.now.Add(2 * time.Hour)
		w.wantWhole(w.verify(), 1, 8)
		if got := w.verifier.Stats().Rows; got != read+8 {
			t.Errorf("%d rows were read on the next day, want all 8", got-read)
		}
	})
}

func TestAChangedRowIsFoundAndToldUntilItIsWholeAgain(t *testing.T) {
	t.Parallel()
	eachWatched(t, func(w *watched) {
		w.record(6)
		if err := w.stop(); err != nil {
			t.Fatal(err)
		}
		w.wantWhole(w.verify(), 1, 6)
		w.dropTriggers()
		w.exec("UPDATE audit_events SET detail = 'nothing happened' WHERE seq = 3")
		w.wantWhole(w.verify(), 1, 6) // not yet: it is read again tomorrow
		w.now = w.now.Add(25 * time.Hour)
		w.wantBreak(w.verify(), "row 3 (event")
		if got := w.verifier.Stats().Breaks; got != 1 {
			t.Errorf("%d visits found something, want one", got)
		}
		w.wantBreak(w.verify(), "does not match its hash")
		w.now = w.now.Add(25 * time.Hour)
		w.wantBreak(w.verify(), "does not match its hash")
		w.exec("UPDATE audit_events SET detail = 'released' WHERE seq = 3")
		w.now = w.now.Add(25 * time.Hour)
		w.wantWhole(w.verify(), 1, 6)
	})
}

func TestAForgedChainAndACutStreamAreFound(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ change, want string }{
		"a row gone":           {"DELETE FROM audit_events WHERE seq = 2", "rows 2 to 2 are missing"},
		"a signed row gone":    {"DELETE FROM audit_events WHERE seq = 5", "a checkpoint signed row 5, which is missing"},
		"a forged checkpoint":  {"UPDATE audit_checkpoints SET seq = 4", "checkpoint at row 4"},
		"a row in no chain":    {"UPDATE audit_events SET seq = -1 WHERE seq = 1", "is in no chain"},
		"a hash of another":    {"UPDATE audit_events SET hash = (SELECT hash FROM audit_events WHERE seq = 1) WHERE seq = 4", "row 4 (event"},
		"a row behind the end": {"UPDATE audit_events SET seq = 6 WHERE seq = 5", "but has rows up to 6"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			eachWatched(t, func(w *watched) {
				w.record(5)
				if err := w.stop(); err != nil {
					t.Fatal(err)
				}
				w.dropTriggers()
				if w.db.Dialect() == store.SQLite && strings.Contains(c.change, "audit_checkpoints") {
					w.exec("DROP TRIGGER audit_checkpoints_no_update")
				}
				if name == "a row behind the end" {
					w.exec("DELETE FROM audit_events WHERE seq = 4", "UPDATE audit_events SET seq = 4 WHERE seq = 5", "UPDATE audit_events SET seq = 5 WHERE seq = 4")
				}
				w.exec(c.change)
				state := w.verify()
				if name == "a row behind the end" { // the row that was signed is gone with it
					w.wantBreak(state, "which is missing")
					return
				}
				w.wantBreak(state, c.want)
			})
		})
	}
}

// What `tokenvault audit verify` cannot see, since nothing is left that tells of it.
func TestAStreamCutOffWithItsCheckpointsIsMissedByWhoSawItBefore(t *testing.T) {
	t.Parallel()
	eachWatched(t, func(w *watched) {
		w.record(5)
		if err := w.stop(); err != nil {
			t.Fatal(err)
		}
		w.wantWhole(w.verify(), 1, 5)
		w.dropTriggers()
		w.exec("DELETE FROM audit_events WHERE seq > 3", "DELETE FROM audit_checkpoints")
		mustHold(t, w.db, w.keys)
		w.wantBreak(w.verify(), "rows 4 to 5 were there when the stream was last verified, and are missing")
		w.exec("DELETE FROM audit_events")
		w.now = w.now.Add(25 * time.Hour)
		w.wantBreak(w.verify(), "rows 1 to 5 were there")
	})
}

// Batches that wait to become rows are neither made rows nor missed.
func TestPendingBatchesAreLeftAlone(t *testing.T) {
	t.Parallel()
	eachWatched(t, func(w *watched) {
		w.record(1)
		pending := func() (n int) {
			if err := w.raw.QueryRowContext(t.Context(), "SELECT count(*) FROM audit_blocks").Scan(&n); err != nil {
				t.Fatal(err)
			}
			return n
		}
		all := int64(2)
		for range 100 { // until enough came while a batch was written
			answers := make([]<-chan error, 40)
			for i := range answers {
				answers[i] = w.later(t.Context(), event("released"))
			}
			for _, answer := range answers {
				if err := <-answer; err != nil {
					t.Fatal(err)
				}
			}
			all += int64(len(answers))
			if pending() != 0 || w.db.Dialect() == store.SQLite {
				break
			}
		}
		w.record(1)
		before := pending()
		if before == 0 && w.db.Dialect() == store.Postgres {
			t.Fatal("nothing is pending, so that the test tells nothing")
		}
		if state := w.verify(); len(state.Breaks) != 0 || pending() != before {
			t.Errorf("got %+v and %d pending batches, want no break and %d", state, pending(), before)
		}
		if err := w.stop(); err != nil {
			t.Fatal(err)
		}
		if state := w.verify(); len(state.Breaks) != 0 {
			t.Errorf("got %+v with a final checkpoint whose rows are pending, want no break", state)
		}
		if _, err := w.db.ProjectAudit(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.wantWhole(w.verify(), 1, all)
	})
}

func TestAVerifierThatIsStoppedLeavesItsStreamToOthers(t *testing.T) {
	t.Parallel()
	eachWatched(t, func(w *watched) {
		w.record(3)
		if err := w.db.FindStreams(t.Context()); err != nil {
			t.Fatal(err)
		}
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := w.verifier.Next(gone); err == nil {
			t.Error("a visit after the end succeeded")
		}
		if err := w.newVerifier().Run(gone); err != nil {
			t.Errorf("Run ended with %v, want nil", err)
		}
		w.wantWhole(w.verify(), 1, 3)
		state, err := w.db.ClaimVerification(t.Context(), time.Hour)
		if !errors.Is(err, models.ErrNotFound) {
			t.Errorf("a stream that was just visited is due: %+v, %v", state, err)
		}
	})
}
