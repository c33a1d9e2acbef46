package refreshes_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/refresh"
	"github.com/tvzero/tokenvault/server/internal/refreshes"
	webhook "github.com/tvzero/tokenvault/webhook-sdk"
	"github.com/tvzero/tokenvault/webhook-sdk/webhooktest"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// ownProvider makes the world's provider one of the webhook's own.
func (w *world) ownProvider() webhooktest.Option {
	return func(c *webhook.Config) { c.Providers = []webhook.Provider{{Provider: w.provider.Config()}} }
}

// tvRefresh permits this server to refresh the webhook's tokens.
func tvRefresh(c *webhook.Config) { c.TVRefresh = true }

func TestAWebhookIsToldWhenATokenIsDueAndRefreshesItItself(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		o, _ := w.real(w.ownProvider())
		token, before := o.store("github")
		w.run(w.service())
		r := o.ended(token, refresh.Rotated)
		wantRow(t, r, models.PathNotify, refresh.Rotated, "")
		if r.NotifiedAt == nil || r.RefreshedAt == nil || r.MediatedAt != nil || r.Attempts != 0 {
			t.Errorf("row %+v, want the times of a notification that worked", r)
		}
		if got := o.tv.AgentCredential("github")["accessToken"].(string); got == string(before.AccessToken) || !w.provider.Newest(refresh.Secret(got)) {
			t.Errorf("the webhook has the access token %q, want the provider's newest", got)
		}
		now := o.token(token)
		if now.ExpiresAt == nil || !now.ExpiresAt.After(time.Now().Add(50*time.Minute)) || now.IssuedAt == nil || now.CreationID != token.CreationID {
			t.Errorf("the index says %+v, want the new expiry of the same creation", now)
		}
		if r.DueAt == nil || r.DueAt.Before(now.ExpiresAt.Add(-20*time.Minute)) || r.DueAt.After(now.ExpiresAt.Add(-10*time.Minute)) {
			t.Errorf("due again at %v, want a quarter of an hour before %v", r.DueAt, now.ExpiresAt)
		}
		w.until("the record", func() bool { return len(o.events()) == 1 })
		if got := o.events()[0]; got != "ok github path=notify outcome=rotated" {
			t.Errorf("on record: %q", got)
		}
		if n := w.provider.CallsWith(before.RefreshToken); n != 1 {
			t.Errorf("the provider was called %d times with the refresh token, want 1", n)
		}
	})
}

// what a webhook's answer to a notification becomes.
func TestAnswersToANotification(t *testing.T) {
	made := time.Now()
	in := func(d time.Duration) string { return made.Add(d).UTC().Format(time.RFC3339) }
	for name, c := range map[string]struct {
		fields  map[string]any
		status  int
		kind    refresh.Kind
		reason  refresh.Reason
		due     [2]time.Duration // from now: at least, at most; zero: not due again
		expires time.Duration    // in the index, from when the answers were made
		synced  bool
	}{
		"refreshed":                  {fields: map[string]any{"status": "refreshed", "newExpiresAt": in(time.Hour)}, kind: refresh.Rotated, due: [2]time.Duration{40 * time.Minute, 50 * time.Minute}, expires: time.Hour},
		"refreshed in the past":      {fields: map[string]any{"status": "refreshed", "newExpiresAt": in(-time.Hour)}, kind: refresh.RetryAt, reason: refreshes.ReasonWebhookError, due: [2]time.Duration{5 * time.Second, 20 * time.Second}},
		"refreshed for ever":         {fields: map[string]any{"status": "refreshed", "newExpiresAt": "9999-01-01T00:00:00Z"}, kind: refresh.RetryAt, reason: refreshes.ReasonWebhookError, due: [2]time.Duration{5 * time.Second, 20 * time.Second}},
		"refreshed at no time":       {fields: map[string]any{"status": "refreshed", "newExpiresAt": "canary"}, kind: refresh.RetryAt, reason: refreshes.ReasonWebhookError, due: [2]time.Duration{5 * time.Second, 20 * time.Second}},
		"refreshed, and nothing new": {fields: map[string]any{"status": "refreshed"}, kind: refresh.RetryAt, reason: refreshes.ReasonWebhookError, due: [2]time.Duration{5 * time.Second, 20 * time.Second}, synced: true},
		"acknowledged":               {fields: map[string]any{"status": "acknowledged", "message": "canary"}, kind: refresh.RetryAt, reason: refreshes.ReasonAcknowledged, due: [2]time.Duration{20 * time.Hour, 28 * time.Hour}},
		"no token":                   {fields: map[string]any{"status": "no_token"}, kind: refresh.RetryAt, reason: refreshes.ReasonNoToken, due: [2]time.Duration{14 * time.Minute, 20 * time.Minute}, synced: true},
		"no refresh token":           {fields: map[string]any{"status": "no_refresh_token"}, kind: refresh.NeedsReauthorization, reason: refresh.ReasonNoRefreshToken, synced: true},
		"failed":                     {fields: map[string]any{"status": "refresh_failed", "message": "canary"}, kind: refresh.RetryAt, reason: refreshes.ReasonRefreshFailed, due: [2]time.Duration{5 * time.Second, 20 * time.Second}},
		"failed for a reason":        {fields: map[string]any{"status": "refresh_failed", "reason": "rate_limited", "retryAt": in(10 * time.Minute)}, kind: refresh.RetryAt, reason: refresh.ReasonRateLimited, due: [2]time.Duration{9 * time.Minute, 11 * time.Minute}},
		"failed for an odd reason":   {fields: map[string]any{"status": "refresh_failed", "reason": "canary", "retryAt": in(-time.Minute)}, kind: refresh.RetryAt, reason: refreshes.ReasonRefreshFailed, due: [2]time.Duration{time.Second, 20 * time.Second}},
		"failed for years":           {fields: map[string]any{"status": "refresh_failed", "retryAt": in(5 * 365 * 24 * time.Hour)}, kind: refresh.RetryAt, reason: refreshes.ReasonRefreshFailed, due: [2]time.Duration{23 * time.Hour, 25 * time.Hour}},
		"needs its owner":            {fields: map[string]any{"status": "refresh_failed", "reason": "interaction_required", "needsReauthorization": true}, kind: refresh.NeedsReauthorization, reason: refresh.ReasonInteractionRequired},
		"needs its owner, oddly":     {fields: map[string]any{"status": "refresh_failed", "reason": "busy", "needsReauthorization": true}, kind: refresh.NeedsReauthorization, reason: refresh.ReasonInvalidGrant},
		"a status that is none":      {fields: map[string]any{"status": "canary"}, kind: refresh.RetryAt, reason: refreshes.ReasonWebhookError, due: [2]time.Duration{5 * time.Second, 20 * time.Second}},
		"another's answer":           {fields: map[string]any{"requestId": "another", "status": "refreshed", "newExpiresAt": in(time.Hour)}, kind: refresh.RetryAt, reason: refreshes.ReasonWebhookError, due: [2]time.Duration{5 * time.Second, 20 * time.Second}},
		"a redirect":                 {status: 307, kind: refresh.RetryAt, reason: refreshes.ReasonWebhookError, due: [2]time.Duration{5 * time.Second, 20 * time.Second}},
		"a bad signature":            {status: 401, fields: map[string]any{"error": "auth_failed", "message": "canary"}, kind: refresh.RetryAt, reason: refreshes.ReasonRefused, due: [2]time.Duration{14 * time.Minute, 20 * time.Minute}},
		"no such path":               {status: 404, kind: refresh.RetryAt, reason: refreshes.ReasonRefused, due: [2]time.Duration{14 * time.Minute, 20 * time.Minute}},
		"an error of its own":        {status: 500, fields: map[string]any{"error": "canary", "message": "canary"}, kind: refresh.RetryAt, reason: refreshes.ReasonWebhookError, due: [2]time.Duration{5 * time.Second, 20 * time.Second}},
		"nobody behind the gateway":  {status: 502, kind: refresh.RetryAt, reason: refreshes.ReasonUnreachable, due: [2]time.Duration{5 * time.Second, 20 * time.Second}},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, w *world) {
				w.limits.Poll = time.Hour // one look: what is due again soon is not tried again
				l := newLiar(t, func(_ int, rw http.ResponseWriter, r *http.Request, _ wire.RefreshRequest) {
					status := c.status
					if status == 0 {
						status = 200
					}
					rw.Header().Set("Location", "https://elsewhere.example/")
					says(rw, r, status, c.fields)
				})
				o := w.lie(l, wire.CapRefresh)
				token := o.expired("github")
				stop := w.run(w.service())
				r := o.ended(token, c.kind)
				stop()
				began := time.Now()
				wantRow(t, r, models.PathNotify, c.kind, c.reason)
				switch {
				case c.due == [2]time.Duration{} && r.DueAt != nil:
					t.Errorf("due again at %v, want never", r.DueAt)
				case c.due != [2]time.Duration{} && r.DueAt == nil:
					t.Errorf("never due again, want it in %v", c.due)
				case c.due != [2]time.Duration{} && (r.DueAt.Before(made.Add(c.due[0])) || r.DueAt.After(began.Add(c.due[1]))):
					t.Errorf("due again in %v, want in %v", r.DueAt.Sub(began), c.due)
				}
				want := *token.ExpiresAt
				if c.expires != 0 {
					want = made.Add(c.expires)
				}
				if got := o.token(token).ExpiresAt; got == nil || got.Sub(want).Abs() > time.Second {
					t.Errorf("the index says that it expires at %v, want %v", got, want)
				}
				if got := w.vaults.syncs() != ""; got != c.synced {
					t.Errorf("looked up again: %t, want %t", got, c.synced)
				}
				events := o.events()
				if len(events) != 1 || !strings.Contains(events[0], "path=notify outcome="+string(c.kind)) {
					t.Errorf("on record: %q, want one notification that ended so", events)
				}
			})
		})
	}
}
