package refresh_test

import (
	"crypto/rand"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/tvzero/tokenvault/refresh"
	"github.com/tvzero/tokenvault/refresh/refreshtest"
)

// authorized drives a browser's part: it follows the request to the provider and reads where that leads.
func authorized(t *testing.T, provider *refreshtest.Provider, a refresh.Authorization) url.Values {
	t.Helper()
	address, err := provider.Config().AuthorizationRequest(a)
	if err != nil {
		t.Fatal(err)
	}
	browser := *provider.HTTP()
	browser.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	response, err := browser.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	back, err := response.Location()
	if err != nil {
		t.Fatalf("the provider did not lead back (status %d): %v", response.StatusCode, err)
	}
	return back.Query()
}

func TestACodeIsExchangedWithItsVerifierOnce(t *testing.T) {
	t.Parallel()
	provider := refreshtest.StartProvider(t, nil)
	c := client(provider)
	verifier, err := refresh.NewVerifier(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ask := refresh.Authorization{RedirectURI: "https://tv.example/cb", State: "st", Challenge: refresh.Challenge(verifier), Scopes: []string{"a", "b"}}
	back := authorized(t, provider, ask)
	if back.Get("state") != "st" || back.Get("iss") != provider.Issuer() {
		t.Errorf("led back with state %q and iss %q", back.Get("state"), back.Get("iss"))
	}
	x := refresh.CodeExchange{Code: refresh.Secret(back.Get("code")), Verifier: verifier, RedirectURI: ask.RedirectURI}
	got, err := c.Exchange(t.Context(), provider.Config(), x)
	if err != nil || !provider.Usable(got.RefreshToken) || strings.Join(got.Scopes, " ") != "a b" {
		t.Fatalf("exchanged: usable %t, scopes %q (%v)", provider.Usable(got.RefreshToken), got.Scopes, err)
	}
	_, err = c.Exchange(t.Context(), provider.Config(), x)
	wantRefusal(t, "the same code again", err, refresh.ReasonInvalidGrant)

	back = authorized(t, provider, ask)
	_, err = c.Exchange(t.Context(), provider.Config(), refresh.CodeExchange{Code: refresh.Secret(back.Get("code")), Verifier: rfcVerifier, RedirectURI: ask.RedirectURI})
	wantRefusal(t, "with another verifier", err, refresh.ReasonInvalidGrant)
}

func TestRevokingEndsTheTokenAndIsNoErrorTwice(t *testing.T) {
	t.Parallel()
	provider := refreshtest.StartProvider(t, nil)
	c, tokens := client(provider), provider.Issue()
	for range 2 {
		if err := c.Revoke(t.Context(), provider.Config(), tokens.RefreshToken, "refresh_token"); err != nil {
			t.Fatal(err)
		}
	}
	if provider.Usable(tokens.RefreshToken) || len(provider.Revoked()) != 2 {
		t.Errorf("usable after revoking: %t, %d revocations asked for, want false and 2", provider.Usable(tokens.RefreshToken), len(provider.Revoked()))
	}
	without := provider.Config()
	without.RevocationURL = ""
	if err := c.Revoke(t.Context(), without, "t", ""); !errors.Is(err, refresh.ErrNoRevocation) {
		t.Errorf("without an endpoint: got %v, want ErrNoRevocation", err)
	}
	wrong := provider.Config()
	wrong.ClientSecret = "wrong-canary"
	wantRefusal(t, "with a wrong secret", c.Revoke(t.Context(), wrong, tokens.RefreshToken, ""), refresh.ReasonClientRejected)
}

// serve answers every request with the same, and says what was asked for.
func serve(t *testing.T, answers map[string]http.HandlerFunc) (*httptest.Server, *refresh.Client) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if h := answers[r.URL.EscapedPath()]; h != nil {
			h(w, r)
			return
		}
		http.NotFound(w, r)
	}))
	t.Cleanup(server.Close)
	return server, refresh.NewClient(server.Client(), nil)
}

func TestRevocationAnswersAreReadAsRFC7009Says(t *testing.T) {
	t.Parallel()
	for name, x := range map[string]struct {
		status int
		body   string
		want   refresh.Reason // empty: revoked
	}{
		"200 and nothing":             {200, "", ""},
		"204":                         {204, "", ""},
		"200 and a page":              {200, "<html>", ""},
		"Google: dead already":        {400, `{"error":"invalid_token"}`, ""},
		"invalid_grant: dead already": {400, `{"error":"invalid_grant"}`, ""},
		"unsupported_token_type":      {400, `{"error":"unsupported_token_type"}`, refresh.ReasonProviderError},
		"503":                         {503, ``, refresh.ReasonProviderError},
		"invalid_client":              {401, `{"error":"invalid_client"}`, refresh.ReasonClientRejected},
		"404":                         {404, `nothing here`, refresh.ReasonProviderError},
		"a redirect":                  {302, ``, refresh.ReasonBrokenAnswer},
	} {
		server, c := serve(t, map[string]http.HandlerFunc{"/revoke": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(x.status)
			_, _ = w.Write([]byte(x.body))
		}})
		p := refresh.Provider{ID: "x", TokenURL: server.URL, RevocationURL: server.URL + "/revoke", ClientID: "us"}
		err := c.Revoke(t.Context(), p, "t-canary", "")
		if x.want == "" {
			if err != nil {
				t.Errorf("%s: got %v, want revoked", name, err)
			}
			continue
		}
		wantRefusal(t, name, err, x.want)
	}
}

func TestDiscoveryFindsTheProvider(t *testing.T) {
	t.Parallel()
	provider := refreshtest.StartProvider(t, nil)
	got, err := client(provider).Discover(t.Context(), provider.Issuer())
	if err != nil {
		t.Fatal(err)
	}
	want := provider.Config()
	if got.Issuer != want.Issuer || got.AuthorizationURL != want.AuthorizationURL || got.TokenURL != want.TokenURL || got.RevocationURL != want.RevocationURL ||
		got.UserInfoURL != want.UserInfoURL || !got.RequireIss || got.AuthMethod != refresh.AuthBasic {
		t.Errorf("got %+v, want the endpoints of %+v", got, want)
	}
}

func TestDiscoveryFallsBackToRFC8414WithItsPathInFront(t *testing.T) {
	t.Parallel()
	var server *httptest.Server
	server, c := serve(t, map[string]http.HandlerFunc{"/.well-known/oauth-authorization-server/tenant/a": func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"issuer":"` + server.URL + `/tenant/a","token_endpoint":"` + server.URL + `/t","token_endpoint_auth_methods_supported":["client_secret_post"]}`))
	}})
	got, err := c.Discover(t.Context(), server.URL+"/tenant/a")
	if err != nil || got.TokenURL != server.URL+"/t" || got.AuthMethod != refresh.AuthPost || got.RequireIss {
		t.Errorf("got %+v (%v)", got, err)
	}
}

func TestDiscoveryBelievesNoOtherIssuerAndNoBrokenDescription(t *testing.T) {
	t.Parallel()
	for name, x := range map[string]struct {
		status int
		body   string // ISSUER stands for the issuer
		want   refresh.Reason
	}{
		"another issuer":               {200, `{"issuer":"https://evil.example","token_endpoint":"ISSUER/t"}`, refresh.ReasonMisconfigured},
		"a slash more":                 {200, `{"issuer":"ISSUER/","token_endpoint":"ISSUER/t"}`, refresh.ReasonMisconfigured},
		"no issuer":                    {200, `{"token_endpoint":"ISSUER/t"}`, refresh.ReasonMisconfigured},
		"no token endpoint":            {200, `{"issuer":"ISSUER"}`, refresh.ReasonBrokenAnswer},
		"an endpoint that is a file":   {200, `{"issuer":"ISSUER","token_endpoint":"file:///etc/passwd"}`, refresh.ReasonBrokenAnswer},
		"an endpoint with a user":      {200, `{"issuer":"ISSUER","token_endpoint":"ISSUER/t","revocation_endpoint":"https://u@x.example"}`, refresh.ReasonBrokenAnswer},
		"not JSON":                     {200, `<html>`, refresh.ReasonBrokenAnswer},
		"of other types":               {200, `{"issuer":["ISSUER"]}`, refresh.ReasonBrokenAnswer},
		"nested too deeply":            {200, strings.Repeat(`{"a":`, 50) + "1" + strings.Repeat("}", 50), refresh.ReasonBrokenAnswer},
		"larger than can be":           {200, `{"issuer":"` + strings.Repeat("a", 1<<20) + `"}`, refresh.ReasonBrokenAnswer},
		"503":                          {503, ``, refresh.ReasonProviderError},
		"429":                          {429, ``, refresh.ReasonRateLimited},
		"a redirect":                   {302, ``, refresh.ReasonBrokenAnswer},
		"neither document":             {404, ``, refresh.ReasonMisconfigured},
		"201, which is not a document": {201, `{"issuer":"ISSUER","token_endpoint":"ISSUER/t"}`, refresh.ReasonMisconfigured},
	} {
		var server *httptest.Server
		server, c := serve(t, map[string]http.HandlerFunc{"/.well-known/openid-configuration": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(x.status)
			_, _ = w.Write([]byte(strings.ReplaceAll(x.body, "ISSUER", server.URL)))
		}})
		_, err := c.Discover(t.Context(), server.URL)
		wantRefusal(t, name, err, x.want)
	}
	_, c := serve(t, nil)
	for _, issuer := range []string{"", "issuer.example", "ftp://x.example", "https://u:p@x.example", "https://x.example/?q=1", "https://x.example/#f", "https://x.example/" + strings.Repeat("a", 3000)} {
		_, err := c.Discover(t.Context(), issuer)
		wantRefusal(t, issuer, err, refresh.ReasonMisconfigured)
	}
}
