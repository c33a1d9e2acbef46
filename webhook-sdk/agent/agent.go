// Package agent is a small client for agents: it fetches the credentials that
// an agent was granted from a Token Vault server.
//
// In webhook mode the server answers with the address of the customer's webhook
// and a single-use ticket. The client goes there with a fresh request that does
// not bear the agent's key: most HTTP clients, told to follow redirects, would
// hand the key to the webhook in X-Agent-Key. What comes back was never at the
// server. The package knows the two wires it speaks and nothing else; it keeps
// nothing.
package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// Limits of an answer.
const (
	maxAnswer      = 4 << 20 // bytes
	defaultTimeout = 20 * time.Second
)

// Options of a Client. The zero value is what most agents want.
type Options struct {
	// Timeout is for a whole call, both requests included. 0: 20 s.
	Timeout time.Duration
	// AllowHTTP permits servers and webhooks on plain http that are not on
	// loopback, where http is permitted anyway. For development.
	AllowHTTP bool
	// Transport makes the requests. Nil: one of its own, through the
	// environment's proxy if there is one.
	Transport http.RoundTripper
}

// A Client speaks for one agent. Safe for concurrent use.
type Client struct {
	base    *url.URL
	key     func() string // a function, so that no printer looks inside
	options Options
	http    *http.Client
}

// New makes a client for the server at base, such as https://vault.example.com,
// and an agent's key (tvagent_…).
func New(base, agentKey string, options Options) (*Client, error) {
	u, err := url.Parse(strings.TrimRight(base, "/"))
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, errors.New("agent: the server's address must be like https://vault.example.com")
	}
	if agentKey == "" || strings.ContainsAny(agentKey, " \t\r\n") {
		return nil, errors.New("agent: the agent's key is missing or has white space in it")
	}
	c := &Client{base: u, key: func() string { return agentKey }, options: options}
	if err := c.permit(u); err != nil {
		return nil, err
	}
	if c.options.Timeout <= 0 {
		c.options.Timeout = defaultTimeout
	}
	transport := options.Transport
	if transport == nil {
		// Agents run inside other people's networks: the proxy that their
		// environment names is theirs to choose.
		transport = &http.Transport{
			Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, TLSHandshakeTimeout: 10 * time.Second,
			MaxIdleConnsPerHost: 8, IdleConnTimeout: 90 * time.Second,
		}
	}
	c.http = &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return c, nil
}

// Credential fetches what the agent was granted under a service name: the
// stored fields, a one-time code, or a token minted for this call. It returns
// *Error for every refusal. A ticket that ran out on the way is replaced once.
func (c *Client) Credential(ctx context.Context, service string) (Credential, error) {
	ctx, cancel := context.WithTimeout(ctx, c.options.Timeout)
	defer cancel()
	credential, err := c.fetch(ctx, service)
	var refused *Error
	if errors.As(err, &refused) && refused.Code == string(wire.CodeTicketExpired) {
		return c.fetch(ctx, service)
	}
	return credential, err
}

func (c *Client) fetch(ctx context.Context, service string) (Credential, error) {
	answer, err := c.get(ctx, c.base.String()+"/api/agents/credentials?service="+url.QueryEscape(service), true)
	if err != nil {
		return Credential{}, err
	}
	if answer.status == http.StatusTemporaryRedirect {
		webhook, err := url.Parse(answer.header.Get("Location"))
		if err != nil || webhook.Host == "" || webhook.User != nil {
			return Credential{}, errors.New("agent: the server redirects to an address that makes no sense")
		}
		if err := c.permit(webhook); err != nil {
			return Credential{}, err
		}
		if answer, err = c.get(ctx, webhook.String(), false); err != nil {
			return Credential{}, err
		}
		var wrapped struct {
			Token json.RawMessage `json:"token"`
		}
		if err := answer.decode(&wrapped); err != nil {
			return Credential{}, err
		}
		answer.body = wrapped.Token
	}
	var fields map[string]any
	if err := answer.decode(&fields); err != nil {
		return Credential{}, err
	}
	return newCredential(service, fields), nil
}

// A Grant is one of the agent's credential grants.
type Grant struct {
	ServiceName    string     `json:"serviceName"`
	TokenType      string     `json:"tokenType"`
	GrantExpiresAt *time.Time `json:"grantExpiresAt"` // nil: until revoked
	RefreshPolicy  string     `json:"refreshPolicy"`
	Trust          string     `json:"trust"`
}

// Grants lists what the agent was granted.
func (c *Client) Grants(ctx context.Context) ([]Grant, error) {
	var out struct {
		Grants []Grant `json:"grants"`
	}
	return out.Grants, c.ask(ctx, "/api/agents/credentials", &out)
}

// Identity is the agent as the server sees it.
type Identity struct {
	ID        string
	Name      string
	AccountID string
	ExpiresAt *time.Time // nil: until revoked
}

// Whoami asks the server who the agent is: the cheapest way to try a key.
func (c *Client) Whoami(ctx context.Context) (Identity, error) {
	var out struct {
		Principal struct{ ID, Name string } `json:"principal"`
		UserID    string                    `json:"userId"`
		ExpiresAt *time.Time                `json:"expiresAt"`
	}
	err := c.ask(ctx, "/api/agents/whoami", &out)
	return Identity{ID: out.Principal.ID, Name: out.Principal.Name, AccountID: out.UserID, ExpiresAt: out.ExpiresAt}, err
}

func (c *Client) ask(ctx context.Context, path string, out any) error {
	ctx, cancel := context.WithTimeout(ctx, c.options.Timeout)
	defer cancel()
	answer, err := c.get(ctx, c.base.String()+path, true)
	if err != nil {
		return err
	}
	return answer.decode(out)
}

// permit refuses to send anything in the clear over a network.
func (c *Client) permit(u *url.URL) error {
	ip, err := netip.ParseAddr(u.Hostname())
	loopback := u.Hostname() == "localhost" || err == nil && ip.IsLoopback()
	if u.Scheme == "https" || u.Scheme == "http" && (loopback || c.options.AllowHTTP) {
		return nil
	}
	return fmt.Errorf("agent: %s is not https; set Options.AllowHTTP to use it all the same in development", u.Host)
}

// An answer is what was read of an HTTP response.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// get sends a GET request, with the agent's key only to the server itself.
func (c *Client) get(ctx context.Context, address string, withKey bool) (answer, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return answer{}, errors.New("agent: the request could not be made")
	}
	request.Header.Set("Accept", "application/json")
	if withKey {
		request.Header.Set("Authorization", "Bearer "+c.key())
	}
	response, err := c.http.Do(request)
	if err != nil {
		return answer{}, fmt.Errorf("agent: %s cannot be reached: %w", request.URL.Host, withoutURL(err))
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	if err != nil {
		return answer{}, fmt.Errorf("agent: the answer of %s broke off: %w", request.URL.Host, err)
	}
	if len(body) > maxAnswer {
		return answer{}, fmt.Errorf("agent: the answer of %s is larger than %d bytes", request.URL.Host, maxAnswer)
	}
	a := answer{status: response.StatusCode, header: response.Header, body: body}
	if a.status == http.StatusOK || a.status == http.StatusTemporaryRedirect && withKey {
		return a, nil
	}
	return answer{}, a.refusal(request.URL.Host)
}

// withoutURL drops the URL from a transport's error: it bears a ticket.
func withoutURL(err error) error {
	var inURL *url.Error
	if errors.As(err, &inURL) {
		return inURL.Err
	}
	return err
}

func (a answer) decode(out any) error {
	if kind, _, _ := mime.ParseMediaType(a.header.Get("Content-Type")); kind != "application/json" {
		return errors.New("agent: the answer is not JSON; is this the address of a Token Vault server?")
	}
	if err := json.Unmarshal(a.body, out); err != nil {
		return errors.New("agent: the answer is not the JSON that was expected")
	}
	return nil
}
