package platform

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/refresh"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/custody"
)

// Engine refreshes credentials, each once: refresh.Engine. Its clock is the service's.
type Engine interface {
	Ensure(ctx context.Context, key string, p refresh.Place, o refresh.Options) (refresh.Outcome, error)
}

// Providers are the authorization servers that this server is a client of. NOT_FOUND:
// none has this id. UNAVAILABLE: where its endpoints are cannot be found out.
type Providers interface {
	Provider(ctx context.Context, id string) (refresh.Provider, error)
}

// A flight is a refresh that goes on whoever leaves. It ends with the engine's.
type flight struct {
	done    chan struct{} // closed when the two below are set
	outcome refresh.Outcome
	err     error
}

// fly refreshes a token of which the caller has the key, or waits for who is at it in
// this process, but not for ever: one that cannot store its tokens may wait for a key
// that its reader has by now. The error is ctx's when that ends first. In either case
// the refresh goes on.
func (s *Service) fly(ctx context.Context, t models.Token, cek custody.CEK, by audit.Event, o refresh.Options) (refresh.Outcome, error) {
	f := s.board(ctx, t, cek, by, o)
	late := time.NewTimer(leaseWait)
	defer late.Stop()
	select {
	case <-f.done:
		return f.outcome, f.err
	case <-late.C:
		return refresh.Outcome{Kind: refresh.RetryAt, Reason: refresh.ReasonBusy, At: s.deps.Now().Add(shortly)}, nil
	case <-ctx.Done():
		return refresh.Outcome{}, ctx.Err()
	}
}

// board returns the flight for a token, with the caller's key aboard. There is one for
// who reads, and one for who asks for a refresh that need not be due; they share the
// keys, and the engine sees to it that one call is made.
func (s *Service) board(ctx context.Context, t models.Token, cek custody.CEK, by audit.Event, o refresh.Options) *flight {
	s.aloft.Lock()
	defer s.aloft.Unlock()
	p := s.places[t.ID]
	if p == nil {
		p = newPlace(s, t, by)
		s.places[t.ID] = p
	}
	p.bring(cek)
	seat := 0
	if o.Force {
		seat = 1
	}
	if f := p.flights[seat]; f != nil {
		return f
	}
	f := &flight{done: make(chan struct{})}
	p.flights[seat] = f
	go func() {
		f.outcome, f.err = s.deps.Engine.Ensure(context.WithoutCancel(ctx), t.ID.String(), p, o)
		s.land(p, seat)
		close(f.done)
	}()
	return f
}

// land forgets a flight, and with the last one the keys.
func (s *Service) land(p *place, seat int) {
	s.aloft.Lock()
	defer s.aloft.Unlock()
	p.flights[seat] = nil
	if p.flights == [2]*flight{} {
		delete(s.places, p.tokenID)
		p.clear()
	}
}

// refreshEvent is how p's refresh of a token stands in the record.
func refreshEvent(by reader, t models.Token) audit.Event {
	e := event(audit.Refresh, by.principal, by.client, refOf(t))
	e.AgentID = by.principal.AgentID
	if e.AgentID != uuid.Nil {
		e.Source = audit.Agent
	}
	return e
}
