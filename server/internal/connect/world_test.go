package connect_test

import (
	"context"
	"crypto/rand"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/goleak"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/models/store/storetest"
	"github.com/tvzero/tokenvault/refresh"
	"github.com/tvzero/tokenvault/refresh/refreshtest"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/cache"
	"github.com/tvzero/tokenvault/server/internal/connect"
	"github.com/tvzero/tokenvault/server/internal/custody"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/server/internal/platform"
	"github.com/tvzero/tokenvault/server/internal/providers"
	"github.com/tvzero/tokenvault/server/internal/vaults"
	"github.com/tvzero/tokenvault/server/internal/webhooks"
	"github.com/tvzero/tokenvault/webhook-sdk/netguard"
	"github.com/tvzero/tokenvault/webhook-sdk/webhooktest"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A world is the service over real services, a real store and a provider on loopback.
type world struct {
	*connect.Service
	t        testing.TB
	store    *store.Store
	grants   *grants.Service
	platform *platform.Service
	vaults   *vaults.Service
	provider *refreshtest.Provider
	audit    *recorder
	log      *logged
	clock    *clock
	user     grants.Principal
}

// each runs body in a world of its own on each database.
func each(t *testing.T, body func(w *world)) {
	t.Helper()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		t.Helper()
		body(newWorld(t, s))
	})
}

// settings are the world's providers: one that is discovered, under two names, one of
// them without a secret.
func settings(p *refreshtest.Provider) []providers.Setting {
	c := p.Config()
	return []providers.Setting{
		{ID: "test", Name: "Test", Issuer: c.Issuer, ClientID: c.ClientID, ClientSecret: c.ClientSecret, Scopes: []string{"profile", "read"}, AllowedHosts: []string{"https://api.example.com"}},
		{ID: "public", Name: "Public", Issuer: c.Issuer, ClientID: c.ClientID, Scopes: []string{"read"}},
		{
			ID: "plain", AuthorizationURL: c.AuthorizationURL, TokenURL: c.TokenURL, UserInfoURL: c.UserInfoURL,
			ClientID: c.ClientID, ClientSecret: c.ClientSecret, Scopes: []string{"read"},
		},
		{ID: "stuck", AuthorizationURL: c.AuthorizationURL, TokenURL: c.TokenURL, RevocationURL: c.RevocationURL + "/not/here", ClientID: c.ClientID},
		{ID: "late", Issuer: c.Issuer + "/nobody", ClientID: c.ClientID},
	}
}

func newWorld(t testing.TB, s *store.Store) *world { t.Helper(); return newWorldWith(t, s) }

// newWorldWith is newWorld with more providers.
func newWorldWith(t testing.TB, s *store.Store, more ...providers.Setting) *world {
	t.Helper()
	text, err := custody.GenerateKeyring(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ring, err := custody.ParseKeyring(text)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, store: s, clock: &clock{}, audit: &recorder{}, log: &logged{}}
	w.provider = refreshtest.StartProvider(t, &refreshtest.Grants{Now: w.clock.now})
	gate := cache.NewGate(w.clock.now)
	gate.Open()
	s.OnChange(gate.Changed)
	logger := slog.New(slog.NewTextHandler(w.log, nil))
	w.platform = platform.New(platform.Deps{
		Accounts: s, Vaults: s, VaultKeys: s, GrantRows: s, Slots: s, Tokens: s, Agents: s, Credentials: s, Wraps: s, Escrows: s, Leases: s,
		Signed: s, SignedVault: s, SignIn: s, KeyCounts: s, PlainHTTP: true,
		Holders: holders{w}, Audit: w.audit, Keyring: ring, Gate: gate, Now: w.clock.now, Random: rand.Reader, Logger: logger,
	})
	w.grants = grants.New(grants.Deps{
		Store: s, Rows: s, Slots: s, VaultRows: s, Vaults: w.platform, Audit: w.audit, Keys: ring, Gate: gate, Now: w.clock.now, Random: rand.Reader, Logger: logger,
	})
	hooks := webhooks.New(webhooks.Options{AllowPrivate: true, Wait: func(ctx context.Context, _ time.Duration) error { return ctx.Err() }})
	w.vaults = vaults.New(vaults.Deps{
		Accounts: s, Bindings: s, Containers: s, Index: s, Keyring: ring, Pairing: hooks, Documents: hooks, Platform: w.platform, Moves: w.platform,
		Audit: w.audit, Gate: gate, Now: w.clock.now, Random: rand.Reader, Logger: logger, AllowPrivate: true,
	})
	guarded := netguard.Policy{AllowPrivate: true, Timeout: time.Minute}.Client()
	t.Cleanup(func() { hooks.CloseIdle(); guarded.CloseIdleConnections() })
	client := refresh.NewClient(guarded, w.clock.now)
	registry, err := providers.New(providers.Deps{
		Settings: append(settings(w.provider), more...), Discoverer: client, Now: w.clock.now, Logger: logger, AllowPrivate: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	public, err := url.Parse("https://vault.example")
	if err != nil {
		t.Fatal(err)
	}
	w.Service = connect.New(connect.Deps{
		Providers: registry, Client: client, HTTP: guarded, Vaults: w.vaults, Platform: w.platform, Keyring: ring, Used: s,
		Audit: w.audit, PublicURL: public, Now: w.clock.now, Random: rand.Reader, Logger: logger,
	})
	w.user = w.session(w.account())
	w.audit.take()
	return w
}

func (w *world) account() uuid.UUID {
	w.t.Helper()
	account := models.Account{ID: models.NewID(), Email: models.NewID().String() + "@example.com", PasswordHash: models.Opaque("x")}
	w.must(w.store.CreateAccount(w.t.Context(), &account))
	return account.ID
}

// session signs in.
func (w *world) session(account uuid.UUID) grants.Principal {
	w.t.Helper()
	issued, err := w.grants.Issue(w.t.Context(), grants.IssueInput{
		AccountID: account, Kind: models.GrantSession, Label: "test", Life: grants.SessionLife, TokenLife: grants.SessionTokenLife,
	})
	w.must(err)
	p, err := w.grants.Authenticate(w.t.Context(), issued.Token.Reveal(), models.GrantSession)
	w.must(err)
	return p
}

// again is the user as the next request brings him: with the vault that he has by then.
func (w *world) again() grants.Principal {
	w.t.Helper()
	p, err := w.grants.Authenticate(w.t.Context(), w.user.Token.Reveal(), models.GrantSession)
	w.must(err)
	w.user = p
	return p
}

// bind binds the account to a real webhook.
func (w *world) bind(options ...webhooktest.Option) (*webhooktest.Webhook, *webhooktest.TV) {
	w.t.Helper()
	wh := webhooktest.Start(w.t, w.t.TempDir(), options...)
	tv := webhooktest.NewTV(w.t, wh.URL)
	answer := tv.Do(tv.Request(http.MethodGet, wire.PathRegisterURL, nil))
	var said wire.RegisterURL
	answer.Decode(w.t, &said)
	_, err := w.vaults.Bind(w.t.Context(), w.user, audit.Client{}, vaults.BindInput{Code: said.Code, WebhookURL: said.WebhookURL, Hash: said.HMACHash})
	w.must(err)
	c, err := w.vaults.Custody(w.t.Context(), w.user.AccountID)
	w.must(err)
	tv.Owner, tv.Secret = w.user.AccountID.String(), c.Secret
	return wh, tv
}

// start begins a flow that must begin.
func (w *world) start(in connect.StartInput) connect.Redirect {
	w.t.Helper()
	r, err := w.Start(w.t.Context(), w.again(), audit.Client{}, in)
	if err != nil {
		w.t.Fatalf("Start(%+v): %v", in, err)
	}
	return r
}

// visit goes where a redirect leads, as a browser does whose owner agrees, and returns
// what it comes back with.
func (w *world) visit(r connect.Redirect) connect.Callback {
	w.t.Helper()
	client := netguard.Policy{AllowPrivate: true}.Client()
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, r.URL, nil)
	w.must(err)
	answer, err := client.Do(req)
	w.must(err)
	_ = answer.Body.Close()
	back, err := answer.Location()
	if err != nil {
		w.t.Fatalf("%s answered %d without a redirect", r.URL, answer.StatusCode)
	}
	if got := back.Scheme + "://" + back.Host + back.Path; got != "https://vault.example/oauth/callback" {
		w.t.Fatalf("the provider sends the browser to %s, want this server's callback", got)
	}
	q := back.Query()
	return connect.Callback{Cookie: r.Cookie, State: q.Get("state"), Code: refresh.Secret(q.Get("code")), Issuer: q.Get("iss"), Error: q.Get("error")}
}

// connect goes through a whole flow.
func (w *world) connect(in connect.StartInput) connect.Connected {
	w.t.Helper()
	out, err := w.Finish(w.t.Context(), w.user, audit.Client{}, w.visit(w.start(in)))
	if err != nil {
		w.t.Fatalf("Finish: %v", err)
	}
	w.again()
	return out
}

// reveal is what the vault holds.
func (w *world) reveal(service string) map[string]any {
	w.t.Helper()
	out, err := w.platform.Reveal(w.t.Context(), w.user, audit.Client{}, platform.Ref{Service: service})
	w.must(err)
	return out
}

// holds checks how many tokens the account has, whichever the mode.
func (w *world) holds(want int) {
	w.t.Helper()
	list, _, err := w.vaults.Tokens(w.t.Context(), w.again(), vaults.Page{})
	if err != nil || len(list) != want {
		w.t.Errorf("the account has %d tokens, %v; want %d", len(list), err, want)
	}
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) refused(what string, err error, want fault.Code, saying string) {
	w.t.Helper()
	if fault.CodeOf(err) != want || !strings.Contains(fault.From(err).Message, saying) {
		w.t.Errorf("%s: got %v, want %s saying %q", what, err, want, saying)
	}
}

// quiet checks that no secret of any flow was logged or recorded.
func (w *world) quiet(secrets ...string) {
	w.t.Helper()
	said := w.log.String() + w.audit.text()
	for _, secret := range append(secrets, "canary", "s3cret+of") {
		if secret != "" && strings.Contains(said, secret) {
			w.t.Errorf("%q was logged or recorded:\n%s", secret, said)
		}
	}
}

type holders struct{ w *world }

func (h holders) Keys(ctx context.Context, p grants.Principal) (*custody.Holder, error) {
	return h.w.grants.Keys(ctx, p)
}

func (h holders) RememberedKeys(ctx context.Context, p grants.Principal) (*custody.Holder, error) {
	return h.w.grants.RememberedKeys(ctx, p)
}

// A clock goes from the present, by what it was set ahead.
type clock struct {
	mu    sync.Mutex
	ahead time.Duration
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.ahead)
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead += d
}

// A recorder keeps the events that were recorded.
type recorder struct {
	mu     sync.Mutex
	events []audit.Event
	all    strings.Builder
}

func (r *recorder) Record(_ context.Context, e audit.Event) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
	r.all.WriteString(string(e.Type) + " " + e.Service + " " + e.Detail + "\n")
	return nil
}

func (r *recorder) Do(ctx context.Context, e audit.Event, do func(ctx context.Context) error) error {
	if err := r.Record(ctx, e); err != nil {
		return err
	}
	err := do(ctx)
	if err != nil {
		e.Outcome = fault.CodeOf(err)
		_ = r.Record(ctx, e)
	}
	return err
}

// take returns what was recorded since it was last called.
func (r *recorder) take() []audit.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	events := r.events
	r.events = nil
	return events
}

func (r *recorder) text() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.all.String()
}

// logged is a log that several goroutines write.
type logged struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
