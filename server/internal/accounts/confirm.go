package accounts

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
)

// How often a code, or the current password, may be wrong.
const (
	maxTries  = 10
	tryWindow = 15 * time.Minute
)

// ownerOnly refuses whoever is not signed in as a person: no key changes how its
// account is guarded, whatever its scopes.
func ownerOnly(p grants.Principal) error {
	if p.Kind == models.GrantSession {
		return nil
	}
	return fault.New(fault.ScopeDenied, "No key can do this, whatever its scopes. Sign in to the dashboard and do it there.")
}

// confirm demands the current password of p's account, for what a session alone must
// not do: sessions can be stolen. It is limited in how often it fails. INVALID_REQUEST
// with the field, RATE_LIMITED.
func (s *Service) confirm(ctx context.Context, p grants.Principal, c audit.Client, field, password, purpose string) (models.Account, error) {
	if err := ownerOnly(p); err != nil {
		return models.Account{}, err
	}
	if password == "" || len(password) > maxPassword {
		return models.Account{}, fault.Field(field, "Enter your current password.")
	}
	account, err := s.deps.Store.Account(ctx, p.AccountID)
	if err != nil {
		return models.Account{}, err
	}
	refused := event(p, c, purpose)
	if err := s.try(ctx, refused, models.TryPassword); err != nil {
		return models.Account{}, err
	}
	matches, err := s.passwords.matches(ctx, account.ID, password, account.PasswordHash)
	if err != nil {
		return models.Account{}, err
	}
	if !matches {
		refused.Outcome = fault.LoginFailed
		if err := s.deps.Audit.Record(ctx, refused); err != nil {
			return models.Account{}, err
		}
		return models.Account{}, fault.Field(field, "This is not your current password. Check it and try again.")
	}
	s.returnTry(ctx, account.ID, models.TryPassword)
	return account, nil
}

// try counts a try that may fail. RATE_LIMITED, on record, when there were too many.
func (s *Service) try(ctx context.Context, e audit.Event, kind models.TryKind) error {
	again, err := s.deps.Tries.TakeTry(ctx, e.AccountID, kind, maxTries, tryWindow)
	if err != nil || again.IsZero() {
		return err
	}
	e.Outcome = fault.RateLimited
	if err := s.deps.Audit.Record(ctx, e); err != nil {
		return err
	}
	wait := max(again.Sub(s.deps.Now()), time.Second)
	limited := fault.New(fault.RateLimited, "This went wrong too often: %d times in %d minutes. Try again in %d minutes.",
		maxTries, int(tryWindow/time.Minute), int((wait+time.Minute-1)/time.Minute))
	limited.RetryAfter = wait
	return limited
}

// returnTry gives back a try that did not fail. That it cannot is no reason to refuse.
func (s *Service) returnTry(ctx context.Context, accountID uuid.UUID, kind models.TryKind) {
	if err := s.deps.Tries.ReturnTry(ctx, accountID, kind); err != nil {
		s.deps.Logger.WarnContext(ctx, "accounts: a try that did not fail stays counted", "account", accountID, "error", err)
	}
}

// event is about how p's account is guarded.
func event(p grants.Principal, c audit.Client, detail string) audit.Event {
	return audit.Event{AccountID: p.AccountID, Type: audit.KeyChanged, Source: audit.Direct, GrantID: p.GrantID, Client: c, Detail: detail}
}
