package connect_test

import (
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/refresh"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/connect"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/platform"
)

func TestConnectingPutsAnAccountsTokensIntoTheVault(t *testing.T) {
	t.Parallel()
	each(t, func(w *world) {
		r := w.start(connect.StartInput{Provider: "test", Scopes: []string{"write"}, ReturnTo: "/agents?x=1"})
		u, err := url.Parse(r.URL)
		w.must(err)
		q := u.Query()
		if !strings.HasPrefix(r.URL, w.provider.Issuer()+"/authorize?") || q.Get("code_challenge_method") != "S256" || q.Get("scope") != "profile read write" ||
			len(q.Get("state")) < 40 || r.Cookie == "" || strings.Contains(r.Cookie, q.Get("state")) {
			t.Errorf("sent to %s with the cookie %q", r.URL, r.Cookie)
		}
		back := w.visit(r)
		before := w.clock.now()
		out, err := w.Finish(t.Context(), w.user, audit.Client{Address: "192.0.2.1"}, back)
		w.must(err)
		if out.Account != "user@example.com" || out.ReturnTo != "/agents?x=1" || out.Provider.Name != "Test" || out.AccountChanged || len(out.Missing) != 0 {
			t.Errorf("got %+v", out)
		}
		token := out.Token
		if token.ServiceName != "test" || token.Provider != "test" || token.Subject != "user-1" || token.Scope != "profile read write" || !token.HasRefreshToken ||
			token.DisplayName != "Test (user@example.com)" || token.IssuedAt == nil || token.IssuedAt.Before(before.Add(-time.Second)) ||
			token.ExpiresAt == nil || token.ExpiresAt.Before(before.Add(59*time.Minute)) {
			t.Errorf("the token is %+v", token)
		}
		w.again()
		held := w.reveal("test")
		c := w.provider.Config()
		if !w.provider.Newest(refresh.Secret(held["accessToken"].(string))) {
			t.Error("the vault holds another access token than the provider issued last")
		}
		for field, want := range map[string]any{
			"tokenType": "OAuth", "provider": "test", "issuer": c.Issuer, "tokenUrl": c.TokenURL, "clientId": c.ClientID, "subject": "user-1",
			"scopes": []any{"profile", "read", "write"},
		} {
			if !reflect.DeepEqual(held[field], want) {
				t.Errorf("the vault holds %s = %v, want %v", field, held[field], want)
			}
		}
		if held["refreshToken"] == "" {
			t.Error("the vault holds no refresh token")
		}
		events := w.audit.take()
		if len(events) != 2 || events[0].Type != audit.Store || events[0].Service != "test" || events[0].Client.Address != "192.0.2.1" ||
			events[0].Detail != "connected at test as user@example.com" || events[0].GrantID != w.user.GrantID {
			t.Errorf("recorded %+v, want the store and the reveal of this test", events)
		}
		w.quiet(string(back.Code), back.State, r.Cookie, held["accessToken"].(string), held["refreshToken"].(string))
	})
}

func TestConnectingAgainReplacesTheTokenAndAsksForMore(t *testing.T) {
	t.Parallel()
	each(t, func(w *world) {
		first := w.connect(connect.StartInput{Provider: "test", Service: "mine", Scopes: []string{"write"}}).Token
		name := "Work"
		_, err := w.platform.UpdateMetadata(t.Context(), w.user, audit.Client{}, platform.Ref{Service: "mine"}, platform.MetadataInput{DisplayName: &name})
		w.must(err)
		old := w.reveal("mine")["refreshToken"]

		r := w.start(connect.StartInput{Service: "mine", Scopes: []string{"admin", "read"}})
		if u, err := url.Parse(r.URL); err != nil || u.Query().Get("scope") != "profile read write admin" {
			t.Errorf("asks for %q, want what the token has, and more", u.Query().Get("scope"))
		}
		out, err := w.Finish(t.Context(), w.user, audit.Client{}, w.visit(r))
		w.must(err)
		if out.Token.ID != first.ID || out.Token.CreationID == first.CreationID || out.Token.DisplayName != "Work" || out.Token.Scope != "profile read write admin" {
			t.Errorf("got %+v after %+v", out.Token, first)
		}
		if hosts := w.reveal("mine")["allowedHosts"]; !reflect.DeepEqual(hosts, []any{"https://api.example.com"}) {
			t.Errorf("it may be sent to %v, want what was allowed before", hosts)
		}
		if now := w.reveal("mine")["refreshToken"]; now == old {
			t.Error("the old refresh token is still there")
		}
		w.holds(1)
	})
}

func TestWhoseAccountItIsNowIsSaid(t *testing.T) {
	t.Parallel()
	each(t, func(w *world) {
		w.connect(connect.StartInput{Provider: "test"})
		token, err := w.platform.Token(t.Context(), w.user, platform.Ref{Service: "test"})
		w.must(err)
		token.Subject = "somebody-else"
		w.must(w.store.UpdateToken(t.Context(), &token))
		if out := w.connect(connect.StartInput{Provider: "test"}); !out.AccountChanged {
			t.Error("another account than before was connected, and nobody says so")
		}
		if out := w.connect(connect.StartInput{Provider: "test"}); out.AccountChanged {
			t.Error("the same account counts as another")
		}
	})
}

func TestANameThatIsAnothersIsNotTaken(t *testing.T) {
	t.Parallel()
	each(t, func(w *world) {
		put := func(service, text string) models.Token {
			token, err := w.platform.Store(t.Context(), w.user, audit.Client{}, platform.Ref{Service: service}, fields(t, text))
			w.must(err)
			w.again()
			return token
		}
		put("test", `{"tokenType": "PlainText", "accessToken": "kept"}`)
		put("other", `{"tokenType": "OAuth", "accessToken": "kept", "provider": "public"}`)
		put("nobodys", `{"tokenType": "OAuth", "accessToken": "kept"}`)
		for name, c := range map[string]struct {
			in     connect.StartInput
			want   fault.Code
			saying string
		}{
			"an API key under the provider's name": {connect.StartInput{Provider: "test"}, fault.Conflict, "that is not from test"},
			"a token of another provider":          {connect.StartInput{Provider: "test", Service: "other"}, fault.Conflict, "that is not from test"},
			"a token of no provider":               {connect.StartInput{Service: "nobodys"}, fault.InvalidRequest, "does not say from which provider"},
			"a token that is not there":            {connect.StartInput{Service: "nothing"}, fault.TokenNotFound, "no token named"},
			"an unknown provider":                  {connect.StartInput{Provider: "nobody"}, fault.NotFound, "no provider named"},
		} {
			_, err := w.Start(t.Context(), w.user, audit.Client{}, c.in)
			w.refused(name, err, c.want, c.saying)
		}

		// Taken while its owner was at the provider.
		back := w.visit(w.start(connect.StartInput{Provider: "test", Service: "late"}))
		put("late", `{"tokenType": "PlainText", "accessToken": "kept"}`)
		_, err := w.Finish(t.Context(), w.user, audit.Client{}, back)
		w.refused("a name taken meanwhile", err, fault.Conflict, "another token named")
		for _, service := range []string{"test", "other", "nobodys", "late"} {
			if got := w.reveal(service)["accessToken"]; got != "kept" {
				t.Errorf("%s holds %v, want what was there", service, got)
			}
		}

		// Gone meanwhile: the name is free.
		w.connect(connect.StartInput{Provider: "test", Service: "gone"})
		back = w.visit(w.start(connect.StartInput{Service: "gone"}))
		w.must(w.platform.Delete(t.Context(), w.user, audit.Client{}, platform.Ref{Service: "gone"}))
		_, err = w.Finish(t.Context(), w.user, audit.Client{}, back)
		w.must(err)
		w.reveal("gone")
	})
}

func TestABridgesTokenSaysProviderAndScopes(t *testing.T) {
	t.Parallel()
	each(t, func(w *world) {
		ref := platform.Ref{Owner: "acme", Bridge: "weather", Service: "forecast", Scheme: "oauth"}
		_, err := w.platform.Store(t.Context(), w.user, audit.Client{}, ref, fields(t, `{"tokenType": "OAuth", "accessToken": "a", "provider": "test", "scope": "maps"}`))
		w.must(err)
		in := connect.StartInput{Owner: "acme", Bridge: "weather", Scopes: []string{"wind"}}
		r := w.start(in)
		if u, err := url.Parse(r.URL); err != nil || u.Query().Get("scope") != "profile read maps wind" {
			t.Errorf("asks for %q", u.Query().Get("scope"))
		}
		out, err := w.Finish(t.Context(), w.user, audit.Client{}, w.visit(r))
		w.must(err)
		if got := out.Token; got.Owner != "acme" || got.Bridge != "weather" || got.ServiceName != "forecast" || got.Scheme != "oauth" {
			t.Errorf("stored as %+v, want the bridge's", got)
		}
		if got, want := w.ConnectURL(out.Token), "https://vault.example/connect?bridge=weather&owner=acme&service=forecast"; got != want {
			t.Errorf("connects again at %s, want %s", got, want)
		}
		for name, other := range map[string]connect.StartInput{
			"another bridge": {Owner: "acme", Bridge: "tides"}, "another owner": {Owner: "other", Bridge: "weather"},
			"another provider": {Owner: "acme", Bridge: "weather", Provider: "plain"},
		} {
			_, err := w.Start(t.Context(), w.user, audit.Client{}, other)
			w.refused(name, err, fault.NotFound, "Nothing is stored")
		}
		ref.Service = "second"
		_, err = w.platform.Store(t.Context(), w.user, audit.Client{}, ref, fields(t, `{"tokenType": "OAuth", "accessToken": "a", "provider": "test"}`))
		w.must(err)
		_, err = w.Start(t.Context(), w.user, audit.Client{}, in)
		w.refused("a bridge with two tokens", err, fault.Conflict, "several tokens")
		in.Service = "second"
		w.start(in)
	})
}

func TestOnlyASessionMayConnect(t *testing.T) {
	t.Parallel()
	each(t, func(w *world) {
		for _, kind := range []models.GrantKind{models.GrantAPIKey, models.GrantAgentKey, models.GrantOAuthAccess} {
			p := w.user
			p.Kind, p.Scopes = kind, []string{"tokens:write", "vault:manage"}
			_, err := w.Start(t.Context(), p, audit.Client{}, connect.StartInput{Provider: "test"})
			w.refused("Start by "+string(kind), err, fault.SignInRequired, "browser")
			_, err = w.Finish(t.Context(), p, audit.Client{}, connect.Callback{})
			w.refused("Finish by "+string(kind), err, fault.SignInRequired, "browser")
		}
	})
}

func TestBadInputBeginsNothing(t *testing.T) {
	t.Parallel()
	each(t, func(w *world) {
		long := strings.Repeat("x", 300)
		for name, in := range map[string]connect.StartInput{
			"nothing":                 {},
			"a provider with a slash": {Provider: "../test"},
			"a long provider":         {Provider: long},
			"a bad service":           {Provider: "test", Service: "/"},
			"a reserved service":      {Provider: "test", Service: "bulk"},
			"an owner alone":          {Owner: "acme"},
			"a bridge alone":          {Bridge: "weather"},
			"a long owner":            {Owner: long, Bridge: "weather"},
			"a scope with a space":    {Provider: "test", Scopes: []string{"a b"}},
			"a scope with a quote":    {Provider: "test", Scopes: []string{`a"b`}},
			"an empty scope":          {Provider: "test", Scopes: []string{""}},
			"too many scopes":         {Provider: "test", Scopes: slices.Repeat([]string{"s"}, 101)},
			"scopes that are long":    {Provider: "test", Scopes: slices.Repeat([]string{long}, 10)},
			"a foreign return":        {Provider: "test", ReturnTo: "https://evil.example"},
		} {
			r, err := w.Start(t.Context(), w.user, audit.Client{}, in)
			if fault.CodeOf(err) != fault.InvalidRequest || r != (connect.Redirect{}) || fault.From(err).Field == "" {
				t.Errorf("%s: got %+v, %v; want INVALID_REQUEST that names a field", name, r, err)
			}
		}
		if events := w.audit.take(); len(events) != 0 || w.provider.Requests() != 0 {
			t.Errorf("recorded %+v, with %d calls at the provider; want none", events, w.provider.Requests())
		}
	})
}

func TestALockedVaultConnectsNothing(t *testing.T) {
	t.Parallel()
	each(t, func(w *world) {
		back := w.visit(w.start(connect.StartInput{Provider: "test"}))
		w.must(w.vaults.Lock(t.Context(), w.user, audit.Client{}))
		_, err := w.Start(t.Context(), w.user, audit.Client{}, connect.StartInput{Provider: "test"})
		w.refused("Start", err, fault.VaultLocked, "locked")
		_, err = w.Finish(t.Context(), w.user, audit.Client{}, back)
		w.refused("Finish", err, fault.VaultLocked, "locked")
		w.holds(0)
		if n := w.provider.Requests(); n != 0 {
			t.Errorf("the code was exchanged (%d calls)", n)
		}
	})
}
