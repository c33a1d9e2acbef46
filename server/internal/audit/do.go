package audit

import (
	"context"

	"github.com/tvzero/tokenvault/server/internal/fault"
)

// Do records that e is about to happen, then does it: nothing happens that is
// not on record. When do fails, a second event bears the fault's code as its
// outcome. Neither Do nor Record may be called inside a transaction: on SQLite
// the record would wait for the lock that its caller holds.
func (s *Service) Do(ctx context.Context, e Event, do func(ctx context.Context) error) error {
	if err := s.Record(ctx, e); err != nil {
		return err
	}
	err := do(ctx)
	if err != nil {
		e.Outcome = fault.CodeOf(err)
		if failed := s.Record(context.WithoutCancel(ctx), e); failed != nil {
			s.deps.Logger.Error("audit: what failed could not be recorded as failed", "event", e.Type, "outcome", e.Outcome, "error", failed)
		}
	}
	return err
}
