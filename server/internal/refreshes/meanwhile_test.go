package refreshes_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/refresh"
	"github.com/tvzero/tokenvault/server/internal/refreshes"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// What comes of refreshing a credential says nothing of the one in its place.
func TestACredentialThatWasReplacedMeanwhileKeepsWhatIsKnownOfIt(t *testing.T) {
	for _, capability := range []string{wire.CapRefresh, wire.CapTVRefresh} {
		t.Run(capability, func(t *testing.T) {
			each(t, func(t *testing.T, w *world) {
				theirs := time.Now().Add(30 * 24 * time.Hour).Truncate(time.Second).UTC()
				var o *owner
				l := newLiar(t, func(_ int, rw http.ResponseWriter, r *http.Request, body wire.RefreshRequest) {
					if body.Action == wire.RefreshGet {
						says(rw, r, 200, map[string]any{"status": "ok", "refreshToken": string(w.provider.Issue().RefreshToken), "meta": map[string]any{"provider": "test", "creationId": "creation of github"}})
						return
					}
					o.index(models.Token{ServiceName: "github", CreationID: "another", ExpiresAt: &theirs})
					status := wire.NotifyRefreshed
					if body.Action == wire.RefreshUpdate {
						status = wire.RefreshUpdated
					}
					says(rw, r, 200, map[string]any{"status": status, "newExpiresAt": time.Now().Add(time.Hour).UTC().Format(time.RFC3339)})
				})
				o = w.lie(l, capability)
				token := o.expired("github")
				s := w.service()
				stop := w.run(s)
				w.until("it is looked up again", func() bool { return w.vaults.syncs() != "" })
				stop()
				now := o.token(token)
				if now.CreationID != "another" || !now.ExpiresAt.Equal(theirs) {
					t.Errorf("the index says %+v, want the other credential until %v", now, theirs)
				}
				if r := o.row(token); r.Outcome != "" || r.LeaseID != nil || r.DueAt == nil || r.DueAt.Before(theirs.Add(-2*time.Hour)) {
					t.Errorf("row %+v, want nothing known of the other credential, and its own due time", r)
				}
			})
		})
	}
}

// A replica whose clock is behind must not find everything due again at once.
func TestAClockThatIsBehindMakesNothingDueInThePast(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		l := newLiar(t, func(_ int, rw http.ResponseWriter, r *http.Request, _ wire.RefreshRequest) {
			says(rw, r, 200, map[string]any{"status": "refresh_failed", "retryAt": time.Now().Add(-time.Hour).UTC().Format(time.RFC3339)})
		})
		o := w.lie(l, wire.CapRefresh)
		token := o.expired("github")
		stop := w.run(w.service(func(d *refreshes.Deps) { d.Now = func() time.Time { return time.Now().Add(-2 * time.Hour) } }))
		r := o.ended(token, refresh.RetryAt)
		stop()
		if r.DueAt == nil || !r.DueAt.After(r.TriedAt.Add(2*time.Hour)) {
			t.Errorf("due again at %v, tried at %v by a clock two hours behind, want it later", r.DueAt, r.TriedAt)
		}
	})
}

// A webhook that finds a token not due yet is not asked again and again.
func TestATokenThatTheWebhookDoesNotFindDueIsLeftAlone(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		expires := time.Now().Add(20 * time.Minute).Truncate(time.Second).UTC()
		l := newLiar(t, func(_ int, rw http.ResponseWriter, r *http.Request, _ wire.RefreshRequest) {
			says(rw, r, 200, map[string]any{"status": "refreshed", "newExpiresAt": expires.Format(time.RFC3339)})
		})
		o := w.lie(l, wire.CapRefresh)
		token := o.index(models.Token{ServiceName: "github", CreationID: "1", ExpiresAt: &expires})
		w.check(w.db.ScheduleRefresh(t.Context(), o.account, token.ID, ptr(time.Now().Add(-time.Second))))
		stop := w.run(w.service())
		r := o.ended(token, refresh.StillValid)
		stop()
		if r.DueAt == nil || r.DueAt.Before(time.Now().Add(4*time.Minute)) || r.DueAt.After(expires) {
			t.Errorf("due again at %v, want a quarter of what is left until %v", r.DueAt, expires)
		}
		if n := len(l.seen()); n != 1 {
			t.Errorf("%d calls, want 1", n)
		}
	})
}
