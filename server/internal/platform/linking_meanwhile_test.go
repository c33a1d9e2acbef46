package platform_test

import (
	"context"
	"testing"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/models/store/storetest"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/server/internal/platform"
)

// A meanwhile store lets something happen between the look at who is concerned and
// the locks.
type meanwhile struct {
	*store.Store
	once func() // runs after the first look
}

func (m *meanwhile) VaultAgentGrants(ctx context.Context, account, vault uuid.UUID) ([]uuid.UUID, error) {
	ids, err := m.Store.VaultAgentGrants(ctx, account, vault)
	if do := m.once; do != nil {
		m.once = nil
		do()
	}
	return ids, err
}

func eachMeanwhile(t *testing.T, body func(w *world, m *meanwhile)) {
	t.Helper()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		m := &meanwhile{Store: s}
		body(newWorldWith(t, s, func(d *platform.Deps) { d.Wraps = m }), m)
	})
}

func TestAnAgentThatIsGrantedACredentialWhileItsVaultIsLinkedKeepsIt(t *testing.T) {
	t.Parallel()
	eachMeanwhile(t, func(w *world, m *meanwhile) {
		a, b, agent := w.session(), w.session(), w.agent("agent")
		token := w.put(b, "github", "of-b")
		e := w.offers(a, b)
		m.once = func() { w.grant(b, agent, token) }
		w.accepts(b, e)
		w.wantOpens(a, "github=of-b")
		w.releases(agent, token, "of-b")
	})
}

func TestTwoOffersThatAreAcceptedAtOnceAreAcceptedOneAfterTheOther(t *testing.T) {
	t.Parallel()
	eachMeanwhile(t, func(w *world, m *meanwhile) {
		a, b, c := w.session(), w.session(), w.session()
		w.put(a, "npm", "of-a")
		w.put(b, "github", "of-b")
		w.put(c, "gitlab", "of-c")
		first, second := w.offers(a, b), w.offers(c, b)
		m.once = func() { w.accepts(b, second) }
		b = w.accepts(b, first)
		if b.VaultID != w.now(a).VaultID {
			t.Errorf("it opens vault %s, want the one that it accepted last", b.VaultID)
		}
		w.wantOpens(b, "npm=of-a", "github=of-b", "gitlab=of-c") // copies of what c keeps
		w.wantOpens(a, "npm=of-a", "github=of-b", "gitlab=of-c")
		w.wantOpens(c, "github=of-b", "gitlab=of-c")
	})
}

func TestAKeyThatIsMadeWhileTheVaultGetsAnotherKeyOpensIt(t *testing.T) {
	t.Parallel()
	eachMeanwhile(t, func(w *world, m *meanwhile) {
		p := w.session()
		w.put(p, "github", "secret")
		doomed := w.apiKey(p)
		var late grants.Principal
		m.once = func() { late = w.apiKey(p) }
		w.must(w.grants.Revoke(t.Context(), p, audit.Client{}, doomed.GrantID))
		if v := w.vaultOf(p); v.Generation != 2 || v.RotationDueAt != nil {
			t.Errorf("the vault is of generation %d, due since %v, want the second", v.Generation, v.RotationDueAt)
		}
		w.wantOpens(late, "github=secret")
		w.wantOpens(p, "github=secret")
	})
}
