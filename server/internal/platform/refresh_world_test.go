package platform_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/models/store/storetest"
	"github.com/tvzero/tokenvault/refresh"
	"github.com/tvzero/tokenvault/refresh/refreshtest"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/cache"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/server/internal/platform"
)

// A renewing world is one that refreshes, at a provider on loopback whose refresh
// tokens are good for one use.
type renewing struct {
	*world
	provider *refreshtest.Provider
	registry *registry
	engine   *refresh.Engine
}

// registry knows one provider.
type registry struct {
	mu   sync.Mutex
	here refresh.Provider
	away error
}

func (r *registry) Provider(_ context.Context, id string) (refresh.Provider, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.away != nil || id == r.here.ID {
		return r.here, r.away
	}
	return refresh.Provider{}, fault.New(fault.NotFound, "No provider %q.", id)
}

func (r *registry) set(away error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.away = away
}

// eachRenewing runs body in a renewing world of its own on each database.
func eachRenewing(t *testing.T, body func(t *testing.T, w *renewing)) {
	t.Helper()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		t.Helper()
		body(t, newRenewing(t, s, nil))
	})
}

// newRenewing makes one. change may change what it is made of, when all but it is; nil:
// nothing.
func newRenewing(t testing.TB, s *store.Store, change func(w *renewing, d *platform.Deps)) *renewing {
	t.Helper()
	return newRenewingAt(t, s, nil, change)
}

// newRenewingAt is newRenewing at a provider that serves others, too; nil: at one of its
// own.
func newRenewingAt(t testing.TB, s *store.Store, at *refreshtest.Provider, change func(w *renewing, d *platform.Deps)) *renewing {
	t.Helper()
	w := &renewing{provider: at}
	w.world = newWorldWith(t, s, func(d *platform.Deps) {
		if w.provider == nil {
			w.provider = refreshtest.StartProvider(t, &refreshtest.Grants{Now: d.Now})
		}
		w.registry = &registry{here: w.provider.Config()}
		w.engine = engineOf(t, w.provider, d.Now, 0)
		d.Engine, d.Providers, d.PlainHTTP = w.engine, w.registry, true
		d.ConnectURL = func(t models.Token) string {
			return "https://vault.example/connect/" + t.Provider + "?service=" + t.ServiceName
		}
		if change != nil {
			change(w, d)
		}
	})
	return w
}

// engineOf is an engine of one process, whose flights end before the test does. lease is
// the time of a lease; 0: the usual.
func engineOf(t testing.TB, p *refreshtest.Provider, now func() time.Time, lease time.Duration) *refresh.Engine {
	t.Helper()
	e := refresh.New(refresh.Deps{Client: refresh.NewClient(p.HTTP(), now), Now: now, LeaseTime: lease})
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := e.Wait(ctx); err != nil {
			t.Errorf("flights go on after the test: %v", err)
		}
	})
	return e
}

// replica is another process of the same installation, on another connection to its
// database.
func (w *renewing) replica(s *store.Store) *renewing {
	w.t.Helper()
	o := &world{t: w.t, store: s, keys: w.keys, ring: w.ring, clock: w.clock, audit: &recorder{}, log: &logged{}, account: w.account}
	o.gate = cache.NewGate(w.clock.now) // of what others change it is not told: it is as the moment before NOTIFY comes
	o.gate.Open()
	s.OnChange(o.gate.Changed)
	o.deps = w.deps
	d := &o.deps
	d.Accounts, d.Vaults, d.VaultKeys, d.GrantRows, d.Slots, d.Tokens, d.Agents, d.Credentials, d.Wraps, d.Escrows, d.Leases = s, s, s, s, s, s, s, s, s, s, s
	d.Signed, d.SignedVault, d.SignIn, d.KeyCounts = s, s, s, s
	d.Holders, d.Audit, d.Gate = holders{o}, o.audit, o.gate
	engine := engineOf(w.t, w.provider, w.clock.now, 0)
	d.Engine = engine
	o.Service = platform.New(o.deps)
	o.grants = grants.New(grants.Deps{
		Store: s, Rows: s, Slots: s, VaultRows: s, Vaults: o.Service, Audit: o.audit, Keys: w.ring, Gate: o.gate, Now: w.clock.now,
		Random: d.Random, Logger: slog.New(slog.NewTextHandler(o.log, nil)),
	})
	return &renewing{world: o, provider: w.provider, registry: w.registry, engine: engine}
}

// oauth is a token as a provider issued it, and as connecting stores it.
func (w *renewing) oauth(t refresh.Tokens, but map[string]any) map[string]json.RawMessage {
	w.t.Helper()
	c := w.provider.Config()
	data := map[string]any{
		"tokenType": "OAuth", "accessToken": string(t.AccessToken), "refreshToken": string(t.RefreshToken), "provider": c.ID,
		"tokenUrl": c.TokenURL, "issuer": c.Issuer, "clientId": c.ClientID, "scopes": t.Scopes,
		"issuedAt": w.clock.now().UTC().Format(time.RFC3339Nano),
	}
	if !t.ExpiresAt.IsZero() {
		data["expiresAt"] = t.ExpiresAt.UTC().Format("2006-01-02T15:04:05.000Z07:00")
	}
	for name, value := range but {
		data[name] = value
	}
	text, err := json.Marshal(data)
	w.must(err)
	return fieldsOf(w.t, string(text))
}

// connect stores a token of the provider's.
func (w *renewing) connect(p grants.Principal, service string, but map[string]any) models.Token {
	w.t.Helper()
	t, err := w.Store(w.t.Context(), p, audit.Client{}, ref(service), w.oauth(w.provider.Issue("repo"), but))
	w.must(err)
	return t
}

// expired lets an hour pass: so long live access tokens.
func (w *renewing) expired() { w.clock.pass(time.Hour + time.Second) }

// wantFresh checks that an answer has the provider's newest access token.
func (w *renewing) wantFresh(what string, got map[string]any, err error) {
	w.t.Helper()
	token, _ := got["accessToken"].(string)
	if err != nil || !w.provider.Newest(refresh.Secret(token)) {
		w.t.Errorf("%s: got %q, %v, want the newest access token", what, token, err)
	}
}

func (w *renewing) release(a agent, t models.Token) (map[string]any, error) {
	return w.ReleaseTo(w.t.Context(), a.Principal, t.ID)
}

func (w *renewing) reveal(p grants.Principal, service string) (map[string]any, error) {
	return w.Reveal(w.t.Context(), p, audit.Client{}, ref(service))
}

// stored is what is stored of a token, opened as its owner, without refreshing it.
func (w *renewing) stored(p grants.Principal, service string) map[string]any {
	w.t.Helper()
	deps := w.deps
	deps.Engine = nil
	got, err := platform.New(deps).Reveal(w.t.Context(), p, audit.Client{}, ref(service))
	w.must(err)
	return got
}

// usable checks that what is stored of a token can be refreshed.
func (w *renewing) usable(p grants.Principal, service string) {
	w.t.Helper()
	token, _ := w.stored(p, service)["refreshToken"].(string)
	if !w.provider.Usable(refresh.Secret(token)) {
		w.t.Errorf("%s: the refresh token that is stored, %q, is used up", service, token)
	}
}

func (w *renewing) row(t models.Token) models.Refresh {
	w.t.Helper()
	r, err := w.store.Refresh(w.t.Context(), w.account, t.ID)
	if err != nil && !errors.Is(err, models.ErrNotFound) {
		w.t.Fatal(err)
	}
	return r
}

func (w *renewing) token(t models.Token) models.Token {
	w.t.Helper()
	t, err := w.store.TokenByID(w.t.Context(), w.account, t.ID)
	w.must(err)
	return t
}

// refreshes are those that were recorded since take was called last.
func (w *renewing) refreshes() (found []audit.Event) {
	for _, e := range w.audit.take() {
		if e.Type == audit.Refresh {
			found = append(found, e)
		}
	}
	return found
}
