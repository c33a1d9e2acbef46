package platform_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/models/store/storetest"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/server/internal/platform"
)

// there is a token that a webhook keeps.
func (w *world) there(service string) models.Token {
	w.t.Helper()
	v, err := w.store.WebhookVault(w.t.Context(), w.account)
	w.must(err)
	t := models.Token{AccountID: w.account, ID: models.NewID(), VaultID: v.ID, ServiceName: service, TokenType: "PlainText", CreationID: "1"}
	w.must(w.store.PutToken(w.t.Context(), &t))
	return t
}

func (w *world) leave(p grants.Principal, t models.Token) platform.Leaving {
	w.t.Helper()
	l, err := w.Leave(w.t.Context(), p, t.ID)
	w.must(err)
	return l
}

// grantsOf are the ids of the tokens that an agent was granted, each authentic.
func (w *world) grantsOf(a agent) []uuid.UUID {
	w.t.Helper()
	rows, err := w.store.CredentialGrants(w.t.Context(), w.account, a.AgentID)
	w.must(err)
	ids := []uuid.UUID{}
	for _, g := range rows {
		w.must(w.ring.CheckCredentialGrant(&g))
		ids = append(ids, g.TokenID)
	}
	return ids
}

func TestACredentialThatWasWrittenWhileItMovedStays(t *testing.T) {
	t.Parallel()
	each(t, func(w *world) {
		p, a, b := w.session(), w.agent("a"), w.agent("b")
		token := w.put(p, "github", "secret")
		w.grant(p, a, token)
		w.grant(p, b, token)
		w.bind()
		l := w.leave(p, token)
		if l.Data.Secrets["accessToken"] != "secret" || l.Marker() != token.ID.String()+".1" {
			t.Errorf("it leaves as %s, marked %s", l.Token.ServiceName, l.Marker())
		}
		w.revoke(b, token)
		w.settle(p) // seals it anew
		to := w.there("github")
		w.refused(w.Moved(t.Context(), p, l, to), fault.Conflict)
		w.reveals(p, "github", "secret")
		w.releases(a, token, "secret")
		if got := w.grantsOf(a); fmt.Sprint(got) != fmt.Sprint([]uuid.UUID{token.ID}) {
			t.Errorf("the agent was granted %v, want what it was", got)
		}

		l = w.leave(p, token)
		if l.Marker() == token.ID.String()+".1" {
			t.Error("another version bears the same mark")
		}
		w.must(w.Moved(t.Context(), p, l, to))
		if got := w.grantsOf(a); fmt.Sprint(got) != fmt.Sprint([]uuid.UUID{to.ID}) {
			t.Errorf("the agent was granted %v, want the webhook's token", got)
		}
		if got := w.grantsOf(b); len(got) != 0 {
			t.Errorf("the other agent was granted %v, want nothing", got)
		}
		w.refused(w.Moved(t.Context(), p, l, to), fault.TokenNotFound)
		_, err := w.Leave(t.Context(), p, token.ID)
		w.refused(err, fault.TokenNotFound)
	})
}

// preceded runs something before the next transaction begins.
type preceded struct {
	*store.Store
	before func()
}

func (i *preceded) InTx(ctx context.Context, do func(ctx context.Context) error) error {
	if before := i.before; before != nil {
		i.before = nil
		before()
	}
	return i.Store.InTx(ctx, do)
}

// An agent that is granted a credential in the last moment keeps it where it went.
func TestAnAgentThatIsGrantedACredentialWhileItMovesKeepsIt(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		in := &preceded{Store: s}
		w := newWorldWith(t, s, func(d *platform.Deps) { d.Accounts = in })
		p, a, late := w.session(), w.agent("a"), w.agent("late")
		token := w.put(p, "github", "secret")
		w.grant(p, a, token)
		w.bind()
		l, to := w.leave(p, token), w.there("github")
		in.before = func() { w.grant(p, late, token) }
		w.must(w.Moved(t.Context(), p, l, to))
		for _, x := range []agent{a, late} {
			if got := w.grantsOf(x); fmt.Sprint(got) != fmt.Sprint([]uuid.UUID{to.ID}) {
				t.Errorf("%s was granted %v, want the webhook's token", x.Name, got)
			}
		}
	})
}

// Who may write to the database grants nothing: a row that is not authentic is not
// signed by a move.
func TestAMoveSignsNoCredentialGrantThatWasChanged(t *testing.T) {
	t.Parallel()
	each(t, func(w *world) {
		p, a := w.session(), w.agent("a")
		token := w.put(p, "github", "secret")
		forged := models.CredentialGrant{AccountID: w.account, AgentID: a.AgentID, ServiceName: "github", TokenID: token.ID, RefreshPolicy: models.RefreshAuto, MAC: models.Opaque("forged")}
		w.must(w.store.PutCredentialGrant(t.Context(), &forged))
		w.bind()
		w.must(w.Moved(t.Context(), p, w.leave(p, token), w.there("github")))
		rows, err := w.store.CredentialGrants(t.Context(), w.account, a.AgentID)
		if err != nil || len(rows) != 1 || rows[0].TokenID != token.ID || w.ring.CheckCredentialGrant(&rows[0]) == nil {
			t.Errorf("the forged row became %v, %v, want it as it was", rows, err)
		}
	})
}

func TestOnlyAnEmptyVaultGoesAndWithItTheOfferToShareIt(t *testing.T) {
	t.Parallel()
	each(t, func(w *world) {
		ctx := t.Context()
		p, other := w.session(), w.session()
		key := w.apiKey(p)
		token := w.put(p, "github", "secret")
		offer, err := w.Share(ctx, p, audit.Client{}, other.GrantID)
		w.must(err)
		w.bind()
		w.must(w.Retire(ctx, p))
		w.reveals(key, "github", "secret")

		w.must(w.Drop(ctx, p, audit.Client{}, token.ID))
		w.refused(w.Drop(ctx, p, audit.Client{}, token.ID), fault.TokenNotFound)
		w.must(w.Retire(ctx, p))
		w.must(w.Retire(ctx, p))
		if _, err := w.store.Vault(ctx, w.account, p.VaultID); !errors.Is(err, models.ErrNotFound) {
			t.Errorf("the empty vault: %v, want it gone", err)
		}
		for _, x := range []grants.Principal{p, key} {
			g, err := w.store.Grant(ctx, w.account, x.GrantID)
			if err != nil || g.VaultID != nil || w.ring.CheckGrant(&g) != nil {
				t.Errorf("the %s opens %v, %v, want nothing, signed", x.Kind, g.VaultID, err)
			}
		}
		if e, err := w.store.Escrow(ctx, w.account, offer.ID); err != nil || e.State != models.EscrowCancelled {
			t.Errorf("the offer is %s, %v, want it cancelled", e.State, err)
		}
		if rest, err := w.Waiting(ctx, p); err != nil || len(rest) != 0 {
			t.Errorf("what waits is %v, %v, want nothing", rest, err)
		}
		if _, err := w.store.Vault(ctx, w.account, other.VaultID); err != nil {
			t.Errorf("another session's vault: %v, want it there", err)
		}
	})
}

func TestNobodyMovesWhatIsInAnothersVault(t *testing.T) {
	t.Parallel()
	each(t, func(w *world) {
		ctx := t.Context()
		p, other, a := w.session(), w.session(), w.agent("a")
		token := w.put(p, "github", "secret")
		w.grant(p, a, token)
		w.bind()
		l, to := w.leave(p, token), w.there("github")
		for _, x := range []grants.Principal{other, a.Principal} {
			want := fault.TokenNotFound
			if x.Kind == models.GrantAgentKey {
				want = fault.ScopeDenied
			}
			_, err := w.Leave(ctx, x, token.ID)
			w.refused(err, want)
			w.refused(w.Drop(ctx, x, audit.Client{}, token.ID), want)
		}
		w.refused(w.Moved(ctx, other, l, to), fault.TokenNotFound)
		w.reveals(p, "github", "secret")
		w.releases(a, token, "secret")
	})
}
