package webhooks_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/webhooks"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// patience is the client's timeout where a test waits for it to run out, and far
// more than a loopback call takes where it must not.
const (
	impatient = 100 * time.Millisecond
	patient   = 20 * time.Second
)

// A call is one request that a webhook of these tests got.
type call struct {
	Method, Path string
	Header       http.Header
	Body         []byte
}

func (c call) requestID(t *testing.T) string {
	t.Helper()
	var body struct {
		RequestID string `json:"requestId"`
	}
	if err := json.Unmarshal(c.Body, &body); err != nil {
		t.Fatalf("request body %q: %v", c.Body, err)
	}
	return body.RequestID
}

// A hook is a webhook that does what a test says, and a clock that the client's
// pauses move.
type hook struct {
	*httptest.Server
	secret wire.Secret

	mu    sync.Mutex
	calls []call
	waits []time.Duration
	at    time.Time
}

// newHook starts a webhook whose nth answer (from 0) answer gives.
func newHook(t *testing.T, answer func(n int, w http.ResponseWriter, r *http.Request)) *hook {
	t.Helper()
	secret, err := wire.NewSecret(bytes.Repeat([]byte{7}, wire.SecretSize))
	if err != nil {
		t.Fatal(err)
	}
	h := &hook{secret: secret, at: time.Unix(1_800_000_000, 0)}
	h.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		h.mu.Lock()
		n := len(h.calls)
		h.calls = append(h.calls, call{r.Method, r.URL.Path, r.Header.Clone(), body})
		h.mu.Unlock()
		r.Body = io.NopCloser(bytes.NewReader(body))
		answer(n, w, r)
	}))
	t.Cleanup(h.Close)
	return h
}

func (h *hook) target() webhooks.Target { return webhooks.Target{BaseURL: h.URL, Secret: h.secret} }

func (h *hook) seen() []call {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]call(nil), h.calls...)
}

func (h *hook) pauses() []time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]time.Duration(nil), h.waits...)
}

func (h *hook) now() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.at
}

// client waits by moving the clock.
func (h *hook) client(timeout time.Duration) *webhooks.Client { return h.clientOf(timeout, nil) }

// loggingClient is a patient client with a log.
func (h *hook) loggingClient(log *slog.Logger) *webhooks.Client { return h.clientOf(patient, log) }

func (h *hook) clientOf(timeout time.Duration, log *slog.Logger) *webhooks.Client {
	return webhooks.New(webhooks.Options{
		AllowPrivate: true, Timeout: timeout, Now: h.now, Logger: log,
		Wait: func(ctx context.Context, d time.Duration) error {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.waits, h.at = append(h.waits, d), h.at.Add(d)
			return ctx.Err()
		},
	})
}

// says writes a JSON answer.
func says(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body)
}

const healthy = `{"status":"healthy","version":"2.4.0","keyConfigured":true,"capabilities":["storage"],"uptime":1,"tokenCount":2}`

// wantCode fails unless err has the code and the HTTP status behind it.
func wantCode(t *testing.T, err error, code fault.Code, status int) {
	t.Helper()
	if got := fault.CodeOf(err); got != code {
		t.Errorf("code %q (%v), want %q", got, err, code)
	}
	if got := webhooks.StatusOf(err); got != status {
		t.Errorf("status behind the fault %d, want %d", got, status)
	}
}

func wantCalls(t *testing.T, h *hook, want int) {
	t.Helper()
	if got := len(h.seen()); got != want {
		t.Errorf("the webhook was called %d times, want %d", got, want)
	}
}
