package webhooks_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/webhooks"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

func TestHostileAnswersAreRefusedOnceAndSaidPlainly(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name   string
		answer func(w http.ResponseWriter)
		status int
		says   string // part of the message for the owner
	}{
		{"a page", func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", "text/html")
			_, _ = io.WriteString(w, "<html>")
		}, 200, "text/html"},
		{"no content type", func(w http.ResponseWriter) {
			w.Header()["Content-Type"] = nil
			_, _ = io.WriteString(w, healthy)
		}, 200, "instead of application/json"},
		{"no content", func(w http.ResponseWriter) { w.WriteHeader(204) }, 204, "instead of application/json"},
		{"compressed", func(w http.ResponseWriter) {
			w.Header().Set("Content-Encoding", "gzip")
			w.Header().Set("Content-Type", "application/json")
			z := gzip.NewWriter(w)
			_, _ = io.WriteString(z, healthy)
			_ = z.Close()
		}, 200, "compressed"},
		{"garbage", func(w http.ResponseWriter) { says(w, 200, `{"status":`) }, 200, "not the JSON"},
		{"trailing garbage", func(w http.ResponseWriter) { says(w, 200, healthy+`{}`) }, 200, "not the JSON"},
		{"other type", func(w http.ResponseWriter) { says(w, 200, `["healthy"]`) }, 200, "not the JSON"},
		{"deep", func(w http.ResponseWriter) {
			says(w, 200, `{"a":`+strings.Repeat("[", 5000)+strings.Repeat("]", 5000)+`}`)
		}, 200, "nests deeper"},
		{"huge", func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write(bytes.Repeat([]byte(" "), 1<<20+1))
		}, 0, "too large"},
		{"another's answer", func(w http.ResponseWriter) {
			says(w, 200, `{"status":"healthy","requestId":"someone-else"}`)
		}, 200, "another request"},
		{"redirect", func(w http.ResponseWriter) {
			w.Header().Set("Location", "https://elsewhere.example/")
			w.WriteHeader(307)
		}, 307, "redirect"},
		{"unwell", func(w http.ResponseWriter) { says(w, 200, `{"status":"sick\u001b[2J"}`) }, 200, "sick"},
		{"key that is none", func(w http.ResponseWriter) {
			says(w, 200, `{"status":"healthy","signKey":"AAAA"}`)
		}, 200, "signKey"},
		{"seal key that is none", func(w http.ResponseWriter) {
			says(w, 200, `{"status":"healthy","sealKey":{"id":"a b","kem":"x","key":"AAAA"}}`)
		}, 200, "sealKey"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h := newHook(t, func(_ int, w http.ResponseWriter, _ *http.Request) { c.answer(w) })
			_, err := h.client(patient).Health(t.Context(), h.target())
			wantCode(t, err, fault.WebhookUnavailable, c.status)
			wantCalls(t, h, 1)
			message := fault.From(err).Message
			if !strings.Contains(message, c.says) {
				t.Errorf("message %q, want it to say %q", message, c.says)
			}
			if strings.ContainsRune(message, '\x1b') {
				t.Errorf("message %q carries a control character", message)
			}
		})
	}
}

func TestARedirectIsNotFollowed(t *testing.T) {
	t.Parallel()
	var reached atomic.Int32
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		reached.Add(1)
		says(w, 200, healthy)
	}))
	t.Cleanup(elsewhere.Close)
	h := newHook(t, func(_ int, w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
	})
	_, err := h.client(patient).Health(t.Context(), h.target())
	wantCode(t, err, fault.WebhookUnavailable, 307)
	if n := reached.Load(); n != 0 {
		t.Errorf("the redirect was followed %d times, want 0", n)
	}
}

func TestPrivateAddressesAreNotCalledUnlessAllowed(t *testing.T) {
	t.Parallel()
	h := newHook(t, func(_ int, w http.ResponseWriter, _ *http.Request) { says(w, 200, healthy) })
	strict := webhooks.New(webhooks.Options{})
	for _, address := range []string{
		strings.Replace(h.URL, "http://", "https://", 1), h.URL, "https://[::ffff:127.0.0.1]:1", "https://localhost:1", "https://169.254.169.254",
	} {
		_, err := strict.Health(t.Context(), webhooks.Target{BaseURL: address, Secret: h.secret})
		wantCode(t, err, fault.WebhookUnavailable, 0)
		if message := fault.From(err).Message; strings.Contains(message, "127.0.0.1") {
			t.Errorf("message %q names an address of the private network", message)
		}
	}
	wantCalls(t, h, 0)
}

func TestForeignWordsAreClippedAndCleaned(t *testing.T) {
	t.Parallel()
	h := newHook(t, func(_ int, w http.ResponseWriter, _ *http.Request) {
		says(w, 422, `{"error":"odd","message":"`+strings.Repeat(`\n<b>`, 20_000)+`"}`)
	})
	err := h.client(patient).Delete(t.Context(), h.target(), wire.CollectionTokens, "x")
	wantCode(t, err, fault.WebhookUnavailable, 422)
	if whole := err.Error(); len(whole) > 2000 || strings.Contains(whole, "\n") {
		t.Errorf("the error has %d bytes or line breaks, want it short and on one line", len(whole))
	}
}

func TestASecretNeverShowsInWhatFails(t *testing.T) {
	t.Parallel()
	h := newHook(t, func(_ int, w http.ResponseWriter, _ *http.Request) {
		says(w, 200, `{"hmacSecret":"c2VjcmV0LXRoYXQtaXMtdG9vLXNob3J0"}`)
	})
	_, err := h.client(patient).Exchange(t.Context(), h.URL, "the-code")
	wantCode(t, err, fault.WebhookUnavailable, 200)
	if s := err.Error(); strings.Contains(s, "c2VjcmV0") || strings.Contains(s, "the-code") {
		t.Errorf("error %q holds the secret or the code", s)
	}
}
