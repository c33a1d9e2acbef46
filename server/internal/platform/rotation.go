package platform

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/custody"
)

// Settle does what is due in the holder's vault, after a revocation or whenever
// somebody is here who opens it: a new generation of its key, or new epochs for
// credentials that an agent lost. It opens a transaction of its own, after refreshes
// that are under way; until it has succeeded, the marks stay. UNAVAILABLE: a refresh
// takes too long.
func (s *Service) Settle(ctx context.Context, h *custody.Holder) error {
	return s.settleUntil(ctx, h, s.patience())
}

func (s *Service) settleUntil(ctx context.Context, h *custody.Holder, patience time.Time) error {
	if h.Grant().VaultID == nil {
		return nil
	}
	return s.again(func() error { return s.settle(ctx, h, patience) })
}

func (s *Service) settle(ctx context.Context, h *custody.Holder, patience time.Time) error {
	dek, v, err := s.openVault(ctx, h)
	if errors.Is(err, errNoVault) {
		return nil
	}
	if err != nil {
		return err
	}
	defer dek.Clear()
	due, err := s.deps.Wraps.RekeyDue(ctx, v.AccountID, v.ID)
	if err != nil || v.RotationDueAt == nil && len(due) == 0 {
		return err
	}
	concerned, err := s.concerned(ctx, v, due)
	if err != nil {
		return err
	}
	ids, err := s.resealed(ctx, v, due)
	if err != nil {
		return err
	}
	leases, err := s.lease(ctx, v.AccountID, ids, patience)
	if err != nil {
		return err
	}
	defer leases.end(ctx)
	return s.deps.Accounts.InTx(ctx, func(ctx context.Context) error {
		if err := s.unchanged(ctx, h, v, concerned...); err != nil {
			return err
		}
		now, err := s.vault(ctx, v.AccountID, v.ID)
		if err != nil {
			return err
		}
		due, err := s.deps.Wraps.RekeyDue(ctx, v.AccountID, v.ID)
		if err != nil {
			return err
		}
		// Whoever has come since is not locked, and it is too late to do that in order.
		needed, err := s.concerned(ctx, now, due)
		if err != nil {
			return err
		}
		if !within(needed, concerned) {
			return fmt.Errorf("%w: others use vault %s by now", models.ErrConflict, v.ID)
		}
		ids, err := s.resealed(ctx, now, due)
		if err != nil {
			return err
		}
		if err := leases.keep(ctx, ids...); err != nil {
			return err
		}
		if now.RotationDueAt != nil {
			return s.rotate(ctx, h, dek, now)
		}
		for _, c := range due {
			t, err := s.deps.Tokens.TokenByID(ctx, c.AccountID, c.ID)
			if err != nil {
				return err
			}
			if err := s.reseal(ctx, h, move{token: t, credential: c, from: dek, to: dek}); err != nil && !errors.Is(err, errUnreadable) {
				return err
			}
		}
		return nil
	})
}

// settleAfter is Settle for a request that was about something else: that has
// succeeded, waits for nobody, and what is due stays due.
func (s *Service) settleAfter(ctx context.Context, h *custody.Holder) {
	if err := s.settleUntil(ctx, h, time.Time{}); err != nil {
		s.deps.Logger.Warn("platform: new keys that are due could not be made; the next request that opens the vault tries again",
			"account", h.Grant().AccountID, "error", err)
	}
}

// within reports whether all ids are among others.
func within(ids, others []uuid.UUID) bool {
	among := make(map[uuid.UUID]bool, len(others))
	for _, id := range others {
		among[id] = true
	}
	return !slices.ContainsFunc(ids, func(id uuid.UUID) bool { return !among[id] })
}

// resealed are those of the tokens which settling seals anew that can be refreshed.
func (s *Service) resealed(ctx context.Context, v models.Vault, due []models.Credential) ([]uuid.UUID, error) {
	if v.RotationDueAt != nil {
		return s.refreshableIn(ctx, v.AccountID, v.ID)
	}
	return s.refreshableOf(ctx, due)
}

// concerned are the ids of the grants that settling writes keys of: those to lock
// first.
func (s *Service) concerned(ctx context.Context, v models.Vault, due []models.Credential) ([]uuid.UUID, error) {
	var ids []uuid.UUID
	if v.RotationDueAt != nil {
		sharing, err := s.deps.GrantRows.VaultGrants(ctx, v.AccountID, v.ID)
		if err != nil {
			return nil, err
		}
		for _, g := range sharing {
			ids = append(ids, g.ID)
		}
		agents, err := s.deps.Wraps.VaultAgentGrants(ctx, v.AccountID, v.ID)
		return append(ids, agents...), err
	}
	for _, c := range due {
		with, err := s.grantsWith(ctx, c.AccountID, c.ID)
		if err != nil {
			return nil, err
		}
		ids = append(ids, with...)
	}
	return ids, nil
}

// rotate gives a vault a new key: every credential is sealed anew under it, every
// grant that opens the vault gets it, and what is wrapped of the old one goes, with
// offers to share it. Grants and vault must be locked.
func (s *Service) rotate(ctx context.Context, h *custody.Holder, dek custody.DEK, v models.Vault) error {
	next, err := custody.NewDEK(s.deps.Random, v.ID, v.Generation+1)
	if err != nil {
		return err
	}
	defer next.Clear()
	if err := s.resealAll(ctx, h, v, dek, next); err != nil {
		return err
	}
	if err := s.handOut(ctx, h, v, next); err != nil {
		return err
	}
	if err := s.deps.VaultKeys.DeleteOldVaultKeys(ctx, v.AccountID, v.ID, v.Generation+1); err != nil {
		return err
	}
	if err := s.cancelEscrows(ctx, v.AccountID, func(e models.Escrow) bool { return e.VaultID == v.ID }); err != nil {
		return err
	}
	v.Generation, v.RotationDueAt = v.Generation+1, nil
	s.deps.Keyring.SignVault(&v)
	return s.deps.Vaults.UpdateVault(ctx, &v)
}

// resealAll brings a vault's credentials under another key. One that does not open
// stays as it is: it is lost already, and must not keep the others under the old
// key.
func (s *Service) resealAll(ctx context.Context, h *custody.Holder, v models.Vault, from, to custody.DEK) error {
	tokens, err := s.deps.Tokens.VaultTokens(ctx, v.AccountID, v.ID)
	if err != nil {
		return err
	}
	byID := make(map[uuid.UUID]models.Token, len(tokens))
	for _, t := range tokens {
		byID[t.ID] = t
	}
	sealed, err := s.deps.Credentials.Credentials(ctx, v.AccountID, v.ID)
	if err != nil {
		return err
	}
	granted, err := s.grantedIn(ctx, v.AccountID, v.ID)
	if err != nil {
		return err
	}
	for _, c := range sealed {
		err := s.reseal(ctx, h, move{token: byID[c.ID], credential: c, from: from, to: to, alone: !granted[c.ID]})
		if err != nil && !errors.Is(err, errUnreadable) {
			return err
		}
	}
	return nil
}

// handOut wraps a vault's new key for every grant that opens the vault: for the
// holder's slot and, handed over, its other slots, and to the others' public keys. Who
// gets none has lost the vault: the database's time says who has expired, and a row
// under a server key that is missing here fails.
func (s *Service) handOut(ctx context.Context, h *custody.Holder, v models.Vault, dek custody.DEK) error {
	now, err := s.clock(ctx)
	if err != nil {
		return err
	}
	sharing, err := s.deps.GrantRows.VaultGrants(ctx, v.AccountID, v.ID)
	if err != nil {
		return err
	}
	var rows []models.VaultKey
	add := func(row models.VaultKey, err error) error {
		rows = append(rows, row)
		return err
	}
	for _, g := range sharing {
		if !g.Kind.Shares() || g.ID != h.Grant().ID && !g.Live(now) {
			continue
		}
		if g.ID == h.Grant().ID {
			err = errors.Join(add(h.KeepDEK(dek)), add(h.HandOver(s.deps.Random, dek)))
		} else if err = s.damaged(s.deps.Keyring.CheckGrant(&g), "grant", g.ID); err == nil {
			err = add(h.ShareDEK(s.deps.Random, dek, &g))
		} else if errors.Is(err, custody.ErrRow) {
			err = nil // a row that was changed gets no key
		}
		if err != nil {
			return err
		}
	}
	for i := range rows {
		if err := s.deps.VaultKeys.PutVaultKey(ctx, &rows[i]); err != nil {
			return err
		}
	}
	return nil
}
