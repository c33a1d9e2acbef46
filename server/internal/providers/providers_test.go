package providers_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tvzero/tokenvault/refresh"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/providers"
	"github.com/tvzero/tokenvault/webhook-sdk/netguard"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func registry(t *testing.T, d providers.Deps) *providers.Registry {
	t.Helper()
	if d.Now == nil {
		d.Now = time.Now
	}
	if d.Logger == nil {
		d.Logger = slog.New(slog.DiscardHandler)
	}
	r, err := providers.New(d)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// provider asks for one that is ready.
func provider(t *testing.T, r *providers.Registry, id string) refresh.Provider {
	t.Helper()
	p, err := r.Provider(t.Context(), id)
	if err != nil {
		t.Fatalf("Provider(%q): %v", id, err)
	}
	return p
}

func TestGoogleIsAskedForOfflineAccessAndConsent(t *testing.T) {
	t.Parallel()
	r := registry(t, providers.Deps{Settings: []providers.Setting{{ID: "google", ClientID: "g", ClientSecret: "s3cr3t"}}})
	p := provider(t, r, "google")
	want := map[string]string{"access_type": "offline", "prompt": "consent", "include_granted_scopes": "true"}
	if !reflect.DeepEqual(p.AuthorizationParams, want) || p.Issuer != "https://accounts.google.com" || p.RevocationURL == "" || p.UserInfoURL == "" ||
		p.ClientID != "g" || p.ClientSecret != "s3cr3t" || p.AuthMethod != refresh.AuthPost || !slices.Equal(p.Scopes, []string{"openid", "email"}) {
		t.Errorf("got %+v", p)
	}
	if err := p.Validate(); err != nil {
		t.Errorf("it is not valid: %v", err)
	}
	p.AuthorizationParams["prompt"], p.Scopes[0] = "none", "changed"
	if again := provider(t, r, "google"); again.AuthorizationParams["prompt"] != "consent" || again.Scopes[0] != "openid" {
		t.Error("who changes what he was given changes it for others")
	}
}

func TestGitHubsTokensDoNotExpireAndCannotBeRevokedByRFC7009(t *testing.T) {
	t.Parallel()
	r := registry(t, providers.Deps{Settings: []providers.Setting{{ID: "github", ClientID: "g", ClientSecret: "s", Scopes: []string{"repo", "read:org"}}}})
	p := provider(t, r, "github")
	if p.DefaultLifetime != 0 || p.RevocationURL != "" || p.Issuer != "" || !slices.Equal(p.Scopes, []string{"repo", "read:org"}) {
		t.Errorf("got %+v", p)
	}
	if s, ok := r.Describe("github"); !ok || s.Name != "GitHub" || s.ManageURL != "https://github.com/settings/applications" || !s.HoldsSecret || !slices.Equal(s.AllowedHosts, []string{"https://api.github.com"}) {
		t.Errorf("described as %+v, %t", s, ok)
	}
}

// issuer serves a description of itself on loopback; change alters it.
func issuer(t *testing.T, change func(url string, answer map[string]any)) (url string, calls func() int) {
	t.Helper()
	asked := make(chan struct{}, 100)
	var server *httptest.Server
	server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/.well-known/openid-configuration" {
			http.NotFound(w, r)
			return
		}
		asked <- struct{}{}
		answer := map[string]any{
			"issuer": server.URL, "authorization_endpoint": server.URL + "/authorize", "token_endpoint": server.URL + "/token",
			"revocation_endpoint": server.URL + "/revoke", "userinfo_endpoint": server.URL + "/me",
			"authorization_response_iss_parameter_supported": true, "token_endpoint_auth_methods_supported": []string{"client_secret_post", "none"},
		}
		if change != nil {
			change(server.URL, answer)
		}
		w.Header().Set("Content-Type", "application/json")
		writeJSON(w, answer)
	}))
	t.Cleanup(server.Close)
	return server.URL, func() int { return len(asked) }
}

// client discovers through netguard, as the server does.
func client(t *testing.T) *refresh.Client {
	t.Helper()
	hc := netguard.Policy{AllowPrivate: true}.Client()
	t.Cleanup(hc.CloseIdleConnections)
	return refresh.NewClient(hc, nil)
}

func TestAnIssuerIsDiscoveredOnceADay(t *testing.T) {
	t.Parallel()
	url, calls := issuer(t, nil)
	clock := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
	r := registry(t, providers.Deps{
		Settings:   []providers.Setting{{ID: "local", Name: "Local", Issuer: url, ClientID: "c", ClientSecret: "s"}},
		Discoverer: client(t), AllowPrivate: true, Now: func() time.Time { return clock },
	})
	if calls() != 0 {
		t.Fatal("the issuer was asked before anybody needed it")
	}
	p := provider(t, r, "local")
	if p.Issuer != url || p.AuthorizationURL != url+"/authorize" || p.TokenURL != url+"/token" || p.RevocationURL != url+"/revoke" || p.UserInfoURL != url+"/me" ||
		!p.RequireIss || p.AuthMethod != refresh.AuthPost || p.ID != "local" || p.ClientID != "c" || p.ClientSecret != "s" {
		t.Errorf("got %+v", p)
	}
	if !slices.Equal(p.Scopes, []string{"openid", "email", "offline_access"}) || p.AuthorizationParams["prompt"] != "consent" {
		t.Errorf("got scopes %q with %v; want offline access, with consent", p.Scopes, p.AuthorizationParams)
	}
	for _, step := range []struct {
		pass time.Duration
		want int
	}{{23 * time.Hour, 1}, {2 * time.Hour, 2}, {time.Hour, 2}} {
		clock = clock.Add(step.pass)
		provider(t, r, "local")
		if calls() != step.want {
			t.Errorf("%s later: the issuer was asked %d times, want %d", step.pass, calls(), step.want)
		}
	}
}

func TestWhatIsConfiguredWinsOverWhatIsDiscovered(t *testing.T) {
	t.Parallel()
	url, _ := issuer(t, nil)
	r := registry(t, providers.Deps{
		Settings: []providers.Setting{
			{
				ID: "auth0", Issuer: url, ClientID: "c", ClientSecret: "s", AuthMethod: refresh.AuthBasic, Scopes: []string{"a", "offline_access"},
				AuthorizationParams: map[string]string{"prompt": "login", "audience": "https://api.example.com"}, DefaultLifetime: time.Hour, RevocationURL: url + "/other",
			},
			{ID: "public", Issuer: url, ClientID: "c"},
		},
		Discoverer: client(t), AllowPrivate: true,
	})
	p := provider(t, r, "auth0")
	if p.AuthMethod != refresh.AuthBasic || !slices.Equal(p.Scopes, []string{"a", "offline_access"}) || p.DefaultLifetime != time.Hour || p.RevocationURL != url+"/other" ||
		p.AuthorizationParams["prompt"] != "login" || p.AuthorizationParams["audience"] != "https://api.example.com" {
		t.Errorf("got %+v", p)
	}
	if p := provider(t, r, "public"); p.AuthMethod != refresh.AuthNone || p.ClientSecret != "" {
		t.Errorf("a public client authenticates by %q, want none", p.AuthMethod)
	}
	if !r.HoldsSecret("auth0") || r.HoldsSecret("public") || r.HoldsSecret("nobody") || !r.Has("public") || r.Has("nobody") {
		t.Error("HoldsSecret and Has do not tell a confidential client from a public one, or from none")
	}
}

func TestAProviderThatCannotBeDiscoveredSaysSoAndIsAskedAgain(t *testing.T) {
	t.Parallel()
	broken := true
	url, calls := issuer(t, func(_ string, answer map[string]any) {
		if broken {
			answer["issuer"] = "https://somebody.else.example"
		}
	})
	clock := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
	var log strings.Builder
	r := registry(t, providers.Deps{
		Settings: []providers.Setting{
			{ID: "local", Issuer: url, ClientID: "c", ClientSecret: "s3cr3t"},
			{ID: "pair", AuthorizationURL: url + "/a", TokenURL: url + "/t", ClientID: "c"},
		},
		Discoverer: client(t), AllowPrivate: true, Now: func() time.Time { return clock }, Logger: slog.New(slog.NewTextHandler(&log, nil)),
	})
	for range 3 {
		_, err := r.Provider(t.Context(), "local")
		if fault.CodeOf(err) != fault.Unavailable || !strings.Contains(err.Error(), "does not describe itself under the configured name") {
			t.Fatalf("got %v, want UNAVAILABLE with the reason", err)
		}
	}
	if calls() != 1 {
		t.Errorf("the issuer was asked %d times within a minute, want once", calls())
	}
	if got := r.Problems(); len(got) != 1 || got["local"] == "" {
		t.Errorf("problems: %v, want one of local", got)
	}
	if list := r.List(); len(list) != 2 || list[0].Problem == "" || list[1].Problem != "" || list[1].HoldsSecret {
		t.Errorf("list: %+v", list)
	}
	provider(t, r, "pair") // another is not affected

	broken, clock = false, clock.Add(2*time.Minute)
	provider(t, r, "local")
	broken, clock = true, clock.Add(25*time.Hour)
	provider(t, r, "local") // what it said before serves
	if got := r.Problems(); len(got) != 0 {
		t.Errorf("problems: %v, want none while an older answer serves", got)
	}
	if n := strings.Count(log.String(), "level=WARN"); n != 2 || !strings.Contains(log.String(), "can be discovered again") || strings.Contains(log.String(), "s3cr3t") {
		t.Errorf("logged %d warnings, want one for each change, and no secret:\n%s", n, log.String())
	}
}

func TestSettingsThatCannotWorkAreReportedAtOnce(t *testing.T) {
	t.Parallel()
	_, err := providers.New(providers.Deps{Settings: []providers.Setting{
		{ID: "twice", Issuer: "https://a.example", ClientID: "c"},
		{ID: "twice", Issuer: "https://a.example", ClientID: "c"},
		{ID: "", Issuer: "https://a.example", ClientID: "c"},
		{ID: "endless", ClientID: "c"},
		{ID: "anonymous", Issuer: "https://a.example"},
		{ID: "inside", Issuer: "https://127.0.0.1", ClientID: "c"},
		{ID: "plain", AuthorizationURL: "http://a.example/a", TokenURL: "http://a.example/t", ClientID: "c"},
		{ID: "keyless", Issuer: "https://a.example", ClientID: "c", AuthMethod: refresh.AuthBasic},
	}})
	if err == nil {
		t.Fatal("got no error")
	}
	for _, want := range []string{
		`"twice": the id stands twice`, `"": the id is missing`, `"endless": an issuer or an authorization endpoint is missing`, `"anonymous": `,
		`"inside": the issuer is on an address`, `"plain": the token endpoint is on an address`, `"keyless": `,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not say %s:\n%v", want, err)
		}
	}
}

func TestAnUnknownProviderIsNotFound(t *testing.T) {
	t.Parallel()
	r := registry(t, providers.Deps{})
	if _, err := r.Provider(t.Context(), "nobody"); fault.CodeOf(err) != fault.NotFound {
		t.Errorf("got %v, want NOT_FOUND", err)
	}
	if _, ok := r.Describe("nobody"); ok || len(r.List()) != 0 {
		t.Error("an empty registry describes a provider")
	}
}

func TestClientSecretsPrintNowhere(t *testing.T) {
	t.Parallel()
	s := providers.Setting{ID: "google", ClientID: "g", ClientSecret: "s3cr3t"}
	r := registry(t, providers.Deps{Settings: []providers.Setting{s}})
	for _, v := range []any{s, provider(t, r, "google"), r.List()} {
		if text := fmt.Sprintf("%v %+v %#v", v, v, v); strings.Contains(text, "s3cr3t") {
			t.Errorf("%T prints its secret: %s", v, text)
		}
	}
}

// never is a discoverer whom nobody may ask.
type never struct{ t *testing.T }

func (n never) Discover(context.Context, string) (refresh.Provider, error) {
	n.t.Error("a provider with known endpoints was discovered")
	return refresh.Provider{}, nil
}

func TestEndpointsThatAreKnownAreNotDiscovered(t *testing.T) {
	t.Parallel()
	r := registry(t, providers.Deps{Discoverer: never{t}, Settings: []providers.Setting{
		{ID: "google", ClientID: "g", ClientSecret: "s"},
		{ID: "pair", Issuer: "https://a.example", AuthorizationURL: "https://a.example/a", TokenURL: "https://a.example/t", ClientID: "c"},
	}})
	provider(t, r, "google")
	if p := provider(t, r, "pair"); p.Issuer != "https://a.example" {
		t.Errorf("issuer %q, want the configured one, to compare iss with", p.Issuer)
	}
}
