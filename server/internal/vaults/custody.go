package vaults

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/webhooks"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// Custody is how an account keeps its tokens at this moment, with what tickets
// and calls to its webhook are signed with. It is shared: do not change it.
type Custody struct {
	Locked  bool
	Mode    models.VaultMode
	Binding models.Binding // zero in platform mode
	Secret  wire.Secret    // zero in platform mode
}

// target is where calls to the webhook go.
func (c *Custody) target() webhooks.Target {
	return webhooks.Target{BaseURL: c.Binding.URL, Secret: c.Secret}
}

// Custody returns an account's custody, from memory where the cache allows: then
// it costs a look-up and no allocation.
func (s *Service) Custody(ctx context.Context, accountID uuid.UUID) (*Custody, error) {
	if c, ok := s.custody.Get(accountID); ok {
		return c, nil
	}
	return s.custody.Load(accountID, accountID, func() (*Custody, error) { return s.readCustody(ctx, accountID) })
}

func (s *Service) readCustody(ctx context.Context, accountID uuid.UUID) (*Custody, error) {
	account, err := s.account(ctx, accountID)
	if err != nil {
		return nil, err
	}
	binding, err := s.deps.Bindings.BindingByState(ctx, accountID, models.BindingActive)
	switch {
	case errors.Is(err, models.ErrNotFound):
		return &Custody{Locked: account.Locked(), Mode: models.ModePlatform}, nil
	case err != nil:
		return nil, fmt.Errorf("vaults: binding: %w", err)
	}
	secret, err := s.open(&binding)
	if err != nil {
		return nil, err
	}
	return &Custody{Locked: account.Locked(), Mode: models.ModeWebhook, Binding: binding, Secret: secret}, nil
}

func (s *Service) account(ctx context.Context, id uuid.UUID) (models.Account, error) {
	account, err := s.deps.Accounts.Account(ctx, id)
	if errors.Is(err, models.ErrNotFound) {
		return account, fault.Wrap(err, fault.NotFound, "There is no such account.")
	}
	if err != nil {
		return account, fmt.Errorf("vaults: account: %w", err)
	}
	return account, nil
}

// open unseals a binding's secret.
func (s *Service) open(b *models.Binding) (wire.Secret, error) {
	raw, err := s.deps.Keyring.OpenWebhookSecret(b)
	if err != nil {
		return wire.Secret{}, fault.Wrap(err, fault.Unavailable,
			"The binding's secret cannot be opened: the server key %d is missing or another one, or the binding was changed in the database. Tell the operator, or bind the webhook again.", b.SecretKeyID)
	}
	defer clear(raw)
	return wire.NewSecret(raw)
}

// bound is Custody for what needs a webhook: WEBHOOK_NOT_CONFIGURED without one.
func (s *Service) bound(ctx context.Context, accountID uuid.UUID) (*Custody, error) {
	c, err := s.Custody(ctx, accountID)
	if err == nil && c.Mode != models.ModeWebhook {
		err = fault.New(fault.WebhookNotConfigured, "No webhook is bound to this account. Bind one first.")
	}
	return c, err
}

// withWebhook calls do with the account's webhook, of which an account has a few
// under way at most; so do must not call it again. When that webhook, or the lack
// of one, may be explained by a binding that was left pending, it settles that
// binding and calls do again.
func (s *Service) withWebhook(ctx context.Context, accountID uuid.UUID, do func(c *Custody) error) error {
	back, err := s.turns.take(ctx, accountID)
	if err != nil {
		return err
	}
	defer back()
	c, err := s.bound(ctx, accountID)
	if err == nil {
		err = do(c)
	}
	code := fault.CodeOf(err)
	if err == nil || code != fault.WebhookAuthFailed && code != fault.WebhookNotConfigured {
		return err
	}
	if settled, problem := s.settlePending(ctx, accountID); problem != nil || !settled {
		return err // what was asked for failed for a reason of its own: say that one
	}
	if c, err = s.bound(ctx, accountID); err != nil {
		return err
	}
	return do(c)
}
