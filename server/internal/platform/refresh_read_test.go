package platform_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/models/store/storetest"
	"github.com/tvzero/tokenvault/refresh"
	"github.com/tvzero/tokenvault/refresh/refreshtest"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/platform"
)

func TestATokenThatIsDueIsRefreshedWhenItIsRead(t *testing.T) {
	t.Parallel()
	eachRenewing(t, func(t *testing.T, w *renewing) {
		p, a := w.session(), w.agent("a")
		key := w.apiKey(p)
		token := w.connect(p, "github", map[string]any{"displayName": "Git", "allowedHosts": []string{"api.github.com"}})
		w.grant(p, a, token)
		got, err := w.release(a, token)
		w.wantFresh("an agent, before it is due", got, err)
		if n := w.provider.Requests(); n != 0 {
			t.Fatalf("%d calls for a token that is not due", n)
		}
		w.audit.take()
		for i, read := range []func() (map[string]any, error){
			func() (map[string]any, error) { return w.release(a, token) },
			func() (map[string]any, error) { return w.reveal(p, "github") },
			func() (map[string]any, error) { return w.reveal(key, "github") },
			func() (map[string]any, error) { return w.release(a, token) }, // by the key that it has kept
		} {
			w.expired()
			before, sealed := w.token(token), w.credential(token)
			got, err := read()
			w.wantFresh(fmt.Sprint("reader ", i), got, err)
			if n := w.provider.Requests(); n != i+1 {
				t.Errorf("reader %d: %d calls, want %d", i, n, i+1)
			}
			w.usable(p, "github")
			after, row := w.token(token), w.row(token)
			if !after.ExpiresAt.After(w.clock.now()) || after.IssuedAt == nil || w.clock.now().Sub(*after.IssuedAt) > time.Minute ||
				!after.HasRefreshToken || after.Scope != "repo" || after.CreationID != before.CreationID || after.DisplayName != "Git" {
				t.Errorf("reader %d: the token says expires %v, issued %v, scope %q, creation %q of %q, name %q", i, after.ExpiresAt, after.IssuedAt, after.Scope,
					after.CreationID, before.CreationID, after.DisplayName)
			}
			if row.Outcome != string(refresh.Rotated) || row.Path != models.PathPlatform || row.RefreshedAt == nil || row.PlatformAt == nil || row.LeaseUntil != nil || row.DueAt != nil {
				t.Errorf("reader %d: the refresh is %+v", i, row)
			}
			if now := w.credential(token); now.Version != sealed.Version+1 || now.Epoch != sealed.Epoch {
				t.Errorf("reader %d: version %d, epoch %d after %d, %d", i, now.Version, now.Epoch, sealed.Version, sealed.Epoch)
			}
			if got["expiresAt"] == before.ExpiresAt.Format(time.RFC3339) || got["allowedHosts"] == nil {
				t.Errorf("reader %d: the answer is %v", i, got)
			}
			events := w.refreshes()
			byAgent := i == 0 || i == 3
			if len(events) != 1 || events[0].Outcome != "" || !strings.Contains(events[0].Detail, "path=platform outcome=rotated") || events[0].Service != "github" ||
				byAgent != (events[0].AgentID == a.AgentID) {
				t.Errorf("reader %d: recorded %+v", i, events)
			}
		}
		if got, _ := w.release(a, token); got["refreshToken"] != nil {
			t.Error("the agent was given the refresh token")
		}
		if n := w.Aloft(); n != 0 {
			t.Errorf("%d tokens still have keys in memory", n)
		}
	})
}

func TestATokenIsDueWithinFiveMinutesOrATenthOfItsLife(t *testing.T) {
	t.Parallel()
	expires := time.Now().Add(time.Hour)
	for before, want := range map[time.Duration]bool{platform.ReadLead: true, platform.ReadLead + time.Millisecond: false} {
		if got := refresh.DueOnRead(time.Time{}, expires, expires.Add(-before)); got != want {
			t.Errorf("%v before its expiry a token may be due: %v, want %v", before, got, want)
		}
	}
	eachRenewing(t, func(t *testing.T, w *renewing) {
		p, a := w.session(), w.agent("a")
		short := w.provider.Issue()
		short.ExpiresAt = w.clock.now().Add(10 * time.Minute)
		token, err := w.Store(t.Context(), p, audit.Client{}, ref("short"), w.oauth(short, nil))
		w.must(err)
		w.grant(p, a, token)
		for _, step := range []struct {
			after time.Duration
			calls int
		}{{0, 0}, {6 * time.Minute, 0}, {2*time.Minute + 20*time.Second, 0}, {45 * time.Second, 1}, {0, 1}} {
			w.clock.pass(step.after)
			_, err := w.release(a, token) // which waits for the new one only for a while
			w.must(err)
			w.must(w.engine.Wait(t.Context()))
			got, err := w.release(a, token)
			w.wantFresh(fmt.Sprint("after another ", step.after), got, err)
			if n := w.provider.Requests(); n != step.calls {
				t.Errorf("after another %v: %d calls, want %d", step.after, n, step.calls)
			}
		}
	})
}

func TestWhatIsNotDueCostsNoQuestion(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		counted, asked := &counting{Store: s}, &countingLeases{Store: s}
		w := newRenewing(t, s, func(_ *renewing, d *platform.Deps) { d.Credentials, d.Leases = counted, asked })
		p, a := w.session(), w.agent("a")
		for _, token := range []models.Token{
			w.connect(p, "oauth", nil), w.connect(p, "for ever", map[string]any{"expiresAt": ""}), w.put(p, "plain", "secret"),
			w.connect(p, "gone", map[string]any{"tokenType": "PlainText", "expiresAt": "2020-01-01T00:00:00Z", "refreshToken": ""}),
		} {
			w.grant(p, a, token)
			for range 2 {
				_, err := w.release(a, token)
				w.must(err)
			}
			before := counted.asked
			for range 5 {
				_, err := w.release(a, token)
				w.must(err)
			}
			if counted.asked != before || asked.asked != 0 {
				t.Errorf("%s: five releases asked the store %d times, and %d times for refreshes", token.ServiceName, counted.asked-before, asked.asked)
			}
		}
	})
}

// countingLeases counts what is asked of refreshes.
type countingLeases struct {
	*store.Store
	asked, taken int
}

func (c *countingLeases) TakeLease(ctx context.Context, account, token uuid.UUID, ttl time.Duration) (models.Lease, error) {
	c.asked++
	c.taken++
	return c.Store.TakeLease(ctx, account, token, ttl)
}

func (c *countingLeases) Refresh(ctx context.Context, account, token uuid.UUID) (models.Refresh, error) {
	c.asked++
	return c.Store.Refresh(ctx, account, token)
}

func TestWhenARefreshFailsTheOldTokenIsGivenAsLongAsItLives(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		fault  refreshtest.Fault
		code   fault.Code // once it has expired
		reason refresh.Reason
		retry  time.Duration // at least
	}{
		"invalid_grant": {refreshtest.Refused(400, "invalid_grant", "canary"), fault.ReauthorizationRequired, refresh.ReasonInvalidGrant, 0},
		"rate limited":  {refreshtest.RateLimited("1200"), fault.RefreshFailed, refresh.ReasonRateLimited, 14 * time.Minute},
		"down":          {refreshtest.Status(503, "canary"), fault.RefreshFailed, refresh.ReasonProviderError, time.Second},
		"garbage":       {refreshtest.Garbage, fault.RefreshFailed, refresh.ReasonBrokenAnswer, time.Second},
		"client":        {refreshtest.Refused(401, "invalid_client", "canary"), fault.RefreshFailed, refresh.ReasonClientRejected, 14 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			eachRenewing(t, func(t *testing.T, w *renewing) {
				p, a := w.session(), w.agent("a")
				token := w.connect(p, "github", nil)
				w.grant(p, a, token)
				old := w.stored(p, "github")
				w.provider.Always(tt.fault)
				w.audit.take()
				w.clock.pass(56 * time.Minute)
				for range 2 {
					got, err := w.release(a, token)
					if err != nil || got["accessToken"] != old["accessToken"] {
						t.Errorf("before it has expired: %v, %v, want the old one", got["accessToken"], err)
					}
					got, err = w.reveal(p, "github")
					if err != nil || got["accessToken"] != old["accessToken"] || got["refreshToken"] != old["refreshToken"] {
						t.Errorf("before it has expired, its owner sees %v, %v, want the old ones", got["accessToken"], err)
					}
				}
				if n := w.provider.Requests(); n != 1 {
					t.Errorf("%d calls before the next is due, want 1", n)
				}
				if events := w.refreshes(); len(events) != 1 || events[0].Outcome != tt.code || !strings.Contains(events[0].Detail, "reason="+string(tt.reason)) {
					t.Errorf("recorded %+v", events)
				}
				w.clock.pass(5 * time.Minute)
				for what, read := range map[string]func() (map[string]any, error){
					"agent": func() (map[string]any, error) { return w.release(a, token) },
					"owner": func() (map[string]any, error) { return w.reveal(p, "github") },
				} {
					got, err := read()
					f := fault.From(err)
					if got != nil || f == nil || f.Code != tt.code || f.RetryAfter < tt.retry || strings.Contains(f.Message, "canary") {
						t.Fatalf("%s, once it has expired: %v, %v, retry after %v, want %s after %v at least", what, got, err, f.RetryAfter, tt.code, tt.retry)
					}
					if want := "https://vault.example/connect/test?service=github"; tt.code == fault.ReauthorizationRequired && f.ConnectURL != want {
						t.Errorf("%s: connect at %q, want %q", what, f.ConnectURL, want)
					}
				}
				if got := w.stored(p, "github"); got["refreshToken"] != old["refreshToken"] || got["accessToken"] != old["accessToken"] {
					t.Error("a refusal has changed what is stored")
				}
				if row := w.row(token); row.Reason != string(tt.reason) || row.Attempts == 0 {
					t.Errorf("the refresh is %+v, want reason %s", row, tt.reason)
				}
				// Stored anew, it is another credential.
				w.provider.Always(nil)
				_, err := w.Store(t.Context(), p, audit.Client{}, ref("github"), w.oauth(w.provider.Issue(), map[string]any{"expiresAt": "2020-01-01T00:00:00Z"}))
				w.must(err)
				got, err := w.release(a, token)
				w.wantFresh("stored anew, and expired already", got, err)
			})
		})
	}
}

func TestAProviderThatDoesNotAnswerKeepsNobodyFromATokenThatIsGood(t *testing.T) {
	t.Parallel()
	eachRenewing(t, func(t *testing.T, w *renewing) {
		p, a := w.session(), w.agent("a")
		token := w.connect(p, "github", nil)
		w.grant(p, a, token)
		old := w.stored(p, "github")["accessToken"]
		held := make(chan struct{})
		w.provider.Next(refreshtest.Slow(held))
		w.clock.pass(56 * time.Minute)
		for what, read := range map[string]func() (map[string]any, error){
			"agent": func() (map[string]any, error) { return w.release(a, token) },
			"owner": func() (map[string]any, error) { return w.reveal(p, "github") },
		} {
			if got, err := read(); err != nil || got["accessToken"] != old {
				t.Errorf("%s, while the provider does not answer: %v, %v; want the old one", what, got["accessToken"], err)
			}
		}
		close(held)
		w.must(w.engine.Wait(t.Context()))
		got, err := w.release(a, token)
		w.wantFresh("once it has answered", got, err)
		if n := w.provider.Requests(); n != 1 {
			t.Errorf("%d calls, want 1", n)
		}
	})
}

func TestAfterAFailureTheNextAttemptIsMadeWhenItIsDue(t *testing.T) {
	t.Parallel()
	eachRenewing(t, func(t *testing.T, w *renewing) {
		p, a := w.session(), w.agent("a")
		token := w.connect(p, "github", nil)
		w.grant(p, a, token)
		w.provider.Next(refreshtest.Status(503, ""))
		w.expired()
		_, err := w.release(a, token)
		w.refused(err, fault.RefreshFailed)
		w.clock.pass(fault.From(err).RetryAfter)
		got, err := w.release(a, token)
		w.wantFresh("when it is due", got, err)
	})
}

func TestAnAgentWhosePolicyIsNeverCausesNoRefresh(t *testing.T) {
	t.Parallel()
	eachRenewing(t, func(t *testing.T, w *renewing) {
		p, a, other := w.session(), w.agent("a"), w.agent("other")
		token := w.connect(p, "github", nil)
		w.grant(p, a, token)
		w.grant(p, other, token)
		never := func() (map[string]any, error) {
			return releaseTo(t.Context(), w.Service, a.Principal, token.ID, models.RefreshNever)
		}
		old := w.stored(p, "github")["accessToken"]
		w.clock.pass(58 * time.Minute)
		if got, err := never(); err != nil || got["accessToken"] != old {
			t.Errorf("before it has expired: %v, %v, want the old one", got["accessToken"], err)
		}
		w.clock.pass(5 * time.Minute)
		got, err := never()
		w.refused(err, fault.RefreshFailed)
		if got != nil || !strings.Contains(fmt.Sprint(err), `"never"`) {
			t.Errorf("expired: %v, %v, want a refusal that names the policy", got, err)
		}
		if n := w.provider.Requests(); n != 0 {
			t.Errorf("%d calls for who may cause none", n)
		}
		_, err = w.release(other, token)
		w.must(err)
		got, err = never()
		w.wantFresh("refreshed by another", got, err)
	})
}

// Where a refresh token is sent is what was sealed with it says, and nobody else.
func TestARefreshTokenIsSentToNobodyButWhomItIsOf(t *testing.T) {
	t.Parallel()
	eachRenewing(t, func(t *testing.T, w *renewing) {
		p, a := w.session(), w.agent("a")
		for name, but := range map[string]map[string]any{
			"no-provider":      {"provider": nil},
			"unknown-provider": {"provider": "elsewhere"},
			"other-endpoint":   {"tokenUrl": "https://evil.example/token"},
			"other-issuer":     {"issuer": "https://evil.example"},
			"other-client":     {"clientId": "another client"},
			"no-text":          {"clientId": []string{"x"}},
		} {
			token := w.connect(p, name, but)
			w.grant(p, a, token)
			w.expired()
			_, err := w.release(a, token)
			w.refused(err, fault.RefreshFailed)
			if row := w.row(token); row.Reason != string(refresh.ReasonMisconfigured) {
				t.Errorf("%s: the refresh is %+v, want it to say %s", name, row, refresh.ReasonMisconfigured)
			}
		}
		if n := w.provider.Requests(); n != 0 {
			t.Errorf("%d calls at the provider", n)
		}
		byHand := w.connect(p, "by-hand", map[string]any{"tokenUrl": nil, "issuer": nil, "clientId": nil, "issuedAt": nil, "scopes": nil, "scope": "repo user"})
		w.grant(p, a, byHand)
		w.expired()
		got, err := w.release(a, byHand)
		w.wantFresh("stored by hand with the provider's id", got, err)
		if got["scope"] != "repo" || w.token(byHand).Scope != "repo" {
			t.Errorf("its scope is %v, and %q in lists, want what the provider says", got["scope"], w.token(byHand).Scope)
		}
	})
}

func TestWhileAProviderCannotBeDiscoveredItsTokensAreNotRefreshed(t *testing.T) {
	t.Parallel()
	eachRenewing(t, func(t *testing.T, w *renewing) {
		p, a := w.session(), w.agent("a")
		token := w.connect(p, "github", nil)
		w.grant(p, a, token)
		w.registry.set(fault.New(fault.Unavailable, "Its issuer does not answer."))
		w.expired()
		_, err := w.release(a, token)
		w.refused(err, fault.RefreshFailed)
		if f := fault.From(err); f.RetryAfter < time.Second || f.RetryAfter > time.Minute {
			t.Errorf("retry after %v, want soon", f.RetryAfter)
		}
		got, err := w.Refresh(t.Context(), p, audit.Client{}, ref("github"))
		if err != nil || got.Outcome != refresh.RetryAt || got.Reason != refresh.ReasonProviderUnreachable || got.RetryAt.IsZero() {
			t.Errorf("asked for: %+v, %v, want to try again", got, err)
		}
		w.registry.set(nil)
		fresh, err := w.release(a, token)
		w.wantFresh("discovered again", fresh, err)
	})
}

func TestATokenWithoutARefreshTokenIsItsOwnersToRenew(t *testing.T) {
	t.Parallel()
	eachRenewing(t, func(t *testing.T, w *renewing) {
		p, a := w.session(), w.agent("a")
		token := w.connect(p, "github", map[string]any{"refreshToken": ""})
		w.grant(p, a, token)
		w.clock.pass(59 * time.Minute)
		got, err := w.release(a, token)
		w.wantFresh("before it has expired", got, err)
		w.expired()
		_, err = w.release(a, token)
		w.refused(err, fault.ReauthorizationRequired)
		got, err = w.reveal(p, "github")
		w.wantFresh("its owner sees what there is", got, err)
		if row := w.row(token); row.Reason != string(refresh.ReasonNoRefreshToken) {
			t.Errorf("the refresh is %+v", row)
		}
		if n := w.provider.Requests(); n != 0 {
			t.Errorf("%d calls without anything to send", n)
		}
	})
}

func TestAnOpenIDConnectCredentialKeepsItsIDToken(t *testing.T) {
	t.Parallel()
	eachRenewing(t, func(t *testing.T, w *renewing) {
		p := w.session()
		w.connect(p, "oidc", map[string]any{"tokenType": "OpenIDConnect", "idToken": "id-1"})
		w.provider.Next(refreshtest.Healthy, refreshtest.With(map[string]any{"id_token": "id-2"}))
		for _, want := range []string{"id-1", "id-2"} {
			w.expired()
			got, err := w.reveal(p, "oidc")
			w.wantFresh("oidc", got, err)
			if got["idToken"] != want {
				t.Errorf("the ID token is %v, want %s", got["idToken"], want)
			}
		}
	})
}

// What stands readable in the database says when a token is looked at closely, and
// nothing more.
func TestWhoWritesTheDatabaseCausesNoRefresh(t *testing.T) {
	t.Parallel()
	eachRenewing(t, func(t *testing.T, w *renewing) {
		p, a := w.session(), w.agent("a")
		token := w.connect(p, "github", nil)
		w.grant(p, a, token)
		forged := w.token(token)
		forged.ExpiresAt, forged.IssuedAt, forged.Provider = models.StampPtr(w.clock.now().Add(-time.Hour)), nil, "evil"
		w.must(w.store.UpdateToken(t.Context(), &forged))
		got, err := w.release(a, token)
		w.wantFresh("forged", got, err)
		_, err = w.reveal(p, "github")
		w.must(err)
		if n := w.provider.Requests(); n != 0 {
			t.Errorf("%d calls for what the database says", n)
		}
	})
}

func TestARefreshThatIsAskedForIsMade(t *testing.T) {
	t.Parallel()
	eachRenewing(t, func(t *testing.T, w *renewing) {
		ctx, p, a := t.Context(), w.session(), w.agent("a")
		token := w.connect(p, "github", nil)
		w.grant(p, a, token)
		before := w.stored(p, "github")["accessToken"]
		got, err := w.Refresh(ctx, p, audit.Client{Address: "192.0.2.1"}, ref("github"))
		after := w.token(token)
		if err != nil || got.Path != models.PathPlatform || got.Outcome != refresh.Rotated || got.Reason != "" || !got.ExpiresAt.Equal(*after.ExpiresAt) || !got.RetryAt.IsZero() {
			t.Errorf("asked for: %+v, %v", got, err)
		}
		if now := w.stored(p, "github")["accessToken"]; now == before {
			t.Error("the token is the same")
		}
		if events := w.refreshes(); len(events) != 1 || events[0].Client.Address != "192.0.2.1" || events[0].GrantID != p.GrantID {
			t.Errorf("recorded %+v", events)
		}
		if got, err = w.Refresh(ctx, p, audit.Client{}, ref("github")); err != nil || got.Outcome != refresh.StillValid || !got.ExpiresAt.Equal(*after.ExpiresAt) || w.provider.Requests() != 1 {
			t.Errorf("asked for once more at once: %+v, %v, %d calls; want it still valid, and 1", got, err, w.provider.Requests())
		}
		w.clock.pass(31 * time.Second)
		w.provider.Next(refreshtest.RateLimited("600"))
		got, err = w.Refresh(ctx, p, audit.Client{}, ref("github"))
		if err != nil || got.Outcome != refresh.RetryAt || got.Reason != refresh.ReasonRateLimited || got.RetryAt.Sub(w.clock.now()) < 9*time.Minute || got.ExpiresAt.IsZero() {
			t.Errorf("rate limited: %+v, %v", got, err)
		}
		until, calls := got.RetryAt, w.provider.Requests()
		for range 2 { // also when it was not a moment ago
			got, err = w.Refresh(ctx, p, audit.Client{}, ref("github"))
			if err != nil || got.Outcome != refresh.RetryAt || got.Reason != refresh.ReasonRateLimited || got.RetryAt.Sub(until).Abs() > time.Second || w.provider.Requests() != calls {
				t.Errorf("asked for before the provider wishes: %+v, %v, %d calls; want the same as before, and none", got, err, w.provider.Requests()-calls)
			}
			w.clock.pass(time.Minute)
		}
		w.clock.pass(until.Sub(w.clock.now()))
		if got, err = w.Refresh(ctx, p, audit.Client{}, ref("github")); err != nil || got.Outcome != refresh.Rotated {
			t.Errorf("asked for when the provider may be called: %+v, %v", got, err)
		}
		for _, c := range []struct {
			fault  refreshtest.Fault
			kind   refresh.Kind
			reason refresh.Reason
		}{
			{refreshtest.Refused(401, "invalid_client", ""), refresh.RetryAt, refresh.ReasonClientRejected},
			{refreshtest.Refused(400, "invalid_grant", ""), refresh.NeedsReauthorization, refresh.ReasonInvalidGrant},
		} {
			w.provider.Always(c.fault)
			for range 2 { // whoever has put it in order can see that, and not more often
				w.clock.pass(31 * time.Second)
				calls = w.provider.Requests()
				for range 3 {
					if got, err = w.Refresh(ctx, p, audit.Client{}, ref("github")); err != nil || got.Outcome != c.kind || got.Reason != c.reason {
						t.Errorf("refused: %+v, %v, want %s %s", got, err, c.kind, c.reason)
					}
				}
				if n := w.provider.Requests() - calls; n != 1 {
					t.Errorf("%s: %d calls at a time, want 1", c.reason, n)
				}
			}
		}
		w.provider.Always(nil)

		w.put(p, "plain", "secret")
		_, err = w.Refresh(ctx, p, audit.Client{}, ref("plain"))
		w.refused(err, fault.InvalidRequest)
		_, err = w.Refresh(ctx, p, audit.Client{}, ref("nothing"))
		w.refused(err, fault.TokenNotFound)
		_, err = w.Refresh(ctx, a.Principal, audit.Client{}, ref("github"))
		w.refused(err, fault.ScopeDenied)
		calls = w.provider.Requests()
		now := w.clock.now()
		w.must(w.store.SetAccountLock(ctx, w.account, &now))
		_, err = w.Refresh(ctx, p, audit.Client{}, ref("github"))
		w.refused(err, fault.VaultLocked)
		if n := w.provider.Requests(); n != calls {
			t.Errorf("%d calls for what was refused", n-calls)
		}
	})
}

func TestNoTokenIsStoredWithoutARecord(t *testing.T) {
	t.Parallel()
	eachRenewing(t, func(t *testing.T, w *renewing) {
		p, a := w.session(), w.agent("a")
		token := w.connect(p, "github", nil)
		w.grant(p, a, token)
		w.expired()
		var failures int
		w.audit.refuse = func(e audit.Event) error {
			if failures++; e.Type == audit.Refresh && failures < 4 {
				return errors.New("the record is away")
			}
			return nil
		}
		got, err := w.release(a, token)
		w.wantFresh("once the record is back", got, err)
		if events := w.refreshes(); failures < 4 || len(events) != 1 {
			t.Errorf("after %d failures there are %d records", failures, len(events))
		}
		if n := w.provider.Requests(); n != 1 {
			t.Errorf("%d calls, want 1", n)
		}
	})
}
