package browsertest

import (
	"context"
	"crypto/rand"
	"log/slog"
	"net/url"
	"sync"
	"testing"

	"github.com/tvzero/tokenvault/models/store/storetest"
	webhook "github.com/tvzero/tokenvault/webhook-sdk"
	"github.com/tvzero/tokenvault/webhook-sdk/mint"
	"github.com/tvzero/tokenvault/webhook-sdk/webhooktest"

	"github.com/tvzero/tokenvault/server/internal/app"
	"github.com/tvzero/tokenvault/server/internal/app/apptest"
	"github.com/tvzero/tokenvault/server/internal/config"
	"github.com/tvzero/tokenvault/server/internal/custody"
)

// AdminSecret lets a test bind a world's webhook again.
const AdminSecret = "the operator's own admin secret"

// A World is a running server, a webhook at another origin, and a person who can
// have an account there. The server is reached as localhost, as passkeys want it,
// the webhook as 127.0.0.1, so that the two are different sites to a browser, too.
type World struct {
	URL      string // of the server
	Server   *app.App
	Webhook  *webhooktest.Webhook
	Owner    *apptest.Owner // not registered yet
	Samples  []apptest.Sample
	Endpoint *apptest.TokenEndpoint // of the sample that is a service account

	t       testing.TB
	browser *chromium
}

// Each runs body as a parallel subtest on each database, in a world of its own.
func Each(t *testing.T, body func(t *testing.T, w *World), options ...func(*config.Config)) {
	t.Helper()
	for _, dialect := range storetest.Dialects {
		t.Run(dialect, func(t *testing.T) {
			t.Parallel()
			body(t, New(t, dialect, options...))
		})
	}
}

// New makes a world that ends with the test. It waits until few enough others are
// visited.
func New(t testing.TB, dialect string, options ...func(*config.Config)) *World {
	t.Helper()
	w := &World{t: t, browser: open(t)}
	w.browser.take(t)
	w.Samples, w.Endpoint = apptest.Samples(t)
	w.serve(storetest.Blank(t, dialect), options)
	w.Webhook = webhooktest.Start(t, t.TempDir(), func(c *webhook.Config) {
		c.AdminSecret = AdminSecret
		c.TokenVaultURL = w.URL
		c.Minters = mint.Set{mint.GCP{AllowedTokenHosts: []string{w.Endpoint.Host}}}
	})
	w.Owner = apptest.NewOwner(t, w.URL, "ada@example.com", apptest.NewClient(t, nil))
	return w
}

// serve starts the server.
func (w *World) serve(database string, options []func(*config.Config)) {
	w.t.Helper()
	keys, err := custody.GenerateKeyring(rand.Reader)
	if err != nil {
		w.t.Fatal(err)
	}
	c := config.Config{
		Listen: "127.0.0.1:0", PublicURL: &url.URL{Scheme: "http", Host: "localhost:0"}, DatabaseURL: database, ServerKeys: keys,
		AllowPrivateNetworks: true, OpenRegistration: true, GCPTokenHosts: []string{w.Endpoint.Host},
	}
	for _, option := range options {
		option(&c)
	}
	said := &output{}
	ctx, cancel := context.WithCancel(context.Background())
	if w.Server, err = app.New(ctx, c, slog.New(slog.NewTextHandler(said, nil))); err != nil {
		cancel()
		w.t.Fatalf("start the server: %v", err)
	}
	w.URL = w.Server.URL()
	ended := make(chan error, 1)
	go func() { ended <- w.Server.Run(ctx) }()
	var once sync.Once
	w.t.Cleanup(func() {
		once.Do(func() {
			cancel()
			if err := <-ended; err != nil {
				w.t.Errorf("the server ended with %v, want nil", err)
			}
			if w.t.Failed() {
				w.t.Logf("the server said at last:\n%s", said.last(4<<10))
			}
		})
	})
}

// Profile is a new browser, which nobody has signed in with.
func (w *World) Profile(t testing.TB) *Profile {
	t.Helper()
	p := newProfile(t, w.browser, w.URL, w.Webhook.URL)
	return p
}

// Page is a new tab of a profile, which shows nothing yet.
func (w *World) Page(t testing.TB, p *Profile) *Page {
	t.Helper()
	return newPage(t, p, w.URL)
}

// SignedIn is a new tab in a new browser with the owner's session.
func (w *World) SignedIn(t testing.TB) *Page {
	t.Helper()
	p := w.Profile(t)
	p.SetCookie(w.URL, w.Owner.Cookie)
	return w.Page(t, p)
}

// Bound registers the owner and binds the webhook, as the tests of the API do.
func (w *World) Bound() {
	w.t.Helper()
	w.Owner.Register()
	w.Owner.Bind(w.Webhook.URL, AdminSecret)
}
