package webhook_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/tvzero/tokenvault/refresh"
	"github.com/tvzero/tokenvault/refresh/refreshtest"
	webhook "github.com/tvzero/tokenvault/webhook-sdk"
	"github.com/tvzero/tokenvault/webhook-sdk/webhooktest"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// These tests are what a TV may try that has the binding's secret and means no good.

func requested(service string) map[string]any {
	return map[string]any{"service": service, "reason": wire.ReasonRequested}
}

func TestARequestedRefreshDoesNotHammerAProviderThatRefuses(t *testing.T) {
	t.Parallel()
	t.Run("revoked", func(t *testing.T) {
		t.Parallel()
		s := withProvider(t, nil)
		tokens := s.expired()
		s.store("github", tokens, nil)
		s.Revoke(tokens.RefreshToken)
		for range 5 {
			if got := s.tv.Notify(requested("github")); !got.NeedsReauthorization || got.Reason != "invalid_grant" {
				t.Errorf("requested: %+v, want that it needs its owner", got)
			}
		}
		if s.Requests() != 1 {
			t.Errorf("the provider was called %d times at once, want once", s.Requests())
		}
		s.clock.move(31 * time.Second)
		s.tv.Notify(requested("github"))
		if s.Requests() != 2 {
			t.Errorf("after half a minute there were %d calls, want 2", s.Requests())
		}
	})
	t.Run("rate limited", func(t *testing.T) {
		t.Parallel()
		s := withProvider(t, nil)
		s.store("github", s.expired(), nil)
		s.Next(refreshtest.RateLimited("600"))
		first := s.tv.Notify(requested("github"))
		for range 3 {
			s.clock.move(31 * time.Second)
			if got := s.tv.Notify(requested("github")); got.Reason != "rate_limited" || got.RetryAt != first.RetryAt {
				t.Errorf("requested before its time: %+v, want %+v", got, first)
			}
		}
		if s.Requests() != 1 {
			t.Errorf("a provider that wants ten minutes was called %d times, want once", s.Requests())
		}
	})
	t.Run("our secret", func(t *testing.T) {
		t.Parallel()
		s := withProvider(t, nil)
		s.store("github", s.expired(), nil)
		s.Next(refreshtest.Refused(401, "invalid_client", ""))
		s.tv.Notify(requested("github"))
		if got := s.tv.Notify(requested("github")); got.Reason != "client_rejected" || s.Requests() != 1 {
			t.Errorf("requested at once: %+v after %d calls, want the refusal after 1", got, s.Requests())
		}
		// Waiting cures nothing here, an operator does, and may ask at once.
		s.clock.move(31 * time.Second)
		if got := s.tv.Notify(requested("github")); got.Status != "refreshed" {
			t.Errorf("requested when it was repaired: %+v, want refreshed", got)
		}
	})
}

func TestAnAnswerThatStandsIsNeitherWrittenNorRecordedAgain(t *testing.T) {
	t.Parallel()
	s := withProvider(t, nil)
	s.store("github", s.expired(), nil)
	s.Next(refreshtest.RateLimited("60"))
	s.tv.RefreshNotify("github")
	check, records := unchanged(t, s.wh), len(s.records(t))
	for range 3 {
		s.tv.RefreshNotify("github")
	}
	check()
	if got := len(s.records(t)); got != records {
		t.Errorf("three calls that did nothing added %d records, want none", got-records)
	}
}

func TestATokenOfAnotherIssuerIsNotSentToAProviderOfTheSameName(t *testing.T) {
	t.Parallel()
	s := withProvider(t, nil)
	for name, test := range map[string]struct {
		issuer any
		status string
	}{
		"another": {"https://other.example", "acknowledged"}, "of another kind": {7, "acknowledged"},
		"the same": {s.Issuer(), "refreshed"}, "with a slash": {s.Issuer() + "/", "refreshed"}, "unknown": {nil, "refreshed"}, "empty": {"", "refreshed"},
	} {
		s.store(name, s.expired(), map[string]any{"issuer": test.issuer})
		before := s.Requests()
		got := s.tv.RefreshNotify(name)
		if called := s.Requests() > before; got.Status != test.status || called != (test.status == "refreshed") {
			t.Errorf("%s: %+v, called %t, want %s", name, got, called, test.status)
		}
	}
}

func TestAClockThatWasWrongDoesNotStopRefreshing(t *testing.T) {
	t.Parallel()
	s := withProvider(t, nil)
	s.store("failed", s.expired(), nil)
	s.store("fresh", s.expired(), nil)
	s.clock.move(365 * 24 * time.Hour)
	s.Next(refreshtest.Status(503, ""))
	if got := s.tv.RefreshNotify("failed"); got.Reason != "provider_error" {
		t.Fatalf("answered %+v, want provider_error", got)
	}
	if got := s.tv.RefreshNotify("fresh"); got.Status != "refreshed" {
		t.Fatalf("answered %+v, want refreshed", got)
	}
	s.clock.move(time.Second - 365*24*time.Hour)
	s.restart(t) // what had been used by that clock nobody knows any more
	if got := s.tv.RefreshNotify("failed"); got.Status != "refreshed" {
		t.Errorf("after the clock was set right: %+v, want refreshed", got)
	}
	calls := s.Calls()
	if got := s.tv.Notify(requested("fresh")); got.Status != "refreshed" || s.Calls() != calls+1 {
		t.Errorf("requested after the clock was set right: %+v, %d calls, want refreshed with one", got, s.Calls()-calls)
	}
}

func TestATokenThatIsDeletedWhileItIsRefreshedIsRevoked(t *testing.T) {
	t.Parallel()
	s := withProvider(t, nil)
	tokens := s.expired()
	s.store("github", tokens, nil)
	granted, release := make(chan struct{}), make(chan struct{})
	s.Next(func(c *refreshtest.Call) {
		c.Answer(func(map[string]any) { // with new tokens, which are on their way
			close(granted)
			<-release
		})
	})
	answered := make(chan wire.RefreshNotifyResponse, 1)
	go func() { answered <- s.tv.RefreshNotify("github") }()
	<-granted
	s.tv.Operate(map[string]any{"operation": "delete", "collection": "tokens", "key": "github"})
	close(release)
	if got := <-answered; got.Status != "refresh_failed" {
		t.Errorf("the refresh: %+v, want refresh_failed", got)
	}
	revoked := s.Revoked()
	if len(revoked) != 2 || revoked[0] != tokens.RefreshToken || revoked[1] == tokens.RefreshToken || revoked[1] == "" {
		t.Errorf("%d tokens were revoked, want the stored one and the one that came too late", len(revoked))
	}
	if got := s.tv.RefreshNotify("github"); got.Status != "no_token" {
		t.Errorf("afterwards: %+v, want no_token", got)
	}
}

func TestConnectingAgainTakesItsHostsFromTheConfiguration(t *testing.T) {
	t.Parallel()
	for name, hosts := range map[string][]string{"configured": {"https://api.example.com"}, "none": nil} {
		s := withProvider(t, func(p *webhook.Provider) { p.AllowedHosts = hosts })
		// TV signs tickets: it can store a token under the name that its owner will connect.
		s.store("github", s.Issue("repo"), map[string]any{
			"clientId": refreshtest.ClientID, "subject": "user-1", "allowedHosts": []string{"https://attacker.example"},
		})
		v := s.visitor(t)
		v.arrive(v.back("github")).wants(t, http.StatusOK, "is connected")
		want := "null"
		if hosts != nil {
			want = `["https://api.example.com"]`
		}
		if got, _ := json.Marshal(s.meta(t, "github")["allowedHosts"]); string(got) != want {
			t.Errorf("%s: allowedHosts are %s, want %s", name, got, want)
		}
	}
}

func TestAFlowEndsWithTheBindingWhoseTicketBeganIt(t *testing.T) {
	t.Parallel()
	const admin = "an admin secret that is long"
	s := withProvider(t, nil, config(func(c *webhook.Config) { c.AdminSecret = admin }))
	s.tv.Store("github", plain("ghp_canary"))
	v := s.visitor(t)
	callback := v.back("github")
	s.rebind(t, admin)
	s.clock.move(3 * time.Minute) // the secret before is good for two
	check := unchanged(t, s.wh)
	v.arrive(callback).wants(t, http.StatusUnauthorized, "bound anew")
	check()
	v.arrive(v.back("github")).wants(t, http.StatusOK, "is connected")
}

// restart stops the webhook and starts it again with the same provider.
func (s *providerStage) restart(t *testing.T) {
	t.Helper()
	s.wh.Stop()
	entry := webhook.Provider{Provider: s.Config()}
	s.wh = webhooktest.Start(t, s.wh.Dir, webhooktest.WithClock(s.clock.now), s.log.option(), config(func(c *webhook.Config) {
		c.Providers = []webhook.Provider{entry}
	}))
	s.tv.URL = s.wh.URL
}

// rebind binds the webhook to the same vault with another secret.
func (s *providerStage) rebind(t *testing.T, admin string) {
	t.Helper()
	r := s.tv.Request(http.MethodGet, wire.PathRegisterURL, nil)
	r.Header.Set(wire.HeaderAdminSecret, admin)
	var code wire.RegisterURL
	accepted(t, s.tv.Do(r)).Decode(t, &code)
	s.tv.BindWith(code.Code, code.HMACHash)
}

func TestTheSameTokensWithMoreTimeAreStored(t *testing.T) {
	t.Parallel()
	s := withProvider(t, nil)
	tokens := s.expired()
	s.store("github", tokens, nil)
	s.Next(refreshtest.With(map[string]any{"access_token": string(tokens.AccessToken), "refresh_token": string(tokens.RefreshToken)}))
	want := s.clock.now().Add(time.Hour)
	for range 3 {
		if got := s.tv.RefreshNotify("github"); got.Status != "refreshed" || got.NewExpiresAt != want.Format("2006-01-02T15:04:05.000Z07:00") {
			t.Errorf("answered %+v, want refreshed until %v", got, want)
		}
	}
	if got := s.meta(t, "github")["expiryTime"]; got != float64(want.UnixMilli()) || s.Requests() != 1 {
		t.Errorf("the expiry is %v after %d calls, want %d after 1", got, s.Requests(), want.UnixMilli())
	}
}

// What a TV of others sends is the only copy of a refresh token that was rotated:
// what is beside the tokens does not cost them.
func TestAnUpdateOfAnotherTVIsTakenWhateverItSaysBesides(t *testing.T) {
	t.Parallel()
	s := withProvider(t, nil, config(throughTV))
	s.theirs(t, "google")
	expires := s.clock.now().Add(time.Hour).UnixMilli()
	for i, test := range []struct {
		more   map[string]any
		scopes string
		expiry any
	}{
		{map[string]any{"expiryTime": expires, "tokenType": "Bearer", "scope": "a b", "expiresIn": 3600}, `["calendar"]`, float64(expires)},
		{map[string]any{"expiryTime": json.RawMessage(fmt.Sprintf("%d.75", expires))}, `["calendar"]`, float64(expires)},
		{map[string]any{"expiryTime": json.RawMessage("2.5e12")}, `["calendar"]`, 2.5e12},
		{map[string]any{"expiryTime": nil, "refreshToken": nil}, `["calendar"]`, nil},
		{map[string]any{"scopes": "calendar mail"}, `["calendar","mail"]`, nil},
		{map[string]any{"scopes": []any{"calendar", 7, "", "a\"b", "mail"}}, `["calendar","mail"]`, nil},
		{map[string]any{"scopes": map[string]any{"x": 1}}, `["calendar","mail"]`, nil},
		{map[string]any{"scopes": nil}, `["calendar","mail"]`, nil},
	} {
		tokens := map[string]any{"accessToken": fmt.Sprintf("access-%d-canary", i+1), "refreshToken": fmt.Sprintf("refresh-%d-canary", i+1)}
		for name, value := range test.more {
			tokens[name] = value
		}
		if got := s.tv.Refresh(updated(tokens, nil)); got.Status != "updated" {
			t.Errorf("%v: %+v, want updated", test.more, got)
		}
		meta := s.meta(t, "google")
		if scopes, _ := json.Marshal(meta["scopes"]); string(scopes) != test.scopes || meta["expiryTime"] != test.expiry {
			t.Errorf("%v: scopes %s and expiry %v, want %s and %v", test.more, scopes, meta["expiryTime"], test.scopes, test.expiry)
		}
	}
	s.holds(t, "google", "access-8-canary", "refresh-8-canary")
}

func TestAWebhookWithoutProvidersAcknowledgesANotification(t *testing.T) {
	t.Parallel()
	s := withProvider(t, nil, config(func(c *webhook.Config) { c.Providers = nil }))
	s.store("github", refresh.Tokens{AccessToken: "a-canary", RefreshToken: "r-canary", ExpiresAt: s.clock.now()}, nil)
	for service, want := range map[string]string{"github": "acknowledged", "missing": "no_token"} {
		if got := s.tv.RefreshNotify(service); got.Status != want {
			t.Errorf("%s: %+v, want %s", service, got, want)
		}
	}
}
