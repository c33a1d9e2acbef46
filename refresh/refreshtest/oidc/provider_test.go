package oidc_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tvzero/tokenvault/refresh/refreshtest/oidc"
)

// client is an HTTP client whose connections end with the test.
func client(t *testing.T) *http.Client {
	t.Helper()
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// post sends a form as the provider's first client, and returns the status and the JSON of the answer.
func post(t *testing.T, p *oidc.Provider, address string, form url.Values) (int, map[string]any) {
	t.Helper()
	status, answer, err := tryPost(t, address, p.ClientID, p.ClientSecret, form)
	if err != nil {
		t.Fatal(err)
	}
	return status, answer
}

func tryPost(t *testing.T, address, id, secret string, form url.Values) (int, map[string]any, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, address, strings.NewReader(form.Encode()))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(id, secret)
	res, err := client(t).Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, nil, err
	}
	answer := map[string]any{}
	if len(body) > 0 {
		err = json.Unmarshal(body, &answer)
	}
	return res.StatusCode, answer, err
}

func refresh(t *testing.T, p *oidc.Provider, token string) (int, map[string]any) {
	t.Helper()
	return post(t, p, p.TokenURL, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}})
}

func connect(t *testing.T, p *oidc.Provider, c oidc.Connection) oidc.Tokens {
	t.Helper()
	tokens, err := p.Connect(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return tokens
}

// userinfo asks who an access token is for, and returns the status and the subject.
func userinfo(t *testing.T, p *oidc.Provider, accessToken string) (int, any) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.UserInfoURL, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+accessToken)
	res, err := client(t).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	var answer map[string]any
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, answer["sub"]
}

func wantState(t *testing.T, p *oidc.Provider, what, token string, want oidc.State) {
	t.Helper()
	if got := p.State(token); got != want {
		t.Errorf("state of the %s refresh token: got %q, want %q", what, got, want)
	}
}

func wantRefusal(t *testing.T, status int, answer map[string]any, code string) {
	t.Helper()
	if status != http.StatusBadRequest || answer["error"] != code {
		t.Errorf("got %d %v, want 400 with error %q", status, answer, code)
	}
}

func TestConnectGivesTokensThatWorkAndLastAsLongAsAsked(t *testing.T) {
	t.Parallel()
	p := oidc.Start(t, oidc.Options{AccessTokenTTL: 90 * time.Second})
	tokens := connect(t, p, oidc.Connection{Account: "grace"})
	if tokens.ExpiresIn != 90 || !strings.EqualFold(tokens.TokenType, "Bearer") {
		t.Errorf("got a %s token for %d s, want a Bearer token for 90 s", tokens.TokenType, tokens.ExpiresIn)
	}
	if tokens.RefreshToken == "" || tokens.IDToken == "" {
		t.Errorf("refresh token %t, id token %t: want both", tokens.RefreshToken != "", tokens.IDToken != "")
	}
	if status, subject := userinfo(t, p, tokens.AccessToken); status != http.StatusOK || subject != "grace" {
		t.Errorf("userinfo: got %d for %v, want 200 for grace", status, subject)
	}
	wantState(t, p, "first", tokens.RefreshToken, oidc.Current)
	wantState(t, p, "made-up", "made-up", oidc.Unknown)
}

func TestRefreshRotates(t *testing.T) {
	t.Parallel()
	p := oidc.Start(t, oidc.Options{})
	first := connect(t, p, oidc.Connection{})
	status, answer := refresh(t, p, first.RefreshToken)
	second, _ := answer["refresh_token"].(string)
	access, _ := answer["access_token"].(string)
	if status != http.StatusOK || second == "" || second == first.RefreshToken || access == first.AccessToken {
		t.Fatalf("got %d, another refresh token %t, another access token %t: want 200 and both", status, second != first.RefreshToken, access != first.AccessToken)
	}
	if status, _ := userinfo(t, p, access); status != http.StatusOK {
		t.Errorf("userinfo with the new access token: got %d, want 200", status)
	}
	wantState(t, p, "first", first.RefreshToken, oidc.Used)
	wantState(t, p, "second", second, oidc.Current)

	if status, _ := refresh(t, p, second); status != http.StatusOK {
		t.Errorf("a refresh with the second: got %d, want 200", status)
	}
	if got := p.CallsByGrantType(); got["refresh_token"] != 2 || got["authorization_code"] != 1 {
		t.Errorf("calls: got %v, want 2 of refresh_token and 1 of authorization_code", got)
	}
	if got := p.Refreshes(first.RefreshToken); got != 1 {
		t.Errorf("calls with the first refresh token: got %d, want 1", got)
	}
	calls := p.Calls()
	want := oidc.Call{
		GrantType: "refresh_token", ClientID: p.ClientID, RefreshToken: oidc.Hash(first.RefreshToken),
		Issued: oidc.Hash(second), Status: http.StatusOK, Fate: oidc.Answered,
	}
	got := calls[1]
	if got.Received < calls[0].Worked || got.Worked < got.Received || calls[2].Received < got.Worked || got.Worked.Time().After(time.Now()) {
		t.Errorf("the first refresh was received at %d and worked at %d: want that between the calls before (%+v) and after (%+v)", got.Received, got.Worked, calls[0], calls[2])
	}
	want.Received, want.Worked = got.Received, got.Worked
	if got != want {
		t.Errorf("the record of the first refresh: got %+v, want %+v", got, want)
	}
}

// What is not about the record of calls nor about faults shares one provider: starting one costs more than all of these.
func TestOneProvider(t *testing.T) {
	t.Parallel()
	p := oidc.Start(t, oidc.Options{})
	for name, check := range map[string]func(*testing.T, *oidc.Provider){
		"reuse of a refresh token revokes its family and no other":                          reuseRevokesTheFamily,
		"of simultaneous uses of a refresh token at most one succeeds, and the family dies": simultaneousUses,
		"revocation ends a refresh token":                                                   revocation,
		"a wrong client secret is refused and spends nothing":                               wrongSecret,
		"discovery names the endpoints that are used":                                       discovery,
		"authorization answers name their issuer":                                           issuerNamed,
		"PKCE is required":                       challengeRequired,
		"PKCE is checked, and a code works once": verifierChecked,
	} {
		t.Run(name, func(t *testing.T) { check(t, p) })
	}
}

func reuseRevokesTheFamily(t *testing.T, p *oidc.Provider) {
	t.Helper()
	first, bystander := connect(t, p, oidc.Connection{}), connect(t, p, oidc.Connection{Account: "grace"})
	_, answer := refresh(t, p, first.RefreshToken)
	second, _ := answer["refresh_token"].(string)
	access, _ := answer["access_token"].(string)

	status, answer := refresh(t, p, first.RefreshToken)
	wantRefusal(t, status, answer, "invalid_grant")
	status, answer = refresh(t, p, second)
	wantRefusal(t, status, answer, "invalid_grant")
	wantState(t, p, "second", second, oidc.Revoked)
	if status, _ := userinfo(t, p, access); status != http.StatusUnauthorized {
		t.Errorf("userinfo with the family's access token: got %d, want 401", status)
	}
	if got := p.Refreshes(first.RefreshToken); got != 2 {
		t.Errorf("calls with the first refresh token: got %d, want 2", got)
	}
	wantState(t, p, "bystander's", bystander.RefreshToken, oidc.Current)
}

func simultaneousUses(t *testing.T, p *oidc.Provider) {
	t.Helper()
	const uses = 16
	for range 5 {
		first := connect(t, p, oidc.Connection{})
		form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {first.RefreshToken}}
		var wait sync.WaitGroup
		var mu sync.Mutex
		statuses := map[int]int{}
		var issued []string
		for range uses {
			wait.Go(func() {
				status, answer, err := tryPost(t, p.TokenURL, p.ClientID, p.ClientSecret, form)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				statuses[status]++
				if token, given := answer["refresh_token"].(string); given {
					issued = append(issued, token)
				}
			})
		}
		wait.Wait()
		if statuses[http.StatusOK] > 1 || statuses[http.StatusOK]+statuses[http.StatusBadRequest] != uses {
			t.Errorf("statuses: got %v, want at most one 200 and otherwise 400", statuses)
		}
		for _, token := range issued {
			wantState(t, p, "one successor's", token, oidc.Revoked)
			status, answer := refresh(t, p, token)
			wantRefusal(t, status, answer, "invalid_grant")
		}
	}
}

func revocation(t *testing.T, p *oidc.Provider) {
	t.Helper()
	tokens := connect(t, p, oidc.Connection{})
	status, answer := post(t, p, p.RevocationURL, url.Values{"token": {tokens.RefreshToken}, "token_type_hint": {"refresh_token"}})
	if status != http.StatusOK {
		t.Errorf("revocation: got %d %v, want 200", status, answer)
	}
	wantState(t, p, "revoked", tokens.RefreshToken, oidc.Revoked)
	status, answer = refresh(t, p, tokens.RefreshToken)
	wantRefusal(t, status, answer, "invalid_grant")
}

func wrongSecret(t *testing.T, p *oidc.Provider) {
	t.Helper()
	tokens := connect(t, p, oidc.Connection{})
	status, answer, err := tryPost(t, p.TokenURL, p.ClientID, "wrong", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {tokens.RefreshToken}})
	if err != nil {
		t.Fatal(err)
	}
	if status != http.StatusUnauthorized || answer["error"] != "invalid_client" {
		t.Errorf("got %d %v, want 401 with invalid_client", status, answer)
	}
	wantState(t, p, "first", tokens.RefreshToken, oidc.Current)
}
