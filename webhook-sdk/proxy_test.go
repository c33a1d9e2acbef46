package webhook_test

import (
	"bufio"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	webhook "github.com/tvzero/tokenvault/webhook-sdk"
	"github.com/tvzero/tokenvault/webhook-sdk/webhooktest"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

var bearer = map[string]string{"authorization": "Bearer ${TOKEN}"}

// upstream is an API on loopback, and a token that may go there.
func upstream(t *testing.T, tv *webhooktest.TV, handler http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	tv.Store("api", map[string]any{"tokenType": "PlainText", "accessToken": "ghp_canary/+=", "allowedHosts": []string{server.URL}})
	return server.URL
}

func countingUpstream(t *testing.T) (string, func() int64) {
	t.Helper()
	var calls atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { calls.Add(1) }))
	t.Cleanup(server.Close)
	return server.URL, calls.Load
}

func TestAProxiedCallBearsTheCredentialAndComesBackAsItIs(t *testing.T) {
	t.Parallel()
	wh, tv, _ := bound(t)
	got := make(chan *http.Request, 1)
	base := upstream(t, tv, func(rw http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		copied := r.Clone(r.Context())
		copied.Header.Set("Body", string(body))
		got <- copied
		h := rw.Header()
		h.Set("X-Api", "yes")
		h.Set("Connection", "X-Private")
		h.Set("X-Private", "hop")
		h.Set("Keep-Alive", "timeout=5")
		h.Set("X-Upstream-Status", "200")
		h.Set("Content-Type", "text/plain")
		rw.WriteHeader(http.StatusTeapot)
		_, _ = io.WriteString(rw, "short and stout")
	})
	answer := tv.Proxy("api", wire.ProxyUpstream{
		URL: base + "/v1/things?q=1#part", Method: "POST", Body: base64.StdEncoding.EncodeToString([]byte("hello")),
		Headers: map[string]string{
			"Accept": "text/plain", "Host": "attacker.example", "Authorization": "Bearer mine", "Connection": "X-Hop", "X-Hop": "1",
			"Transfer-Encoding": "chunked", "Te": "trailers", "X-TokenVault-Signature": "x", "Accept-Encoding": "gzip", "Content-Length": "99",
		},
	}, map[string]string{"authorization": "Bearer ${TOKEN}", "X-Twice": "${TOKEN}:${TOKEN}"})
	sent := <-got
	if sent.Method != "POST" || sent.URL.String() != "/v1/things?q=1" || "http://"+sent.Host != base || sent.Header.Get("Body") != "hello" {
		t.Errorf("the upstream got %s %s at %s with %q", sent.Method, sent.URL, sent.Host, sent.Header.Get("Body"))
	}
	for name, want := range map[string]string{
		"Authorization": "Bearer ghp_canary/+=", "X-Twice": "ghp_canary/+=:ghp_canary/+=", "Accept": "text/plain",
		"X-Hop": "", "Te": "", "X-Tokenvault-Signature": "", "Accept-Encoding": "", "User-Agent": "",
	} {
		if got := sent.Header.Get(name); got != want {
			t.Errorf("the upstream got %s %q, want %q", name, got, want)
		}
	}
	if answer.Status != http.StatusTeapot || string(answer.Body) != "short and stout" {
		t.Errorf("TV got %d %q, want 418 and the body", answer.Status, answer.Body)
	}
	for name, want := range map[string]string{
		"X-Api": "yes", "X-Upstream-Status": "418", "X-Private": "", "Keep-Alive": "", "Content-Type": "text/plain",
	} {
		if got := answer.Header.Get(name); got != want {
			t.Errorf("TV got %s %q, want %q", name, got, want)
		}
	}
	if r := records(t, wh)[0]; r["action"] != "proxy" || r["upstream"] != base || r["outcome"] != "ok" {
		t.Errorf("the record is %v, want a proxy call to %s", r, base)
	}
}

func TestACredentialThatAnUpstreamEchoesIsMasked(t *testing.T) {
	t.Parallel()
	_, tv, _ := bound(t)
	secret := "ghp_canary/+="
	base := upstream(t, tv, func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("X-Echo", r.Header.Get("Authorization"))
		for _, form := range []string{
			secret, url.QueryEscape(secret), base64.StdEncoding.EncodeToString([]byte(secret)), base64.URLEncoding.EncodeToString([]byte(secret)),
			base64.StdEncoding.EncodeToString([]byte("user:" + secret)), base64.StdEncoding.EncodeToString([]byte("user1:" + secret)),
			hex.EncodeToString([]byte(secret)),
		} {
			_, _ = fmt.Fprintf(rw, "<%s>\n", form)
		}
	})
	answer := tv.Proxy("api", wire.ProxyUpstream{URL: base, Method: "GET"}, bearer)
	if got := answer.Header.Get("X-Echo"); got != "Bearer [masked]" {
		t.Errorf("the echoed header is %q, want Bearer [masked]", got)
	}
	if n := strings.Count(string(answer.Body), "[masked]"); n != 7 || strings.Contains(string(answer.Body), "canary") {
		t.Errorf("%d of 7 echoes are masked:\n%s", n, answer.Body)
	}
}

func TestRedirectsAndEmptyAnswersAreHandedBack(t *testing.T) {
	t.Parallel()
	_, tv, _ := bound(t)
	elsewhere, calls := countingUpstream(t)
	base := upstream(t, tv, func(rw http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/redirect":
			http.Redirect(rw, r, elsewhere, http.StatusFound)
		case "/empty":
			rw.WriteHeader(http.StatusNoContent)
		}
	})
	got := tv.Do(noFollow(tv, wire.ProxyUpstream{URL: base + "/redirect", Method: "GET"}))
	if got.Status != http.StatusFound || got.Header.Get("Location") != elsewhere || calls() != 0 {
		t.Errorf("the redirect came back as %d to %q, %d followed", got.Status, got.Header.Get("Location"), calls())
	}
	if got := tv.Proxy("api", wire.ProxyUpstream{URL: base + "/empty", Method: "DELETE"}, bearer); got.Status != http.StatusNoContent {
		t.Errorf("an empty answer came back as %d, want 204", got.Status)
	}
	if got := tv.Proxy("api", wire.ProxyUpstream{URL: base, Method: "HEAD"}, bearer); got.Status != http.StatusOK || len(got.Body) != 0 {
		t.Errorf("HEAD came back as %d with %q, want 200 and nothing", got.Status, got.Body)
	}
}

// A status that is no final answer cannot be handed on: 101 would turn TV's own
// connection into something else.
func TestAnUpstreamsStatusThatIsNoAnswerIsAnError(t *testing.T) {
	t.Parallel()
	_, tv, _ := bound(t)
	base := upstream(t, tv, func(rw http.ResponseWriter, r *http.Request) {
		conn, _, err := http.NewResponseController(rw).Hijack()
		if err != nil {
			t.Errorf("no hijack: %v", err)
			return
		}
		_, _ = fmt.Fprintf(conn, "HTTP/1.1 %s Odd\r\nConnection: Upgrade\r\nUpgrade: x\r\nContent-Length: 0\r\n\r\n", strings.TrimPrefix(r.URL.Path, "/"))
		_ = conn.Close()
	})
	for _, status := range []string{"101", "099", "000"} {
		refused(t, tv.Proxy("api", wire.ProxyUpstream{URL: base + "/" + status, Method: "GET"}, bearer), http.StatusBadGateway, wire.CodeUpstreamError)
	}
}

// noFollow is a proxied call by a TV that does not follow redirects.
func noFollow(tv *webhooktest.TV, up wire.ProxyUpstream) *http.Request {
	tv.Client = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return tv.SignedRequest(wire.PathProxy, map[string]any{
		"ticket": tv.Sign(tv.Ticket(wire.PurposeProxy, "api")), "service": "api", "upstream": up, "headerTemplates": bearer,
	})
}

func TestAProxiedCallThatMayNotBeMadeIsRefused(t *testing.T) {
	t.Parallel()
	wh, tv, _ := bound(t)
	base, calls := countingUpstream(t)
	other, _ := countingUpstream(t)
	hosts := []string{base}
	tv.Store("api", map[string]any{"tokenType": "PlainText", "accessToken": "x", "allowedHosts": hosts})
	tv.Store("line", map[string]any{"tokenType": "PlainText", "accessToken": "a\r\nX-Evil: 1", "allowedHosts": hosts})
	tv.Store("ssh", map[string]any{"tokenType": "SSHKey", "sshPrivateKey": sshKey(t, ""), "allowedHosts": hosts})
	tv.Store("raw", map[string]any{"tokenType": "RawCredential", "accessToken": "unknown", "allowedHosts": hosts})
	check := unchanged(t, wh)
	many := map[string]string{}
	for i := range 70 {
		many[fmt.Sprint("H", i)] = "x"
	}
	type up = wire.ProxyUpstream
	for name, test := range map[string]struct {
		service   string
		upstream  up
		templates map[string]string
		status    int
		code      wire.ErrorCode
	}{
		"another host":           {"api", up{URL: other, Method: "GET"}, bearer, 403, wire.CodeForbidden},
		"another scheme":         {"api", up{URL: strings.Replace(base, "http:", "https:", 1), Method: "GET"}, bearer, 403, wire.CodeForbidden},
		"another port":           {"api", up{URL: "http://127.0.0.1:1/", Method: "GET"}, bearer, 403, wire.CodeForbidden},
		"no allowed hosts":       {"github", up{URL: base, Method: "GET"}, bearer, 403, wire.CodeForbidden},
		"no such token":          {"gone", up{URL: base, Method: "GET"}, bearer, 404, wire.CodeTokenNotFound},
		"no access token":        {"ssh", up{URL: base, Method: "GET"}, bearer, 400, wire.CodeInvalidRequest},
		"raw credential":         {"raw", up{URL: base, Method: "GET"}, bearer, 500, wire.CodeMintFailed},
		"credential breaks":      {"line", up{URL: base, Method: "GET"}, bearer, 400, wire.CodeInvalidRequest},
		"no URL":                 {"api", up{Method: "GET"}, bearer, 400, wire.CodeInvalidRequest},
		"relative URL":           {"api", up{URL: "/x", Method: "GET"}, bearer, 400, wire.CodeInvalidRequest},
		"user information":       {"api", up{URL: strings.Replace(base, "//", "//u:p@", 1), Method: "GET"}, bearer, 400, wire.CodeInvalidRequest},
		"file":                   {"api", up{URL: "file:///etc/passwd", Method: "GET"}, bearer, 400, wire.CodeInvalidRequest},
		"URL too long":           {"api", up{URL: base + "/" + strings.Repeat("x", 9000), Method: "GET"}, bearer, 400, wire.CodeInvalidRequest},
		"no method":              {"api", up{URL: base}, bearer, 400, wire.CodeInvalidRequest},
		"CONNECT":                {"api", up{URL: base, Method: "CONNECT"}, bearer, 400, wire.CodeInvalidRequest},
		"method with a break":    {"api", up{URL: base, Method: "GET / HTTP/1.1\r\nX: y"}, bearer, 400, wire.CodeInvalidRequest},
		"body not base64":        {"api", up{URL: base, Method: "POST", Body: "%%"}, bearer, 400, wire.CodeInvalidRequest},
		"value with CR LF":       {"api", up{URL: base, Method: "GET", Headers: map[string]string{"A": "b\r\nC: d"}}, bearer, 400, wire.CodeInvalidRequest},
		"value with LF":          {"api", up{URL: base, Method: "GET", Headers: map[string]string{"A": "b\nC: d"}}, bearer, 400, wire.CodeInvalidRequest},
		"name with a colon":      {"api", up{URL: base, Method: "GET", Headers: map[string]string{"A: b": "c"}}, bearer, 400, wire.CodeInvalidRequest},
		"empty name":             {"api", up{URL: base, Method: "GET", Headers: map[string]string{"": "c"}}, bearer, 400, wire.CodeInvalidRequest},
		"value too long":         {"api", up{URL: base, Method: "GET", Headers: map[string]string{"A": strings.Repeat("x", 9000)}}, bearer, 400, wire.CodeInvalidRequest},
		"too many headers":       {"api", up{URL: base, Method: "GET", Headers: many}, bearer, 400, wire.CodeInvalidRequest},
		"template with CR LF":    {"api", up{URL: base, Method: "GET"}, map[string]string{"A": "${TOKEN}\r\nB: c"}, 400, wire.CodeInvalidRequest},
		"template for Host":      {"api", up{URL: base, Method: "GET"}, map[string]string{"host": "${TOKEN}"}, 400, wire.CodeInvalidRequest},
		"hop-by-hop template":    {"api", up{URL: base, Method: "GET"}, map[string]string{"Connection": "${TOKEN}"}, 400, wire.CodeInvalidRequest},
		"a template given twice": {"api", up{URL: base, Method: "GET"}, map[string]string{"A": "${TOKEN}", "a": "x"}, 400, wire.CodeInvalidRequest},
	} {
		t.Run(name, func(t *testing.T) {
			refused(t, tv.Proxy(test.service, test.upstream, test.templates), test.status, test.code)
		})
	}
	if n := calls(); n != 0 {
		t.Errorf("the upstream was called %d times, want 0", n)
	}
	stale := tv.Ticket(wire.PurposeProxy, "api")
	stale.CreationID = "another"
	refused(t, tv.Signed(wire.PathProxy, map[string]any{
		"ticket": tv.Sign(stale), "service": "api", "upstream": up{URL: base, Method: "GET"}, "headerTemplates": bearer,
	}), http.StatusConflict, wire.CodeStaleCreation)
	// A ticket is not enough, and neither is a signature.
	unsigned := tv.Request(http.MethodPost, wire.PathProxy, map[string]any{"ticket": tv.Sign(tv.Ticket(wire.PurposeProxy, "api")), "service": "api"})
	refused(t, tv.Do(unsigned), http.StatusUnauthorized, wire.CodeAuthFailed)
	refused(t, tv.Signed(wire.PathProxy, nil), http.StatusUnauthorized, wire.CodeTicketInvalid)
	check()
}

func TestPrivateUpstreamsAreRefusedUnlessTheOperatorAllowsThem(t *testing.T) {
	t.Parallel()
	first, tv, c := bound(t)
	base, calls := countingUpstream(t)
	port := netip.MustParseAddrPort(strings.TrimPrefix(base, "http://")).Port()
	tv.Store("api", map[string]any{"tokenType": "PlainText", "accessToken": "x", "allowedHosts": []string{
		base, "https://127.0.0.1", "https://169.254.169.254", fmt.Sprintf("https://localhost:%d", port), "https://[::ffff:10.0.0.1]",
	}})
	first.Stop()
	wh := webhooktest.Start(t, first.Dir, webhooktest.WithClock(c.now), config(func(c *webhook.Config) { c.Outbound.AllowPrivate = false }))
	tv.URL = wh.URL
	for _, target := range []string{base, "https://127.0.0.1/", "https://169.254.169.254/latest", fmt.Sprintf("https://localhost:%d/", port), "https://[::ffff:10.0.0.1]/"} {
		refused(t, tv.Proxy("api", wire.ProxyUpstream{URL: target, Method: "GET"}, bearer), http.StatusForbidden, wire.CodeForbidden)
	}
	if n := calls(); n != 0 {
		t.Errorf("the upstream was called %d times, want 0", n)
	}
}

func TestAnUpstreamThatFailsIsSaidSo(t *testing.T) {
	t.Parallel()
	_, tv, _ := bound(t, config(func(c *webhook.Config) { c.Outbound.MaxBody = 1000 }))
	_, hurried, _ := bound(t, config(func(c *webhook.Config) { c.Outbound.Timeout = 300 * time.Millisecond }))
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	handler := func(rw http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/slow":
			select {
			case <-release:
			case <-r.Context().Done():
			}
		case "/drip":
			_, _ = io.WriteString(rw, "a")
			rw.(http.Flusher).Flush()
			select {
			case <-release:
			case <-r.Context().Done():
			}
		case "/huge":
			_, _ = io.WriteString(rw, strings.Repeat("x", 1001))
		case "/fits":
			_, _ = io.WriteString(rw, strings.Repeat("x", 1000))
		case "/cut":
			rw.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(rw, "x")
		}
	}
	slow := upstream(t, hurried, handler)
	for _, path := range []string{"/slow", "/drip"} {
		got := hurried.Proxy("api", wire.ProxyUpstream{URL: slow + path, Method: "GET"}, bearer)
		refused(t, got, http.StatusGatewayTimeout, wire.CodeUpstreamTimeout)
	}
	base := upstream(t, tv, handler)
	get := func(url string) webhooktest.Answer {
		return tv.Proxy("api", wire.ProxyUpstream{URL: url, Method: "GET"}, bearer)
	}
	refused(t, get(base+"/huge"), http.StatusBadGateway, wire.CodeUpstreamError)
	refused(t, get(base+"/cut"), http.StatusBadGateway, wire.CodeUpstreamError)
	if got := get(base + "/fits"); got.Status != http.StatusOK || len(got.Body) != 1000 {
		t.Errorf("an answer that just fits came back as %d with %d bytes, want 200 and 1000", got.Status, len(got.Body))
	}

	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := "http://" + closed.Addr().String()
	_ = closed.Close()
	garbage, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = garbage.Close() })
	go func() {
		if conn, err := garbage.Accept(); err == nil {
			_, _ = http.ReadRequest(bufio.NewReader(conn))
			_, _ = io.WriteString(conn, "ghp_canary/+= is not HTTP\r\n\r\n")
			_ = conn.Close()
		}
	}()
	tv.Store("api", map[string]any{"tokenType": "PlainText", "accessToken": "ghp_canary/+=", "allowedHosts": []string{address, "http://" + garbage.Addr().String()}})
	refused(t, get(address), http.StatusBadGateway, wire.CodeUpstreamError)
	got := get("http://" + garbage.Addr().String())
	refused(t, got, http.StatusBadGateway, wire.CodeUpstreamError)
	if strings.Contains(string(got.Body), "canary") {
		t.Errorf("the refusal quotes what the upstream sent: %s", got.Body)
	}
}

func TestCodesAndMintedTokensAreProxiedAsWell(t *testing.T) {
	t.Parallel()
	_, tv, _ := bound(t, withMinter(coin{}))
	base := upstream(t, tv, func(rw http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprint(rw, len(r.Header.Get("X-Code")), r.Header.Get("X-Code") == "minted")
	})
	tv.Store("totp", map[string]any{"tokenType": "TOTP", "totpSecret": totpSecret, "allowedHosts": []string{base}})
	tv.Store("raw", map[string]any{"tokenType": "RawCredential", "accessToken": "coin:canary", "allowedHosts": []string{base}})
	for service, want := range map[string]string{"totp": "6 false", "raw": "6 true"} {
		got := accepted(t, tv.Proxy(service, wire.ProxyUpstream{URL: base, Method: "GET"}, map[string]string{"X-Code": "${TOKEN}"}))
		if string(got.Body) != want {
			t.Errorf("%s: the upstream saw %q, want %q", service, got.Body, want)
		}
	}
}
