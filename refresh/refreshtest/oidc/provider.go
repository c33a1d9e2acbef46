package oidc

import (
	"crypto/rand"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"
)

// Options say how a provider behaves. The zero value is usable.
type Options struct {
	// AccessTokenTTL is how long access tokens live, in whole seconds, by the provider's own clock. Zero: one hour.
	AccessTokenTTL time.Duration
	// RequireOfflineAccess gives a refresh token only to who asks for the scope offline_access, with prompt=consent as
	// OpenID Connect Core §11 wants it. Otherwise everybody gets one.
	RequireOfflineAccess bool
	// Clients are registered from the start; AddClient registers more. Empty: one client with a random secret.
	Clients []Client
}

// Client is an OAuth client of the provider.
type Client struct {
	// ID is the client_id. Empty: "tokenvault".
	ID string
	// Secret is the client_secret. Empty: a random one, unless AuthMethod is "none".
	Secret string
	// AuthMethod is "client_secret_basic", "client_secret_post" or "none". Empty: "client_secret_basic".
	AuthMethod string
	// RedirectURIs are compared exactly. Empty: DefaultRedirectURI.
	RedirectURIs []string
}

// DefaultRedirectURI is where a Client without RedirectURIs has its answers sent. Nobody listens there, nor has to.
const DefaultRedirectURI = "http://127.0.0.1/callback"

func (c Client) withDefaults() Client {
	if c.ID == "" {
		c.ID = "tokenvault"
	}
	if c.AuthMethod == "" {
		c.AuthMethod = "client_secret_basic"
	}
	if c.Secret == "" && c.AuthMethod != "none" {
		c.Secret = rand.Text()
	}
	if len(c.RedirectURIs) == 0 {
		c.RedirectURIs = []string{DefaultRedirectURI}
	}
	return c
}

// Provider is a running provider. Its methods may be called from several goroutines; those that take no context fail the
// test and belong on the test's own goroutine.
type Provider struct {
	Issuer           string
	AuthorizationURL string
	TokenURL         string
	RevocationURL    string
	UserInfoURL      string
	IntrospectionURL string
	// ClientID and ClientSecret are those of the first client.
	ClientID, ClientSecret string

	t       testing.TB
	process *process
	http    *http.Client
	admin   string
	secret  string

	mu      sync.Mutex
	clients []Client
}

// Start starts a provider, and stops it when the test ends. It fails the test when the provider is not installed.
func Start(t testing.TB, o Options) *Provider {
	t.Helper()
	if o.AccessTokenTTL == 0 {
		o.AccessTokenTTL = time.Hour
	}
	if o.AccessTokenTTL < time.Second || o.AccessTokenTTL%time.Second != 0 {
		t.Fatalf("AccessTokenTTL is %v: it must be whole seconds", o.AccessTokenTTL)
	}
	if len(o.Clients) == 0 {
		o.Clients = []Client{{}}
	}
	secret := rand.Text()
	s := settings{AccessTokenSeconds: int(o.AccessTokenTTL / time.Second), RequireOfflineAccess: o.RequireOfflineAccess, AdminSecret: secret}
	for _, c := range o.Clients {
		s.Clients = append(s.Clients, clientSettings(c.withDefaults()))
	}
	folder, err := installed()
	if err != nil {
		t.Fatal(err)
	}
	started, where, err := startProcess(folder, t.TempDir(), s)
	if err != nil {
		t.Fatalf("start the OAuth provider: %v", err)
	}
	first := s.Clients[0]
	p := &Provider{
		Issuer:           where.Issuer,
		AuthorizationURL: where.Issuer + "/auth",
		TokenURL:         where.Issuer + "/token",
		RevocationURL:    where.Issuer + "/token/revocation",
		UserInfoURL:      where.Issuer + "/me",
		IntrospectionURL: where.Issuer + "/token/introspection",
		ClientID:         first.ID,
		ClientSecret:     first.Secret,
		t:                t, process: started, secret: secret, admin: where.AdminURL,
		http: &http.Client{Transport: &http.Transport{}},
	}
	for _, c := range s.Clients {
		p.clients = append(p.clients, Client(c))
	}
	t.Cleanup(func() {
		p.Stop()
		if t.Failed() && started.stderr.Len() > 0 {
			t.Logf("the OAuth provider wrote:\n%s", started.stderr)
		}
	})
	return p
}

// Stop ends the provider and everything that it knows; from then on its addresses refuse. It may be called again.
func (p *Provider) Stop() {
	p.process.stop()
	p.http.CloseIdleConnections()
}

// client is a registered client as it was registered; an empty id means the first.
func (p *Provider) client(id string) (Client, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if id == "" {
		return p.clients[0], true
	}
	i := slices.IndexFunc(p.clients, func(c Client) bool { return c.ID == id })
	if i < 0 {
		return Client{}, false
	}
	return p.clients[i], true
}
