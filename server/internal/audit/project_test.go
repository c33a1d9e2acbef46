package audit_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/audit"
)

// A projecting record keeps rows nowhere and counts housekeeping.
type projecting struct {
	calls int
	fails bool
}

func (*projecting) AppendAudit(context.Context, []models.AuditEvent) error       { return nil }
func (*projecting) PutCheckpoint(context.Context, *models.AuditCheckpoint) error { return nil }

func (p *projecting) ProjectAudit(context.Context) (int64, error) {
	p.calls++
	if p.fails {
		return 0, errors.New("no database")
	}
	return 0, nil
}

func TestPendingBatchesBecomeRowsInQuietTimesOrWhenTheyAreMany(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &projecting{}
		keys := ring(t)
		s := audit.New(audit.Deps{Writer: p, Projector: p, Signer: keys, Now: time.Now, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 2)
		go func() { done <- s.Run(ctx) }()
		go func() { done <- s.Project(ctx) }()
		step := func(events, want int, what string) {
			t.Helper()
			s.Wrote(int64(events))
			time.Sleep(audit.ProjectPeriod)
			synctest.Wait()
			if p.calls != want {
				t.Fatalf("%s: housekeeping has run %d times, want %d", what, p.calls, want)
			}
		}
		time.Sleep(time.Second) // between ticks
		step(0, 0, "at the start")
		step(0, 0, "after two quiet periods")
		step(0, 1, "after three, for what an earlier server may have left")
		step(0, 1, "with nothing pending")
		step(5000, 1, "under load")
		step(5000, 1, "under load")
		step(10, 1, "one quiet period after")
		step(10, 1, "two quiet periods after")
		p.fails = true
		step(0, 2, "three quiet periods after")
		step(0, 3, "after a failure")
		p.fails = false
		step(0, 4, "after another")
		step(0, 4, "after a success")
		step(audit.MaxUnread-1, 4, "just below what a reader should wait for")
		step(audit.MaxUnread, 5, "above it, under load")
		step(audit.MaxUnread, 6, "above it again")
		cancel()
		for range 2 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	})
}
