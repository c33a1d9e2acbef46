package webhook_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tvzero/tokenvault/refresh"
	"github.com/tvzero/tokenvault/refresh/refreshtest"
	webhook "github.com/tvzero/tokenvault/webhook-sdk"
	"github.com/tvzero/tokenvault/webhook-sdk/storage"
	"github.com/tvzero/tokenvault/webhook-sdk/webhooktest"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// A providerStage is a webhook that is a client of a provider with rotating, single-use
// refresh tokens, and a TV bound to it.
type providerStage struct {
	*refreshtest.Provider
	wh    *webhooktest.Webhook
	tv    *webhooktest.TV
	clock *clock
	log   *logBuffer
}

// withProvider starts one. change alters the provider's entry.
func withProvider(t *testing.T, change func(*webhook.Provider), options ...webhooktest.Option) *providerStage {
	t.Helper()
	s := &providerStage{clock: newClock(), log: &logBuffer{}}
	s.Provider = refreshtest.StartProvider(t, &refreshtest.Grants{Now: s.clock.now})
	entry := webhook.Provider{Provider: s.Config()}
	if change != nil {
		change(&entry)
	}
	s.wh, s.tv = webhooktest.New(t, append([]webhooktest.Option{
		webhooktest.WithClock(s.clock.now), s.log.option(), config(func(c *webhook.Config) { c.Providers = []webhook.Provider{entry} }),
	}, options...)...)
	t.Cleanup(func() {
		if text := s.log.text(); strings.Contains(text, "canary") {
			t.Errorf("the log holds a secret: %s", text)
		}
		for _, rec := range s.records(t) {
			if strings.Contains(rec, "canary") {
				t.Errorf("the record holds a secret: %s", rec)
			}
		}
	})
	return s
}

// records are those of the webhook, newest first.
func (s *providerStage) records(t *testing.T) []string {
	t.Helper()
	page, err := s.wh.Storage.ListAudit(context.WithoutCancel(t.Context()), storage.Query{})
	if err != nil {
		return nil // the webhook was stopped
	}
	var out []string
	for _, item := range page.Items {
		out = append(out, string(item.Data))
	}
	return out
}

// recorded reports whether there is a record of an action with an outcome.
func (s *providerStage) recorded(t *testing.T, action, outcome string) bool {
	t.Helper()
	for _, rec := range s.records(t) {
		if strings.Contains(rec, `"action":"`+action+`"`) && strings.Contains(rec, `"outcome":"`+outcome+`"`) {
			return true
		}
	}
	return false
}

// store stores tokens of the provider as a browser does, and returns the metadata.
func (s *providerStage) store(service string, tokens refresh.Tokens, more map[string]any) map[string]any {
	data := map[string]any{
		"tokenType": "OAuth", "provider": "test", "accessToken": string(tokens.AccessToken), "refreshToken": string(tokens.RefreshToken),
		"expiresAt": tokens.ExpiresAt.Format(time.RFC3339), "scopes": tokens.Scopes, "displayName": "My account",
	}
	for name, value := range more {
		data[name] = value
		if value == nil {
			delete(data, name)
		}
	}
	return s.tv.Store(service, data)
}

// expired are tokens that the provider issued an hour ago.
func (s *providerStage) expired() refresh.Tokens {
	tokens := s.Issue("repo", "user")
	tokens.ExpiresAt = s.clock.now().Add(-time.Minute)
	return tokens
}

// meta is what TV knows of a token.
func (s *providerStage) meta(t *testing.T, service string) map[string]any {
	t.Helper()
	var meta map[string]any
	if err := json.Unmarshal(s.tv.Operate(map[string]any{"operation": "get", "collection": "tokens", "key": service}).Data, &meta); err != nil {
		t.Fatal(err)
	}
	return meta
}

func TestANotificationRefreshesATokenThatExpiresAndKeepsItsCreation(t *testing.T) {
	t.Parallel()
	s := withProvider(t, nil)
	before := s.expired()
	meta := s.store("github", before, nil)
	stranger := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the endpoint of a hint was called") }))
	defer stranger.Close()
	answer := s.tv.Notify(map[string]any{
		"service": "github", "reason": "token_expiring",
		"refreshHint": map[string]any{"provider": "other", "tokenUrl": stranger.URL, "clientId": "other"},
	})
	want := s.clock.now().Add(time.Hour).Format("2006-01-02T15:04:05.000Z07:00")
	if answer.Status != "refreshed" || answer.NewExpiresAt != want || answer.RequestID == "" {
		t.Errorf("answered %+v, want refreshed, until %s", answer, want)
	}
	agent, owner := s.tv.AgentCredential("github"), s.tv.Reveal("github")
	access, _ := agent["accessToken"].(string)
	if !s.Newest(refresh.Secret(access)) {
		t.Error("the agent does not get the newest access token")
	}
	if _, given := agent["refreshToken"]; given || owner["refreshToken"] == string(before.RefreshToken) {
		t.Error("the agent got the refresh token, or the owner still has the used one")
	}
	after := s.meta(t, "github")
	if after["creationId"] != meta["creationId"] || after["createdAt"] != meta["createdAt"] || after["displayName"] != "My account" {
		t.Errorf("metadata is %v, want the creation and notes of %v", after, meta)
	}
	if after["hasRefreshToken"] != true || after["expiresAt"] != want || after["expiryTime"] != float64(s.clock.now().Add(time.Hour).UnixMilli()) ||
		after["refreshSequence"] != float64(1) || after["issuedAt"] != s.clock.now().Format("2006-01-02T15:04:05.000Z07:00") {
		t.Errorf("metadata is %v, want the new expiry, issue and sequence", after)
	}
	if !s.recorded(t, "refresh", "ok") {
		t.Errorf("the refresh is not in the record: %v", s.records(t))
	}
	// What is not due is not refreshed again: TV's call may have been repeated.
	if again := s.tv.RefreshNotify("github"); again.Status != "refreshed" || again.NewExpiresAt != want || s.Calls() != 1 {
		t.Errorf("a second notification: %+v after %d calls, want refreshed after 1", again, s.Calls())
	}
	// Scheduled calls come up to an hour before; here a quarter of the lifetime is less.
	s.clock.move(46 * time.Minute)
	if again := s.tv.RefreshNotify("github"); again.Status != "refreshed" || s.Calls() != 2 || s.Reused() != 0 {
		t.Errorf("when it is due: %+v after %d calls, want refreshed after 2", again, s.Calls())
	}
}

func TestManyNotificationsRefreshOnce(t *testing.T) {
	t.Parallel()
	s := withProvider(t, nil)
	s.store("github", s.expired(), nil)
	release := make(chan struct{})
	s.Next(refreshtest.Slow(release))
	var refreshed atomic.Int64
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() {
			if answer := s.tv.RefreshNotify("github"); answer.Status == "refreshed" {
				refreshed.Add(1)
			}
		})
	}
	<-s.Arrived()
	close(release)
	group.Wait()
	if refreshed.Load() != 20 || s.Calls() != 1 || s.Reused() != 0 {
		t.Errorf("%d of 20 were refreshed with %d calls, want all with 1", refreshed.Load(), s.Calls())
	}
}

func TestWhatCannotBeRefreshedHereIsSaid(t *testing.T) {
	t.Parallel()
	s := withProvider(t, nil)
	tokens := s.expired()
	s.store("ours", tokens, map[string]any{"refreshToken": nil})
	s.store("others", tokens, map[string]any{"provider": "unknown"})
	s.store("nobodys", tokens, map[string]any{"provider": nil})
	s.store("numbered", tokens, map[string]any{"provider": 7})
	s.store("of another client", tokens, map[string]any{"clientId": "another"})
	s.tv.Store("key", plain("ghp_canary"))
	check := unchanged(t, s.wh)
	for service, want := range map[string]string{
		"missing": "no_token", "ours": "no_refresh_token", "key": "no_refresh_token", "others": "acknowledged", "nobodys": "acknowledged",
		"numbered": "acknowledged", "of another client": "acknowledged",
	} {
		if got := s.tv.RefreshNotify(service); got.Status != want {
			t.Errorf("%s: %+v, want %s", service, got, want)
		}
	}
	for name, fields := range map[string]map[string]any{
		"no service": {}, "a service that cannot be": {"service": "../x"}, "a service of another type": {"service": 7}, "a reserved one": {"service": "bulk"},
	} {
		t.Log(name)
		refused(t, s.tv.Signed(wire.PathRefreshNotify, fields), http.StatusBadRequest, wire.CodeInvalidRequest)
	}
	unsigned := s.tv.Request(http.MethodPost, wire.PathRefreshNotify, map[string]any{"service": "ours"})
	refused(t, s.tv.Do(unsigned), http.StatusUnauthorized, wire.CodeAuthFailed)
	// A hint is not even looked at.
	if got := s.tv.Notify(map[string]any{"service": "missing", "refreshHint": []any{1, "x"}}); got.Status != "no_token" {
		t.Errorf("with a strange hint: %+v, want no_token", got)
	}
	if s.Calls() != 0 {
		t.Errorf("the provider was called %d times, want never", s.Calls())
	}
	check()
}

func TestAProviderInTroubleCostsNothingAndIsTriedLater(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		fault  refreshtest.Fault
		reason string
	}{
		"503":          {refreshtest.Status(503, "canary"), "provider_error"},
		"rate limited": {refreshtest.RateLimited("60"), "rate_limited"},
		"garbage":      {refreshtest.Garbage, "broken_answer"},
		"huge":         {refreshtest.Huge, "broken_answer"},
		"redirect":     {refreshtest.Redirected("http://127.0.0.1:1/"), "broken_answer"},
		"our secret":   {refreshtest.Refused(401, "invalid_client", "canary"), "client_rejected"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := withProvider(t, nil)
			tokens := s.expired()
			s.store("github", tokens, nil)
			s.Next(test.fault)
			answer := s.tv.RefreshNotify("github")
			at, err := time.Parse(time.RFC3339, answer.RetryAt)
			if answer.Status != "refresh_failed" || answer.Reason != test.reason || answer.NeedsReauthorization || err != nil || !at.After(s.clock.now()) {
				t.Errorf("answered %+v, want refresh_failed for %s and when to try again", answer, test.reason)
			}
			if got := s.tv.Reveal("github"); got["refreshToken"] != string(tokens.RefreshToken) || got["accessToken"] != string(tokens.AccessToken) {
				t.Error("the stored tokens have changed")
			}
			if !s.recorded(t, "refresh", "retry_at: "+test.reason) {
				t.Errorf("the attempt is not in the record: %v", s.records(t))
			}
			// Before its time it is not tried again; then it is.
			requests := s.Requests()
			if again := s.tv.RefreshNotify("github"); again.RetryAt != answer.RetryAt || again.Reason != answer.Reason || s.Requests() != requests {
				t.Errorf("at once: %+v after %d more calls, want the same without a call", again, s.Requests()-requests)
			}
			s.clock.move(at.Sub(s.clock.now()) + time.Second)
			if again := s.tv.RefreshNotify("github"); again.Status != "refreshed" {
				t.Errorf("when it is time: %+v, want refreshed", again)
			}
			if meta := s.meta(t, "github"); meta["refreshRetryAt"] != nil || meta["refreshAttempts"] != nil || meta["refreshRetryReason"] != nil {
				t.Errorf("after it worked, metadata is %v, want no trouble in it", meta)
			}
		})
	}
}

func TestARevokedGrantWantsItsOwnerUntilItIsStoredAnew(t *testing.T) {
	t.Parallel()
	s := withProvider(t, nil)
	tokens := s.expired()
	s.store("github", tokens, nil)
	s.Revoke(tokens.RefreshToken)
	for range 2 {
		answer := s.tv.RefreshNotify("github")
		if answer.Status != "refresh_failed" || !answer.NeedsReauthorization || answer.Reason != "invalid_grant" || answer.RetryAt != "" {
			t.Errorf("answered %+v, want that it needs its owner", answer)
		}
	}
	if s.Calls() != 1 || s.meta(t, "github")["needsReauthorization"] != "invalid_grant" {
		t.Errorf("%d calls, metadata %v, want 1 and needsReauthorization", s.Calls(), s.meta(t, "github"))
	}
	if got := s.tv.Reveal("github"); got["refreshToken"] != string(tokens.RefreshToken) {
		t.Error("the refused refresh token is gone, want nothing deleted")
	}
	// What callers say of refreshing does not count.
	meta := s.store("github", s.expired(), map[string]any{"needsReauthorization": "x", "refreshSequence": 99, "refreshRetryAt": "2099-01-01T00:00:00Z", "refreshAttempts": 5})
	for _, name := range []string{"needsReauthorization", "refreshSequence", "refreshRetryAt", "refreshAttempts"} {
		if _, there := meta[name]; there {
			t.Errorf("a caller wrote %s", name)
		}
	}
	if answer := s.tv.RefreshNotify("github"); answer.Status != "refreshed" {
		t.Errorf("after it was stored anew: %+v, want refreshed", answer)
	}
}

func TestARefreshOutlivesTheCallThatCausedIt(t *testing.T) {
	t.Parallel()
	s := withProvider(t, nil)
	s.store("github", s.expired(), nil)
	release := make(chan struct{})
	s.Next(refreshtest.Slow(release))
	body := []byte(`{"service":"github","reason":"token_expiring"}`)
	r := serverSide(s.tv.Request(http.MethodPost, wire.PathRefreshNotify, body))
	wire.Sign(r.Header, s.tv.Secret, body, s.tv.Random(), s.tv.Now())
	ctx, leave := context.WithCancel(t.Context())
	answered := make(chan *httptest.ResponseRecorder, 1)
	go func() {
		recorder := httptest.NewRecorder()
		s.wh.ServeHTTP(recorder, r.WithContext(ctx))
		answered <- recorder
	}()
	<-s.Arrived()
	leave()
	var answer wire.RefreshNotifyResponse
	if got := <-answered; json.Unmarshal(got.Body.Bytes(), &answer) != nil || got.Code != http.StatusOK ||
		answer.Status != "refresh_failed" || !strings.Contains(answer.Message, "still running") || answer.Reason != "" {
		t.Errorf("answered %d %s, want refresh_failed that says it is still running", got.Code, got.Body)
	}
	close(release)
	// The next call waits for the same refresh.
	if got := s.tv.RefreshNotify("github"); got.Status != "refreshed" || s.Calls() != 1 || s.Reused() != 0 {
		t.Errorf("then: %+v after %d calls, want refreshed after 1", got, s.Calls())
	}
}

func TestClosingWaitsForARefresh(t *testing.T) {
	t.Parallel()
	s := withProvider(t, nil)
	s.store("github", s.expired(), nil)
	release := make(chan struct{})
	s.Next(refreshtest.Slow(release))
	go func() { _ = s.tv.RefreshNotify("github") }()
	<-s.Arrived()
	closed := make(chan error, 1)
	go func() { closed <- s.wh.Close() }()
	close(release)
	if err := <-closed; err != nil {
		t.Errorf("closing: %v", err)
	}
	if got := s.meta(t, "github")["refreshSequence"]; got != float64(1) {
		t.Errorf("when it was closed, the sequence is %v, want 1: the new tokens are stored", got)
	}
}

func TestARequestedRefreshDoesNotWaitUntilItIsDue(t *testing.T) {
	t.Parallel()
	s := withProvider(t, nil)
	s.store("github", s.Issue("repo"), map[string]any{"issuedAt": s.clock.now().Format(time.RFC3339)})
	requested := map[string]any{"service": "github", "reason": wire.ReasonRequested}
	if got := s.tv.RefreshNotify("github"); got.Status != "refreshed" || s.Calls() != 0 {
		t.Errorf("a fresh token: %+v after %d calls, want refreshed without one", got, s.Calls())
	}
	s.clock.move(31 * time.Second)
	for range 2 { // the second as when the first one's answer was lost
		if got := s.tv.Notify(requested); got.Status != "refreshed" || s.Calls() != 1 {
			t.Errorf("requested: %+v after %d calls, want refreshed after 1", got, s.Calls())
		}
	}
	s.clock.move(31 * time.Second)
	if got := s.tv.Notify(requested); got.Status != "refreshed" || s.Calls() != 2 {
		t.Errorf("requested again: %+v after %d calls, want refreshed after 2", got, s.Calls())
	}
}

func TestAnAnswerWithoutARefreshTokenKeepsTheStoredOneAndScopesAreRecorded(t *testing.T) {
	t.Parallel()
	s := withProvider(t, nil)
	s.KeepRefreshTokens = true
	tokens := s.expired()
	s.store("github", tokens, nil)
	s.Next(refreshtest.With(map[string]any{"scope": "repo", "expires_in": "7200"}))
	if got := s.tv.RefreshNotify("github"); got.Status != "refreshed" {
		t.Fatalf("answered %+v, want refreshed", got)
	}
	if got := s.tv.Reveal("github"); got["refreshToken"] != string(tokens.RefreshToken) || got["accessToken"] == string(tokens.AccessToken) {
		t.Error("want the old refresh token and a new access token")
	}
	meta := s.meta(t, "github")
	if scopes, _ := json.Marshal(meta["scopes"]); string(scopes) != `["repo"]` || meta["expiryTime"] != float64(s.clock.now().Add(2*time.Hour).UnixMilli()) {
		t.Errorf("metadata is %v, want the scope repo and two hours", meta)
	}
}

func TestAProviderIsDiscoveredAtFirstUseAndAgainAfterTrouble(t *testing.T) {
	t.Parallel()
	var down atomic.Bool
	s := withProvider(t, nil)
	var asked atomic.Int64
	front := httptest.NewUnstartedServer(nil)
	front.Config.Handler = http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		if down.Load() {
			rw.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		rw.Header().Set("Content-Type", "application/json")
		text, _ := json.Marshal(map[string]any{
			"issuer": "http://" + front.Listener.Addr().String(), "token_endpoint": s.Config().TokenURL, "authorization_endpoint": s.Config().AuthorizationURL,
			"token_endpoint_auth_methods_supported": []string{"client_secret_post"},
		})
		_, _ = rw.Write(text)
	})
	front.Start()
	defer front.Close()
	issuer := front.URL
	wh, tv := webhooktest.New(t, webhooktest.WithClock(s.clock.now), config(func(c *webhook.Config) {
		c.Providers = []webhook.Provider{{Provider: refresh.Provider{ID: "test", Issuer: issuer, ClientID: refreshtest.ClientID, ClientSecret: refreshtest.ClientSecret}}}
	}))
	_ = wh
	s.tv = tv
	s.store("github", s.expired(), nil)
	if asked.Load() != 0 {
		t.Error("the provider was asked before it was needed")
	}
	down.Store(true)
	check := unchanged(t, wh)
	for range 2 {
		if got := tv.RefreshNotify("github"); got.Status != "refresh_failed" || got.Reason != "provider_error" || got.RetryAt == "" || asked.Load() != 1 {
			t.Errorf("while discovery fails: %+v after %d questions, want refresh_failed after 1", got, asked.Load())
		}
	}
	check()
	down.Store(false)
	s.clock.move(16 * time.Second)
	if got := tv.RefreshNotify("github"); got.Status != "refreshed" || asked.Load() != 2 {
		t.Errorf("then: %+v after %d questions, want refreshed after 2", got, asked.Load())
	}
	// What was found stays good while the provider does not answer.
	down.Store(true)
	s.clock.move(25 * time.Hour)
	if got := tv.RefreshNotify("github"); got.Status != "refreshed" || asked.Load() != 3 {
		t.Errorf("a day later: %+v after %d questions, want refreshed after 3", got, asked.Load())
	}
}

func TestCapabilitiesSayWhatIsServed(t *testing.T) {
	t.Parallel()
	const always = "credential mint proxy storage store ticketConstraints totp"
	provider := webhook.Provider{Provider: refresh.Provider{ID: "a", TokenURL: "https://a.example/token", ClientID: "c", ClientSecret: "s"}}
	connects := provider
	connects.AuthorizationURL = "https://a.example/authorize"
	for name, test := range map[string]struct {
		change func(*webhook.Config)
		want   string
	}{
		"nothing":      {func(*webhook.Config) {}, always},
		"tv-refresh":   {func(c *webhook.Config) { c.TVRefresh = true }, "credential mint outbox proxy storage store ticketConstraints totp tv-refresh"},
		"only a token": {func(c *webhook.Config) { c.Providers = []webhook.Provider{provider} }, "credential mint proxy refresh storage store ticketConstraints totp"},
		"connects":     {func(c *webhook.Config) { c.Providers = []webhook.Provider{connects} }, "connect credential mint proxy refresh storage store ticketConstraints totp"},
		"not permitted": {func(c *webhook.Config) {
			c.Providers = []webhook.Provider{connects}
			c.Purposes = []wire.Purpose{wire.PurposeStore}
		}, "mint refresh storage store ticketConstraints"},
	} {
		_, tv := webhooktest.New(t, test.change)
		var health wire.HealthResponse
		tv.Health().Decode(t, &health)
		if got := strings.Join(health.Capabilities, " "); got != test.want {
			t.Errorf("%s: capabilities are %q, want %q", name, got, test.want)
		}
	}
}

func TestProvidersThatCannotBeUsedAreRefusedAtOnceWithoutTheirSecrets(t *testing.T) {
	t.Parallel()
	good := refresh.Provider{ID: "a", TokenURL: "https://a.example/token", ClientID: "c", ClientSecret: "secret-canary"}
	for name, change := range map[string]func(*webhook.Provider){
		"no id":           func(p *webhook.Provider) { p.ID = "" },
		"an id as a path": func(p *webhook.Provider) { p.ID = "a/b" },
		"upper case":      func(p *webhook.Provider) { p.ID = "Google" },
		"no endpoint":     func(p *webhook.Provider) { p.TokenURL = "" },
		"plain http":      func(p *webhook.Provider) { p.TokenURL = "http://a.example/token" },
		"private":         func(p *webhook.Provider) { p.TokenURL = "https://127.0.0.1/token" },
		"user in a URL":   func(p *webhook.Provider) { p.RevocationURL = "https://u:secret-canary@a.example/" },
		"not a URL":       func(p *webhook.Provider) { p.UserInfoURL = "::secret-canary" },
		"no client":       func(p *webhook.Provider) { p.ClientID = "" },
		"no secret":       func(p *webhook.Provider) { p.ClientSecret = "" },
		"strange method":  func(p *webhook.Provider) { p.AuthMethod = "private_key_jwt" },
		"strange scope":   func(p *webhook.Provider) { p.Scopes = []string{"a\"b"} },
		"strange host":    func(p *webhook.Provider) { p.AllowedHosts = []string{"http://a.example"} },
		"long name":       func(p *webhook.Provider) { p.Name = strings.Repeat("x", 65) },
		"two lines":       func(p *webhook.Provider) { p.Name = "a\nb" },
	} {
		provider := webhook.Provider{Provider: good}
		change(&provider)
		err := webhook.Config{ExternalURL: "https://w.example", Providers: []webhook.Provider{provider}}.Validate()
		if err == nil || !strings.Contains(err.Error(), "Config.Providers has") || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: got %v, want a problem of Providers without the secret", name, err)
		}
	}
	twice := webhook.Config{ExternalURL: "https://w.example", Providers: []webhook.Provider{{Provider: good}, {Provider: good}}}
	if err := twice.Validate(); err == nil || !strings.Contains(err.Error(), `"a" twice`) {
		t.Errorf("the same id twice: got %v, want a problem", err)
	}
	many := webhook.Config{ExternalURL: "https://w.example", Providers: make([]webhook.Provider, 65)}
	if err := many.Validate(); err == nil || !strings.Contains(err.Error(), "more than 64") {
		t.Errorf("too many: got %v, want a problem", err)
	}
	public := webhook.Provider{Provider: good, Name: "A", AllowedHosts: []string{"api.a.example"}}
	public.ClientSecret, public.AuthMethod = "", refresh.AuthNone
	if err := (webhook.Config{ExternalURL: "https://w.example", Providers: []webhook.Provider{public, {Provider: refresh.Provider{
		ID: "b", Issuer: "https://b.example", ClientID: "c", ClientSecret: "s",
	}}}}).Validate(); err != nil {
		t.Errorf("a public client and an issuer: got %v, want no problem", err)
	}
}

func TestDeletingATokenRevokesItAtItsProvider(t *testing.T) {
	t.Parallel()
	s := withProvider(t, nil)
	remove := func(service string) {
		t.Helper()
		if got := s.tv.Operate(map[string]any{"operation": "delete", "collection": "tokens", "key": service}); got.Status != "ok" {
			t.Errorf("deleting %s: %+v, want ok", service, got)
		}
	}
	tokens := s.Issue("repo")
	s.store("github", tokens, nil)
	remove("github")
	if got := s.Revoked(); len(got) != 1 || got[0] != tokens.RefreshToken || !s.recorded(t, "revoke", "ok") {
		t.Errorf("revoked were %d tokens, want the refresh token, and a record; records %v", len(got), s.records(t))
	}
	access := s.Issue("repo")
	s.store("without a refresh token", access, map[string]any{"refreshToken": nil})
	remove("without a refresh token")
	if got := s.Revoked(); len(got) != 2 || got[1] != access.AccessToken {
		t.Errorf("revoked were %d tokens, want the access token as well", len(got))
	}
	s.store("of another client", s.Issue("repo"), map[string]any{"clientId": "another"})
	s.tv.Store("key", plain("ghp_canary"))
	remove("of another client")
	remove("key")
	remove("missing")
	if got := s.Revoked(); len(got) != 2 {
		t.Errorf("revoked were %d tokens, want those of this client alone", len(got))
	}
}

func TestATokenIsDeletedThoughItsProviderDoesNotRevokeIt(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change  func(*webhook.Provider)
		outcome string
	}{
		"none":        {func(p *webhook.Provider) { p.RevocationURL = "" }, "not_revocable"},
		"unreachable": {func(p *webhook.Provider) { p.RevocationURL = "http://127.0.0.1:1/revoke" }, "failed: provider_unreachable"},
		"our secret":  {func(p *webhook.Provider) { p.ClientSecret = "wrong" }, "failed: client_rejected"},
	} {
		s := withProvider(t, test.change)
		s.store("github", s.Issue("repo"), nil)
		s.tv.Operate(map[string]any{"operation": "delete", "collection": "tokens", "key": "github"})
		if got := s.tv.RefreshNotify("github"); got.Status != "no_token" || !s.recorded(t, "revoke", test.outcome) {
			t.Errorf("%s: %+v, records %v, want it gone and %q recorded", name, got, s.records(t), test.outcome)
		}
	}
}

// FuzzRefresh sends bodies to what TV calls about refreshing, signed.
func FuzzRefresh(f *testing.F) {
	wh, tv := webhooktest.New(f, config(func(c *webhook.Config) {
		c.TVRefresh = true
		c.Providers = []webhook.Provider{{Provider: refresh.Provider{ID: "ours", TokenURL: "http://127.0.0.1:1/", ClientID: "c", ClientSecret: "s"}}}
	}))
	oauth := func(provider string) map[string]any {
		return map[string]any{"tokenType": "OAuth", "provider": provider, "accessToken": "access-canary", "refreshToken": "refresh-canary"}
	}
	tv.Store("ours", oauth("ours"))
	f.Add([]byte(`{"service":"ours","reason":"token_expiring","refreshHint":{"provider":"x"}}`))
	f.Add([]byte(`{"action":"get","service":"ours"}`))
	f.Add([]byte(`{"action":"update","service":"theirs","tokens":{"accessToken":"a","refreshToken":"r","expiryTime":1767225600000,"scopes":["x"]},"sequence":1,"creationId":"c"}`))
	f.Add([]byte(`{"action":"update","service":"theirs","sealed":{"keyId":"k","creationId":"c","sequence":1,"enc":"AA==","ct":"AA=="}}`))
	f.Add([]byte(`{"action":"update","service":"theirs","tokens":{"accessToken":7,"expiryTime":-1}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		tv := tv.In(t)
		tv.Store("theirs", oauth("theirs"))
		for _, path := range []string{wire.PathRefreshNotify, wire.PathRefresh} {
			r := httptest.NewRequest(http.MethodPost, path, bytes.NewReader(body))
			r.Header.Set("Content-Type", "application/json")
			wire.Sign(r.Header, tv.Secret, body, tv.Random(), tv.Now())
			got := answerTo(t, wh, r)
			if bytes.Contains(got.Body.Bytes(), []byte("access-canary")) || path == wire.PathRefreshNotify && bytes.Contains(got.Body.Bytes(), []byte("canary")) {
				t.Fatalf("%s: a secret left that was not asked for: %s", path, got.Body)
			}
		}
		if token := tv.Reveal("ours"); token["refreshToken"] != "refresh-canary" || token["accessToken"] != "access-canary" {
			t.Fatal("TV changed a token of a provider of ours")
		}
		if token := tv.Reveal("theirs"); token["accessToken"] == "" || token["refreshToken"] == "" {
			t.Fatal("a token lost its tokens")
		}
	})
}
