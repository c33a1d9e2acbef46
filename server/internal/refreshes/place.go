package refreshes

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/tvzero/tokenvault/refresh"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/webhooks"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

var (
	// errRefused: the webhook gives no refresh token, so it is told to refresh itself.
	errRefused = errors.New("refreshes: the webhook gives no refresh token")
	// errOtherProvider: the refresh token is of another provider than the index says, and
	// must not be shown to that one.
	errOtherProvider = errors.New("refreshes: the webhook's token is of another provider")
)

// A place is a webhook's token for the engine: Read gets its refresh token from the
// webhook, Commit brings what the provider gave.
type place struct {
	s        *Service
	a        *attempt
	provider refresh.Provider // from the registry, whatever the webhook says

	mu      sync.Mutex
	claimed *held // taken already, for the first lease; nil: none
	keep    bool  // a lease that ended without an outcome is kept for who attempts
	kept    *held
	last    *result // of the lease that ended last with one
}

// Lease implements refresh.Place.
func (p *place) Lease(ctx context.Context, ttl time.Duration) (refresh.Lease, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	p.mu.Lock()
	claimed, kept := p.claimed, p.kept
	p.claimed, p.kept = nil, nil
	p.mu.Unlock()
	if kept != nil {
		p.s.release(ctx, *kept)
	}
	long := p.ttl(ttl)
	if claimed != nil {
		if claimed.left(p.s.now()) >= long {
			return &mediation{place: p, held: *claimed}, nil
		}
		// Nothing has been asked for yet: whoever takes it in between does no harm.
		p.s.release(ctx, *claimed)
	}
	h, err := p.s.take(ctx, p.a.account, p.a.token, long)
	if err != nil {
		return nil, err
	}
	return &mediation{place: p, held: h}, nil
}

// ttl is for how long a lease is taken. Where new tokens can only wait in memory, nobody
// else may use the old refresh token meanwhile.
func (p *place) ttl(asked time.Duration) time.Duration {
	if p.a.can(wire.CapOutbox) {
		return asked
	}
	return p.s.limits.CommitTime + asked
}

// leave ends that leases are kept, and returns the one that is; nil: none.
func (p *place) leave() *held {
	p.mu.Lock()
	defer p.mu.Unlock()
	kept := p.kept
	p.kept, p.keep = nil, false
	return kept
}

// keeps takes a lease that ended without an outcome, if somebody looks after it.
func (p *place) keeps(h held) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.keep {
		p.kept = &h
	}
	return p.keep
}

// wrote notes what a lease's end wrote down.
func (p *place) wrote(r result) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last = &r
}

// ended is what a lease's end wrote down, if there was one.
func (p *place) ended(otherwise result) result {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.last == nil {
		return otherwise
	}
	return *p.last
}

// get asks for the refresh token.
func (p *place) get(ctx context.Context) (wire.RefreshResponse, error) {
	var said wire.RefreshResponse
	err := p.s.call(p.a, func(t webhooks.Target) (err error) {
		said, err = p.s.deps.Webhooks.RefreshGet(ctx, t, p.a.service)
		return err
	})
	switch {
	case err != nil && isRefusal(err), err == nil && said.Status == wire.NotifyNoRefreshToken:
		return said, errRefused
	case err == nil && said.Status == wire.NotifyNoToken:
		return said, refresh.ErrGone
	}
	return said, err
}

// isRefusal reports whether a webhook does not serve this, or not for this token.
func isRefusal(err error) bool {
	switch webhooks.StatusOf(err) {
	case http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotImplemented:
		return true
	}
	return fault.CodeOf(err) == fault.TokenNotFound
}
