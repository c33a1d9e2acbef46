package webhook_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	webhook "github.com/tvzero/tokenvault/webhook-sdk"
	"github.com/tvzero/tokenvault/webhook-sdk/storage"
	"github.com/tvzero/tokenvault/webhook-sdk/webhooktest"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// A logBuffer keeps what a webhook logs.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logBuffer) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func (l *logBuffer) option() webhooktest.Option {
	return func(c *webhook.Config) {
		c.Logger = slog.New(slog.NewJSONHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
}

func TestUnknownPathsAndMethodsAreAnsweredInJSON(t *testing.T) {
	t.Parallel()
	wh, tv, _ := bound(t)
	check := unchanged(t, wh)
	for _, path := range []string{"/", "/v1", "/v1/", "/v1/credential/", "/v2/health", "/connect/google", "/v1/../v1/credential", "/metrics",
		"/v1%2Fhealth", "/%62ind", "/v1/register%2durl", "//v1/health", "/v1/health/."} { // as a proxy's rules would not know them
		refused(t, tv.Do(tv.Request(http.MethodGet, path, nil)), http.StatusNotFound, "not_found")
	}
	for path, allow := range map[string]string{
		wire.PathHealth: "GET, POST", wire.PathStorage: "POST", wire.PathProxy: "POST", wire.PathExchange: "POST",
		wire.PathRegisterURL: "GET", wire.PathBind: "GET, POST", wire.PathStore: "OPTIONS, POST",
		wire.PathCredential: "GET, OPTIONS, POST", wire.PathTOTPCode: "GET, OPTIONS, POST", wire.PathRefresh: "POST",
	} {
		got := tv.Do(tv.Request(http.MethodDelete, path, nil))
		refused(t, got, http.StatusMethodNotAllowed, "method_not_allowed")
		if got.Header.Get("Allow") != allow {
			t.Errorf("%s allows %q, want %q", path, got.Header.Get("Allow"), allow)
		}
	}
	if got := tv.Do(tv.Request(http.MethodHead, wire.PathHealth, nil)); got.Status != http.StatusOK {
		t.Errorf("HEAD of health was answered %d, want 200", got.Status)
	}
	for _, path := range []string{wire.PathBind, wire.PathRegisterURL} { // they make codes and use links up
		if got := tv.Do(tv.Request(http.MethodHead, path, nil)); got.Status != http.StatusMethodNotAllowed {
			t.Errorf("HEAD of %s was answered %d, want 405", path, got.Status)
		}
	}
	head := tv.Request(http.MethodHead, wire.PathCredential+"?service=github&ticket="+tv.Sign(tv.Ticket(wire.PurposeUserReveal, "github")), nil)
	if got := tv.Do(head); got.Status != http.StatusMethodNotAllowed {
		t.Errorf("HEAD of a credential was answered %d, want 405", got.Status)
	}
	check()
}

func TestPagesOfTheBoundTVAloneMayRead(t *testing.T) {
	t.Parallel()
	wh, tv, c := bound(t, withAdmin)
	from := func(method, path, origin, asks string) webhooktest.Answer {
		r := tv.Request(method, path, nil)
		r.Header.Set("Origin", origin)
		if asks != "" {
			r.Header.Set("Access-Control-Request-Method", asks)
		}
		return tv.Do(r)
	}
	const ours, theirs = "http://127.0.0.1:8000", "https://attacker.example"
	for _, path := range []string{wire.PathStore, wire.PathCredential, wire.PathTOTPCode} {
		got := from(http.MethodOptions, path, ours, "POST")
		if got.Status != http.StatusNoContent || got.Header.Get("Access-Control-Allow-Origin") != ours ||
			got.Header.Get("Access-Control-Allow-Headers") != "Content-Type" || !strings.Contains(got.Header.Get("Access-Control-Allow-Methods"), "POST") {
			t.Errorf("%s: the preflight of TV was answered %d %v", path, got.Status, got.Header)
		}
		for _, origin := range []string{theirs, "null", "http://127.0.0.1:8000.attacker.example", "https://127.0.0.1:8000", "http://127.0.0.1"} {
			refused(t, from(http.MethodOptions, path, origin, "POST"), http.StatusForbidden, wire.CodeForbidden)
			got := from(http.MethodPost, path, origin, "")
			if allowed := got.Header.Get("Access-Control-Allow-Origin"); allowed != "" || got.Header.Get("Vary") != "Origin" {
				t.Errorf("%s: %s may read (%q), or caches may confuse it (Vary %q)", path, origin, allowed, got.Header.Get("Vary"))
			}
		}
	}
	if got := from(http.MethodGet, wire.PathHealth, ours, ""); got.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Error("pages may read health, want the three paths alone")
	}
	// Bound again to another TV: both for the time of the change, then the new one.
	r := tv.Request(http.MethodGet, wire.PathRegisterURL+"?tv="+theirs, nil)
	r.Header.Set(wire.HeaderAdminSecret, adminSecret)
	code := registration(t, tv.Do(r))
	tv.BindWith(code.Code, code.HMACHash)
	for _, origin := range []string{ours, theirs} {
		if got := from(http.MethodOptions, wire.PathStore, origin, "POST"); got.Status != http.StatusNoContent {
			t.Errorf("during the change %s was answered %d, want 204", origin, got.Status)
		}
	}
	c.move(wire.PreviousSecretLife)
	refused(t, from(http.MethodOptions, wire.PathStore, ours, "POST"), http.StatusForbidden, wire.CodeForbidden)
	_ = wh
}

// A panicking storage panics with a secret.
type panicking struct{ webhook.Storage }

func (panicking) Get(_ context.Context, collection, _ string) (storage.Item, error) {
	if collection == storage.CollectionTokens {
		panic("canary in a panic")
	}
	return storage.Item{}, storage.ErrNotFound
}

func TestAPanicIsAnInternalErrorWithoutDetail(t *testing.T) {
	t.Parallel()
	var log logBuffer
	wh := webhooktest.Start(t, t.TempDir(), log.option(), config(func(c *webhook.Config) { c.Storage = panicking{c.Storage} }))
	tv := webhooktest.NewTV(t, wh.URL)
	tv.Bind()
	got := tv.Redeem(wire.PathCredential, tv.Ticket(wire.PurposeUserReveal, "github"))
	refused(t, got, http.StatusInternalServerError, wire.CodeInternal)
	if strings.Contains(string(got.Body)+log.text(), "canary") {
		t.Errorf("the panic's value shows:\n%s\n%s", got.Body, log.text())
	}
	if !strings.Contains(log.text(), "handler_test.go") {
		t.Errorf("the log does not say where it was:\n%s", log.text())
	}
	accepted(t, tv.Health())
}

func TestTheLogHoldsNoSecretNorTicket(t *testing.T) {
	t.Parallel()
	var log logBuffer
	_, tv, _ := bound(t, log.option(), withAdmin)
	ticket := tv.Ticket(wire.PurposeUserReveal, "github")
	accepted(t, tv.Redeem(wire.PathCredential, ticket))
	tv.Redeem(wire.PathCredential, ticket)
	tv.Redeem(wire.PathCredential, tv.Ticket(wire.PurposeUserReveal, "gone"))
	tv.TryStore(tv.Ticket(wire.PurposeStore, "x"), map[string]any{"tokenType": "TOTP", "totpSecret": "canary"})
	register(tv, "canary-admin-secret")
	tv.Do(tv.Request(http.MethodGet, "/canary?x=canary", nil))
	text := log.text()
	if n := strings.Count(text, "request refused"); n != 4 {
		t.Errorf("%d refusals are logged, want 4:\n%s", n, text)
	}
	for _, secret := range []string{"canary", ticket.Nonce, tv.Sign(ticket)[:20], tv.Secret.Encode(), adminSecret} {
		if strings.Contains(text, secret) {
			t.Errorf("the log holds %q:\n%s", secret, text)
		}
	}
}

func TestASlowBodyIsGivenUp(t *testing.T) {
	t.Parallel()
	// The deadline is the connection's: here it has passed before the body comes.
	wh, tv, _ := bound(t)
	check := unchanged(t, wh)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		wh.ServeHTTP(expired{rw}, r)
	}))
	server.Start()
	t.Cleanup(server.Close)
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_, _ = io.WriteString(conn, "POST /v1/store HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{")
	answer, err := io.ReadAll(io.LimitReader(conn, 1000))
	if err != nil && len(answer) == 0 {
		t.Fatal(err)
	}
	if !strings.Contains(string(answer), "400 Bad Request") || !strings.Contains(string(answer), "did not arrive within 10s") {
		t.Errorf("a slow body was answered %q, want 400 and the reason", answer)
	}
	check()
	_ = tv
}

// expired is a connection whose read deadline has always just passed.
type expired struct{ http.ResponseWriter }

func (e expired) Unwrap() http.ResponseWriter { return e.ResponseWriter }

func (e expired) SetReadDeadline(time.Time) error {
	return http.NewResponseController(e.ResponseWriter).SetReadDeadline(time.Unix(1, 0))
}

func TestAWebhookIsMountedUnderAPath(t *testing.T) {
	t.Parallel()
	var mux http.ServeMux
	server := httptest.NewServer(&mux)
	t.Cleanup(server.Close)
	wh := webhooktest.Start(t, t.TempDir(), config(func(c *webhook.Config) { c.ExternalURL = server.URL + "/vault/" }))
	mux.Handle("/vault/", http.StripPrefix("/vault", wh))
	tv := webhooktest.NewTV(t, server.URL+"/vault")
	p := newBrowser(t).open(server.URL + "/vault/bind")
	p.wants(t, http.StatusOK, `href="/vault/bind/style.css"`, "url=/vault/bind?expired=1")
	link, fingerprint := p.consent(t)
	tv.BindWith(link.Query().Get("code"), fingerprint)
	tv.Store("github", plain("x"))
	if got := tv.AgentCredential("github")["accessToken"]; got != "x" {
		t.Errorf("the agent got %v, want x", got)
	}
}
