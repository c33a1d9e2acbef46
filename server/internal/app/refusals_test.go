package app_test

import (
	"bufio"
	"database/sql"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/tvzero/tokenvault/models/store/storetest"
	"github.com/tvzero/tokenvault/webhook-sdk/webhooktest"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"

	"github.com/tvzero/tokenvault/server/internal/app/apptest"
)

// A house is a server with a bound webhook, a stored token and an agent that was
// granted it: what bad input must not change.
type house struct {
	server   *server
	webhook  *webhooktest.Webhook
	db       *sql.DB
	owner    *apptest.Owner
	agentID  string
	agentKey string
}

func newHouse(t *testing.T, database string, options ...webhooktest.Option) *house {
	t.Helper()
	h := &house{server: start(t, database, newKeys(t)), webhook: startWebhook(t, nil, options...), db: connect(t, database)}
	h.owner = h.server.owner(t, "owner@example.com")
	h.owner.Bind(h.webhook.URL, adminSecret)
	h.owner.Store("github", map[string]any{"tokenType": wire.TypePlainText, "accessToken": "ghp_value"})
	h.agentID, h.agentKey = h.owner.Agent("deployer")
	h.owner.Grant(h.agentID, "github", 0)
	return h
}

// A badRequest is one that must be refused and change nothing.
type badRequest struct {
	name, method, path string
	body               any
	headers            []string // in place of the owner's session; nil: with it
	status             int
	code, field        string
}

func (h *house) refuse(t *testing.T, r badRequest) {
	t.Helper()
	tokens := h.webhook.Storage.Count(wire.CollectionTokens)
	before := dump(t, h.db)
	owner := h.owner.In(t, h.server.URL())
	if r.headers != nil {
		owner.Cookie = ""
	}
	answer := owner.Do(r.method, r.path, r.body, r.headers...)
	var problem struct{ Code, Field, Detail string }
	if len(answer.Body) > 0 {
		answer.Decode(t, &problem)
	}
	if answer.Status != r.status || problem.Code != r.code || r.field != "" && problem.Field != r.field || problem.Detail == "" {
		t.Errorf("%s: got %s, want %d %s about %q, with a sentence", r.name, answer, r.status, r.code, r.field)
	}
	if answer.Header.Get("Set-Cookie") != "" || answer.Header.Get("Location") != "" {
		t.Errorf("%s: a refusal set a cookie or an address: %v", r.name, answer.Header)
	}
	wantUnchanged(t, r.name, before, dump(t, h.db))
	if got := h.webhook.Storage.Count(wire.CollectionTokens); got != tokens {
		t.Errorf("%s: the webhook holds %d tokens, %d before", r.name, got, tokens)
	}
}

const (
	release         = "/api/agents/credentials?service=github"
	unknownID       = "01890000-0000-7000-8000-000000000000"
	unauthorized401 = http.StatusUnauthorized
)

func bearer(key string) []string { return []string{"Authorization", "Bearer " + key} }

func TestBadKeysAreRefusedAlikeAndChangeNothing(t *testing.T) {
	t.Parallel()
	storetest.EachURL(t, func(t *testing.T, database string) {
		h := newHouse(t, database)
		session := strings.SplitN(h.owner.Cookie, "=", 2)[1]
		last := h.agentKey[len(h.agentKey)-2]
		flipped := h.agentKey[:len(h.agentKey)-2] + string(rune(last^1)) + h.agentKey[len(h.agentKey)-1:]
		for name, headers := range map[string][]string{
			"no key": {"Accept", "*/*"}, "Bearer alone": {"Authorization", "Bearer"}, "Bearer and a space": {"Authorization", "Bearer "},
			"another scheme": {"Authorization", "Basic " + h.agentKey}, "no scheme": {"Authorization", h.agentKey},
			"two words": bearer(h.agentKey + " x"), "one character off": bearer(flipped), "cut short": bearer(h.agentKey[:len(h.agentKey)-4]),
			"padded": bearer(h.agentKey + "="), "longer than any key": bearer(h.agentKey + strings.Repeat("A", 1000)),
			"another prefix": bearer(strings.Replace(h.agentKey, "tvagent_", "tcs_", 1)), "a session": bearer(session),
			"not ASCII": bearer("tvagent_ü"), "two that differ": append(bearer(h.agentKey), "X-Agent-Key", session),
			"an empty agent header": {"X-Agent-Key", ""}, "a cookie": {"Cookie", h.owner.Cookie},
		} {
			h.refuse(t, badRequest{name, "GET", release, nil, headers, unauthorized401, "INVALID_KEY", ""})
		}
		for name, headers := range map[string][]string{
			"an agent's key": bearer(h.agentKey), "a bad session": bearer(session[:len(session)-1]), "a bad cookie": {"Cookie", "tv_session=tcs_x"},
		} {
			h.refuse(t, badRequest{name, "POST", "/api/vault/lock", nil, headers, unauthorized401, "INVALID_KEY", ""})
		}
		h.refuse(t, badRequest{"nobody", "POST", "/api/vault/lock", nil, []string{"Accept", "*/*"}, unauthorized401, "SIGN_IN_REQUIRED", ""})
		h.refuse(t, badRequest{"another site", "POST", "/api/vault/lock", nil,
			[]string{"Cookie", h.owner.Cookie, "Origin", "https://evil.example"}, 403, "CROSS_ORIGIN", ""})
		h.refuse(t, badRequest{"a wrong password", "POST", "/api/auth/login",
			map[string]string{"email": h.owner.Email, "password": "wrong, but long enough"}, []string{"Accept", "*/*"}, unauthorized401, "LOGIN_FAILED", ""})
	})
}

func TestBadRequestsAreRefusedAndChangeNothing(t *testing.T) {
	t.Parallel()
	storetest.EachURL(t, func(t *testing.T, database string) {
		h := newHouse(t, database)
		agent := "/api/agents/" + h.agentID
		type object = map[string]any
		text := func(n int) string { return strings.Repeat("a", n) }
		registration := func(email, password, name string) object {
			return object{"email": email, "password": password, "displayName": name}
		}
		nobody := []string{"Accept", "*/*"}
		for _, r := range []badRequest{
			{"duplicate registration", "POST", "/api/auth/register", registration(" OWNER@Example.com ", apptest.Password, ""), nobody, 409, "CONFLICT", ""},
			{"no e-mail", "POST", "/api/auth/register", registration("nobody", apptest.Password, ""), nobody, 400, "INVALID_REQUEST", "email"},
			{"over-long e-mail", "POST", "/api/auth/register", registration(text(250)+"@example.com", apptest.Password, ""), nobody, 400, "INVALID_REQUEST", "email"},
			{"short password", "POST", "/api/auth/register", registration("b@example.com", "short", ""), nobody, 400, "INVALID_REQUEST", "password"},
			{"over-long password", "POST", "/api/auth/register", registration("b@example.com", text(1025), ""), nobody, 400, "INVALID_REQUEST", "password"},
			{"over-long display name", "POST", "/api/auth/register", registration("b@example.com", apptest.Password, text(101)), nobody, 400, "INVALID_REQUEST", "displayName"},
			{"unknown field", "POST", "/api/auth/register", object{"email": "b@example.com", "password": apptest.Password, "admin": true}, nobody, 400, "INVALID_REQUEST", "admin"},
			{"unknown field", "POST", "/api/vault/sync", object{"service": "github"}, nil, 400, "INVALID_REQUEST", "service"},

			{"over-long service", "GET", "/api/agents/credentials?service=" + text(129), nil, bearer(h.agentKey), 400, "INVALID_REQUEST", "service"},
			{"reserved service", "GET", "/api/agents/credentials?service=audit-log", nil, bearer(h.agentKey), 400, "INVALID_REQUEST", "service"},
			{"service in Greek", "GET", "/api/agents/credentials?service=%CE%B1", nil, bearer(h.agentKey), 400, "INVALID_REQUEST", "service"},
			{"not granted", "GET", "/api/agents/credentials?service=gitlab", nil, bearer(h.agentKey), 403, "NO_GRANT", ""},

			{"agent without a name", "POST", "/api/agents", object{"name": " "}, nil, 400, "INVALID_REQUEST", "name"},
			{"agent with an over-long name", "POST", "/api/agents", object{"name": text(101)}, nil, 400, "INVALID_REQUEST", "name"},
			{"agent with a control character", "POST", "/api/agents", object{"name": "a\x01"}, nil, 400, "INVALID_REQUEST", "name"},
			{"agent with an over-long description", "POST", "/api/agents", object{"name": "b", "description": text(501)}, nil, 400, "INVALID_REQUEST", "description"},
			{"agent whose name is taken", "POST", "/api/agents", object{"name": "deployer"}, nil, 409, "CONFLICT", ""},
			{"status that does not exist", "PATCH", agent, object{"status": "sleeping"}, nil, 400, "INVALID_REQUEST", "status"},
			{"nothing to change", "PATCH", agent, object{}, nil, 400, "INVALID_REQUEST", ""},
			{"unknown agent", "PATCH", "/api/agents/" + unknownID, object{"name": "x"}, nil, 404, "NOT_FOUND", ""},
			{"unknown agent", "DELETE", "/api/agents/" + unknownID, nil, nil, 404, "NOT_FOUND", ""},
			{"unknown agent", "POST", "/api/agents/" + unknownID + "/rotate-key", nil, nil, 404, "NOT_FOUND", ""},

			{"grant for an unknown agent", "POST", "/api/agents/" + unknownID + "/grants", object{"serviceName": "github"}, nil, 404, "NOT_FOUND", ""},
			{"grant of an unknown token", "POST", agent + "/grants", object{"serviceName": "gitlab"}, nil, 404, "TOKEN_NOT_FOUND", ""},
			{"grant for no time", "POST", agent + "/grants", object{"serviceName": "github", "expiresInHours": 0}, nil, 400, "INVALID_REQUEST", "expiresInHours"},
			{"grant for over 30 days", "POST", agent + "/grants", object{"serviceName": "github", "expiresInHours": 721}, nil, 400, "INVALID_REQUEST", "expiresInHours"},
			{"grant for a word", "POST", agent + "/grants", object{"serviceName": "github", "expiresInHours": "two"}, nil, 400, "INVALID_REQUEST", "expiresInHours"},
			{"grant under another agent's name", "POST", agent + "/grants", object{"serviceName": "github", "agentId": unknownID}, nil, 400, "INVALID_REQUEST", "agentId"},
			{"grant with another policy", "POST", agent + "/grants", object{"serviceName": "github", "refreshPolicy": "often"}, nil, 400, "INVALID_REQUEST", "refreshPolicy"},
			{"revoking what was not granted", "DELETE", agent + "/grants/gitlab", nil, nil, 404, "NOT_FOUND", ""},

			{"ticket for no service", "POST", "/api/vault/store-ticket", object{}, nil, 400, "INVALID_REQUEST", "serviceName"},
			{"ticket for an over-long service", "POST", "/api/vault/store-ticket", object{"serviceName": text(129)}, nil, 400, "INVALID_REQUEST", "serviceName"},
			{"ticket of another mode", "POST", "/api/vault/store-ticket", object{"serviceName": "a", "mode": "append"}, nil, 400, "INVALID_REQUEST", "mode"},
			{"ticket of another purpose", "POST", "/api/vault/credential-ticket", object{"serviceName": "github", "purpose": "agent_credential"}, nil, 400, "INVALID_REQUEST", "purpose"},
			{"ticket for an unknown token", "POST", "/api/vault/credential-ticket", object{"serviceName": "gitlab", "purpose": "user_reveal"}, nil, 404, "TOKEN_NOT_FOUND", ""},

			{"unknown token", "GET", "/api/tokens/gitlab", nil, nil, 404, "TOKEN_NOT_FOUND", ""},
			{"unknown token", "DELETE", "/api/tokens/gitlab", nil, nil, 404, "TOKEN_NOT_FOUND", ""},
			{"storing here", "POST", "/api/tokens", object{"serviceName": "a", "tokenData": object{}}, nil, 409, "WRONG_VAULT_MODE", ""},
			{"over-long display name", "PATCH", "/api/tokens/github/metadata", object{"displayName": text(257)}, nil, 400, "INVALID_REQUEST", "displayName"},
			{"tags that are none", "PATCH", "/api/tokens/github/metadata", object{"tags": "a,b"}, nil, 400, "INVALID_REQUEST", "tags"},
			{"nothing to delete", "DELETE", "/api/tokens/bulk", object{"serviceNames": []string{}}, nil, 400, "INVALID_REQUEST", "serviceNames"},
			{"agents that are none", "DELETE", "/api/agents/bulk", object{"agentIds": []string{"x"}}, nil, 400, "INVALID_REQUEST", "agentIds"},

			{"event type that does not exist", "GET", "/api/tokens/audit-log?eventType=x", nil, nil, 400, "INVALID_REQUEST", "eventType"},
			{"time that is none", "GET", "/api/tokens/audit-log?since=yesterday", nil, nil, 400, "INVALID_REQUEST", "since"},
			{"cursor that nobody gave", "GET", "/api/tokens/audit-log?cursor=x", nil, nil, 400, "INVALID_REQUEST", "cursor"},
			{"cursor that nobody gave", "GET", "/api/tokens?limit=1&cursor=%21", nil, nil, 400, "INVALID_REQUEST", "cursor"},
			{"limit of nothing", "GET", "/api/agents?limit=0", nil, nil, 400, "INVALID_REQUEST", "limit"},
			{"unknown path", "GET", "/api/token", nil, nil, 404, "NOT_FOUND", ""},
			{"unknown method", "PUT", "/api/tokens", object{}, nil, 405, "METHOD_NOT_ALLOWED", ""},
		} {
			h.refuse(t, r)
		}
		wantFetched(t, newAgent(t, h.server.URL(), h.agentKey), apptest.Sample{Service: "github", Data: object{"accessToken": "ghp_value"}})
	})
}

func TestBadBodiesAreRefusedAndChangeNothing(t *testing.T) {
	t.Parallel()
	storetest.EachURL(t, func(t *testing.T, database string) {
		h := newHouse(t, database)
		agent := "/api/agents/" + h.agentID
		for _, target := range []struct{ method, path, good string }{
			{"POST", "/api/agents", `{"name":"new"}`}, {"PATCH", agent, `{"name":"other"}`}, {"DELETE", "/api/agents/bulk", `{"agentIds":["` + h.agentID + `"]}`},
			{"POST", agent + "/grants", `{"serviceName":"github","expiresInHours":1}`}, {"PATCH", "/api/tokens/github/metadata", `{"notes":"x"}`},
			{"DELETE", "/api/tokens/bulk", `{"serviceNames":["github"]}`}, {"POST", "/api/vault/store-ticket", `{"serviceName":"a"}`},
			{"POST", "/api/vault/webhook-bind", `{"code":"x","webhookUrl":"http://127.0.0.1:1","hmacSecretHash":"x"}`},
		} {
			send := func(name, body string, status int, code string, headers ...string) {
				t.Helper()
				headers = append([]string{"Cookie", h.owner.Cookie}, headers...)
				h.refuse(t, badRequest{target.method + " " + target.path + " " + name, target.method, target.path, []byte(body), headers, status, code, ""})
			}
			send("as text", target.good, 415, "UNSUPPORTED_MEDIA_TYPE", "Content-Type", "text/plain")
			send("as a form", target.good, 415, "UNSUPPORTED_MEDIA_TYPE", "Content-Type", "application/x-www-form-urlencoded")
			send("in another charset", target.good, 415, "UNSUPPORTED_MEDIA_TYPE", "Content-Type", "application/json; charset=utf-16")
			send("empty", "", 400, "INVALID_REQUEST")
			send("cut", target.good[:len(target.good)-1], 400, "INVALID_REQUEST")
			send("twice", target.good+target.good, 400, "INVALID_REQUEST")
			send("as a list", "["+target.good+"]", 400, "INVALID_REQUEST")
			send("not UTF-8", strings.Replace(target.good, `{"`, "{\"\xff\":1,\"", 1), 400, "INVALID_REQUEST")
			send("nested deep", strings.Replace(target.good, `{`, `{"x":`+strings.Repeat("[", 100)+strings.Repeat("]", 100)+`,`, 1), 400, "INVALID_REQUEST")
			send("over 1 MiB", strings.Replace(target.good, `{`, `{"x":"`+strings.Repeat("a", 1<<20)+`",`, 1), 413, "TOO_LARGE")
		}
	})
}

// What net/http itself refuses never reaches a handler.
func TestMalformedHTTPIsRefusedAndChangesNothing(t *testing.T) {
	t.Parallel()
	storetest.EachURL(t, func(t *testing.T, database string) {
		h := newHouse(t, database)
		key := "Authorization: Bearer " + h.agentKey + "\r\n"
		for name, tt := range map[string]struct {
			request string
			status  int
		}{
			"header without a colon": {"GET " + release + " HTTP/1.1\r\nHost: a\r\n" + key + "Broken\r\n\r\n", 400},
			"header with a space":    {"GET " + release + " HTTP/1.1\r\nHost: a\r\n" + key + "Bro ken: x\r\n\r\n", 400},
			"header with a NUL":      {"GET " + release + " HTTP/1.1\r\nHost: a\r\n" + key + "Broken: \x00\r\n\r\n", 400},
			"no host":                {"GET " + release + " HTTP/1.1\r\n" + key + "\r\n", 400},
			"two hosts":              {"GET " + release + " HTTP/1.1\r\nHost: a\r\nHost: b\r\n" + key + "\r\n", 400},
			"two lengths":            {"POST /api/vault/lock HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx", 400},
			"unknown encoding":       {"POST /api/vault/lock HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: odd\r\n\r\n", 501},
			"another protocol":       {"GET " + release + " HTTP/3.7\r\nHost: a\r\n" + key + "\r\n", 505},
			"headers of 64 KiB":      {"GET " + release + " HTTP/1.1\r\nHost: a\r\n" + key + "X: " + strings.Repeat("a", 64<<10) + "\r\n\r\n", 431},
			"no request at all":      {"\x16\x03\x01\x02\x00 TLS?\r\n\r\n", 400},
		} {
			before := dump(t, h.db)
			conn, err := net.Dial("tcp", h.server.Address())
			if err != nil {
				t.Fatal(err)
			}
			go func() { _, _ = conn.Write([]byte(tt.request)) }() // may be cut off before it is sent whole
			answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Errorf("%s: no answer: %v", name, err)
			} else {
				if answer.StatusCode != tt.status || answer.Header.Get("Location") != "" {
					t.Errorf("%s: got %d, want %d", name, answer.StatusCode, tt.status)
				}
				_ = answer.Body.Close()
			}
			_ = conn.Close()
			wantUnchanged(t, name, before, dump(t, h.db))
		}
	})
}

// Nothing of one account can be seen or changed by the owner of another.
func TestAStrangerFindsNothing(t *testing.T) {
	t.Parallel()
	storetest.EachURL(t, func(t *testing.T, database string) {
		h := newHouse(t, database)
		stranger := h.server.owner(t, "stranger@example.com")
		h.owner.Cookie = stranger.Cookie
		agent := "/api/agents/" + h.agentID
		type object = map[string]any
		for _, r := range []badRequest{
			{"agent", "GET", agent, nil, nil, 404, "NOT_FOUND", ""},
			{"agent", "PATCH", agent, object{"status": "suspended"}, nil, 404, "NOT_FOUND", ""},
			{"agent", "DELETE", agent, nil, nil, 404, "NOT_FOUND", ""},
			{"agent's key", "POST", agent + "/rotate-key", nil, nil, 404, "NOT_FOUND", ""},
			{"grant", "POST", agent + "/grants", object{"serviceName": "github"}, nil, 404, "NOT_FOUND", ""},
			{"grant", "DELETE", agent + "/grants/github", nil, nil, 404, "NOT_FOUND", ""},
			{"token", "GET", "/api/tokens/github", nil, nil, 404, "TOKEN_NOT_FOUND", ""},
			{"token", "DELETE", "/api/tokens/github", nil, nil, 404, "TOKEN_NOT_FOUND", ""},
			{"ticket", "POST", "/api/vault/credential-ticket", object{"serviceName": "github", "purpose": "user_reveal"}, nil, 400, "WRONG_VAULT_MODE", ""},
			{"binding", "DELETE", "/api/vault/webhook", nil, nil, 409, "WEBHOOK_NOT_CONFIGURED", ""},
			{"webhook", "POST", "/api/vault/webhook/check", nil, nil, 409, "WEBHOOK_NOT_CONFIGURED", ""},
		} {
			h.refuse(t, r)
		}
		for path, want := range map[string]string{"/api/agents": "[]", "/api/tokens": "[]", "/api/tokens/audit-log?agentId=" + h.agentID: `"events":[]`} {
			if answer := stranger.Do(http.MethodGet, path, nil); !strings.Contains(string(answer.Body), want) {
				t.Errorf("%s shows a stranger %s, want %s", path, answer, want)
			}
		}
	})
}
