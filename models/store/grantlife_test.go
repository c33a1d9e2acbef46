package store_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/models/store/storetest"
)

func TestGrantIsUpdatedInWhatMayChange(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		grant, key := newGrant(t, s, newAccount(t, s).ID)
		update := filled[models.Grant](t)
		update.AccountID, update.ID, update.VaultID, update.Scopes = grant.AccountID, grant.ID, nil, []string{"vault:read"}
		tells(t, watch(s), grant.AccountID, "update", func() error { return s.UpdateGrant(t.Context(), &update) })
		want := grant
		want.Label, want.Scopes, want.VaultID, want.PublicKey = update.Label, update.Scopes, nil, update.PublicKey
		want.KeyID, want.MAC = update.KeyID, update.MAC
		got, err := s.Grant(t.Context(), grant.AccountID, grant.ID)
		ok(t, err)
		same(t, "updated", got, want)
		got, _, err = s.GrantWithKey(t.Context(), grant.AccountID, grant.ID, uint32(key.Slot))
		ok(t, err)
		same(t, "as signing in reads it", got, want)
		inTx(t, s, func(ctx context.Context) error { // as SQLite asks it
			got, _, err := s.GrantWithKey(ctx, grant.AccountID, grant.ID, uint32(key.Slot))
			ok(t, err)
			same(t, "as signing in reads it in a transaction", got, want)
			return nil
		})
		for _, other := range []models.Grant{{AccountID: models.NewID(), ID: grant.ID}, {AccountID: grant.AccountID, ID: models.NewID()}} {
			_, err := s.Grant(t.Context(), other.AccountID, other.ID)
			wantErr(t, err, models.ErrNotFound)
			wantErr(t, s.UpdateGrant(t.Context(), &other), models.ErrNotFound)
		}
	})
}

func TestGrantKeysAreListedBySlot(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		grant, last := newGrant(t, s, newAccount(t, s).ID)
		first := last
		first.Slot, first.ExpiresAt = 0, nil
		ok(t, s.AddGrantKey(t.Context(), &first))
		got, err := s.GrantKeys(t.Context(), grant.AccountID, grant.ID)
		ok(t, err)
		same(t, "keys", got, []models.GrantKey{first, last})
		got, err = s.GrantKeys(t.Context(), models.NewID(), grant.ID)
		ok(t, err)
		same(t, "keys in another account", len(got), 0)
	})
}

func TestVaultGrantsAreThoseThatHaveNotEnded(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		v := newPlatformVault(t, s)
		var others []models.Grant
		for range 2 {
			g, _ := newGrant(t, s, v.AccountID)
			g.VaultID = &v.ID
			ok(t, s.UpdateGrant(t.Context(), &g))
			others = append(others, g)
		}
		newGrant(t, s, v.AccountID) // of another vault
		ok(t, s.EndGrant(t.Context(), v.AccountID, others[0].ID, at))
		got, err := s.VaultGrants(t.Context(), v.AccountID, v.ID)
		ok(t, err)
		same(t, "grants of the vault", got, []models.Grant{v.grant, others[1]})
		got, err = s.VaultGrants(t.Context(), models.NewID(), v.ID)
		ok(t, err)
		same(t, "grants in another account", len(got), 0)
	})
}

func TestExpiredGrantsAreThoseThatNothingSignsInWith(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		past, now, future := models.Stamp(at.Add(-time.Hour)), models.Stamp(at), models.Stamp(at.Add(time.Hour))
		add := func(expires *time.Time, slots ...*time.Time) uuid.UUID {
			g := filled[models.Grant](t)
			g.AccountID, g.EndedAt, g.ExpiresAt = newAccount(t, s).ID, nil, expires
			for i, end := range slots {
				k := filled[models.GrantKey](t)
				k.AccountID, k.GrantID, k.Slot, k.ExpiresAt = g.AccountID, g.ID, int64(i), end
				if i == 0 {
					ok(t, s.CreateGrant(t.Context(), &g, &k))
				} else {
					ok(t, s.AddGrantKey(t.Context(), &k))
				}
			}
			return g.ID
		}
		live := map[uuid.UUID]string{
			add(nil, nil): "never expires", add(&future, &past, &future): "its second slot lives", add(nil, &past, nil): "its second slot has no end",
		}
		expired := map[uuid.UUID]string{
			add(&past, &future): "past its end", add(&now, nil): "at its end", add(&future, &past, &now): "all slots have expired",
		}
		ended := add(&past, &past)
		got, err := s.ExpiredGrants(t.Context(), at, 0)
		ok(t, err)
		for _, g := range got {
			if g.ID == ended {
				ok(t, s.EndGrant(t.Context(), g.AccountID, g.ID, at))
			}
		}
		got, err = s.ExpiredGrants(t.Context(), at, 0)
		ok(t, err)
		same(t, "expired grants", len(got), len(expired))
		for _, g := range got {
			if _, is := expired[g.ID]; !is {
				t.Errorf("listed though it has not expired: %q", live[g.ID])
			}
		}
		some, err := s.ExpiredGrants(t.Context(), at, 2)
		ok(t, err)
		same(t, "the first two", some, got[:2])
	})
}

func TestAGrantThatGotAnotherSlotIsNotEndedAsExpired(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		past, future := models.Stamp(at.Add(-time.Hour)), models.Stamp(at.Add(time.Hour))
		g, k := filled[models.Grant](t), filled[models.GrantKey](t)
		g.AccountID, g.EndedAt, g.ExpiresAt = newAccount(t, s).ID, nil, &future
		k.AccountID, k.GrantID, k.Slot, k.ExpiresAt = g.AccountID, g.ID, 1, &past
		ok(t, s.CreateGrant(t.Context(), &g, &k))
		next := k
		next.Slot, next.ExpiresAt = 2, &future
		ok(t, s.AddGrantKey(t.Context(), &next))
		end := func(when time.Time) error {
			return s.InTx(t.Context(), func(ctx context.Context) error { return s.EndExpiredGrant(ctx, g.AccountID, g.ID, when) })
		}
		if err := s.EndExpiredGrant(t.Context(), g.AccountID, g.ID, at); err == nil || errors.Is(err, models.ErrNotFound) {
			t.Errorf("outside a transaction: got %v, want a refusal", err)
		}
		wantErr(t, end(at), models.ErrNotFound)
		keys, err := s.GrantKeys(t.Context(), g.AccountID, g.ID)
		ok(t, err)
		same(t, "its keys", len(keys), 2)
		ok(t, end(future))
		wantErr(t, end(future), models.ErrNotFound)
		got, err := s.Grant(t.Context(), g.AccountID, g.ID)
		ok(t, err)
		same(t, "ended at", got.EndedAt, &future)
	})
}
