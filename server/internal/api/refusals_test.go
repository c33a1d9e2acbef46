package api_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/api/apitest"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/web"
)

func wantRefusal(t *testing.T, what string, got answer, status int, code fault.Code, field string) {
	t.Helper()
	var p web.ProblemBody
	if err := json.Unmarshal([]byte(got.body), &p); err != nil {
		t.Errorf("%s: %d %q is no JSON: %v", what, got.status, got.body, err)
		return
	}
	if got.status != status || p.Code != code || p.Field != field {
		t.Errorf("%s: got %d %s field %q (%s)\nwant %d %s field %q", what, got.status, p.Code, p.Field, p.Detail, status, code, field)
	}
}

func TestMalformedRequestsAreRefusedBeforeAnyServiceIsCalled(t *testing.T) {
	t.Parallel()
	d := open(t, apitest.Load(t))
	id := agentID.String()
	long := strings.Repeat("a", 129)
	huge := strings.Repeat("a", 20<<10)
	for _, tt := range []struct {
		method, path, body string
		field              string
	}{
		{"POST", "/api/auth/register", `{"email":"a@b.example","password":"x","extra":1}`, "extra"},
		{"POST", "/api/auth/register", `{"email":7}`, "email"},
		{"POST", "/api/auth/register", `{"email":"a\u0000b","password":"x"}`, "email"},
		{"POST", "/api/auth/register", `{"email":"` + huge + `"}`, "email"},
		{"POST", "/api/auth/register", `{"email":"a","password":"` + huge + `"}`, "password"},
		{"POST", "/api/auth/register", `{"email":"a","displayName":"` + huge + `"}`, "displayName"},
		{"POST", "/api/auth/login", `{"mail":"a"}`, "mail"},
		{"POST", "/api/auth/login", `{"email":"a","password":"b","code":"1\u0000"}`, "code"},
		{"PATCH", "/api/account", `{"name":"a"}`, "name"},
		{"PATCH", "/api/account", `{"displayName":"` + huge + `"}`, "displayName"},
		{"PATCH", "/api/account", `{"email":"a\u0000b"}`, "email"},
		{"PATCH", "/api/account", `{"email":7}`, "email"},
		{"PATCH", "/api/account", `{"email":"a","currentPassword":"` + huge + `"}`, "currentPassword"},
		{"POST", "/api/account/password", `{"currentPassword":"` + huge + `","newPassword":"b"}`, "currentPassword"},
		{"POST", "/api/account/password", `{"currentPassword":"b","newPassword":"` + huge + `"}`, "newPassword"},
		{"POST", "/api/account/password", `{"password":"b"}`, "password"},
		{"POST", "/api/auth/login", `{"email":"a\nb","password":"b"}`, "email"},
		{"POST", "/api/auth/login", `{"email":"a"`, ""},
		{"POST", "/api/auth/login", `{}{}`, ""},
		{"GET", "/api/tokens?limit=0", "", "limit"},
		{"GET", "/api/tokens?limit=1001", "", "limit"},
		{"GET", "/api/tokens?limit=ten", "", "limit"},
		{"GET", "/api/tokens?limit=", "", "limit"},
		{"GET", "/api/tokens?limit=1&limit=2", "", "limit"},
		{"GET", "/api/tokens?cursor=%00", "", "cursor"},
		{"GET", "/api/tokens?cursor=" + strings.Repeat("c", 600), "", "cursor"},
		{"GET", "/api/tokens?%zz", "", ""},
		{"GET", "/api/tokens/" + long, "", "service"},
		{"GET", "/api/tokens/a%00b", "", "service"},
		{"GET", "/api/tokens/%ff", "", "service"},
		{"DELETE", "/api/tokens/" + long, "", "service"},
		{"PATCH", "/api/tokens/" + long + "/metadata", `{"notes":"x"}`, "service"},
		{"POST", "/api/tokens/" + long + "/refresh", "", "service"},
		{"POST", "/api/tokens/a%00b/refresh", "", "service"},
		{"POST", "/api/tokens/" + long + "/disconnect", "", "service"},
		{"PATCH", "/api/tokens/github/metadata", `{}`, ""},
		{"PATCH", "/api/tokens/github/metadata", `{"displayName":null}`, ""},
		{"PATCH", "/api/tokens/github/metadata", `{"displayName":"a\tb"}`, "displayName"},
		{"PATCH", "/api/tokens/github/metadata", `{"notes":"` + huge + `"}`, "notes"},
		{"PATCH", "/api/tokens/github/metadata", `{"tags":"ci"}`, "tags"},
		{"PATCH", "/api/tokens/github/metadata", `{"tags":["\u0007"]}`, "tags"},
		{"PATCH", "/api/tokens/github/metadata", `{"tags":[` + strings.Repeat(`"a",`, 1000) + `"a"]}`, "tags"},
		{"DELETE", "/api/tokens/bulk", `{}`, "serviceNames"},
		{"DELETE", "/api/tokens/bulk", `{"serviceNames":[]}`, "serviceNames"},
		{"DELETE", "/api/tokens/bulk", `{"serviceNames":["` + long + `"]}`, "serviceNames"},
		{"DELETE", "/api/tokens/bulk", `{"serviceNames":"github"}`, "serviceNames"},
		{"DELETE", "/api/tokens/bulk", `{"serviceNames":[` + strings.Repeat(`"a",`, 1000) + `"a"]}`, "serviceNames"},
		{"GET", "/api/tokens?superseded=yes", "", "superseded"},
		{"GET", "/api/tokens?superseded=true&superseded=true", "", "superseded"},
		{"GET", "/api/tokens/github?reveal=1", "", "reveal"},
		{"GET", "/api/tokens/github?reveal=", "", "reveal"},
		{"GET", "/api/tokens/github?reveal=true&reveal=false", "", "reveal"},
		{"POST", "/api/tokens/superseded/" + id + "/restore", `{}`, "serviceName"},
		{"POST", "/api/tokens/superseded/" + id + "/restore", `{"serviceName":"` + long + `"}`, "serviceName"},
		{"POST", "/api/tokens/superseded/" + id + "/restore", `{"serviceName":"a","name":"b"}`, "name"},
		{"POST", "/api/keys", `{"name":"a\u0000","scopes":["tokens:read"]}`, "name"},
		{"POST", "/api/keys", `{"name":"` + huge + `","scopes":["tokens:read"]}`, "name"},
		{"POST", "/api/keys", `{"name":"a","scopes":"tokens:read"}`, "scopes"},
		{"POST", "/api/keys", `{"name":"a","scopes":["` + long + `"]}`, "scopes"},
		{"POST", "/api/keys", `{"name":"a","scopes":[` + strings.Repeat(`"tokens:read",`, 32) + `"tokens:read"]}`, "scopes"},
		{"POST", "/api/keys", `{"name":"a","scopes":["tokens:read"],"expiresAt":"tomorrow"}`, "expiresAt"},
		{"POST", "/api/keys", `{"name":"a","scopes":["tokens:read"],"expiresAt":1767323045}`, "expiresAt"},
		{"PATCH", "/api/grants/" + id, `{}`, "label"},
		{"PATCH", "/api/grants/" + id, `{"label":"a\nb"}`, "label"},
		{"PATCH", "/api/grants/" + id, `{"label":"` + huge + `"}`, "label"},
		{"PATCH", "/api/grants/" + id, `{"label":"a","scopes":["vault:manage"]}`, "scopes"},
		{"GET", "/api/grants?limit=0", "", "limit"},
		{"GET", "/api/vault/move?limit=0", "", "limit"},
		{"GET", "/api/vault/move-back?limit=0", "", "limit"},
		{"POST", "/api/vault/move", `{"after":"x"}`, "after"},
		{"POST", "/api/vault/move", `{"from":"x"}`, "from"},
		{"POST", "/api/vault/move-back", `{"tokenData":{"tokenType":"JWT"}}`, "serviceName"},
		{"POST", "/api/vault/move-back", `{"serviceName":"` + long + `","tokenData":{"tokenType":"JWT"}}`, "serviceName"},
		{"POST", "/api/vault/move-back", `{"serviceName":"a"}`, "tokenData"},
		{"POST", "/api/vault/move-back", `{"serviceName":"a","tokenData":{"tokenType":"JWT"},"mode":"x"}`, "mode"},
		{"GET", "/api/escrows?limit=x", "", "limit"},
		{"GET", "/api/agents?limit=-1", "", "limit"},
		{"POST", "/api/agents", `{"name":"a\u0000"}`, "name"},
		{"POST", "/api/agents", `{"name":"` + huge + `"}`, "name"},
		{"POST", "/api/agents", `{"name":"a","description":"` + huge + `"}`, "description"},
		{"POST", "/api/agents", `["a"]`, ""},
		{"PATCH", "/api/agents/" + id, `{}`, ""},
		{"PATCH", "/api/agents/" + id, `{"status":"asleep"}`, "status"},
		{"PATCH", "/api/agents/" + id, `{"name":"\u0000"}`, "name"},
		{"PATCH", "/api/agents/" + id, `{"description":"\u0000"}`, "description"},
		{"DELETE", "/api/agents/bulk", `{"agentIds":[]}`, "agentIds"},
		{"DELETE", "/api/agents/bulk", `{"agentIds":["` + id + `","x"]}`, "agentIds"},
		{"POST", "/api/agents/" + id + "/grants", `{}`, "serviceName"},
		{"POST", "/api/agents/" + id + "/grants", `{"serviceName":"` + long + `"}`, "serviceName"},
		{"POST", "/api/agents/" + id + "/grants", `{"serviceName":"a","agentId":"` + account.String() + `"}`, "agentId"},
		{"POST", "/api/agents/" + id + "/grants", `{"serviceName":"a","agentId":"x"}`, "agentId"},
		{"POST", "/api/agents/" + id + "/grants", `{"serviceName":"a","expiresInHours":0}`, "expiresInHours"},
		{"POST", "/api/agents/" + id + "/grants", `{"serviceName":"a","expiresInHours":721}`, "expiresInHours"},
		{"POST", "/api/agents/" + id + "/grants", `{"serviceName":"a","expiresInHours":1.5}`, "expiresInHours"},
		{"POST", "/api/agents/" + id + "/grants", `{"serviceName":"a","refreshPolicy":"maybe"}`, "refreshPolicy"},
		{"DELETE", "/api/agents/" + id + "/grants/" + long, "", "service"},
		{"GET", "/api/tokens/audit-log?eventType=gossip", "", "eventType"},
		{"GET", "/api/tokens/audit-log?source=rumour", "", "source"},
		{"GET", "/api/tokens/audit-log?agentId=x", "", "agentId"},
		{"GET", "/api/tokens/audit-log?since=yesterday", "", "since"},
		{"GET", "/api/tokens/audit-log?until=1767323045", "", "until"},
		{"GET", "/api/tokens/audit-log?outcome=NO_GRANT", "", "outcome"},
		{"GET", "/api/tokens/audit-log?download=1", "", "download"},
		{"GET", "/api/tokens/audit-log?format=csv&download=yes", "", "download"},
		{"GET", "/api/tokens/audit-log?format=xml", "", "format"},
		{"GET", "/api/tokens/audit-log?limit=1001", "", "limit"},
		{"GET", "/api/tokens/audit-log?serviceName=a&serviceName=b", "", "serviceName"},
		{"POST", "/api/vault/webhook-bind", `{"webhookUrl":"u","hmacSecretHash":"h"}`, "code"},
		{"POST", "/api/vault/webhook-bind", `{"code":"c","hmacSecretHash":"h"}`, "webhookUrl"},
		{"POST", "/api/vault/webhook-bind", `{"code":"c","webhookUrl":"u"}`, "hmacSecretHash"},
		{"POST", "/api/vault/webhook-bind", `{"code":"c","webhookUrl":"` + huge + `","hmacSecretHash":"h"}`, "webhookUrl"},
		{"POST", "/api/vault/store-ticket", `{}`, "serviceName"},
		{"POST", "/api/vault/store-ticket", `{"serviceName":"` + long + `"}`, "serviceName"},
		{"POST", "/api/vault/store-ticket", `{"serviceName":"a","mode":"append"}`, "mode"},
		{"POST", "/api/vault/credential-ticket", `{"serviceName":"a"}`, "purpose"},
		{"POST", "/api/vault/credential-ticket", `{"serviceName":"a","purpose":"agent_credential"}`, "purpose"},
		{"POST", "/api/vault/credential-ticket", `{"purpose":"user_reveal"}`, "serviceName"},
		{"POST", "/api/vault/sync", `{"service":"a"}`, "service"},
		{"POST", "/api/vault/sync", `{"serviceName":"` + long + `"}`, "serviceName"},
	} {
		what := tt.method + " " + tt.path[:min(80, len(tt.path))] + " " + tt.body[:min(60, len(tt.body))]
		wantRefusal(t, what, d.call(t, tt.method, tt.path, tt.body, d.user()...), 400, fault.InvalidRequest, tt.field)
		if calls := d.take(); calls != "" {
			t.Errorf("%s: called %q, want nothing called", what, calls)
		}
	}
}

func TestEveryBodyNeedsItsContentTypeAndItsLimit(t *testing.T) {
	t.Parallel()
	d := open(t, apitest.Load(t))
	id := agentID.String()
	for _, tt := range []struct{ method, path string }{
		{"POST", "/api/auth/register"}, {"POST", "/api/auth/login"}, {"PATCH", "/api/account"}, {"POST", "/api/account/password"}, {"PATCH", "/api/tokens/a/metadata"}, {"DELETE", "/api/tokens/bulk"},
		{"POST", "/api/tokens/superseded/" + id + "/restore"}, {"POST", "/api/keys"}, {"PATCH", "/api/grants/" + id},
		{"POST", "/api/agents"}, {"PATCH", "/api/agents/" + id}, {"DELETE", "/api/agents/bulk"}, {"POST", "/api/agents/" + id + "/grants"},
		{"POST", "/api/vault/webhook-bind"}, {"POST", "/api/vault/store-ticket"}, {"POST", "/api/vault/credential-ticket"}, {"POST", "/api/vault/sync"},
		{"POST", "/api/vault/move"}, {"POST", "/api/vault/move-back"},
	} {
		what := tt.method + " " + tt.path
		wantRefusal(t, what+" as text", d.call(t, tt.method, tt.path, `{}`, append(d.user(), "Content-Type", "text/plain")...), 415, fault.UnsupportedMediaType, "")
		large := `{"name":"` + strings.Repeat("a", web.MaxBody) + `"}`
		wantRefusal(t, what+" of 1 MiB and more", d.call(t, tt.method, tt.path, large, d.user()...), 413, fault.TooLarge, "")
		deep := `{"name":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`
		wantRefusal(t, what+" nested deep", d.call(t, tt.method, tt.path, deep, d.user()...), 400, fault.InvalidRequest, "")
		if calls := d.take(); calls != "" {
			t.Errorf("%s: called %q, want nothing called", what, calls)
		}
	}
}

func TestIdsThatAreNoneNameNothing(t *testing.T) {
	t.Parallel()
	d := open(t, apitest.Load(t))
	for _, id := range []string{"x", "01890000000070008000000000000000", "%7B01890000-0000-7000-8000-00000000000a%7D", strings.Repeat("a", 300)} {
		for _, tt := range []struct{ method, path, body string }{
			{"GET", "/api/agents/" + id, ""}, {"PATCH", "/api/agents/" + id, `{"name":"a"}`}, {"DELETE", "/api/agents/" + id, ""},
			{"POST", "/api/agents/" + id + "/rotate-key", ""}, {"POST", "/api/agents/" + id + "/grants", `{"serviceName":"a"}`},
			{"DELETE", "/api/agents/" + id + "/grants/a", ""},
			{"POST", "/api/keys/" + id + "/rotate", ""}, {"DELETE", "/api/keys/" + id, ""},
			{"PATCH", "/api/grants/" + id, `{"label":"a"}`}, {"DELETE", "/api/grants/" + id, ""}, {"POST", "/api/grants/" + id + "/share-vault", ""},
			{"GET", "/api/escrows/" + id + "/preview", ""}, {"POST", "/api/escrows/" + id + "/accept", ""}, {"POST", "/api/escrows/" + id + "/decline", ""}, {"POST", "/api/escrows/" + id + "/cancel", ""},
			{"DELETE", "/api/tokens/superseded/" + id, ""}, {"POST", "/api/tokens/superseded/" + id + "/restore", `{"serviceName":"a"}`},
		} {
			code := fault.NotFound
			if strings.HasPrefix(tt.path, "/api/tokens/") {
				code = fault.TokenNotFound
			}
			wantRefusal(t, tt.method+" "+tt.path, d.call(t, tt.method, tt.path, tt.body, d.user()...), 404, code, "")
			if calls := d.take(); calls != "" {
				t.Errorf("%s %s: called %q, want nothing called", tt.method, tt.path, calls)
			}
		}
	}
}

func TestWhoMayCall(t *testing.T) {
	t.Parallel()
	d := open(t, apitest.Load(t))
	session, key := d.session.Reveal(), d.agentKey.Reveal()
	const cookie = "tv_session="
	type headers = []string
	for _, tt := range []struct {
		name, path string
		headers    headers
		status     int
		code       fault.Code
	}{
		{"bearer session", "/api/vault/status", headers{"Authorization", "Bearer " + session}, 200, ""},
		{"bearer API key", "/api/vault/status", headers{"Authorization", "Bearer " + d.apiKey.Reveal()}, 200, ""},
		{"an API key in the cookie", "/api/vault/status", headers{"Cookie", cookie + d.apiKey.Reveal()}, 401, fault.InvalidKey},
		{"an API key where an agent is needed", "/api/agents/whoami", headers{"Authorization", "Bearer " + d.apiKey.Reveal()}, 401, fault.InvalidKey},
		{"an API key in the agent's header", "/api/agents/whoami", headers{"X-Agent-Key", d.apiKey.Reveal()}, 401, fault.InvalidKey},
		{"cookie", "/api/vault/status", headers{"Cookie", cookie + session}, 200, ""},
		{"cookie beside an agent's key", "/api/vault/status", headers{"Cookie", cookie + session, "X-Agent-Key", key}, 200, ""},
		{"nothing", "/api/vault/status", nil, 401, fault.SignInRequired},
		{"the cookie's https name over http", "/api/vault/status", headers{"Cookie", "__Host-tv_session=" + session}, 401, fault.SignInRequired},
		{"bad cookie", "/api/vault/status", headers{"Cookie", cookie + "tcs_bad"}, 401, fault.InvalidKey},
		{"bad bearer beside a good cookie", "/api/vault/status", headers{"Authorization", "Bearer x", "Cookie", cookie + session}, 401, fault.InvalidKey},
		{"another scheme", "/api/vault/status", headers{"Authorization", "Basic " + session}, 401, fault.InvalidKey},
		{"an agent where a user is needed", "/api/vault/status", headers{"Authorization", "Bearer " + key}, 401, fault.InvalidKey},
		{"an agent's header where a user is needed", "/api/vault/status", headers{"X-Agent-Key", key}, 401, fault.InvalidKey},
		{"session in the query", "/api/vault/status?token=" + session, nil, 401, fault.SignInRequired},

		{"agent by bearer", "/api/agents/whoami", headers{"Authorization", "Bearer " + key}, 200, ""},
		{"agent by header", "/api/agents/whoami", headers{"X-Agent-Key", key}, 200, ""},
		{"agent by both", "/api/agents/whoami", headers{"X-Agent-Key", key, "Authorization", "Bearer " + key}, 200, ""},
		{"no key", "/api/agents/whoami", nil, 401, fault.InvalidKey},
		{"a user where an agent is needed", "/api/agents/whoami", headers{"Authorization", "Bearer " + session}, 401, fault.InvalidKey},
		{"a cookie where an agent is needed", "/api/agents/whoami", headers{"Cookie", cookie + session}, 401, fault.InvalidKey},
		{"two keys that differ", "/api/agents/whoami", headers{"X-Agent-Key", key, "Authorization", "Bearer other"}, 401, fault.InvalidKey},
		{"key in the query", "/api/agents/whoami?key=" + key + "&apiKey=" + key, nil, 401, fault.InvalidKey},
		{"key in the query of a release", "/api/agents/credentials?service=github&key=" + key, nil, 401, fault.InvalidKey},
		{"list without a key", "/api/agents/credentials", nil, 401, fault.InvalidKey},
	} {
		got := d.call(t, "GET", tt.path, "", tt.headers...)
		calls := d.take()
		if tt.status == 200 {
			if got.status != 200 || calls == "" {
				t.Errorf("%s: got %d %s and called %q, want 200", tt.name, got.status, got.body, calls)
			}
			continue
		}
		wantRefusal(t, tt.name, got, tt.status, tt.code, "")
		if calls != "" {
			t.Errorf("%s: called %q, want nothing called", tt.name, calls)
		}
	}
}

func TestFaultsOfServicesBecomeTheirStatus(t *testing.T) {
	t.Parallel()
	d := open(t, apitest.Load(t))
	for _, tt := range []struct {
		path   string
		err    error
		status int
		code   fault.Code
	}{
		{"/api/agents/credentials?service=a", fault.New(fault.NoGrant, "No."), 403, fault.NoGrant},
		{"/api/agents/credentials?service=a", fault.New(fault.GrantExpired, "No."), 403, fault.GrantExpired},
		{"/api/agents/credentials?service=a", fault.New(fault.AgentInactive, "No."), 403, fault.AgentInactive},
		{"/api/agents/credentials?service=a", fault.New(fault.TokenNotFound, "No."), 404, fault.TokenNotFound},
		{"/api/agents/credentials?service=a", fault.New(fault.WebhookNotConfigured, "No."), 409, fault.WebhookNotConfigured},
		{"/api/agents/credentials?service=a", fault.New(fault.VaultLocked, "No."), 423, fault.VaultLocked},
		{"/api/agents/credentials?service=a", fault.New(fault.RateLimited, "No."), 429, fault.RateLimited},
		{"/api/agents/credentials?service=a", fault.New(fault.Unavailable, "No."), 503, fault.Unavailable},
		{"/api/agents/credentials?service=a", errors.New("secret detail"), 500, fault.Internal},
		{"/api/agents/credentials", errors.New("secret detail"), 500, fault.Internal},
		{"/api/tokens/a", fault.New(fault.TokenNotFound, "No."), 404, fault.TokenNotFound},
		{"/api/vault/status", models.ErrNotFound, 500, fault.Internal},
	} {
		d.err = tt.err
		headers := d.user()
		if strings.HasPrefix(tt.path, "/api/agents/") {
			headers = d.agent()
		}
		got := d.call(t, "GET", tt.path, "", headers...)
		wantRefusal(t, tt.path+" "+tt.err.Error(), got, tt.status, tt.code, "")
		if strings.Contains(got.body, "secret detail") || got.header.Get("Location") != "" {
			t.Errorf("%s: the answer shows the cause or an address: %v %s", tt.path, got.header, got.body)
		}
	}
	d.err = fault.New(fault.WebhookMismatch, "No.")
	bind := `{"code":"c","webhookUrl":"u","hmacSecretHash":"h"}`
	wantRefusal(t, "bind", d.call(t, "POST", "/api/vault/webhook-bind", bind, d.user()...), 422, fault.WebhookMismatch, "")
	d.err = fault.New(fault.BindCodeInvalid, "No.")
	wantRefusal(t, "bind", d.call(t, "POST", "/api/vault/webhook-bind", bind, d.user()...), 400, fault.BindCodeInvalid, "")
	d.err = fault.New(fault.RegistrationClosed, "No.")
	got := d.call(t, "POST", "/api/auth/register", `{"email":"a@b.example","password":"0123456789"}`)
	wantRefusal(t, "register", got, 403, fault.RegistrationClosed, "")
	if got.header.Get("Set-Cookie") != "" {
		t.Errorf("a refused registration set the cookie %q", got.header.Get("Set-Cookie"))
	}
	d.err = fault.New(fault.LoginFailed, "No.")
	got = d.call(t, "POST", "/api/auth/login", `{"email":"a@b.example","password":"x"}`)
	wantRefusal(t, "login", got, 401, fault.LoginFailed, "")
	if got.header.Get("Set-Cookie") != "" {
		t.Errorf("a failed sign-in set the cookie %q", got.header.Get("Set-Cookie"))
	}
	d.ready = errors.New("secret detail")
	wantRefusal(t, "readyz", d.call(t, "GET", "/readyz", ""), 503, fault.Unavailable, "")
}

func TestStoringHereIsRefusedWithoutReadingTheBodyWhileAWebhookHasCustody(t *testing.T) {
	t.Parallel()
	d := open(t, apitest.Load(t))
	// The body is neither JSON nor announced as such; nobody looks.
	got := d.call(t, "POST", "/api/tokens", "ghp_secret", append(d.user(), "Content-Type", "text/plain")...)
	wantRefusal(t, "webhook mode", got, 409, fault.WrongVaultMode, "")
	if !strings.Contains(got.body, "store-ticket") || strings.Contains(got.body, "ghp_secret") {
		t.Errorf("the answer is %s, want a hint with store-ticket", got.body)
	}
	if calls := d.take(); calls != "Status" {
		t.Errorf("called %q, want Status alone", calls)
	}
}

func TestCrossSiteRequestsWithACookieAreRefused(t *testing.T) {
	t.Parallel()
	d := open(t, apitest.Load(t))
	cookie := "tv_session=" + d.session.Reveal()
	got := d.call(t, "POST", "/api/vault/lock", "", "Cookie", cookie, "Sec-Fetch-Site", "cross-site")
	wantRefusal(t, "lock from another site", got, 403, fault.CrossOrigin, "")
	got = d.call(t, "POST", "/api/auth/login", `{"email":"a@b.example","password":"x"}`, "Origin", "https://evil.example")
	wantRefusal(t, "sign-in from another site", got, 403, fault.CrossOrigin, "")
	if calls := d.take(); calls != "" {
		t.Errorf("called %q, want nothing called", calls)
	}
	if got := d.call(t, "POST", "/api/vault/lock", "", "Cookie", cookie, "Sec-Fetch-Site", "same-origin"); got.status != http.StatusOK {
		t.Errorf("lock from our own page: %d %s, want 200", got.status, got.body)
	}
}
