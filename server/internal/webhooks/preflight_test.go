package webhooks_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/webhooks"
)

const healthyText = `{"status":"healthy","version":"2.4.0","keyConfigured":false,"capabilities":["storage","credential","store"]}`

func TestPreflightAsksOnceAndSendsNothingSecret(t *testing.T) {
	t.Parallel()
	h := newHook(t, func(_ int, w http.ResponseWriter, _ *http.Request) { says(w, 200, healthyText) })
	got := h.client(patient).Preflight(t.Context(), h.URL)
	if got.Err != nil || !got.Connected || got.TLS || got.Status != 200 || got.Health.Version != "2.4.0" {
		t.Errorf("got %+v, want a connection without TLS and a healthy webhook", got)
	}
	calls := h.seen()
	if len(calls) != 1 || calls[0].Method != http.MethodGet || calls[0].Path != "/v1/health" || len(calls[0].Body) != 0 {
		t.Fatalf("made %+v, want one GET of /v1/health without a body", calls)
	}
	for name := range calls[0].Header {
		switch name {
		case "User-Agent", "Accept", "Connection":
		default:
			t.Errorf("sent the header %s, want none but those that say who asks for what", name)
		}
	}
}

func TestPreflightSaysHowFarItCame(t *testing.T) {
	t.Parallel()
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	stranger := httptest.NewTLSServer(http.NotFoundHandler()) // nobody vouches for its certificate
	t.Cleanup(stranger.Close)
	stranger.Config.ErrorLog = nil
	for _, tt := range []struct {
		name      string
		url       string
		answer    http.HandlerFunc
		connected bool
		status    int
		says      string
	}{
		{"nobody listens", gone.URL, nil, false, 0, "could not be reached"},
		{"a certificate of its own making", stranger.URL, nil, true, 0, "TLS certificate is not valid"},
		{"another program", "", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>hello") }, true, 200, "instead of application/json"},
		{"nothing at the path", "", http.NotFound, true, 404, "nothing at this path"},
		{"a redirect", "", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://169.254.169.254/", http.StatusFound)
		}, true, 302, "redirect"},
		{"an endless answer", "", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, strings.Repeat(" ", 1<<20))
		}, true, 200, "too large"},
		{"one that is unwell", "", func(w http.ResponseWriter, _ *http.Request) { says(w, 200, `{"status":"on fire"}`) }, true, 200, "on fire"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h := newHook(t, func(_ int, w http.ResponseWriter, r *http.Request) { tt.answer(w, r) })
			address := tt.url
			if address == "" {
				address = h.URL
			}
			got := h.client(patient).Preflight(t.Context(), address)
			if got.Connected != tt.connected || got.TLS || got.Status != tt.status || fault.CodeOf(got.Err) != fault.WebhookUnavailable ||
				!strings.Contains(fault.From(got.Err).Message, tt.says) {
				t.Errorf("connected %v, TLS %v, status %d, %v; want connected %v, no TLS, status %d and words like %q",
					got.Connected, got.TLS, got.Status, got.Err, tt.connected, tt.status, tt.says)
			}
			if len(h.seen()) > 1 {
				t.Errorf("asked %d times, want once", len(h.seen()))
			}
		})
	}
}

func TestPreflightDoesNotCallPrivateAddresses(t *testing.T) {
	t.Parallel()
	h := newHook(t, func(_ int, w http.ResponseWriter, _ *http.Request) { says(w, 200, healthyText) })
	got := webhooks.New(webhooks.Options{}).Preflight(t.Context(), strings.Replace(h.URL, "http:", "https:", 1))
	if got.Connected || got.Status != 0 || !strings.Contains(fault.From(got.Err).Message, "private or reserved network") {
		t.Errorf("got %+v, want a refusal that names the private network", got)
	}
	if len(h.seen()) != 0 {
		t.Error("the private address was called")
	}
}
