package platform

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/grants"
)

// A VaultState is a platform vault as its owner sees it: who opens it, and which new
// keys are due in it since somebody lost what the present ones open.
type VaultState struct {
	VaultID uuid.UUID
	Tokens  int
	Own     bool           // whoever asks opens it
	Grants  []models.Grant // live ones that open it, agents' keys left out

	Due      *time.Time // since when the vault's own key is to be replaced, with all that it protects; nil: it is not
	RekeyDue int        // credentials that each are to get another key
}

// Pending reports whether new keys are due.
func (v VaultState) Pending() bool { return v.Due != nil || v.RekeyDue > 0 }

// VaultStates lists the account's platform vaults, oldest first: p's own, and those
// of others that hold something or wait for new keys.
func (s *Service) VaultStates(ctx context.Context, p grants.Principal) ([]VaultState, error) {
	if err := user(p); err != nil {
		return nil, err
	}
	found, err := s.deps.Vaults.PlatformVaults(ctx, p.AccountID)
	if err != nil {
		return nil, err
	}
	list := []VaultState{}
	for _, v := range found {
		state, err := s.vaultState(ctx, p, v)
		if err != nil {
			return nil, err
		}
		if state.Own || state.Tokens > 0 || state.Pending() {
			list = append(list, state)
		}
	}
	return list, nil
}

func (s *Service) vaultState(ctx context.Context, p grants.Principal, v models.Vault) (VaultState, error) {
	state := VaultState{VaultID: v.ID, Own: v.ID == p.VaultID, Due: v.RotationDueAt}
	n, err := s.deps.Tokens.CountTokens(ctx, v.AccountID, v.ID)
	if err != nil {
		return state, err
	}
	state.Tokens = int(n)
	due, err := s.deps.Wraps.RekeyDue(ctx, v.AccountID, v.ID)
	if err != nil {
		return state, err
	}
	state.RekeyDue = len(due)
	state.Grants, err = s.openers(ctx, v.AccountID, v.ID)
	return state, err
}

// MakeDueKeys makes the new keys that are due in p's vault now, instead of with the
// next request that happens to open it. All of it is done, or nothing. UNAVAILABLE: a
// refresh of one of its tokens takes too long; they stay due.
func (s *Service) MakeDueKeys(ctx context.Context, p grants.Principal, client audit.Client) error {
	if err := grants.Require(p, grants.VaultManage); err != nil {
		return err
	}
	h, err := s.deps.Holders.Keys(ctx, p)
	if err != nil {
		return err
	}
	defer h.Clear()
	e := audit.Event{
		AccountID: p.AccountID, Type: audit.KeyChanged, Source: audit.Direct, GrantID: p.GrantID, Client: client, Detail: "new keys that were due in the vault",
	}
	return s.deps.Audit.Do(ctx, e, func(ctx context.Context) error { return s.Settle(ctx, h) })
}
