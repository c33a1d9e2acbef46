package browser_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"

	"github.com/tvzero/tokenvault/server/internal/app/apptest"
	"github.com/tvzero/tokenvault/server/internal/browsertest"
)

// hostiles are sets of texts that somebody may give everything that has a name.
func hostiles() map[string]texts {
	wide := func(n int) string { return strings.Repeat("W", n) }
	return map[string]texts{
		"scripts": {
			Person: `<script>alert("person")</script>`, Agent: `"><img src=x onerror=alert("agent")>`, AgentNote: `</textarea><svg onload=alert(1)>{{.}}`,
			Label: `'-alert("label")-'<img src=x onerror=alert(2)>`, Key: `</option></select><img src=x onerror=alert("key")>`,
			Display: `</title></script><script>alert("display")</script>`, Notes: "javascript:alert(1)\n<iframe srcdoc='<script>parent.alert(3)</script>'></iframe>",
			Tags: []string{`"><img src=x onerror=alert(4)>`, `&lt;b&gt;${alert(5)}`}, UserAgent: `<img src=x onerror=alert("agent's program")>`,
		},
		"long ones, formulas and right-to-left": {
			Person: wide(100), Agent: wide(100), AgentNote: wide(500), Label: "\u05d0\u05d1\u05d2 (\u0627\u0644\u0639\u0631\u0628\u064a\u0629) abc", Key: `=HYPERLINK("http://attacker.test","me")`,
			Display: wide(100), Notes: wide(2000), Tags: []string{wide(40), "\u05ea\u05d2 =1+1"}, UserAgent: wide(10_000),
		},
	}
}

// Whatever people, agents and webhooks call things is text, on every page, and leaves
// the page as wide as its window.
func TestHostileTextsAreTextsOnEveryPage(t *testing.T) {
	t.Parallel()
	for name, called := range hostiles() {
		for mode, part := range map[string]struct {
			make func(t *testing.T, w *browsertest.World, called texts) *scene
			ways func(p place) []way
		}{
			"platform mode": {sealedScene, func(p place) []way { return p.sealed }},
			"webhook mode":  {boundScene, func(p place) []way { return p.bound }},
		} {
			t.Run(name+" in "+mode, func(t *testing.T) {
				t.Parallel()
				s := part.make(t, browsertest.New(t, store.SQLite), called)
				p := s.SignedIn(t)
				var shown strings.Builder
				for _, place := range places {
					for _, way := range part.ways(place) {
						shown.WriteString(harmless(t, p, way.path(s)))
					}
				}
				want := []string{called.Person, called.Agent, called.AgentNote, called.Display, called.Notes, called.Tags[0], called.Tags[1], called.UserAgent[:min(len(called.UserAgent), 100)]}
				if s.second != nil {
					want = append(want, called.Label, called.Key)
				}
				for _, text := range want {
					if !strings.Contains(flat(shown.String()), flat(text)) {
						t.Errorf("no page shows %q as the text that it is", text)
					}
				}
			})
		}
	}
}

func TestHostileWebhooksSayTextsOnEveryPage(t *testing.T) {
	t.Parallel()
	for name, called := range hostiles() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := browsertest.New(t, store.SQLite)
			w.Owner.Register()
			liar := apptest.StartLiar(t, "github")
			lies(t, liar, called)
			if answer := w.Owner.TryBind(liar.Link()); answer.Status != http.StatusOK {
				t.Fatalf("bind: %s", answer)
			}
			w.Owner.Must(http.MethodPost, "/api/vault/sync", nil, nil)
			profile := w.Profile(t)
			profile.SetCookie(w.URL, w.Owner.Cookie)
			profile.Allow(liar.URL)
			p := w.Page(t, profile)
			shown := ""
			for _, path := range []string{"/", "/token/github", "/token/github/trust", "/token/github/delete", "/settings/vault", "/vault/move", "/vault/move-back", "/audit", "/tokens/new", "/agents"} {
				shown += harmless(t, p, path)
			}
			for _, text := range []string{called.Display, called.Notes, called.Tags[0]} {
				if !strings.Contains(flat(shown), flat(text)) {
					t.Errorf("no page shows %q, which the webhook said, as the text that it is", text)
				}
			}
			// From now on it answers every call with an error, and says hostile things about it.
			refuse := func(out http.ResponseWriter, _ *http.Request) {
				out.Header().Set("Content-Type", "application/json")
				out.WriteHeader(http.StatusBadRequest)
				_ = json.NewEncoder(out).Encode(map[string]string{"error": called.Agent, "message": called.Notes})
			}
			for _, path := range []string{wire.PathHealth, wire.PathStorage, wire.PathExchange} {
				liar.Lie(path, refuse)
			}
			p.Open("/settings/vault")
			p.Follow("Check the webhook")
			unharmed(t, p, "what the check found")
			for _, path := range []string{"/settings/vault", "/audit", "/token/github/trust"} {
				harmless(t, p, path)
			}
			p.Open("/vault/webhook-bind?" + bindQuery(liar.Link()))
			unharmed(t, p, "the page to bind it")
			p.Follow("css:form[action='/vault/webhook-bind'] button")
			unharmed(t, p, "what came of binding it")
		})
	}
}

// lies makes a webhook call everything what it likes.
func lies(t *testing.T, liar *apptest.Liar, called texts) {
	t.Helper()
	meta, err := json.Marshal(map[string]any{
		"serviceName": "github", "tokenType": called.Tags[0], "displayName": called.Display, "notes": called.Notes, "tags": called.Tags,
		"provider": called.Agent, "creationId": "1", "subject": called.Person, "scope": strings.ReplaceAll(called.Key, " ", ""), "hasRefreshToken": true,
		"movedFrom": called.Label, "connectedThrough": called.Label, "expiryTime": "<b>soon</b>",
	})
	if err != nil {
		t.Fatal(err)
	}
	for path, says := range map[string]any{
		wire.PathExchange: wire.ExchangeResponse{HMACSecret: liar.Secret.Encode(), WebhookID: "liar", Version: called.Agent, Capabilities: append([]string{wire.CapStorage}, called.Tags...)},
		wire.PathHealth: wire.HealthResponse{Status: wire.StatusHealthy, Version: called.Agent, KeyConfigured: true, WebhookID: "liar",
			Capabilities: append([]string{wire.CapStorage}, called.Tags...)},
		wire.PathStorage: wire.StorageResponse{Status: "ok", Items: []wire.StorageItem{{Key: "github", Meta: meta}, {Key: called.Person, Meta: meta}}},
	} {
		liar.Lie(path, func(out http.ResponseWriter, _ *http.Request) {
			out.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(out).Encode(says)
		})
	}
}

func bindQuery(link apptest.Link) string {
	return "code=" + link.Code + "&hmac_hash=" + link.Hash + "&webhook_url=" + encodeURL(link.WebhookURL)
}

// harmless opens a page and returns what it shows, its fields and hints included.
func harmless(t *testing.T, p *browsertest.Page, path string) string {
	t.Helper()
	p.Open(path)
	unharmed(t, p, path)
	var shown string
	p.Ask(`[document.body.innerText, ...[...document.querySelectorAll("input, textarea")].map(e => e.value),
		...[...document.querySelectorAll("[title]")].map(e => e.title)].join("\n")`, &shown)
	return shown + "\n"
}

// unharmed checks that no text of the page became anything but text.
func unharmed(t *testing.T, p *browsertest.Page, what string) {
	t.Helper()
	var intruders []string
	p.Ask(`[...document.querySelectorAll("img[src=x], svg[onload], iframe, script:not([src]), [onerror], [onload], [onclick]")].map(e => e.outerHTML)`, &intruders)
	if len(intruders) > 0 {
		t.Errorf("on %s texts have become %q", what, intruders)
	}
	if problems := p.Problems(); len(problems) > 0 {
		t.Errorf("%s: %s", what, slices.Compact(problems))
	}
	for _, width := range []int{browsertest.Narrow, browsertest.Wide} {
		p.Emulate(browsertest.Look{Width: width})
		if got := p.Overflow(); got != "" {
			t.Errorf("%s at %d px: %s", what, width, got)
		}
	}
}

// flat is text without white space, which pages fold as they like.
func flat(text string) string { return strings.Join(strings.Fields(fmt.Sprint(text)), "") }
