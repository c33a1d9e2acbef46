package vaults

import (
	"context"
	"errors"
	"fmt"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
)

// Unbind ends the binding and forgets its secret, and that of a bind that was
// interrupted; the webhook itself and its
// credentials are not touched. The index stays, unseen, for the day on which a
// webhook is bound again: what the server saw of a credential is a fact that
// unbinding must not erase. WEBHOOK_NOT_CONFIGURED: there is neither.
func (s *Service) Unbind(ctx context.Context, p grants.Principal, client audit.Client) error {
	if err := user(p); err != nil {
		return err
	}
	active, err := s.deps.Bindings.BindingByState(ctx, p.AccountID, models.BindingActive)
	if errors.Is(err, models.ErrNotFound) {
		return s.unbindPending(ctx, p, client)
	}
	if err != nil {
		return fmt.Errorf("vaults: binding: %w", err)
	}
	e := event(audit.Bind, p, client)
	e.Detail = fmt.Sprintf("unbind url=%s fingerprint=%s", active.URL, active.Fingerprint)
	return s.deps.Audit.Do(ctx, e, func(ctx context.Context) error {
		return bindingError(s.deps.Bindings.InTx(ctx, func(ctx context.Context) error {
			current, err := s.deps.Bindings.BindingByState(ctx, p.AccountID, models.BindingActive)
			if errors.Is(err, models.ErrNotFound) || err == nil && current.ID != active.ID {
				return models.ErrConflict // what was to be ended is not in use any more
			}
			if err != nil {
				return err
			}
			if err := s.deps.Bindings.DeletePendingBindings(ctx, p.AccountID); err != nil {
				return err
			}
			current.End(s.now())
			return s.deps.Bindings.PutBinding(ctx, &current)
		}))
	})
}

// unbindPending is Unbind for an account that has no binding in use.
func (s *Service) unbindPending(ctx context.Context, p grants.Principal, client audit.Client) error {
	pending, err := s.deps.Bindings.BindingByState(ctx, p.AccountID, models.BindingPending)
	if errors.Is(err, models.ErrNotFound) {
		return fault.New(fault.WebhookNotConfigured, "No webhook is bound to this account.")
	}
	if err != nil {
		return fmt.Errorf("vaults: binding: %w", err)
	}
	e := event(audit.Bind, p, client)
	e.Detail = fmt.Sprintf("unbind what was interrupted url=%s fingerprint=%s", pending.URL, pending.Fingerprint)
	return s.deps.Audit.Do(ctx, e, func(ctx context.Context) error { return s.forget(ctx, &pending) })
}
