package agent_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tvzero/tokenvault/webhook-sdk/agent"
)

const key = "tvagent_test-key"

// stage is a server that redirects to a webhook; each can be told what to say.
type stage struct {
	server, webhook *httptest.Server
	atServer        http.HandlerFunc
	atWebhook       http.HandlerFunc
}

func newStage(t *testing.T) *stage {
	t.Helper()
	s := &stage{}
	s.webhook = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.atWebhook(w, r) }))
	s.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.atServer(w, r) }))
	t.Cleanup(s.webhook.Close)
	t.Cleanup(s.server.Close)
	s.atServer = func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", s.webhook.URL+"/v1/credential?ticket=t&service=github")
		w.WriteHeader(http.StatusTemporaryRedirect)
	}
	s.atWebhook = func(w http.ResponseWriter, _ *http.Request) {
		answer(w, 200, `{"token":{"accessToken":"ghp_1","tokenType":"PlainText","serviceName":"github","expiryTime":1900000000000}}`)
	}
	return s
}

func answer(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body)
}

func (s *stage) client(t *testing.T, o agent.Options) *agent.Client {
	t.Helper()
	c, err := agent.New(s.server.URL, key, o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestTheKeyGoesToTheServerAndNeverToTheWebhook(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	redirect := s.atServer
	s.atServer = func(w http.ResponseWriter, r *http.Request) {
		if got, want := r.Header.Get("Authorization"), "Bearer "+key; got != want {
			t.Errorf("the server got Authorization %q, want %q", got, want)
		}
		redirect(w, r)
	}
	release := s.atWebhook
	s.atWebhook = func(w http.ResponseWriter, r *http.Request) {
		var sent bytes.Buffer
		_ = r.Write(&sent)
		if strings.Contains(sent.String(), key) || r.Header.Get("Authorization") != "" || r.Header.Get("Referer") != "" {
			t.Errorf("the webhook got more than the ticket:\n%s", sent.String())
		}
		release(w, r)
	}
	got, err := s.client(t, agent.Options{}).Credential(context.Background(), "github")
	if err != nil {
		t.Fatal(err)
	}
	if got.AccessToken() != "ghp_1" || got.Type() != "PlainText" || got.Service() != "github" {
		t.Errorf("got %q of type %q for %q", got.AccessToken(), got.Type(), got.Service())
	}
	if at, ok := got.ExpiresAt(); !ok || !at.Equal(time.UnixMilli(1900000000000)) {
		t.Errorf("expires %v, %v", at, ok)
	}
}

func TestAnAnswerInPlaceIsACredentialToo(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.atServer = func(w http.ResponseWriter, _ *http.Request) {
		answer(w, 200, `{"accessToken":"123456","tokenType":"TOTP","remainingSeconds":12}`)
	}
	got, err := s.client(t, agent.Options{}).Credential(context.Background(), "code")
	if err != nil {
		t.Fatal(err)
	}
	if got.AccessToken() != "123456" || got.Remaining() != 12*time.Second {
		t.Errorf("got %q with %v remaining", got.AccessToken(), got.Remaining())
	}
}

func TestATicketThatRanOutIsReplacedOnce(t *testing.T) {
	t.Parallel()
	for failures, want := range map[int32]string{1: "ghp_1", 2: ""} {
		s := newStage(t)
		var calls atomic.Int32
		release := s.atWebhook
		s.atWebhook = func(w http.ResponseWriter, r *http.Request) {
			if calls.Add(1) <= failures {
				answer(w, 401, `{"error":"ticket_expired","message":"The ticket has expired."}`)
				return
			}
			release(w, r)
		}
		got, err := s.client(t, agent.Options{}).Credential(context.Background(), "github")
		if got.AccessToken() != want || (err == nil) != (want != "") {
			t.Errorf("after %d failures got %q, %v", failures, got.AccessToken(), err)
		}
		if calls.Load() != 2 {
			t.Errorf("the webhook was asked %d times, want 2", calls.Load())
		}
	}
}

func TestRefusalsSayWhoAndWhy(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.atServer = func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Request-Id", "R1")
		w.Header().Set("Retry-After", "7")
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(429)
		_, _ = io.WriteString(w, `{"code":"RATE_LIMITED","detail":"Slow down.","status":429}`)
	}
	_, err := s.client(t, agent.Options{}).Credential(context.Background(), "github")
	var refused *agent.Error
	if !errors.As(err, &refused) {
		t.Fatalf("got %v, want an *Error", err)
	}
	if refused.Code != "RATE_LIMITED" || refused.Status != 429 || refused.RetryAfter != 7*time.Second || refused.RequestID != "R1" || refused.Message != "Slow down." {
		t.Errorf("got %+v", refused)
	}
}

func TestHostileAnswersAreRefused(t *testing.T) {
	t.Parallel()
	for name, at := range map[string]http.HandlerFunc{
		"not JSON": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			_, _ = io.WriteString(w, "{}")
		},
		"garbage":       func(w http.ResponseWriter, _ *http.Request) { answer(w, 200, "{") },
		"no token":      func(w http.ResponseWriter, _ *http.Request) { answer(w, 200, "{}") },
		"another hop":   func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Location", "/x"); w.WriteHeader(307) },
		"huge":          func(w http.ResponseWriter, _ *http.Request) { answer(w, 200, strings.Repeat(" ", 5<<20)) },
		"token no JSON": func(w http.ResponseWriter, _ *http.Request) { answer(w, 200, `{"token":"x"}`) },
	} {
		s := newStage(t)
		s.atWebhook = at
		if got, err := s.client(t, agent.Options{}).Credential(context.Background(), "github"); err == nil {
			t.Errorf("%s: got %q, want an error", name, got.AccessToken())
		}
	}
	for name, location := range map[string]string{
		"plain http elsewhere": "http://webhook.example/v1/credential?ticket=SECRET-TICKET",
		"no host":              "/v1/credential?ticket=SECRET-TICKET",
		"file":                 "file:///etc/passwd",
		"none":                 "",
	} {
		s := newStage(t)
		s.atServer = func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", location)
			w.WriteHeader(http.StatusTemporaryRedirect)
		}
		_, err := s.client(t, agent.Options{}).Credential(context.Background(), "github")
		if err == nil || strings.Contains(err.Error(), "SECRET-TICKET") {
			t.Errorf("%s: got %v, want an error without the ticket", name, err)
		}
	}
}

func TestAnUnreachableWebhookLeaksNoTicket(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.webhook.Close()
	_, err := s.client(t, agent.Options{}).Credential(context.Background(), "github")
	if err == nil || strings.Contains(err.Error(), "ticket=") {
		t.Errorf("got %v, want an error without the ticket", err)
	}
}

func TestASlowWebhookEndsWithTheTimeout(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.atWebhook = func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	_, err := s.client(t, agent.Options{Timeout: 50 * time.Millisecond}).Credential(context.Background(), "github")
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the deadline", err)
	}
}

func TestNothingPrintsASecret(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	c := s.client(t, agent.Options{})
	got, err := c.Credential(context.Background(), "github")
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "credential", got, "client", c)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		_, _ = fmt.Fprintf(&log, verb+verb, got, c)
	}
	if strings.Contains(log.String(), "ghp_1") || strings.Contains(log.String(), key) {
		t.Errorf("a secret was printed:\n%s", log.String())
	}
	if text, err := json.Marshal(got); err == nil {
		t.Errorf("marshalled to %s, want an error", text)
	}
}

func TestAddressesAndKeysAreChecked(t *testing.T) {
	t.Parallel()
	for _, base := range []string{"", "vault.example", "http://vault.example", "https://u:p@vault.example", "https://vault.example?x=1", "ftp://localhost"} {
		if _, err := agent.New(base, key, agent.Options{}); err == nil {
			t.Errorf("the address %q was accepted", base)
		}
	}
	for _, bad := range []string{"", "tvagent_a b", "tvagent_a\n"} {
		if _, err := agent.New("https://vault.example", bad, agent.Options{}); err == nil || bad != "" && strings.Contains(err.Error(), bad) {
			t.Errorf("the key %q: got %v, want an error without it", bad, err)
		}
	}
}
