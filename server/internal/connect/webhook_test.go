package connect_test

import (
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"testing"

	"github.com/tvzero/tokenvault/refresh"
	"github.com/tvzero/tokenvault/refresh/refreshtest"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/connect"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/vaults"
	"github.com/tvzero/tokenvault/webhook-sdk/netguard"
	"github.com/tvzero/tokenvault/webhook-sdk/webhooktest"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"

	webhook "github.com/tvzero/tokenvault/webhook-sdk"
)

// badge is what is said of a token.
func (w *world) badge(service string) vaults.TokenView {
	w.t.Helper()
	v, err := w.vaults.Token(w.t.Context(), w.user, service)
	w.must(err)
	return v
}

func TestTheServersOwnProviderHandsTokensToTheWebhook(t *testing.T) {
	t.Parallel()
	each(t, func(w *world) {
		_, tv := w.bind()
		w.audit.take()
		out := w.connect(connect.StartInput{Provider: "test", ReturnTo: "/tokens"})
		held := tv.Reveal("test")
		if !w.provider.Newest(refresh.Secret(held["accessToken"].(string))) || held["refreshToken"] == "" || held["clientId"] != refreshtest.ClientID ||
			held["issuer"] != w.provider.Issuer() || held["displayName"] != "Test (user@example.com)" || held["tokenUrl"] != nil {
			t.Errorf("the webhook holds %v", held)
		}
		if got := out.Token; got.Subject != "user-1" || got.Scope != "profile read" || got.IssuedAt == nil || !got.HasRefreshToken || out.Account != "user@example.com" {
			t.Errorf("the index holds %+v", got)
		}
		v := w.badge("test")
		if v.Trust != vaults.TVSeen || !strings.Contains(v.TrustReason, "connected through this server") || v.Token.SeenPath != "connected through this server" {
			t.Errorf("the badge is %s: %s", v.Trust, v.TrustReason)
		}
		events := w.audit.take()
		if len(events) != 1 || events[0].Type != audit.Store || !strings.Contains(events[0].Detail, "connected at test as user@example.com") || !strings.HasSuffix(events[0].Detail, "seen by this server") {
			t.Errorf("recorded %+v, want one store that the server saw", events)
		}

		// Lost rows of the index say so again, by the webhook's own list.
		c, err := w.vaults.Custody(t.Context(), w.user.AccountID)
		w.must(err)
		w.must(w.store.DeleteToken(t.Context(), w.user.AccountID, c.Binding.VaultID, "test"))
		if v := w.badge("test"); v.Trust != vaults.TVSeen {
			t.Errorf("after the index was lost the badge is %s, want tv-seen", v.Trust)
		}
		w.quiet(held["accessToken"].(string), held["refreshToken"].(string))
	})
}

func TestReconnectingReplacesTheWebhooksTokenAndKeepsItsNotes(t *testing.T) {
	t.Parallel()
	each(t, func(w *world) {
		_, tv := w.bind()
		first := w.connect(connect.StartInput{Provider: "test"}).Token
		name, notes := "Work", "for the robots"
		_, err := w.vaults.UpdateMetadata(t.Context(), w.user, audit.Client{}, "test", vaults.MetadataInput{DisplayName: &name, Notes: &notes, Tags: &[]string{"a"}})
		w.must(err)
		second := w.connect(connect.StartInput{Provider: "test", Scopes: []string{"write"}}).Token
		if second.ID != first.ID || second.CreationID == first.CreationID || second.DisplayName != "Work" || second.Notes != "for the robots" || len(second.Tags) != 1 ||
			second.Scope != "profile read write" {
			t.Errorf("got %+v after %+v", second, first)
		}

		if hosts := tv.Reveal("test")["allowedHosts"]; !reflect.DeepEqual(hosts, []any{"https://api.example.com"}) {
			t.Errorf("it may be sent to %v, want what was allowed before", hosts)
		}

		// Replaced at the webhook while its owner was at the provider.
		back := w.visit(w.start(connect.StartInput{Provider: "test"}))
		tv.Store("test", map[string]any{"tokenType": "PlainText", "accessToken": "kept"})
		_, err = w.Finish(t.Context(), w.user, audit.Client{}, back)
		w.refused("replaced meanwhile", err, fault.Conflict, "another token named")
		if got := tv.Reveal("test")["accessToken"]; got != "kept" {
			t.Errorf("the webhook holds %v, want what was stored meanwhile", got)
		}
		w.vaultsSync("test")
		if v := w.badge("test"); v.Trust != vaults.TVZero {
			t.Errorf("what the server never saw is %s, want tv-zero", v.Trust)
		}
		_, err = w.Start(t.Context(), w.user, audit.Client{}, connect.StartInput{Provider: "test"})
		w.refused("under another's name", err, fault.Conflict, "that is not from test")
	})
}

func (w *world) vaultsSync(service string) {
	w.t.Helper()
	_, err := w.vaults.Sync(w.t.Context(), w.user, audit.Client{}, service)
	w.must(err)
}

func TestAWebhookThatIsAwayIsSaid(t *testing.T) {
	t.Parallel()
	each(t, func(w *world) {
		wh, _ := w.bind()
		back := w.visit(w.start(connect.StartInput{Provider: "test"}))
		w.audit.take()
		wh.Stop()
		_, err := w.Finish(t.Context(), w.user, audit.Client{}, back)
		w.refused("a webhook that is away", err, fault.WebhookUnavailable, "")
		events := w.audit.take()
		if last := events[len(events)-1]; last.Type != audit.Refusal || last.Outcome != fault.WebhookUnavailable {
			t.Errorf("recorded %+v, want that it was not stored", events)
		}
	})
}

func TestWhereTokensGoMustNotChangeMeanwhile(t *testing.T) {
	t.Parallel()
	each(t, func(w *world) {
		back := w.visit(w.start(connect.StartInput{Provider: "test"}))
		w.bind()
		_, err := w.Finish(t.Context(), w.user, audit.Client{}, back)
		w.refused("bound meanwhile", err, fault.Conflict, "has changed meanwhile")
		if n := w.provider.Requests(); n != 0 {
			t.Errorf("the code was exchanged (%d calls)", n)
		}
		w.holds(0)
	})
}

// connecting is a webhook with a provider of its own.
func connecting(p *refreshtest.Provider) webhooktest.Option {
	return func(c *webhook.Config) {
		own := p.Config()
		own.ID = "own"
		c.Providers = append(c.Providers, webhook.Provider{Provider: own})
	}
}

func TestAWebhookConnectsWhatTheServerHasNoSecretFor(t *testing.T) {
	t.Parallel()
	each(t, func(w *world) {
		wh, tv := w.bind(connecting(w.provider))
		for _, provider := range []string{"own", "public"} {
			w.audit.take()
			r := w.start(connect.StartInput{Provider: provider, Service: "mine", Scopes: []string{"a", "b"}, ReturnTo: "/tokens?x=1"})
			u, err := url.Parse(r.URL)
			w.must(err)
			q := u.Query()
			if r.Cookie != "" || !strings.HasPrefix(r.URL, wh.URL+"/connect/"+provider+"?") || q.Get("scope") != "a b" || q.Get("return") != "/tokens?x=1" {
				t.Errorf("sent to %s with the cookie %q, want the webhook and none", r.URL, r.Cookie)
			}
			ticket, _, err := wire.OpenTicket([]wire.Secret{tv.Secret}, q.Get("ticket"), w.clock.now())
			if err != nil || ticket.Permits("mine", wire.PurposeConnect) != nil || ticket.Mode != wire.ModeCreate || ticket.CreationID != "" || ticket.Subject != w.user.AccountID.String() {
				t.Errorf("the ticket is %+v, %v", ticket, err)
			}
			if events := w.audit.take(); len(events) != 1 || events[0].Type != audit.TicketIssued || !strings.Contains(events[0].Detail, "purpose=connect") {
				t.Errorf("recorded %+v, want one ticket", events)
			}
		}

		// The webhook runs the flow by itself, and the token stays tv-zero.
		w.browse(w.start(connect.StartInput{Provider: "own"}).URL)
		w.vaultsSync("own")
		v := w.badge("own")
		if v.Trust != vaults.TVZero || v.Token.Subject != "user-1" || v.Token.Provider != "own" {
			t.Errorf("the badge is %s of %+v, want tv-zero", v.Trust, v.Token)
		}
		again := w.start(connect.StartInput{Service: "own", Scopes: []string{"more"}})
		u, err := url.Parse(again.URL)
		w.must(err)
		ticket, _, err := wire.OpenTicket([]wire.Secret{tv.Secret}, u.Query().Get("ticket"), w.clock.now())
		if err != nil || ticket.Mode != wire.ModeOverwrite || ticket.CreationID != v.Token.CreationID || !strings.HasSuffix(u.Query().Get("scope"), "more") {
			t.Errorf("to connect again the ticket is %+v, %v, for %s", ticket, err, u.Query().Get("scope"))
		}
		w.browse(again.URL)
		w.vaultsSync("own")
		if now := w.badge("own").Token; now.CreationID == v.Token.CreationID || now.ID != v.Token.ID {
			t.Errorf("after connecting again it is %+v", now)
		}

		// For the server's own secret the server runs it.
		if r := w.start(connect.StartInput{Provider: "test"}); r.Cookie == "" || !strings.HasPrefix(r.URL, w.provider.Issuer()) {
			t.Errorf("sent to %s, want the provider", r.URL)
		}
	})
}

// browse goes to an address as a person's browser does, with cookies, wherever it leads.
func (w *world) browse(address string) {
	w.t.Helper()
	client := netguard.Policy{AllowPrivate: true}.Client()
	defer client.CloseIdleConnections()
	cookies := map[string]string{}
	for range 10 {
		req, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, address, nil)
		w.must(err)
		for name, value := range cookies {
			req.AddCookie(&http.Cookie{Name: name, Value: value}) // #nosec G124 -- a request's
		}
		answer, err := client.Do(req)
		w.must(err)
		_ = answer.Body.Close()
		for _, cookie := range answer.Cookies() {
			cookies[cookie.Name] = cookie.Value
		}
		next, err := answer.Location()
		if err != nil {
			if answer.StatusCode != http.StatusOK {
				w.t.Fatalf("the last page answered %d", answer.StatusCode)
			}
			return
		}
		address = next.String()
	}
	w.t.Fatal("the browser is sent round and round")
}

func TestAWebhookWithoutConnectLeavesItToTheServer(t *testing.T) {
	t.Parallel()
	each(t, func(w *world) {
		w.bind()
		if r := w.start(connect.StartInput{Provider: "public"}); r.Cookie == "" {
			t.Errorf("sent to %s, want the provider: the webhook connects nothing", r.URL)
		}
		_, err := w.Start(t.Context(), w.user, audit.Client{}, connect.StartInput{Provider: "own"})
		w.refused("a provider that neither has", err, fault.NotFound, "no provider named")
		_, err = w.vaults.ConnectTicket(t.Context(), w.user, audit.Client{}, "x", "")
		w.refused("a ticket for what it does not do", err, fault.WebhookNotConfigured, "does not connect")
		_, err = w.Start(t.Context(), w.user, audit.Client{}, connect.StartInput{Owner: "acme", Bridge: "weather"})
		w.refused("a bridge", err, fault.NotFound, "Nothing is stored")
	})
}
