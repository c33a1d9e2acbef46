package oidc

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
)

const (
	maxRedirects = 10
	maxAnswer    = 1 << 20
)

// Connection says who connects an account to which client. The zero value is usable.
type Connection struct {
	ClientID string   // empty: the first client
	Account  string   // the subject at the provider; empty: "ada"
	Scopes   []string // empty: openid, email, offline_access
}

// Tokens are what the token endpoint gave.
type Tokens struct {
	AccessToken  string `json:"access_token"`
	RefreshToken string `json:"refresh_token"`
	IDToken      string `json:"id_token"`
	TokenType    string `json:"token_type"`
	Scope        string `json:"scope"`
	ExpiresIn    int    `json:"expires_in"` // seconds
}

// Connect gets a first pair of tokens: the authorization-code flow with PKCE, with a browser and a person that agrees, all over HTTP.
func (p *Provider) Connect(ctx context.Context, c Connection) (Tokens, error) {
	client, known := p.client(c.ClientID)
	if !known {
		return Tokens{}, fmt.Errorf("no client %q", c.ClientID)
	}
	if c.Account == "" {
		c.Account = "ada"
	}
	if len(c.Scopes) == 0 {
		c.Scopes = []string{"openid", "email", "offline_access"}
	}
	verifier, state := rand.Text()+rand.Text(), rand.Text() // 52 characters; RFC 7636 §4.1 wants 43 to 128
	challenge := sha256.Sum256([]byte(verifier))
	question := url.Values{
		"response_type": {"code"}, "client_id": {client.ID}, "redirect_uri": {client.RedirectURIs[0]}, "scope": {strings.Join(c.Scopes, " ")},
		"state": {state}, "login_hint": {c.Account}, "prompt": {"consent"},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(challenge[:])}, "code_challenge_method": {"S256"},
	}
	back, err := p.Authorize(ctx, p.AuthorizationURL+"?"+question.Encode())
	if err != nil {
		return Tokens{}, err
	}
	answer := back.Query()
	if answer.Get("state") != state || answer.Get("code") == "" {
		return Tokens{}, fmt.Errorf("the authorization answer has error %q (%s), and no code for this state", answer.Get("error"), answer.Get("error_description"))
	}
	return p.exchange(ctx, client, url.Values{
		"grant_type": {"authorization_code"}, "code": {answer.Get("code")}, "redirect_uri": {client.RedirectURIs[0]}, "code_verifier": {verifier},
	})
}

// Authorize is the browser, and the person in front of it: it opens the address of an authorization request, signs in as its
// login_hint (or as "ada"), agrees to every scope (or refuses, see Faults), and returns the address that the provider sends the browser
// back to, without opening it. Each call is another browser, with no cookies.
func (p *Provider) Authorize(ctx context.Context, authorization string) (*url.URL, error) {
	issuer, err := url.Parse(p.Issuer)
	if err != nil {
		return nil, err
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, err
	}
	browser := &http.Client{Jar: jar, Transport: p.http.Transport, CheckRedirect: func(next *http.Request, before []*http.Request) error {
		if next.URL.Host != issuer.Host || len(before) >= maxRedirects {
			return http.ErrUseLastResponse
		}
		return nil
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, authorization, nil)
	if err != nil {
		return nil, err
	}
	if req.URL.Host != issuer.Host {
		return nil, fmt.Errorf("the authorization request goes to %s, and this provider is %s", req.URL.Host, issuer.Host)
	}
	res, err := browser.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = res.Body.Close() }() // all of it that matters was read
	back, err := res.Location()
	if err != nil {
		page, _ := io.ReadAll(io.LimitReader(res.Body, 4<<10)) // for a message alone
		return nil, fmt.Errorf("the provider sends nobody back, but answers %s: %s", res.Status, page)
	}
	if back.Host == issuer.Host {
		return nil, fmt.Errorf("the provider redirected %d times and never back", maxRedirects)
	}
	return back, nil
}

// exchange asks the token endpoint, as the client that it is told to be.
func (p *Provider) exchange(ctx context.Context, client Client, form url.Values) (Tokens, error) {
	if client.AuthMethod != "client_secret_basic" {
		form.Set("client_id", client.ID)
	}
	if client.AuthMethod == "client_secret_post" {
		form.Set("client_secret", client.Secret)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.TokenURL, strings.NewReader(form.Encode()))
	if err != nil {
		return Tokens{}, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if client.AuthMethod == "client_secret_basic" {
		req.SetBasicAuth(url.QueryEscape(client.ID), url.QueryEscape(client.Secret)) // RFC 6749 §2.3.1
	}
	res, err := p.http.Do(req)
	if err != nil {
		return Tokens{}, err
	}
	defer func() { _ = res.Body.Close() }() // it was read to its end, or it failed
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return Tokens{}, err
	}
	if res.StatusCode != http.StatusOK {
		return Tokens{}, fmt.Errorf("the token endpoint answers %s: %s", res.Status, body)
	}
	var tokens Tokens
	if err := json.Unmarshal(body, &tokens); err != nil {
		return Tokens{}, fmt.Errorf("the token endpoint's answer: %w", err)
	}
	return tokens, nil
}
