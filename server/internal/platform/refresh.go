package platform

import (
	"context"
	"errors"
	"time"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/refresh"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
)

// Refreshed is what came of a refresh that somebody asked for.
type Refreshed struct {
	Path      string // models.PathPlatform
	Outcome   refresh.Kind
	Reason    refresh.Reason // why there are no new tokens; empty: there are
	ExpiresAt time.Time      // of the access token that there is now; zero: never, or unknown
	RetryAt   time.Time      // of refresh.RetryAt
}

// Refresh refreshes a token of p's vault at its provider, whether that is due or not,
// or waits for who is at it. What was tried a moment ago is not tried again, nor before
// the provider wishes. That it did not work is no error. INVALID_REQUEST: the
// token is not of a kind that a provider renews; TOKEN_NOT_FOUND; VAULT_LOCKED;
// UNAVAILABLE: nothing is known of how it ended.
func (s *Service) Refresh(ctx context.Context, p grants.Principal, client audit.Client, ref Ref) (Refreshed, error) {
	if _, err := s.Token(ctx, p, ref); err != nil {
		return Refreshed{}, err
	}
	if err := s.open(ctx, p.AccountID); err != nil {
		return Refreshed{}, err
	}
	h, err := s.deps.Holders.Keys(ctx, p)
	if err != nil {
		return Refreshed{}, err
	}
	defer h.Clear()
	by := reader{principal: p, client: client}
	for try := 1; ; try++ {
		l, err := s.lookAsOwner(ctx, h, ref)
		if err != nil {
			return Refreshed{}, err
		}
		o, err := s.refreshNow(ctx, by, l)
		l.clear()
		switch {
		case errors.Is(err, errOtherKey) && try < tries, errors.Is(err, refresh.ErrGone) && try < tries:
			continue // it has another key by now, or is gone
		case err != nil && !errors.Is(err, refresh.ErrNotCommitted) && !errors.Is(err, refresh.ErrNotNoted):
			if ctx.Err() != nil || fault.CodeOf(err) != fault.Internal {
				return Refreshed{}, err
			}
			return Refreshed{}, fault.Wrap(err, fault.Unavailable, "The token could not be refreshed, and nothing is known of how it ended. Look at it again shortly.")
		}
		s.settleAfter(ctx, h)
		return s.reported(ctx, p, ref, o)
	}
}

// refreshNow refreshes what a reader has opened.
func (s *Service) refreshNow(ctx context.Context, by reader, l *look) (refresh.Outcome, error) {
	if !issued(l.token.TokenType) {
		return refresh.Outcome{}, fault.New(fault.InvalidRequest, "%q is not from a provider that renews it: there is nothing to refresh.", l.token.ServiceName)
	}
	if s.deps.Engine == nil {
		return refresh.Outcome{}, fault.New(fault.Unavailable, "This server refreshes no tokens.")
	}
	row, err := s.deps.Leases.Refresh(ctx, l.token.AccountID, l.token.ID)
	if err != nil && !errors.Is(err, models.ErrNotFound) {
		return refresh.Outcome{}, err
	}
	if o, ok := triedJustNow(row, s.deps.Now()); ok {
		return o, nil
	}
	if _, err := s.providerOf(ctx, l.credential); err != nil {
		at := undiscovered(s.deps.Now(), 0)
		return refresh.Outcome{Kind: refresh.RetryAt, Reason: refresh.ReasonProviderUnreachable, At: at}, nil
	}
	return s.fly(ctx, l.token, l.cek, refreshEvent(by, l.token), refresh.Options{Force: true})
}

// askPause is between two refreshes of a credential that somebody asks for.
const askPause = 30 * time.Second

// triedJustNow is what came of a refresh a moment ago: however often its owner asks, a
// provider is not called again and again. What was stored since was not tried.
func triedJustNow(r models.Refresh, now time.Time) (refresh.Outcome, bool) {
	if r.TriedAt == nil || now.Sub(*r.TriedAt).Abs() >= askPause { // clocks differ
		return refresh.Outcome{}, false
	}
	o := refresh.Outcome{Kind: refresh.Kind(r.Outcome), Reason: refresh.Reason(r.Reason), Attempts: r.Attempts}
	switch o.Kind {
	case refresh.Rotated, refresh.StillValid:
		return refresh.Outcome{Kind: refresh.StillValid}, true
	case refresh.RetryAt:
		o.At = r.TriedAt.Add(askPause)
		if r.RetryAt != nil && o.Reason.Holds() && r.RetryAt.After(o.At) {
			o.At = *r.RetryAt
		}
	case refresh.NeedsReauthorization:
	default:
		return refresh.Outcome{}, false
	}
	return o, true
}

func (s *Service) reported(ctx context.Context, p grants.Principal, ref Ref, o refresh.Outcome) (Refreshed, error) {
	r := Refreshed{Path: models.PathPlatform, Outcome: o.Kind, Reason: o.Reason}
	if o.Kind == refresh.RetryAt {
		r.RetryAt = o.At
	}
	t, err := s.Token(ctx, p, ref)
	if err == nil && t.ExpiresAt != nil {
		r.ExpiresAt = *t.ExpiresAt
	}
	return r, err
}
