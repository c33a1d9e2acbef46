package platform

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
)

// Share offers p's vault to another session, API key or OAuth client of the account,
// which has models.EscrowLife to accept. An earlier offer of the pair that still
// waits is replaced. Sessions share, and API keys with vault:manage. NOT_FOUND when
// there is no such grant, INVALID_REQUEST for an agent's, SCOPE_DENIED, CONFLICT
// when both open the same vault already, when there is nothing to share, or when the
// other could never accept; VAULT_LOCKED; INVALID_KEY when p has ended meanwhile.
func (s *Service) Share(ctx context.Context, p grants.Principal, client audit.Client, toGrant uuid.UUID) (models.Escrow, error) {
	if err := mayLink(p); err != nil {
		return models.Escrow{}, err
	}
	if p.Kind != models.GrantSession && p.Kind != models.GrantAPIKey {
		return models.Escrow{}, fault.New(fault.ScopeDenied, "Only a session or an API key shares its vault.")
	}
	if toGrant == p.GrantID {
		return models.Escrow{}, fault.New(fault.Conflict, "This is the session itself. Choose another session or key.")
	}
	if err := s.open(ctx, p.AccountID); err != nil {
		return models.Escrow{}, err
	}
	to, err := s.recipient(ctx, p.AccountID, toGrant)
	if err != nil {
		return models.Escrow{}, err
	}
	var e models.Escrow
	err = s.deps.Audit.Do(ctx, linkEvent(p, client, "offered the vault to "+to.Label), func(ctx context.Context) error {
		e, err = s.offer(ctx, p, toGrant)
		return err
	})
	return shown(e), err
}

// offer makes the escrow, in place of one of the same pair that waits.
func (s *Service) offer(ctx context.Context, p grants.Principal, toGrant uuid.UUID) (models.Escrow, error) {
	h, err := s.deps.Holders.Keys(ctx, p)
	if err != nil {
		return models.Escrow{}, err
	}
	defer h.Clear()
	s.settleAfter(ctx, h) // a new generation would end the offer again
	var e models.Escrow
	err = s.again(func() error {
		dek, v, err := s.openVault(ctx, h)
		if errors.Is(err, errNoVault) {
			return fault.New(fault.Conflict, "This session has no vault, so there is nothing to share.")
		}
		if err != nil {
			return err
		}
		defer dek.Clear()
		return s.deps.Accounts.InTx(ctx, func(ctx context.Context) error {
			if err := s.unchanged(ctx, h, v, toGrant); err != nil {
				return err
			}
			to, err := s.recipient(ctx, p.AccountID, toGrant)
			if err != nil {
				return err
			}
			if to.VaultID != nil && *to.VaultID == v.ID {
				return fault.New(fault.Conflict, "%q opens this vault already.", to.Label)
			}
			if err := s.cancelEscrows(ctx, p.AccountID, func(e models.Escrow) bool { return e.FromID == p.GrantID && e.ToID == toGrant }); err != nil {
				return err
			}
			now, err := s.clock(ctx)
			if err != nil {
				return err
			}
			e = models.Escrow{
				AccountID: p.AccountID, ID: models.NewID(), VaultID: v.ID, Generation: v.Generation, FromID: p.GrantID, ToID: toGrant,
				State: models.EscrowPending, CreatedAt: now, ExpiresAt: now.Add(models.EscrowLife),
			}
			if err := h.Offer(s.deps.Random, &e, dek, &to); err != nil {
				return s.damaged(err, "grant", to.ID)
			}
			return s.deps.Escrows.PutEscrow(ctx, &e)
		})
	})
	return e, err
}

// recipient is a live grant with which a vault can be shared.
func (s *Service) recipient(ctx context.Context, accountID, id uuid.UUID) (models.Grant, error) {
	g, err := s.deps.GrantRows.Grant(ctx, accountID, id)
	if errors.Is(err, models.ErrNotFound) || err == nil && !g.Live(s.now()) {
		return g, fault.New(fault.NotFound, "There is no such session or key. It may have ended already: look at the list again.")
	}
	if err != nil {
		return g, err
	}
	if err := s.damaged(s.deps.Keyring.CheckGrant(&g), "grant", g.ID); err != nil {
		return g, err
	}
	if !g.Kind.Shares() {
		return g, fault.Field("id", "A vault is shared with a session or an API key. To an agent, grant the credentials that it needs.")
	}
	if !(grants.Principal{Kind: g.Kind, Scopes: g.Scopes}).May(grants.VaultManage) {
		return g, fault.New(fault.Conflict, "%q lacks the scope %s, so it could never accept. Make a key that has it, or one from this session, which opens this vault.",
			g.Label, grants.VaultManage)
	}
	return g, nil
}

// Escrows lists the offers that p made or was made, newest first. One whose time is
// over is shown as expired, whether that has been noted or not.
func (s *Service) Escrows(ctx context.Context, p grants.Principal) ([]models.Escrow, error) {
	if err := mayLink(p); err != nil {
		return nil, err
	}
	now, err := s.clock(ctx)
	if err != nil {
		return nil, err
	}
	all, err := s.deps.Escrows.Escrows(ctx, p.AccountID)
	if err != nil {
		return nil, err
	}
	mine := []models.Escrow{}
	for _, e := range all {
		if e.FromID != p.GrantID && e.ToID != p.GrantID || s.damaged(s.deps.Keyring.CheckEscrow(&e), "escrow", e.ID) != nil {
			continue
		}
		if e.State == models.EscrowPending && !now.Before(e.ExpiresAt) {
			e.State = models.EscrowExpired
		}
		mine = append(mine, shown(e))
	}
	return mine, nil
}

// Decline refuses an offer: only whom it was made declines it. NOT_FOUND,
// SCOPE_DENIED, CONFLICT when it does not wait for an answer any more.
func (s *Service) Decline(ctx context.Context, p grants.Principal, client audit.Client, id uuid.UUID) error {
	return s.endOffer(ctx, p, client, id, models.EscrowDeclined)
}

// Cancel takes an offer back: only who made it cancels it. NOT_FOUND, SCOPE_DENIED,
// CONFLICT when it does not wait for an answer any more.
func (s *Service) Cancel(ctx context.Context, p grants.Principal, client audit.Client, id uuid.UUID) error {
	return s.endOffer(ctx, p, client, id, models.EscrowCancelled)
}

func (s *Service) endOffer(ctx context.Context, p grants.Principal, client audit.Client, id uuid.UUID, state models.EscrowState) error {
	if err := mayLink(p); err != nil {
		return err
	}
	if _, err := s.escrow(ctx, p, id, state); err != nil {
		return err
	}
	h, err := s.deps.Holders.Keys(ctx, p) // its own token, which still counts
	if err != nil {
		return err
	}
	h.Clear()
	return s.deps.Audit.Do(ctx, linkEvent(p, client, string(state)+" an offer of a vault"), func(ctx context.Context) error {
		return s.deps.Accounts.InTx(ctx, func(ctx context.Context) error {
			e, now, err := s.lockOffer(ctx, p, id, state)
			if err != nil {
				return err
			}
			return s.leavePending(ctx, e, state, now)
		})
	})
}

// escrow finds an offer that p may take to a state: NOT_FOUND when p has no part in
// it, SCOPE_DENIED when p has the other one, CONFLICT when it has ended.
func (s *Service) escrow(ctx context.Context, p grants.Principal, id uuid.UUID, to models.EscrowState) (models.Escrow, error) {
	e, err := s.deps.Escrows.Escrow(ctx, p.AccountID, id)
	return e, s.mayEnd(p, &e, err, to)
}

// lockOffer is escrow in a transaction that ends the offer, after every other lock.
// It checks the offer's time, too, and returns what that is in the database.
func (s *Service) lockOffer(ctx context.Context, p grants.Principal, id uuid.UUID, to models.EscrowState) (models.Escrow, time.Time, error) {
	e, err := s.deps.Escrows.LockEscrow(ctx, p.AccountID, id)
	if err := s.mayEnd(p, &e, err, to); err != nil {
		return e, time.Time{}, err
	}
	now, err := s.clock(ctx)
	if err == nil && !now.Before(e.ExpiresAt) {
		err = ended(models.EscrowExpired)
	}
	return e, now, err
}

func (s *Service) mayEnd(p grants.Principal, e *models.Escrow, err error, to models.EscrowState) error {
	switch {
	case errors.Is(err, models.ErrNotFound), err == nil && e.FromID != p.GrantID && e.ToID != p.GrantID:
		return fault.New(fault.NotFound, "There is no such offer of a vault.")
	case err != nil:
		return err
	}
	if err := s.damaged(s.deps.Keyring.CheckEscrow(e), "escrow", e.ID); err != nil {
		return err
	}
	switch {
	case to == models.EscrowCancelled && e.FromID != p.GrantID:
		return fault.New(fault.ScopeDenied, "Only who offered the vault takes the offer back. You can decline it.")
	case to != models.EscrowCancelled && e.ToID != p.GrantID:
		return fault.New(fault.ScopeDenied, "Only whom the vault was offered can answer. You can cancel the offer.")
	case e.State != models.EscrowPending:
		return ended(e.State)
	}
	return nil
}

func ended(state models.EscrowState) error {
	return fault.New(fault.Conflict, "This offer is %s already. To link the vaults, share the vault again.", state)
}

// leavePending ends an escrow, which is locked, and erases its key.
func (s *Service) leavePending(ctx context.Context, e models.Escrow, to models.EscrowState, now time.Time) error {
	if err := e.End(to, now); err != nil {
		return fmt.Errorf("escrow %s: %w", e.ID, err)
	}
	s.deps.Keyring.SignEscrow(&e)
	return s.deps.Escrows.PutEscrow(ctx, &e)
}

// expireBatch bounds how many escrows are read at a time.
const expireBatch = 100

// expireEscrows ends the offers of all accounts whose time is over.
func (s *Service) expireEscrows(ctx context.Context) error {
	for {
		now, err := s.clock(ctx)
		if err != nil {
			return err
		}
		due, err := s.deps.Escrows.ExpiredEscrows(ctx, now, expireBatch)
		if err != nil {
			return err
		}
		for _, e := range due {
			if err := s.expire(ctx, e, now); err != nil {
				return err
			}
		}
		if len(due) < expireBatch {
			return nil
		}
	}
}

func (s *Service) expire(ctx context.Context, e models.Escrow, now time.Time) error {
	return s.deps.Accounts.InTx(ctx, func(ctx context.Context) error {
		e, err := s.deps.Escrows.LockEscrow(ctx, e.AccountID, e.ID)
		if errors.Is(err, models.ErrNotFound) || err == nil && e.State != models.EscrowPending {
			return nil // answered meanwhile
		}
		if err != nil {
			return err
		}
		// One that was changed outside this server is logged, and ends all the same:
		// nothing was ever opened with it.
		_ = s.damaged(s.deps.Keyring.CheckEscrow(&e), "escrow", e.ID)
		return s.leavePending(ctx, e, models.EscrowExpired, now)
	})
}

// clock is the database's time, which all replicas share.
func (s *Service) clock(ctx context.Context) (time.Time, error) {
	if s.deps.Clock == nil {
		return s.now(), nil
	}
	return s.deps.Clock(ctx)
}

// mayLink refuses agents, and keys without vault:manage.
func mayLink(p grants.Principal) error {
	if err := user(p); err != nil {
		return err
	}
	return grants.Require(p, grants.VaultManage)
}

// shown is an escrow without the key in it.
func shown(e models.Escrow) models.Escrow {
	e.Wrapped = nil
	return e
}

func linkEvent(p grants.Principal, client audit.Client, detail string) audit.Event {
	e := event(audit.Link, p, client, Ref{})
	e.Detail = detail
	return e
}
