package refreshtest

import (
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/tvzero/tokenvault/refresh"
)

// What a Provider knows its client by.
const (
	ClientID     = "test client:1" // needs encoding in a Basic header
	ClientSecret = refresh.Secret("s3cret+of/the%client-canary")
)

// A Provider is an OAuth 2.0 authorization server on loopback, with the rotating refresh tokens of Grants. It is well
// behaved until told otherwise: with Next for the next calls of its token endpoint, with Always for all of them.
type Provider struct {
	*Grants
	server *httptest.Server
	closed chan struct{} // what hangs, ends

	mu       sync.Mutex
	next     []Fault
	always   Fault
	codes    map[string]code
	revoked  []refresh.Secret
	requests int
	arrived  chan struct{} // gets a value for each call of the token endpoint; buffered
}

// StartProvider serves until the test ends. Grants may be nil.
func StartProvider(t testing.TB, g *Grants) *Provider {
	t.Helper()
	if g == nil {
		g = &Grants{}
	}
	p := &Provider{Grants: g, closed: make(chan struct{}), codes: map[string]code{}, arrived: make(chan struct{}, 10_000)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", p.describe)
	mux.HandleFunc("GET /authorize", p.authorize)
	mux.HandleFunc("POST /token", p.token)
	mux.HandleFunc("POST /revoke", p.revoke)
	mux.HandleFunc("GET /userinfo", p.userInfo)
	p.server = httptest.NewUnstartedServer(mux) // handlers look at it
	p.server.Start()
	t.Cleanup(func() {
		close(p.closed)
		p.server.Close()
	})
	return p
}

// Issuer is the provider's issuer, and the origin of its endpoints.
func (p *Provider) Issuer() string { return p.server.URL }

// HTTP is a client that may reach the provider.
func (p *Provider) HTTP() *http.Client { return p.server.Client() }

// Config is the provider as its client knows it.
func (p *Provider) Config() refresh.Provider {
	return refresh.Provider{
		ID: "test", Issuer: p.server.URL,
		AuthorizationURL: p.server.URL + "/authorize", TokenURL: p.server.URL + "/token",
		RevocationURL: p.server.URL + "/revoke", UserInfoURL: p.server.URL + "/userinfo",
		ClientID: ClientID, ClientSecret: ClientSecret, RequireIss: true,
	}
}

// Next gives the next calls of the token endpoint a fault each, after those that were given before.
func (p *Provider) Next(faults ...Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.next = append(p.next, faults...)
}

// Always gives every call of the token endpoint without a fault of its own this one; nil: none.
func (p *Provider) Always(f Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.always = f
}

// Requests returns how many calls the token endpoint has had, of every kind.
func (p *Provider) Requests() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.requests
}

// Arrived gets a value when a call arrives at the token endpoint, before anything is done about it.
func (p *Provider) Arrived() <-chan struct{} { return p.arrived }

// Revoked returns the tokens that the revocation endpoint was asked to revoke.
func (p *Provider) Revoked() []refresh.Secret {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]refresh.Secret(nil), p.revoked...)
}

// arrive counts a call and takes its fault.
func (p *Provider) arrive() Fault {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.requests++
	select {
	case p.arrived <- struct{}{}:
	default:
	}
	if len(p.next) == 0 {
		return p.always
	}
	f := p.next[0]
	p.next = p.next[1:]
	return f
}
