package oidc_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/tvzero/tokenvault/refresh/refreshtest/oidc"
)

// The verifier and challenge of RFC 7636, appendix B.
const (
	verifier  = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
	challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
)

// question is an authorization request; changes replaces or, with an empty value, removes parameters.
func question(p *oidc.Provider, changes map[string]string) string {
	q := url.Values{
		"response_type": {"code"}, "client_id": {p.ClientID}, "redirect_uri": {oidc.DefaultRedirectURI}, "scope": {"openid"},
		"state": {"st-1"}, "code_challenge": {challenge}, "code_challenge_method": {"S256"},
	}
	for name, value := range changes {
		q.Set(name, value)
		if value == "" {
			q.Del(name)
		}
	}
	return p.AuthorizationURL + "?" + q.Encode()
}

func authorize(t *testing.T, p *oidc.Provider, changes map[string]string) url.Values {
	t.Helper()
	back, err := p.Authorize(t.Context(), question(p, changes))
	if err != nil {
		t.Fatal(err)
	}
	if got := back.Scheme + "://" + back.Host + back.Path; got != oidc.DefaultRedirectURI {
		t.Fatalf("the browser is sent to %s, want %s", got, oidc.DefaultRedirectURI)
	}
	return back.Query()
}

func discovery(t *testing.T, p *oidc.Provider) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.Issuer+"/.well-known/openid-configuration", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := client(t).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	var found struct {
		Issuer        string   `json:"issuer"`
		Authorization string   `json:"authorization_endpoint"`
		Token         string   `json:"token_endpoint"`
		Revocation    string   `json:"revocation_endpoint"`
		UserInfo      string   `json:"userinfo_endpoint"`
		Introspection string   `json:"introspection_endpoint"`
		Challenges    []string `json:"code_challenge_methods_supported"`
		Responses     []string `json:"response_types_supported"`
		Iss           bool     `json:"authorization_response_iss_parameter_supported"`
	}
	if err := json.NewDecoder(res.Body).Decode(&found); err != nil {
		t.Fatal(err)
	}
	for _, c := range [][3]string{
		{"issuer", found.Issuer, p.Issuer},
		{"authorization endpoint", found.Authorization, p.AuthorizationURL},
		{"token endpoint", found.Token, p.TokenURL},
		{"revocation endpoint", found.Revocation, p.RevocationURL},
		{"userinfo endpoint", found.UserInfo, p.UserInfoURL},
		{"introspection endpoint", found.Introspection, p.IntrospectionURL},
	} {
		if c[1] != c[2] {
			t.Errorf("%s: got %q, want %q", c[0], c[1], c[2])
		}
	}
	if !slices.Equal(found.Challenges, []string{"S256"}) || !slices.Contains(found.Responses, "code") || !found.Iss {
		t.Errorf("got challenges %v, responses %v, iss %t; want S256 alone, code, true", found.Challenges, found.Responses, found.Iss)
	}
}

func issuerNamed(t *testing.T, p *oidc.Provider) {
	t.Helper()
	answer := authorize(t, p, nil)
	if answer.Get("iss") != p.Issuer || answer.Get("state") != "st-1" || answer.Get("code") == "" {
		t.Errorf("got %v, want a code, the state st-1 and iss %s", answer, p.Issuer)
	}
}

func TestAPersonWhoRefusesIsAnAnswerThatNamesItsIssuer(t *testing.T) {
	t.Parallel()
	p := oidc.Start(t, oidc.Options{})
	p.SetFaults(oidc.Faults{Deny: true})
	answer := authorize(t, p, nil)
	if answer.Get("iss") != p.Issuer || answer.Get("error") != "access_denied" || answer.Has("code") {
		t.Errorf("got %v, want access_denied with iss %s", answer, p.Issuer)
	}
}

func challengeRequired(t *testing.T, p *oidc.Provider) {
	t.Helper()
	for name, changes := range map[string]map[string]string{
		"no challenge":    {"code_challenge": "", "code_challenge_method": ""},
		"plain challenge": {"code_challenge": verifier, "code_challenge_method": "plain"},
	} {
		if answer := authorize(t, p, changes); answer.Get("error") != "invalid_request" || answer.Has("code") {
			t.Errorf("%s: got %v, want invalid_request and no code", name, answer)
		}
	}
}

func verifierChecked(t *testing.T, p *oidc.Provider) {
	t.Helper()
	exchange := func(code, with string) (int, map[string]any) {
		form := url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {oidc.DefaultRedirectURI}}
		if with != "" {
			form.Set("code_verifier", with)
		}
		return post(t, p, p.TokenURL, form)
	}
	for name, with := range map[string]string{"no verifier": "", "another verifier": strings.Repeat("a", 43)} {
		status, answer := exchange(authorize(t, p, nil).Get("code"), with)
		if status != http.StatusBadRequest || answer["error"] != "invalid_grant" {
			t.Errorf("%s: got %d %v, want 400 with invalid_grant", name, status, answer)
		}
	}
	code := authorize(t, p, nil).Get("code")
	if status, answer := exchange(code, verifier); status != http.StatusOK {
		t.Errorf("the right verifier: got %d %v, want 200", status, answer)
	}
	status, answer := exchange(code, verifier)
	wantRefusal(t, status, answer, "invalid_grant") // RFC 6749 §4.1.2: a code works once
}

func TestARedirectAddressThatIsNotRegisteredGetsNothing(t *testing.T) {
	t.Parallel()
	p := oidc.Start(t, oidc.Options{})
	const elsewhere = "http://127.0.0.1:1/callback"
	back, err := p.Authorize(t.Context(), question(p, map[string]string{"redirect_uri": elsewhere}))
	if err == nil || !strings.Contains(err.Error(), "400") {
		t.Fatalf("got %v and error %v, want an error page with status 400", back, err)
	}

	known := p.AddClient(oidc.Client{ID: p.ClientID, RedirectURIs: []string{oidc.DefaultRedirectURI, elsewhere}})
	if known.Secret != p.ClientSecret {
		t.Error("registering the client anew without a secret changed its secret")
	}
	back, err = p.Authorize(t.Context(), question(p, map[string]string{"redirect_uri": elsewhere}))
	if err != nil || back.Host != "127.0.0.1:1" || !back.Query().Has("code") {
		t.Errorf("once registered: got %v and error %v, want a code sent to %s", back, err, elsewhere)
	}
	connect(t, p, oidc.Connection{})
}

func TestEveryWayOfAuthenticatingAClientWorks(t *testing.T) {
	t.Parallel()
	p := oidc.Start(t, oidc.Options{Clients: []oidc.Client{
		{ID: "basic", Secret: "needs %:+ escaping", AuthMethod: "client_secret_basic"},
		{ID: "post", AuthMethod: "client_secret_post"},
	}})
	p.AddClient(oidc.Client{ID: "public", AuthMethod: "none"})
	for _, id := range []string{"basic", "post", "public"} {
		if tokens := connect(t, p, oidc.Connection{ClientID: id}); tokens.RefreshToken == "" {
			t.Errorf("client %s got no refresh token", id)
		}
	}
	if _, err := p.Connect(t.Context(), oidc.Connection{ClientID: "nobody"}); err == nil {
		t.Error("a client that was never registered connected")
	}
}

func TestOfflineAccessIsRequiredWhereAsked(t *testing.T) {
	t.Parallel()
	p := oidc.Start(t, oidc.Options{RequireOfflineAccess: true})
	if tokens := connect(t, p, oidc.Connection{Scopes: []string{"openid", "read"}}); tokens.RefreshToken != "" || tokens.AccessToken == "" {
		t.Error("without offline_access: want an access token and no refresh token")
	}
	tokens := connect(t, p, oidc.Connection{Scopes: []string{"read", "offline_access"}})
	if tokens.RefreshToken == "" || tokens.IDToken != "" {
		t.Errorf("with offline_access and without openid: refresh token %t, id token %t; want the first alone", tokens.RefreshToken != "", tokens.IDToken != "")
	}
	if tokens.Scope != "read offline_access" {
		t.Errorf("scope: got %q, want %q", tokens.Scope, "read offline_access")
	}
}
