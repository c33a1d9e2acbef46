package mint

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/tvzero/tokenvault/webhook-sdk/netguard"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// KindGCP is the kind of a Google service account's key.
const KindGCP = "gcp"

// Scopes that a Google token gets, and the metadata field that says others: a list,
// or a string with spaces between.
const (
	MetaScopes      = "scopes"
	DefaultGCPScope = "https://www.googleapis.com/auth/cloud-platform"
)

// GCP mints access tokens from a Google service account's key file (JSON with
// "type": "service_account"), by the JWT bearer grant of RFC 7523: an assertion
// signed with the account's key goes to its token_uri, and a token for an hour
// comes back.
type GCP struct {
	// AllowedTokenHosts lists the hosts besides Google's to which an assertion may
	// go, as "host" (port 443) or "host:port"; none by default. A key file says by
	// itself where its assertions go, and whoever wrote it is not believed. On
	// hosts listed here plain http is possible, if the request's client allows it.
	AllowedTokenHosts []string
}

// Kind implements Minter.
func (GCP) Kind() string { return KindGCP }

// Recognizes implements Minter.
func (GCP) Recognizes(raw []byte) bool {
	account, err := decodeServiceAccount(raw)
	return err == nil && account.Type == typeServiceAccount
}

// Mint implements Minter.
func (g GCP) Mint(ctx context.Context, r Request) (Token, error) {
	if r.Client == nil || r.Now.IsZero() {
		return Token{}, gcpError("the webhook gave no client or no clock", nil)
	}
	account, err := parseServiceAccount(r.Raw)
	if err != nil {
		return Token{}, gcpError(err.Error(), nil)
	}
	endpoint, err := g.tokenEndpoint(account.TokenURI)
	if err != nil {
		return Token{}, gcpError(err.Error(), nil)
	}
	scopes, err := readScopes(r.Meta[MetaScopes], DefaultGCPScope)
	if err != nil {
		return Token{}, gcpError(err.Error(), nil)
	}
	assertion, err := account.assertion(scopes, r.Now)
	if err != nil {
		return Token{}, gcpError(err.Error(), nil)
	}
	answer, err := postAssertion(ctx, r.Client, endpoint, assertion)
	if err != nil {
		return Token{}, err
	}
	token, err := answer.token(r.Now)
	if err != nil {
		return Token{}, gcpError(err.Error(), nil)
	}
	token.Extra = map[string]any{"scopes": scopes}
	if account.ProjectID != "" {
		token.Extra["projectId"] = account.ProjectID
	}
	return token, nil
}

func gcpError(problem string, cause error) *Error {
	return &Error{Kind: KindGCP, Code: wire.CodeGCPMintFailed, Problem: problem, cause: cause}
}

// tokenEndpoint returns the URL of a token_uri if an assertion may go there.
func (g GCP) tokenEndpoint(uri string) (*url.URL, error) {
	u, err := url.Parse(uri)
	if err != nil || u.Host == "" || u.Opaque != "" {
		return nil, errors.New("token_uri is not a URL")
	}
	if u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" {
		return nil, errors.New("token_uri has user information, a query or a fragment")
	}
	host := strings.ToLower(u.Host)
	for _, allowed := range g.AllowedTokenHosts {
		allowed = strings.ToLower(allowed)
		if (u.Scheme == "https" || u.Scheme == "http") && (host == allowed || u.Scheme == "https" && host == allowed+":443") {
			return u, nil
		}
	}
	host = strings.TrimSuffix(host, ":443")
	if host != "accounts.google.com" && !strings.HasSuffix(host, ".googleapis.com") {
		return nil, errors.New("token_uri is not at Google; the webhook's operator can allow other hosts")
	}
	if u.Scheme != "https" {
		return nil, errors.New("token_uri does not begin with https://")
	}
	return u, nil
}

// postAssertion redeems an assertion (RFC 7523 §2.1). Its error is an *Error.
func postAssertion(ctx context.Context, client *http.Client, endpoint *url.URL, assertion string) (tokenAnswer, error) {
	form := url.Values{
		"grant_type": {"urn:ietf:params:oauth:grant-type:jwt-bearer"},
		"assertion":  {assertion},
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint.String(), strings.NewReader(form.Encode()))
	if err != nil {
		return tokenAnswer{}, gcpError("token_uri is not a URL", nil)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Accept", "application/json")
	response, err := client.Do(r)
	if err != nil {
		return tokenAnswer{}, callError(KindGCP, wire.CodeGCPMintFailed, err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxTokenAnswer+1))
	switch {
	case err != nil:
		return tokenAnswer{}, callError(KindGCP, wire.CodeGCPMintFailed, err)
	case len(body) > maxTokenAnswer:
		return tokenAnswer{}, callError(KindGCP, wire.CodeGCPMintFailed, netguard.ErrTooLarge)
	case response.StatusCode != http.StatusOK:
		return tokenAnswer{}, refusal(response.StatusCode, body)
	}
	var answer tokenAnswer
	if err := json.Unmarshal(body, &answer); err != nil {
		return tokenAnswer{}, gcpError("the token endpoint's answer is not JSON of the expected form", nil)
	}
	return answer, nil
}

// refusal says what a status other than 200 means. Of the body it takes an error
// code of RFC 6749 §5.2 and nothing else: it may echo what it was sent.
func refusal(status int, body []byte) *Error {
	e := gcpError(fmt.Sprintf("the token endpoint answered %d", status), nil)
	e.Temporary = status == http.StatusTooManyRequests || status >= 500
	var answer struct {
		Error string `json:"error"`
	}
	if json.Unmarshal(body, &answer) != nil {
		return e
	}
	switch answer.Error {
	case "invalid_grant":
		e.Problem += " invalid_grant: the key was deleted or disabled, or this machine's clock is wrong"
	case "invalid_request", "invalid_client", "unauthorized_client", "unsupported_grant_type", "invalid_scope", "access_denied":
		e.Problem += " " + answer.Error
	}
	return e
}

// maxTokenAnswer and maxAccessToken bound what a token endpoint answers, in bytes.
const (
	maxTokenAnswer = 64 << 10
	maxAccessToken = 16 << 10
)

// maxTokenLife is the longest life that is believed: no such token lives longer.
const maxTokenLife = 24 * time.Hour

// tokenAnswer is the successful answer of RFC 6749 §5.1.
type tokenAnswer struct {
	AccessToken string `json:"access_token"`
	TokenType   string `json:"token_type"`
	ExpiresIn   int64  `json:"expires_in"` // seconds
}

func (a tokenAnswer) token(now time.Time) (Token, error) {
	switch {
	case a.AccessToken == "":
		return Token{}, errors.New("the token endpoint's answer has no access_token")
	case len(a.AccessToken) > maxAccessToken || strings.ContainsFunc(a.AccessToken, notVisible):
		return Token{}, errors.New("the token endpoint's access_token is not one")
	case !strings.EqualFold(a.TokenType, "Bearer"):
		return Token{}, errors.New("the token endpoint's token_type is not Bearer")
	case a.ExpiresIn <= 0 || a.ExpiresIn > int64(maxTokenLife/time.Second):
		return Token{}, errors.New("the token endpoint's expires_in is missing or out of range")
	}
	return Token{
		AccessToken: a.AccessToken,
		TokenType:   "Bearer",
		ExpiresAt:   now.Add(time.Duration(a.ExpiresIn) * time.Second),
	}, nil
}

// notVisible reports whether a rune is outside visible ASCII.
func notVisible(r rune) bool { return r <= ' ' || r > '~' }
