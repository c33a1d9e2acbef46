package refresh

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Limits of one call, whoever asks.
const (
	callTimeout = 20 * time.Second
	maxAnswer   = 1 << 20 // bytes
)

// A Client speaks to providers. It keeps nothing between calls.
type Client struct {
	http *http.Client
	now  func() time.Time
}

// NewClient returns a client that sends through a copy of hc, which decides what
// addresses may be dialled; redirects are not followed, cookies not kept. Lifetimes count from
// now; nil is time.Now. It panics without hc: no default would check addresses.
func NewClient(hc *http.Client, now func() time.Time) *Client {
	if hc == nil {
		panic("refresh: NewClient needs an http.Client")
	}
	if now == nil {
		now = time.Now
	}
	own := *hc
	own.Jar = nil
	own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &Client{http: &own, now: now}
}

// A CodeExchange is an authorization code with what it was asked for with.
type CodeExchange struct {
	Code        Secret
	Verifier    Secret // PKCE, RFC 7636 §4.5
	RedirectURI string // as in the Authorization
}

// Refresh exchanges a refresh token (RFC 6749 §6). Nil scopes ask for those that it
// has. An empty RefreshToken in the answer means that the one given stays in use.
//
// The error is a *Refusal, or wraps ctx's when that was cancelled: then, as with ReasonProviderTimeout,
// the provider may have taken the refresh token nevertheless.
func (c *Client) Refresh(ctx context.Context, p Provider, token Secret, scopes []string) (Tokens, error) {
	if token == "" {
		return Tokens{}, refuse(ReasonNoRefreshToken, 0, "")
	}
	form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {string(token)}}
	if len(scopes) > 0 {
		form.Set("scope", strings.Join(scopes, " "))
	}
	return c.tokens(ctx, p, form, token)
}

// Exchange trades an authorization code for tokens (RFC 6749 §4.1.3) with its PKCE
// verifier. The error is as that of Refresh; a code that is not taken is invalid_grant.
func (c *Client) Exchange(ctx context.Context, p Provider, x CodeExchange) (Tokens, error) {
	if x.Code == "" {
		return Tokens{}, refuse(ReasonRequestRejected, 0, "there is no code to exchange")
	}
	form := url.Values{"grant_type": {"authorization_code"}, "code": {string(x.Code)}, "redirect_uri": {x.RedirectURI}}
	if x.Verifier != "" {
		form.Set("code_verifier", string(x.Verifier))
	}
	return c.tokens(ctx, p, form, x.Code, x.Verifier)
}

// tokens asks the token endpoint. sent are the secrets in form.
func (c *Client) tokens(ctx context.Context, p Provider, form url.Values, sent ...Secret) (Tokens, error) {
	if err := p.Validate(); err != nil {
		return Tokens{}, refuse(ReasonMisconfigured, 0, describe(err.Error(), p.ClientSecret))
	}
	// Lifetimes count from before the call, so that no token counts as valid for longer than it is.
	asked := c.now()
	a, err := c.post(ctx, p, p.TokenURL, form, sent)
	if err != nil {
		return Tokens{}, err
	}
	return a.tokens(p, asked)
}

// post sends a form with the client's authentication and reads the answer.
func (c *Client) post(ctx context.Context, p Provider, endpoint string, form url.Values, sent []Secret) (answer, error) {
	a := answer{now: c.now, secrets: append(sent[:len(sent):len(sent)], p.ClientSecret)}
	method := p.method()
	if method != AuthBasic {
		form.Set("client_id", p.ClientID)
	}
	if method == AuthPost {
		form.Set("client_secret", string(p.ClientSecret))
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return a, refuse(ReasonMisconfigured, 0, "the endpoint is not a URL")
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if method == AuthBasic {
		// Encoded first (RFC 6749 §2.3.1): a colon in an id would end it otherwise.
		id, secret := url.QueryEscape(p.ClientID), url.QueryEscape(string(p.ClientSecret))
		req.SetBasicAuth(id, secret)
		_, sentAs, _ := strings.Cut(req.Header.Get("Authorization"), " ")
		a.secrets = append(a.secrets, Secret(sentAs))
	}
	return a, c.send(req, &a)
}

// send performs a request and reads its answer into a. A body that cannot be read is a.unread, not an error:
// what the status says may be enough.
func (c *Client) send(req *http.Request, a *answer) error {
	req.Header.Set("Accept", "application/json")
	response, err := c.http.Do(req)
	if err != nil {
		return unanswered(req.Context(), err, a.secrets)
	}
	defer response.Body.Close()
	a.status, a.header = response.StatusCode, response.Header
	a.body, a.unread = readLimited(response.Body)
	if a.unread != nil && errors.Is(req.Context().Err(), context.Canceled) {
		return fmt.Errorf("refresh: reading the provider's answer: %w", context.Canceled)
	}
	return nil
}
