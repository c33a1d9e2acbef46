package api_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/gin-gonic/gin"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/accounts"
	"github.com/tvzero/tokenvault/server/internal/agents"
	"github.com/tvzero/tokenvault/server/internal/api"
	"github.com/tvzero/tokenvault/server/internal/api/apitest"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/connect"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/server/internal/platform"
	"github.com/tvzero/tokenvault/server/internal/providers"
	"github.com/tvzero/tokenvault/server/internal/renew"
	"github.com/tvzero/tokenvault/server/internal/vaults"
	"github.com/tvzero/tokenvault/server/internal/web"
)

// What the composition root gives to the door fits.
var (
	_ api.Authenticator    = (*grants.Service)(nil)
	_ api.Accounts         = (*accounts.Service)(nil)
	_ api.Tokens           = (*vaults.Service)(nil)
	_ api.Vault            = (*vaults.Service)(nil)
	_ api.Webhook          = (*vaults.Service)(nil)
	_ api.Agents           = (*agents.Service)(nil)
	_ api.CredentialGrants = (*agents.Service)(nil)
	_ api.Releases         = (*agents.Service)(nil)
	_ api.Record           = (*audit.Service)(nil)
	_ api.Platform         = (*platform.Service)(nil)
	_ api.Linking          = (*platform.Service)(nil)
	_ api.Moves            = (*vaults.Service)(nil)
	_ api.Keys             = (*grants.Service)(nil)
	_ api.Sessions         = (*grants.Service)(nil)
	_ api.Refreshing       = (*renew.Service)(nil)
	_ api.Connections      = (*connect.Service)(nil)
	_ api.Providers        = (*providers.Registry)(nil)
)

// A door is a running API over fake services; its client holds every answer
// against docs/openapi.yaml.
type door struct {
	*services
	url    string
	engine *gin.Engine
	client *http.Client
}

func open(t *testing.T, spec *apitest.Spec) *door {
	t.Helper()
	s := newServices(t)
	public := &url.URL{Scheme: "http", Host: "127.0.0.1:8000"}
	engine := web.NewEngine(web.Options{Logger: slog.New(slog.DiscardHandler), PublicURL: public, Quiet: api.Quiet()})
	api.New(api.Deps{
		Auth: s, Accounts: s, Tokens: s, Vault: s, Webhook: s, Agents: s, Grants: s, Releases: s, Audit: record{s},
		Platform: s, Keys: keys{s}, Sessions: sessions{s}, Linking: s, Moves: s,
		Refresh: refreshing{s}, Connect: s, Known: known{}, PublicURL: public,
		Cookies: web.NewCookies(public), Ready: func(context.Context) error { return s.ready },
	}).Routes(engine)
	server := httptest.NewServer(engine)
	t.Cleanup(server.Close)
	return &door{services: s, url: server.URL, engine: engine, client: &http.Client{
		Transport:     spec.Transport(t, server.Client().Transport),
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

type answer struct {
	status int
	header http.Header
	body   string
}

// call sends a request; headers are pairs, and a body is announced as JSON
// unless they say otherwise.
func (d *door) call(t *testing.T, method, path, body string, headers ...string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, d.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := d.client.Do(req)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%s %s: reading the answer: %v", method, path, err)
	}
	return answer{resp.StatusCode, resp.Header, string(text)}
}

// user, agent and key are the headers of who calls.
func (d *door) user() []string  { return []string{"Authorization", "Bearer " + d.session.Reveal()} }
func (d *door) agent() []string { return []string{"Authorization", "Bearer " + d.agentKey.Reveal()} }

func (d *door) key() []string { return []string{"Authorization", "Bearer " + d.apiKey.Reveal()} }

var variable = regexp.MustCompile(`[:*]([a-z]+)`)

func TestEveryRouteIsDocumentedAndEveryDocumentedRouteExists(t *testing.T) {
	t.Parallel()
	spec := apitest.Load(t)
	d := open(t, spec)
	var routes []string
	heads := map[string]bool{}
	for _, r := range d.engine.Routes() {
		path := variable.ReplaceAllString(r.Path, "{$1}")
		if r.Method == http.MethodHead { // described once, for all: GET answers HEAD too
			heads[path] = true
			continue
		}
		routes = append(routes, r.Method+" "+path)
	}
	slices.Sort(routes)
	documented := spec.Operations()
	if !slices.Equal(routes, documented) {
		for _, r := range routes {
			if !slices.Contains(documented, r) {
				t.Errorf("%s is not in docs/openapi.yaml", r)
			}
		}
		for _, o := range documented {
			if !slices.Contains(routes, o) {
				t.Errorf("%s is in docs/openapi.yaml and nowhere else", o)
			}
		}
	}
	for _, r := range routes {
		path, isGet := strings.CutPrefix(r, "GET ")
		if isGet && !heads[path] {
			t.Errorf("%s has no answer of its own to HEAD", path)
		}
	}
}

// Every operation, once as it should be: who is called with what, and what
// comes back in the documented shape.
func TestOperationsCallTheirServiceAndAnswerAsDocumented(t *testing.T) {
	t.Parallel()
	spec := apitest.Load(t)
	d := open(t, spec)
	id, key, escrow := agentID.String(), keyID.String(), escrowID.String()
	none := []string{}
	for _, tt := range []struct {
		method, path, body string
		who                []string
		status             int
		calls              string
		contains           string
	}{
		{"GET", "/healthz", "", none, 200, "", `{"status":"ok"}`},
		{"GET", "/readyz", "", none, 200, "", `{"status":"ready"}`},
		{"POST", "/api/auth/register", `{"email":"a@b.example","password":"0123456789","displayName":"A"}`, none, 201, "Register a@b.example A", `"expiresAt":"2026-01-02T02:04:05.6Z"`},
		{"POST", "/api/auth/login", `{"email":"a@b.example","password":"x","code":""}`, none, 200, "Login a@b.example", `"accountId":"` + account.String() + `"`},
		{"POST", "/api/auth/logout", "", d.user(), 204, "Logout " + account.String(), ""},
		{"PATCH", "/api/account", `{"displayName":"A"}`, d.user(), 200, "UpdateProfile A - ", `"email":"a@b.example","displayName":"A","createdAt":"2026-01-02T02:04:05.6Z"`},
		{"PATCH", "/api/account", `{"email":"a@b.example","currentPassword":"x"}`, d.user(), 200, "UpdateProfile - a@b.example x", `"accountId":"` + account.String() + `"`},
		{"POST", "/api/account/password", `{"currentPassword":"x","newPassword":"0123456789"}`, d.user(), 204, "ChangePassword x 0123456789", ""},
		{"GET", "/api/tokens", "", d.user(), 200, `Tokens 0 ""`, `"expiryTime":1767323045600`},
		{"GET", "/api/tokens?limit=2&cursor=a%20b", "", d.user(), 200, `Tokens 2 "a b"`, `"seenByServer":{"at":"2026-01-02T02:04:05.6Z","path":"connect"}`},
		{"GET", "/api/tokens/my%20token?reveal=true", "", d.user(), 200, "Token my token", `"tags":["ci"]`},
		{"PATCH", "/api/tokens/github/metadata", `{"displayName":"G","tags":[],"other":1}`, d.user(), 200, "UpdateMetadata github G - true", `"trust":"tv-zero"`},
		{"DELETE", "/api/tokens/github", "", d.user(), 204, "DeleteTokens github", ""},
		{"DELETE", "/api/tokens/bulk", `{"serviceNames":["github","gone"]}`, d.user(), 200, "DeleteTokens github,gone", `{"deleted":1,"serviceNames":["github"]}`},
		{"GET", "/api/tokens?superseded=true", "", d.user(), 200, "Superseded", `"supersededAt":"2026-01-02T02:04:05.6Z"`},
		{"GET", "/api/tokens?superseded=false", "", d.user(), 200, `Tokens 0 ""`, `"seenByServer"`},
		{"POST", "/api/tokens/superseded/" + id + "/restore", `{"serviceName":"github 2"}`, d.user(), 200, "Restore " + id + " github 2", `{"id":"` + id + `","serviceName":"github 2"}`},
		{"DELETE", "/api/tokens/superseded/" + id, "", d.user(), 204, "Discard " + id, ""},
		{"GET", "/api/keys", "", d.user(), 200, "APIKeys", `{"keys":[{"id":"` + key + `","name":"backup","scopes":["tokens:read"],"vaultId":"` + vaultID.String() + `"`},
		{"POST", "/api/keys", `{"name":"ci","scopes":["tokens:read","audit:read"],"expiresAt":"2026-02-01T01:00:00+01:00","other":1}`, d.user(), 201, "CreateKey ci tokens:read,audit:read 2026-02-01T00:00:00Z", `"expiresAt":"2026-02-01T00:00:00Z","lastUsedAt":null,"key":"` + d.apiKey.Reveal() + `"`},
		{"POST", "/api/keys", `{"name":"ci","scopes":["tokens:read"]}`, d.key(), 201, "CreateKey ci tokens:read -", `"expiresAt":null`},
		{"POST", "/api/keys/" + key + "/rotate", "", d.user(), 200, "RotateAPIKey " + key, `"key":"tck_`},
		{"DELETE", "/api/keys/" + key, "", d.user(), 204, "RevokeGrant " + key, ""},
		{"GET", "/api/grants", "", d.user(), 200, "Grants", `"kind":"session","label":"Firefox on Linux","vaultId":null,"scopes":[],"current":true`},
		{"GET", "/api/grants?limit=1", "", d.user(), 200, "Grants", `"nextCursor":"` + key + `"`},
		{"GET", "/api/grants?limit=1&cursor=" + key, "", d.user(), 200, "Grants", `"nextCursor":null`},
		{"PATCH", "/api/grants/" + key, `{"label":"offline"}`, d.user(), 204, "SetLabel " + key + " offline", ""},
		{"DELETE", "/api/grants/" + key, "", d.user(), 204, "RevokeGrant " + key, ""},
		{"POST", "/api/grants/" + key + "/share-vault", "", d.user(), 201, "Share " + key, `"state":"pending"`},
		{"GET", "/api/vault/move", "", d.user(), 200, "Waiting", `{"items":[{"vaultId":"` + vaultID.String() + `","tokens":[{"id":"` + id + `","serviceName":"github","tokenType":"JWT","superseded":true}],"openedBy":[{"id":"` + key + `","kind":"api_key","label":"offline"}]}],"nextCursor":null}`},
		{"POST", "/api/vault/move", "", d.user(), 200, "Move 00000000-0000-0000-0000-000000000000", `{"moved":["github"],"left":[{"id":"` + id + `","serviceName":"otp","reason":"The name is taken."}],"next":"` + key + `"}`},
		{"POST", "/api/vault/move", `{"after":"` + key + `"}`, d.key(), 200, "Move " + key, `"next":null}`},
		{"DELETE", "/api/vault/move/" + id, "", d.user(), 204, "DropWaiting " + id, ""},
		{"GET", "/api/vault/move-back", "", d.user(), 200, "MoveBackPlan", `{"id":"` + id + `","serviceName":"otp","tokenType":"TOTP","movable":false,"copied":false,"reason":"Never leaves."}`},
		{"POST", "/api/vault/move-back", `{"serviceName":"github","tokenData":{"tokenType":"JWT","accessToken":"s3cret"}}`, d.user(), 200, "MoveBack github accessToken,tokenType", `{"status":"moved","id":"` + id + `","serviceName":"github"}`},
		{"GET", "/api/escrows", "", d.user(), 200, "Escrows", `"state":"declined"`},
		{"GET", "/api/escrows/" + escrow + "/preview", "", d.user(), 200, "Preview " + escrow, `"from":"Firefox on Linux","shared":3,"own":2,"copies":true,"conflicts":[{"serviceName":"github","keepsOwn":true}],"agents":1,"cancels":0}`},
		{"POST", "/api/escrows/" + escrow + "/accept", "", d.key(), 200, "Accept " + escrow, `"state":"accepted"`},
		{"POST", "/api/escrows/" + escrow + "/decline", "", d.user(), 200, "Decline " + escrow, `"state":"declined"`},
		{"POST", "/api/escrows/" + escrow + "/cancel", "", d.user(), 200, "Cancel " + escrow, `"state":"cancelled"`},
		{"GET", "/api/tokens", "", d.user(), 200, `Tokens 0 ""`, `"provider":"p","subject":"me","scope":"mail read","connectUrl":"https://tv.example/connect/p?service=my token","refresh":{"dueAt":"2026-01-02T03:04:05.6Z","lastOutcome":"retry_at","lastReason":"rate_limited","lastPath":"notify","lastAt":"2026-01-02T02:04:05.6Z","refreshedAt":null,"retryAt":"2026-01-02T03:04:05.6Z","attempts":2}`},
		{"GET", "/api/tokens", "", d.key(), 200, `Tokens 0 ""`, `"trustFacts":{"mode":"webhook","webhookUrl":"https://hook.example","webhookCapabilities":["refresh"],"webhookCheckedAt":"2026-01-02T02:04:05.6Z","webhookHealth":"healthy","lastNotify":"2026-01-02T02:04:05.6Z","lastTvMediated":null,"lastPlatform":null}`},
		{"POST", "/api/tokens/my%20token/refresh", "", d.key(), 200, "Refresh my token 127.0.0.1", `{"path":"notify","outcome":"rotated","expiresAt":"2026-01-02T03:04:05.6Z"}`},
		{"POST", "/api/tokens/my%20token/disconnect", "", d.user(), 200, "Disconnect my token", `{"revoked":false,"note":"Deleted, and not revoked."}`},
		{"GET", "/api/providers", "", d.key(), 200, "Status", `{"items":[{"id":"acme","name":"Acme","scopes":["openid"],"clientSecretAt":"server","available":true,"connectUrl":"http://127.0.0.1:8000/connect/acme","manageUrl":"https://acme.example/apps"},{"id":"public","name":"Public","scopes":[],"clientSecretAt":"nowhere","available":false,"connectUrl":"http://127.0.0.1:8000/connect/public"}],"nextCursor":null}`},
		{"GET", "/api/agents", "", d.user(), 200, `List 0 ""`, `"lastUsedAt":"2026-01-02T02:04:05.6Z"`},
		{"POST", "/api/agents", `{"name":"deployer","description":"d","other":1}`, d.user(), 201, "Create deployer d", `"apiKey":"` + d.agentKey.Reveal() + `"`},
		{"GET", "/api/agents/" + id, "", d.user(), 200, "Get " + id, `"grants":[{"serviceName":"github","refreshPolicy":"auto","grantExpiresAt":null`},
		{"PATCH", "/api/agents/" + id, `{"status":"suspended"}`, d.user(), 200, "Update " + id + " - - suspended", `"name":"deployer"`},
		{"DELETE", "/api/agents/" + id, "", d.user(), 204, "Delete [" + id + "]", ""},
		{"DELETE", "/api/agents/bulk", `{"agentIds":["` + id + `"]}`, d.user(), 200, "Delete [" + id + "]", `{"deleted":1}`},
		{"POST", "/api/agents/" + id + "/rotate-key", "", d.user(), 200, "RotateKey " + id, `"apiKey":"tvagent_`},
		{"POST", "/api/agents/" + id + "/grants", `{"agentId":"` + id + `","serviceName":"github","expiresInHours":24}`, d.user(), 201, "Grant " + id + " github 24h0m0s auto", `"agentId":"` + id + `"`},
		{"POST", "/api/agents/" + id + "/grants", `{"serviceName":"github","refreshPolicy":"never"}`, d.user(), 201, "Grant " + id + " github 0s never", `"grantExpiresAt":null`},
		{"DELETE", "/api/agents/" + id + "/grants/my%20token", "", d.user(), 204, "Revoke " + id + " my token", ""},
		{"GET", "/api/agents/credentials?service=github", "", d.agent(), 307, "Release github 127.0.0.1", ""},
		{"GET", "/api/agents/credentials", "", d.agent(), 200, "Granted", `{"serviceName":"gone","tokenType":"","refreshPolicy":"never","trust":""}`},
		{"GET", "/api/agents/whoami", "", []string{"X-Agent-Key", d.agentKey.Reveal()}, 200, "Whoami", `"kind":"agent_key","scopes":[],"expiresAt":null`},
		{"GET", "/api/vault/status", "", d.user(), 200, "Status", `"lastHealthStatus":"healthy"`},
		{"POST", "/api/vault/lock", "", d.user(), 200, "Lock", `{"isLocked":true}`},
		{"POST", "/api/vault/lock/clear", "", d.user(), 200, "Unlock", `{"isLocked":false}`},
		{"POST", "/api/vault/webhook-bind", `{"code":"c","webhookUrl":"https://hook.example","hmacSecretHash":"ab"}`, d.user(), 200, "Bind c https://hook.example ab", `{"status":"bound","vaultMode":"webhook","webhookRegistered":true,"webhookCapabilities":["storage","store"]}`},
		{"DELETE", "/api/vault/webhook", "", d.user(), 204, "Unbind", ""},
		{"POST", "/api/vault/store-ticket", `{"serviceName":"github","mode":"create"}`, d.user(), 200, `StoreTicket github "create"`, `{"ticket":"t.t","webhookUrl":"https://hook.example","expiresIn":60}`},
		{"POST", "/api/vault/credential-ticket", `{"serviceName":"github","purpose":"totp_code"}`, d.user(), 200, "CredentialTicket github totp_code", `"expiresIn":60`},
		{"POST", "/api/vault/credential-ticket", `{"serviceName":"github","purpose":"user_reveal"}`, d.user(), 200, "CredentialTicket github user_reveal", `"ticket":"t.t"`},
		{"POST", "/api/vault/sync", "", d.user(), 200, `Sync ""`, `{"synced":3}`},
		{"POST", "/api/vault/sync", `{"serviceName":"github"}`, d.user(), 200, `Sync "github"`, `{"synced":3}`},
		{"POST", "/api/vault/webhook/check", "", d.user(), 200, "CheckWebhook", `"verdict":"pass","status":200,"latencyMs":1.23`},
		{"GET", "/api/tokens/audit-log?eventType=link", "", d.user(), 200, "Events " + account.String() + "  00000000-0000-0000-0000-000000000000 link  0001-01-01T00:00:00Z \"\" 0", `"events":[]`},
		{"GET", "/api/tokens/audit-log?serviceName=github&agentId=" + id + "&eventType=release&source=agent&since=2026-01-01T01:00:00%2B01:00&limit=7&cursor=x", "", d.user(), 200,
			"Events " + account.String() + " github " + id + ` release agent 2026-01-01T00:00:00Z "x" 7`, `{"events":[],"pagination":{"hasMore":false}}`},
	} {
		got := d.call(t, tt.method, tt.path, tt.body, tt.who...)
		if got.status != tt.status || !strings.Contains(got.body, tt.contains) {
			t.Errorf("%s %s: got %d %s\nwant %d with %s", tt.method, tt.path, got.status, got.body, tt.status, tt.contains)
		}
		if calls := d.take(); calls != tt.calls {
			t.Errorf("%s %s: called %q, want %q", tt.method, tt.path, calls, tt.calls)
		}
		if strings.Contains(fmt.Sprint(got.body), d.session.Reveal()) {
			t.Errorf("%s %s: the body shows the session", tt.method, tt.path)
		}
	}
	d.status.Mode = models.ModePlatform
	stored := d.call(t, "POST", "/api/tokens", `{"serviceName":"github","tokenData":{"tokenType":"PlainText","accessToken":"s3cret"},"other":1}`, d.user()...)
	if want := `{"status":"stored","id":"` + id + `","serviceName":"github","tokenType":"PlainText","creationId":"c2","expiryTime":null}`; stored.status != 201 || stored.body != want {
		t.Errorf("storing: got %d %s\nwant 201 %s", stored.status, stored.body, want)
	}
	if unseen := spec.Unseen(); len(unseen) > 0 {
		t.Errorf("documented successes that no request here produced: %v", unseen)
	}
}
