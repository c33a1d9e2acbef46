package refreshes_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	_ "github.com/jackc/pgx/v5/stdlib" // to look behind the store
	"go.uber.org/goleak"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/models/store/storetest"
	"github.com/tvzero/tokenvault/refresh"
	"github.com/tvzero/tokenvault/refresh/refreshtest"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/custody"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/server/internal/refreshes"
	"github.com/tvzero/tokenvault/server/internal/vaults"
	"github.com/tvzero/tokenvault/server/internal/webhooks"
	"github.com/tvzero/tokenvault/webhook-sdk/webhooktest"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what should happen at once.
const patience = time.Minute

// A world is one database, one provider of which this server is a client, and as many
// replicas as a test wants.
type world struct {
	t        testing.TB
	url      string
	db       *store.Store
	provider *refreshtest.Provider
	vaults   *fakeVaults
	keys     *custody.Keyring
	record   *record
	log      *syncBuffer
	limits   refreshes.Limits
}

// each runs body on both databases.
func each(t *testing.T, body func(t *testing.T, w *world)) {
	t.Helper()
	t.Parallel()
	storetest.EachURL(t, func(t *testing.T, url string) { body(t, newWorld(t, url)) })
}

func newWorld(t testing.TB, url string) *world {
	t.Helper()
	w := &world{
		t: t, url: url, provider: refreshtest.StartProvider(t, nil), log: &syncBuffer{},
		vaults: &fakeVaults{of: map[uuid.UUID]*vaults.Custody{}},
		limits: refreshes.Limits{Poll: 50 * time.Millisecond, FirstWait: 200 * time.Millisecond, LongWait: time.Second, BringTime: patience},
	}
	w.db = w.open()
	text, err := custody.GenerateKeyring(rand.Reader)
	w.check(err)
	keys, err := custody.ParseKeyring(text)
	w.check(err)
	w.keys = keys
	w.record = &record{Service: audit.New(audit.Deps{Writer: w.db, Reader: w.db, Signer: keys, Now: time.Now, Logger: slog.New(slog.DiscardHandler)}), told: make(chan struct{}, 1)}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.record.Run(ctx) }()
	t.Cleanup(func() {
		w.wantNoCanary()
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the record ended with %v", err)
		}
	})
	return w
}

// open opens the database, as a replica of its own.
func (w *world) open() *store.Store {
	w.t.Helper()
	db, err := store.Open(w.t.Context(), store.Options{URL: w.url, MaxConns: 8, RefreshDue: refreshes.DueOf(time.Now, func() float64 { return 0.5 })})
	w.check(err)
	w.t.Cleanup(func() { _ = db.Close() })
	return db
}

func (w *world) check(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// service makes a replica's service over the world's store. change alters its parts.
func (w *world) service(change ...func(*refreshes.Deps)) *refreshes.Service {
	w.t.Helper()
	return w.serviceOn(w.db, change...)
}

func (w *world) serviceOn(db *store.Store, change ...func(*refreshes.Deps)) *refreshes.Service {
	w.t.Helper()
	client := webhooks.New(webhooks.Options{
		AllowPrivate: true, Timeout: 2 * patience, Logger: slog.New(slog.NewTextHandler(w.log, nil)),
		Wait: func(ctx context.Context, _ time.Duration) error { return ctx.Err() },
	})
	w.t.Cleanup(client.CloseIdle)
	deps := refreshes.Deps{
		Leases: db, Outbox: db, Index: db, Webhooks: client, Vaults: w.vaults, Providers: registry{w.provider},
		Client: refresh.NewClient(w.provider.HTTP(), time.Now), Keyring: w.keys, Audit: w.record, Logger: slog.New(slog.NewTextHandler(w.log, nil)), Limits: w.limits,
	}
	for _, alter := range change {
		alter(&deps)
	}
	return refreshes.New(deps)
}

// run runs a service until the test ends, or stop is called.
func (w *world) run(s *refreshes.Service) (stop func()) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-ended; err != nil {
				w.t.Errorf("Run: %v", err)
			}
		})
	}
	w.t.Cleanup(stop)
	return stop
}

// An owner is an account with a webhook.
type owner struct {
	*world
	account, vault uuid.UUID
	tv             *webhooktest.TV // zero for one that others wrote
}

// bind makes an account whose webhook is at url.
func (w *world) bind(url string, secret wire.Secret, b models.Binding) *owner {
	w.t.Helper()
	now := time.Now()
	a := models.Account{ID: models.NewID(), Email: models.NewID().String() + "@example.com", CreatedAt: now, UpdatedAt: now}
	w.check(w.db.CreateAccount(w.t.Context(), &a))
	v := models.Vault{AccountID: a.ID, ID: models.NewID(), Mode: models.ModeWebhook, CreatedAt: now}
	w.check(w.db.CreateVault(w.t.Context(), &v))
	b.AccountID, b.VaultID, b.URL, b.State = a.ID, v.ID, url, models.BindingActive
	w.vaults.set(a.ID, &vaults.Custody{Mode: models.ModeWebhook, Binding: b, Secret: secret})
	return &owner{world: w, account: a.ID, vault: v.ID}
}

// real binds an account to a real webhook.
func (w *world) real(options ...webhooktest.Option) (*owner, *webhooktest.Webhook) {
	w.t.Helper()
	wh, tv := webhooktest.New(w.t, options...)
	var health wire.HealthResponse
	tv.Health().Decode(w.t, &health)
	b := models.Binding{WebhookID: health.WebhookID, Capabilities: health.Capabilities}
	if k := health.SealKey; k != nil {
		b.SealKey = k.ID + " " + k.KEM + " " + k.Key
	}
	o := w.bind(wh.URL, tv.Secret, b)
	o.tv = tv
	return o, wh
}

func (o *owner) principal() grants.Principal {
	return grants.Principal{AccountID: o.account, GrantID: models.NewID(), Kind: models.GrantSession}
}

// custody changes what is known of the owner's webhook.
func (o *owner) custody(change func(c *vaults.Custody)) {
	o.t.Helper()
	c, err := o.vaults.Custody(o.t.Context(), o.account)
	o.check(err)
	changed := *c
	change(&changed)
	o.vaults.set(o.account, &changed)
}

// index puts a token into the index, as a sync does.
func (o *owner) index(t models.Token) models.Token {
	o.t.Helper()
	t.TokenType, t.HasRefreshToken = models.TypeOAuth, true
	if t.Provider == "" {
		t.Provider = "test"
	}
	_, err := o.db.SyncTokens(o.t.Context(), o.account, o.vault, []models.Token{t}, false)
	o.check(err)
	found, err := o.db.Token(o.t.Context(), o.account, o.vault, t.ServiceName)
	o.check(err)
	return found
}

// expired puts a token into the index that expired a minute ago.
func (o *owner) expired(service string) models.Token {
	o.t.Helper()
	at := time.Now().Add(-time.Minute)
	return o.index(models.Token{ServiceName: service, CreationID: "creation of " + service, ExpiresAt: &at})
}

// store stores tokens at a real webhook that expired a minute ago, and indexes them.
func (o *owner) store(service string) (models.Token, refresh.Tokens) {
	o.t.Helper()
	tokens := o.provider.Issue("repo", "user")
	expired := time.Now().Add(-time.Minute)
	meta := o.tv.Store(service, map[string]any{
		"tokenType": "OAuth", "provider": "test", "accessToken": string(tokens.AccessToken), "refreshToken": string(tokens.RefreshToken),
		"expiresAt": expired.Format(time.RFC3339), "scopes": tokens.Scopes,
	})
	creation, _ := meta["creationId"].(string)
	expired = expired.Truncate(time.Second)
	return o.index(models.Token{ServiceName: service, CreationID: creation, ExpiresAt: &expired}), tokens
}

// row is what is known of a token's refreshes.
func (o *owner) row(t models.Token) models.Refresh {
	o.t.Helper()
	r, err := o.db.Refresh(context.WithoutCancel(o.t.Context()), t.AccountID, t.ID)
	o.check(err)
	return r
}

func (o *owner) token(t models.Token) models.Token {
	o.t.Helper()
	found, err := o.db.TokenByID(o.t.Context(), t.AccountID, t.ID)
	o.check(err)
	return found
}

// events are those of refreshes, oldest first: "outcome service detail".
func (o *owner) events() []string {
	o.t.Helper()
	rows, err := o.db.AuditEvents(context.WithoutCancel(o.t.Context()), o.account, models.AuditFilter{EventType: string(audit.Refresh), Limit: 1000})
	o.check(err)
	list := make([]string, len(rows))
	for i, row := range rows {
		list[len(rows)-1-i] = row.Outcome + " " + row.ServiceName + " " + row.Detail
	}
	return list
}

// until waits until something is so; whenever something is recorded, and now and
// then, it looks.
func (w *world) until(what string, is func() bool) {
	w.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	for !is() {
		select {
		case <-w.record.told:
		case <-tick.C:
		case <-limit.C:
			w.t.Fatalf("not so after %v: %s\nlog: %s", patience, what, w.log.text())
		}
	}
}

// ended waits until a token's refresh has ended in an outcome.
func (o *owner) ended(t models.Token, want refresh.Kind) models.Refresh {
	o.t.Helper()
	var r models.Refresh
	o.until(t.ServiceName+" "+string(want), func() bool {
		r = o.row(t)
		return r.Outcome == string(want) && r.LeaseID == nil
	})
	return r
}

func wantRow(t *testing.T, r models.Refresh, path string, kind refresh.Kind, reason refresh.Reason) {
	t.Helper()
	if r.Path != path || r.Outcome != string(kind) || r.Reason != string(reason) {
		t.Errorf("ended in %q by %q for %q, want %q by %q for %q", r.Outcome, r.Path, r.Reason, kind, path, reason)
	}
}

// wantNoCanary looks for tokens in the log and in all of the database. All secrets of
// the provider have "canary" in them.
func (w *world) wantNoCanary() {
	w.t.Helper()
	if text := w.log.text(); strings.Contains(text, "canary") {
		w.t.Errorf("the log holds a secret: %s", text)
	}
	driver, name := "pgx", w.url
	if path, isSQLite := strings.CutPrefix(w.url, "sqlite:"); isSQLite {
		driver, name = "sqlite", "file:"+path+"?_pragma=busy_timeout(10000)"
	}
	db, err := sql.Open(driver, name)
	w.check(err)
	defer func() { _ = db.Close() }()
	for _, table := range []string{"tokens", "refreshes", "outbox", "audit_events", "audit_blocks", "accounts", "vaults"} {
		w.wantNoCanaryIn(db, table)
	}
}

func (w *world) wantNoCanaryIn(db *sql.DB, table string) {
	w.t.Helper()
	rows, err := db.QueryContext(context.WithoutCancel(w.t.Context()), "SELECT * FROM "+table) // #nosec G202 -- a name from the list above
	if err != nil {
		if table != "audit_blocks" || !strings.HasPrefix(w.url, "sqlite:") { // which SQLite has not
			w.t.Errorf("%s could not be looked into: %v", table, err)
		}
		return
	}
	defer func() { _ = rows.Close() }()
	columns, err := rows.Columns()
	w.check(err)
	for rows.Next() {
		values, targets := make([]any, len(columns)), make([]any, len(columns))
		for i := range values {
			targets[i] = &values[i]
		}
		w.check(rows.Scan(targets...))
		for i, value := range values {
			text := fmt.Sprint(value)
			if raw, ok := value.([]byte); ok {
				text = string(raw)
			}
			if strings.Contains(text, "canary") {
				w.t.Errorf("%s.%s holds a secret: %q", table, columns[i], text)
			}
		}
	}
	w.check(rows.Err())
}

// A record is the real one, which tells when something is recorded.
type record struct {
	*audit.Service
	told chan struct{}

	mu   sync.Mutex
	away bool
}

func (r *record) setAway(away bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.away = away
}

func (r *record) Record(ctx context.Context, e audit.Event) error {
	r.mu.Lock()
	away := r.away
	r.mu.Unlock()
	if away {
		return fault.New(fault.Unavailable, "The record is away.")
	}
	err := r.Service.Record(ctx, e)
	select {
	case r.told <- struct{}{}:
	default:
	}
	return err
}

// fakeVaults knows webhooks, and notes which tokens were looked up.
type fakeVaults struct {
	mu     sync.Mutex
	of     map[uuid.UUID]*vaults.Custody
	synced []string
	onSync func(service string)
}

func (f *fakeVaults) set(account uuid.UUID, c *vaults.Custody) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.of[account] = c
}

func (f *fakeVaults) Custody(_ context.Context, account uuid.UUID) (*vaults.Custody, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if c := f.of[account]; c != nil {
		return c, nil
	}
	return nil, fault.New(fault.NotFound, "There is no such account.")
}

func (f *fakeVaults) Sync(_ context.Context, _ grants.Principal, _ audit.Client, service string) (int, error) {
	f.mu.Lock()
	f.synced = append(f.synced, service)
	onSync := f.onSync
	f.mu.Unlock()
	if onSync != nil {
		onSync(service)
	}
	return 1, nil
}

func (f *fakeVaults) syncs() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return strings.Join(f.synced, " ")
}

// registry has the one provider, of which this server holds the client secret.
type registry struct{ at *refreshtest.Provider }

func (r registry) Provider(_ context.Context, id string) (refresh.Provider, error) {
	if !r.Has(id) {
		return refresh.Provider{}, fault.New(fault.NotFound, "There is no provider %q.", id)
	}
	return r.at.Config(), nil
}

func (registry) Has(id string) bool         { return id == "test" }
func (registry) HoldsSecret(id string) bool { return id == "test" }

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) text() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// says writes a JSON answer that repeats the request's id.
func says(rw http.ResponseWriter, r *http.Request, status int, fields map[string]any) {
	answer := map[string]any{"requestId": r.Header.Get(wire.HeaderRequestID)}
	for name, value := range fields {
		answer[name] = value
	}
	rw.Header().Set("Content-Type", "application/json")
	rw.WriteHeader(status)
	_ = json.NewEncoder(rw).Encode(answer)
}
