package platform_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"flag"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/goleak"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/models/store/storetest"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/cache"
	"github.com/tvzero/tokenvault/server/internal/custody"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/server/internal/platform"
)

func TestMain(m *testing.M) {
	if os.Getenv(acceptingEnv) != "" {
		acceptUntilKilled()
	}
	if os.Getenv("RAPID_CHECKS") == "" { // make soak sets it; the command line wins
		if err := flag.Set("rapid.checks", "25"); err != nil {
			panic(err)
		}
	}
	goleak.VerifyTestMain(m)
}

// A world is the service with real grants and real custody on a real store.
type world struct {
	*platform.Service
	t       testing.TB
	deps    platform.Deps
	store   *store.Store
	keys    string // the server's
	ring    *custody.Keyring
	gate    *cache.Gate
	clock   *clock
	grants  *grants.Service
	audit   *recorder
	log     *logged
	account uuid.UUID
}

// each runs body in a world of its own on each database.
func each(t *testing.T, body func(w *world)) {
	t.Helper()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		t.Helper()
		body(newWorld(t, s))
	})
}

func newWorld(t testing.TB, s *store.Store) *world {
	t.Helper()
	return newWorldWith(t, s, func(*platform.Deps) {})
}

func newWorldWith(t testing.TB, s *store.Store, change func(d *platform.Deps)) *world {
	t.Helper()
	text, err := custody.GenerateKeyring(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, store: s, keys: text, ring: ringOf(t, text), clock: &clock{}, audit: &recorder{}, log: &logged{}}
	w.gate = cache.NewGate(w.clock.now)
	w.gate.Open()
	s.OnChange(w.gate.Changed)
	logger := slog.New(slog.NewTextHandler(w.log, nil))
	w.deps = platform.Deps{
		Accounts: s, Vaults: s, VaultKeys: s, GrantRows: s, Slots: s, Tokens: s, Agents: s, Credentials: s, Wraps: s, Escrows: s, Leases: s,
		Signed: s, SignedVault: s, SignIn: s, KeyCounts: s,
		Holders: holders{w}, Audit: w.audit, Keyring: w.ring, Gate: w.gate, Now: w.clock.now, Random: rand.Reader, Logger: logger,
	}
	change(&w.deps)
	w.Service = platform.New(w.deps)
	w.grants = grants.New(grants.Deps{
		Store: s, Rows: s, Slots: s, VaultRows: s, Vaults: w.Service, Audit: w.audit, Keys: w.ring, Gate: w.gate, Now: w.clock.now, Random: rand.Reader, Logger: logger,
	})
	account := models.Account{ID: models.NewID(), Email: models.NewID().String() + "@example.com", PasswordHash: models.Opaque("x")}
	if err := s.CreateAccount(t.Context(), &account); err != nil {
		t.Fatal(err)
	}
	w.account = account.ID
	return w
}

func ringOf(t testing.TB, text string) *custody.Keyring {
	t.Helper()
	ring, err := custody.ParseKeyring(text)
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

// holders are the grants of a world, which are made after the service.
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

// A recorder keeps the events that were recorded; it may be told to fail.
type recorder struct {
	mu     sync.Mutex
	events []audit.Event
	away   error
	refuse func(e audit.Event) error // nil: nothing
	during func()                    // runs when an event has been recorded
}

func (r *recorder) Record(_ context.Context, e audit.Event) error {
	r.mu.Lock()
	err, during := r.away, r.during
	if r.refuse != nil && err == nil {
		err = r.refuse(e)
	}
	if err == nil {
		r.events = append(r.events, e)
	}
	r.mu.Unlock()
	if err == nil && during != nil {
		during()
	}
	return err
}

func (r *recorder) Do(ctx context.Context, e audit.Event, do func(ctx context.Context) error) error {
	if err := r.Record(ctx, e); err != nil {
		return err
	}
	err := do(ctx)
	if err != nil {
		e.Outcome = fault.CodeOf(err)
		return errors.Join(err, r.Record(ctx, e))
	}
	return nil
}

// take returns what was recorded since it was last called.
func (r *recorder) take() []audit.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	events := r.events
	r.events = nil
	return events
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

// An agent is one with its key.
type agent struct {
	grants.Principal
	models.Agent
	token string
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// refused checks that err is a refusal with a code.
func (w *world) refused(err error, want fault.Code) {
	w.t.Helper()
	if got := fault.CodeOf(err); got != want {
		w.t.Errorf("got %v, want %s", err, want)
	}
}

func (w *world) principal(token string) grants.Principal {
	w.t.Helper()
	p, err := w.grants.Authenticate(w.t.Context(), token, models.GrantSession, models.GrantAPIKey, models.GrantAgentKey)
	w.must(err)
	return p
}

// session signs in.
func (w *world) session() grants.Principal {
	w.t.Helper()
	issued, err := w.grants.Issue(w.t.Context(), grants.IssueInput{
		AccountID: w.account, Kind: models.GrantSession, Label: "test", Life: grants.SessionLife, TokenLife: grants.SessionTokenLife,
	})
	w.must(err)
	return w.principal(issued.Token.Reveal())
}

// apiKey makes an API key of p's vault.
func (w *world) apiKey(p grants.Principal) grants.Principal {
	w.t.Helper()
	issued, err := w.grants.CreateKey(w.t.Context(), p, audit.Client{}, grants.CreateKeyInput{Name: "test", Scopes: grants.Scopes()})
	w.must(err)
	return w.principal(issued.Token.Reveal())
}

func (w *world) agent(name string) agent {
	w.t.Helper()
	ctx := w.t.Context()
	a := models.Agent{AccountID: w.account, ID: models.NewID(), Name: name, Status: models.AgentActive}
	issued, err := w.grants.Issue(ctx, grants.IssueInput{AccountID: w.account, Kind: models.GrantAgentKey, AgentID: &a.ID})
	w.must(err)
	a.GrantID = issued.Grant.ID
	w.must(w.store.CreateAgent(ctx, &a))
	token := issued.Token.Reveal()
	return agent{w.principal(token), a, token}
}

func ref(service string) platform.Ref { return platform.Ref{Service: service} }

func fieldsOf(t testing.TB, text string) map[string]json.RawMessage {
	t.Helper()
	var fields map[string]json.RawMessage
	if err := json.Unmarshal([]byte(text), &fields); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return fields
}

const plainKey = `{"tokenType": "PlainText", "accessToken": "%s"}`

func plain(secret string) string { return strings.ReplaceAll(plainKey, "%s", secret) }

// put stores a plain text credential.
func (w *world) put(p grants.Principal, service, secret string) models.Token {
	w.t.Helper()
	t, err := w.Store(w.t.Context(), p, audit.Client{}, ref(service), fieldsOf(w.t, plain(secret)))
	w.must(err)
	return t
}

// reveals checks what a user is shown.
func (w *world) reveals(p grants.Principal, service, want string) {
	w.t.Helper()
	got, err := w.Reveal(w.t.Context(), p, audit.Client{}, ref(service))
	if err != nil || got["accessToken"] != want {
		w.t.Errorf("%s: got %v, %v, want %q", service, got["accessToken"], err, want)
	}
}

// grant gives an agent a token, as the agents' service does.
func (w *world) grant(p grants.Principal, a agent, token models.Token) {
	w.t.Helper()
	w.must(w.tryGrant(p, a, token))
}

func (w *world) tryGrant(p grants.Principal, a agent, token models.Token) error {
	ctx := w.t.Context()
	h, err := w.grants.Keys(ctx, p)
	if err != nil {
		return err
	}
	defer h.Clear()
	g := models.CredentialGrant{
		AccountID: w.account, AgentID: a.AgentID, ServiceName: token.ServiceName, TokenID: token.ID,
		RefreshPolicy: models.RefreshAuto, CreatedAt: models.Stamp(w.clock.now()),
	}
	w.ring.SignCredentialGrant(&g)
	return w.store.InTx(ctx, func(ctx context.Context) error {
		to, err := w.store.Grant(ctx, w.account, a.Agent.GrantID)
		if err != nil {
			return err
		}
		if err := w.Entrust(ctx, h, token.ID, &to); err != nil {
			return err
		}
		return w.store.PutCredentialGrant(ctx, &g)
	})
}

// revoke takes a token from an agent, as the agents' service does.
func (w *world) revoke(a agent, token models.Token) {
	w.t.Helper()
	w.must(w.tryRevoke(a, token))
}

func (w *world) tryRevoke(a agent, token models.Token) error {
	return w.store.InTx(w.t.Context(), func(ctx context.Context) error {
		if err := w.store.DeleteCredentialGrant(ctx, w.account, a.AgentID, token.ServiceName); err != nil {
			return err
		}
		return w.Withdraw(ctx, w.account, token.ID, a.Agent.GrantID)
	})
}

// settle does what is due with p's keys.
func (w *world) settle(p grants.Principal) {
	w.t.Helper()
	h, err := w.grants.Keys(w.t.Context(), p)
	w.must(err)
	defer h.Clear()
	w.must(w.Settle(w.t.Context(), h))
}

// releases checks what an agent is given.
func (w *world) releases(a agent, token models.Token, want string) {
	w.t.Helper()
	got, err := w.ReleaseTo(w.t.Context(), a.Principal, token.ID)
	if err != nil || got["accessToken"] != want {
		w.t.Errorf("%s to %s: got %v, %v, want %q", token.ServiceName, a.Name, got["accessToken"], err, want)
	}
}

func (w *world) releaseRefused(a agent, token models.Token, want fault.Code) {
	w.t.Helper()
	got, err := w.ReleaseTo(w.t.Context(), a.Principal, token.ID)
	if got != nil || fault.CodeOf(err) != want {
		w.t.Errorf("%s to %s: got %v, %v, want %s", token.ServiceName, a.Name, got, err, want)
	}
}

func (w *world) vaultOf(p grants.Principal) models.Vault {
	w.t.Helper()
	v, err := w.store.Vault(w.t.Context(), w.account, p.VaultID)
	w.must(err)
	return v
}

func (w *world) credential(token models.Token) models.Credential {
	w.t.Helper()
	c, err := w.store.Credential(w.t.Context(), w.account, token.ID)
	w.must(err)
	return c
}

func (w *world) keysOf(token models.Token) []models.CredentialKey {
	w.t.Helper()
	keys, err := w.store.CredentialKeys(w.t.Context(), w.account, token.ID)
	w.must(err)
	return keys
}
