package browser_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync/atomic"
	"testing"

	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/server/internal/browsertest"
)

// lateWebhook is a webhook that is still being started: it answers like one when
// it is told to.
func lateWebhook(t *testing.T) (address string, start func()) {
	t.Helper()
	var up atomic.Bool
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if !up.Load() {
			_, _ = io.WriteString(w, `{"status":"starting"}`)
			return
		}
		_, _ = io.WriteString(w, `{"status":"healthy","version":"2.4.0","capabilities":["storage","credential","store"]}`)
	}))
	t.Cleanup(server.Close)
	return server.URL, func() { up.Store(true) }
}

func TestTheWizardWaitsForAWebhookAndGoesOnByItself(t *testing.T) {
	t.Parallel()
	w := browsertest.New(t, store.SQLite)
	w.Owner.Register()
	profile := w.Profile(t)
	profile.SetCookie(w.URL, w.Owner.Cookie)
	address, start := lateWebhook(t)
	profile.Allow(address)
	p := w.Page(t, profile)
	p.Open("/setup/webhook")
	p.Fill("Address of your webhook", address)
	p.Follow("Check the address")
	p.Wants("Not yet", `The webhook reports its status as "starting".`)
	p.WantsElement(`#browser-reach .badge.good`) // something answers there
	p.Lacks("Open its bind page")
	start()
	p.Wants("3. Compare and confirm", "The webhook answers. Go on to its bind page.")
	p.WantsElement(`[data-probe=health] .badge.good`)
	if href := p.Attribute("#next a.button", "href"); href != address+"/bind?tv="+url.QueryEscape(w.URL) {
		t.Errorf("the link leads to %s, want the webhook's bind page for this server", href)
	}
	if p.Count("[data-live]") != 0 {
		t.Error("the page goes on asking, though the webhook is there")
	}
}

func TestTheWizardIsUsedWithoutScripts(t *testing.T) {
	t.Parallel()
	w := browsertest.New(t, store.SQLite)
	w.Bound()
	p := w.SignedIn(t)
	p.Emulate(browsertest.Look{NoScript: true})
	p.Open("/setup/webhook")
	p.Fill("Address of your webhook", w.Webhook.URL)
	p.Follow("Check the address")
	p.Wants("3. Compare and confirm", "It is bound already.", "Your browser looks by itself, with JavaScript.")
	p.Open("/setup/bound")
	p.Wants("Not checked yet.")
	p.Follow("Check it now")
	p.Wants("The webhook works. One check is worth a look.", "Forged ticket is refused")
}
