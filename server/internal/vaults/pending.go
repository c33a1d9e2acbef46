package vaults

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/webhooks"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// A binding is pending from the exchange until its first signed call succeeded.
// It is stored, because that call may close the set-up at the webhook although its
// answer never arrives, or the process may end right after it: then the pending
// secret is the only one that the webhook still takes. Whoever next finds the
// binding in use refused, or none, tries the pending one, for a day: the owner was
// told that the bind failed, and does not expect it at any later time.
const pendingLife = 24 * time.Hour

// keepPending stores what an exchange yielded, in place of any earlier pending
// binding.
func (s *Service) keepPending(ctx context.Context, accountID uuid.UUID, address string, got webhooks.Exchanged) (models.Binding, error) {
	b := models.Binding{
		AccountID: accountID, ID: models.NewID(), State: models.BindingPending,
		URL: address, WebhookID: got.WebhookID, Fingerprint: got.Secret.Hash(),
		Version: got.Version, Capabilities: got.Capabilities,
		SealKey: pinSealKey(got.SealKey), SignKey: got.SignKey,
		HealthStatus: models.HealthUnknown, CreatedAt: s.now(),
	}
	raw := got.Secret.Bytes()
	defer clear(raw)
	if err := s.deps.Keyring.SealWebhookSecret(&b, raw); err != nil {
		return b, fmt.Errorf("vaults: sealing the binding's secret: %w", err)
	}
	err := s.deps.Bindings.InTx(ctx, func(ctx context.Context) error {
		if err := s.deps.Bindings.DeletePendingBindings(ctx, accountID); err != nil {
			return err
		}
		return s.deps.Bindings.PutBinding(ctx, &b)
	})
	return b, bindingError(err)
}

// pinSealKey is a seal key in the form in which a binding remembers it.
func pinSealKey(k *wire.SealKey) string {
	if k == nil {
		return ""
	}
	return k.ID + " " + k.KEM + " " + k.Key
}

func bindingError(err error) error {
	if errors.Is(err, models.ErrConflict) {
		return fault.Wrap(err, fault.Conflict, "The account was bound by another request at the same moment. Look at its status, and start over if that is not what you want.")
	}
	if err != nil {
		return fmt.Errorf("vaults: binding: %w", err)
	}
	return nil
}

// settle makes a pending binding the one in use, once the webhook has taken its
// secret.
func (s *Service) settle(ctx context.Context, b models.Binding, secret wire.Secret) (models.Binding, error) {
	health, err := s.deps.Pairing.Health(ctx, webhooks.Target{BaseURL: b.URL, Secret: secret})
	if err != nil {
		return b, err
	}
	if change := changedKeys(&b, health); change != "" {
		if err := s.forget(ctx, &b); err != nil {
			return b, err
		}
		return b, fault.New(fault.WebhookMismatch,
			"The webhook answered with another %s than at the exchange a moment before. Nothing was bound. Check what stands between the server and the webhook.", change)
	}
	adopt(&b, health)
	return s.activate(ctx, b)
}

// forget removes a pending binding, unless another bind has replaced it.
func (s *Service) forget(ctx context.Context, b *models.Binding) error {
	return bindingError(s.deps.Bindings.InTx(ctx, func(ctx context.Context) error {
		pending, err := s.deps.Bindings.BindingByState(ctx, b.AccountID, models.BindingPending)
		if errors.Is(err, models.ErrNotFound) || err == nil && pending.ID != b.ID {
			return nil
		}
		if err != nil {
			return err
		}
		return s.deps.Bindings.DeletePendingBindings(ctx, b.AccountID)
	}))
}

// adopt takes over what a healthy webhook says of itself.
func adopt(b *models.Binding, health wire.HealthResponse) {
	if health.Version != "" {
		b.Version = health.Version
	}
	if len(health.Capabilities) > 0 {
		b.Capabilities = health.Capabilities
	}
}

// changedKeys names the first identity of a webhook that is not the pinned one.
// What the webhook does not say, or did not say at binding, is not compared.
func changedKeys(b *models.Binding, health wire.HealthResponse) string {
	differs := func(pinned, now string) bool { return pinned != "" && now != "" && pinned != now }
	switch {
	case differs(b.WebhookID, health.WebhookID):
		return "webhookId"
	case differs(b.SealKey, pinSealKey(health.SealKey)):
		return "sealKey"
	case differs(b.SignKey, health.SignKey):
		return "signKey"
	}
	return ""
}

// activate replaces the binding in use by a pending one, in one transaction.
func (s *Service) activate(ctx context.Context, b models.Binding) (models.Binding, error) {
	now := s.now()
	err := s.deps.Bindings.InTx(ctx, func(ctx context.Context) error {
		pending, err := s.deps.Bindings.BindingByState(ctx, b.AccountID, models.BindingPending)
		if errors.Is(err, models.ErrNotFound) || err == nil && pending.ID != b.ID {
			return models.ErrConflict // another bind has replaced it
		}
		if err != nil {
			return err
		}
		if b.VaultID, err = s.webhookVault(ctx, b.AccountID); err != nil {
			return err
		}
		active, err := s.deps.Bindings.BindingByState(ctx, b.AccountID, models.BindingActive)
		if err == nil {
			active.End(now)
			err = s.deps.Bindings.PutBinding(ctx, &active)
		} else if errors.Is(err, models.ErrNotFound) {
			err = nil
		}
		if err != nil {
			return err
		}
		if err := b.Activate(now); err != nil {
			return err
		}
		b.HealthStatus, b.HealthDetail, b.HealthCheckedAt = models.HealthHealthy, "", &now
		return s.deps.Bindings.PutBinding(ctx, &b)
	})
	return b, bindingError(err)
}

// webhookVault returns the account's vault of mode webhook, made if there is none.
func (s *Service) webhookVault(ctx context.Context, accountID uuid.UUID) (uuid.UUID, error) {
	vault, err := s.deps.Containers.WebhookVault(ctx, accountID)
	if !errors.Is(err, models.ErrNotFound) {
		return vault.ID, err
	}
	vault = models.Vault{AccountID: accountID, ID: models.NewID(), Mode: models.ModeWebhook, CreatedAt: s.now()}
	return vault.ID, s.deps.Containers.CreateVault(ctx, &vault)
}

// settlePending tries the account's pending binding, and reports whether it is
// now the one in use.
func (s *Service) settlePending(ctx context.Context, accountID uuid.UUID) (bool, error) {
	pending, err := s.deps.Bindings.BindingByState(ctx, accountID, models.BindingPending)
	if errors.Is(err, models.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("vaults: binding: %w", err)
	}
	e := audit.Event{AccountID: accountID, Type: audit.Bind, Source: audit.System}
	detail := fmt.Sprintf("a bind that was interrupted url=%s fingerprint=%s", pending.URL, pending.Fingerprint)
	if s.deps.Now().Sub(pending.CreatedAt) > pendingLife {
		e.Detail = "forget " + detail
		return false, s.deps.Audit.Do(ctx, e, func(ctx context.Context) error { return s.forget(ctx, &pending) })
	}
	secret, err := s.open(&pending)
	if err != nil {
		return false, err
	}
	e.Detail = "settle " + detail
	err = s.deps.Audit.Do(ctx, e, func(ctx context.Context) error {
		_, err := s.settle(ctx, pending, secret)
		return err
	})
	return err == nil, err
}
