package browser_test

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/tvzero/tokenvault/models/store"

	"github.com/tvzero/tokenvault/server/internal/app/apptest"
	"github.com/tvzero/tokenvault/server/internal/browsertest"
	"github.com/tvzero/tokenvault/server/internal/dashboard"
	"github.com/tvzero/tokenvault/server/internal/web"
)

// lastUse is written a moment after a use.
var lastUse = regexp.MustCompile(`"lastUsedAt":("[^"]*"|null)`)

// state is what attacks must not change.
func (s *scene) state() string {
	s.t.Helper()
	var all strings.Builder
	for _, path := range []string{"/api/tokens", "/api/agents", "/api/agents/" + s.agents[0], "/api/keys", "/api/vault/status", "/api/escrows"} {
		answer := s.Owner.Do(http.MethodGet, path, nil)
		if answer.Status != http.StatusOK {
			s.t.Fatalf("%s: %s", path, answer)
		}
		fmt.Fprintf(&all, "%s: %s\n", path, lastUse.ReplaceAll(answer.Body, nil))
	}
	return all.String()
}

// forms are the routes that forms are posted to, with the scene's ids in them.
func (s *scene) forms() []string {
	s.t.Helper()
	d, err := dashboard.New(dashboard.Deps{})
	if err != nil {
		s.t.Fatal(err)
	}
	engine := web.NewEngine(web.Options{Logger: slog.New(slog.DiscardHandler)})
	d.Routes(engine)
	var paths []string
	for _, route := range engine.Routes() {
		if route.Method != http.MethodPost {
			continue
		}
		id := s.agents[0]
		switch {
		case strings.HasPrefix(route.Path, "/keys/"):
			id = apiKey(s)
		case strings.HasPrefix(route.Path, "/grants/"):
			id = secondSession(s)
		case strings.HasPrefix(route.Path, "/escrows/"):
			id = s.offered
		case strings.HasPrefix(route.Path, "/tokens/superseded/"):
			id = superseded(s)
		}
		paths = append(paths, strings.NewReplacer(":service", "github", ":id", id).Replace(route.Path))
	}
	if len(paths) < 20 {
		s.t.Fatalf("%d forms are posted, want more: the test looks in the wrong place", len(paths))
	}
	return paths
}

// harmful has a field of every form that changes something.
var harmful = map[string]string{
	"name": "of the attacker", "displayName": "of the attacker", "serviceName": "stripe", "status": "suspended", "label": "of the attacker",
	"type": "PlainText", "accessToken": "of-the-attacker", "tokens:read": "on", "hours": "24", "replace": "on",
	"email": "mallory@example.com", "password": "a password of the attacker's",
}

func TestFormsOfOtherOriginsChangeNothing(t *testing.T) {
	t.Parallel()
	s := sealedScene(t, browsertest.New(t, store.SQLite), believable)
	before := s.state()
	a := newAttacker(t)
	profile := s.Profile(t)
	profile.SetCookie(s.URL, s.Owner.Cookie)
	p := a.tab(t, s.World, profile)
	refused := func(origin, path string) {
		t.Helper()
		p.Open(a.shows(origin, form(s.URL+path, harmful)))
		p.Follow("Win")
		if got := p.Text(); !strings.Contains(got, "came from another site and was refused") {
			t.Errorf("a form of %s sent to %s: got %.300q, want it refused", origin, path, got)
		}
	}
	for _, path := range s.forms() {
		refused(sameSite, path) // the cookie goes along
	}
	for _, path := range []string{"/agents", "/settings/lock", "/login"} {
		refused(otherSite, path)
	}
	// What scripts of another page can send without asking first, they can send to the API as well.
	p.Expect("CORS|ERR_FAILED|ERR_BLOCKED_BY_RESPONSE|403")
	p.Open(a.shows(sameSite, "hello"))
	for _, path := range []string{"/api/vault/lock", "/api/agents", "/settings/lock"} {
		p.Eval(fmt.Sprintf(`fetch(%q, {method: "POST", mode: "no-cors", credentials: "include", headers: {"Content-Type": "text/plain"}, body: '{"name":"x"}'}).then(() => true, () => true)`, s.URL+path), nil)
	}
	var read string
	p.Eval(fmt.Sprintf(`fetch(%q, {credentials: "include"}).then(r => r.text()).catch(e => "refused")`, s.URL+"/api/tokens"), &read)
	if read != "refused" {
		t.Errorf("a page of another origin reads %.100q of the API, want nothing", read)
	}
	if after := s.state(); after != before {
		t.Errorf("forms of another origin changed something: got\n%s\nwant\n%s", after, before)
	}
	mallory := map[string]string{"email": harmful["email"], "password": harmful["password"]}
	if answer := apptest.NewOwner(t, s.URL, "", s.Owner.Client).Do(http.MethodPost, "/api/auth/login", mallory); answer.Status != http.StatusUnauthorized {
		t.Errorf("the account that another origin's form asked for: got %s, want none", answer)
	}
}

func TestPagesAreShownInNobodysFrame(t *testing.T) {
	t.Parallel()
	s := boundScene(t, browsertest.New(t, store.SQLite), believable)
	a := newAttacker(t)
	profile := s.Profile(t)
	profile.SetCookie(s.URL, s.Owner.Cookie)
	p := a.tab(t, s.World, profile)
	p.Expect("frame-ancestors|X-Frame-Options|frame|ERR_BLOCKED")
	for _, origin := range []string{otherSite, sameSite} {
		for _, path := range []string{"/", "/settings/lock", "/token/github/delete", "/login", "/no-such-page", "/api/tokens"} {
			for _, tag := range []string{`<iframe src="%s"></iframe>`, `<object data="%s"></object>`, `<embed src="%s">`} {
				p.Open(a.shows(origin, fmt.Sprintf(tag, s.URL+path)))
				for _, frame := range p.Frames() {
					if strings.HasPrefix(frame, s.URL) {
						t.Errorf("%s is shown in a frame of %s, by "+tag, path, origin, frame)
					}
				}
			}
		}
	}
	p.Open(a.shows(otherSite, `<iframe src="http://`+a.host(otherSite)+`/framed"></iframe>`))
	if got := p.Frames(); len(got) != 1 || !strings.HasSuffix(got[0], "/framed") {
		t.Errorf("a frame that is allowed: got %q, want it found", got)
	}
}

func TestSigningInLeadsNowhereElse(t *testing.T) {
	t.Parallel()
	w := browsertest.New(t, store.SQLite)
	w.Owner.Register()
	profile := w.Profile(t)
	p := w.Page(t, profile)
	signIn := func() {
		t.Helper()
		p.Fill("css:form[action='/login'] [name=email]", w.Owner.Email)
		p.Fill("css:form[action='/login'] [name=password]", apptest.Password)
		p.Follow("css:form[action='/login'] button")
	}
	hostile := []string{
		"//attacker.test", "https://attacker.test/", `/\attacker.test`, `\\attacker.test`, "/\tattacker.test", "/\n/attacker.test", "///attacker.test",
		"http:attacker.test", "javascript:alert(1)", "data:text/html,<script>alert(1)</script>", "/%2f/attacker.test/", "//attacker.test%2f@localhost",
		"/.//attacker.test", "@attacker.test", "/login?next=//attacker.test", "/api/tokens",
	}
	for i, next := range hostile {
		if i%4 == 0 { // once signed in, the page itself leads on
			profile.ClearCookies()
		}
		p.Open("/login?next=" + url.QueryEscape(next))
		if p.Count("form[action='/login']") > 0 {
			signIn()
		}
		if got := p.URL(); !strings.HasPrefix(got, w.URL+"/") || strings.Contains(got, "/api/") {
			t.Errorf("signing in with next=%q led to %s, want a page of this server", next, got)
		}
	}
	profile.ClearCookies()
	p.Open("/agents")
	signIn()
	p.WantsAt("/agents")
}

// A page never shows a link or form that a webhook or a stranger's link could aim
// elsewhere, or at a script.
func TestBindLinksOfStrangersLeadNowhere(t *testing.T) {
	t.Parallel()
	w := browsertest.New(t, store.SQLite)
	w.Owner.Register()
	p := w.SignedIn(t)
	link := w.Owner.Link(w.Webhook.URL, browsertest.AdminSecret)
	for _, address := range []string{"javascript:alert(1)", "data:text/html,x", "//attacker.test", "http://attacker.test/", `http://127.0.0.1" onmouseover="alert(1)`, "http://a:b@127.0.0.1/", ""} {
		for _, encoded := range []string{encodeURL(address), address} {
			query := url.Values{"code": {link.Code}, "hmac_hash": {link.Hash}, "webhook_url": {encoded}}
			p.Open("/vault/webhook-bind?" + query.Encode())
			for _, target := range targets(p) {
				if u, err := url.Parse(target); err != nil || u.Scheme != "http" || !strings.HasPrefix(target, w.URL+"/") {
					t.Errorf("with the webhook %q the page leads to %q", address, target)
				}
			}
		}
	}
}

// targets are where the links and forms of a page lead.
func targets(p *browsertest.Page) []string {
	var found []string
	p.Ask(`[...document.querySelectorAll("a[href], form, [formaction], area[href], base[href]")].map(e => e.href || e.formAction || e.action)`, &found)
	return found
}
