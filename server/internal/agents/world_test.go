package agents_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/goleak"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/server/internal/agents"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/cache"
	"github.com/tvzero/tokenvault/server/internal/custody"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/server/internal/vaults"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const webhookURL = "https://hook.example.com/base"

// A world is the service on a real store, with real grants and a real record.
type world struct {
	*agents.Service
	t      *testing.T
	deps   agents.Deps
	store  *store.Store
	gate   *cache.Gate
	clock  *clock
	vaults *vault
	audit  *recorder
	grants *grants.Service
	owner  grants.Principal
	secret wire.Secret
}

// A clock goes from the present, by what it was set to.
type clock struct {
	mu    sync.Mutex
	ahead time.Duration
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.ahead)
}

func (c *clock) set(ahead time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead = ahead
}

// A vault is where one account keeps its tokens; the index is the real one.
type vault struct {
	mu      sync.Mutex
	custody vaults.Custody
	away    error // what View answers
	id      uuid.UUID
	store   *store.Store
}

func (v *vault) set(change func(v *vault)) {
	v.mu.Lock()
	defer v.mu.Unlock()
	change(v)
}

func (v *vault) Custody(context.Context, uuid.UUID) (*vaults.Custody, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	c := v.custody
	return &c, nil
}

func (v *vault) Find(ctx context.Context, p grants.Principal, service string) (vaults.Found, error) {
	token, err := v.store.Token(ctx, p.AccountID, v.id, service)
	if errors.Is(err, models.ErrNotFound) {
		return vaults.Found{}, fault.New(fault.TokenNotFound, "There is no token named %q.", service)
	}
	return vaults.Found{Token: token, Mode: models.ModeWebhook}, err
}

// noPlatform is platform vaults for an account that has a webhook: there is nothing
// in them. (platform_test.go has the real ones.)
type noPlatform struct{ t *testing.T }

func (n noPlatform) Entrust(context.Context, *custody.Holder, uuid.UUID, *models.Grant) error {
	n.t.Error("a webhook's token was entrusted")
	return nil
}
func (noPlatform) Withdraw(context.Context, uuid.UUID, uuid.UUID, uuid.UUID) error { return nil }
func (noPlatform) Settle(context.Context, *custody.Holder) error                   { return nil }
func (n noPlatform) ReleaseTo(context.Context, grants.Principal, uuid.UUID, models.RefreshPolicy, []byte) (json.RawMessage, bool, error) {
	n.t.Error("a webhook's token was asked of the platform")
	return nil, false, nil
}

func (v *vault) View(ctx context.Context, account, id uuid.UUID) (vaults.TokenView, error) {
	v.mu.Lock()
	away := v.away
	v.mu.Unlock()
	if away != nil {
		return vaults.TokenView{}, away
	}
	token, err := v.store.TokenByID(ctx, account, id)
	return vaults.TokenView{Token: token, Trust: vaults.TVZero}, err
}

// A recorder is the real record, which can be made to refuse everything.
type recorder struct {
	*audit.Service
	mu     sync.Mutex
	refuse bool
}

var errNoRecord = fault.New(fault.Unavailable, "The audit record cannot be written.")

func (r *recorder) set(refuse bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refuse = refuse
}

func (r *recorder) refuses() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.refuse
}

func (r *recorder) Record(ctx context.Context, e audit.Event) error {
	if r.refuses() {
		return errNoRecord
	}
	return r.Service.Record(ctx, e)
}

func (r *recorder) Do(ctx context.Context, e audit.Event, do func(context.Context) error) error {
	if r.refuses() {
		return errNoRecord
	}
	return r.Service.Do(ctx, e, do)
}

func newWorld(t *testing.T, s *store.Store) *world {
	t.Helper()
	keys := ring(t)
	secret, err := wire.GenerateSecret(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, store: s, clock: &clock{}, secret: secret}
	w.gate = cache.NewGate(w.clock.now)
	w.gate.Open()
	s.OnChange(w.gate.Changed)
	logger := slog.New(slog.DiscardHandler)
	w.audit = &recorder{Service: audit.New(audit.Deps{Writer: s, Reader: s, Signer: keys, Now: w.clock.now, Logger: logger})}
	w.grants = grants.New(grants.Deps{Store: s, Keys: keys, Gate: w.gate, Now: w.clock.now, Random: rand.Reader, Logger: logger})
	w.vaults = &vault{store: s}
	w.bind()
	w.deps = agents.Deps{
		Store: s, GrantStore: s, Grants: w.grants, GrantRows: s, Vaults: w.vaults, Platform: noPlatform{t}, Audit: w.audit,
		Keys: keys, Gate: w.gate, Now: w.clock.now, Random: rand.Reader, Logger: logger,
	}
	w.Service = agents.New(w.deps)
	w.owner = w.account()
	w.vaults.id = models.NewID()
	w.check(s.CreateVault(t.Context(), &models.Vault{
		AccountID: w.owner.AccountID, ID: w.vaults.id, Mode: models.ModeWebhook, CreatedAt: time.Now(),
	}))

	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.audit.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("audit: %v", err)
		}
	})
	return w
}

func ring(t testing.TB) *custody.Keyring {
	t.Helper()
	text, err := custody.GenerateKeyring(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := custody.ParseKeyring(text)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func (w *world) check(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// bind puts the account into webhook mode, as it is at first.
func (w *world) bind() {
	w.vaults.set(func(v *vault) {
		v.custody = vaults.Custody{Mode: models.ModeWebhook, Binding: models.Binding{URL: webhookURL}, Secret: w.secret}
	})
}

// account makes an account and returns its owner.
func (w *world) account() grants.Principal {
	w.t.Helper()
	a := models.Account{ID: models.NewID(), Email: models.NewID().String() + "@example.com", CreatedAt: time.Now(), UpdatedAt: time.Now()}
	w.check(w.store.CreateAccount(w.t.Context(), &a))
	return grants.Principal{AccountID: a.ID, GrantID: models.NewID(), Kind: models.GrantSession}
}

// token puts a token of that name into the index.
func (w *world) token(service string) models.Token {
	w.t.Helper()
	token := models.Token{
		AccountID: w.owner.AccountID, ID: models.NewID(), VaultID: w.vaults.id, ServiceName: service, TokenType: wire.TypePlainText,
		CreationID: models.NewID().String(), CreatedAt: time.Now(), UpdatedAt: time.Now(),
	}
	w.check(w.store.PutToken(w.t.Context(), &token))
	return token
}

var client = audit.Client{Address: "192.0.2.1", UserAgent: "curl/8", RequestID: "r-1"}

// agent makes an agent and grants it the services, whose tokens it makes.
func (w *world) agent(name string, services ...string) (id uuid.UUID, key string) {
	w.t.Helper()
	created, err := w.Create(w.t.Context(), w.owner, client, agents.CreateInput{Name: name})
	w.check(err)
	for _, service := range services {
		if _, err := w.vaults.Find(w.t.Context(), w.owner, service); err != nil {
			w.token(service)
		}
		w.grant(created.Agent.ID, service)
	}
	return created.Agent.ID, created.Key.Reveal()
}

func (w *world) grant(id uuid.UUID, service string) models.CredentialGrant {
	w.t.Helper()
	g, err := w.Grant(w.t.Context(), w.owner, client, id, agents.GrantInput{ServiceName: service})
	w.check(err)
	return g
}

// released demands a release, and returns its ticket.
func (w *world) released(key, service string) wire.Ticket {
	w.t.Helper()
	r, err := w.Release(w.t.Context(), key, client, service, nil)
	if err != nil {
		w.t.Fatalf("Release(%q): %v", service, err)
	}
	return w.ticket(r.Location)
}

func (w *world) ticket(location string) wire.Ticket {
	w.t.Helper()
	u, err := url.Parse(location)
	w.check(err)
	if got := u.Scheme + "://" + u.Host + u.Path; got != webhookURL+wire.PathCredential {
		w.t.Fatalf("released at %s, want %s", got, webhookURL+wire.PathCredential)
	}
	ticket, _, err := wire.OpenTicket([]wire.Secret{w.secret}, u.Query().Get("ticket"), w.clock.now())
	w.check(err)
	if u.Query().Get("service") != ticket.Service || len(u.Query()) != 2 {
		w.t.Fatalf("released with %v, want the ticket and its service %q", u.Query(), ticket.Service)
	}
	return ticket
}

// refused demands a refusal, on record, and without a ticket.
func (w *world) refused(what, key, service string, code fault.Code) {
	w.t.Helper()
	r, err := w.Release(w.t.Context(), key, client, service, nil)
	if fault.CodeOf(err) != code || r.Location != "" {
		w.t.Fatalf("%s: got %q, %v; want %s", what, r.Location, err, code)
	}
	if got := w.last(); code != fault.InvalidKey && code != fault.InvalidRequest && got != fmt.Sprintf("refusal %s %s", code, service) {
		w.t.Fatalf("%s: last on record is %q, want the refusal", what, got)
	}
}

// events are the owner's, oldest first, as "type outcome service detail".
func (w *world) events() (list []string) {
	w.t.Helper()
	page, err := w.audit.List(w.t.Context(), w.owner.AccountID, audit.Filter{Limit: audit.MaxLimit})
	w.check(err)
	for _, e := range page.Events {
		list = append([]string{line(e)}, list...)
	}
	return list
}

func line(e models.AuditEvent) string {
	return strings.TrimSpace(strings.Join([]string{e.EventType, e.Outcome, e.ServiceName, e.Detail}, " "))
}

func (w *world) last() string {
	w.t.Helper()
	page, err := w.audit.List(w.t.Context(), w.owner.AccountID, audit.Filter{Limit: 1})
	w.check(err)
	return line(page.Events[0])
}

// liveKeys counts the agent keys of the owner's account that have not ended.
func (w *world) liveKeys() (n int) {
	w.t.Helper()
	all, err := w.store.Grants(w.t.Context(), w.owner.AccountID)
	w.check(err)
	for _, g := range all {
		if g.Kind == models.GrantAgentKey && g.EndedAt == nil {
			n++
		}
	}
	return n
}

func mustBe(t *testing.T, what string, err error, code fault.Code) {
	t.Helper()
	if fault.CodeOf(err) != code {
		t.Errorf("%s: got %v, want %q", what, err, code)
	}
}

func ptr[T any](v T) *T { return &v }
