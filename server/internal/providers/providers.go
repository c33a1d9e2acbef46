// Package providers knows the OAuth 2.0 authorization servers at which accounts can
// be connected: Google and GitHub by what is known of them, Auth0 and any other
// OpenID Connect issuer by discovery, and any pair of endpoints by configuration.
//
// It holds this server's own client secrets, and no token. It knows neither accounts
// nor vaults. A provider that cannot be discovered keeps no other from being used,
// nor the server from starting: Problems says so.
package providers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"time"

	"github.com/tvzero/tokenvault/refresh"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/webhook-sdk/netguard"
)

// A Setting is a provider as an operator configured it. Either it has an id that is
// known (google, github), or an issuer, or an authorization and a token endpoint; with
// endpoints, an issuer is only what `iss` is compared with. Empty fields are as known
// or discovered.
type Setting struct {
	ID                  string
	Name                string // for people
	Issuer              string
	AuthorizationURL    string
	TokenURL            string
	RevocationURL       string
	UserInfoURL         string
	ClientID            string
	ClientSecret        refresh.Secret // empty: a public client
	AuthMethod          refresh.AuthMethod
	Scopes              []string
	AllowedHosts        []string // origins to which tokens that are new may be sent
	AuthorizationParams map[string]string
	DefaultLifetime     time.Duration
}

// Discoverer asks an issuer where its endpoints are: refresh.Client.
type Discoverer interface {
	Discover(ctx context.Context, issuer string) (refresh.Provider, error)
}

// Deps is what a Registry needs.
type Deps struct {
	Settings     []Setting
	Discoverer   Discoverer // calls through netguard
	Now          func() time.Time
	Logger       *slog.Logger
	AllowPrivate bool // endpoints may be on private addresses and plain http: development and tests
}

// A Registry is all providers. It may be used concurrently.
type Registry struct {
	deps    Deps
	entries []*entry // in the order of Settings
	byID    map[string]*entry
}

// A Summary is a provider for a list. It holds no secret.
type Summary struct {
	ID           string
	Name         string // for people
	Scopes       []string
	AllowedHosts []string // origins to which tokens that are new may be sent
	HoldsSecret  bool     // this server is a confidential client there
	ManageURL    string   // where a person sees and ends what was connected; empty: unknown
	Problem      string   // why it cannot be used at the moment, for an operator; empty: it can
}

// New makes a registry, or returns everything that is wrong with its settings. It
// calls nobody.
func New(d Deps) (*Registry, error) {
	r := &Registry{deps: d, byID: map[string]*entry{}}
	var problems []error
	for _, s := range d.Settings {
		e := newEntry(s)
		if _, twice := r.byID[s.ID]; twice {
			problems = append(problems, fmt.Errorf("provider %q: the id stands twice", s.ID))
			continue
		}
		if err := e.check(netguard.Policy{AllowPrivate: d.AllowPrivate}); err != nil {
			problems = append(problems, fmt.Errorf("provider %q: %w", s.ID, err))
		}
		r.entries = append(r.entries, e)
		r.byID[s.ID] = e
	}
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	return r, nil
}

// check refuses a provider that could never be used.
func (e *entry) check(policy netguard.Policy) error {
	p := e.fixed()
	if e.issuer() != "" {
		p.TokenURL, p.AuthorizationURL = e.issuer(), e.issuer() // as far as is known
	}
	var problems []error
	if p.ID == "" {
		problems = append(problems, errors.New("the id is missing"))
	}
	if p.AuthorizationURL == "" {
		problems = append(problems, errors.New("an issuer or an authorization endpoint is missing"))
	}
	if err := p.Validate(); err != nil {
		return errors.Join(append(problems, err)...)
	}
	for name, text := range map[string]string{
		"issuer": e.issuer(), "token endpoint": p.TokenURL, "revocation endpoint": p.RevocationURL, "user information endpoint": p.UserInfoURL,
	} {
		if u, err := url.Parse(text); text != "" && (err != nil || policy.CheckURL(u) != nil) {
			problems = append(problems, fmt.Errorf("the %s is on an address that this server does not call", name))
		}
	}
	return errors.Join(problems...)
}

// Provider returns a provider that is ready to be called, with its client secret: it
// asks its issuer when it has to. NOT_FOUND: none has this id. UNAVAILABLE: its issuer
// does not say where its endpoints are.
func (r *Registry) Provider(ctx context.Context, id string) (refresh.Provider, error) {
	e, ok := r.byID[id]
	if !ok {
		return refresh.Provider{}, fault.New(fault.NotFound, "This server has no provider named %.64q. The operator sets providers up.", id)
	}
	if e.issuer() == "" {
		return e.fixed(), nil
	}
	return r.discovered(ctx, e)
}

// Has reports whether there is a provider of this id.
func (r *Registry) Has(id string) bool {
	_, ok := r.byID[id]
	return ok
}

// HoldsSecret reports whether this server is a confidential client of the provider:
// it holds the client secret, and so sees tokens when they are issued or refreshed.
func (r *Registry) HoldsSecret(id string) bool {
	e, ok := r.byID[id]
	return ok && e.setting.ClientSecret != ""
}

// List returns all providers in their configured order, without calling anyone.
func (r *Registry) List() []Summary {
	list := make([]Summary, len(r.entries))
	for i, e := range r.entries {
		list[i] = e.summary()
	}
	return list
}

// Describe returns one provider as List does.
func (r *Registry) Describe(id string) (Summary, bool) {
	e, ok := r.byID[id]
	if !ok {
		return Summary{}, false
	}
	return e.summary(), true
}

// Problems returns, by id, why providers cannot be used at the moment: for readiness
// (as a warning), metrics and an operator.
func (r *Registry) Problems() map[string]string {
	problems := map[string]string{}
	for _, e := range r.entries {
		if problem := e.problem(); problem != "" {
			problems[e.setting.ID] = problem
		}
	}
	return problems
}

func (e *entry) summary() Summary {
	name := e.setting.Name
	if name == "" {
		name = e.known.name
	}
	if name == "" {
		name = e.setting.ID
	}
	hosts := e.setting.AllowedHosts
	if hosts == nil {
		hosts = e.known.hosts
	}
	return Summary{
		AllowedHosts: slices.Clone(hosts),
		ID:           e.setting.ID, Name: name, Scopes: e.fixed().Scopes, HoldsSecret: e.setting.ClientSecret != "",
		ManageURL: e.known.manageURL, Problem: e.problem(),
	}
}
