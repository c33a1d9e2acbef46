package browser_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/tvzero/tokenvault/server/internal/app/apptest"
	"github.com/tvzero/tokenvault/server/internal/browsertest"
)

// Two browsers of one person, each with a vault of its own, become one vault.
func TestTwoBrowsersShareOneVault(t *testing.T) {
	t.Parallel()
	browsertest.Each(t, func(t *testing.T, w *browsertest.World) {
		w.Owner.Register()
		laptop, phone := signsIn(t, w, "laptop"), signsIn(t, w, "phone")
		seals(laptop, "github", "of-the-laptop")
		seals(laptop, "stripe", "of-the-laptop-alone")
		seals(phone, "github", "of-the-phone")
		seals(phone, "calendar", "of-the-phone-alone")

		laptop.Open("/")
		laptop.Wants("stripe")
		laptop.Lacks("calendar")

		// Declined: nothing changes, and the one who offered sees it gone.
		shares(t, laptop, "phone")
		banner(phone, "laptop")
		phone.Follow("css:form[action$='/decline'] button")
		phone.Open("/")
		phone.Lacks("offers you its vault", "stripe")
		laptop.Open("/grants")
		laptop.Lacks("Take the offer back")

		// Taken back before it was accepted.
		shares(t, laptop, "phone")
		laptop.Follow("Take the offer back")
		phone.Open("/")
		phone.Lacks("offers you its vault")

		// Accepted, after reading what it does.
		shares(t, laptop, "phone")
		laptop.In("#grants").Wants("waits to be accepted. The offer ends in")
		banner(phone, "laptop")
		phone.In("#offer").Wants("it has 2 tokens", "What is in your vault comes along, and your vault is deleted", "calendar, github",
			"Both have github: yours was stored later and keeps the name")
		phone.Follow("Accept the vault")
		for _, p := range []*browsertest.Page{laptop, phone} {
			p.Open("/")
			p.Wants("stripe", "calendar")
			p.In("#superseded").Wants("github")
			if marks := vaultMarks(p); len(marks) != 2 || marks[0] != marks[1] {
				t.Errorf("the vault marks of the two sessions are %q, want the same twice", marks)
			}
		}
		laptop.Open("/token/github")
		laptop.In("#secret").Follow("Show the credential")
		laptop.In("#secret").Wants("of-the-phone")
	})
}

// signsIn is a new browser in which the owner signs in, called by a name of its own.
func signsIn(t *testing.T, w *browsertest.World, name string) *browsertest.Page {
	t.Helper()
	session := w.Owner.In(t, w.URL)
	session.Login()
	session.Must(http.MethodPatch, "/api/grants/"+grantOf(t, session), map[string]string{"label": name}, nil)
	profile := w.Profile(t)
	profile.SetCookie(w.URL, session.Cookie)
	return w.Page(t, profile)
}

func seals(p *browsertest.Page, service, secret string) {
	enter(p, apptest.Sample{Service: service, Data: map[string]any{"tokenType": "PlainText", "accessToken": secret}})
	p.Follow("Seal and store")
}

// shares offers the vault of a page's session to another session.
func shares(t *testing.T, p *browsertest.Page, with string) {
	t.Helper()
	p.Open("/grants")
	p.Follow("Share vault… with " + with)
	p.Wants("Share your vault with " + with + "?")
	p.Follow("css:form[action$='/share-vault'] button")
}

// banner finds the offer on the page of tokens, and follows it to what it would do.
func banner(p *browsertest.Page, from string) {
	p.Open("/")
	p.Wants(from + " offers you its vault.")
	p.Follow("See what would change")
	p.Wants("Link your vaults?", "until", "in 23 hours")
}

// vaultMarks are those of the owner's two browsers, as the page of sessions has them.
func vaultMarks(p *browsertest.Page) []string {
	p.Open("/grants")
	var marks []string
	p.Ask(`[...document.querySelectorAll("#grants tbody tr")].filter(r => /laptop|phone/.test(r.querySelector("th").innerText))
		.map(r => r.querySelector("[data-label=Vault] .badge").className + " " + r.querySelector("[data-label=Vault] .badge").innerText)`, &marks)
	for i, mark := range marks {
		marks[i] = strings.TrimSpace(mark)
	}
	return marks
}
