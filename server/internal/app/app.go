// Package app puts the server together: New makes every part from a
// configuration, Run serves until its context ends. The commands of the binary
// and the end-to-end tests start the same App.
//
// It decides nothing by itself; it only knows who needs whom.
package app

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	jitter "math/rand/v2"
	"net"
	"net/http"
	"time"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/refresh"
	"github.com/tvzero/tokenvault/server/internal/accounts"
	"github.com/tvzero/tokenvault/server/internal/agents"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/cache"
	"github.com/tvzero/tokenvault/server/internal/config"
	"github.com/tvzero/tokenvault/server/internal/connect"
	"github.com/tvzero/tokenvault/server/internal/custody"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/server/internal/health"
	"github.com/tvzero/tokenvault/server/internal/platform"
	"github.com/tvzero/tokenvault/server/internal/providers"
	"github.com/tvzero/tokenvault/server/internal/refreshes"
	"github.com/tvzero/tokenvault/server/internal/renew"
	"github.com/tvzero/tokenvault/server/internal/vaults"
	"github.com/tvzero/tokenvault/server/internal/webhooks"
	"github.com/tvzero/tokenvault/webhook-sdk/mint"
	"github.com/tvzero/tokenvault/webhook-sdk/netguard"
)

// App is a server: one replica. Make it with New, then call Run once.
type App struct {
	config    config.Config
	logger    *slog.Logger
	store     *store.Store
	gate      *cache.Gate
	audit     *audit.Service
	grants    *grants.Service
	accounts  *accounts.Service
	platform  *platform.Service
	vaults    *vaults.Service
	agents    *agents.Service
	webhooks  *webhooks.Client
	providers *providers.Registry
	engine    *refresh.Engine // of platform vaults
	refreshes *refreshes.Service
	health    *health.Service
	verifier  *audit.Verifier
	renew     *renew.Service
	connect   *connect.Service
	outbound  *http.Client // for minting: to addresses that a credential names
	upstream  *http.Client // to providers, which an operator chose
	listener  net.Listener
	metrics   net.Listener // nil: none
	http      *http.Server
	seams     seams
}

// Limits of a call that turns a raw credential into a token.
const (
	mintTimeout = 10 * time.Second
	mintMaxBody = 1 << 20 // bytes
)

// A provider's answer is limited by package refresh, in time and size, more tightly
// than by these.
const (
	providerTimeout = 30 * time.Second
	providerMaxBody = 2 << 20 // bytes
)

// seams are what tests put in the place of the world. Zero fields are the world.
type seams struct {
	wait    func(ctx context.Context, d time.Duration) error // between two attempts at a webhook
	timeout time.Duration                                    // of an attempt
}

// New opens and migrates the database, makes every part, and listens; requests
// wait until Run. Close what New made by running it with an ended context.
func New(ctx context.Context, c config.Config, logger *slog.Logger) (*App, error) {
	return newApp(ctx, c, logger, seams{})
}

func newApp(ctx context.Context, c config.Config, logger *slog.Logger, world seams) (_ *App, err error) {
	keys, err := custody.ParseKeyring(c.ServerKeys)
	if err != nil {
		return nil, fmt.Errorf("TOKENVAULT_SERVER_KEYS: %w", err)
	}
	a := &App{config: c, logger: logger, gate: cache.NewGate(time.Now), seams: world}
	a.outbound = netguard.Policy{AllowPrivate: c.AllowPrivateNetworks, Timeout: mintTimeout, MaxBody: mintMaxBody}.Client()
	a.upstream = netguard.Policy{AllowPrivate: c.AllowPrivateNetworks, Timeout: providerTimeout, MaxBody: providerMaxBody}.Client()
	defer func() {
		if err != nil {
			err = errors.Join(err, a.close())
		}
	}()
	if err := a.listenOn(ctx); err != nil {
		return nil, err
	}
	if a.store, err = store.Open(ctx, store.Options{
		URL: c.DatabaseURL, Logger: logger, RefreshDue: refreshes.DueOf(time.Now, jitter.Float64),
	}); err != nil {
		return nil, fmt.Errorf("TOKENVAULT_DATABASE_URL: %w", err)
	}
	if err := a.store.Migrate(ctx); err != nil {
		return nil, fmt.Errorf("the database could not be migrated: %w", err)
	}
	a.store.OnChange(a.gate.Changed)
	if err := a.services(keys); err != nil {
		return nil, err
	}
	handler, err := a.doors()
	if err != nil {
		return nil, err
	}
	a.http = newHTTPServer(handler)
	return a, nil
}

// services makes the services, lowest first.
func (a *App) services(keys *custody.Keyring) (err error) {
	a.audit = audit.New(audit.Deps{Writer: a.store, Reader: a.store, Projector: a.store, Signer: keys, Now: time.Now, Logger: a.logger})
	a.verifier = audit.NewVerifier(audit.VerifierDeps{
		Chains: a.store, Verifications: a.store, Keys: keys, Written: func() int64 { return a.audit.Stats().Rows },
		Now: time.Now, Random: jitter.Float64, Logger: a.logger,
	})
	client := refresh.NewClient(a.upstream, time.Now)
	if a.providers, err = a.newProviders(client); err != nil {
		return err
	}
	a.engine = refresh.New(refresh.Deps{Client: client, Now: time.Now, Logger: a.logger})
	a.platform = platform.New(platform.Deps{
		Accounts: a.store, Vaults: a.store, VaultKeys: a.store, GrantRows: a.store, Slots: a.store, Tokens: a.store, Agents: a.store,
		Credentials: a.store, Wraps: a.store, Escrows: a.store, Leases: a.store, Engine: a.engine, Providers: a.providers,
		ConnectURL: func(t models.Token) string { return a.connect.ConnectURL(t) }, // which is made later
		Signed:     a.store, SignedVault: a.store, SignIn: a.store, KeyCounts: a.store, Holders: holders{a}, Audit: a.audit, Keyring: keys,
		Minters: mint.Set{mint.GCP{AllowedTokenHosts: a.config.GCPTokenHosts}}, Client: a.outbound, PlainHTTP: a.config.AllowPrivateNetworks,
		Gate: a.gate, Now: time.Now, Clock: a.store.Clock, Random: rand.Reader, Logger: a.logger,
	})
	a.grants = grants.New(grants.Deps{
		Store: a.store, Rows: a.store, Slots: a.store, VaultRows: a.store, Vaults: a.platform, Audit: a.audit,
		Keys: keys, Gate: a.gate, Now: time.Now, Random: rand.Reader, Logger: a.logger,
	})
	if a.accounts, err = accounts.New(accounts.Deps{
		Store: a.store, Profiles: a.store, Tries: a.store, Factors: a.store, Codes: a.store, Passkeys: a.store, Keys: keys, Sealer: keys,
		PublicURL: a.config.PublicURL, Grants: a.grants, Audit: a.audit, OpenRegistration: a.config.OpenRegistration,
		Now: time.Now, Random: rand.Reader, Logger: a.logger,
	}); err != nil {
		return err
	}
	a.webhooks = webhooks.New(webhooks.Options{
		AllowPrivate: a.config.AllowPrivateNetworks, Timeout: a.seams.timeout, Wait: a.seams.wait, Logger: a.logger,
	})
	a.vaults = vaults.New(vaults.Deps{
		Accounts: a.store, Bindings: a.store, Containers: a.store, Index: a.store, Finder: a.store, Keyring: keys,
		Pairing: a.webhooks, Documents: a.webhooks, Platform: a.platform, Moves: a.platform, Samples: a.store, Refreshes: a.store, Providers: a.providers,
		Audit: a.audit, History: a.audit, Gate: a.gate,
		AllowPrivate: a.config.AllowPrivateNetworks, OwnHost: a.config.PublicURL.Hostname(),
		Now: time.Now, Random: rand.Reader, Logger: a.logger,
	})
	a.agents = agents.New(agents.Deps{
		Store: a.store, GrantStore: a.store, Grants: a.grants, GrantRows: a.store, Vaults: a.vaults, Platform: a.platform, Audit: a.audit,
		Keys: keys, Gate: a.gate, Now: time.Now, Random: rand.Reader, Logger: a.logger,
	})
	a.refreshes = refreshes.New(refreshes.Deps{
		Leases: a.store, Outbox: a.store, Index: a.store, Webhooks: a.webhooks, Vaults: a.vaults, Providers: a.providers, Client: client,
		Keyring: keys, Audit: a.audit, Logger: a.logger, Now: time.Now, Limits: refreshes.Limits{Drain: refreshDrain},
	})
	a.health = health.New(health.Deps{
		Probes: a.store, Checker: a.vaults, Samples: a.store, Now: time.Now, Random: jitter.Float64, Logger: a.logger,
	})
	a.connect = connect.New(connect.Deps{
		Providers: a.providers, Client: client, HTTP: a.upstream, Vaults: a.vaults, Platform: a.platform, Keyring: keys, Used: a.store,
		Audit: a.audit, PublicURL: a.config.PublicURL, Now: time.Now, Random: rand.Reader, Logger: a.logger,
	})
	a.renew = renew.New(renew.Deps{
		Vaults: a.vaults, Platform: a.platform, Webhooks: a.refreshes, ConnectURL: a.connect.ConnectURL, Now: time.Now,
	})
	return nil
}

// newProviders makes the registry of what the operator set up.
func (a *App) newProviders(discoverer providers.Discoverer) (*providers.Registry, error) {
	settings := make([]providers.Setting, len(a.config.Providers))
	for i, p := range a.config.Providers {
		settings[i] = providers.Setting{
			ID: p.ID, Name: p.Name, Issuer: p.Issuer, AuthorizationURL: p.AuthorizationURL, TokenURL: p.TokenURL, RevocationURL: p.RevocationURL,
			UserInfoURL: p.UserInfoURL, ClientID: p.ClientID, ClientSecret: refresh.Secret(p.ClientSecret), AuthMethod: refresh.AuthMethod(p.AuthMethod),
			Scopes: p.Scopes, AllowedHosts: p.AllowedHosts, AuthorizationParams: p.AuthorizationParams, DefaultLifetime: p.DefaultLifetime,
		}
	}
	registry, err := providers.New(providers.Deps{
		Settings: settings, Discoverer: discoverer, Now: time.Now, Logger: a.logger, AllowPrivate: a.config.AllowPrivateNetworks,
	})
	if err != nil {
		return nil, fmt.Errorf("the configured providers: %w", err)
	}
	return registry, nil
}

// holders is grants for platform, which is made first: the two need each other, for
// a vault's life hangs on that of grants, and its keys on their tokens.
type holders struct{ app *App }

func (h holders) Keys(ctx context.Context, p grants.Principal) (*custody.Holder, error) {
	return h.app.grants.Keys(ctx, p)
}

func (h holders) RememberedKeys(ctx context.Context, p grants.Principal) (*custody.Holder, error) {
	return h.app.grants.RememberedKeys(ctx, p)
}

// listenOn takes the addresses first, so that a port that is taken is the first
// thing one hears of. A public URL with port 0 gets the port that port 0 became.
func (a *App) listenOn(ctx context.Context) (err error) {
	var network net.ListenConfig
	if a.listener, err = network.Listen(ctx, "tcp", a.config.Listen); err != nil {
		return fmt.Errorf("TOKENVAULT_LISTEN: %w", err)
	}
	if a.config.MetricsListen != "" {
		if a.metrics, err = network.Listen(ctx, "tcp", a.config.MetricsListen); err != nil {
			return fmt.Errorf("TOKENVAULT_METRICS_LISTEN: %w", err)
		}
	}
	if a.config.PublicURL.Port() == "0" {
		public := *a.config.PublicURL
		_, port, err := net.SplitHostPort(a.Address())
		if err != nil {
			return err
		}
		public.Host = net.JoinHostPort(public.Hostname(), port)
		a.config.PublicURL = &public
	}
	return nil
}

// Address is where the server listens: HOST:PORT.
func (a *App) Address() string { return a.listener.Addr().String() }

// URL is where people and agents reach it, without a slash at its end.
func (a *App) URL() string { return a.config.PublicURL.String() }
