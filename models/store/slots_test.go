package store_test

import (
	"testing"
	"time"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/models/store/storetest"
)

func TestExpiredSlotsAreListedAndDeletedWithWhatIsWrappedForThem(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		v, c := newPlatformVault(t, s), watch(s)
		at := models.Stamp(time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC))
		slots := map[int64]*time.Time{7: models.StampPtr(at.Add(-time.Second)), 8: &at, 9: models.StampPtr(at.Add(time.Second)), 10: nil}
		credential := v.credential(t, s, "github", nil)
		for slot, end := range slots {
			k := filled[models.GrantKey](t)
			k.AccountID, k.GrantID, k.Slot, k.ExpiresAt = v.AccountID, v.grant.ID, slot, end
			ok(t, s.AddGrantKey(t.Context(), &k))
			w := v.key
			w.Slot = slot
			ok(t, s.PutVaultKey(t.Context(), &w))
			v.agentKey(t, s, credential, slot)
		}
		mine := func() (found []int64) {
			list, err := s.ExpiredSlots(t.Context(), at, 0)
			ok(t, err)
			for _, k := range list {
				if k.GrantID == v.grant.ID && k.Slot != v.slot.Slot {
					found = append(found, k.Slot)
				}
			}
			return found
		}
		same(t, "expired", mine(), []int64{7, 8})
		tells(t, c, v.AccountID, "delete", func() error { return s.DeleteSlot(t.Context(), v.AccountID, v.grant.ID, 7) })
		ok(t, s.DeleteSlot(t.Context(), v.AccountID, v.grant.ID, 8))
		ok(t, s.DeleteSlot(t.Context(), v.AccountID, v.grant.ID, 8))
		same(t, "expired", len(mine()), 0)
		keys, err := s.VaultKeys(t.Context(), v.AccountID, v.grant.ID, v.ID, v.key.Generation)
		ok(t, err)
		wrapped, err := s.CredentialKeys(t.Context(), v.AccountID, credential.ID)
		ok(t, err)
		for _, k := range keys {
			same(t, "a vault's key for a slot that expired", k.Slot == 7 || k.Slot == 8, false)
		}
		same(t, "vault keys", len(keys), 3)
		same(t, "credential keys", len(wrapped), 2)

		other := newPlatformVault(t, s)
		wantErr(t, s.DeleteSlot(t.Context(), other.AccountID, v.grant.ID, 9), models.ErrNotFound)
		ok(t, s.EndGrant(t.Context(), v.AccountID, v.grant.ID, at))
		wantErr(t, s.DeleteSlot(t.Context(), v.AccountID, v.grant.ID, 9), models.ErrNotFound)
	})
}
