package api_test

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/api/apitest"
	"github.com/tvzero/tokenvault/server/internal/fault"
)

func TestAReleaseIsAnAddressThatNothingKeeps(t *testing.T) {
	t.Parallel()
	d := open(t, apitest.Load(t))
	got := d.call(t, "GET", "/api/agents/credentials?service=github", "", d.agent()...)
	if got.status != http.StatusTemporaryRedirect || got.header.Get("Location") != location || got.body != "" {
		t.Errorf("got %d to %q with body %q, want 307 to %q with none", got.status, got.header.Get("Location"), got.body, location)
	}
	if got.header.Get("Cache-Control") != "no-store" || got.header.Get("Referrer-Policy") != "no-referrer" {
		t.Errorf("headers %v, want no-store and no-referrer", got.header)
	}
	d.take()
	for _, tt := range []struct {
		name, query string
		field       string
	}{
		{"empty name", "service=", "service"}, {"name twice", "service=a&service=b", "service"},
		{"name too long", "service=" + strings.Repeat("a", 129), "service"}, {"control character", "service=a%0Ab", "service"},
		{"bad encoding", "service=%zz", "service"},
	} {
		got := d.call(t, "GET", "/api/agents/credentials?"+tt.query, "", d.agent()...)
		wantRefusal(t, tt.name, got, 400, fault.InvalidRequest, tt.field)
		if calls := d.take(); calls != "" {
			t.Errorf("%s: called %q, want nothing called", tt.name, calls)
		}
	}
	head := d.call(t, "HEAD", "/api/agents/credentials?service=github", "", d.agent()...)
	if head.status != http.StatusMethodNotAllowed || head.header.Get("Allow") != "GET" || head.header.Get("Location") != "" {
		t.Errorf("HEAD of a release: %d, Allow %q; want 405 with GET alone, and no ticket", head.status, head.header.Get("Allow"))
	}
	if calls := d.take(); calls != "" {
		t.Errorf("HEAD called %q, want nothing called", calls)
	}
}

func TestHeadAndOptionsAnswerSensibly(t *testing.T) {
	t.Parallel()
	d := open(t, apitest.Load(t))
	if got := d.call(t, "HEAD", "/api/tokens", "", d.user()...); got.status != 200 || got.body != "" || got.header.Get("Content-Type") != "application/json" {
		t.Errorf("HEAD: %d %v %q; want the headers of GET without its body", got.status, got.header, got.body)
	}
	if got := d.call(t, "OPTIONS", "/api/tokens", ""); got.status != 204 || got.header.Get("Allow") != "GET, HEAD, POST" && !strings.Contains(got.header.Get("Allow"), "POST") {
		t.Errorf("OPTIONS: %d Allow %q; want 204 with the methods", got.status, got.header.Get("Allow"))
	}
	wantRefusal(t, "PUT", d.call(t, "PUT", "/api/tokens", "{}", d.user()...), 405, fault.MethodNotAllowed, "")
	wantRefusal(t, "unknown", d.call(t, "GET", "/api/unheard-of", "", d.user()...), 404, fault.NotFound, "")
}

func TestSigningInWithASecondFactorTakesItsCodeAlong(t *testing.T) {
	t.Parallel()
	d := open(t, apitest.Load(t))
	d.guarded = true
	got := d.call(t, "POST", "/api/auth/login", `{"email":"a@b.example","password":"x"}`)
	wantRefusal(t, "without the code", got, 401, fault.LoginFailed, "code")
	if got.header.Get("Set-Cookie") != "" || strings.Contains(got.body, "sealed") {
		t.Errorf("without the code: cookie %q, body %s, want no session and no challenge", got.header.Get("Set-Cookie"), got.body)
	}
	d.take()
	got = d.call(t, "POST", "/api/auth/login", `{"email":"a@b.example","password":"x","code":"123 456"}`)
	if calls := d.take(); got.status != 200 || calls != "Login a@b.example123 456" || !strings.HasPrefix(got.header.Get("Set-Cookie"), "tv_session=") {
		t.Errorf("with the code: %d, called %q, want a session", got.status, calls)
	}
}

func TestAnAccountIsChangedByItsOwnerAlone(t *testing.T) {
	t.Parallel()
	d := open(t, apitest.Load(t))
	for _, tt := range []struct{ method, path, body string }{
		{"PATCH", "/api/account", `{"displayName":"A"}`}, {"POST", "/api/account/password", `{"currentPassword":"x","newPassword":"0123456789"}`},
	} {
		what := tt.method + " " + tt.path
		wantRefusal(t, what+" with an API key", d.call(t, tt.method, tt.path, tt.body, d.key()...), 401, fault.InvalidKey, "")
		wantRefusal(t, what+" by an agent", d.call(t, tt.method, tt.path, tt.body, d.agent()...), 401, fault.InvalidKey, "")
		wantRefusal(t, what+" by nobody", d.call(t, tt.method, tt.path, tt.body), 401, fault.SignInRequired, "")
		if calls := d.take(); calls != "" {
			t.Errorf("%s: called %q, want nothing called", what, calls)
		}
		for code, status := range map[fault.Code]int{fault.InvalidRequest: 400, fault.Conflict: 409, fault.RateLimited: 429} {
			d.err = fault.New(code, "Refused.")
			wantRefusal(t, what, d.call(t, tt.method, tt.path, tt.body, d.user()...), status, code, "")
		}
		d.err = nil
		d.take()
	}
}

func TestSigningInSetsTheCookieAndSigningOutEndsIt(t *testing.T) {
	t.Parallel()
	d := open(t, apitest.Load(t))
	got := d.call(t, "POST", "/api/auth/login", `{"email":"a@b.example","password":"x"}`)
	cookie := got.header.Get("Set-Cookie")
	if !strings.HasPrefix(cookie, "tv_session="+d.session.Reveal()+"; Path=/; Expires=Fri, 02 Jan 2026 02:04:05 GMT; HttpOnly; SameSite=Lax") {
		t.Errorf("Set-Cookie %q, want the session, HttpOnly and Lax", cookie)
	}
	if strings.Contains(got.body, d.session.Reveal()) {
		t.Errorf("the body %s shows the session to scripts", got.body)
	}
	got = d.call(t, "POST", "/api/auth/logout", "", "Cookie", "tv_session="+d.session.Reveal())
	if got.status != 204 || !strings.Contains(got.header.Get("Set-Cookie"), "tv_session=; Path=/; Max-Age=0") {
		t.Errorf("logout: %d %q, want 204 and the cookie gone", got.status, got.header.Get("Set-Cookie"))
	}
	got = d.call(t, "POST", "/api/auth/logout", "", "Cookie", "tv_session=tcs_old")
	wantRefusal(t, "logout with an old session", got, 401, fault.InvalidKey, "")
	if !strings.Contains(got.header.Get("Set-Cookie"), "Max-Age=0") {
		t.Errorf("logout with an old session leaves the cookie: %q", got.header.Get("Set-Cookie"))
	}
}

func TestListsAreEmptyArraysAndTellTheNextPage(t *testing.T) {
	t.Parallel()
	d := open(t, apitest.Load(t))
	d.next = "c&d"
	for path, want := range map[string]string{
		"/api/tokens?limit=1": `</api/tokens?cursor=c%26d&limit=1>; rel="next"`, "/api/agents?limit=1": `</api/agents?cursor=c%26d&limit=1>; rel="next"`,
	} {
		if got := d.call(t, "GET", path, "", d.user()...); got.header.Get("Link") != want {
			t.Errorf("%s: Link %q, want %q", path, got.header.Get("Link"), want)
		}
	}
	if got := d.call(t, "GET", "/api/tokens/audit-log", "", d.user()...); got.body != `{"events":[],"pagination":{"hasMore":true,"nextCursor":"c\u0026d"}}` {
		t.Errorf("audit log: %s", got.body)
	}
	d.next, d.tokens, d.grants = "", nil, nil
	got := d.call(t, "GET", "/api/tokens", "", d.user()...)
	if got.body != "[]" || got.header.Get("Link") != "" {
		t.Errorf("no tokens: %s with Link %q, want [] without", got.body, got.header.Get("Link"))
	}
	if got := d.call(t, "GET", "/api/agents/credentials", "", d.agent()...); got.body != `{"grants":[]}` {
		t.Errorf("nothing granted: %s, want an empty array", got.body)
	}
}

func TestAnUnboundVaultSaysSo(t *testing.T) {
	t.Parallel()
	d := open(t, apitest.Load(t))
	d.status.Mode, d.status.Binding, d.status.Locked, d.status.LockedAt = models.ModePlatform, nil, true, &at
	want := `{"vaultMode":"platform","isLocked":true,"lockedAt":"2026-01-02T02:04:05.6Z","webhook":null,"webhookCapabilities":[]}`
	if got := d.call(t, "GET", "/api/vault/status", "", d.user()...); got.body != want {
		t.Errorf("got %s\nwant %s", got.body, want)
	}
}

func TestABulkDeleteOfOneUnknownNameDeletesNone(t *testing.T) {
	t.Parallel()
	d := open(t, apitest.Load(t))
	d.err = fault.New(fault.NotFound, "No.")
	got := d.call(t, "DELETE", "/api/agents/bulk", `{"agentIds":["`+agentID.String()+`"]}`, d.user()...)
	if got.status != 200 {
		t.Errorf("agents: %d %s, want 200: names that nothing has are left out", got.status, got.body)
	}
	wantRefusal(t, "one by its address", d.call(t, "DELETE", "/api/agents/"+agentID.String(), "", d.user()...), 404, fault.NotFound, "")
}

func events(n int) []models.AuditEvent {
	out := make([]models.AuditEvent, n)
	for i := range out {
		out[i] = models.AuditEvent{
			ID: uuid.MustParse(fmt.Sprintf("01890000-0000-7000-8000-%012d", i)), At: at, EventType: "release", Source: "agent", Outcome: "ok",
			ServiceName: "github", AgentID: &agentID, Address: "127.0.0.1", RequestID: "r", Detail: "d",
		}
	}
	return out
}

func TestTheAuditLogIsExportedWithoutFormulas(t *testing.T) {
	t.Parallel()
	d := open(t, apitest.Load(t))
	d.events = events(2)
	d.events[0].Client = `=HYPERLINK("https://evil.example","x")`
	d.events[1].Client, d.events[1].Detail = "+1", "a,\"b\"\nc"
	got := d.call(t, "GET", "/api/tokens/audit-log?format=csv&eventType=release", "", d.user()...)
	if got.status != 200 || got.header.Get("Content-Type") != "text/csv; charset=utf-8" || got.header.Get("Content-Disposition") != `attachment; filename="audit-log.csv"` {
		t.Fatalf("got %d %v, want CSV as a file", got.status, got.header)
	}
	rows, err := csv.NewReader(strings.NewReader(got.body)).ReadAll()
	if err != nil {
		t.Fatalf("the export does not parse: %v\n%s", err, got.body)
	}
	want := [][]string{
		{"timestamp", "eventType", "source", "outcome", "serviceName", "agentId", "grantId", "address", "client", "requestId", "detail", "id"},
		{"2026-01-02T02:04:05.6Z", "release", "agent", "ok", "github", agentID.String(), "", "127.0.0.1", `'=HYPERLINK("https://evil.example","x")`, "r", "d", d.events[0].ID.String()},
		{"2026-01-02T02:04:05.6Z", "release", "agent", "ok", "github", agentID.String(), "", "127.0.0.1", "'+1", "r", "a,\"b\"\nc", d.events[1].ID.String()},
	}
	if fmt.Sprint(rows) != fmt.Sprint(want) {
		t.Errorf("got  %q\nwant %q", rows, want)
	}
}

func TestNoCellOfAnExportIsAFormula(t *testing.T) {
	t.Parallel()
	d := open(t, apitest.Load(t))
	for text, want := range map[string]string{
		"=1": "'=1", "+1": "'+1", "-1": "'-1", "@SUM(A1)": "'@SUM(A1)", "\t=1": "'\t'=1", "  =1": "  '=1", `"=1`: `"'=1`, "＝1": "'＝1",
		"Mozilla/5.0;=1+1": "Mozilla/5.0;'=1+1", "a; @x": "a; '@x", "a\tb\t-1": "a\tb\t'-1", "a\n=1": "a\n'=1", "a,=1": "a,'=1", "a|+1": "a|'+1",
		"path=notify outcome=rotated": "path=notify outcome=rotated", "Mozilla/5.0 (X11; Linux x86_64)": "Mozilla/5.0 (X11; Linux x86_64)", "a-b@c": "a-b@c",
	} {
		d.events = events(1)
		d.events[0].Detail = text
		got := d.call(t, "GET", "/api/tokens/audit-log?format=csv", "", d.user()...)
		rows, err := csv.NewReader(strings.NewReader(got.body)).ReadAll()
		if err != nil || len(rows) != 2 {
			t.Fatalf("%q: %d rows, %v", text, len(rows), err)
		}
		if rows[1][10] != want {
			t.Errorf("%q is exported as %q, want %q", text, rows[1][10], want)
		}
	}
}

func TestTheAuditLogIsExportedAsJSON(t *testing.T) {
	t.Parallel()
	d := open(t, apitest.Load(t))
	d.events = events(2)
	d.events[0].Client = "<script>\"\u2028"
	got := d.call(t, "GET", "/api/tokens/audit-log?download=true&outcome=ok&until=2026-02-01T00:00:00Z", "", d.user()...)
	if got.status != 200 || got.header.Get("Content-Disposition") != `attachment; filename="audit-log.json"` {
		t.Fatalf("got %d %v, want JSON as a file", got.status, got.header)
	}
	var file struct {
		Events     []struct{ ID, Client string }
		Pagination struct{ HasMore bool }
	}
	if err := json.Unmarshal([]byte(got.body), &file); err != nil {
		t.Fatalf("the export does not parse: %v\n%s", err, got.body)
	}
	if len(file.Events) != 2 || file.Events[0].Client != d.events[0].Client || file.Events[1].ID != d.events[1].ID.String() || file.Pagination.HasMore {
		t.Errorf("got %+v, want the two events, and no more", file)
	}
	d.events, d.next, d.lists = events(1000), "more", 0
	got = d.call(t, "GET", "/api/tokens/audit-log?download=true", "", d.user()...)
	if err := json.Unmarshal([]byte(got.body), &file); err != nil || len(file.Events) != 100_000 || !file.Pagination.HasMore || d.lists != 100 {
		t.Errorf("got %d events of %d pages, more %v, %v; want 100000 of 100, and more", len(file.Events), d.lists, file.Pagination.HasMore, err)
	}
	d.events, d.next = nil, ""
	if got := d.call(t, "GET", "/api/tokens/audit-log?download=true", "", d.user()...); !json.Valid([]byte(got.body)) {
		t.Errorf("an export of nothing is no JSON: %s", got.body)
	}
}

func TestAnExportReadsPageByPageAndStopsAtItsLimit(t *testing.T) {
	t.Parallel()
	d := open(t, apitest.Load(t))
	d.events, d.next = events(1000), "more"
	got := d.call(t, "GET", "/api/tokens/audit-log?format=csv&limit=1000", "", d.user()...)
	if lines := strings.Count(got.body, "\n"); lines != 1001 {
		t.Errorf("%d lines, want the header and 1000 events", lines)
	}
	if d.lists != 1 {
		t.Errorf("%d pages were read, want one", d.lists)
	}
	d.lists = 0
	got = d.call(t, "GET", "/api/tokens/audit-log?format=csv", "", d.user()...) // the record never ends: the export does
	if lines := strings.Count(got.body, "\n"); lines != 100_001 || d.lists != 100 {
		t.Errorf("%d lines of %d pages, want 100000 events of 100", lines, d.lists)
	}
}

func TestAnExportThatBreaksIsCutOff(t *testing.T) {
	t.Parallel()
	d := open(t, apitest.Load(t))
	d.events, d.next, d.failOn = events(1000), "more", 3
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, d.url+"/api/tokens/audit-log?format=csv", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+d.session.Reveal())
	resp, err := (&http.Client{Timeout: time.Minute}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if body, err := io.ReadAll(resp.Body); err == nil {
		t.Errorf("an export of which the third page failed ended well, after %d bytes", len(body))
	}
	d.lists, d.failOn = 0, 1
	wantRefusal(t, "the first page fails", d.call(t, "GET", "/api/tokens/audit-log?format=csv", "", d.user()...), 500, fault.Internal, "")
}
