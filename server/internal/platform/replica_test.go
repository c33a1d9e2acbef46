package platform_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/models/store/storetest"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/server/internal/platform"
)

// eachAhead is each for a replica whose clock goes a year ahead of the database's,
// from when it is told to.
func eachAhead(t *testing.T, body func(w *world)) {
	t.Helper()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		t.Helper()
		body(newWorldWith(t, s, func(d *platform.Deps) { d.Clock = s.Clock }))
	})
}

const aYear = 366 * 24 * time.Hour

func TestAReplicaWhoseClockIsAheadDeletesNothing(t *testing.T) {
	t.Parallel()
	eachAhead(t, func(w *world) {
		p, a, alone := w.session(), w.agent("robot"), w.agent("alone")
		token, kept := w.put(p, "github", "secret"), w.put(p, "gitlab", "another")
		w.expiring(p, a, token, time.Hour)
		w.expiring(p, alone, kept, time.Hour)
		w.clock.pass(aYear)
		w.must(w.Sweep(t.Context()))
		w.clock.pass(-aYear)
		w.reveals(w.now(p), "github", "secret")
		w.releases(a, token, "secret")

		other := w.apiKey(p)
		w.clock.pass(aYear)
		w.must(w.grants.Revoke(t.Context(), other, audit.Client{}, other.GrantID)) // the session has ended, for this replica
		w.clock.pass(-aYear)
		w.reveals(w.now(p), "github", "secret")
		w.releases(alone, kept, "another")
	})
}

func TestAReplicaWhoseClockIsAheadGivesEverybodyAVaultsNewKey(t *testing.T) {
	t.Parallel()
	eachAhead(t, func(w *world) {
		p := w.session()
		w.put(p, "github", "secret")
		key, gone := w.apiKey(p), w.apiKey(p)
		w.clock.pass(aYear)
		w.must(w.grants.Revoke(t.Context(), key, audit.Client{}, gone.GrantID))
		w.clock.pass(-aYear)
		if v := w.vaultOf(p); v.Generation != 2 {
			t.Fatalf("generation %d, want 2", v.Generation)
		}
		w.reveals(w.now(p), "github", "secret")
	})
}

func TestAReplicaThatLacksAServerKeyTakesTheVaultFromNobody(t *testing.T) {
	t.Parallel()
	each(t, func(w *world) {
		p := w.session()
		w.put(p, "github", "secret")
		key, gone := w.apiKey(p), w.apiKey(p)
		_, ring := w.rekeyed()
		g, err := w.store.Grant(t.Context(), w.account, p.GrantID)
		w.must(err)
		ring.SignGrant(&g)
		w.must(w.store.UpdateGrant(t.Context(), &g))
		w.must(w.grants.Revoke(t.Context(), key, audit.Client{}, gone.GrantID))
		if v := w.vaultOf(p); v.Generation != 1 || v.RotationDueAt == nil {
			t.Errorf("generation %d, due %v; want the rotation left to who has the server key", v.Generation, v.RotationDueAt)
		}
		w.ring.SignGrant(&g)
		w.must(w.store.UpdateGrant(t.Context(), &g))
		w.reveals(w.now(p), "github", "secret")
		if v := w.vaultOf(p); v.Generation != 2 || v.RotationDueAt != nil {
			t.Errorf("generation %d, due %v; want it rotated", v.Generation, v.RotationDueAt)
		}
	})
}

func TestAGrantThatCannotBeEndedKeepsNoOtherFromIt(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		var stuck []models.Grant
		w := newWorldWith(t, s, func(d *platform.Deps) { d.GrantRows = stuckGrants{s, &stuck} })
		first, second := w.session(), w.session()
		w.put(first, "github", "secret")
		token := w.put(second, "gitlab", "another")
		g, err := s.Grant(t.Context(), w.account, first.GrantID)
		w.must(err)
		stuck = append(stuck, g)
		w.clock.pass(grants.SessionTokenLife + time.Second)
		if err := w.Sweep(t.Context()); err == nil {
			t.Error("the sweep says nothing of the grant that it could not end")
		}
		w.tokenGone(token)
	})
}

// stuckGrants cannot end some.
type stuckGrants struct {
	*store.Store
	stuck *[]models.Grant
}

func (s stuckGrants) EndExpiredGrant(ctx context.Context, accountID, grantID uuid.UUID, at time.Time) error {
	if slices.ContainsFunc(*s.stuck, func(g models.Grant) bool { return g.ID == grantID }) {
		return errors.New("stuck")
	}
	return s.Store.EndExpiredGrant(ctx, accountID, grantID, at)
}

func TestAGrantOfADamagedVaultEnds(t *testing.T) {
	t.Parallel()
	each(t, func(w *world) {
		p := w.session()
		w.put(p, "github", "secret")
		key := w.apiKey(p)
		v := w.vaultOf(p)
		v.Generation++
		w.must(w.store.UpdateVault(t.Context(), &v))
		w.must(w.grants.Revoke(t.Context(), p, audit.Client{}, key.GrantID))
		g, err := w.store.Grant(t.Context(), w.account, key.GrantID)
		if err != nil || g.EndedAt == nil {
			t.Errorf("the key ended at %v, %v", g.EndedAt, err)
		}
		if v := w.vaultOf(p); w.ring.CheckVault(&v) == nil {
			t.Error("the damaged row was made authentic")
		}
	})
}

func TestAVaultThatASessionsFormerTokenMadeOpensWithTheNextOne(t *testing.T) {
	t.Parallel()
	each(t, func(w *world) {
		w.bind()
		old := w.session()
		w.unbind()
		w.clock.pass(grants.SessionTokenLife / 2)
		old = w.now(old)
		next, _, err := w.grants.Rotate(t.Context(), old)
		w.must(err)
		w.put(old, "github", "secret") // as a request does that is answered with its successor
		w.reveals(w.principal(next.Reveal()), "github", "secret")
		w.reveals(old, "github", "secret")
	})
}

func (w *world) unbind() {
	w.t.Helper()
	b, err := w.store.BindingByState(w.t.Context(), w.account, models.BindingActive)
	w.must(err)
	b.End(models.Stamp(w.clock.now()))
	w.must(w.store.PutBinding(w.t.Context(), &b))
}
