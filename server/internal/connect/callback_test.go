package connect_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tvzero/tokenvault/refresh"
	"github.com/tvzero/tokenvault/refresh/refreshtest"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/connect"
	"github.com/tvzero/tokenvault/server/internal/fault"
)

func fields(t testing.TB, text string) map[string]json.RawMessage {
	t.Helper()
	var out map[string]json.RawMessage
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return out
}

// Whatever comes back that is not the answer to this browser's flow stores nothing, and
// is not even taken to the provider.
func TestACallbackThatIsNotTheAnswerIsRefused(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		change func(w *world, in *connect.Callback)
		want   fault.Code
		saying string
	}{
		"no cookie":        {func(_ *world, in *connect.Callback) { in.Cookie = "" }, fault.InvalidRequest, "No connection is under way"},
		"a foreign cookie": {func(_ *world, in *connect.Callback) { in.Cookie = "AAAA" }, fault.InvalidRequest, "not begun by the session"},
		"a tampered cookie": {func(_ *world, in *connect.Callback) {
			in.Cookie = flip(in.Cookie)
		}, fault.InvalidRequest, "not begun by the session"},
		"another session": {func(w *world, _ *connect.Callback) { w.user = w.session(w.user.AccountID) }, fault.InvalidRequest, "not begun by the session"},
		"another account": {func(w *world, _ *connect.Callback) { w.user = w.session(w.account()) }, fault.InvalidRequest, "not begun by the session"},
		"no state":        {func(_ *world, in *connect.Callback) { in.State = "" }, fault.InvalidRequest, "not the answer to the connection"},
		"another state":   {func(_ *world, in *connect.Callback) { in.State = flip(in.State) }, fault.InvalidRequest, "not the answer to the connection"},
		"the answer to another flow of the session": {func(w *world, in *connect.Callback) {
			in.Cookie = w.start(connect.StartInput{Provider: "test"}).Cookie
		}, fault.InvalidRequest, "not the answer to the connection"},
		"ten minutes later": {func(w *world, _ *connect.Callback) { w.clock.pass(connect.FlowTime) }, fault.InvalidRequest, "more than ten minutes"},
		"another issuer":    {func(_ *world, in *connect.Callback) { in.Issuer = "https://evil.example" }, fault.InvalidRequest, "from another provider"},
		"an issuer with a slash more": {func(_ *world, in *connect.Callback) {
			in.Issuer += "/"
		}, fault.InvalidRequest, "from another provider"},
		"no issuer": {func(_ *world, in *connect.Callback) { in.Issuer = "" }, fault.InvalidRequest, "does not say which provider"},
		"no code":   {func(_ *world, in *connect.Callback) { in.Code = "" }, fault.InvalidRequest, "neither a code nor a reason"},
		"a huge code": {func(_ *world, in *connect.Callback) {
			in.Code = refresh.Secret(strings.Repeat("x", 5000))
		}, fault.InvalidRequest, "more than anybody needs"},
		"refused by its owner":     {failing("access_denied"), fault.InvalidRequest, "You did not allow it at Test"},
		"a wish for interaction":   {failing("interaction_required"), fault.InvalidRequest, "sign in or to agree"},
		"an unknown scope":         {failing("invalid_scope"), fault.InvalidRequest, "one of the scopes"},
		"an unauthorized client":   {failing("unauthorized_client"), fault.Unavailable, "Tell the operator"},
		"a provider in trouble":    {failing("temporarily_unavailable"), fault.Unavailable, "Try again later"},
		"an error nobody knows":    {failing("something_new"), fault.InvalidRequest, "Test refused: something_new"},
		"an error that is a trick": {failing("<script>call 555-0199</script>"), fault.InvalidRequest, "Test refused: an error without a proper name"},
		"an error of another issuer": {func(_ *world, in *connect.Callback) {
			in.Error, in.Issuer = "access_denied", "https://evil.example"
		}, fault.InvalidRequest, "from another provider"},
	}
	each(t, func(w *world) {
		owner := w.user
		for name, c := range cases {
			in := w.visit(w.start(connect.StartInput{Provider: "test"}))
			w.audit.take()
			c.change(w, &in)
			_, err := w.Finish(w.t.Context(), w.user, audit.Client{Address: "192.0.2.1"}, in)
			w.refused(name, err, c.want, c.saying)
			events := slices.DeleteFunc(w.audit.take(), func(e audit.Event) bool { return e.Type != audit.Refusal })
			if len(events) != 1 || events[0].Outcome != c.want || events[0].Client.Address != "192.0.2.1" || events[0].AccountID != w.user.AccountID {
				w.t.Errorf("%s: recorded %+v, want one refusal with %s", name, events, c.want)
			}
			w.holds(0)
			w.user = owner
			w.holds(0)
			w.quiet(string(in.Code), in.State)
		}
		if n := w.provider.Requests(); n != 0 {
			w.t.Errorf("the provider's token endpoint was called %d times, want none", n)
		}
	})
}

// flip changes one character in the middle.
func flip(text string) string {
	middle := len(text) / 2
	other := "A"
	if text[middle] == 'A' {
		other = "B"
	}
	return text[:middle] + other + text[middle+1:]
}

func failing(code string) func(*world, *connect.Callback) {
	return func(_ *world, in *connect.Callback) { in.Code, in.Error = "", code }
}

func TestACallbackCountsOnce(t *testing.T) {
	t.Parallel()
	each(t, func(w *world) {
		in := w.visit(w.start(connect.StartInput{Provider: "test"}))
		const submits = 6
		results := make([]error, submits)
		var all sync.WaitGroup
		for i := range results {
			all.Go(func() { _, results[i] = w.Finish(w.t.Context(), w.user, audit.Client{}, in) })
		}
		all.Wait()
		done := 0
		for _, err := range results {
			if err == nil {
				done++
				continue
			}
			w.refused("a second submit", err, fault.Conflict, "finished already")
		}
		if n := w.provider.Requests(); done != 1 || n != 1 {
			t.Errorf("%d of %d submits succeeded with %d calls at the provider, want one and one", done, submits, n)
		}
		w.holds(1)
		_, err := w.Finish(t.Context(), w.user, audit.Client{}, in)
		w.refused("a replay", err, fault.Conflict, "finished already")

		// What was refused by its owner is over, too.
		in = w.visit(w.start(connect.StartInput{Provider: "test"}))
		refused := in
		refused.Code, refused.Error = "", "access_denied"
		_, err = w.Finish(t.Context(), w.user, audit.Client{}, refused)
		w.refused("access denied", err, fault.InvalidRequest, "did not allow")
		_, err = w.Finish(t.Context(), w.user, audit.Client{}, in)
		w.refused("the same flow with a code", err, fault.Conflict, "finished already")
	})
}

func TestWhenAProviderGivesNoTokensNothingChanges(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		fault  refreshtest.Fault
		want   fault.Code
		saying string
	}{
		"a dead code":       {refreshtest.Refused(400, "invalid_grant", "the code is used"), fault.InvalidRequest, "used already, or is too old"},
		"a wrong secret":    {refreshtest.Refused(401, "invalid_client", "who is that"), fault.Unavailable, "as its client"},
		"a rate limit":      {refreshtest.RateLimited("30"), fault.Unavailable, "fewer requests"},
		"an error":          {refreshtest.Status(503, "down"), fault.Unavailable, "answered with an error"},
		"garbage":           {refreshtest.Garbage, fault.Unavailable, "cannot be used"},
		"too much":          {refreshtest.Huge, fault.Unavailable, "cannot be used"},
		"a redirect":        {refreshtest.Redirected("https://evil.example/"), fault.Unavailable, "cannot be used"},
		"half an answer":    {refreshtest.HalfThenGone, fault.Unavailable, "Nothing was connected"},
		"200 with an error": {refreshtest.OKWithError("bad_verification_code", "the code is used"), fault.InvalidRequest, "used already, or is too old"},
	}
	each(t, func(w *world) {
		before := w.connect(connect.StartInput{Provider: "test"}).Token
		held := w.reveal("test")["accessToken"]
		for name, c := range cases {
			in := w.visit(w.start(connect.StartInput{Provider: "test"}))
			w.audit.take()
			w.provider.Next(c.fault)
			_, err := w.Finish(w.t.Context(), w.user, audit.Client{}, in)
			w.refused(name, err, c.want, c.saying)
			if events := w.audit.take(); len(events) != 1 || events[0].Type != audit.Refusal || events[0].Service != "test" {
				w.t.Errorf("%s: recorded %+v, want one refusal", name, events)
			}
			after, err := w.vaults.Token(w.t.Context(), w.user, "test")
			if err != nil || after.Token.CreationID != before.CreationID || w.reveal("test")["accessToken"] != held {
				w.t.Errorf("%s: the token that was there is %+v, %v; want it as it was", name, after, err)
			}
			w.quiet(string(in.Code))
		}
	})
}

func TestABrowserThatLeavesCostsNoTokens(t *testing.T) {
	t.Parallel()
	each(t, func(w *world) {
		in := w.visit(w.start(connect.StartInput{Provider: "test"}))
		release := make(chan struct{})
		w.provider.Next(refreshtest.Slow(release))
		ctx, leave := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { _, err := w.Finish(ctx, w.user, audit.Client{}, in); ended <- err }()
		<-w.provider.Arrived()
		leave()
		close(release)
		if err := <-ended; err != nil {
			t.Errorf("got %v, want the connection finished", err)
		}
		w.holds(1)
	})
}

func TestWhatAnAnswerLeavesOutIsAsItWasAskedFor(t *testing.T) {
	t.Parallel()
	each(t, func(w *world) {
		w.provider.Next(refreshtest.With(map[string]any{"scope": nil, "expires_in": nil, "refresh_token": nil}))
		out := w.connect(connect.StartInput{Provider: "test"})
		if got := out.Token; got.Scope != "profile read" || got.ExpiresAt != nil || got.HasRefreshToken {
			t.Errorf("got %+v, want the scopes that were asked for, no end and no refresh token", got)
		}
		w.provider.Next(refreshtest.With(map[string]any{"scope": "profile"}))
		out = w.connect(connect.StartInput{Provider: "test", Scopes: []string{"write"}})
		if fmt.Sprint(out.Missing) != "[read write]" || out.Token.Scope != "profile" {
			t.Errorf("missing %v of %q, want read and write", out.Missing, out.Token.Scope)
		}
	})
}

// idToken is an unsigned one, as it is read from the token endpoint.
func idToken(t testing.TB, claims map[string]any) string {
	t.Helper()
	text, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	return "e30." + base64.RawURLEncoding.EncodeToString(text) + ".c2ln"
}

func TestAnIDTokenIsReadOnlyIfItIsOfThisFlow(t *testing.T) {
	t.Parallel()
	each(t, func(w *world) {
		for name, c := range map[string]struct {
			change map[string]any
			want   string // account; empty: refused
		}{
			"as it should be":    {nil, "id@example.com"},
			"of several clients": {map[string]any{"aud": []string{"other", refreshtest.ClientID}}, "id@example.com"},
			"with a handle only": {map[string]any{"email": nil, "preferred_username": "ada"}, "ada"},
			"with an id only":    {map[string]any{"email": nil}, "user@example.com"}, // user information says more
			"an unreadable name": {map[string]any{"email": "a\u202eb", "name": "Ada"}, "Ada"},
			"another issuer":     {map[string]any{"iss": "https://evil.example"}, ""},
			"another client":     {map[string]any{"aud": "other"}, ""},
			"no client":          {map[string]any{"aud": nil}, ""},
			"over":               {map[string]any{"exp": w.clock.now().Add(-time.Hour).Unix()}, ""},
			"without an end":     {map[string]any{"exp": nil}, ""},
			"another nonce":      {map[string]any{"nonce": "another"}, ""},
			"nobody":             {map[string]any{"sub": ""}, ""},
			"another type":       {map[string]any{"email": 5}, ""},
		} {
			r := w.start(connect.StartInput{Provider: "test", Service: "of " + strings.ReplaceAll(name, ",", ""), Scopes: []string{"openid"}})
			u, err := url.Parse(r.URL)
			w.must(err)
			claims := map[string]any{
				"iss": w.provider.Issuer(), "aud": refreshtest.ClientID, "sub": "user-1", "exp": w.clock.now().Add(time.Hour).Unix(),
				"nonce": u.Query().Get("nonce"), "email": "id@example.com",
			}
			for claim, value := range c.change {
				claims[claim] = value
			}
			in := w.visit(r)
			w.provider.Next(refreshtest.With(map[string]any{"id_token": idToken(t, claims)}))
			out, err := w.Finish(t.Context(), w.user, audit.Client{}, in)
			if c.want == "" {
				w.refused(name, err, fault.Unavailable, "not for this connection")
			} else if err != nil || out.Account != c.want || out.Token.Subject != "user-1" {
				t.Errorf("%s: connected %q (%q), %v; want %q (user-1)", name, out.Account, out.Token.Subject, err, c.want)
			}
		}
		for _, broken := range []string{"x", "a.b.c", "e30.e30"} {
			in := w.visit(w.start(connect.StartInput{Provider: "test", Service: "broken"}))
			w.provider.Next(refreshtest.With(map[string]any{"id_token": broken}))
			_, err := w.Finish(t.Context(), w.user, audit.Client{}, in)
			w.refused("a broken ID token", err, fault.Unavailable, "not for this connection")
		}
		w.holds(5)
	})
}

func TestAnIssuerThatNobodyKnowsIsNotBelieved(t *testing.T) {
	t.Parallel()
	each(t, func(w *world) {
		in := w.visit(w.start(connect.StartInput{Provider: "plain"}))
		_, err := w.Finish(t.Context(), w.user, audit.Client{}, in)
		w.refused("iss without a configured issuer", err, fault.InvalidRequest, "the operator is to set its issuer")
		in.Issuer = ""
		out, err := w.Finish(t.Context(), w.user, audit.Client{}, in)
		if err != nil || out.Token.Provider != "plain" {
			t.Errorf("without iss: got %+v, %v; want it connected", out.Token, err)
		}
	})
}
