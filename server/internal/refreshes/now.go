package refreshes

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/refresh"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
)

// A Result is how a refresh ended that somebody asked for.
type Result struct {
	Path      string // models.PathNotify or models.PathMediated
	Outcome   refresh.Kind
	Reason    refresh.Reason
	ExpiresAt *time.Time // of rotated and still_valid; nil: never, or unknown
	RetryAt   *time.Time // of retry_at
}

const (
	askTime     = 75 * time.Second // in all; an answer that takes 90 s is cut off
	enoughTime  = 10 * time.Second // a token that was refreshed since is not refreshed again
	failedTime  = 30 * time.Second // nor one whose provider has refused since; webhooks see to that by themselves
	firstGlance = 100 * time.Millisecond
	nextGlances = time.Second // at most, while another refreshes it
)

// RefreshNow refreshes a token of the account's webhook, due or not, and waits while
// another does. It is done although ctx may end. SCOPE_DENIED for agents; WRONG_VAULT_MODE:
// the account has no webhook; VAULT_LOCKED; TOKEN_NOT_FOUND; INVALID_REQUEST: it is no OAuth token;
// WEBHOOK_NOT_CONFIGURED: neither webhook nor server can; UNAVAILABLE: it takes too long, and goes on.
func (s *Service) RefreshNow(ctx context.Context, p grants.Principal, client audit.Client, service string) (Result, error) {
	if p.Kind == models.GrantAgentKey {
		return Result{}, fault.New(fault.ScopeDenied, "An agent's key cannot do this. Sign in as a user.")
	}
	until := time.Now().Add(askTime)
	leave, err := s.enter(ctx, until, p, client, service)
	if err != nil {
		return Result{}, err
	}
	defer leave()
	a, err := s.asked(ctx, p, client, service) // after the wait: it may be locked by now, or elsewhere
	if err != nil {
		return Result{}, err
	}
	// What a provider answers must not be lost because somebody closed a page.
	ctx, cancel := context.WithDeadline(context.WithoutCancel(ctx), until)
	defer cancel()
	before, err := s.deps.Leases.Refresh(ctx, a.account, a.token)
	if err != nil && !errors.Is(err, models.ErrNotFound) {
		return Result{}, fmt.Errorf("refreshes: refresh: %w", err)
	}
	if s.triedEnough(a, before) {
		return s.resultOf(ctx, a, before)
	}
	var r result
	if s.mediated(a.custody, a.provider) {
		r, err = s.mediate(ctx, a, nil, before.Attempts, refresh.Options{Force: true})
	} else {
		r, err = s.notifyNow(ctx, a, before)
	}
	switch {
	case errors.Is(err, refresh.ErrGone):
		return Result{}, notFound(service)
	case err != nil && ctx.Err() != nil:
		return Result{}, tooLong(err)
	case err != nil:
		return Result{}, err
	}
	return r.public(), nil
}

// enter waits for a place among those who ask for refreshes of the same webhook. Who
// leaves meanwhile waits no more, and has begun nothing.
func (s *Service) enter(ctx context.Context, until time.Time, p grants.Principal, client audit.Client, service string) (leave func(), err error) {
	a, err := s.asked(ctx, p, client, service)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	if leave, err = s.lanes.Enter(ctx, a.host()); err != nil {
		return nil, fault.Wrap(err, fault.Unavailable, "Too many refreshes of this webhook are asked for at the moment. Nothing was done; try again in a minute.")
	}
	return leave, nil
}

// triedEnough reports whether the last attempt answers also who asks for one at once:
// it has succeeded a moment ago, or the provider wishes a pause. What this server's
// operator or the owner have to put in order is tried when they say so, but not again
// and again.
func (s *Service) triedEnough(a *attempt, last models.Refresh) bool {
	now, reason := s.now(), refresh.Reason(last.Reason)
	since := func(at *time.Time) time.Duration {
		if at == nil {
			return look
		}
		return now.Sub(*at).Abs() // clocks differ
	}
	switch refresh.Kind(last.Outcome) {
	case refresh.Rotated:
		return since(last.RefreshedAt) < enoughTime
	case refresh.RetryAt:
		if reason.Holds() {
			return last.RetryAt != nil && last.RetryAt.After(now)
		}
		return reason.ForOperator() && s.mediated(a.custody, a.provider) && since(last.TriedAt) < failedTime
	case refresh.NeedsReauthorization:
		return s.mediated(a.custody, a.provider) && since(last.TriedAt) < failedTime
	}
	return false
}

// asked finds what is to be refreshed, and refuses what cannot be.
func (s *Service) asked(ctx context.Context, p grants.Principal, client audit.Client, service string) (*attempt, error) {
	c, err := s.deps.Vaults.Custody(ctx, p.AccountID)
	if err != nil {
		return nil, err
	}
	switch {
	case c.Mode != models.ModeWebhook:
		return nil, fault.New(fault.WrongVaultMode, "No webhook is bound to this account.")
	case c.Locked:
		return nil, fault.New(fault.VaultLocked, "The vault is locked by its owner: nothing is refreshed until it is unlocked.")
	}
	t, err := s.deps.Index.Token(ctx, p.AccountID, c.Binding.VaultID, service)
	if errors.Is(err, models.ErrNotFound) {
		return nil, notFound(service)
	}
	if err != nil {
		return nil, fmt.Errorf("refreshes: token: %w", err)
	}
	if t.TokenType != models.TypeOAuth {
		return nil, fault.Field("service", "%q is no OAuth token: there is nothing to refresh it with.", service)
	}
	if reason, _ := s.hindrance(c, t.VaultID, t.Provider); reason != "" {
		return nil, fault.New(fault.WebhookNotConfigured, "The webhook does not refresh tokens, and does not let this server do it. Its operator sets that up.")
	}
	a := attemptOf(dueOf(t), c)
	a.force = true
	a.event.Source, a.event.GrantID, a.event.Client = audit.Direct, p.GrantID, client
	return a, nil
}

func notFound(service string) error {
	return fault.New(fault.TokenNotFound, "There is no token named %.128q.", service)
}

func tooLong(cause error) error {
	return fault.Wrap(cause, fault.Unavailable, "The refresh takes longer than it should, and goes on. Look at the token in a minute.")
}

// notifyNow takes the lease, waiting for who has it, and tells the webhook, unless
// that other did.
func (s *Service) notifyNow(ctx context.Context, a *attempt, before models.Refresh) (result, error) {
	h, err := s.await(ctx, a)
	if err != nil {
		return result{}, err
	}
	row, err := s.deps.Leases.Refresh(ctx, a.account, a.token)
	if err != nil {
		s.release(ctx, h)
		return result{}, fmt.Errorf("refreshes: refresh: %w", err)
	}
	if row.TriedAt != nil && (before.TriedAt == nil || row.TriedAt.After(*before.TriedAt)) {
		s.release(ctx, h)
		found, err := s.resultOf(ctx, a, row)
		return found.private(), err
	}
	r := s.notifyAfterOutbox(ctx, a, row.Attempts)
	s.finish(ctx, a, h, r)
	return r, nil
}

// await takes a lease, however long others have it, within ctx.
func (s *Service) await(ctx context.Context, a *attempt) (held, error) {
	for wait := firstGlance; ; wait = min(2*wait, nextGlances) {
		h, err := s.take(ctx, a.account, a.token, s.limits.claimTime())
		var busy *refresh.BusyError
		if !errors.As(err, &busy) {
			return h, err
		}
		timer := time.NewTimer(vary(wait, 0.5, s.deps.Random()))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return held{}, ctx.Err()
		}
	}
}

// resultOf is what a row says of the last attempt.
func (s *Service) resultOf(ctx context.Context, a *attempt, row models.Refresh) (Result, error) {
	out := Result{Path: row.Path, Outcome: refresh.Kind(row.Outcome), Reason: refresh.Reason(row.Reason), RetryAt: row.RetryAt}
	if out.Outcome != refresh.Rotated && out.Outcome != refresh.StillValid {
		return out, nil
	}
	t, err := s.deps.Index.TokenByID(ctx, a.account, a.token)
	if errors.Is(err, models.ErrNotFound) {
		return Result{}, notFound(a.service)
	}
	if err != nil {
		return Result{}, fmt.Errorf("refreshes: token: %w", err)
	}
	out.ExpiresAt = t.ExpiresAt
	return out, nil
}

func (r result) public() Result {
	out := Result{Path: r.path, Outcome: r.outcome.Kind, Reason: r.outcome.Reason}
	if at := r.outcome.At; !at.IsZero() {
		at = models.Stamp(at)
		if r.outcome.Kind == refresh.RetryAt {
			out.RetryAt = &at
		} else {
			out.ExpiresAt = &at
		}
	}
	return out
}

// private is what public was made from.
func (r Result) private() result {
	out := result{path: r.Path, outcome: refresh.Outcome{Kind: r.Outcome, Reason: r.Reason, At: orZero(r.ExpiresAt)}}
	if r.RetryAt != nil {
		out.outcome.At = *r.RetryAt
	}
	return out
}
