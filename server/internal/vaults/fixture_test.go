package vaults_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/cache"
	"github.com/tvzero/tokenvault/server/internal/custody"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/server/internal/vaults"
	"github.com/tvzero/tokenvault/server/internal/webhooks"
	"github.com/tvzero/tokenvault/webhook-sdk/webhooktest"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// A world is the service over a real store, record and client, with one account.
type world struct {
	*vaults.Service
	t      testing.TB
	db     *store.Store
	record *record
	user   grants.Principal
	client audit.Client
}

// A record is the real one, which a test can take away.
type record struct {
	*audit.Service
	mu   sync.Mutex
	away bool
}

func (r *record) setAway(away bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.away = away
}

func (r *record) reach() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.away {
		return fault.New(fault.Unavailable, "The record is away.")
	}
	return nil
}

func (r *record) Record(ctx context.Context, e audit.Event) error {
	if err := r.reach(); err != nil {
		return err
	}
	return r.Service.Record(ctx, e)
}

func (r *record) Do(ctx context.Context, e audit.Event, do func(context.Context) error) error {
	if err := r.reach(); err != nil {
		return err
	}
	return r.Service.Do(ctx, e, do)
}

// newWorld makes a world over db. change alters what the service is made of.
func newWorld(t testing.TB, db *store.Store, change ...func(*vaults.Deps)) *world {
	t.Helper()
	return newWorldOf(t, db, "owner@example.com", change...)
}

// newWorldOf is newWorld for a store that has one already: another account of
// another replica.
func newWorldOf(t testing.TB, db *store.Store, email string, change ...func(*vaults.Deps)) *world {
	t.Helper()
	w := newService(t, db, change...)
	w.user = w.newUser(email)
	return w
}

func newService(t testing.TB, db *store.Store, change ...func(*vaults.Deps)) *world {
	t.Helper()
	text, err := custody.GenerateKeyring(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	keyring, err := custody.ParseKeyring(text)
	if err != nil {
		t.Fatal(err)
	}
	real := audit.New(audit.Deps{Writer: db, Reader: db, Signer: keyring, Now: time.Now, Logger: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- real.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("the record ended with %v", err)
		}
	})
	gate := cache.NewGate(time.Now)
	gate.Open()
	db.OnChange(gate.Changed)
	client := webhooks.New(webhooks.Options{
		AllowPrivate: true, Timeout: time.Minute, // no test waits for it
		Wait: func(ctx context.Context, _ time.Duration) error { return ctx.Err() },
	})
	t.Cleanup(client.CloseIdle)
	w := &world{t: t, db: db, record: &record{Service: real}, client: audit.Client{Address: "192.0.2.1", RequestID: "r1"}}
	deps := vaults.Deps{
		Accounts: db, Bindings: db, Containers: db, Index: db, Finder: db, Keyring: keyring, Pairing: client, Documents: client,
		Audit: w.record, History: real, Gate: gate, Now: time.Now, Random: rand.Reader, Logger: slog.New(slog.DiscardHandler), AllowPrivate: true,
	}
	for _, alter := range change {
		alter(&deps)
	}
	w.Service = vaults.New(deps)
	return w
}

// newUser makes an account and a session of it.
func (w *world) newUser(email string) grants.Principal {
	w.t.Helper()
	account := models.Account{ID: models.NewID(), Email: email, CreatedAt: models.Stamp(time.Now()), UpdatedAt: models.Stamp(time.Now())}
	if err := w.db.CreateAccount(w.t.Context(), &account); err != nil {
		w.t.Fatal(err)
	}
	return grants.Principal{AccountID: account.ID, GrantID: models.NewID(), Kind: models.GrantSession}
}

// registration asks a real webhook for a code, as its operator does.
func registration(t testing.TB, url string) vaults.BindInput {
	t.Helper()
	tv := webhooktest.NewTV(t, url)
	answer := tv.Do(tv.Request(http.MethodGet, wire.PathRegisterURL, nil))
	if answer.Status != http.StatusOK {
		t.Fatalf("register-url answered %d %s", answer.Status, answer.Body)
	}
	var said wire.RegisterURL
	answer.Decode(t, &said)
	return vaults.BindInput{Code: said.Code, WebhookURL: said.WebhookURL, Hash: said.HMACHash}
}

// bound is a world whose account is bound to a real webhook. The TV plays browsers
// and agents with what the service's tickets permit.
func bound(t testing.TB, db *store.Store, options ...webhooktest.Option) (*world, *webhooktest.Webhook, *webhooktest.TV) {
	t.Helper()
	w := newWorld(t, db)
	wh := webhooktest.Start(t, t.TempDir(), options...)
	w.bind(registration(t, wh.URL))
	tv := webhooktest.NewTV(t, wh.URL)
	tv.Owner, tv.Secret = w.user.AccountID.String(), w.secret()
	return w, wh, tv
}

func (w *world) bind(in vaults.BindInput) models.Binding {
	w.t.Helper()
	binding, err := w.Bind(w.t.Context(), w.user, w.client, in)
	if err != nil {
		w.t.Fatalf("Bind: %v", err)
	}
	return binding
}

// secret is that of the binding in use.
func (w *world) secret() wire.Secret {
	w.t.Helper()
	c, err := w.Custody(w.t.Context(), w.user.AccountID)
	if err != nil {
		w.t.Fatalf("Custody: %v", err)
	}
	return c.Secret
}

// binding is the stored one in a state, with ok false when there is none.
func (w *world) binding(state models.BindingState) (b models.Binding, ok bool) {
	w.t.Helper()
	b, err := w.db.BindingByState(w.t.Context(), w.user.AccountID, state)
	if err != nil && !errors.Is(err, models.ErrNotFound) {
		w.t.Fatal(err)
	}
	return b, err == nil
}

// events returns the account's record of one type, oldest first, as "outcome service detail".
func (w *world) events(kind audit.EventType) []string {
	w.t.Helper()
	rows, err := w.db.AuditEvents(w.t.Context(), w.user.AccountID, models.AuditFilter{EventType: string(kind), Limit: 1000})
	if err != nil {
		w.t.Fatal(err)
	}
	list := make([]string, len(rows))
	for i, row := range rows {
		list[len(rows)-1-i] = strings.Join([]string{row.Outcome, row.ServiceName, row.Detail}, " ")
	}
	return list
}

func (w *world) wantEvents(kind audit.EventType, want ...string) {
	w.t.Helper()
	got := w.events(kind)
	if len(got) != len(want) {
		w.t.Errorf("%s events %q, want %d like %q", kind, got, len(want), want)
		return
	}
	for i := range want {
		if !strings.HasPrefix(got[i], want[i]) {
			w.t.Errorf("%s event %d is %q, want it to begin %q", kind, i, got[i], want[i])
		}
	}
}

// names are the service names of the account's index.
func (w *world) names() string {
	w.t.Helper()
	list, _, err := w.Tokens(w.t.Context(), w.user, vaults.Page{})
	if err != nil {
		w.t.Fatalf("Tokens: %v", err)
	}
	names := make([]string, len(list))
	for i, v := range list {
		names[i] = v.Token.ServiceName
	}
	return strings.Join(names, " ")
}

func (w *world) wantNames(want string) {
	w.t.Helper()
	if got := w.names(); got != want {
		w.t.Errorf("the index holds %q, want %q", got, want)
	}
}

func (w *world) sync(service string) int {
	w.t.Helper()
	n, err := w.Sync(w.t.Context(), w.user, w.client, service)
	if err != nil {
		w.t.Fatalf("Sync(%q): %v", service, err)
	}
	return n
}

func wantCode(t *testing.T, err error, want fault.Code) {
	t.Helper()
	if got := fault.CodeOf(err); got != want {
		t.Errorf("code %q (%v), want %q", got, err, want)
	}
}

// canarySecret is a binding secret by which tests know their own webhooks.
func canarySecret(t *testing.T, b byte) wire.Secret {
	t.Helper()
	secret, err := wire.NewSecret(bytes.Repeat([]byte{b}, wire.SecretSize))
	if err != nil {
		t.Fatal(err)
	}
	return secret
}
