package web_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/web"
)

// logBuffer keeps what was logged.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// start runs an engine on which routes mounted something.
func start(t *testing.T, publicURL string, routes func(*gin.Engine)) (*httptest.Server, *logBuffer) {
	t.Helper()
	public, err := url.Parse(publicURL)
	if err != nil {
		t.Fatal(err)
	}
	logs := &logBuffer{}
	engine := web.NewEngine(web.Options{
		Logger: slog.New(slog.NewTextHandler(logs, nil)), PublicURL: public, Quiet: []string{"/api/quiet"},
	})
	routes(engine)
	// The server waits for a request's log line at Close only; the tests that read logs close it first.
	server := httptest.NewServer(engine)
	t.Cleanup(server.Close)
	return server, logs
}

type answer struct {
	status int
	header http.Header
	body   string
}

func do(t *testing.T, req *http.Request) answer {
	t.Helper()
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatalf("%s %s: %v", req.Method, req.URL, err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(body)}
}

func request(t *testing.T, method, url, body string, headers ...string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	return req
}

func wantProblem(t *testing.T, got answer, status int, code fault.Code) web.ProblemBody {
	t.Helper()
	var p web.ProblemBody
	if err := json.Unmarshal([]byte(got.body), &p); err != nil {
		t.Fatalf("status %d: body %q is no JSON: %v", got.status, got.body, err)
	}
	if got.status != status || p.Status != status || p.Code != code {
		t.Errorf("got status %d, body %+v; want %d %s", got.status, p, status, code)
	}
	if ct := got.header.Get("Content-Type"); ct != web.ContentTypeProblem {
		t.Errorf("Content-Type %q, want %q", ct, web.ContentTypeProblem)
	}
	if p.RequestID == "" || p.RequestID != got.header.Get("X-Request-Id") {
		t.Errorf("requestId %q, header %q; want the same, not empty", p.RequestID, got.header.Get("X-Request-Id"))
	}
	if p.Detail == "" || p.Title != http.StatusText(status) {
		t.Errorf("title %q, detail %q; want both to say something", p.Title, p.Detail)
	}
	return p
}

const canary = "canary-7f3a-secret"

func TestUnknownErrorsAndPanicsLeakNothing(t *testing.T) {
	t.Parallel()
	server, logs := start(t, "http://127.0.0.1", func(e *gin.Engine) {
		e.GET("/api/error", web.JSON(func(*gin.Context) error { return errors.New(canary + " from the database") }))
		e.GET("/api/wrapped", web.JSON(func(*gin.Context) error {
			return fault.Wrap(errors.New(canary), fault.Unavailable, "The database is away.")
		}))
		e.GET("/api/panic", web.JSON(func(c *gin.Context) error {
			c.Header("Location", canary)
			panic(canary)
		}))
		e.GET("/page/panic", web.JSON(func(*gin.Context) error { panic(canary) }))
	})
	wantProblem(t, do(t, request(t, "GET", server.URL+"/api/error", "")), 500, fault.Internal)
	wantProblem(t, do(t, request(t, "GET", server.URL+"/api/wrapped", "")), 503, fault.Unavailable)
	got := do(t, request(t, "GET", server.URL+"/api/panic", ""))
	wantProblem(t, got, 500, fault.Internal)
	if got.header.Get("Location") != "" {
		t.Errorf("headers %v; want those of the panicked handler gone", got.header)
	}
	if page := do(t, request(t, "GET", server.URL+"/page/panic", "")); page.status != 500 || strings.Contains(page.body, canary) {
		t.Errorf("page after a panic: %d %q; want 500 without the panic's value", page.status, page.body)
	}
	for _, path := range []string{"/api/error", "/api/wrapped", "/api/panic"} {
		if got := do(t, request(t, "GET", server.URL+path, "")); strings.Contains(got.body, canary) {
			t.Errorf("%s answered %q, which shows the cause", path, got.body)
		}
	}
	server.Close()
	if n := strings.Count(logs.String(), canary); n < 4 {
		t.Errorf("the log has the causes %d times, want each 5xx with its cause:\n%s", n, logs)
	}
}

func TestAnAnswerThatHasBegunIsCutOffNotMended(t *testing.T) {
	t.Parallel()
	server, _ := start(t, "http://127.0.0.1", func(e *gin.Engine) {
		e.GET("/api/half", web.JSON(func(c *gin.Context) error {
			_, _ = c.Writer.WriteString("half")
			c.Writer.Flush()
			return errors.New(canary)
		}))
	})
	resp, err := http.DefaultClient.Do(request(t, "GET", server.URL+"/api/half", ""))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err == nil || string(body) != "half" {
		t.Errorf("read %q, %v; want the first half and an error", body, err)
	}
}

func TestTheAccessLogShowsNoQueryNoHeaderAndNoPath(t *testing.T) {
	t.Parallel()
	server, logs := start(t, "http://127.0.0.1", func(e *gin.Engine) {
		e.GET("/api/things/:id", web.JSON(func(c *gin.Context) error { return web.WriteJSON(c, 200, "ok") }))
		e.GET("/api/quiet", web.JSON(func(c *gin.Context) error {
			if c.Query("fail") != "" {
				return fault.New(fault.NoGrant, "No.")
			}
			return web.WriteJSON(c, 200, "ok")
		}))
	})
	got := do(t, request(t, "GET", server.URL+"/api/things/"+canary+"?key="+canary, "", "Authorization", "Bearer "+canary, "X-Request-Id", "mine"))
	if got.status != 200 {
		t.Fatalf("status %d, want 200", got.status)
	}
	id := got.header.Get("X-Request-Id")
	if id == "mine" || id == "" {
		t.Errorf("request id %q; want one of the server's own", id)
	}
	do(t, request(t, "GET", server.URL+"/api/"+canary, ""))
	quiet := do(t, request(t, "GET", server.URL+"/api/quiet", "")).header.Get("X-Request-Id")
	loud := do(t, request(t, "GET", server.URL+"/api/quiet?fail=1", "")).header.Get("X-Request-Id")
	server.Close()
	text := logs.String()
	if strings.Contains(text, canary) {
		t.Errorf("the log shows what it must not:\n%s", text)
	}
	for _, want := range []string{"route=/api/things/:id", "status=200", "requestId=" + id, "route=none", "status=404", loud} {
		if !strings.Contains(text, want) {
			t.Errorf("the log lacks %q:\n%s", want, text)
		}
	}
	if strings.Contains(text, quiet) {
		t.Errorf("the log shows the success of a quiet route at the level of all others:\n%s", text)
	}
}

func TestUnknownAddressesAndMethodsAreAnsweredInTheDoorsOwnWay(t *testing.T) {
	t.Parallel()
	server, _ := start(t, "http://127.0.0.1", func(e *gin.Engine) {
		e.GET("/api/thing", web.JSON(func(c *gin.Context) error { return web.NoContent(c) }))
		e.DELETE("/api/thing", web.JSON(func(c *gin.Context) error { return web.NoContent(c) }))
	})
	wantProblem(t, do(t, request(t, "GET", server.URL+"/api/other", "")), 404, fault.NotFound)
	wantProblem(t, do(t, request(t, "GET", server.URL+"/api/thing/", "")), 404, fault.NotFound)
	if got := do(t, request(t, "GET", server.URL+"/elsewhere", "")); got.status != 404 || !strings.HasPrefix(got.header.Get("Content-Type"), "text/") {
		t.Errorf("outside /api: %d %s; want a 404 for people", got.status, got.header.Get("Content-Type"))
	}
	got := do(t, request(t, "POST", server.URL+"/api/thing", ""))
	wantProblem(t, got, 405, fault.MethodNotAllowed)
	if allow := got.header.Get("Allow"); allow != "GET, DELETE" {
		t.Errorf("Allow %q, want GET and DELETE", allow)
	}
	options := do(t, request(t, "OPTIONS", server.URL+"/api/thing", ""))
	if options.status != 204 || options.header.Get("Allow") != "GET, DELETE" || options.header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("OPTIONS: %d %v; want 204 with Allow and no CORS", options.status, options.header)
	}
}

func TestUnsafeRequestsFromOtherSitesAreRefused(t *testing.T) {
	t.Parallel()
	calls := 0
	server, _ := start(t, "https://vault.example", func(e *gin.Engine) {
		e.POST("/api/do", web.JSON(func(c *gin.Context) error { calls++; return web.NoContent(c) }))
		e.GET("/api/do", web.JSON(func(c *gin.Context) error { return web.NoContent(c) }))
	})
	for _, tt := range []struct {
		name    string
		method  string
		headers []string
		want    int
	}{
		{"cross-site by fetch metadata", "POST", []string{"Sec-Fetch-Site", "cross-site", "Cookie", "tv_session=x"}, 403},
		{"same-site is another site", "POST", []string{"Sec-Fetch-Site", "same-site"}, 403},
		{"foreign origin", "POST", []string{"Origin", "https://evil.example"}, 403},
		{"null origin", "POST", []string{"Origin", "null"}, 403},
		{"same origin", "POST", []string{"Sec-Fetch-Site", "same-origin"}, 204},
		{"the public URL", "POST", []string{"Origin", "https://vault.example"}, 204},
		{"no browser", "POST", nil, 204},
		{"a key that had to be known", "POST", []string{"Origin", "https://evil.example", "Authorization", "Bearer x"}, 204},
		{"Basic, which a browser adds by itself", "POST", []string{"Sec-Fetch-Site", "same-site", "Authorization", "Basic eDp5", "Cookie", "tv_session=x"}, 403},
		{"Bearer without a key", "POST", []string{"Sec-Fetch-Site", "cross-site", "Authorization", "Bearer "}, 403},
		{"reading", "GET", []string{"Sec-Fetch-Site", "cross-site"}, 204},
	} {
		before := calls
		got := do(t, request(t, tt.method, server.URL+"/api/do", "", tt.headers...))
		if got.status != tt.want {
			t.Errorf("%s: got %d %s, want %d", tt.name, got.status, got.body, tt.want)
		}
		if tt.want == 403 {
			wantProblem(t, got, 403, fault.CrossOrigin)
			if calls != before {
				t.Errorf("%s: the handler ran", tt.name)
			}
		}
	}
}

func TestEveryAnswerBearsTheSecurityHeaders(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ public, hsts string }{
		{"https://vault.example", "max-age=31536000"}, {"http://127.0.0.1:8000", ""},
	} {
		server, _ := start(t, tt.public, func(e *gin.Engine) {
			e.GET("/api/x", web.JSON(func(c *gin.Context) error { return web.WriteJSON(c, 200, 1) }))
		})
		for _, path := range []string{"/api/x", "/api/none", "/none"} {
			h := do(t, request(t, "GET", server.URL+path, "")).header
			if h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Cache-Control") != "no-store" ||
				h.Get("Referrer-Policy") != "no-referrer" || h.Get("Strict-Transport-Security") != tt.hsts {
				t.Errorf("%s %s: headers %v", tt.public, path, h)
			}
		}
	}
}

func TestAFailureSaysWhereToConnectAgainAndWhenToTryAgain(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		failure *fault.Error
		retry   string
	}{
		{&fault.Error{Code: fault.ReauthorizationRequired, Message: "Connect.", ConnectURL: "https://vault.example/connect/x"}, ""},
		{&fault.Error{Code: fault.RefreshFailed, Message: "Later.", RetryAfter: 1500 * time.Millisecond}, "2"},
		{&fault.Error{Code: fault.RefreshFailed, Message: "Later.", RetryAfter: time.Minute}, "60"},
	} {
		server, _ := start(t, "http://127.0.0.1:8000", func(e *gin.Engine) {
			e.GET("/api/x", web.JSON(func(*gin.Context) error { return tt.failure }))
		})
		got := do(t, request(t, "GET", server.URL+"/api/x", ""))
		p := wantProblem(t, got, web.Status(tt.failure.Code), tt.failure.Code)
		if p.Connect != tt.failure.ConnectURL || got.header.Get("Retry-After") != tt.retry {
			t.Errorf("%+v: connectUrl %q, Retry-After %q, want %q, %q", tt.failure, p.Connect, got.header.Get("Retry-After"), tt.failure.ConnectURL, tt.retry)
		}
	}
}

func TestStatusKnowsEveryCode(t *testing.T) {
	t.Parallel()
	for code, want := range map[fault.Code]int{
		fault.InvalidRequest: 400, fault.WrongVaultMode: 400, fault.BindCodeInvalid: 400, fault.WebhookMismatch: 422,
		fault.SignInRequired: 401, fault.LoginFailed: 401, fault.InvalidKey: 401,
		fault.NoGrant: 403, fault.GrantExpired: 403, fault.AgentInactive: 403, fault.ScopeDenied: 403,
		fault.RegistrationClosed: 403, fault.CrossOrigin: 403, fault.NotFound: 404, fault.TokenNotFound: 404, fault.TokenEmpty: 404,
		fault.MethodNotAllowed: 405, fault.Conflict: 409, fault.WebhookNotConfigured: 409, fault.TooLarge: 413,
		fault.UnsupportedMediaType: 415, fault.VaultLocked: 423, fault.RateLimited: 429, fault.Internal: 500,
		fault.WebhookUnavailable: 502, fault.WebhookAuthFailed: 502, fault.Unavailable: 503, "UNHEARD_OF": 500,
		fault.ReauthorizationRequired: 409, fault.RefreshFailed: 502,
	} {
		if got := web.Status(code); got != want {
			t.Errorf("Status(%s) = %d, want %d", code, got, want)
		}
	}
}

func TestASessionThatKeepsItsTokenIsInTheLog(t *testing.T) {
	t.Parallel()
	server, logs := start(t, "http://127.0.0.1:8000", func(e *gin.Engine) {
		for _, path := range []string{"/kept", "/api/quiet"} {
			e.GET(path, func(c *gin.Context) {
				web.FollowSession(c, web.Cookies{}, func(context.Context) (string, time.Time, error) {
					return "", time.Time{}, errors.New("the vault is in the way")
				})
				c.Status(http.StatusOK)
			})
		}
	})
	for _, path := range []string{"/kept", "/api/quiet"} {
		if got := do(t, request(t, "GET", server.URL+path, "")); got.status != http.StatusOK || got.header.Get("Set-Cookie") != "" {
			t.Errorf("%s: %d, cookie %q; want what was asked for, and the old token", path, got.status, got.header.Get("Set-Cookie"))
		}
	}
	server.Close()
	if n := strings.Count(logs.String(), "level=WARN") * strings.Count(logs.String(), "the vault is in the way"); n != 4 {
		t.Errorf("the log does not say twice that a session keeps its token, and why:\n%s", logs)
	}
}
