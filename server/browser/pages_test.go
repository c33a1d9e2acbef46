package browser_test

import (
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"

	"github.com/tvzero/tokenvault/server/internal/app/apptest"
	"github.com/tvzero/tokenvault/server/internal/browsertest"
	"github.com/tvzero/tokenvault/server/internal/dashboard"
	"github.com/tvzero/tokenvault/server/internal/web"
)

// A way leads to a page of a scene.
type way struct {
	name string // of its pictures
	path func(s *scene) string
	ends string // where it leads, if elsewhere
}

func at(name, path string) way { return way{name: name, path: func(*scene) string { return path }} }

func (w way) to(path string) way {
	w.ends = path
	return w
}

func of(name, before string, id func(s *scene) string, after string) way {
	return way{name: name, path: func(s *scene) string { return before + id(s) + after }}
}

func firstAgent(s *scene) string    { return s.agents[0] }
func idleAgent(s *scene) string     { return s.agents[1] }
func secondSession(s *scene) string { return grantOf(s.t, s.second) }

// A place is a page, by its route, with the ways to it for somebody who is signed
// out, in platform mode, and in webhook mode.
type place struct {
	route              string
	out, sealed, bound []way
}

// places are all pages. One that is mounted and not here fails the test.
var places = []place{
	{route: "/login", out: []way{at("sign-in", "/login"), at("sign-in-for-a-page", "/login?next=/agents")}},
	{route: "/login/code", out: []way{at("sign-in-code-again", "/login/code").to("/login")}},
	{route: "/login/passkey", out: []way{at("sign-in-passkey-again", "/login/passkey").to("/login")}},
	{route: "/register", out: []way{at("register", "/register")}},
	{route: "/", sealed: []way{at("tokens-sealed", "/"), at("tokens-none-fits", "/?tag=production&state=expired")},
		bound: []way{at("tokens", "/"), at("tokens-found", "/?q=o&state=active&sort=expiry")}},
	{route: "/tokens/new", sealed: []way{at("add-sealed", "/tokens/new"), at("add-sealed-totp", "/tokens/new?type=TOTP"),
		at("add-sealed-certificate", "/tokens/new?type=Certificate")}, bound: []way{at("add", "/tokens/new"), at("add-totp", "/tokens/new?type=TOTP"), at("add-raw", "/tokens/new?type=RawCredential"), at("add-ssh", "/tokens/new?type=SSHKey")}},
	{route: "/tokens/connect", sealed: []way{at("connect-sealed", "/tokens/connect")}, bound: []way{at("connect", "/tokens/connect")}},
	{route: "/token/:service", sealed: []way{at("token-sealed", "/token/github"), at("token-sealed-totp", "/token/aws-root-2fa")},
		bound: []way{at("token", "/token/github"), at("token-totp", "/token/aws-root-2fa"), at("token-oauth", "/token/google-calendar")}},
	{route: "/token/:service/trust", sealed: []way{at("trust-sealed", "/token/google-calendar/trust")},
		bound: []way{at("trust", "/token/github/trust"), at("trust-oauth", "/token/google-calendar/trust")}},
	{route: "/token/:service/delete", sealed: []way{at("token-delete-sealed", "/token/github/delete")}, bound: []way{at("token-delete", "/token/github/delete")}},
	{route: "/token/:service/disconnect", sealed: []way{at("token-disconnect-sealed", "/token/google-calendar/disconnect")}, bound: []way{at("token-disconnect", "/token/google-calendar/disconnect")}},
	{route: "/token/:service/connected", bound: []way{at("token-connected", "/token/google-calendar/connected").to("/token/google-calendar")}},
	{route: "/tokens/superseded/:id/delete", sealed: []way{of("superseded-delete", "/tokens/superseded/", superseded, "/delete")}},
	{route: "/agents", sealed: []way{at("agents-sealed", "/agents")}, bound: []way{at("agents", "/agents")}},
	{route: "/agents/:id", sealed: []way{of("agent-sealed", "/agents/", firstAgent, "")}, bound: []way{of("agent", "/agents/", firstAgent, ""), of("agent-suspended", "/agents/", idleAgent, "")}},
	{route: "/agents/:id/rotate-key", bound: []way{of("agent-rotate", "/agents/", firstAgent, "/rotate-key")}},
	{route: "/agents/:id/delete", bound: []way{of("agent-delete", "/agents/", firstAgent, "/delete")}},
	{route: "/keys", sealed: []way{at("keys-sealed", "/keys")}, bound: []way{at("keys-empty", "/keys")}},
	{route: "/keys/:id/rotate", sealed: []way{of("key-rotate", "/keys/", apiKey, "/rotate")}},
	{route: "/grants", sealed: []way{at("sessions-sealed", "/grants")}, bound: []way{at("sessions", "/grants")}},
	{route: "/grants/:id/revoke", sealed: []way{of("session-end", "/grants/", secondSession, "/revoke")}},
	{route: "/grants/:id/share-vault", sealed: []way{of("share-vault", "/grants/", secondSession, "/share-vault")}},
	{route: "/escrows/:id", sealed: []way{of("offer", "/escrows/", func(s *scene) string { return s.offered }, "")}},
	{route: "/audit", sealed: []way{at("audit-sealed", "/audit")}, bound: []way{at("audit", "/audit"), at("audit-refusals", "/audit?type=refusal"), at("audit-none", "/audit?service=nothing-of-this-name")}},
	{route: "/settings", sealed: []way{at("settings-sealed", "/settings")}, bound: []way{at("settings", "/settings")}},
	{route: "/settings/security", sealed: []way{at("security-sealed", "/settings/security")}, bound: []way{at("security", "/settings/security")}},
	{route: "/settings/sessions/end-others", sealed: []way{at("end-others", "/settings/sessions/end-others")}},
	{route: "/settings/sessions/end-all", sealed: []way{at("end-all", "/settings/sessions/end-all")}},
	{route: "/settings/factor", sealed: []way{at("factor", "/settings/factor")}},
	{route: "/settings/factor/off", bound: []way{at("factor-off", "/settings/factor/off")}},
	{route: "/settings/factor/codes", bound: []way{at("factor-codes", "/settings/factor/codes")}},
	{route: "/settings/passkeys", bound: []way{at("passkeys", "/settings/passkeys").to("/settings/security")}},
	{route: "/settings/passkeys/new", sealed: []way{at("passkey-new", "/settings/passkeys/new")}},
	{route: "/settings/passkeys/rename/:id", sealed: []way{of("passkey-rename", "/settings/passkeys/rename/", passkey, "")}},
	{route: "/settings/passkeys/delete/:id", sealed: []way{of("passkey-delete", "/settings/passkeys/delete/", passkey, "")}},
	{route: "/settings/danger", sealed: []way{at("danger-sealed", "/settings/danger")}, bound: []way{at("danger", "/settings/danger")}},
	{route: "/settings/danger/delete", sealed: []way{at("delete-account-sealed", "/settings/danger/delete")}, bound: []way{at("delete-account", "/settings/danger/delete")}},
	{route: "/settings/vault", sealed: []way{at("settings-vault-sealed", "/settings/vault")}, bound: []way{at("settings-vault", "/settings/vault")}},
	{route: "/setup", sealed: []way{at("setup", "/setup")}, bound: []way{at("setup-bound-already", "/setup")}},
	{route: "/setup/platform", sealed: []way{at("setup-platform", "/setup/platform")}, bound: []way{at("setup-platform-bound", "/setup/platform")}},
	{route: "/setup/webhook", sealed: []way{at("setup-webhook", "/setup/webhook")}, bound: []way{at("setup-webhook-another", "/setup/webhook")}},
	{route: "/setup/bound", bound: []way{at("setup-bound", "/setup/bound")}},
	{route: "/settings/lock", bound: []way{at("lock", "/settings/lock")}},
	{route: "/settings/unbind", bound: []way{at("unbind", "/settings/unbind")}},
	{route: "/vault/move", bound: []way{at("move", "/vault/move")}},
	{route: "/vault/move/:id/delete", bound: []way{of("move-drop", "/vault/move/", waiting, "/delete")}},
	{route: "/vault/move-back", bound: []way{at("move-back", "/vault/move-back")}},
	{route: "/vault/webhook-bind", sealed: []way{{name: "bind", path: bindPath}}},
}

func TestEveryPageIsFitForEverybody(t *testing.T) {
	t.Parallel()
	for _, part := range []struct {
		name string
		make func(t *testing.T, w *browsertest.World, called texts) *scene
		ways func(p place) []way
	}{
		{"signed out", nil, func(p place) []way { return p.out }},
		{"platform mode", sealedScene, func(p place) []way { return p.sealed }},
		{"webhook mode", boundScene, func(p place) []way { return p.bound }},
	} {
		t.Run(part.name, func(t *testing.T) {
			t.Parallel()
			s := &scene{World: browsertest.New(t, store.SQLite), t: t}
			var p *browsertest.Page
			if part.make == nil {
				s.Owner.Register() // else nobody can sign in
				p = s.Page(t, s.Profile(t))
			} else {
				s = part.make(t, s.World, believable)
				p = s.SignedIn(t)
			}
			for _, place := range places {
				for _, way := range part.ways(place) {
					t.Run(way.name, func(t *testing.T) { inspect(t, p.For(t), s, way) })
				}
			}
		})
	}
}

func TestEveryPageHasItsPlaceInTheTests(t *testing.T) {
	t.Parallel()
	mounted := routes(t)
	for _, route := range mounted {
		if !slices.ContainsFunc(places, func(p place) bool { return p.route == route && len(p.out)+len(p.sealed)+len(p.bound) > 0 }) {
			t.Errorf("the page %s is mounted, and no way in places leads to it", route)
		}
	}
	for _, p := range places {
		if !slices.Contains(mounted, p.route) {
			t.Errorf("places has %s, which is no page any more", p.route)
		}
	}
}

// routes are the pages of the dashboard: what can be read, and so answers HEAD.
func routes(t *testing.T) []string {
	t.Helper()
	d, err := dashboard.New(dashboard.Deps{})
	if err != nil {
		t.Fatal(err)
	}
	engine := web.NewEngine(web.Options{Logger: slog.New(slog.DiscardHandler)})
	d.Routes(engine)
	var found []string
	for _, route := range engine.Routes() {
		if route.Method == http.MethodHead && !strings.HasPrefix(route.Path, "/assets/") {
			found = append(found, route.Path)
		}
	}
	if len(found) < 25 {
		t.Fatalf("%d pages are mounted, want more: the test looks in the wrong place", len(found))
	}
	return found
}

func superseded(s *scene) string {
	var list []struct{ ID string }
	s.Owner.Must(http.MethodGet, "/api/tokens?superseded=true", nil, &list)
	if len(list) != 1 {
		s.t.Fatalf("%d tokens are superseded, want one", len(list))
	}
	return list[0].ID
}

func apiKey(s *scene) string {
	var list struct{ Keys []struct{ ID string } }
	s.Owner.Must(http.MethodGet, "/api/keys", nil, &list)
	if len(list.Keys) == 0 {
		s.t.Fatal("there is no API key")
	}
	return list.Keys[0].ID
}

func waiting(s *scene) string {
	var list struct {
		Items []struct{ Tokens []struct{ ID string } }
	}
	s.Owner.Must(http.MethodGet, "/api/vault/move", nil, &list)
	if len(list.Items) == 0 || len(list.Items[0].Tokens) == 0 {
		s.t.Fatal("nothing waits to be moved")
	}
	return list.Items[0].Tokens[0].ID
}

// bindPath is where the webhook's registration URL leads.
func bindPath(s *scene) string {
	s.t.Helper()
	answer, err := apptest.Call(s.t.Context(), s.Owner.Client, http.MethodGet, s.Webhook.URL+wire.PathRegisterURL, nil, wire.HeaderAdminSecret, browsertest.AdminSecret)
	if err != nil || answer.Status != http.StatusOK {
		s.t.Fatalf("the registration URL: %v %s", err, answer)
	}
	var made wire.RegisterURL
	answer.Decode(s.t, &made)
	path, ours := strings.CutPrefix(made.RegistrationURL, s.URL)
	if !ours {
		s.t.Fatalf("the registration URL is %s, want one at %s", made.RegistrationURL, s.URL)
	}
	return path
}
