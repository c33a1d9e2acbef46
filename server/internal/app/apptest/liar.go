package apptest

import (
	"crypto/rand"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// A Liar is a webhook that somebody else wrote. It speaks the protocol, holds one
// token, and answers a path in another way when a test tells it to.
type Liar struct {
	URL    string
	Secret wire.Secret

	mu    sync.Mutex
	lies  map[string]http.HandlerFunc
	calls map[string]int
}

// Code is the registration code that a Liar takes, any number of times.
const Code = "code-of-a-liar"

// StartLiar serves until the test ends; service is the token that it lists.
func StartLiar(t testing.TB, service string) *Liar {
	t.Helper()
	secret, err := wire.GenerateSecret(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	l := &Liar{Secret: secret, lies: map[string]http.HandlerFunc{}, calls: map[string]int{}}
	truth := map[string]any{
		wire.PathExchange: wire.ExchangeResponse{HMACSecret: secret.Encode(), WebhookID: "liar", Version: wire.Version, Capabilities: []string{wire.CapStorage}},
		wire.PathHealth:   wire.HealthResponse{Status: wire.StatusHealthy, Version: wire.Version, KeyConfigured: true, WebhookID: "liar"},
		wire.PathStorage: wire.StorageResponse{Status: "ok", Items: []wire.StorageItem{{
			Key: service, Meta: json.RawMessage(`{"serviceName":"` + service + `","tokenType":"PlainText","creationId":"1"}`),
		}}},
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // only then does the context end when the caller leaves
		l.mu.Lock()
		l.calls[r.URL.Path]++
		lie := l.lies[r.URL.Path]
		l.mu.Unlock()
		if lie != nil {
			lie(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(truth[r.URL.Path])
	}))
	t.Cleanup(server.Close)
	l.URL = server.URL
	return l
}

// Lie makes the next requests to a path be answered by h; nil: truthfully. It
// forgets how often that path was called.
func (l *Liar) Lie(path string, h http.HandlerFunc) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lies[path], l.calls[path] = h, 0
}

// Calls counts the requests to a path since the last Lie about it.
func (l *Liar) Calls(path string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.calls[path]
}

// Link is what the Liar's registration URL would carry.
func (l *Liar) Link() Link { return Link{Code: Code, WebhookURL: l.URL, Hash: l.Secret.Hash()} }
