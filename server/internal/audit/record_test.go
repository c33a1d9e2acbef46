package audit_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/audit"
)

func TestRecordReturnsOnlyWhenItsRowIsDurable(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLedger()
		r := start(t, l, nil, ring(t))
		release := l.hold()
		answer := r.later(t.Context(), event("first"))
		synctest.Wait() // everybody waits for the ledger
		mustBeUnanswered(t, answer)
		release()
		if err := <-answer; err != nil {
			t.Fatalf("Record: %v", err)
		}
		rows := l.rows()
		if len(rows) != 1 || rows[0].Detail != "first" || rows[0].Outcome != "ok" || rows[0].Seq != 1 {
			t.Fatalf("the ledger has %+v, want the first event as row 1", rows)
		}
	})
}

func TestWhatComesWhileABatchIsWrittenIsOneBatch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLedger()
		r := start(t, l, nil, ring(t))
		release := l.hold()
		answers := []<-chan error{r.later(t.Context(), event("0"))}
		synctest.Wait()
		for i := range 500 {
			answers = append(answers, r.later(t.Context(), event(fmt.Sprint(i+1))))
		}
		synctest.Wait()
		mustBeUnanswered(t, answers...)
		release()
		for _, a := range answers {
			if err := <-a; err != nil {
				t.Fatalf("Record: %v", err)
			}
		}
		if got := l.sizes(); !slices.Equal(got, []int{1, 500}) {
			t.Errorf("batches of %v, want [1 500]", got)
		}
		if got, want := r.Stats(), (audit.Stats{Rows: 501, Batches: 2}); got != want {
			t.Errorf("Stats = %+v, want %+v", got, want)
		}
		mustHold(t, l.record(), r.keys)
	})
}

func TestAFailedBatchRefusesAllWhoWaitForItAndBeginsANewStream(t *testing.T) {
	t.Parallel()
	for _, kept := range []bool{false, true} { // whether the rows got there all the same
		t.Run(fmt.Sprintf("rows kept %v", kept), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				l := newLedger()
				r := start(t, l, nil, ring(t))
				mustRecord(t, r, event("1"), event("2"), event("3"))
				release := l.hold()
				first := r.later(t.Context(), event("4"))
				synctest.Wait()
				answers := []<-chan error{r.later(t.Context(), event("5")), r.later(t.Context(), event("6"))}
				synctest.Wait()
				l.set(func(l *ledger) { l.refuse, l.keepRefused = func([]models.AuditEvent) error { return errAway }, kept })
				release()
				for _, a := range append(answers, first) {
					err := <-a
					unavailable(t, err)
					if !errors.Is(err, errAway) {
						t.Errorf("got %v, which hides its cause from the log", err)
					}
				}
				l.set(func(l *ledger) { l.refuse = nil })
				mustRecord(t, r, event("7"))

				rows := l.rows()
				last := rows[len(rows)-1]
				if last.StreamID == rows[0].StreamID || last.Seq != 1 {
					t.Errorf("after a failure row %d of stream %s was written; want row 1 of another than %s", last.Seq, last.StreamID, rows[0].StreamID)
				}
				if err := r.stop(); err != nil {
					t.Fatalf("Run: %v", err)
				}
				for _, report := range mustHold(t, l.record(), r.keys) {
					switch report.StreamID {
					case rows[0].StreamID: // what was known to be durable is signed
						if report.Signed != 3 || report.Final {
							t.Errorf("the cut stream is signed up to %d, final %v; want 3, false", report.Signed, report.Final)
						}
					case last.StreamID:
						if report.Signed != 1 || !report.Final {
							t.Errorf("the new stream is signed up to %d, final %v; want 1, true", report.Signed, report.Final)
						}
					}
				}
				if got := r.Stats().Failures; got != 2 {
					t.Errorf("%d failures counted, want 2", got)
				}
			})
		})
	}
}

func TestAWriteThatDoesNotEndIsGivenUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLedger()
		r := start(t, l, nil, ring(t))
		release := l.hold()
		defer release()
		began := time.Now()
		err := r.Record(t.Context(), event(""))
		unavailable(t, err)
		if took := time.Since(began); !errors.Is(err, context.DeadlineExceeded) || took != audit.WriteTimeout {
			t.Errorf("given up after %v with %v, want the deadline after %v", took, err, audit.WriteTimeout)
		}
	})
}

func TestACallerWhoLeavesIsRefusedAndItsRowIsWrittenAllTheSame(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLedger()
		r := start(t, l, nil, ring(t))
		release := l.hold()
		ctx, leave := context.WithCancel(t.Context())
		answer := r.later(ctx, event("left"))
		synctest.Wait()
		leave()
		err := <-answer
		unavailable(t, err)
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want the context's error as its cause", err)
		}
		release()
		mustRecord(t, r, event("next"))
		if rows := l.rows(); len(rows) != 2 || rows[0].Detail != "left" || rows[1].Detail != "next" {
			t.Errorf("the ledger has %+v, want both events", rows)
		}
	})
}

func TestMoreThanMayWaitIsRefusedAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLedger()
		r := start(t, l, nil, ring(t))
		release := l.hold()
		answers := []<-chan error{r.later(t.Context(), event(""))}
		synctest.Wait()
		for range audit.MaxPending {
			answers = append(answers, r.later(t.Context(), event("")))
		}
		synctest.Wait()
		unavailable(t, r.Record(t.Context(), event("too many")))
		mustBeUnanswered(t, answers...)
		release()
		for _, a := range answers {
			if err := <-a; err != nil {
				t.Fatalf("Record: %v", err)
			}
		}
		mustRecord(t, r, event("again"))
		if got, want := len(l.rows()), audit.MaxPending+2; got != want {
			t.Errorf("%d rows, want %d", got, want)
		}
	})
}

func TestAtTheEndWhatIsPendingIsWrittenAndSigned(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLedger()
		r := start(t, l, nil, ring(t))
		release := l.hold()
		answers := []<-chan error{r.later(t.Context(), event("being written"))}
		synctest.Wait()
		for range 20 {
			answers = append(answers, r.later(t.Context(), event("pending")))
		}
		synctest.Wait()
		ended := make(chan error, 1)
		go func() { ended <- r.stop() }()
		synctest.Wait()
		mustBeUnanswered(t, answers...)
		release()
		if err := <-ended; err != nil {
			t.Fatalf("Run: %v", err)
		}
		for _, a := range answers {
			if err := <-a; err != nil {
				t.Errorf("Record: %v", err)
			}
		}
		unavailable(t, r.Record(t.Context(), event("after the end")))
		reports := mustHold(t, l.record(), r.keys)
		if len(reports) != 1 || reports[0].Rows != 21 || reports[0].Signed != 21 || !reports[0].Final {
			t.Errorf("got %+v, want one final stream of 21 rows, all signed", reports)
		}
	})
}

func TestARecordThatNothingWasToldLeavesNothing(t *testing.T) {
	t.Parallel()
	l := newLedger()
	r := start(t, l, nil, ring(t))
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	if len(l.rows()) != 0 || len(l.signed()) != 0 {
		t.Errorf("%d rows and %d checkpoints, want none", len(l.rows()), len(l.signed()))
	}
}

func TestCheckpointsComeWithTimeAndWithRowsAndAtTheEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLedger()
		r := start(t, l, nil, ring(t))
		signed := func(want ...int64) {
			t.Helper()
			synctest.Wait()
			var got []int64
			for _, c := range l.signed() {
				got = append(got, c.Seq)
			}
			if !slices.Equal(got, want) {
				t.Fatalf("signed at rows %v, want %v", got, want)
			}
		}
		minute := func() { <-time.After(time.Minute) }
		mustRecord(t, r, event("1"), event("2"))
		signed()
		minute()
		signed(2)
		minute() // nothing new, nothing to sign
		signed(2)

		mustRecord(t, r, event("3"))
		l.set(func(l *ledger) { l.unsigned = errAway })
		minute()
		signed(2)
		l.set(func(l *ledger) { l.unsigned = nil })
		minute() // made good
		signed(2, 3)

		for n := int64(3); n < audit.CheckpointEvery+3; n++ {
			mustRecord(t, r, event(""))
		}
		signed(2, 3, audit.CheckpointEvery+3)

		// The stream ends where it was signed last: a checkpoint says that, too.
		if err := r.stop(); err != nil {
			t.Fatal(err)
		}
		signed(2, 3, audit.CheckpointEvery+3, audit.CheckpointEvery+3)
		if c := l.signed(); c[2].Final || !c[3].Final {
			t.Errorf("final: %v, then %v; want false, then true", c[2].Final, c[3].Final)
		}
		mustHold(t, l.record(), r.keys)
	})
}

func TestAnEventIsStoredAsItWasTold(t *testing.T) {
	t.Parallel()
	l := newLedger()
	r := start(t, l, nil, ring(t))
	agent, grant := models.NewID(), models.NewID()
	full := audit.Event{
		AccountID: account, Type: audit.Refusal, Source: audit.Agent, Outcome: "NO_GRANT", Service: "github",
		AgentID: agent, GrantID: grant, Client: audit.Client{Address: "192.0.2.1", UserAgent: "curl/8", RequestID: "r1"}, Detail: "d",
	}
	mustRecord(t, r, full, audit.Event{Type: audit.Lock, Source: audit.System})
	rows := l.rows()
	got, bare := rows[0], rows[1]
	if got.AgentID == nil || *got.AgentID != agent || got.GrantID == nil || *got.GrantID != grant {
		t.Fatalf("got agent %v and grant %v, want %v and %v", got.AgentID, got.GrantID, agent, grant)
	}
	want := models.AuditEvent{
		AccountID: account, ID: got.ID, StreamID: got.StreamID, Seq: 1, At: got.At, EventType: "refusal", Source: "agent",
		Outcome: "NO_GRANT", ServiceName: "github", AgentID: got.AgentID, GrantID: got.GrantID, Client: "curl/8",
		Address: "192.0.2.1", RequestID: "r1", Detail: "d", Hash: got.Hash,
	}
	if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if time.Since(got.At) > time.Minute || got.At != models.Stamp(got.At) {
		t.Errorf("at %v, want the present in UTC and microseconds", got.At)
	}
	if bare.AgentID != nil || bare.GrantID != nil || bare.Outcome != audit.OutcomeOK {
		t.Errorf("a bare event has agent %v, grant %v, outcome %q; want none, none, ok", bare.AgentID, bare.GrantID, bare.Outcome)
	}
}
