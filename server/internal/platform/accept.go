package platform

import (
	"context"
	"errors"
	"fmt"
	"slices"
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
// UNAVAILABLE when a token that would come along is being refreshed for too long; VAULT_LOCKED; INVALID_KEY when p has ended meanwhile.
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
		patience := s.patience()
		return s.again(func() error { return s.accept(ctx, p, e, patience) })
	})
}

// A join is what an accepted offer brings about.
type join struct {
	escrow models.Escrow
	before models.Grant // who accepts, before anything is locked
	lock   []uuid.UUID  // grants
	leases *hold        // of what is in the vault that is left

	// Known once all is locked:
	now    time.Time // the database's
	from   *models.Grant
	shared custody.DEK
	left   *models.Vault // nil: the grant has none
	own    custody.DEK   // of left
}

func (j *join) clear() {
	j.shared.Clear()
	j.own.Clear()
}

// accept tries once: models.ErrConflict when what it was going to lock has changed.
func (s *Service) accept(ctx context.Context, p grants.Principal, e models.Escrow, patience time.Time) error {
	j := &join{escrow: e}
	defer j.clear()
	var err error
	if j.before, err = s.deps.GrantRows.Grant(ctx, p.AccountID, p.GrantID); err != nil {
		return err
	}
	if j.lock, err = s.joining(ctx, j.before, e); err != nil {
		return err
	}
	if j.leases, err = s.leaseLeft(ctx, j.before, patience); err != nil {
		return err
	}
	defer j.leases.end(ctx)
	var h *custody.Holder
	defer func() {
		if h != nil {
			h.Clear()
		}
	}()
	err = s.deps.Accounts.InTx(ctx, func(ctx context.Context) error {
		found, err := s.deps.GrantRows.LockGrants(ctx, p.AccountID, j.lock...)
		if err != nil {
			return err
		}
		if at := slices.IndexFunc(found, func(g models.Grant) bool { return g.ID == e.FromID }); at >= 0 {
			j.from = &found[at]
		}
		if h, err = s.deps.Holders.Keys(ctx, p); err != nil {
			return err
		}
		if err := s.join(ctx, p, h, j); err != nil {
			return err
		}
		return s.carryOut(ctx, h, j)
	})
	if err == nil {
		s.settleAfter(ctx, h)
	}
	return err
}

// leaseLeft takes the leases of what is in the vault that a grant opens: also a copy
// must not be of a refresh token that is being used up.
func (s *Service) leaseLeft(ctx context.Context, g models.Grant, patience time.Time) (*hold, error) {
	if g.VaultID == nil {
		return &hold{s: s}, nil
	}
	ids, err := s.refreshableIn(ctx, g.AccountID, *g.VaultID)
	if err != nil {
		return nil, err
	}
	return s.lease(ctx, g.AccountID, ids, patience)
}

// joining are the ids of the grants to lock before a grant leaves its vault: it, who
// shares, and the agents that hold what moves.
func (s *Service) joining(ctx context.Context, g models.Grant, e models.Escrow) ([]uuid.UUID, error) {
	ids := []uuid.UUID{e.FromID, e.ToID}
	if g.VaultID == nil {
		return ids, nil
	}
	agents, err := s.deps.Wraps.VaultAgentGrants(ctx, g.AccountID, *g.VaultID)
	return append(ids, agents...), err
}

// join locks vaults, leases and escrow, after the grants, reads their state anew, and
// opens the vaults.
func (s *Service) join(ctx context.Context, p grants.Principal, h *custody.Holder, j *join) error {
	shared, err := s.lockBoth(ctx, h.Grant(), j)
	if err != nil {
		return err
	}
	if j.left != nil {
		ids, err := s.refreshableIn(ctx, j.left.AccountID, j.left.ID)
		if err != nil {
			return err
		}
		if err := j.leases.keep(ctx, ids...); err != nil {
			return err
		}
	}
	if j.escrow, j.now, err = s.lockOffer(ctx, p, j.escrow.ID, models.EscrowAccepted); err != nil {
		return err
	}
	if err := s.stillShares(shared, j); err != nil {
		return err
	}
	if g := h.Grant(); g.VaultID != nil && *g.VaultID == shared.ID {
		return fault.New(fault.Conflict, "You open this vault already.")
	}
	if j.shared, err = h.OpenEscrow(&j.escrow, j.from); err != nil {
		return s.damaged(err, "escrow", j.escrow.ID)
	}
	if j.left != nil {
		j.own, _, err = s.openVault(ctx, h)
	}
	return err
}

// lockBoth locks the vault that is offered, which it returns, nil when that is gone,
// and the one that g opens. models.ErrConflict when other grants ought to be locked.
func (s *Service) lockBoth(ctx context.Context, g *models.Grant, j *join) (shared *models.Vault, err error) {
	if changed(g.VaultID, j.before.VaultID) {
		return nil, fmt.Errorf("%w: the grant opens another vault", models.ErrConflict)
	}
	ids := []uuid.UUID{j.escrow.VaultID}
	if g.VaultID != nil {
		ids = append(ids, *g.VaultID)
	}
	found, err := s.deps.Vaults.LockVaults(ctx, g.AccountID, ids...)
	if err != nil {
		return nil, err
	}
	needed, err := s.joining(ctx, *g, j.escrow)
	if err != nil {
		return nil, err
	}
	if !within(needed, j.lock) {
		return nil, fmt.Errorf("%w: an agent was granted a credential meanwhile", models.ErrConflict)
	}
	for i := range found {
		if err := s.authentic(&found[i]); err != nil {
			return nil, err
		}
		if found[i].ID == j.escrow.VaultID {
			shared = &found[i]
		} else {
			j.left = &found[i]
		}
	}
	return shared, nil
}

// stillShares refuses an offer whose initiator could not make it any more. The
// offer's vault is nil when it is gone.
func (s *Service) stillShares(shared *models.Vault, j *join) error {
	if j.from != nil {
		if err := s.damaged(s.deps.Keyring.CheckGrant(j.from), "grant", j.from.ID); err != nil {
			return err
		}
	}
	if j.from == nil || shared == nil || !j.from.Live(j.now) || changed(j.from.VaultID, &shared.ID) || shared.Generation != j.escrow.Generation {
		return fault.New(fault.Conflict, "Who offered this vault does not open it any more, or it has a new key since. Let it be shared again.")
	}
	return nil
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
