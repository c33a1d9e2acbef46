package browser_test

import (
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/totp"

	"github.com/tvzero/tokenvault/server/internal/app/apptest"
	"github.com/tvzero/tokenvault/server/internal/browsertest"
)

// seed is the secret of the one-time codes of these tests.
const seed = "JBSWY3DPEHPK3PXP"

// codesAround are the codes of now, a period ago and a period on.
func codesAround(t *testing.T) []string {
	t.Helper()
	secret, err := totp.ParseSecret(seed)
	if err != nil {
		t.Fatal(err)
	}
	var codes []string
	for _, at := range []time.Time{time.Now().Add(-30 * time.Second), time.Now(), time.Now().Add(30 * time.Second)} {
		code, err := secret.At(at)
		if err != nil {
			t.Fatal(err)
		}
		codes = append(codes, code.Value)
	}
	return codes
}

func TestATokensTrustIsExplainedAndItsUsesShow(t *testing.T) {
	t.Parallel()
	browsertest.Each(t, func(t *testing.T, w *browsertest.World) {
		w.Bound()
		w.Owner.Store("github", map[string]any{"tokenType": "PlainText", "accessToken": "s3cret", "tags": []string{"ci"}})
		w.Owner.Store("stripe", map[string]any{"tokenType": "PlainText", "accessToken": "s3cret"})
		p := w.SignedIn(t)
		p.Open("/")
		p.Wants("2 tokens", "TV Zero")
		p.Fill("Search names, notes and tags", "GitH")
		p.Follow("Search")
		p.Wants("1 of 2 tokens", "github")
		p.In("#tokens").Lacks("stripe")
		p.In("#tokens").Follow("TV Zero")
		p.WantsAt("/token/github/trust")
		p.Wants("Who can see github?", "this server never receives it", "An agent fetches it", "The last check of your webhook", "healthy", "What this does not protect from", "Stored or changed")
		p.Lacks("Released to an agent")

		id, key := w.Owner.Agent("bot")
		w.Owner.Grant(id, "github", 0)
		if got, err := apptest.Call(t.Context(), apptest.NewClient(t, nil), http.MethodGet, w.URL+"/api/agents/credentials?service=github", nil, "Authorization", "Bearer "+key); err != nil || got.Status != http.StatusTemporaryRedirect {
			t.Fatalf("the agent was answered %v %s, want a redirect", err, got)
		}
		p.Reload()
		p.Wants("Released to an agent", "Last used just now")
	})
}

// The code of a sealed token comes from the server, that of a webhook's from there.
func TestOneTimeCodesAreLiveOnTheList(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"platform", "webhook"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			w := browsertest.New(t, store.SQLite)
			data := map[string]any{"tokenType": "TOTP", "totpSecret": seed}
			if mode == "webhook" {
				w.Bound()
				w.Owner.Store("two-factor", data)
			} else {
				w.Owner.Register()
				w.Owner.Must(http.MethodPost, "/api/tokens", map[string]any{"serviceName": "two-factor", "tokenData": data}, nil)
			}
			p := w.SignedIn(t)
			p.Open("/")
			p.In("[data-code]").Click("Show code")
			p.WantsElement("output.digits")
			p.WantsElement("svg.ring")
			var code string
			p.Ask(`document.querySelector("output.digits").textContent`, &code)
			if code = strings.ReplaceAll(code, " ", ""); !regexp.MustCompile(strings.Join(codesAround(t), "|")).MatchString(code) {
				t.Errorf("the page shows %q, want one of %v", code, codesAround(t))
			}
			asked := strings.Join(p.Requests(), " ")
			if fromWebhook := strings.Contains(asked, w.Webhook.URL+"/v1/totp-code"); fromWebhook != (mode == "webhook") {
				t.Errorf("requests %q; the webhook was asked: %t", asked, fromWebhook)
			}
			if barriers := p.Barriers(); len(barriers) > 0 {
				t.Errorf("with a code shown: %v", barriers)
			}
			p.In("[data-code]").Click("Hide")
			if n := p.Count("output.digits"); n != 0 {
				t.Errorf("%d codes are shown after hiding, want none", n)
			}
			p.In("[data-code]").Wants("Show code")
			p.Open("/token/two-factor/trust")
			p.Wants("You look at a code", "Last used just now")
		})
	}
}

// Without scripts the sealed code is a page of its own.
func TestACodeNeedsNoScript(t *testing.T) {
	t.Parallel()
	w := browsertest.New(t, store.SQLite)
	w.Owner.Register()
	w.Owner.Must(http.MethodPost, "/api/tokens", map[string]any{"serviceName": "two-factor", "tokenData": map[string]any{"tokenType": "TOTP", "totpSecret": seed}}, nil)
	page := w.Owner.Post("/token/two-factor/code", nil)
	if page.Status != http.StatusOK || !regexp.MustCompile(">("+strings.Join(codesAround(t), "|")+")</p>").Match(page.Body) {
		t.Errorf("the form was answered %d, want a page with the code", page.Status)
	}
}
