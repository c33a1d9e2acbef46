package store_test

import (
	"testing"
	"time"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/models/store/storetest"
)

// successorOf is what follows a slot, and the key of the slot that it is.
func successorOf(t *testing.T, slot models.GrantKey, next int64) (models.Successor, models.GrantKey) {
	t.Helper()
	n, key := filled[models.Successor](t), slot
	n.AccountID, n.GrantID, n.Slot, n.NextSlot, n.SeenAt = slot.AccountID, slot.GrantID, slot.Slot, next, nil
	key.Slot = next
	return n, key
}

func TestParallelCallersGetTheSameSuccessor(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		account := newAccount(t, s).ID
		_, slot := newGrant(t, s, account)
		const callers = 8
		winners, firsts := make([]models.Successor, callers), make([]bool, callers)
		mine := make([]models.Successor, callers)
		errs := together(callers, func(i int) (err error) {
			n, key := successorOf(t, slot, int64(i))
			mine[i] = n
			winners[i], firsts[i], err = s.PutSuccessor(t.Context(), &n, &key)
			return err
		})
		first := -1
		for i, err := range errs {
			ok(t, err)
			if firsts[i] && first >= 0 {
				t.Fatalf("callers %d and %d were both first", first, i)
			}
			if firsts[i] {
				first = i
			}
		}
		if first < 0 {
			t.Fatal("nobody was first")
		}
		for i := range winners {
			same(t, "successor", winners[i], mine[first])
		}
		got, err := s.Successor(t.Context(), account, slot.GrantID, uint32(slot.Slot))
		ok(t, err)
		same(t, "stored", got, mine[first])
		keys, err := s.GrantKeys(t.Context(), account, slot.GrantID)
		ok(t, err)
		same(t, "slots", len(keys), 2)
		same(t, "the new one", keys[0].Slot, int64(first))
	})
}

func TestSuccessorNeedsALiveGrantAndAFreeSlot(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		account := newAccount(t, s).ID
		grant, slot := newGrant(t, s, account)
		n, key := successorOf(t, slot, slot.Slot)
		_, _, err := s.PutSuccessor(t.Context(), &n, &key)
		wantErr(t, err, models.ErrConflict)
		_, err = s.Successor(t.Context(), account, grant.ID, uint32(slot.Slot))
		wantErr(t, err, models.ErrNotFound)

		n, key = successorOf(t, slot, 1)
		tells(t, watch(s), account, "put", func() error { return second(s.PutSuccessor(t.Context(), &n, &key)) })
		foreign := n
		foreign.AccountID = models.NewID()
		wantErr(t, second(s.PutSuccessor(t.Context(), &foreign, &key)), models.ErrNotFound)
		ok(t, s.EndGrant(t.Context(), account, grant.ID, at))
		_, err = s.Successor(t.Context(), account, grant.ID, uint32(slot.Slot))
		wantErr(t, err, models.ErrNotFound)
		wantErr(t, second(s.PutSuccessor(t.Context(), &n, &key)), models.ErrNotFound)
	})
}

func TestSuccessorIsSeenFirstOnce(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		account := newAccount(t, s).ID
		grant, slot := newGrant(t, s, account)
		n, key := successorOf(t, slot, 1)
		ok(t, second(s.PutSuccessor(t.Context(), &n, &key)))
		for _, when := range []time.Time{at, at.Add(time.Hour)} {
			silent(t, watch(s), "seen", func() error {
				return s.SuccessorSeen(t.Context(), account, grant.ID, uint32(slot.Slot), when)
			})
		}
		got, err := s.Successor(t.Context(), account, grant.ID, uint32(slot.Slot))
		ok(t, err)
		n.SeenAt = models.StampPtr(at)
		same(t, "successor", got, n)
		wantErr(t, s.SuccessorSeen(t.Context(), account, grant.ID, 1, at), models.ErrNotFound)
		wantErr(t, s.SuccessorSeen(t.Context(), models.NewID(), grant.ID, uint32(slot.Slot), at), models.ErrNotFound)
	})
}
