package dashboard_test

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/accounts"
	"github.com/tvzero/tokenvault/server/internal/agents"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/connect"
	"github.com/tvzero/tokenvault/server/internal/dashboard"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/server/internal/health"
	"github.com/tvzero/tokenvault/server/internal/platform"
	"github.com/tvzero/tokenvault/server/internal/providers"
	"github.com/tvzero/tokenvault/server/internal/renew"
	"github.com/tvzero/tokenvault/server/internal/vaults"
	"github.com/tvzero/tokenvault/server/internal/web"
)

// What the composition root gives to the door fits.
var (
	_ dashboard.Authenticator    = (*grants.Service)(nil)
	_ dashboard.Accounts         = (*accounts.Service)(nil)
	_ dashboard.Profiles         = (*accounts.Service)(nil)
	_ dashboard.Guards           = (*accounts.Service)(nil)
	_ dashboard.Factors          = (*accounts.Service)(nil)
	_ dashboard.Passkeys         = (*accounts.Service)(nil)
	_ dashboard.Deletion         = (*accounts.Service)(nil)
	_ dashboard.SessionsTogether = (*grants.Service)(nil)
	_ dashboard.Tokens           = (*vaults.Service)(nil)
	_ dashboard.Vault            = (*vaults.Service)(nil)
	_ dashboard.Webhook          = (*vaults.Service)(nil)
	_ dashboard.Agents           = (*agents.Service)(nil)
	_ dashboard.CredentialGrants = (*agents.Service)(nil)
	_ dashboard.Record           = (*audit.Service)(nil)
	_ dashboard.Chain            = (*audit.Verifier)(nil)
	_ dashboard.Health           = (*health.Service)(nil)
	_ dashboard.Platform         = (*platform.Service)(nil)
	_ dashboard.Linking          = (*platform.Service)(nil)
	_ dashboard.Moves            = (*vaults.Service)(nil)
	_ dashboard.DueKeys          = (*platform.Service)(nil)
	_ dashboard.Keys             = (*grants.Service)(nil)
	_ dashboard.Sessions         = (*grants.Service)(nil)
	_ dashboard.Refreshing       = (*renew.Service)(nil)
	_ dashboard.Connections      = (*connect.Service)(nil)
	_ dashboard.Providers        = (*providers.Registry)(nil)
)

// A door is a running dashboard over fake services.
type door struct {
	*services
	url    string
	engine *gin.Engine
}

func open(t *testing.T) *door {
	t.Helper()
	s := newServices(t)
	public := &url.URL{Scheme: "http", Host: "127.0.0.1:8000"}
	d, err := dashboard.New(dashboard.Deps{
		Auth: s, Accounts: s, Profiles: s, Guards: s, Factors: s, Passkeys: s, Deletion: s, Together: s, Tokens: s, Vault: s, Webhook: s, Agents: s, Grants: s, Audit: record{s}, Chain: chain{s}, Health: s, Cookies: web.NewCookies(public), PublicURL: public,
		Platform: s, Keys: keys{s}, Sessions: sessions{s}, Linking: s, Moves: s, DueKeys: s,
		Refresh: refreshing{s}, Connect: s, Known: registry{s}, Now: func() time.Time { return now },
	})
	if err != nil {
		t.Fatal(err)
	}
	engine := web.NewEngine(web.Options{Logger: slog.New(slog.DiscardHandler), PublicURL: public, ErrorPage: d.ErrorPage})
	d.Routes(engine)
	server := httptest.NewServer(engine)
	t.Cleanup(server.Close)
	return &door{services: s, url: server.URL, engine: engine}
}

type answer struct {
	status int
	header http.Header
	body   string
}

// call sends a request as it is; headers are pairs.
func (d *door) call(t *testing.T, method, path, body string, headers ...string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, d.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(text)}
}

func (d *door) cookie() []string { return []string{"Cookie", "tv_session=" + d.session.Reveal()} }

// get and post are what a browser of somebody who is signed in sends.
func (d *door) get(t *testing.T, path string) answer {
	t.Helper()
	return d.call(t, http.MethodGet, path, "", d.cookie()...)
}

func (d *door) post(t *testing.T, path string, form url.Values) answer {
	t.Helper()
	return d.call(t, http.MethodPost, path, form.Encode(),
		append(d.cookie(), "Content-Type", "application/x-www-form-urlencoded", "Sec-Fetch-Site", "same-origin")...)
}

// sealedPages are those of an account in platform mode besides.
func sealedPages() []string {
	return []string{
		"/", "/tokens/new", "/tokens/new?type=OAuth", "/tokens/new?service=my%20token", "/token/my%20token", "/token/my%20token/trust", "/token/my%20token/delete",
		"/token/my%20token/disconnect", "/tokens/connect", "/tokens/connect?bridge=b&owner=o", "/tokens/superseded/" + agentID.String() + "/delete", "/agents", agentPath, "/keys", "/grants", "/escrows/" + escrowID.String(), "/settings", "/settings/security", "/settings/danger/delete", "/settings/vault", "/setup", "/setup/platform", "/setup/webhook",
	}
}

// offered gives the session a vault to accept, and one that it has offered.
func (d *door) offered() {
	later := now.Add(time.Hour)
	d.escrows = []models.Escrow{
		{ID: escrowID, VaultID: otherVault, FromID: otherID, ToID: sessionID, State: models.EscrowPending, ExpiresAt: later},
		{ID: keyID, VaultID: vaultID, FromID: sessionID, ToID: otherID, State: models.EscrowPending, ExpiresAt: later},
	}
}

const agentPath = "/agents/01890000-0000-7000-8000-0000000000a1"

// pages are all that somebody who is signed in can read.
func pages() []string {
	return []string{
		"/", "/tokens/new", "/tokens/new?service=my%20token", "/token/my%20token", "/token/my%20token/trust", "/token/my%20token/delete", "/token/my%20token/disconnect", "/tokens/connect",
		"/tokens/connect?provider=acme&service=x", "/agents", agentPath, agentPath + "/rotate-key", agentPath + "/delete", "/keys", "/keys/" + keyID.String() + "/rotate", "/grants", "/grants/" + sessionID.String() + "/revoke",
		"/grants/" + otherID.String() + "/share-vault", "/audit", "/audit?service=x&type=release", "/settings", "/settings/security", "/settings/sessions/end-others", "/settings/factor", "/settings/factor/off", "/settings/factor/codes", "/settings/passkeys/new", "/settings/passkeys/rename/" + keyID.String(), "/settings/passkeys/delete/" + keyID.String(), "/settings/danger", "/settings/danger/delete", "/settings/sessions/end-all", "/settings/vault", "/setup", "/setup/platform", "/setup/webhook", "/setup/bound", "/settings/lock", "/settings/unbind", "/vault/move", "/vault/move/" + agentID.String() + "/delete", "/vault/move-back", link("c0de", hook, fingerprint),
	}
}

var (
	hrefs   = regexp.MustCompile(`(?:href|src|action)="([^"]*)"`)
	inlines = regexp.MustCompile(`(?i)<script(?:\s+type="module")?\s*>|<style|\sstyle=|\son[a-z]+=|="javascript:`)
)

// Whatever a page links to, loads or posts to exists.
func TestNoPageHasADeadLink(t *testing.T) {
	t.Parallel()
	for _, mode := range []models.VaultMode{models.ModeWebhook, models.ModePlatform} {
		d, list := open(t), pages()
		if mode == models.ModePlatform {
			d.seal()
			d.offered()
			list = sealedPages()
		}
		if followed := d.follow(t, list); followed < 20 {
			t.Errorf("%s: %d links were followed, want those of all pages", mode, followed)
		}
	}
}

// follow follows all links of pages, and returns how many there are.
func (d *door) follow(t *testing.T, list []string) int {
	t.Helper()
	routes := map[string]bool{}
	for _, r := range d.engine.Routes() {
		if r.Method == http.MethodPost {
			routes[regexp.MustCompile(`:[a-z]+`).ReplaceAllString(r.Path, "*")] = true
		}
	}
	variable := regexp.MustCompile(`^/(agents|token|keys|grants|escrows|tokens/superseded|vault/move)/[^/?]+`)
	seen := map[string]bool{}
	for _, page := range list {
		got := d.get(t, page)
		if got.status != http.StatusOK {
			t.Errorf("GET %s: %d, want 200", page, got.status)
		}
		for _, m := range hrefs.FindAllStringSubmatch(got.body, -1) {
			target := strings.ReplaceAll(m[1], "&amp;", "&")
			if seen[target] || !strings.HasPrefix(target, "/") || strings.HasPrefix(target, "/api/") {
				continue
			}
			seen[target] = true
			if strings.Contains(m[0], "action=") {
				if !routes[variable.ReplaceAllString(target, "/$1/*")] && target != "/audit" && target != "/tokens/connect" {
					t.Errorf("%s posts to %s, which takes no form", page, target)
				}
				continue
			}
			want := http.StatusOK
			if strings.HasPrefix(target, "/connect") {
				want = http.StatusSeeOther
			}
			if linked := d.get(t, target); linked.status != want && target != "/token/other" { // the fakes have one token
				t.Errorf("%s links to %s, which answers %d", page, target, linked.status)
			}
		}
	}
	return len(seen)
}

func TestEveryPageIsHeldToAStrictPolicy(t *testing.T) {
	t.Parallel()
	d := open(t)
	const strict = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src CONNECT; form-action 'self'; " +
		"frame-ancestors 'none'; base-uri 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
	for _, page := range append(pages(), "/nowhere", "/token/none") {
		got := d.get(t, page)
		connect := "'self'"
		if strings.HasPrefix(page, "/tokens/new") || page == "/token/my%20token" || page == "/vault/move-back" {
			connect += " " + hook
		}
		if csp := got.header.Get("Content-Security-Policy"); csp != strings.Replace(strict, "CONNECT", connect, 1) {
			t.Errorf("%s: policy %q\nwant %q", page, csp, strings.Replace(strict, "CONNECT", connect, 1))
		}
		for name, want := range map[string]string{
			"Cache-Control": "no-store", "X-Frame-Options": "DENY", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
			"Cross-Origin-Opener-Policy": "same-origin", "Content-Type": "text/html; charset=utf-8",
		} {
			if got.header.Get(name) != want {
				t.Errorf("%s: %s is %q, want %q", page, name, got.header.Get(name), want)
			}
		}
		if found := inlines.FindString(got.body); found != "" {
			t.Errorf("%s has %q inline, which its own policy forbids", page, found)
		}
		if strings.Contains(got.body, d.session.Reveal()) {
			t.Errorf("%s shows the session", page)
		}
	}
}

// What a webhook's URL could bring into the policy header stays out of it.
func TestAHostileWebhookAddressDoesNotLoosenThePolicy(t *testing.T) {
	t.Parallel()
	d := open(t)
	for _, address := range []string{"https://a.example; script-src *", "https://a.example 'unsafe-inline'", "javascript:alert(1)", "data:x", "https://*", "::"} {
		d.status.Binding.URL = address
		if csp := d.get(t, "/tokens/new").header.Get("Content-Security-Policy"); !strings.Contains(csp, "connect-src 'self'; form-action") {
			t.Errorf("with the webhook %q the policy is %q, want no word of it", address, csp)
		}
	}
}

func TestWhatOthersWroteIsShownAsText(t *testing.T) {
	t.Parallel()
	d := open(t)
	const attack = `"><script>alert(1)</script><img src=x onerror=alert(1)>`
	d.token.DisplayName, d.token.Notes, d.token.Tags, d.token.TokenType, d.token.Provider = attack, attack, []string{attack}, attack, attack
	d.agent.Name, d.agent.Description = attack, attack
	d.events[0].Detail, d.events[0].Client, d.events[0].ServiceName, d.events[0].Outcome = attack, attack, attack, attack
	d.status.Binding.HealthDetail, d.status.Binding.Version, d.status.Binding.Capabilities = attack, attack, []string{attack}
	d.preview.Host, d.preview.WebhookURL, d.preview.Fingerprint = attack, attack, attack
	look := func(list []string) {
		for _, page := range list {
			if got := d.get(t, page); strings.Contains(got.body, "<script>alert") || strings.Contains(got.body, "<img src=x") {
				t.Errorf("%s shows what others wrote as markup", page)
			}
		}
	}
	look(pages())
	d.seal()
	d.offered()
	d.aside[0].ServiceName, d.aside[0].DisplayName, d.aside[0].TokenType = attack, attack, attack
	for i := range d.views {
		d.views[i].Label, d.views[i].Scopes = attack, []string{attack}
	}
	look(sealedPages())
	d.secret = map[string]any{"accessToken": attack, "allowedHosts": []any{attack}}
	if got := d.post(t, "/token/my%20token/reveal", nil); !strings.Contains(got.body, "&gt;&lt;script&gt;alert(1)") || strings.Contains(got.body, "<script>alert") {
		t.Error("a revealed credential is not shown as the text that it is")
	}
}

func TestAssetsMayBeKeptForEver(t *testing.T) {
	t.Parallel()
	d := open(t)
	assets := regexp.MustCompile(`/assets/[^"#]+`)
	kinds := map[string]string{".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
	seen := map[string]bool{}
	for _, page := range pages() {
		for _, path := range assets.FindAllString(d.get(t, page).body, -1) {
			if seen[path] {
				continue
			}
			seen[path] = true
			got := d.call(t, http.MethodGet, path, "") // without signing in
			if got.status != 200 || got.header.Get("Cache-Control") != "public, max-age=31536000, immutable" || got.body == "" {
				t.Errorf("%s: %d %v", path, got.status, got.header)
			}
			if want := kinds[path[strings.LastIndex(path, "."):]]; got.header.Get("Content-Type") != want {
				t.Errorf("%s: Content-Type %q, want %q", path, got.header.Get("Content-Type"), want)
			}
			if !regexp.MustCompile(`\.[a-z2-7]{16}\.`).MatchString(path) {
				t.Errorf("%s bears no hash", path)
			}
		}
	}
	if len(seen) < 3 {
		t.Errorf("the pages load %d assets, want the style sheet, the icon and scripts at least: %v", len(seen), seen)
	}
	for _, path := range []string{"/assets/style.css", "/assets/style.aaaaaaaaaaaaaaaa.css", "/assets/..%2fdashboard.go"} {
		if got := d.call(t, http.MethodGet, path, ""); got.status != 404 || strings.Contains(got.header.Get("Cache-Control"), "immutable") {
			t.Errorf("%s: %d %q, want 404, not kept", path, got.status, got.header.Get("Cache-Control"))
		}
	}
}
