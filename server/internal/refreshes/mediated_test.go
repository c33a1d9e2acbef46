package refreshes_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/refresh"
	"github.com/tvzero/tokenvault/refresh/refreshtest"
	"github.com/tvzero/tokenvault/server/internal/refreshes"
	"github.com/tvzero/tokenvault/server/internal/vaults"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

func TestWhereTheWebhookPermitsItATokenIsRefreshedThroughThisServer(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		o, _ := w.real(tvRefresh)
		token, before := o.store("github")
		s := w.service()
		w.run(s)
		r := o.ended(token, refresh.Rotated)
		wantRow(t, r, models.PathMediated, refresh.Rotated, "")
		if r.MediatedAt == nil || r.RefreshedAt == nil || r.NotifiedAt != nil {
			t.Errorf("row %+v, want the times of a mediation", r)
		}
		if got := o.tv.AgentCredential("github")["accessToken"].(string); !w.provider.Newest(refresh.Secret(got)) {
			t.Errorf("the webhook has the access token %q, want the provider's newest", got)
		}
		if rt := o.tv.Reveal("github")["refreshToken"].(string); !w.provider.Usable(refresh.Secret(rt)) {
			t.Errorf("the webhook's refresh token %q is not usable", rt)
		}
		if n := w.provider.CallsWith(before.RefreshToken); n != 1 {
			t.Errorf("the provider was called %d times with the refresh token, want 1", n)
		}
		now := o.token(token)
		if now.ExpiresAt == nil || !now.ExpiresAt.After(time.Now().Add(50*time.Minute)) || now.Scope != "repo user" {
			t.Errorf("the index says %+v, want the new expiry and the scopes", now)
		}
		w.until("the record", func() bool { return len(o.events()) == 2 })
		if got := o.events(); got[0] != "ok github path=tv-mediated: the webhook is asked for the refresh token" || got[1] != "ok github path=tv-mediated outcome=rotated" {
			t.Errorf("on record: %q", got)
		}
		if got := s.Stats().Ended[refreshes.Ended{Path: models.PathMediated, Provider: "test", Kind: refresh.Rotated}]; got != 1 {
			t.Errorf("counted %d, want 1: %+v", got, s.Stats())
		}
	})
}

// No row, no refresh token.
func TestWithoutARecordNoRefreshTokenIsAskedFor(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		o, _ := w.real(tvRefresh)
		token, before := o.store("github")
		w.record.setAway(true)
		w.run(w.service())
		r := o.ended(token, refresh.RetryAt)
		wantRow(t, r, models.PathMediated, refresh.RetryAt, refreshes.ReasonUnreachable)
		if n := w.provider.CallsWith(before.RefreshToken); n != 0 {
			t.Errorf("the provider was called %d times, want 0", n)
		}
		w.record.setAway(false)
	})
}

func TestAWebhookThatGivesNoRefreshTokenIsToldInstead(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		o, _ := w.real(w.ownProvider(), tvRefresh) // refreshes tokens of this provider itself
		token, _ := o.store("github")
		w.run(w.service())
		wantRow(t, o.ended(token, refresh.Rotated), models.PathNotify, refresh.Rotated, "")
	})
	for name, refuse := range map[string]func(rw http.ResponseWriter, r *http.Request){
		"not served":     func(rw http.ResponseWriter, r *http.Request) { says(rw, r, 403, map[string]any{"error": "forbidden"}) },
		"no such path":   func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(404) },
		"no such method": func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(405) },
		"no refresh token": func(rw http.ResponseWriter, r *http.Request) {
			says(rw, r, 200, map[string]any{"status": "no_refresh_token"})
		},
		"another client's": func(rw http.ResponseWriter, r *http.Request) {
			says(rw, r, 200, map[string]any{"status": "ok", "refreshToken": "canary", "meta": map[string]any{"provider": "test", "clientId": "another"}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, w *world) {
				expires := time.Now().Add(time.Hour).Truncate(time.Second).UTC()
				l := newLiar(t, func(_ int, rw http.ResponseWriter, r *http.Request, _ wire.RefreshRequest) {
					if r.URL.Path == wire.PathRefresh {
						refuse(rw, r)
						return
					}
					says(rw, r, 200, map[string]any{"status": "refreshed", "newExpiresAt": expires.Format(time.RFC3339)})
				})
				o := w.lie(l, wire.CapTVRefresh, wire.CapRefresh)
				token := o.expired("github")
				w.run(w.service())
				wantRow(t, o.ended(token, refresh.Rotated), models.PathNotify, refresh.Rotated, "")
				if got := o.token(token).ExpiresAt; !got.Equal(expires) {
					t.Errorf("expires at %v, want %v", got, expires)
				}
				if n := w.provider.Requests(); n != 0 {
					t.Errorf("the provider was called %d times, want 0", n)
				}
			})
		})
	}
}

// A refresh token is shown to nobody but the provider that the index and the webhook
// agree on, at the endpoint of this server's registry.
func TestARefreshTokenOfAnotherProviderGoesNowhere(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		elsewhere := make(chan struct{}, 10)
		l := newLiar(t, func(_ int, rw http.ResponseWriter, r *http.Request, _ wire.RefreshRequest) {
			if r.URL.Path != wire.PathRefresh {
				elsewhere <- struct{}{}
			}
			says(rw, r, 200, map[string]any{"status": "ok", "refreshToken": "canary", "meta": map[string]any{
				"provider": "other", "tokenUrl": "http://" + r.Host + "/token", "creationId": "2",
			}})
		})
		o := w.lie(l, wire.CapTVRefresh, wire.CapRefresh)
		token := o.expired("github")
		w.run(w.service())
		wantRow(t, o.ended(token, refresh.RetryAt), models.PathMediated, refresh.RetryAt, refreshes.ReasonOtherProvider)
		w.until("the token is looked up", func() bool { return w.vaults.syncs() == "github" })
		if n := w.provider.Requests(); n != 0 || len(elsewhere) != 0 {
			t.Errorf("the provider was called %d times, other paths of the webhook %d times, want 0 and 0", n, len(elsewhere))
		}
	})
}

func TestATokenThatTheWebhookHasNoMoreIsLookedUp(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		l := newLiar(t, func(_ int, rw http.ResponseWriter, r *http.Request, _ wire.RefreshRequest) {
			says(rw, r, 200, map[string]any{"status": "no_token"})
		})
		o := w.lie(l, wire.CapTVRefresh, wire.CapRefresh)
		token := o.expired("github")
		w.run(w.service())
		r := o.ended(token, refresh.RetryAt)
		wantRow(t, r, models.PathMediated, refresh.RetryAt, refreshes.ReasonNoToken)
		w.until("the token is looked up", func() bool { return w.vaults.syncs() == "github" })
		if n := len(l.seen()); n != 1 || w.provider.Requests() != 0 {
			t.Errorf("%d calls at the webhook, %d at the provider, want 1 and 0", n, w.provider.Requests())
		}
	})
}

func TestWhatTheProviderRefusesIsTheOutcome(t *testing.T) {
	for name, c := range map[string]struct {
		fault  refreshtest.Fault
		kind   refresh.Kind
		reason refresh.Reason
	}{
		"invalid grant":   {refreshtest.Refused(400, "invalid_grant", "canary"), refresh.NeedsReauthorization, refresh.ReasonInvalidGrant},
		"rate limited":    {refreshtest.RateLimited("30"), refresh.RetryAt, refresh.ReasonRateLimited},
		"down":            {refreshtest.Status(503, "<html>canary"), refresh.RetryAt, refresh.ReasonProviderError},
		"garbage":         {refreshtest.Garbage, refresh.RetryAt, refresh.ReasonBrokenAnswer},
		"redirected":      {refreshtest.Redirected("https://elsewhere.example/"), refresh.RetryAt, refresh.ReasonBrokenAnswer},
		"client rejected": {refreshtest.Refused(401, "invalid_client", ""), refresh.RetryAt, refresh.ReasonClientRejected},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, w *world) {
				w.limits.Poll = time.Hour // one look: what is due again soon is not tried again
				o, _ := w.real(tvRefresh)
				token, before := o.store("github")
				w.provider.Always(c.fault)
				w.run(w.service())
				r := o.ended(token, c.kind)
				wantRow(t, r, models.PathMediated, c.kind, c.reason)
				if (r.DueAt == nil) != (c.kind == refresh.NeedsReauthorization) {
					t.Errorf("due again at %v after %s", r.DueAt, c.kind)
				}
				if r.Attempts != 1 {
					t.Errorf("%d attempts, want 1", r.Attempts)
				}
				if got := o.tv.Reveal("github")["refreshToken"]; got != string(before.RefreshToken) {
					t.Errorf("the webhook's refresh token became %q, want it as it was", got)
				}
			})
		})
	}
}

// A webhook that was given the wrong times must not be asked again and again.
func TestATokenThatTheWebhookHasRefreshedByItselfIsLeftAlone(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		expires := time.Now().Add(time.Hour).Truncate(time.Second)
		l := newLiar(t, func(_ int, rw http.ResponseWriter, r *http.Request, _ wire.RefreshRequest) {
			says(rw, r, 200, map[string]any{"status": "ok", "refreshToken": "rt", "meta": map[string]any{
				"provider": "test", "creationId": "creation of github", "expiryTime": expires.UnixMilli(), "issuedAt": time.Now().Add(-time.Minute).Format(time.RFC3339),
			}})
		})
		o := w.lie(l, wire.CapTVRefresh)
		token := o.expired("github")
		w.run(w.service())
		r := o.ended(token, refresh.StillValid)
		if r.DueAt == nil || r.DueAt.Before(expires.Add(-20*time.Minute)) {
			t.Errorf("due again at %v, want a quarter of its life before %v", r.DueAt, expires)
		}
		if got := o.token(token).ExpiresAt; !got.Equal(expires) {
			t.Errorf("the index says %v, want %v", got, expires)
		}
		if n := w.provider.Requests(); n != 0 || len(l.seen()) != 1 {
			t.Errorf("%d calls at the provider, %d at the webhook, want 0 and 1", n, len(l.seen()))
		}
	})
}

func TestWhatCannotBeRefreshedIsPutOffWithoutACall(t *testing.T) {
	for name, c := range map[string]struct {
		capabilities []string
		change       func(c *vaults.Custody)
		reason       refresh.Reason
	}{
		"no capability":                  {[]string{wire.CapStorage}, nil, refreshes.ReasonNotSupported},
		"the kill switch":                {[]string{wire.CapRefresh}, func(c *vaults.Custody) { c.Locked = true }, refreshes.ReasonLocked},
		"the kill switch, mediated":      {[]string{wire.CapTVRefresh}, func(c *vaults.Custody) { c.Locked = true }, refreshes.ReasonLocked},
		"no webhook":                     {[]string{wire.CapRefresh}, func(c *vaults.Custody) { *c = vaults.Custody{Mode: models.ModePlatform} }, refreshes.ReasonNotBound},
		"another vault than the token's": {[]string{wire.CapRefresh}, func(c *vaults.Custody) { c.Binding.VaultID = models.NewID() }, refreshes.ReasonNotBound},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, w *world) {
				l := newLiar(t, func(_ int, rw http.ResponseWriter, r *http.Request, _ wire.RefreshRequest) { says(rw, r, 500, nil) })
				o := w.lie(l, c.capabilities...)
				token := o.expired("github")
				if c.change != nil {
					o.custody(c.change)
				}
				w.run(w.service())
				r := o.ended(token, refresh.RetryAt)
				if r.Reason != string(c.reason) || r.TriedAt != nil || r.Attempts != 0 || r.DueAt == nil || r.DueAt.Before(time.Now().Add(refreshes.LookSoon/2)) {
					t.Errorf("row %+v, want it put off for %s, not tried", r, c.reason)
				}
				if n := len(l.seen()); n != 0 || len(o.events()) != 0 {
					t.Errorf("%d calls, on record %q, want none", n, o.events())
				}
			})
		})
	}
}

func TestWithoutPermissionNoRefreshTokenIsAskedFor(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		l := newLiar(t, func(_ int, rw http.ResponseWriter, r *http.Request, _ wire.RefreshRequest) {
			says(rw, r, 200, map[string]any{"status": "acknowledged"})
		})
		o := w.lie(l, wire.CapRefresh, wire.CapOutbox)
		token := o.expired("github")
		other := o.index(models.Token{ServiceName: "other", CreationID: "1", ExpiresAt: token.ExpiresAt, Provider: "somebody's"})
		o.custody(func(c *vaults.Custody) {
			c.Binding.Capabilities = append(slices.Clone(c.Binding.Capabilities), "tv-refresh-not")
		})
		w.run(w.service())
		o.ended(token, refresh.RetryAt)
		o.ended(other, refresh.RetryAt)
		for _, call := range l.seen() {
			if call.Action != "" {
				t.Errorf("the webhook was asked to %s, want notifications alone", call.Action)
			}
		}
		if got := strings.Join(o.events(), "\n"); strings.Contains(got, models.PathMediated) {
			t.Errorf("on record: %s", got)
		}
	})
}
