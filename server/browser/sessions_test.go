package browser_test

import (
	"encoding/base64"
	"net/http"
	"strings"
	"testing"

	"github.com/tvzero/tokenvault/models/store"

	"github.com/tvzero/tokenvault/server/internal/app/apptest"
	"github.com/tvzero/tokenvault/server/internal/browsertest"
)

func encodeURL(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }

func TestASessionThatEndsInMidWorkLosesNothingButTheSecret(t *testing.T) {
	t.Parallel()
	w := browsertest.New(t, store.SQLite)
	w.Owner.Register()
	profile := w.Profile(t)
	profile.SetCookie(w.URL, w.Owner.Cookie)
	p := w.Page(t, profile)
	again := func() {
		t.Helper()
		other := w.Page(t, profile)
		other.Open("/login")
		other.Fill("css:form[action='/login'] [name=email]", w.Owner.Email)
		other.Fill("css:form[action='/login'] [name=password]", apptest.Password)
		other.Follow("css:form[action='/login'] button")
	}

	p.Open("/agents")
	p.Fill("css:form[action='/agents'] [name=name]", "half <b>typed</b>")
	p.Fill("css:form[action='/agents'] [name=description]", "line one\nline \"two\"")
	profile.ClearCookies()
	p.Follow("css:form[action='/agents'] button")
	p.Wants("Your session has ended", "nothing that you entered is lost")
	again()
	p.Follow("Go on")
	var made []struct{ Name, Description string }
	w.Owner.Must(http.MethodGet, "/api/agents", nil, &made)
	if len(made) != 1 || made[0].Name != "half <b>typed</b>" || strings.ReplaceAll(made[0].Description, "\r", "") != "line one\nline \"two\"" {
		t.Errorf("the agents after going on: got %q, want the one that was typed", made)
	}

	const secret = "sk_live_typed_before_the_session_ended"
	p.Open("/tokens/new?type=PlainText")
	p.Fill("css:form [name=serviceName]", "half-stored")
	p.Fill("css:form [name=accessToken]", secret)
	profile.ClearCookies()
	p.Follow("css:form[action='/tokens/new'] button:not([type=button])")
	p.Wants("Your session has ended", "only what was secret is lost")
	noSecret := func() {
		t.Helper()
		var page string
		p.Ask("document.documentElement.outerHTML + [...document.querySelectorAll('input, textarea')].map(e => e.value).join()", &page)
		if strings.Contains(page, secret) {
			t.Errorf("%s has the secret that was typed before the session ended", p.URL())
		}
	}
	noSecret()
	again()
	p.Follow("Go on")
	noSecret()
	if got := p.Value("css:form [name=serviceName]"); got != "half-stored" {
		t.Errorf("the name after going on: got %q, want it kept", got)
	}
	p.Fill("css:form [name=accessToken]", secret)
	p.Follow("css:form[action='/tokens/new'] button:not([type=button])")
	p.Open("/token/half-stored")
	p.WantsTitle("half-stored · Token Vault")
}

func TestTheBackButtonShowsNothingOfWhoSignedOut(t *testing.T) {
	t.Parallel()
	s := &scene{World: browsertest.New(t, store.SQLite), t: t, texts: believable}
	s.Bound()
	s.credentials(s.Owner.Store)
	s.people()
	p := s.SignedIn(t)
	for _, path := range []string{"/agents", "/", "/token/github"} {
		p.Open(path)
		p.Wants(s.Owner.Email)
	}
	p.Follow("Sign out")
	p.WantsAt("/login")
	for range 3 {
		p.Back()
		for _, kept := range []string{"github", s.texts.Agent, s.Owner.Email} {
			if got := p.Text(); strings.Contains(got, kept) {
				t.Errorf("after signing out, the back button leads to %s with %q:\n%.500s", p.URL(), kept, got)
			}
		}
	}
}

// Whoever clicks twice means once. Each case is a form that makes, changes or ends
// something, clicked twice as fast as a mouse can.
func TestADoubleClickDoesNothingTwice(t *testing.T) {
	t.Parallel()
	s := sealedScene(t, browsertest.New(t, store.SQLite), believable)
	p := s.SignedIn(t)
	twice := func(path, action string, fill func()) {
		t.Helper()
		p.Open(path)
		if fill != nil {
			fill()
		}
		before := len(p.Requests())
		p.FollowTwice("css:form[action='" + action + "'] button:not([type=button])")
		posts := 0
		for _, request := range p.Requests()[before:] {
			if strings.HasPrefix(request, "POST ") {
				posts++
			}
		}
		if posts != 1 {
			t.Errorf("a double click on the form %s sent it %d times, want once", action, posts)
		}
		if got := p.Count("main .bad[role=alert]"); got != 0 {
			t.Errorf("after a double click on the form %s: %.400s", action, p.In("main").Text())
		}
	}
	count := func(path, name string, want int) {
		t.Helper()
		answer := s.Owner.Do(http.MethodGet, path, nil)
		if got := strings.Count(string(answer.Body), `"`+name+`"`); got != want {
			t.Errorf("%s has %q %d times, want %d", path, name, got, want)
		}
	}
	agentPath := "/agents/" + s.agents[0]
	twice("/agents", "/agents", func() { p.Fill("css:form[action='/agents'] [name=name]", "clicked-twice") })
	count("/api/agents", "clicked-twice", 1)
	twice("/keys", "/keys", func() {
		p.Fill("css:form[action='/keys'] [name=name]", "key-clicked-twice")
		p.Click("css:form[action='/keys'] label[for='s-tokens:read']")
	})
	count("/api/keys", "key-clicked-twice", 1)
	twice("/tokens/new?type=PlainText", "/tokens/new", func() {
		p.Fill("css:form [name=serviceName]", "token-clicked-twice")
		p.Fill("css:form [name=accessToken]", "sk-1")
	})
	count("/api/tokens", "token-clicked-twice", 1)
	twice(agentPath, agentPath+"/grants", func() { p.Fill("css:form[action='"+agentPath+"/grants'] [name=serviceName]", "token-clicked-twice") })
	count("/api"+agentPath, "token-clicked-twice", 1)
	twice(agentPath+"/rotate-key", agentPath+"/rotate-key", nil)
	twice("/grants/"+secondSession(s)+"/revoke", "/grants/"+secondSession(s)+"/revoke", nil)
	twice("/token/token-clicked-twice/delete", "/token/token-clicked-twice/delete", nil)
	count("/api/tokens", "token-clicked-twice", 0)
	twice(agentPath+"/delete", agentPath+"/delete", nil)
	twice("/settings/lock", "/settings/lock", nil)
}
