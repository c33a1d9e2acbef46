package connect_test

import (
	"testing"

	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/models/store/storetest"
	"github.com/tvzero/tokenvault/refresh"
	"github.com/tvzero/tokenvault/refresh/refreshtest/oidc"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/connect"
	"github.com/tvzero/tokenvault/server/internal/providers"
)

// The whole way with an OpenID provider that others wrote: discovery, PKCE, offline
// access with consent, iss, nonce, an ID token, and revocation.
func TestAnAccountAtARealProviderIsConnectedAgainAndDisconnected(t *testing.T) {
	t.Parallel()
	p := oidc.Start(t, oidc.Options{RequireOfflineAccess: true, Clients: []oidc.Client{{ID: "vault", RedirectURIs: []string{"https://vault.example/oauth/callback"}}}})
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		w := newWorldWith(t, s, providers.Setting{ID: "real", Name: "Real", Issuer: p.Issuer, ClientID: p.ClientID, ClientSecret: refresh.Secret(p.ClientSecret)})
		var tokens []string
		for round := range 2 {
			r := w.start(connect.StartInput{Provider: "real"})
			back, err := p.Authorize(t.Context(), r.URL)
			w.must(err)
			q := back.Query()
			if q.Get("iss") != p.Issuer {
				t.Errorf("the answer is from %q, want %q: the provider says who it is", q.Get("iss"), p.Issuer)
			}
			out, err := w.Finish(t.Context(), w.user, audit.Client{}, connect.Callback{
				Cookie: r.Cookie, State: q.Get("state"), Code: refresh.Secret(q.Get("code")), Issuer: q.Get("iss"), Error: q.Get("error"),
			})
			w.must(err)
			if got := out.Token; got.Subject != "ada" || !got.HasRefreshToken || got.ExpiresAt == nil || out.AccountChanged || len(out.Missing) != 0 {
				t.Errorf("round %d: connected %+v of %q, missing %v", round, got, out.Account, out.Missing)
			}
			w.again()
			held, _ := w.reveal("real")["refreshToken"].(string)
			if state := p.State(held); state != oidc.Current {
				t.Errorf("round %d: the refresh token in the vault is %s, want current", round, state)
			}
			tokens = append(tokens, held)
		}
		if out := w.disconnect("real"); !out.Revoked {
			t.Errorf("got %+v, want it revoked", out)
		}
		if state := p.State(tokens[1]); state == oidc.Current {
			t.Errorf("after disconnecting the refresh token is %s", state)
		}
		w.holds(0)
		w.quiet(tokens...)
	})
}
