package browser_test

import (
	"strings"
	"testing"

	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"

	"github.com/tvzero/tokenvault/server/internal/browsertest"
)

// What goes wrong on the way to the webhook is said beside the field that it is about;
// what was entered stays, the secret as well, since it never left the page.
func TestATokenThatCannotBeStoredIsKeptInThePage(t *testing.T) {
	t.Parallel()
	w := browsertest.New(t, store.SQLite)
	w.Bound()
	profile := w.Profile(t)
	profile.SetCookie(w.URL, w.Owner.Cookie)
	p := w.Page(t, profile)
	p.Expect("log error, network") // answers that are refusals
	const secret = "wx_0123456789abcdef"
	stored := func() (n int) {
		for _, request := range p.Requests() {
			if request == "POST "+w.Webhook.URL+wire.PathStore {
				n++
			}
		}
		return n
	}
	wantKept := func(t *testing.T, name string) {
		t.Helper()
		if got := p.Value("Key or token"); got != secret {
			t.Errorf("%s: the secret's field holds %q, want what was entered", name, got)
		}
	}

	p.Open("/tokens/new?type=PlainText")
	p.WantsElement("#send:not([disabled])")
	p.Click("Store at the webhook")
	p.Wants("“Service name” is needed.", "“Key or token” is needed.")
	p.Fill("Service name", "-weather")
	p.Fill("Key or token", secret)
	p.Click("Store at the webhook")
	p.Wants("Names begin with a letter or digit")
	p.Fill("Service name", "bulk")
	p.Click("Store at the webhook")
	p.Wants("This name is taken by Token Vault itself.")
	if n := stored(); n != 0 {
		t.Errorf("with a form that is not whole, the webhook was asked %d times, want never", n)
	}

	p.Fill("Service name", "weather")
	p.Click("More about it")
	p.Fill("Hosts that it may be sent to", "https://api.example.com/path")
	p.Click("Store at the webhook")
	p.Wants("Nothing was stored. See what is marked above.", "“Hosts that it may be sent to”")
	if got := p.Attribute("#f-allowedHosts", "aria-invalid"); got != "true" || p.Attribute("#step-store", "data-state") != "failed" {
		t.Errorf("after a refusal by the webhook, the field it names has aria-invalid %q and the step is %q, want true and failed", got, p.Attribute("#step-store", "data-state"))
	}
	wantKept(t, "refused by the webhook")

	p.Fill("Hosts that it may be sent to", "https://api.example.com")
	before := stored()
	double(p)
	p.Wants("Stored at your webhook.")
	if n := stored() - before; n != 1 {
		t.Errorf("after a double click the webhook was asked %d times, want once", n)
	}

	p.Fill("Key or token", secret)
	p.Click("Store at the webhook")
	p.Wants("There is a token of this name already. Tick the box to replace it, or choose another name.")
	wantKept(t, "a name that is taken")

	profile.ClearCookies()
	before = stored()
	p.Click("Replace the token of this name, if there is one")
	p.Click("Store at the webhook")
	p.Wants("Your session has ended: nothing was sent to your webhook. Sign in in another tab")
	wantKept(t, "without a session")
	if n := stored() - before; n != 0 {
		t.Errorf("without a session the webhook was asked %d times, want never", n)
	}
	profile.SetCookie(w.URL, w.Owner.Cookie)
	p.Click("Store at the webhook")
	p.Wants("Stored at your webhook.")

	p.Fill("Key or token", secret)
	w.Webhook.Stop()
	p.Click("Store at the webhook")
	p.Wants("Your browser could not reach the webhook at " + strings.TrimPrefix(w.Webhook.URL, "http://"))
	wantKept(t, "with the webhook away")
	p.Open("/agents")
	p.Back()
	p.WantsElement("#send:not([disabled])")
	if got := p.Value("Key or token"); got != "" {
		t.Errorf("after the page was left, its field holds %q, want nothing", got)
	}
}

// double is a click by somebody who clicks everything twice.
func double(p *browsertest.Page) {
	p.Eval(`(() => { const send = document.getElementById("send"); send.click(); send.click(); })()`, nil)
}
