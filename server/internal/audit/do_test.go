package audit_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/fault"
)

func outcomes(l *ledger) (list []string) {
	for _, row := range l.rows() {
		list = append(list, row.Outcome)
	}
	return list
}

func TestWhatIsDoneIsOnRecordBefore(t *testing.T) {
	t.Parallel()
	l := newLedger()
	r := start(t, l, nil, ring(t))
	err := r.Do(t.Context(), event(""), func(context.Context) error {
		if got := len(l.rows()); got != 1 {
			t.Errorf("%d rows when it is done, want 1", got)
		}
		return nil
	})
	if got := outcomes(l); err != nil || !slices.Equal(got, []string{"ok"}) {
		t.Errorf("outcomes %q, %v; want one ok", got, err)
	}
}

func TestNothingIsDoneThatIsNotOnRecord(t *testing.T) {
	t.Parallel()
	l := newLedger()
	l.refuse = func([]models.AuditEvent) error { return errAway }
	r := start(t, l, nil, ring(t))
	done := false
	unavailable(t, r.Do(t.Context(), event(""), func(context.Context) error { done = true; return nil }))
	if done || len(l.rows()) != 0 {
		t.Errorf("done: %v, with %d rows; want nothing", done, len(l.rows()))
	}
}

func TestWhatFailedIsOnRecordAsFailed(t *testing.T) {
	t.Parallel()
	for want, failure := range map[string]error{
		"CONFLICT": fault.New(fault.Conflict, "taken"),
		"INTERNAL": errors.New("something foreign"),
	} {
		l := newLedger()
		r := start(t, l, nil, ring(t))
		ctx, leave := context.WithCancel(t.Context())
		err := r.Do(ctx, event(""), func(context.Context) error {
			leave() // who asked may be gone: the failure is recorded all the same
			return failure
		})
		if got := outcomes(l); !errors.Is(err, failure) || !slices.Equal(got, []string{"ok", want}) {
			t.Errorf("outcomes %q, %v; want ok, %s, and the failure", got, err, want)
		}
	}
}

func TestAFailureThatCannotBeRecordedIsStillTheAnswer(t *testing.T) {
	t.Parallel()
	l := newLedger()
	r := start(t, l, nil, ring(t))
	failure := fault.New(fault.Conflict, "taken")
	err := r.Do(t.Context(), event(""), func(context.Context) error {
		l.set(func(l *ledger) { l.refuse = func([]models.AuditEvent) error { return errAway } })
		return failure
	})
	if !errors.Is(err, failure) {
		t.Errorf("got %v, want %v", err, failure)
	}
}
