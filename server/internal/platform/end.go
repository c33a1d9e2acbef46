package platform

import (
	"context"
	"errors"
	"slices"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/custody"
)

// Opened gives a new session a vault of its own, in the caller's transaction. While
// a webhook is bound it needs none.
func (s *Service) Opened(ctx context.Context, h *custody.Holder) error {
	if !h.Grant().Kind.Shares() || h.Grant().VaultID != nil {
		return nil
	}
	bound, err := s.bound(ctx, h.Grant().AccountID)
	if err != nil || bound {
		return err
	}
	return s.makeVault(ctx, h)
}

// Copied gives the token of to the key of from's vault, in the caller's transaction.
// They are two grants, or two slots of one. A grant from without a vault gives
// nothing.
func (s *Service) Copied(ctx context.Context, from, to *custody.Holder) error {
	if from.Grant().VaultID == nil || !to.Grant().Kind.Shares() {
		return nil
	}
	same := from.Grant().ID == to.Grant().ID
	if err := s.lockGrants(ctx, from, to.Grant().ID); err != nil {
		return err
	}
	if err := s.lockGrants(ctx, to); err != nil {
		return err
	}
	vaultID := from.Grant().VaultID
	if vaultID == nil {
		return nil
	}
	if _, err := s.lockVault(ctx, from.Grant().AccountID, *vaultID); err != nil {
		return err
	}
	if own := to.Grant().VaultID; own != nil && *own != *vaultID {
		return otherVault()
	}
	dek, _, err := s.openVault(ctx, from)
	if err != nil {
		return err
	}
	defer dek.Clear()
	row, err := to.KeepDEK(dek)
	if err != nil {
		return err
	}
	if !same { // what it had was for tokens, or a key pair, that it has no more
		if err := s.deps.VaultKeys.DeleteVaultKeys(ctx, row.AccountID, row.GrantID, *vaultID); err != nil {
			return err
		}
	}
	if err := s.deps.VaultKeys.PutVaultKey(ctx, &row); err != nil || to.Grant().VaultID != nil {
		return err
	}
	return s.assign(ctx, to.Grant(), *vaultID)
}

// Ended says what becomes of what a grant opened, in the transaction that ended it:
// its vault's key is due for rotation, or, when it was the last one, the vault goes
// with all that no agent was granted. An agent's credentials get due for new keys.
func (s *Service) Ended(ctx context.Context, g models.Grant) error {
	if g.Kind == models.GrantAgentKey {
		return s.agentEnded(ctx, g)
	}
	if err := s.lost(ctx, g); err != nil {
		return err
	}
	return s.cancelEscrows(ctx, g.AccountID, func(e models.Escrow) bool { return e.FromID == g.ID || e.ToID == g.ID })
}

// lost says what becomes of the vault that a grant opened which has ended.
func (s *Service) lost(ctx context.Context, g models.Grant) error {
	if g.VaultID == nil {
		return nil
	}
	locked, err := s.deps.Vaults.LockVaults(ctx, g.AccountID, *g.VaultID)
	if err != nil || len(locked) == 0 {
		return err
	}
	v := locked[0]
	// Somebody who held the lock until now may have wrapped a key to it once more.
	if err := s.deps.VaultKeys.DeleteVaultKeys(ctx, g.AccountID, g.ID, v.ID); err != nil {
		return err
	}
	opens, err := s.opens(ctx, g.AccountID, v.ID)
	if err != nil {
		return err
	}
	if opens {
		return s.rotationDue(ctx, v)
	}
	all, err := s.deps.Tokens.VaultTokens(ctx, g.AccountID, v.ID)
	if err != nil {
		return err
	}
	ids := make([]uuid.UUID, len(all))
	for i := range all {
		ids[i] = all[i].ID
	}
	return s.deleteUnopenable(ctx, g.AccountID, v.ID, ids...)
}

// rotationDue marks a vault, which is locked, as due for a new generation. The mark
// is no part of what is authenticated: that a row is damaged keeps nobody from ending
// a grant.
func (s *Service) rotationDue(ctx context.Context, v models.Vault) error {
	if v.RotationDueAt != nil {
		return nil
	}
	v.RotationDueAt = models.StampPtr(s.now())
	return s.deps.Vaults.UpdateVault(ctx, &v)
}

// agentEnded marks what an agent was granted, after its key has ended.
func (s *Service) agentEnded(ctx context.Context, g models.Grant) error {
	if g.AgentID == nil {
		return nil
	}
	granted, err := s.deps.Agents.CredentialGrants(ctx, g.AccountID, *g.AgentID)
	if err != nil {
		return err
	}
	for _, c := range granted {
		if err := s.Withdraw(ctx, g.AccountID, c.TokenID, g.ID); err != nil {
			return err
		}
	}
	return nil
}

// opens reports whether some grant opens a vault, which is locked. What nobody opens
// is deleted, so it is the database's time that says who has expired, and no replica's
// clock.
func (s *Service) opens(ctx context.Context, accountID, vaultID uuid.UUID) (bool, error) {
	now, err := s.clock(ctx)
	if err != nil {
		return false, err
	}
	found, err := s.deps.GrantRows.VaultGrants(ctx, accountID, vaultID)
	return slices.ContainsFunc(found, func(g models.Grant) bool { return g.Kind.Shares() && g.Live(now) }), err
}

// deleteUnopenable deletes those of a vault's credentials that no agent can open
// either, and the vault with its last one. The vault must be locked, and no grant
// open it.
func (s *Service) deleteUnopenable(ctx context.Context, accountID, vaultID uuid.UUID, ids ...uuid.UUID) error {
	for _, id := range ids {
		held, err := s.heldByAgent(ctx, accountID, id)
		if err != nil {
			return err
		}
		if held {
			continue
		}
		if err := s.deps.Credentials.DeleteCredential(ctx, accountID, id); err != nil && !errors.Is(err, models.ErrNotFound) {
			return err
		}
	}
	left, err := s.deps.Tokens.CountTokens(ctx, accountID, vaultID)
	if err != nil || left > 0 {
		return err
	}
	err = s.deps.Vaults.DeleteVault(ctx, accountID, vaultID)
	if errors.Is(err, models.ErrNotFound) {
		return nil
	}
	return err
}

// heldByAgent reports whether a live agent's grant has a credential's key.
func (s *Service) heldByAgent(ctx context.Context, accountID, id uuid.UUID) (bool, error) {
	keys, err := s.deps.Wraps.CredentialKeys(ctx, accountID, id)
	if err != nil || len(keys) == 0 {
		return false, err
	}
	now, err := s.clock(ctx)
	if err != nil {
		return false, err
	}
	for _, k := range keys {
		g, err := s.deps.GrantRows.Grant(ctx, accountID, k.GrantID)
		if err != nil {
			return false, err
		}
		if g.Live(now) {
			return true, nil
		}
	}
	return false, nil
}

// cancelEscrows ends those pending escrows of an account that match: their keys
// are erased.
func (s *Service) cancelEscrows(ctx context.Context, accountID uuid.UUID, match func(models.Escrow) bool) error {
	pending, err := s.deps.Escrows.PendingEscrows(ctx, accountID)
	if err != nil {
		return err
	}
	for _, e := range pending {
		if !match(e) {
			continue
		}
		e, err := s.deps.Escrows.LockEscrow(ctx, accountID, e.ID)
		if errors.Is(err, models.ErrNotFound) || err == nil && e.State != models.EscrowPending {
			continue
		}
		if err != nil {
			return err
		}
		if err := s.damaged(s.deps.Keyring.CheckEscrow(&e), "escrow", e.ID); err != nil {
			s.deps.Logger.Warn("platform: a damaged escrow is cancelled", "escrow", e.ID)
		}
		if err := e.End(models.EscrowCancelled, s.now()); err != nil {
			return err
		}
		s.deps.Keyring.SignEscrow(&e)
		if err := s.deps.Escrows.PutEscrow(ctx, &e); err != nil {
			return err
		}
	}
	return nil
}
