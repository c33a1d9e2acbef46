package grants

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/fault"
)

// lateEvery is how often the use of one followed token is recorded, by a replica.
const lateEvery = time.Hour

// follow looks where a session's token stands in the chain of its successors. At
// a successor's first use that is noted; from then on, whoever still uses the
// token before it is recorded: it may be somebody who copied that one.
func (s *Service) follow(ctx context.Context, g *good, now time.Time) error {
	if g.principal.Kind != models.GrantSession || s.deps.Slots == nil {
		return nil
	}
	p := &g.principal
	if p.Slot > 0 {
		before, err := s.successor(ctx, p, p.Slot-1)
		if err != nil {
			return err
		}
		if before != nil && before.SeenAt == nil {
			err := s.deps.Slots.SuccessorSeen(ctx, p.AccountID, p.GrantID, p.Slot-1, now)
			if err != nil && !errors.Is(err, models.ErrNotFound) {
				return unavailable(err)
			}
			s.deps.Gate.Changed(p.AccountID) // the older token, too, is looked at anew
		}
	}
	if !g.due(now) { // it cannot have a successor
		return nil
	}
	next, err := s.successor(ctx, p, p.Slot)
	if err != nil || next == nil || next.SeenAt == nil {
		return err
	}
	return s.recordLate(ctx, p, now)
}

// successor of a slot; nil when none was made.
func (s *Service) successor(ctx context.Context, p *Principal, number uint32) (*models.Successor, error) {
	row, err := s.deps.Slots.Successor(ctx, p.AccountID, p.GrantID, number)
	switch {
	case errors.Is(err, models.ErrNotFound):
		return nil, nil
	case err != nil:
		return nil, unavailable(err)
	}
	return &row, nil
}

func (s *Service) recordLate(ctx context.Context, p *Principal, now time.Time) error {
	at := slot{p.GrantID, p.Slot}
	s.mu.Lock()
	last, recorded := s.late[at]
	fresh := recorded && now.Sub(last) < lateEvery
	if !fresh {
		s.late[at] = now
	}
	s.mu.Unlock()
	if fresh {
		return nil
	}
	err := s.deps.Audit.Record(ctx, audit.Event{
		AccountID: p.AccountID, Type: audit.SignIn, Source: audit.Direct, GrantID: p.GrantID,
		Detail: fmt.Sprintf("an old session token was used after its successor (token %d of the session)", p.Slot+1),
	})
	if err != nil {
		s.mu.Lock()
		delete(s.late, at)
		s.mu.Unlock()
	}
	return err
}

// forgetLate drops what recordLate remembers and needs no more.
func (s *Service) forgetLate(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for at, last := range s.late {
		if now.Sub(last) >= lateEvery {
			delete(s.late, at)
		}
	}
}

func unavailable(err error) error {
	return fault.Wrap(err, fault.Unavailable, "The database cannot be reached at the moment. Try again shortly.")
}
