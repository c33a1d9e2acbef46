package platform_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
)

// states are the account's vaults by what their ids end with: own, tokens, what is due.
func (w *world) states(p grants.Principal) []string {
	w.t.Helper()
	list, err := w.VaultStates(w.t.Context(), p)
	w.must(err)
	var out []string
	for _, v := range list {
		out = append(out, fmt.Sprintf("own=%v tokens=%d openers=%d due=%v rekey=%d", v.Own, v.Tokens, len(v.Grants), v.Due != nil, v.RekeyDue))
	}
	return out
}

func (w *world) wantStates(p grants.Principal, want ...string) {
	w.t.Helper()
	if got := w.states(p); !slices.Equal(got, want) {
		w.t.Errorf("the vaults are %q, want %q", got, want)
	}
}

func TestKeysThatAreDueAreShownAndMadeWhenAsked(t *testing.T) {
	t.Parallel()
	each(t, func(w *world) {
		p, other := w.session(), w.session()
		key := w.apiKey(p)
		w.put(p, "a", "secret-a")
		w.put(p, "b", "secret-b")
		w.wantStates(p, "own=true tokens=2 openers=2 due=false rekey=0")
		w.wantStates(other, "own=false tokens=2 openers=2 due=false rekey=0", "own=true tokens=0 openers=1 due=false rekey=0")

		w.must(w.grants.Revoke(t.Context(), other, audit.Client{}, key.GrantID)) // who revokes does not open the vault
		before := w.vaultOf(p)
		w.wantStates(p, "own=true tokens=2 openers=1 due=true rekey=0")

		w.must(w.MakeDueKeys(t.Context(), other, audit.Client{})) // of their own vault, where nothing is due
		w.wantStates(p, "own=true tokens=2 openers=1 due=true rekey=0")

		w.audit.away = fault.New(fault.Unavailable, "away")
		w.refused(w.MakeDueKeys(t.Context(), p, audit.Client{}), fault.Unavailable)
		w.audit.away = nil
		if got := w.vaultOf(p); got.Generation != before.Generation {
			t.Errorf("generation %d without a record, want %d as before", got.Generation, before.Generation)
		}

		w.must(w.MakeDueKeys(t.Context(), p, audit.Client{}))
		w.wantStates(p, "own=true tokens=2 openers=1 due=false rekey=0")
		if got := w.vaultOf(p); got.Generation != before.Generation+1 {
			t.Errorf("generation %d, want %d", got.Generation, before.Generation+1)
		}
		w.reveals(p, "a", "secret-a")
		w.reveals(p, "b", "secret-b")
	})
}

func TestKeysOfSingleCredentialsThatAreDueAreCounted(t *testing.T) {
	t.Parallel()
	each(t, func(w *world) {
		p, a := w.session(), w.agent("a")
		token := w.put(p, "a", "secret-a")
		w.grant(p, a, token)
		w.put(p, "b", "secret-b")
		w.revoke(a, token)
		w.wantStates(p, "own=true tokens=2 openers=1 due=false rekey=1")
		w.must(w.MakeDueKeys(t.Context(), p, audit.Client{}))
		w.wantStates(p, "own=true tokens=2 openers=1 due=false rekey=0")
		w.reveals(p, "a", "secret-a")
	})
}

func TestOnlyWhoMayManageTheVaultMakesItsKeys(t *testing.T) {
	t.Parallel()
	each(t, func(w *world) {
		p := w.session()
		reader := p
		reader.Kind, reader.Scopes = models.GrantAPIKey, []string{grants.TokensRead}
		w.refused(w.MakeDueKeys(t.Context(), reader, audit.Client{}), fault.ScopeDenied)
		p.Kind = models.GrantAgentKey
		_, err := w.VaultStates(t.Context(), p)
		w.refused(err, fault.ScopeDenied)
	})
}
