package refreshes

import (
	"context"
	"time"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/refresh"
	"github.com/tvzero/tokenvault/server/internal/webhooks"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// notify has the webhook refresh a token. attempts failed before.
func (s *Service) notify(ctx context.Context, a *attempt, attempts int) result {
	if !a.can(wire.CapRefresh) {
		return result{path: models.PathMediated, outcome: s.again(ReasonRefused, attempts+1, look), detail: "the webhook gave no refresh token"}
	}
	reason := wire.ReasonExpiring
	if a.force {
		reason = wire.ReasonRequested
	}
	hint := s.hint(ctx, a.provider)
	var said wire.RefreshNotifyResponse
	err := s.call(a, func(t webhooks.Target) (err error) {
		said, err = s.deps.Webhooks.RefreshNotify(ctx, t, a.service, reason, hint)
		return err
	})
	r := result{path: models.PathNotify}
	if err != nil {
		r.outcome = s.ofError(err, attempts+1)
		return r
	}
	switch said.Status {
	case wire.NotifyRefreshed:
		s.refreshed(ctx, &r, a, said.NewExpiresAt, attempts)
	case wire.NotifyAcknowledged:
		r.outcome = s.unattended(a.expires, attempts+1)
	case wire.NotifyNoToken:
		r.outcome, r.resync = s.again(ReasonNoToken, attempts+1, lookSoon), true
	case wire.NotifyNoRefreshToken:
		r.outcome, r.resync = refresh.Outcome{Kind: refresh.NeedsReauthorization, Reason: refresh.ReasonNoRefreshToken, Attempts: attempts + 1}, true
	default:
		r.outcome = s.failed(said, attempts+1)
	}
	return r
}

// refreshed is what a webhook means that says so. It may have had nothing to do.
func (s *Service) refreshed(ctx context.Context, r *result, a *attempt, newExpiry string, attempts int) {
	now := s.now()
	if newExpiry == "" {
		s.refreshedUnsaid(ctx, r, a, attempts)
		return
	}
	expires, ok := s.timeOf(newExpiry)
	if !ok || !expires.After(now) {
		r.outcome = s.again(ReasonWebhookError, attempts+1, 0)
		return
	}
	if a.expires != nil && a.expires.Equal(expires) {
		r.outcome, r.issued = refresh.Outcome{Kind: refresh.StillValid, At: expires}, orZero(a.issued)
		return
	}
	r.outcome = refresh.Outcome{Kind: refresh.Rotated, At: expires}
	r.renewed = &renewal{creation: a.creation, expires: &expires, issued: &now, hasToken: true}
}

// refreshedUnsaid is for a webhook that does not say when the new token expires: its
// list does, or the token never expires.
func (s *Service) refreshedUnsaid(ctx context.Context, r *result, a *attempt, attempts int) {
	s.resync(ctx, a)
	t, err := s.deps.Index.TokenByID(ctx, a.account, a.token)
	switch {
	case err != nil:
		r.outcome = s.again(ReasonWebhookError, attempts+1, 0)
	case t.ExpiresAt == nil:
		r.outcome = refresh.Outcome{Kind: refresh.Rotated}
	case !t.ExpiresAt.After(s.now()):
		r.outcome = s.again(ReasonWebhookError, attempts+1, 0)
	case a.expires != nil && a.expires.Equal(*t.ExpiresAt):
		r.outcome, r.issued = refresh.Outcome{Kind: refresh.StillValid, At: *t.ExpiresAt}, orZero(t.IssuedAt)
	default:
		r.outcome = refresh.Outcome{Kind: refresh.Rotated, At: *t.ExpiresAt}
	}
}

func orZero(at *time.Time) time.Time {
	if at == nil {
		return time.Time{}
	}
	return *at
}

// failed is what a webhook says of a refresh that failed. What it leaves open, or says
// in no words of ours, is tried again.
func (s *Service) failed(said wire.RefreshNotifyResponse, attempts int) refresh.Outcome {
	if said.NeedsReauthorization {
		reason := known(said.Reason, refresh.ReasonInvalidGrant)
		if !reason.Permanent() {
			reason = refresh.ReasonInvalidGrant
		}
		return refresh.Outcome{Kind: refresh.NeedsReauthorization, Reason: reason, Attempts: attempts}
	}
	o := s.again(known(said.Reason, ReasonRefreshFailed), attempts, 0)
	if at, ok := s.timeOf(said.RetryAt); ok {
		now := s.now()
		o.At = clampTime(at, now.Add(minPause), now.Add(refresh.MaxRetryAfter))
	}
	return o
}

func clampTime(at, least, most time.Time) time.Time {
	if at.Before(least) {
		return least
	}
	if at.After(most) {
		return most
	}
	return at
}

// hint is what a webhook may be told of a provider: never the client secret.
func (s *Service) hint(ctx context.Context, provider string) wire.RefreshHint {
	hint := wire.RefreshHint{Provider: provider}
	if !s.deps.Providers.Has(provider) {
		return hint
	}
	ctx, cancel := context.WithTimeout(ctx, hintTime)
	defer cancel()
	if p, err := s.deps.Providers.Provider(ctx, provider); err == nil {
		hint.TokenURL, hint.ClientID = p.TokenURL, p.ClientID
	}
	return hint
}

// hintTime bounds how long a provider is asked for its endpoint, for a hint that
// nobody needs.
const hintTime = 2 * time.Second
