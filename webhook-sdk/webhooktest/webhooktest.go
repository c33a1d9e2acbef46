// Package webhooktest is for the tests of those who run or mount a webhook: it
// starts one on loopback with storage in a temporary folder, and plays the Token
// Vault server (TV) and its agents against it or against any other webhook.
//
//	wh, tv := webhooktest.New(t)
//	tv.Store("github", map[string]any{"tokenType": "PlainText", "accessToken": "ghp_…"})
//	token := tv.AgentCredential("github")
//
// It knows the protocol and nothing of the real TV: accounts, agents and policies
// are not here. It is for tests alone; nothing in it is hardened.
package webhooktest

import (
	"context"
	"crypto/rand"
	"errors"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"testing"
	"time"

	webhook "github.com/tvzero/tokenvault/webhook-sdk"
	"github.com/tvzero/tokenvault/webhook-sdk/custody"
	"github.com/tvzero/tokenvault/webhook-sdk/storage"
)

// A Webhook is a running one.
type Webhook struct {
	*webhook.Webhook
	URL     string // its base, http on loopback
	Dir     string // of its keys and its storage
	Storage webhook.Storage

	t      testing.TB
	now    func() time.Time
	server *http.Server
	served chan error
	files  *storage.File
	once   sync.Once
}

// An Option changes the configuration of the webhook under test, after the
// defaults were set.
type Option func(*webhook.Config)

// WithClock sets the webhook's clock. New gives its TV the same one.
func WithClock(now func() time.Time) Option {
	return func(c *webhook.Config) { c.Now = now }
}

// New starts a webhook and binds a TV to it. Both end with the test.
func New(t testing.TB, options ...Option) (*Webhook, *TV) {
	t.Helper()
	wh := Start(t, t.TempDir(), options...)
	tv := NewTV(t, wh.URL)
	if wh.now != nil {
		tv.Now = wh.now
	}
	tv.Bind()
	return wh, tv
}

// Start starts a webhook over the data folder dir, unbound unless the folder says
// otherwise. It may call private addresses and plain http, since in a test
// everything is on loopback. It ends with the test, or by Stop.
func Start(t testing.TB, dir string, options ...Option) *Webhook {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("webhooktest: no port on loopback: %v", err)
	}
	keys, err := custody.LoadOrCreate(filepath.Join(dir, "keys.json"), rand.Reader)
	if err != nil {
		t.Fatalf("webhooktest: the keys: %v", err)
	}
	files, err := storage.OpenFile(filepath.Join(dir, "data"), storage.FileOptions{})
	if err != nil {
		t.Fatalf("webhooktest: the storage: %v", err)
	}
	config := webhook.Config{
		Keys: keys, Storage: files, ExternalURL: "http://" + listener.Addr().String(),
		TokenVaultURL: "http://127.0.0.1:8000", LoopbackListener: true,
	}
	config.Outbound.AllowPrivate = true
	for _, option := range options {
		option(&config)
	}
	wh, err := webhook.New(config)
	if err != nil {
		t.Fatalf("webhooktest: the webhook: %v", err)
	}
	w := &Webhook{
		Webhook: wh, URL: "http://" + listener.Addr().String(), Dir: dir, Storage: config.Storage,
		t: t, now: config.Now, files: files, server: webhook.Server("", wh), served: make(chan error, 1),
	}
	go func() { w.served <- w.server.Serve(listener) }()
	t.Cleanup(w.Stop)
	return w
}

// Stop ends the webhook when running requests are done, and closes its folder. A
// second call does nothing.
func (w *Webhook) Stop() {
	w.once.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = w.server.Shutdown(ctx)
		if err := <-w.served; !errors.Is(err, http.ErrServerClosed) {
			w.t.Errorf("webhooktest: serving ended with %v, want %v", err, http.ErrServerClosed)
		}
		_ = w.Close()
		if err := w.files.Close(); err != nil {
			w.t.Errorf("webhooktest: closing the storage: %v", err)
		}
	})
}
