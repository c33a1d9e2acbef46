package store_test

import (
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/models/store/storetest"
)

func TestAccountHasOneWebhookVault(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		v := newVault(t, s, models.ModePlatform)
		_, err := s.WebhookVault(t.Context(), v.AccountID)
		wantErr(t, err, models.ErrNotFound)

		want := models.Vault{AccountID: v.AccountID, ID: models.NewID(), Mode: models.ModeWebhook, CreatedAt: models.Stamp(at)}
		tells(t, watch(s), v.AccountID, "vault", func() error { return s.CreateVault(t.Context(), &want) })
		got, err := s.WebhookVault(t.Context(), v.AccountID)
		ok(t, err)
		same(t, "vault", got, want)

		another := models.Vault{AccountID: v.AccountID, ID: models.NewID(), Mode: models.ModeWebhook}
		wantErr(t, s.CreateVault(t.Context(), &another), models.ErrConflict)
		orphan := models.Vault{AccountID: models.NewID(), ID: models.NewID(), Mode: models.ModeWebhook}
		wantErr(t, s.CreateVault(t.Context(), &orphan), models.ErrNotFound)
	})
}

func newBinding(t *testing.T, v models.Vault, state models.BindingState) models.Binding {
	t.Helper()
	b := filled[models.Binding](t)
	b.AccountID, b.VaultID, b.State = v.AccountID, v.ID, state
	return b
}

func TestBindingComesBackWholeAndIsReplaced(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		v := newVault(t, s, models.ModeWebhook)
		c := watch(s)
		want := newBinding(t, v, models.BindingPending)
		tells(t, c, v.AccountID, "put", func() error { return s.PutBinding(t.Context(), &want) })
		got, err := s.BindingByState(t.Context(), v.AccountID, models.BindingPending)
		ok(t, err)
		same(t, "pending", got, want)

		ok(t, want.Activate(at))
		want.Capabilities, want.HealthCheckedAt = nil, nil
		ok(t, s.PutBinding(t.Context(), &want))
		got, err = s.BindingByState(t.Context(), v.AccountID, models.BindingActive)
		ok(t, err)
		same(t, "active", got, want)
		_, err = s.BindingByState(t.Context(), v.AccountID, models.BindingPending)
		wantErr(t, err, models.ErrNotFound)
	})
}

func TestAccountHasOneActiveAndOnePendingBinding(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		v := newVault(t, s, models.ModeWebhook)
		for _, state := range []models.BindingState{models.BindingActive, models.BindingPending} {
			errs := together(8, func(int) error {
				b := newBinding(t, v, state)
				return s.PutBinding(t.Context(), &b)
			})
			if none, _ := count(t, errs, models.ErrConflict); none != 1 {
				t.Fatalf("%d %s bindings were put, want 1", none, state)
			}
		}
		var newest models.Binding
		for range 2 {
			newest = newBinding(t, v, models.BindingEnded)
			ok(t, s.PutBinding(t.Context(), &newest))
		}
		got, err := s.BindingByState(t.Context(), v.AccountID, models.BindingEnded)
		ok(t, err)
		same(t, "newest ended", got.ID, newest.ID)
	})
}

func TestDeletePendingBindingsLeavesTheOthers(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		v, other := newVault(t, s, models.ModeWebhook), newVault(t, s, models.ModeWebhook)
		for _, b := range []models.Binding{
			newBinding(t, v, models.BindingPending), newBinding(t, v, models.BindingActive), newBinding(t, other, models.BindingPending),
		} {
			ok(t, s.PutBinding(t.Context(), &b))
		}
		ok(t, s.DeletePendingBindings(t.Context(), v.AccountID))
		ok(t, s.DeletePendingBindings(t.Context(), v.AccountID))
		_, err := s.BindingByState(t.Context(), v.AccountID, models.BindingPending)
		wantErr(t, err, models.ErrNotFound)
		_, err = s.BindingByState(t.Context(), v.AccountID, models.BindingActive)
		ok(t, err)
		_, err = s.BindingByState(t.Context(), other.AccountID, models.BindingPending)
		ok(t, err)
	})
}

func TestBindingHealthIsAChangeOnlyWithNewCapabilities(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		v := newVault(t, s, models.ModeWebhook)
		want := newBinding(t, v, models.BindingActive)
		ok(t, s.PutBinding(t.Context(), &want))
		c := watch(s)
		check := func(status, detail string, capabilities []string) func() error {
			return func() error {
				return s.SetBindingHealth(t.Context(), v.AccountID, want.ID, status, detail, at, "2", capabilities)
			}
		}
		silent(t, c, "health", check(models.HealthUnhealthy, "slow", want.Capabilities))
		want.HealthStatus, want.HealthDetail, want.HealthCheckedAt, want.Version = models.HealthUnhealthy, "slow", models.StampPtr(at), "2"
		got, err := s.BindingByState(t.Context(), v.AccountID, models.BindingActive)
		ok(t, err)
		same(t, "unhealthy", got, want)

		tells(t, c, v.AccountID, "capabilities", check(models.HealthHealthy, "", []string{"proxy"}))
		want.HealthStatus, want.HealthDetail, want.Capabilities = models.HealthHealthy, "", []string{"proxy"}
		got, err = s.BindingByState(t.Context(), v.AccountID, models.BindingActive)
		ok(t, err)
		same(t, "healthy", got, want)

		err = s.SetBindingHealth(t.Context(), v.AccountID, models.NewID(), "", "", time.Now(), "", nil)
		wantErr(t, err, models.ErrNotFound)
		err = s.SetBindingHealth(t.Context(), v.AccountID, want.ID, models.HealthHealthy, "\xff", at, "2", nil)
		wantErr(t, err, models.ErrInvalid)
	})
}

func TestBindingsAreCountedByTheKeyThatSealsThem(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		var ended uuid.UUID
		for i := range 5 {
			b := newBinding(t, newVault(t, s, models.ModeWebhook), models.BindingActive)
			b.SecretKeyID = i % 2
			if i == 4 {
				b.End(at)
				ended = b.ID
			}
			ok(t, s.PutBinding(t.Context(), &b))
		}
		got, err := s.BindingsByKeyID(t.Context())
		ok(t, err)
		same(t, "sealed secrets by key, without the ended binding "+ended.String(), got, map[int]int64{0: 2, 1: 2})
	})
}
