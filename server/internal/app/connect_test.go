package app_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tvzero/tokenvault/models/store/storetest"
	"github.com/tvzero/tokenvault/refresh"
	"github.com/tvzero/tokenvault/refresh/refreshtest"
	webhook "github.com/tvzero/tokenvault/webhook-sdk"

	"github.com/tvzero/tokenvault/server/internal/app/apptest"
	"github.com/tvzero/tokenvault/server/internal/config"
)

// acme is a provider as an operator sets it up.
func acme(p *refreshtest.Provider) config.Provider {
	return config.Provider{
		ID: "acme", Name: "Acme", Issuer: p.Issuer(), ClientID: refreshtest.ClientID, ClientSecret: config.Secret(refreshtest.ClientSecret),
	}
}

// A listed is a token as the API lists it.
type listed struct {
	Status, Trust, Provider, Subject, Scope, ConnectURL string
	Refresh                                             *struct {
		DueAt, LastAt, RetryAt            *time.Time
		LastOutcome, LastPath, LastReason string
	}
	TrustFacts struct{ LastTvMediated, LastPlatform, LastNotify *time.Time }
}

func token(o *apptest.Owner, service string) (l listed) {
	o.Must(http.MethodGet, "/api/tokens/"+service, nil, &l)
	return l
}

func TestAnAccountIsConnectedReadRefreshedLostConnectedAgainAndDisconnected(t *testing.T) {
	t.Parallel()
	storetest.EachURL(t, func(t *testing.T, database string) {
		provider := refreshtest.StartProvider(t, nil)
		s := start(t, database, newKeys(t), func(c *setup) { c.Providers = []config.Provider{acme(provider)}; c.MetricsListen = "127.0.0.1:0" })
		o := s.owner(t, "owner@example.com")
		if got := o.Browse("/connect/acme?service=mail&scope=mail.read"); got.Status != http.StatusOK || got.URL.Path != "/token/mail" || !strings.Contains(got.Body, "The account is connected.") {
			t.Fatalf("connecting ended at %s: %d %.1000s, want the token's page and a word", got.URL, got.Status, got.Body)
		}
		got := token(o, "mail")
		if got.Status != "active" || got.Trust != "sealed" || got.Provider != "acme" || got.Subject != "user-1" || !strings.Contains(got.Scope, "mail.read") || got.ConnectURL != "" {
			t.Errorf("connected: %+v, want it active and sealed, of user-1 at acme, with the scope", got)
		}
		id, key := o.Agent("reader")
		o.Grant(id, "mail", 0)
		ask := func() apptest.Answer {
			t.Helper()
			answer, err := apptest.Call(t.Context(), o.Client, http.MethodGet, s.URL()+"/api/agents/credentials?service=mail", nil, "X-Agent-Key", key)
			if err != nil {
				t.Fatal(err)
			}
			return answer
		}
		fresh := func(a apptest.Answer) bool {
			var c struct{ AccessToken string }
			return a.Status == 200 && json.Unmarshal(a.Body, &c) == nil && provider.Newest(refresh.Secret(c.AccessToken))
		}
		if answer := ask(); !fresh(answer) {
			t.Errorf("the agent reads %s, want the newest access token", answer)
		}
		if answer := o.Do(http.MethodPost, "/api/tokens/mail/refresh", nil); answer.Status != 200 || !strings.Contains(string(answer.Body), `"path":"platform","outcome":"rotated"`) {
			t.Errorf("refreshing: %s, want it rotated here", answer)
		}
		if answer := ask(); !fresh(answer) {
			t.Errorf("after refreshing the agent reads %s, want the newest access token", answer)
		}
		if answer := o.Do(http.MethodPost, "/api/tokens/mail/refresh", nil); answer.Status != 200 || !strings.Contains(string(answer.Body), `"outcome":"still_valid"`) || provider.Calls() != 1 {
			t.Errorf("refreshing once more at once: %s after %d calls, want it still valid after one", answer, provider.Calls())
		}
		if got := token(o, "mail"); got.Refresh == nil || got.Refresh.LastOutcome != "rotated" || got.Refresh.LastPath != "platform" || got.TrustFacts.LastPlatform == nil {
			t.Errorf("refreshed: %+v, want that in the list", got.Refresh)
		}

		// A provider that is away leaves the token as it is. (What is connected anew may be refreshed at once.)
		o.Browse("/connect/acme?service=mail")
		provider.Next(refreshtest.RateLimited("120"))
		answer := o.Do(http.MethodPost, "/api/tokens/mail/refresh", nil)
		if answer.Status != http.StatusBadGateway || answer.Code != "REFRESH_FAILED" || answer.Header.Get("Retry-After") == "" {
			t.Errorf("while the provider wants a pause: %s with Retry-After %q, want 502 REFRESH_FAILED", answer, answer.Header.Get("Retry-After"))
		}
		if got := token(o, "mail"); got.Status != "active" || got.Refresh.LastReason != "rate_limited" || got.Refresh.RetryAt == nil || !fresh(ask()) {
			t.Errorf("then: %+v, want it active, with the time of the next attempt", got)
		}

		// The person ends it at the provider: now its owner has to come again.
		o.Browse("/connect/acme?service=mail")
		_, refreshing := provider.Issued()
		for _, value := range refreshing {
			provider.Revoke(value)
		}
		answer = o.Do(http.MethodPost, "/api/tokens/mail/refresh", nil)
		var problem struct{ ConnectURL string }
		if answer.Status != http.StatusConflict || answer.Code != "REAUTHORIZATION_REQUIRED" || json.Unmarshal(answer.Body, &problem) != nil || problem.ConnectURL != s.URL()+"/connect/acme?service=mail" {
			t.Errorf("revoked: %s, want 409 REAUTHORIZATION_REQUIRED with where to connect it", answer)
		}
		got = token(o, "mail")
		if got.Status != "needs_reauthorization" || got.ConnectURL != problem.ConnectURL || got.Refresh.LastReason != "invalid_grant" {
			t.Errorf("revoked: %+v, want that it needs its owner, and where", got)
		}
		if page := o.Do(http.MethodGet, "/", nil); !strings.Contains(string(page.Body), `href="/connect/acme?service=mail">Connect again</a>`) {
			t.Error("the page of tokens has no link to connect it again")
		}
		if page := o.Browse(strings.TrimPrefix(problem.ConnectURL, s.URL())); page.Status != 200 || page.URL.Path != "/token/mail" {
			t.Errorf("connecting again ended at %s: %d", page.URL, page.Status)
		}
		if got := token(o, "mail"); got.Status != "active" || got.ConnectURL != "" || !strings.Contains(got.Scope, "mail.read") || !fresh(ask()) {
			t.Errorf("connected again: %+v, want it active with its scopes, for the agent too", got)
		}

		if metrics, err := apptest.Call(t.Context(), o.Client, http.MethodGet, "http://"+s.MetricsAddress()+"/metrics", nil); err != nil ||
			!strings.Contains(string(metrics.Body), `tokenvault_refresh_provider_calls_total{mode="platform"} 3`) || !strings.Contains(string(metrics.Body), `tokenvault_provider_problem{provider="acme"} 0`) {
			t.Errorf("metrics (%v) do not count three calls at acme, or see a problem:\n%s", err, metrics.Body)
		}
		var done struct{ Revoked bool }
		o.Must(http.MethodPost, "/api/tokens/mail/disconnect", nil, &done)
		if after := o.Do(http.MethodGet, "/api/tokens/mail", nil); !done.Revoked || len(provider.Revoked()) != 1 || after.Code != "TOKEN_NOT_FOUND" {
			t.Errorf("disconnected: revoked %t, %d calls, then %s; want it revoked once, and gone", done.Revoked, len(provider.Revoked()), after)
		}
	})
}

// By capability tv-refresh, and only then, refresh tokens pass through the server: the badge
// says so.
func TestAWebhookThatPermitsItHasItsTokensRefreshedHere(t *testing.T) {
	t.Parallel()
	storetest.EachURL(t, func(t *testing.T, database string) {
		provider := refreshtest.StartProvider(t, nil)
		s := start(t, database, newKeys(t), func(c *setup) { c.Providers = []config.Provider{acme(provider)} })
		o := s.owner(t, "owner@example.com")
		hook := startWebhook(t, nil, func(c *webhook.Config) { c.TVRefresh = true; c.TokenVaultURL = s.URL() })
		o.Bind(hook.URL, adminSecret)
		if got := o.Browse("/connect/acme"); got.Status != http.StatusOK || got.URL.Path != "/token/acme" {
			t.Fatalf("connecting ended at %s: %d %.1000s, want the token's page", got.URL, got.Status, got.Body)
		}
		got := token(o, "acme")
		if got.Trust != "tv-refresh" || got.Refresh == nil || got.Refresh.DueAt == nil || got.TrustFacts.LastTvMediated != nil {
			t.Errorf("connected: %+v, want tv-refresh, scheduled", got)
		}
		if answer := o.Do(http.MethodPost, "/api/tokens/acme/refresh", nil); answer.Status != 200 || !strings.Contains(string(answer.Body), `"path":"tv-mediated","outcome":"rotated"`) {
			t.Errorf("refreshing: %s, want it rotated through the server", answer)
		}
		if got := token(o, "acme"); got.Refresh.LastPath != "tv-mediated" || got.TrustFacts.LastTvMediated == nil || got.Refresh.DueAt == nil {
			t.Errorf("refreshed: %+v, want that in the list, and the next one scheduled", got)
		}
		// A webhook that is slow to take what is brought gets it a moment later.
		limit := time.Now().Add(time.Minute)
		for !provider.Newest(refresh.Secret(o.Reveal("acme")["accessToken"].(string))) {
			if wantAlive(t, o); time.Now().After(limit) {
				t.Fatal("the webhook does not have the newest access token")
			}
		}
		if page := o.Do(http.MethodGet, "/token/acme", nil); !strings.Contains(string(page.Body), "Refreshed through this server") {
			t.Errorf("the token's page does not say that it was refreshed through the server: %s", page.Body)
		}
		_, way, found := strings.Cut(string(o.Do(http.MethodGet, "/token/acme/trust", nil).Body), "It is refreshed through this server")
		if way, _, _ = strings.Cut(way, "</li>"); !found || !strings.Contains(way, "Last used") {
			t.Errorf("the trust page does not say when it was refreshed through the server: %s", way)
		}
	})
}

// What a provider has answered is stored before a server ends, whoever has left.
func TestATerminatedServerStoresWhatAProviderHasAnswered(t *testing.T) {
	t.Parallel()
	storetest.EachURL(t, func(t *testing.T, database string) {
		provider := refreshtest.StartProvider(t, nil)
		text, err := json.Marshal([]map[string]string{{
			"id": "acme", "issuer": provider.Issuer(), "clientId": refreshtest.ClientID, "clientSecret": string(refreshtest.ClientSecret),
		}})
		if err != nil {
			t.Fatal(err)
		}
		environment := append(serverEnvironment(database, newKeys(t)), "TOKENVAULT_PROVIDERS="+string(text))
		p := apptest.Start(t, serving, environment, "tokenvault", "serve")
		o := apptest.NewOwner(t, "http://"+p.Ready[1], "owner@example.com", apptest.NewClient(t, nil))
		o.Register()
		if got := o.Browse("/connect/acme"); got.Status != http.StatusOK {
			t.Fatalf("connecting ended at %s: %d", got.URL, got.Status)
		}
		<-provider.Arrived() // of the code
		release, left := make(chan struct{}), make(chan struct{})
		provider.Next(refreshtest.Slow(release))
		go func() {
			defer close(left)
			_, _ = apptest.Call(t.Context(), o.Client, http.MethodPost, o.Server+"/api/tokens/acme/refresh", nil, "Cookie", o.Cookie)
		}()
		<-provider.Arrived()
		p.Signal(syscall.SIGTERM)
		close(release)
		<-left
		if status := p.Wait(endsWithin); status != 0 {
			t.Errorf("status %d, want 0; the server said:\n%s", status, p.Log())
		}
		p = apptest.Start(t, serving, environment, "tokenvault", "serve")
		o = o.In(t, "http://"+p.Ready[1])
		var shown struct{ AccessToken, RefreshToken string }
		o.Must(http.MethodGet, "/api/tokens/acme?reveal=true", nil, &shown)
		if !provider.Newest(refresh.Secret(shown.AccessToken)) || !provider.Usable(refresh.Secret(shown.RefreshToken)) || provider.Reused() != 0 {
			t.Errorf("afterwards the newest tokens are not there; %d refresh tokens were used twice", provider.Reused())
		}
	})
}
