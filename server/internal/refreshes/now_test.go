package refreshes_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/refresh"
	"github.com/tvzero/tokenvault/refresh/refreshtest"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/refreshes"
	"github.com/tvzero/tokenvault/server/internal/vaults"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

var client = audit.Client{Address: "192.0.2.1", RequestID: "r1"}

// fresh stores tokens at a real webhook that live for another hour.
func (o *owner) fresh(service string) models.Token {
	o.t.Helper()
	tokens := o.provider.Issue("repo")
	expires := time.Now().Add(time.Hour).Truncate(time.Second)
	meta := o.tv.Store(service, map[string]any{
		"tokenType": "OAuth", "provider": "test", "accessToken": string(tokens.AccessToken), "refreshToken": string(tokens.RefreshToken),
		"expiresAt": expires.Format(time.RFC3339), "issuedAt": time.Now().Add(-time.Minute).UTC().Format(time.RFC3339),
	})
	creation, _ := meta["creationId"].(string)
	return o.index(models.Token{ServiceName: service, CreationID: creation, ExpiresAt: &expires})
}

func TestAPersonRefreshesATokenThatIsNotDue(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		now := time.Now() // it stands still: who asks again does so at once
		s := w.service(func(d *refreshes.Deps) { d.Now = func() time.Time { return now } })
		for path, option := range map[string]func(*world) *owner{
			models.PathNotify:   func(w *world) *owner { o, _ := w.real(w.ownProvider()); return o },
			models.PathMediated: func(w *world) *owner { o, _ := w.real(tvRefresh); return o },
		} {
			o := option(w)
			token := o.fresh("github")
			p := o.principal()
			got, err := s.RefreshNow(t.Context(), p, client, "github")
			if err != nil || got.Path != path || got.Outcome != refresh.Rotated || got.ExpiresAt == nil || got.RetryAt != nil {
				t.Errorf("%s: RefreshNow = %+v, %v; want it rotated", path, got, err)
			}
			if !o.newest() {
				t.Errorf("%s: the webhook has not the newest token", path)
			}
			if r := o.row(token); r.Outcome != string(refresh.Rotated) || r.LeaseID != nil || r.DueAt == nil {
				t.Errorf("%s: row %+v, want it finished and due again", path, r)
			}
			rows, err := w.db.AuditEvents(t.Context(), o.account, models.AuditFilter{EventType: string(audit.Refresh), Limit: 10})
			w.check(err)
			for _, row := range rows {
				if row.Source != string(audit.Direct) || row.GrantID == nil || *row.GrantID != p.GrantID || row.Address != client.Address {
					t.Errorf("%s: on record %+v, want who asked for it", path, row)
				}
			}
			calls := w.provider.Calls()
			again, err := s.RefreshNow(t.Context(), p, client, "github")
			if err != nil || again.Outcome != refresh.Rotated || w.provider.Calls() != calls {
				t.Errorf("%s: at once again = %+v, %v, %d more calls; want the same answer without one", path, again, err, w.provider.Calls()-calls)
			}
		}
	})
}

func TestAskingForWhatCannotBeRefreshedSaysWhy(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		s := w.service()
		l := newLiar(t, func(_ int, rw http.ResponseWriter, r *http.Request, _ wire.RefreshRequest) { says(rw, r, 500, nil) })
		for name, c := range map[string]struct {
			capability string
			service    string
			change     func(c *vaults.Custody)
			agent      bool
			code       fault.Code
		}{
			"an agent":        {wire.CapRefresh, "github", nil, true, fault.ScopeDenied},
			"platform mode":   {wire.CapRefresh, "github", func(c *vaults.Custody) { *c = vaults.Custody{Mode: models.ModePlatform} }, false, fault.WrongVaultMode},
			"locked":          {wire.CapRefresh, "github", func(c *vaults.Custody) { c.Locked = true }, false, fault.VaultLocked},
			"no such token":   {wire.CapRefresh, "gitlab", nil, false, fault.TokenNotFound},
			"not OAuth":       {wire.CapRefresh, "key", nil, false, fault.InvalidRequest},
			"nobody can":      {wire.CapStorage, "github", nil, false, fault.WebhookNotConfigured},
			"another account": {wire.CapRefresh, "elsewhere", nil, false, fault.TokenNotFound},
		} {
			o := w.lie(l, c.capability)
			token := o.expired("github")
			w.lie(l, c.capability).expired("elsewhere")
			key := models.Token{ServiceName: "key", TokenType: wire.TypePlainText, CreationID: "1"}
			_, err := w.db.SyncTokens(t.Context(), o.account, o.vault, []models.Token{key}, false)
			w.check(err)
			if c.change != nil {
				o.custody(c.change)
			}
			p := o.principal()
			if c.agent {
				p.Kind = models.GrantAgentKey
			}
			before := o.row(token)
			got, err := s.RefreshNow(t.Context(), p, client, c.service)
			if fault.CodeOf(err) != c.code || got != (refreshes.Result{}) {
				t.Errorf("%s: RefreshNow = %+v, %v; want %s", name, got, err, c.code)
			}
			if after := o.row(token); after.LeaseGeneration != before.LeaseGeneration || after.Outcome != "" {
				t.Errorf("%s: row %+v, want it as before", name, after)
			}
			if n := len(o.events()); n != 0 {
				t.Errorf("%s: %d events, want none", name, n)
			}
		}
		if n := len(l.seen()); n != 0 {
			t.Errorf("the webhook was called %d times, want 0", n)
		}
	})
}

func TestWhatFailsWhenSomebodyAsksIsAnAnswer(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		s := w.service()
		l := newLiar(t, func(_ int, rw http.ResponseWriter, r *http.Request, _ wire.RefreshRequest) { says(rw, r, 503, nil) })
		o := w.lie(l, wire.CapRefresh)
		o.expired("github")
		got, err := s.RefreshNow(t.Context(), o.principal(), client, "github")
		if err != nil || got.Outcome != refresh.RetryAt || got.Reason != refreshes.ReasonUnreachable || got.RetryAt == nil || got.ExpiresAt != nil {
			t.Errorf("RefreshNow = %+v, %v; want when it is tried again, and why", got, err)
		}
		if got := o.events(); len(got) != 1 || !strings.HasPrefix(got[0], "REFRESH_FAILED github path=notify outcome=retry_at") {
			t.Errorf("on record %q, want one that failed", got)
		}
	})
}

// A busy is leases that say when one was not to be had because another has it.
type busy struct {
	refreshes.Leases
	met chan struct{} // holds a value from then on
}

func (b busy) TakeLease(ctx context.Context, accountID, tokenID uuid.UUID, ttl time.Duration) (models.Lease, error) {
	lease, err := b.Leases.TakeLease(ctx, accountID, tokenID, ttl)
	if errors.As(err, new(*models.LeasedError)) {
		select {
		case b.met <- struct{}{}:
		default:
		}
	}
	return lease, err
}

// Whoever asks while it is being refreshed gets that one's outcome, here and on
// another replica.
func TestAskingDuringARefreshWaitsForIt(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		for _, path := range []string{models.PathNotify, models.PathMediated} {
			began := w.provider.Requests()
			option := w.ownProvider()
			if path == models.PathMediated {
				option = tvRefresh
			}
			o, _ := w.real(option)
			token, _ := o.store("github")
			release := make(chan struct{})
			w.provider.Next(refreshtest.Slow(release))
			stop := w.run(w.service())
			<-w.provider.Arrived()
			var all sync.WaitGroup
			var askers []busy
			for range 5 {
				asker := busy{w.db, make(chan struct{}, 1)}
				askers = append(askers, asker)
				s := w.service(func(d *refreshes.Deps) { d.Leases = asker }) // each a replica of its own
				all.Go(func() {
					got, err := s.RefreshNow(t.Context(), o.principal(), client, "github")
					if err != nil || got.Outcome != refresh.Rotated && got.Outcome != refresh.StillValid || got.ExpiresAt == nil {
						t.Errorf("%s: RefreshNow = %+v, %v; want what the other brought", path, got, err)
					}
				})
			}
			for _, asker := range askers {
				w.until("each asker meets the lease", func() bool { return len(asker.met) == 1 })
			}
			close(release)
			all.Wait()
			o.ended(token, refresh.Kind(o.row(token).Outcome))
			stop()
			if !o.newest() || w.provider.Reused() != 0 {
				t.Errorf("%s: newest %t, %d reused", path, o.newest(), w.provider.Reused())
			}
			// Times of issue have milliseconds: one that began in the same one may go on.
			if n := w.provider.Requests() - began; n > 2 {
				t.Errorf("%s: the provider was called %d times, want once for all, or twice", path, n)
			}
		}
	})
}

func TestWhoLeavesDoesNotEndARefresh(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		o, _ := w.real(tvRefresh)
		token := o.fresh("github")
		release := make(chan struct{})
		w.provider.Next(refreshtest.Slow(release))
		s := w.service()
		ctx, leave := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			if got, err := s.RefreshNow(ctx, o.principal(), client, "github"); err != nil || got.Outcome != refresh.Rotated {
				t.Errorf("RefreshNow = %+v, %v; want it rotated all the same", got, err)
			}
		}()
		<-w.provider.Arrived()
		leave()
		close(release)
		<-done
		wantRow(t, o.row(token), models.PathMediated, refresh.Rotated, "")
		if !o.newest() {
			t.Error("the webhook has not the newest token")
		}
	})
}

// What is asked for waits for the lease of what is claimed, which has not begun yet:
// neither waits for the other.
func TestAskingForWhatIsClaimedAndWaitsForItsTurn(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.limits.PerWebhook = 1
		o, _ := w.real(tvRefresh)
		first, _ := o.store("first")
		release := make(chan struct{})
		w.provider.Next(refreshtest.Slow(release))
		s := w.service()
		w.run(s)
		<-w.provider.Arrived()
		second, _ := o.store("second")
		w.until("the second is claimed", func() bool { return s.Stats().Queued == 1 })
		answered := make(chan error, 1)
		go func() {
			got, err := s.RefreshNow(t.Context(), o.principal(), client, "second")
			if err == nil && got.Outcome != refresh.Rotated && got.Outcome != refresh.StillValid {
				t.Errorf("RefreshNow = %+v, want fresh tokens", got)
			}
			answered <- err
		}()
		w.until("somebody asks", func() bool { return s.Stats().Engine.Flights == 2 })
		close(release)
		o.ended(first, refresh.Rotated)
		limit := time.NewTimer(patience)
		defer limit.Stop()
		select {
		case err := <-answered:
			w.check(err)
		case <-limit.C:
			t.Fatal("whoever asked waits for the schedule, and the schedule for them")
		}
		o.ended(second, refresh.Kind(o.row(second).Outcome))
		if w.provider.Reused() != 0 {
			t.Errorf("%d refresh tokens were used twice", w.provider.Reused())
		}
	})
}

func TestAllWhoAskAtOnceCauseOneNotification(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		arrived, release := make(chan struct{}, 100), make(chan struct{})
		l := newLiar(t, func(n int, rw http.ResponseWriter, r *http.Request, body wire.RefreshRequest) {
			arrived <- struct{}{}
			<-release
			willing(n, rw, r, body)
		})
		o := w.lie(l, wire.CapRefresh)
		token := o.expired("github")
		lease, err := w.db.TakeLease(t.Context(), o.account, token.ID, time.Minute)
		w.check(err)
		tried := time.Now().Add(-time.Minute) // it was tried before
		w.check(w.db.FinishLease(t.Context(), lease, models.Refresh{Outcome: string(refresh.RetryAt), Path: models.PathNotify, TriedAt: &tried}))
		var all sync.WaitGroup
		for range 6 {
			s := w.service()
			all.Go(func() {
				got, err := s.RefreshNow(t.Context(), o.principal(), client, "github")
				if err != nil || got.Path != models.PathNotify || got.Outcome != refresh.Rotated || got.ExpiresAt == nil {
					t.Errorf("RefreshNow = %+v, %v; want what the one brought", got, err)
				}
			})
		}
		<-arrived
		close(release)
		all.Wait()
		if n := len(l.seen()); n != 1 {
			t.Errorf("%d notifications, want 1", n)
		}
	})
}

// Each change of a token's tokens has its number, so that none is undone by one that
// comes late.
func TestRefreshesThatFollowOneAnotherAreAllTaken(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		o, _ := w.real(tvRefresh)
		o.fresh("github")
		for i := range 4 {
			later := w.service(func(d *refreshes.Deps) {
				d.Now = func() time.Time { return time.Now().Add(time.Duration(i) * time.Minute) }
			})
			if got, err := later.RefreshNow(t.Context(), o.principal(), client, "github"); err != nil || got.Outcome != refresh.Rotated || !o.newest() {
				t.Fatalf("refresh %d: %+v, %v, newest %t; want it rotated and stored", i+1, got, err, o.newest())
			}
		}
		if n := w.provider.Calls(); n != 4 || w.provider.Reused() != 0 {
			t.Errorf("%d calls, %d reused, want 4 and none", n, w.provider.Reused())
		}
	})
}

// A vaults that says when it was asked.
type heard struct {
	refreshes.Vaults
	asked chan struct{}
}

func (h heard) Custody(ctx context.Context, account uuid.UUID) (*vaults.Custody, error) {
	c, err := h.Vaults.Custody(ctx, account)
	h.asked <- struct{}{}
	return c, err
}

// Whoever waits for a place to ask in is nobody any more once they have left, and finds
// the vault as it is when the wait is over.
func TestWhoWaitsForAPlaceToAskInLeavesNothingBehindAndMeetsALock(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.limits.PerWebhook = 1
		o, _ := w.real(tvRefresh)
		o.fresh("github")
		release := make(chan struct{})
		w.provider.Next(refreshtest.Slow(release))
		asked := make(chan struct{}, 10)
		s := w.service(func(d *refreshes.Deps) { d.Vaults = heard{d.Vaults, asked} })
		first, second := make(chan error, 1), make(chan error, 1)
		go func() {
			_, err := s.RefreshNow(t.Context(), o.principal(), client, "github")
			first <- err
		}()
		<-w.provider.Arrived()
		ctx, leave := context.WithCancel(t.Context())
		gone := make(chan error, 1)
		go func() {
			_, err := s.RefreshNow(ctx, o.principal(), client, "github")
			gone <- err
		}()
		w.until("another waits for a place", func() bool { return s.Waiting() == 2 })
		leave()
		if err := <-gone; fault.CodeOf(err) != fault.Unavailable || !errors.Is(err, context.Canceled) {
			t.Errorf("who left: %v, want UNAVAILABLE for their own leaving", err)
		}
		for len(asked) > 0 {
			<-asked
		}
		go func() {
			_, err := s.RefreshNow(t.Context(), o.principal(), client, "github")
			second <- err
		}()
		<-asked
		o.custody(func(c *vaults.Custody) { c.Locked = true })
		calls := w.provider.Requests()
		close(release)
		w.check(<-first)
		if err := <-second; fault.CodeOf(err) != fault.VaultLocked {
			t.Errorf("who waited while the vault was locked: %v, want VAULT_LOCKED", err)
		}
		if n := w.provider.Requests() - calls; n != 0 {
			t.Errorf("%d calls at the provider after that", n)
		}
	})
}

func TestAskingAgainDoesNotCallAProviderThatWishesAPause(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		for _, c := range []struct {
			fault  refreshtest.Fault
			reason refresh.Reason
			kind   refresh.Kind
			half   int // calls half a minute later
		}{
			{refreshtest.RateLimited("600"), refresh.ReasonRateLimited, refresh.RetryAt, 0},
			{refreshtest.Refused(401, "invalid_client", ""), refresh.ReasonClientRejected, refresh.RetryAt, 1},
			{refreshtest.Refused(400, "invalid_grant", ""), refresh.ReasonInvalidGrant, refresh.NeedsReauthorization, 1},
		} {
			o, _ := w.real(tvRefresh)
			o.fresh("github")
			w.provider.Always(c.fault)
			ask := func(after time.Duration) {
				t.Helper()
				s := w.service(func(d *refreshes.Deps) { d.Now = func() time.Time { return time.Now().Add(after) } })
				got, err := s.RefreshNow(t.Context(), o.principal(), client, "github")
				if err != nil || got.Outcome != c.kind || got.Reason != c.reason || (got.RetryAt != nil) != (c.kind == refresh.RetryAt) {
					t.Errorf("%s: RefreshNow = %+v, %v", c.reason, got, err)
				}
			}
			calls := w.provider.Requests()
			for range 3 {
				ask(0)
			}
			if n := w.provider.Requests() - calls; n != 1 {
				t.Errorf("%s: %d calls for three who ask, want 1", c.reason, n)
			}
			calls = w.provider.Requests()
			ask(31 * time.Second)
			if n := w.provider.Requests() - calls; n != c.half {
				t.Errorf("%s: %d calls half a minute later, want %d", c.reason, n, c.half)
			}
		}
	})
}
