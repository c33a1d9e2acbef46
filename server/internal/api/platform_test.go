package api_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/api/apitest"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/server/internal/vaults"
	"github.com/tvzero/tokenvault/server/internal/web"
)

// platformDoor is a door to an account in platform mode.
func platformDoor(t *testing.T) *door {
	t.Helper()
	d := open(t, apitest.Load(t))
	d.status = vaults.Status{Mode: models.ModePlatform}
	for i := range d.tokens {
		d.tokens[i].Trust, d.tokens[i].TrustReason, d.tokens[i].Mode = vaults.Sealed, "Sealed.", models.ModePlatform
	}
	return d
}

func TestAReleaseInPlatformModeIsTheCredentialThatNothingKeeps(t *testing.T) {
	t.Parallel()
	d := platformDoor(t)
	d.kept = "s3cret"
	got := d.call(t, "GET", "/api/agents/credentials?service=github", "", d.agent()...)
	if want := `{"serviceName":"github","tokenType":"PlainText","accessToken":"s3cret"}`; got.status != 200 || got.body != want {
		t.Errorf("got %d %s, want 200 %s", got.status, got.body, want)
	}
	if got.header.Get("Cache-Control") != "no-store" || got.header.Get("Location") != "" {
		t.Errorf("headers %v, want no-store and no Location", got.header)
	}
	if policy := "default-src 'none'; frame-ancestors 'none'"; got.header.Get("Content-Security-Policy") != policy || got.header.Get("Content-Type") != "application/json" {
		t.Errorf("headers %v, want JSON under %s", got.header, policy)
	}
}

// A credential is gone from memory when its request is over: with room enough, without,
// and when it was opened in vain.
func TestAReleasedCredentialIsCleared(t *testing.T) {
	t.Parallel()
	refused := fault.New(fault.NoGrant, "Revoked meanwhile.")
	for name, tt := range map[string]struct {
		secret string
		late   error
		status int
	}{
		"in its room": {"s3cret", nil, http.StatusOK},
		"beyond it":   {strings.Repeat("s3cret", 2000), nil, http.StatusOK},
		"refused":     {"s3cret", refused, http.StatusForbidden},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := platformDoor(t)
			d.kept, d.late = tt.secret, tt.late
			got := d.call(t, "GET", "/api/agents/credentials?service=github", "", d.agent()...)
			if got.status != tt.status || strings.Contains(got.body, tt.secret) != (tt.late == nil) {
				t.Errorf("got %d %s, want %d", got.status, got.body, tt.status)
			}
			for what, memory := range map[string][]byte{"the answer": d.released, "its room": d.room} {
				if i := slices.IndexFunc(memory, func(c byte) bool { return c != 0 }); i >= 0 || len(memory) == 0 {
					t.Errorf("%s has %q in it", what, memory[max(0, i):min(len(memory), i+20)])
				}
			}
		})
	}
}

func TestACredentialIsRevealedWhenAskedForAlone(t *testing.T) {
	t.Parallel()
	d := platformDoor(t)
	for query, calls := range map[string]string{"": "Token github", "?reveal=false": "Token github", "?reveal=true": "Token github; Reveal github 127.0.0.1"} {
		got := d.call(t, "GET", "/api/tokens/github"+query, "", d.user()...)
		if called := d.take(); called != calls {
			t.Errorf("%q: called %q, want %q", query, called, calls)
		}
		var body map[string]any
		if err := json.Unmarshal([]byte(got.body), &body); err != nil || got.status != 200 {
			t.Fatalf("%q: %d %s: %v", query, got.status, got.body, err)
		}
		revealed := query == "?reveal=true"
		if (body["accessToken"] == "s3cret") != revealed || (body["revealed"] == true) != revealed || (body["allowedHosts"] != nil) != revealed {
			t.Errorf("%q: got %s, want the secret there: %v", query, got.body, revealed)
		}
		if body["tokenType"] != "PlainText" || body["trust"] != "sealed" {
			t.Errorf("%q: got %s, want the metadata as it is without revealing", query, got.body)
		}
	}
	d.err = fault.New(fault.VaultLocked, "Locked.")
	got := d.call(t, "GET", "/api/tokens/github?reveal=true", "", d.user()...)
	wantRefusal(t, "locked", got, 423, fault.VaultLocked, "")
	if strings.Contains(got.body, "s3cret") {
		t.Errorf("a refusal shows the secret: %s", got.body)
	}
}

func TestWhatAWebhookKeepsIsNotRevealedHere(t *testing.T) {
	t.Parallel()
	d := open(t, apitest.Load(t))
	got := d.call(t, "GET", "/api/tokens/github?reveal=true", "", d.user()...)
	if calls := d.take(); got.status != 200 || calls != "Token github" || strings.Contains(got.body, "revealed") {
		t.Errorf("got %d %s and called %q, want metadata alone", got.status, got.body, calls)
	}
}

func TestACredentialIsStoredUnderItsReference(t *testing.T) {
	t.Parallel()
	d := platformDoor(t)
	got := d.call(t, "POST", "/api/tokens", `{"serviceName":"github","owner":"o","bridge":"b","scheme":"s","tokenData":{"tokenType":"OAuth","accessToken":"x","refreshToken":"y"}}`, d.user()...)
	if got.status != http.StatusCreated || !strings.Contains(got.body, `"owner":"o","bridge":"b","scheme":"s"`) {
		t.Errorf("got %d %s, want 201 with the reference", got.status, got.body)
	}
	if calls, want := d.take(), "Status; Store o/b/github/s accessToken,refreshToken,tokenType"; calls != want {
		t.Errorf("called %q, want %q", calls, want)
	}
}

func TestWhatCannotBeStoredIsRefusedAndNotRepeated(t *testing.T) {
	t.Parallel()
	d := platformDoor(t)
	const data = `"tokenData":{"tokenType":"PlainText","accessToken":"s3cret"}`
	long := strings.Repeat("a", 129)
	for _, tt := range []struct {
		name, body, contentType string
		status                  int
		code                    fault.Code
		field                   string
	}{
		{"no name", `{` + data + `}`, "application/json", 400, fault.InvalidRequest, "serviceName"},
		{"a name too long", `{"serviceName":"` + long + `",` + data + `}`, "application/json", 400, fault.InvalidRequest, "serviceName"},
		{"a control character in the name", `{"serviceName":"a\u0000",` + data + `}`, "application/json", 400, fault.InvalidRequest, "serviceName"},
		{"no credential", `{"serviceName":"a"}`, "application/json", 400, fault.InvalidRequest, "tokenData"},
		{"an empty credential", `{"serviceName":"a","tokenData":{}}`, "application/json", 400, fault.InvalidRequest, "tokenData"},
		{"a credential that is text", `{"serviceName":"a","tokenData":"s3cret"}`, "application/json", 400, fault.InvalidRequest, "tokenData"},
		{"an owner too long", `{"serviceName":"a","owner":"` + long + `",` + data + `}`, "application/json", 400, fault.InvalidRequest, "owner"},
		{"a bridge that is none", `{"serviceName":"a","bridge":"\u0007",` + data + `}`, "application/json", 400, fault.InvalidRequest, "bridge"},
		{"a scheme too long", `{"serviceName":"a","scheme":"` + long + `",` + data + `}`, "application/json", 400, fault.InvalidRequest, "scheme"},
		{"broken JSON", `{"serviceName":"a","tokenData":{"accessToken":"s3cret`, "application/json", 400, fault.InvalidRequest, ""},
		{"nested deep", `{"serviceName":"a","tokenData":{"x":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}}`, "application/json", 400, fault.InvalidRequest, ""},
		{"text", `{"serviceName":"a",` + data + `}`, "text/plain", 415, fault.UnsupportedMediaType, ""},
		{"too large", `{"serviceName":"a","tokenData":{"accessToken":"` + strings.Repeat("s3cret", web.MaxBody/6) + `"}}`, "application/json", 413, fault.TooLarge, ""},
	} {
		got := d.call(t, "POST", "/api/tokens", tt.body, append(d.user(), "Content-Type", tt.contentType)...)
		wantRefusal(t, tt.name, got, tt.status, tt.code, tt.field)
		if calls := d.take(); strings.Contains(calls, "Store") {
			t.Errorf("%s: called %q, want nothing stored", tt.name, calls)
		}
		if strings.Contains(got.body, "s3cret") {
			t.Errorf("%s: the answer repeats the secret: %s", tt.name, got.body)
		}
	}
}

func TestAScopeOpensItsOwnRoutesAlone(t *testing.T) {
	t.Parallel()
	d := open(t, apitest.Load(t))
	free := map[string]bool{}
	for _, route := range []string{"GET /healthz", "GET /readyz", "GET /api/agents/credentials", "GET /api/agents/whoami",
		"POST /api/auth/register", "POST /api/auth/login", "POST /api/auth/logout", "PATCH /api/account", "POST /api/account/password"} {
		free[route] = true
	}
	scopes := routeScopes(t)
	for _, r := range d.engine.Routes() {
		route := r.Method + " " + r.Path
		if r.Method == http.MethodHead || free[route] {
			continue
		}
		needs := scopes[r.Method+" "+variable.ReplaceAllString(r.Path, "{$1}")]
		if needs == "" {
			t.Errorf("%s has no x-scope in docs/openapi.yaml", route)
			continue
		}
		path := strings.NewReplacer(":id", agentID.String(), ":service", "github").Replace(r.Path)
		for _, given := range append(grants.Scopes(), "") {
			d.scopes = nil
			if given != "" {
				d.scopes = []string{given}
			}
			got := d.call(t, r.Method, path, "", d.key()...)
			calls := d.take()
			denied := got.status == http.StatusForbidden && strings.Contains(got.body, string(fault.ScopeDenied))
			if denied == (given == needs) {
				t.Errorf("%s with scope %q: %d %s; it needs %s", route, given, got.status, got.body, needs)
			}
			if denied && calls != "" {
				t.Errorf("%s with scope %q was denied and called %q", route, given, calls)
			}
			if denied && !strings.Contains(got.body, needs) {
				t.Errorf("%s: the refusal %s does not name %s", route, got.body, needs)
			}
		}
	}
	if len(scopes) < 35 {
		t.Errorf("docs/openapi.yaml gives %d operations a scope, want all", len(scopes))
	}
}

// routeScopes is x-scope of every operation of docs/openapi.yaml that has one.
func routeScopes(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	for operation, extensions := range apitest.Load(t).Extensions() {
		if text, ok := extensions["x-scope"]; ok {
			out[operation] = fmt.Sprint(text)
		}
	}
	return out
}

func TestASessionsCookieIsFollowedByTheNext(t *testing.T) {
	t.Parallel()
	d := open(t, apitest.Load(t))
	cookie := []string{"Cookie", "tv_session=" + d.session.Reveal()}
	d.due = true
	got := d.call(t, "GET", "/api/tokens", "", cookie...)
	if set := got.header.Get("Set-Cookie"); got.status != 200 || !strings.HasPrefix(set, "tv_session="+d.next1.Reveal()+"; Path=/; Expires=Sun, 01 Feb 2026 02:04:05 GMT; HttpOnly; SameSite=Lax") {
		t.Errorf("%d, Set-Cookie %q; want the next token until it expires", got.status, set)
	}
	if strings.Contains(got.body, d.next1.Reveal()) {
		t.Error("the body shows the next token to scripts")
	}
	if got := d.call(t, "GET", "/api/tokens", "", d.user()...); got.header.Get("Set-Cookie") != "" {
		t.Errorf("a bearer session was given the cookie %q", got.header.Get("Set-Cookie"))
	}
	d.unfollow = errors.New("the database is away")
	if got := d.call(t, "GET", "/api/tokens", "", cookie...); got.status != 200 || got.header.Get("Set-Cookie") != "" {
		t.Errorf("without a next token: %d %q; want the answer, and the cookie as it is", got.status, got.header.Get("Set-Cookie"))
	}
	d.unfollow, d.due = nil, false
	if got := d.call(t, "GET", "/api/tokens", "", cookie...); got.header.Get("Set-Cookie") != "" {
		t.Errorf("a session that is not due was given %q", got.header.Get("Set-Cookie"))
	}
}

func TestWhoeverRevokesTheirOwnSessionIsSignedOut(t *testing.T) {
	t.Parallel()
	d := open(t, apitest.Load(t))
	cookie := []string{"Cookie", "tv_session=" + d.session.Reveal(), "Sec-Fetch-Site", "same-origin"}
	got := d.call(t, "DELETE", "/api/grants/"+account.String(), "", cookie...)
	if got.status != 204 || !strings.Contains(got.header.Get("Set-Cookie"), "tv_session=; Path=/; Max-Age=0") {
		t.Errorf("its own: %d %q, want 204 and the cookie gone", got.status, got.header.Get("Set-Cookie"))
	}
	if got := d.call(t, "DELETE", "/api/grants/"+keyID.String(), "", cookie...); got.header.Get("Set-Cookie") != "" {
		t.Errorf("another's: %q, want the cookie left alone", got.header.Get("Set-Cookie"))
	}
	d.err = fault.New(fault.Conflict, "This is the key of an agent.")
	got = d.call(t, "DELETE", "/api/grants/"+account.String(), "", cookie...)
	wantRefusal(t, "refused", got, 409, fault.Conflict, "")
	if got.header.Get("Set-Cookie") != "" {
		t.Errorf("a refusal signed out: %q", got.header.Get("Set-Cookie"))
	}
}

func TestACursorThatPointsNowhereIsRefused(t *testing.T) {
	t.Parallel()
	d := open(t, apitest.Load(t))
	for _, path := range []string{"/api/grants?cursor=x", "/api/escrows?cursor=" + agentID.String()} {
		wantRefusal(t, path, d.call(t, "GET", path, "", d.user()...), 400, fault.InvalidRequest, "cursor")
	}
	d.views, d.escrows = nil, nil
	for _, path := range []string{"/api/grants", "/api/escrows"} {
		if got := d.call(t, "GET", path, "", d.user()...); got.body != `{"items":[],"nextCursor":null}` {
			t.Errorf("%s: %s, want an empty list", path, got.body)
		}
	}
}

func TestFaultsOfLinkingAndKeysBecomeTheirStatus(t *testing.T) {
	t.Parallel()
	d := open(t, apitest.Load(t))
	id := agentID.String()
	for _, tt := range []struct {
		method, path, body string
		code               fault.Code
		status             int
	}{
		{"POST", "/api/keys", `{"name":"a","scopes":["x"]}`, fault.ScopeDenied, 403},
		{"POST", "/api/keys", `{"name":"a","scopes":["x"]}`, fault.Conflict, 409},
		{"POST", "/api/keys/" + id + "/rotate", "", fault.NotFound, 404},
		{"POST", "/api/keys/" + id + "/rotate", "", fault.Conflict, 409},
		{"PATCH", "/api/grants/" + id, `{"label":"a"}`, fault.NotFound, 404},
		{"DELETE", "/api/grants/" + id, "", fault.NotFound, 404},
		{"DELETE", "/api/grants/" + id, "", fault.InvalidKey, 401},
		{"POST", "/api/grants/" + id + "/share-vault", "", fault.WrongVaultMode, 400},
		{"POST", "/api/grants/" + id + "/share-vault", "", fault.Conflict, 409},
		{"POST", "/api/escrows/" + id + "/accept", "", fault.Conflict, 409},
		{"POST", "/api/escrows/" + id + "/accept", "", fault.VaultLocked, 423},
		{"POST", "/api/escrows/" + id + "/decline", "", fault.NotFound, 404},
		{"POST", "/api/escrows/" + id + "/cancel", "", fault.NotFound, 404},
		{"GET", "/api/escrows", "", fault.Unavailable, 503},
		{"GET", "/api/escrows/" + id + "/preview", "", fault.NotFound, 404},
		{"GET", "/api/escrows/" + id + "/preview", "", fault.Conflict, 409},
		{"GET", "/api/tokens?superseded=true", "", fault.Unavailable, 503},
		{"POST", "/api/vault/move", "", fault.WebhookNotConfigured, 409},
		{"POST", "/api/vault/move", "", fault.WebhookUnavailable, 502},
		{"POST", "/api/vault/move", "", fault.VaultLocked, 423},
		{"DELETE", "/api/vault/move/" + id, "", fault.TokenNotFound, 404},
		{"GET", "/api/vault/move-back", "", fault.WebhookNotConfigured, 409},
		{"POST", "/api/vault/move-back", `{"serviceName":"a","tokenData":{"x":1}}`, fault.Conflict, 409},
		{"POST", "/api/vault/move-back", `{"serviceName":"a","tokenData":{"x":1}}`, fault.TokenNotFound, 404},
		{"POST", "/api/vault/move-back", `{"serviceName":"a","tokenData":{"x":1}}`, fault.WebhookAuthFailed, 502},
		{"DELETE", "/api/tokens/superseded/" + id, "", fault.TokenNotFound, 404},
		{"POST", "/api/tokens/superseded/" + id + "/restore", `{"serviceName":"a"}`, fault.Conflict, 409},
	} {
		d.err = fault.New(tt.code, "No.")
		wantRefusal(t, tt.method+" "+tt.path, d.call(t, tt.method, tt.path, tt.body, d.user()...), tt.status, tt.code, "")
	}
}
