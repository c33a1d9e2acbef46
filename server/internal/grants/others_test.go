package grants_test

import (
	"testing"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/models/store/storetest"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
)

func TestRevokingOtherSessionsLeavesThisOneAndTheKeys(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		h := newHouse(t, s)
		own, other, third := h.session(), h.session(), h.session()
		key, robot := h.key(own, grants.TokensRead), h.agentKey()
		if n, err := h.RevokeOthers(t.Context(), own, client); n != 2 || err != nil {
			t.Fatalf("revoked %d, %v, want 2", n, err)
		}
		for name, p := range map[string]grants.Principal{"its own session": own, "the API key": key, "the agent's key": robot} {
			if _, err := h.Authenticate(t.Context(), p.Token.Reveal(), allKinds...); err != nil {
				t.Errorf("%s: %v, want it good", name, err)
			}
		}
		for name, p := range map[string]grants.Principal{"the other session": other, "the third": third} {
			if _, err := h.Authenticate(t.Context(), p.Token.Reveal(), models.GrantSession); fault.CodeOf(err) != fault.InvalidKey {
				t.Errorf("%s: %v, want INVALID_KEY", name, err)
			}
		}
		if n, err := h.RevokeOthers(t.Context(), own, client); n != 0 || err != nil {
			t.Errorf("again: revoked %d, %v, want none", n, err)
		}
		if _, err := h.RevokeOthers(t.Context(), key, client); fault.CodeOf(err) != fault.ScopeDenied {
			t.Errorf("with a key without the scope: %v, want SCOPE_DENIED", err)
		}
		if _, err := h.LossOfSessions(t.Context(), key, false); fault.CodeOf(err) != fault.ScopeDenied {
			t.Errorf("asking with a key without the scope: %v, want SCOPE_DENIED", err)
		}
	})
}

func TestAVaultThatOnlyRevokedSessionsOpenIsLostWithThem(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		h := newHouse(t, s)
		own, shared, third := h.session(), h.session(), h.session()
		// Two other sessions share a vault: neither is its last one, both together are.
		g := h.grant(third.GrantID)
		g.VaultID = &shared.VaultID
		h.keys.SignGrant(&g)
		h.ok(s.UpdateGrant(t.Context(), &g))
		h.credential(own.VaultID, "github")
		h.credential(shared.VaultID, "github")
		h.credential(shared.VaultID, "slack")
		for _, tt := range []struct {
			ownToo bool
			want   grants.Loss
		}{{false, grants.Loss{Sessions: 2, Vaults: 1, Credentials: 2}}, {true, grants.Loss{Sessions: 3, Vaults: 2, Credentials: 3}}} {
			if got, err := h.LossOfSessions(t.Context(), own, tt.ownToo); got != tt.want || err != nil {
				t.Errorf("its own too %t: got %+v, %v, want %+v", tt.ownToo, got, err, tt.want)
			}
		}
		// An API key that opens the vault keeps it.
		h.key(shared, grants.TokensRead)
		want := grants.Loss{Sessions: 2}
		if got, err := h.LossOfSessions(t.Context(), own, false); got != want || err != nil {
			t.Errorf("with an API key of the same vault: got %+v, %v, want %+v", got, err, want)
		}
	})
}
