package refresh_test

import (
	"bytes"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/tvzero/tokenvault/refresh"
)

// The verifier and challenge of RFC 7636, appendix B.
const (
	rfcVerifier  = refresh.Secret("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk")
	rfcChallenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
)

func TestChallengesAreThoseOfRFC7636(t *testing.T) {
	t.Parallel()
	if got := refresh.Challenge(rfcVerifier); got != rfcChallenge {
		t.Errorf("got %s, want %s", got, rfcChallenge)
	}
	v, err := refresh.NewVerifier(bytes.NewReader(bytes.Repeat([]byte{7}, 32)))
	if err != nil || len(v) != 43 {
		t.Errorf("a verifier: got %d characters (%v), want 43", len(v), err)
	}
	if _, err := refresh.NewVerifier(strings.NewReader("short")); err == nil {
		t.Error("a verifier from 5 bytes: got no error")
	}
}

func TestAnAuthorizationRequestHasWhatWasAskedForAndKeepsStandardParameters(t *testing.T) {
	t.Parallel()
	p := refresh.Provider{
		ID: "x", AuthorizationURL: "https://p.example/authorize?tenant=7&scope=evil", ClientID: "us", ClientSecret: "secret-canary", Scopes: []string{"a", "b"},
		AuthorizationParams: map[string]string{"access_type": "offline", "prompt": "consent", "response_type": "token", "state": "evil"},
	}
	a := refresh.Authorization{
		RedirectURI: "https://tv.example/connect/x/callback?y=z", State: "st&te", Challenge: rfcChallenge,
		Extra: url.Values{"prompt": {"none"}, "nonce": {"n"}, "code_challenge_method": {"plain"}, "client_id": {"evil"}, "redirect_uri": {"https://evil.example"}},
	}
	text, err := p.AuthorizationRequest(a)
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(text)
	if err != nil || u.Host != "p.example" || u.Path != "/authorize" {
		t.Fatalf("got %s (%v)", text, err)
	}
	for name, want := range map[string]string{
		"tenant": "7", "access_type": "offline", "prompt": "none", "nonce": "n", "response_type": "code", "client_id": "us", "state": "st&te",
		"redirect_uri": a.RedirectURI, "code_challenge": rfcChallenge, "code_challenge_method": "S256", "scope": "a b",
	} {
		if got := u.Query()[name]; !slices.Equal(got, []string{want}) {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	if strings.Contains(text, "canary") {
		t.Errorf("the request holds the client secret: %s", text)
	}
	a.Scopes = []string{}
	if text, _ = p.AuthorizationRequest(a); strings.Contains(text, "scope=") {
		t.Errorf("without scopes: got %s", text)
	}
}

func TestAnAuthorizationRequestIsNotMadeWithoutItsParts(t *testing.T) {
	t.Parallel()
	whole := refresh.Authorization{RedirectURI: "https://tv.example/cb", State: "s", Challenge: rfcChallenge}
	provider := refresh.Provider{AuthorizationURL: "https://p.example/a", ClientID: "us"}
	for name, change := range map[string]func(*refresh.Provider, *refresh.Authorization){
		"no endpoint":          func(p *refresh.Provider, _ *refresh.Authorization) { p.AuthorizationURL = "" },
		"an endpoint of files": func(p *refresh.Provider, _ *refresh.Authorization) { p.AuthorizationURL = "file:///a" },
		"no client":            func(p *refresh.Provider, _ *refresh.Authorization) { p.ClientID = "" },
		"no redirect":          func(_ *refresh.Provider, a *refresh.Authorization) { a.RedirectURI = "" },
		"a relative redirect":  func(_ *refresh.Provider, a *refresh.Authorization) { a.RedirectURI = "/cb" },
		"no state":             func(_ *refresh.Provider, a *refresh.Authorization) { a.State = "" },
		"no challenge":         func(_ *refresh.Provider, a *refresh.Authorization) { a.Challenge = "" },
		"the verifier itself":  func(_ *refresh.Provider, a *refresh.Authorization) { a.Challenge = "plain-text" },
	} {
		p, a := provider, whole
		change(&p, &a)
		if got, err := p.AuthorizationRequest(a); err == nil {
			t.Errorf("%s: got %s, want an error", name, got)
		}
	}
	if _, err := provider.AuthorizationRequest(whole); err != nil {
		t.Errorf("with all parts: %v", err)
	}
}

func TestAProviderSaysAllThatIsWrongWithItAndNoSecret(t *testing.T) {
	t.Parallel()
	good := refresh.Provider{ID: "x", TokenURL: "https://p.example/t", ClientID: "us"}
	if err := good.Validate(); err != nil {
		t.Errorf("a public client: %v", err)
	}
	bad := refresh.Provider{
		ID: "x", Issuer: "ftp://p.example", AuthorizationURL: "https://u:p-canary@p.example/", RevocationURL: "https:///x", UserInfoURL: "https://p.example/#f",
		AuthMethod: "secret-canary", ClientSecret: "s-canary", DefaultLifetime: -1,
	}
	err := bad.Validate()
	if err == nil {
		t.Fatal("got no error")
	}
	for _, field := range []string{"TokenURL", "ClientID", "Issuer", "AuthorizationURL", "RevocationURL", "UserInfoURL", "AuthMethod", "DefaultLifetime"} {
		if !strings.Contains(err.Error(), field+" ") {
			t.Errorf("the error does not name %s: %v", field, err)
		}
	}
	if strings.Contains(err.Error(), "p-canary") || strings.Contains(err.Error(), "s-canary") {
		t.Errorf("the error holds a secret: %v", err)
	}
	for _, method := range []refresh.AuthMethod{refresh.AuthBasic, refresh.AuthPost} {
		p := good
		p.AuthMethod = method
		if p.Validate() == nil {
			t.Errorf("%s without a secret: got no error", method)
		}
	}
}
