package app_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"

	webhook "github.com/tvzero/tokenvault/webhook-sdk"
	"github.com/tvzero/tokenvault/webhook-sdk/mint"
	"github.com/tvzero/tokenvault/webhook-sdk/webhooktest"

	"github.com/tvzero/tokenvault/server/internal/api/apitest"
	"github.com/tvzero/tokenvault/server/internal/app"
	"github.com/tvzero/tokenvault/server/internal/app/apptest"
	"github.com/tvzero/tokenvault/server/internal/config"
	"github.com/tvzero/tokenvault/server/internal/custody"
)

// TestMain lets the test binary be the server's binary, too: scripts and crash
// tests find it in PATH as tokenvault. When all tests have passed, no goroutine
// of any App may be left.
func TestMain(m *testing.M) {
	testscript.Main(leakChecked{m}, map[string]func(){
		"tokenvault": func() {
			ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			os.Exit(app.Main(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr))
		},
	})
}

type leakChecked struct{ m *testing.M }

func (l leakChecked) Run() int {
	code := l.m.Run()
	if code != 0 {
		return code
	}
	if err := goleak.Find(); err != nil {
		fmt.Fprintln(os.Stderr, "goroutines are left:", err)
		return 1
	}
	return 0
}

// adminSecret lets the test bind a webhook again.
const adminSecret = "the operator's own admin secret"

// newKeys makes the text of a server keyring.
func newKeys(t testing.TB) string {
	t.Helper()
	keys, err := custody.GenerateKeyring(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// A server is a running App.
type server struct {
	*app.App
	log    *syncBuffer
	cancel context.CancelFunc
	ended  chan error
	once   sync.Once
	t      testing.TB
}

// A setup is what a server under test is started with.
type setup struct {
	config.Config
	timeout time.Duration // of an attempt at a webhook; 0: the real one
}

// start runs a server on a database until the test ends. It does not pause
// between attempts at a webhook.
func start(t testing.TB, database, keys string, options ...func(*setup)) *server {
	t.Helper()
	public, err := url.Parse("http://127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := setup{Config: config.Config{
		Listen: "127.0.0.1:0", PublicURL: public, DatabaseURL: database, ServerKeys: keys, AllowPrivateNetworks: true, OpenRegistration: true,
	}}
	for _, option := range options {
		option(&c)
	}
	s := &server{log: &syncBuffer{}, ended: make(chan error, 1), t: t}
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	noPause := func(ctx context.Context, _ time.Duration) error { return ctx.Err() }
	s.App, err = app.NewImpatient(ctx, c.Config, slog.New(slog.NewTextHandler(s.log, nil)), noPause, c.timeout)
	if err != nil {
		cancel()
		t.Fatalf("New: %v", err)
	}
	go func() { s.ended <- s.Run(ctx) }()
	t.Cleanup(s.stop)
	return s
}

// stop ends the server in order. A second call does nothing.
func (s *server) stop() {
	s.once.Do(func() {
		s.cancel()
		if err := <-s.ended; err != nil {
			s.t.Errorf("Run returned %v, want nil after an orderly end", err)
		}
		if s.t.Failed() {
			s.t.Logf("the server said:\n%s", s.log)
		}
	})
}

// owner registers a person at a server. What it hears is held against
// docs/openapi.yaml.
func (s *server) owner(t testing.TB, email string) *apptest.Owner {
	t.Helper()
	o := apptest.NewOwner(t, s.URL(), email, newClient(t))
	o.Register()
	return o
}

// newClient makes a client that reports answers which docs/openapi.yaml does not
// describe.
func newClient(t testing.TB) *http.Client {
	t.Helper()
	spec := apitest.Load(t)
	return apptest.NewClient(t, func(next http.RoundTripper) http.RoundTripper { return spec.Transport(t, next) })
}

// startWebhook runs a webhook that mints at an endpoint (nil: nowhere).
func startWebhook(t testing.TB, endpoint *apptest.TokenEndpoint, options ...webhooktest.Option) *webhooktest.Webhook {
	t.Helper()
	return webhooktest.Start(t, t.TempDir(), append([]webhooktest.Option{func(c *webhook.Config) {
		c.AdminSecret = adminSecret
		if endpoint != nil {
			c.Minters = mint.Set{mint.GCP{AllowedTokenHosts: []string{endpoint.Host}}}
		}
	}}, options...)...)
}

// A syncBuffer is a log that is read while it is written.
type syncBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

var _ io.Writer = (*syncBuffer)(nil)

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}
