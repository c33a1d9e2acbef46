package platform

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/custody"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
)

// Accept takes up an offer: from then on p opens the vault that was shared, with
// what was in p's own, which p leaves. It is one transaction: all of it happens, or
// nothing. Preview says what would change. Only whom the vault was offered accepts.
// NOT_FOUND, SCOPE_DENIED; CONFLICT when the offer has ended, who made it does not
// open the vault as it was any more, or the vaults together have too many tokens;
// VAULT_LOCKED; INVALID_KEY when p has ended meanwhile.
func (s *Service) Accept(ctx context.Context, p grants.Principal, client audit.Client, id uuid.UUID) error {
	if err := mayLink(p); err != nil {
		return err
	}
	if err := s.open(ctx, p.AccountID); err != nil {
		return err
	}
	e, err := s.escrow(ctx, p, id, models.EscrowAccepted)
	if err != nil {
		return err
	}
	from, err := s.deps.GrantRows.Grant(ctx, p.AccountID, e.FromID)
	if err != nil {
		return err
	}
	return s.deps.Audit.Do(ctx, linkEvent(p, client, "accepted the vault of "+from.Label), func(ctx context.Context) error {
		return s.again(func() error { return s.accept(ctx, p, e) })
	})
}

// accept tries once: models.ErrConflict when what it was going to lock has changed.
func (s *Service) accept(ctx context.Context, p grants.Principal, e models.Escrow) error {
	before, err := s.deps.GrantRows.Grant(ctx, p.AccountID, p.GrantID)
	if err != nil {
		return err
	}
	lock, err := s.joining(ctx, before, e)
	if err != nil {
		return err
	}
	var h *custody.Holder
	defer func() {
		if h != nil {
			h.Clear()
		}
	}()
	err = s.deps.Accounts.InTx(ctx, func(ctx context.Context) error {
		found, err := s.deps.GrantRows.LockGrants(ctx, p.AccountID, lock...)
		if err != nil {
			return err
		}
		if h, err = s.deps.Holders.Keys(ctx, p); err != nil {
			return err
		}
		j, err := s.join(ctx, p, h, before, e, found)
		if err != nil {
			return err
		}
		defer j.clear()
		return s.carryOut(ctx, h, j)
	})
	if err == nil {
		s.settleAfter(ctx, h)
	}
	return err
}

// joining are the ids of the grants to lock before a grant leaves its vault: it, who
// shares, and the agents that hold what moves.
func (s *Service) joining(ctx context.Context, g models.Grant, e models.Escrow) ([]uuid.UUID, error) {
	ids := []uuid.UUID{e.FromID, e.ToID}
	if g.VaultID == nil {
		return ids, nil
	}
	held, err := s.deps.Credentials.Credentials(ctx, g.AccountID, *g.VaultID)
	if err != nil {
		return nil, err
	}
	for _, c := range held {
		with, err := s.grantsWith(ctx, c.AccountID, c.ID)
		if err != nil {
			return nil, err
		}
		ids = append(ids, with...)
	}
	return ids, nil
}

// A join is what an accepted offer brings about, once all of it is locked and
// checked.
type join struct {
	escrow models.Escrow
	now    time.Time // the database's
	shared custody.DEK
	left   *models.Vault // nil: the grant has none
	own    custody.DEK   // of left
	locked map[uuid.UUID]bool
}

func (j *join) clear() {
	j.shared.Clear()
	j.own.Clear()
}

// join locks vaults and escrow, after the grants, and reads their state anew. before
// and e are what was read when it was decided what to lock.
func (s *Service) join(ctx context.Context, p grants.Principal, h *custody.Holder, before models.Grant, e models.Escrow, found []models.Grant) (*join, error) {
	g := h.Grant()
	if changed(g.VaultID, before.VaultID) {
		return nil, fmt.Errorf("%w: the grant opens another vault", models.ErrConflict)
	}
	ids := []uuid.UUID{e.VaultID}
	if g.VaultID != nil {
		ids = append(ids, *g.VaultID)
	}
	vaults, err := s.deps.Vaults.LockVaults(ctx, p.AccountID, ids...)
	if err != nil {
		return nil, err
	}
	j := &join{locked: map[uuid.UUID]bool{}}
	if j.escrow, j.now, err = s.lockOffer(ctx, p, e.ID, models.EscrowAccepted); err != nil {
		return nil, err
	}
	var from *models.Grant
	for i := range found {
		j.locked[found[i].ID] = true
		if found[i].ID == e.FromID {
			from = &found[i]
		}
	}
	var shared *models.Vault
	for i := range vaults {
		if err := s.authentic(&vaults[i]); err != nil {
			return nil, err
		}
		if vaults[i].ID == e.VaultID {
			shared = &vaults[i]
		} else {
			j.left = &vaults[i]
		}
	}
	if err := s.stillShares(from, shared, j); err != nil {
		return nil, err
	}
	if g.VaultID != nil && *g.VaultID == e.VaultID {
		return nil, fault.New(fault.Conflict, "You open this vault already.")
	}
	return j, s.openBoth(ctx, h, from, j)
}

// stillShares refuses an offer whose initiator could not make it any more. The
// offer's vault is nil when it is gone.
func (s *Service) stillShares(from *models.Grant, shared *models.Vault, j *join) error {
	if from != nil {
		if err := s.damaged(s.deps.Keyring.CheckGrant(from), "grant", from.ID); err != nil {
			return err
		}
	}
	if from == nil || shared == nil || !from.Live(j.now) || changed(from.VaultID, &shared.ID) || shared.Generation != j.escrow.Generation {
		return fault.New(fault.Conflict, "Who offered this vault does not open it any more, or it has a new key since. Let it be shared again.")
	}
	return nil
}

// openBoth unwraps the keys of the vault that is shared and of the one that is left.
func (s *Service) openBoth(ctx context.Context, h *custody.Holder, from *models.Grant, j *join) error {
	var err error
	if j.shared, err = h.OpenEscrow(&j.escrow, from); err != nil {
		return s.damaged(err, "escrow", j.escrow.ID)
	}
	if j.left == nil {
		return nil
	}
	if j.own, _, err = s.openVault(ctx, h); err != nil {
		j.clear()
	}
	return err
}

// carryOut does what a join is: who opens what, then the credentials.
func (s *Service) carryOut(ctx context.Context, h *custody.Holder, j *join) error {
	before := *h.Grant()
	if err := s.enter(ctx, h, j.shared); err != nil {
		return err
	}
	if err := s.leavePending(ctx, j.escrow, models.EscrowAccepted, j.now); err != nil {
		return err
	}
	shared, _ := j.shared.Vault()
	if err := s.assign(ctx, h.Grant(), shared); err != nil {
		return err
	}
	if j.left != nil {
		if err := s.leave(ctx, h, j); err != nil {
			return err
		}
	}
	return s.cancelEscrows(ctx, before.AccountID, func(e models.Escrow) bool { return endsWith(e, before, j.escrow) })
}

// enter gives the holder's grant the key of a vault: for this slot under its token,
// for its other slots handed over.
func (s *Service) enter(ctx context.Context, h *custody.Holder, dek custody.DEK) error {
	slot, err := h.KeepDEK(dek)
	if err != nil {
		return err
	}
	others, err := h.HandOver(s.deps.Random, dek)
	if err != nil {
		return err
	}
	return errors.Join(s.deps.VaultKeys.PutVaultKey(ctx, &slot), s.deps.VaultKeys.PutVaultKey(ctx, &others))
}

// leave is for a grant that has just left its vault, with the credentials in it: moved
// with their agents when nobody else opens the vault, which then goes; copied when
// somebody does, whose they stay, with their agents, under a new key.
func (s *Service) leave(ctx context.Context, h *custody.Holder, j *join) error {
	stays, err := s.opens(ctx, j.left.AccountID, j.left.ID)
	if err != nil {
		return err
	}
	if err := s.bring(ctx, h, j, stays); err != nil {
		return err
	}
	if !stays {
		return s.deps.Vaults.DeleteVault(ctx, j.left.AccountID, j.left.ID)
	}
	if err := s.deps.VaultKeys.DeleteVaultKeys(ctx, j.left.AccountID, h.Grant().ID, j.left.ID); err != nil {
		return err
	}
	return s.rotationDue(ctx, *j.left)
}

func changed(a, b *uuid.UUID) bool {
	if a == nil || b == nil {
		return a != b
	}
	return *a != *b
}
