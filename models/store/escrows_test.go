package store_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/models/store/storetest"
)

func newEscrow(t *testing.T, v models.Vault, from, to uuid.UUID) models.Escrow {
	t.Helper()
	e := filled[models.Escrow](t)
	e.AccountID, e.VaultID, e.FromID, e.ToID, e.State, e.EndedAt = v.AccountID, v.ID, from, to, models.EscrowPending, nil
	return e
}

func TestEscrowComesBackWholeAndForgetsItsKey(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		v, c := newPlatformVault(t, s), watch(s)
		other, _ := newGrant(t, s, v.AccountID)
		want := newEscrow(t, v.Vault, v.grant.ID, other.ID)
		tells(t, c, v.AccountID, "put", func() error { return s.PutEscrow(t.Context(), &want) })
		got, err := s.Escrow(t.Context(), v.AccountID, want.ID)
		ok(t, err)
		same(t, "escrow", got, want)
		pending, err := s.PendingEscrows(t.Context(), v.AccountID)
		ok(t, err)
		same(t, "pending", pending, []models.Escrow{want})

		ok(t, want.End(models.EscrowDeclined, at))
		tells(t, c, v.AccountID, "end", func() error { return s.PutEscrow(t.Context(), &want) })
		inTx(t, s, func(ctx context.Context) error {
			got, err := s.LockEscrow(ctx, v.AccountID, want.ID)
			ok(t, err)
			same(t, "ended", got, want)
			_, err = s.LockEscrow(ctx, models.NewID(), want.ID)
			wantErr(t, err, models.ErrNotFound)
			return nil
		})
		if _, err := s.LockEscrow(t.Context(), v.AccountID, want.ID); err == nil {
			t.Error("an escrow was locked outside a transaction")
		}
		pending, err = s.PendingEscrows(t.Context(), v.AccountID)
		ok(t, err)
		same(t, "pending", len(pending), 0)
		_, err = s.Escrow(t.Context(), models.NewID(), want.ID)
		wantErr(t, err, models.ErrNotFound)
	})
}

func TestAnEscrowThatEndedHasNoKeyAndAPendingOneHas(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		v := newPlatformVault(t, s)
		other, _ := newGrant(t, s, v.AccountID)
		for _, state := range []models.EscrowState{models.EscrowPending, models.EscrowAccepted} {
			e := newEscrow(t, v.Vault, v.grant.ID, other.ID)
			if e.State = state; state == models.EscrowPending {
				e.Wrapped = nil
			}
			if err := s.PutEscrow(t.Context(), &e); err == nil {
				t.Errorf("%s: got no error, want that the database refuses it", state)
			}
			_, err := s.Escrow(t.Context(), v.AccountID, e.ID)
			wantErr(t, err, models.ErrNotFound)
		}
	})
}

func TestOneEscrowOfAPairIsPending(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		v := newPlatformVault(t, s)
		other, _ := newGrant(t, s, v.AccountID)
		errs := together(8, func(int) error {
			e := newEscrow(t, v.Vault, v.grant.ID, other.ID)
			return s.PutEscrow(t.Context(), &e)
		})
		none, _ := count(t, errs, models.ErrConflict)
		same(t, "pending of one pair", none, 1)
		back := newEscrow(t, v.Vault, other.ID, v.grant.ID)
		ok(t, s.PutEscrow(t.Context(), &back))
		stranger, _ := newGrant(t, s, newAccount(t, s).ID)
		for _, pair := range [][2]uuid.UUID{{v.grant.ID, stranger.ID}, {stranger.ID, v.grant.ID}} {
			e := newEscrow(t, v.Vault, pair[0], pair[1])
			wantErr(t, s.PutEscrow(t.Context(), &e), models.ErrNotFound)
		}
	})
}

func TestEscrowsAreListedNewestFirstAndExpiredOnesOfAllAccounts(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		var late, sooner []models.Escrow
		for i := range 2 {
			v := newPlatformVault(t, s)
			other, _ := newGrant(t, s, v.AccountID)
			ended := newEscrow(t, v.Vault, v.grant.ID, other.ID)
			ended.ExpiresAt = models.Stamp(at)
			ok(t, ended.End(models.EscrowCancelled, at))
			ok(t, s.PutEscrow(t.Context(), &ended))
			e := newEscrow(t, v.Vault, v.grant.ID, other.ID)
			e.ExpiresAt = models.Stamp(at.Add(time.Duration(-i) * time.Minute))
			ok(t, s.PutEscrow(t.Context(), &e))
			later := newEscrow(t, v.Vault, other.ID, v.grant.ID)
			later.ExpiresAt = models.Stamp(at.Add(time.Microsecond))
			ok(t, s.PutEscrow(t.Context(), &later))
			list, err := s.Escrows(t.Context(), v.AccountID)
			ok(t, err)
			same(t, "of the account", list, []models.Escrow{later, e, ended})
			late, sooner = append([]models.Escrow{e}, late...), append(sooner, later)
		}
		got, err := s.ExpiredEscrows(t.Context(), at, 0)
		ok(t, err)
		same(t, "expired, longest first", got, late)
		got, err = s.ExpiredEscrows(t.Context(), at, 1)
		ok(t, err)
		same(t, "the first of them", got, late[:1])
		got, err = s.ExpiredEscrows(t.Context(), at.Add(time.Second), 0)
		ok(t, err)
		same(t, "a second later", len(got), len(late)+len(sooner))
	})
}
