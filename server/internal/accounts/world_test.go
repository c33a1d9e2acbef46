package accounts_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/goleak"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/server/internal/accounts"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/cache"
	"github.com/tvzero/tokenvault/server/internal/custody"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A world is the service on a real store, with real grants and a real record.
type world struct {
	*accounts.Service
	t       *testing.T
	store   *store.Store
	grants  *grants.Service
	keys    *custody.Keyring
	audit   *audit.Service
	log     *syncBuffer
	derived atomic.Int64 // argon2 derivations so far
	codes   []string     // for recovery, of the account that has a second factor
	later   atomic.Int64 // how much later than it is the service believes it to be
}

func (w *world) now() time.Time { return time.Now().Add(time.Duration(w.later.Load())) }

// A syncBuffer is a log that may be read while it is written.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func newWorld(t *testing.T, s *store.Store, open bool) *world {
	t.Helper()
	text, err := custody.GenerateKeyring(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := custody.ParseKeyring(text)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, store: s, keys: keys, log: &syncBuffer{}}
	logger := slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	gate := cache.NewGate(time.Now)
	gate.Open()
	s.OnChange(gate.Changed)
	w.audit = audit.New(audit.Deps{Writer: s, Reader: s, Signer: keys, Now: time.Now, Logger: logger})
	w.grants = grants.New(grants.Deps{Store: s, Keys: keys, Gate: gate, Now: time.Now, Random: rand.Reader, Logger: logger})
	w.Service = w.service(accounts.Deps{Store: s, Grants: w.grants, Audit: w.audit, OpenRegistration: open})

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

// service is one whose derivations are counted and cost next to nothing.
func (w *world) service(d accounts.Deps) *accounts.Service {
	w.t.Helper()
	d.Now, d.Random, d.Logger = w.now, rand.Reader, slog.New(slog.NewTextHandler(w.log, nil))
	if d.Keys == nil {
		d.Keys = w.keys
	}
	if d.PublicURL == nil {
		d.PublicURL = &url.URL{Scheme: "https", Host: "vault.example"}
	}
	d.Profiles, d.Tries, d.Factors, d.Codes, d.Passkeys, d.Sealer = w.store, w.store, w.store, w.store, w.store, w.keys
	s, err := accounts.New(d)
	if err != nil {
		w.t.Fatal(err)
	}
	s.OnDerivation(true, func(uint32, uint32, uint8) { w.derived.Add(1) })
	return s
}

var client = audit.Client{Address: "192.0.2.1", UserAgent: "curl/8", RequestID: "r-1"}

const password = "correct horse battery"

func (w *world) register(email string) accounts.SignIn {
	w.t.Helper()
	in, err := w.Register(w.t.Context(), accounts.RegisterInput{Email: email, Password: password, DisplayName: "A"}, client)
	if err != nil {
		w.t.Fatalf("Register(%q): %v", email, err)
	}
	return in
}

// events are the account's, oldest first, as "type outcome detail".
func (w *world) events(account uuid.UUID) (list []string) {
	w.t.Helper()
	page, err := w.audit.List(w.t.Context(), account, audit.Filter{Limit: audit.MaxLimit})
	if err != nil {
		w.t.Fatal(err)
	}
	for _, e := range page.Events {
		list = append([]string{fmt.Sprintf("%s %s %s", e.EventType, e.Outcome, e.Detail)}, list...)
	}
	return list
}

// sessions counts the account's grants that have not ended.
func (w *world) sessions(account uuid.UUID) (n int) {
	w.t.Helper()
	all, err := w.store.Grants(w.t.Context(), account)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, g := range all {
		if g.EndedAt == nil {
			n++
		}
	}
	return n
}

// signedIn demands that the sign-in's token is good, and its account's.
func (w *world) signedIn(in accounts.SignIn) grants.Principal {
	w.t.Helper()
	p, err := w.grants.Authenticate(w.t.Context(), in.Token.Reveal(), models.GrantSession)
	if err != nil || p.AccountID != in.AccountID || p.GrantID != in.GrantID || !p.ExpiresAt.Equal(in.ExpiresAt) {
		w.t.Fatalf("the session of %+v is %+v, %v", in, p, err)
	}
	return p
}

func refused(t *testing.T, what string, in accounts.SignIn, err error, code fault.Code, field string) {
	t.Helper()
	if f := fault.From(err); f == nil || f.Code != code || f.Field != field {
		t.Errorf("%s: got %v, want %s %s", what, err, code, field)
	}
	if in.Token.Reveal() != "" || in.AccountID != uuid.Nil || in.GrantID != uuid.Nil {
		t.Errorf("%s: the refusal comes with a session", what)
	}
}
