package vaults

import (
	"context"

	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
)

// Lock turns the owner's kill switch on: until Unlock every credential access is
// VAULT_LOCKED, here at once and on other replicas as soon as they hear of it.
// Locking what is locked changes nothing.
func (s *Service) Lock(ctx context.Context, p grants.Principal, client audit.Client) error {
	return s.setLock(ctx, p, client, true)
}

// Unlock turns it off.
func (s *Service) Unlock(ctx context.Context, p grants.Principal, client audit.Client) error {
	return s.setLock(ctx, p, client, false)
}

func (s *Service) setLock(ctx context.Context, p grants.Principal, client audit.Client, on bool) error {
	if err := user(p); err != nil {
		return err
	}
	account, err := s.account(ctx, p.AccountID)
	if err != nil || account.Locked() == on {
		return err
	}
	e := event(audit.Lock, p, client)
	e.Detail = "unlock"
	at := s.now()
	since := &at
	if on {
		e.Detail = "lock"
	} else {
		since = nil
	}
	return s.deps.Audit.Do(ctx, e, func(ctx context.Context) error {
		return s.deps.Accounts.SetAccountLock(ctx, p.AccountID, since)
	})
}

// refuseLocked is VAULT_LOCKED while the kill switch is on.
func (c *Custody) refuseLocked() error {
	if c.Locked {
		return fault.New(fault.VaultLocked, "The vault is locked by its owner: no credential can be used, shown or stored until it is unlocked.")
	}
	return nil
}
