package browser_test

import (
	"net/http"
	"testing"

	"github.com/tvzero/tokenvault/models/store"

	"github.com/tvzero/tokenvault/server/internal/browsertest"
)

// Pages that answer a form have no address of their own to be opened at: they are come
// to as people come to them, and looked at as every other page is.
func TestEveryAnswerOfAFormIsFitForEverybody(t *testing.T) {
	t.Parallel()
	s := boundScene(t, browsertest.New(t, store.SQLite), believable)
	profile := s.Profile(t)
	profile.SetCookie(s.URL, s.Owner.Cookie)
	p := s.Page(t, profile)
	agent := "/agents/" + s.agents[0]
	for _, c := range []struct {
		name, path string
		do         func(p *browsertest.Page)
	}{
		{"agent-made", "/agents", func(p *browsertest.Page) {
			p.Fill("css:form[action='/agents'] [name=name]", "deploy-bot")
			p.Follow("css:form[action='/agents'] button")
			p.Wants("Copy the key now.")
		}},
		{"agent-name-refused", agent, func(p *browsertest.Page) {
			p.Fill("css:form[action='"+agent+"'] [name=name]", "old-importer\u200b")
			p.Follow("css:form[action='" + agent + "'] button")
		}},
		{"grant-refused", agent, func(p *browsertest.Page) {
			p.Fill("css:#grant [name=serviceName]", "no-such-token")
			p.Follow("css:#grant button")
			p.WantsElement("#grant .error")
		}},
		{"key-made", "/keys", func(p *browsertest.Page) {
			p.Fill("css:form[action='/keys'] [name=name]", "Nightly backup")
			p.Click("css:form[action='/keys'] label[for='s-tokens:read']")
			p.Follow("css:form[action='/keys'] button")
			p.Wants("Copy the key now.")
		}},
		{"key-refused", "/keys", func(p *browsertest.Page) {
			p.Fill("css:form[action='/keys'] [name=name]", "of no use")
			p.Follow("css:form[action='/keys'] button")
			p.WantsElement("#e-scopes")
		}},
		{"webhook-checked", "/settings/vault", func(p *browsertest.Page) {
			p.Follow("Check the webhook")
			p.WantsElement("#probes")
		}},
		{"locked", "/settings/lock", func(p *browsertest.Page) {
			p.Follow("css:form[action='/settings/lock'] button")
			p.Open("/")
			p.Wants("The vault is locked.")
		}},
		{"not-found", "/no-such-page", func(*browsertest.Page) {}},
		{"session-ended", "/agents", func(p *browsertest.Page) {
			p.Fill("css:form[action='/agents'] [name=name]", "never-made")
			profile.ClearCookies()
			p.Follow("css:form[action='/agents'] button")
			p.Wants("Your session has ended")
		}},
		{"sign-in-refused", "/login", func(p *browsertest.Page) {
			p.Fill("css:form[action='/login'] [name=email]", s.Owner.Email)
			p.Fill("css:form[action='/login'] [name=password]", "not the password")
			p.Follow("css:form[action='/login'] button")
			p.WantsElement("[role=alert]")
			if got := p.Value("css:form[action='/login'] [name=email]"); got != s.Owner.Email {
				t.Errorf("the e-mail address after signing in was refused: got %q, want it kept", got)
			}
			if got := p.Value("css:form[action='/login'] [name=password]"); got != "" {
				t.Errorf("the password after signing in was refused: got %q, want none", got)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			tab := p.For(t)
			tab.Emulate(browsertest.Look{ReducedMotion: true})
			tab.Open(c.path)
			c.do(tab)
			looks(t, tab, "answer-"+c.name, c.name)
		})
	}
	if answer := s.Owner.Do(http.MethodPost, "/api/vault/lock/clear", nil); answer.Status >= 300 {
		t.Errorf("unlock: %s", answer)
	}
}
