package store_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/models/store/storetest"
)

func TestGrantAndKeyComeBackWhole(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		account := newAccount(t, s).ID
		grant, key := filled[models.Grant](t), filled[models.GrantKey](t)
		grant.AccountID, key.AccountID, key.GrantID = account, account, grant.ID
		tells(t, watch(s), account, "grant", func() error { return s.CreateGrant(t.Context(), &grant, &key) })
		gotGrant, gotKey, err := s.GrantWithKey(t.Context(), account, grant.ID, uint32(key.Slot))
		ok(t, err)
		same(t, "grant", gotGrant, grant)
		same(t, "key", gotKey, key)
		list, err := s.Grants(t.Context(), account)
		ok(t, err)
		same(t, "list", list, []models.Grant{grant})

		bare := models.Grant{AccountID: account, ID: models.NewID(), Kind: models.GrantSession, CreatedAt: models.Stamp(at)}
		bareKey := models.GrantKey{AccountID: account, GrantID: bare.ID, Slot: 1, IssuedAt: models.Stamp(at)}
		ok(t, s.CreateGrant(t.Context(), &bare, &bareKey))
		gotGrant, gotKey, err = s.GrantWithKey(t.Context(), account, bare.ID, 1)
		ok(t, err)
		same(t, "grant with empty columns", gotGrant, bare)
		same(t, "key with empty columns", gotKey, bareKey)
	})
}

func TestMissingGrantOrSlotIsNotFound(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		account := newAccount(t, s).ID
		grant, key := newGrant(t, s, account)
		for _, err := range []error{
			second(s.GrantWithKey(t.Context(), account, models.NewID(), uint32(key.Slot))),
			second(s.GrantWithKey(t.Context(), account, grant.ID, 7)),
			second(s.GrantWithKey(t.Context(), models.NewID(), grant.ID, uint32(key.Slot))),
			s.EndGrant(t.Context(), account, models.NewID(), at),
			s.AddGrantKey(t.Context(), &models.GrantKey{AccountID: account, GrantID: models.NewID()}),
		} {
			wantErr(t, err, models.ErrNotFound)
		}
	})
}

func second[A, B any](_ A, _ B, err error) error { return err }

func TestGrantIdIsTakenOnce(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		account := newAccount(t, s).ID
		grant, key := newGrant(t, s, account)
		key.Slot = 9
		wantErr(t, s.CreateGrant(t.Context(), &grant, &key), models.ErrConflict)
		wantErr(t, second(s.GrantWithKey(t.Context(), account, grant.ID, 9)), models.ErrNotFound)
		grant.AccountID, key.AccountID = models.NewID(), models.NewID()
		wantErr(t, s.CreateGrant(t.Context(), &grant, &key), models.ErrNotFound)
	})
}

func TestGrantKeysAreAddedAndDeleted(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		account := newAccount(t, s).ID
		grant, first := newGrant(t, s, account)
		c := watch(s)
		for slot := range int64(3) {
			key := first
			key.Slot = slot
			tells(t, c, account, "add", func() error { return s.AddGrantKey(t.Context(), &key) })
			wantErr(t, s.AddGrantKey(t.Context(), &key), models.ErrConflict)
		}
		keep := uint32(1)
		tells(t, c, account, "delete", func() error { return s.DeleteGrantKeys(t.Context(), account, grant.ID, &keep) })
		ok(t, second(s.GrantWithKey(t.Context(), account, grant.ID, keep)))
		for _, slot := range []uint32{0, 2, uint32(first.Slot)} {
			wantErr(t, second(s.GrantWithKey(t.Context(), account, grant.ID, slot)), models.ErrNotFound)
		}
		ok(t, s.DeleteGrantKeys(t.Context(), account, grant.ID, nil))
		wantErr(t, second(s.GrantWithKey(t.Context(), account, grant.ID, keep)), models.ErrNotFound)
	})
}

func TestEndedGrantHasNoKeysAndGetsNone(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		account := newAccount(t, s).ID
		grant, key := newGrant(t, s, account)
		other, otherKey := newGrant(t, s, account)
		tells(t, watch(s), account, "end", func() error { return s.EndGrant(t.Context(), account, grant.ID, at) })
		wantErr(t, s.EndGrant(t.Context(), account, grant.ID, at), models.ErrNotFound)
		wantErr(t, second(s.GrantWithKey(t.Context(), account, grant.ID, uint32(key.Slot))), models.ErrNotFound)
		wantErr(t, s.AddGrantKey(t.Context(), &key), models.ErrNotFound)
		ok(t, second(s.GrantWithKey(t.Context(), account, other.ID, uint32(otherKey.Slot))))

		grant.EndedAt = models.StampPtr(at)
		list, err := s.Grants(t.Context(), account)
		ok(t, err)
		same(t, "grants", list, []models.Grant{grant, other})
	})
}

func TestKeyIsNeverLeftWhenAddingRacesWithEnding(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		account := newAccount(t, s).ID
		for range 20 {
			grant, key := newGrant(t, s, account)
			key.Slot = 5
			count(t, together(2, func(i int) error {
				if i == 0 {
					return s.EndGrant(t.Context(), account, grant.ID, at)
				}
				return s.AddGrantKey(t.Context(), &key)
			}), models.ErrNotFound)
			wantErr(t, second(s.GrantWithKey(t.Context(), account, grant.ID, 5)), models.ErrNotFound)
		}
	})
}

func TestLastUseOnlyGoesForward(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		account := newAccount(t, s).ID
		grant, key := newGrant(t, s, account)
		agent := newAgent(t, s, account)
		early, late := at.Add(time.Hour*24), at.Add(time.Hour*48)
		for _, use := range []time.Time{early, late, early} {
			silent(t, watch(s), "touch", func() error {
				return errors.Join(
					s.TouchGrants(t.Context(), []models.GrantUse{{AccountID: account, GrantID: grant.ID, At: use}, {AccountID: account, GrantID: models.NewID(), At: use}}),
					s.TouchAgents(t.Context(), []models.AgentUse{{AccountID: account, AgentID: agent.ID, At: early}, {AccountID: account, AgentID: agent.ID, At: use}}))
			})
		}
		gotGrant, _, err := s.GrantWithKey(t.Context(), account, grant.ID, uint32(key.Slot))
		ok(t, err)
		gotAgent, err := s.Agent(t.Context(), account, agent.ID)
		ok(t, err)
		grant.LastUsedAt, agent.LastUsedAt = models.StampPtr(late), models.StampPtr(late)
		same(t, "grant", gotGrant, grant)
		same(t, "agent", gotAgent, agent)
		ok(t, s.TouchGrants(t.Context(), nil))
	})
}

func TestReplicasThatTouchTheSameRowsDoNotDeadlock(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		account := newAccount(t, s).ID
		var uses []models.GrantUse
		for range 20 {
			grant, _ := newGrant(t, s, account)
			uses = append(uses, models.GrantUse{AccountID: account, GrantID: grant.ID})
		}
		errs := together(8, func(i int) error {
			for round := range 5 {
				mine := make([]models.GrantUse, len(uses))
				for j, u := range uses {
					u.At = at.Add(time.Duration(24+round*8+i) * time.Hour)
					mine[(j*7+i)%len(mine)] = u // each in an order of its own
				}
				if err := s.TouchGrants(context.WithoutCancel(t.Context()), mine); err != nil {
					return err
				}
			}
			return nil
		})
		for _, err := range errs {
			ok(t, err)
		}
	})
}

func TestManyTouchesAreWrittenInBatches(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		account := newAccount(t, s).ID
		grant, key := newGrant(t, s, account)
		uses := []models.GrantUse{{AccountID: account, GrantID: grant.ID, At: at.Add(24 * time.Hour)}}
		for range 1100 {
			uses = append(uses, models.GrantUse{AccountID: account, GrantID: models.NewID(), At: at})
		}
		ok(t, s.TouchGrants(t.Context(), uses))
		got, _, err := s.GrantWithKey(t.Context(), account, grant.ID, uint32(key.Slot))
		ok(t, err)
		same(t, "last use", got.LastUsedAt, models.StampPtr(at.Add(24*time.Hour)))
	})
}
