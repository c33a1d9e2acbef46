package refreshes_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/models/store/storetest"
	"github.com/tvzero/tokenvault/refresh"
	"github.com/tvzero/tokenvault/refresh/refreshtest"
	"github.com/tvzero/tokenvault/server/internal/refreshes"
	"github.com/tvzero/tokenvault/server/internal/vaults"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// willing refreshes whatever it is told to, for an hour.
func willing(_ int, rw http.ResponseWriter, r *http.Request, _ wire.RefreshRequest) {
	says(rw, r, 200, map[string]any{"status": "refreshed", "newExpiresAt": time.Now().Add(time.Hour).UTC().Format(time.RFC3339)})
}

// many puts so many tokens into the index that have expired.
func (o *owner) many(n int) []models.Token {
	o.t.Helper()
	at := time.Now().Add(-time.Minute)
	tokens := make([]models.Token, n)
	for i := range tokens {
		tokens[i] = models.Token{
			ServiceName: fmt.Sprintf("service %05d", i), CreationID: "1", ExpiresAt: &at, Provider: "test", TokenType: models.TypeOAuth, HasRefreshToken: true,
		}
	}
	_, err := o.db.SyncTokens(o.t.Context(), o.account, o.vault, tokens, false)
	o.check(err)
	tokens, err = o.db.Tokens(o.t.Context(), o.account, o.vault, "", 0)
	o.check(err)
	return tokens
}

// done counts tokens by the outcome of their last refresh.
func (o *owner) done(kind refresh.Kind) (n int) {
	o.t.Helper()
	tokens, err := o.db.Tokens(o.t.Context(), o.account, o.vault, "", 0)
	o.check(err)
	for _, t := range tokens {
		if r, err := o.db.Refresh(o.t.Context(), t.AccountID, t.ID); err == nil && r.Outcome == string(kind) {
			n++
		}
	}
	return n
}

func TestReplicasRefreshEachTokenOnce(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		l := newLiar(t, willing)
		o := w.lie(l, wire.CapRefresh)
		o.many(90)
		w.limits.Running, w.limits.Queued = 8, 8
		var replicas []*refreshes.Service
		for range 3 {
			db := w.db
			if !strings.HasPrefix(w.url, "sqlite:") { // has one process
				db = w.open()
			}
			s := w.serviceOn(db)
			replicas = append(replicas, s)
			w.run(s)
		}
		w.until("all are refreshed", func() bool { return o.done(refresh.Rotated) == 90 })
		byService := map[string]int{}
		for _, call := range l.seen() {
			byService[call.Service]++
		}
		for service, n := range byService {
			if n != 1 {
				t.Errorf("%s was refreshed %d times, want once", service, n)
			}
		}
		var began, deferred int64
		for _, s := range replicas {
			stats := s.Stats()
			began, deferred = began+stats.Claimed, deferred+stats.Deferred
		}
		if began-deferred != 90 {
			t.Errorf("%d claims, %d of them given back, want 90 in all", began, deferred)
		}
	})
}

func TestWhatADeadReplicaHadClaimedIsDoneByAnother(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		l := newLiar(t, willing)
		o := w.lie(l, wire.CapRefresh)
		token := o.expired("github")
		dead, err := w.db.ClaimDue(t.Context(), 10, 500*time.Millisecond)
		if err != nil || len(dead) != 1 {
			t.Fatalf("claimed %d, %v; want 1", len(dead), err)
		}
		w.run(w.service())
		r := o.ended(token, refresh.Rotated)
		if r.LeaseGeneration <= dead[0].Lease.Generation {
			t.Errorf("generation %d after %d", r.LeaseGeneration, dead[0].Lease.Generation)
		}
		err = w.db.FinishLease(t.Context(), dead[0].Lease, models.Refresh{Outcome: string(refresh.NeedsReauthorization)})
		if !errors.Is(err, models.ErrLeaseLost) || o.row(token).Outcome != string(refresh.Rotated) {
			t.Errorf("the dead one's outcome: %v, and the row says %q; want it refused", err, o.row(token).Outcome)
		}
	})
}

func TestAWebhookThatIsDownIsLeftAloneUntilItIsBack(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.limits.PerWebhook, w.limits.Failures, w.limits.FirstWait, w.limits.LongWait = 1, 3, time.Hour, time.Hour
		down := newLiar(t, func(int, http.ResponseWriter, *http.Request, wire.RefreshRequest) { panic(http.ErrAbortHandler) })
		o := w.lie(down, wire.CapRefresh)
		tokens := o.many(8)
		s := w.service()
		stop := w.run(s)
		w.until("all are put off", func() bool { return o.done(refresh.RetryAt) == 8 })
		stop()
		stats := s.Stats()
		// What the three had tried is due again in a few seconds, and turned away then.
		if stats.Breakers[refreshes.BreakerOpen] != 1 || stats.TurnedAway < 5 || len(down.seen()) != 9 {
			t.Errorf("%d calls, counted %+v; want 3 refreshes of 3 attempts, the others turned away, and the breaker open", len(down.seen()), stats)
		}
		for _, token := range tokens {
			r := o.row(token)
			if r.Reason != string(refreshes.ReasonUnreachable) || r.RetryAt == nil || r.DueAt == nil {
				t.Errorf("%s: %+v, want when it is tried again", token.ServiceName, r)
			}
			w.check(w.db.ScheduleRefresh(t.Context(), o.account, token.ID, ptr(time.Now().Add(-time.Second))))
		}

		// Another replica knows nothing of it; its breaker opens for a moment, and one refresh tries.
		down.set(func(n int, rw http.ResponseWriter, r *http.Request, body wire.RefreshRequest) {
			if n < 9+9 {
				panic(http.ErrAbortHandler)
			}
			willing(n, rw, r, body)
		})
		w.limits.FirstWait = 50 * time.Millisecond
		other := w.service()
		w.run(other)
		w.until("the breaker closes", func() bool {
			for _, token := range tokens {
				if r := o.row(token); r.Outcome == string(refresh.RetryAt) && r.LeaseID == nil {
					_ = w.db.ScheduleRefresh(t.Context(), o.account, token.ID, ptr(time.Now().Add(-time.Second)))
				}
			}
			return o.done(refresh.Rotated) == 8
		})
		if got := other.Stats().Breakers; got[refreshes.BreakerOpen] != 0 || got[refreshes.BreakerHalfOpen] != 0 {
			t.Errorf("breakers %v, want all closed", got)
		}
	})
}

func TestASlowWebhookDoesNotKeepOthersWaiting(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.limits.Running, w.limits.Queued, w.limits.PerWebhook = 8, 16, 2
		release := make(chan struct{})
		slow := newLiar(t, func(n int, rw http.ResponseWriter, r *http.Request, body wire.RefreshRequest) {
			select {
			case <-release:
			case <-r.Context().Done():
			}
			willing(n, rw, r, body)
		})
		defer close(release)
		w.lie(slow, wire.CapRefresh).many(100) // they have been due for longer
		var fast []*owner
		for range 3 {
			o := w.lie(newLiar(t, willing), wire.CapRefresh)
			o.many(10)
			fast = append(fast, o)
		}
		s := w.service()
		w.run(s)
		for i, o := range fast {
			w.until(fmt.Sprintf("webhook %d has done its own", i), func() bool { return o.done(refresh.Rotated) == 10 })
		}
		if n := len(slow.seen()); n > 2 { // the places of one webhook
			t.Errorf("the slow webhook has had %d calls, want its share", n)
		}
		if stats := s.Stats(); stats.Deferred == 0 {
			t.Errorf("counted %+v, want rows of the slow webhook given back", stats)
		}
	})
}

func TestAtItsEndAReplicaFinishesWhatItBeganAndGivesBackTheRest(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.limits.Running, w.limits.PerWebhook = 1, 1
		arrived, release := make(chan struct{}, 100), make(chan struct{})
		l := newLiar(t, func(n int, rw http.ResponseWriter, r *http.Request, body wire.RefreshRequest) {
			arrived <- struct{}{}
			<-release
			willing(n, rw, r, body)
		})
		o := w.lie(l, wire.CapRefresh)
		o.many(5)
		s := w.service()
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.Run(ctx) }()
		<-arrived
		w.until("the others wait", func() bool { return s.Stats().Queued == 4 })
		cancel()
		w.until("they are given back", func() bool { return s.Stats().Queued == 0 && s.Stats().Deferred == 4 })
		close(release)
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
		if n := o.done(refresh.Rotated); n != 1 || len(l.seen()) != 1 {
			t.Errorf("%d refreshed by %d calls, want the one that was begun", n, len(l.seen()))
		}
		w.run(w.service())
		w.until("another does the rest", func() bool { return o.done(refresh.Rotated) == 5 })
	})
}

func TestAtItsEndAReplicaWaitsNoLongerThanItMay(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.limits.Drain = 200 * time.Millisecond
		arrived := make(chan struct{}, 100)
		l := newLiar(t, func(_ int, _ http.ResponseWriter, r *http.Request, _ wire.RefreshRequest) {
			arrived <- struct{}{}
			<-r.Context().Done()
		})
		o := w.lie(l, wire.CapRefresh)
		o.expired("github")
		stop := w.run(w.service())
		<-arrived
		began := time.Now()
		stop()
		if took := time.Since(began); took > 8*time.Second { // it may wait for nine unless told otherwise
			t.Errorf("Run ended after %v, want about 200ms", took)
		}
	})
}

// Idle replicas cost next to nothing.
func TestAnIdleReplicaLooksNowAndThen(t *testing.T) {
	t.Parallel()
	w := newWorld(t, storetest.URL(t, store.SQLite))
	w.limits.Poll = 100 * time.Millisecond
	s := w.service()
	stop := w.run(s)
	began := time.Now()
	w.until("it has looked five times", func() bool { return s.Stats().Polls >= 5 })
	stop()
	if most := 2 + int64(time.Since(began)/(80*time.Millisecond)); s.Stats().Polls > most {
		t.Errorf("%d looks in %v, want at most %d", s.Stats().Polls, time.Since(began), most)
	}
}

// Many replicas ask for the same token at once, while the schedule has it too.
func TestAskersAndScheduleTogetherRefreshOnce(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		o, _ := w.real(tvRefresh)
		token, before := o.store("github")
		var replicas []*refreshes.Service
		for range 3 {
			s := w.service()
			w.run(s)
			replicas = append(replicas, s)
		}
		var all sync.WaitGroup
		for i := range 12 {
			all.Go(func() {
				got, err := replicas[i%3].RefreshNow(t.Context(), o.principal(), client, "github")
				if err != nil || got.Outcome != refresh.Rotated && got.Outcome != refresh.StillValid {
					t.Errorf("RefreshNow = %+v, %v; want fresh tokens", got, err)
				}
			})
		}
		all.Wait()
		if n := w.provider.CallsWith(before.RefreshToken); n != 1 || w.provider.Reused() != 0 || !o.newest() {
			t.Errorf("%d calls with the first refresh token, %d reused, newest %t; want 1, 0, true", n, w.provider.Reused(), o.newest())
		}
		if r := o.row(token); r.Outcome != string(refresh.Rotated) && r.Outcome != string(refresh.StillValid) {
			t.Errorf("row %+v", r)
		}
	})
}

// Between being claimed and its turn, an owner may lock the vault: nothing is fetched
// any more then.
func TestWhatIsLockedBeforeItsTurnIsLeftAlone(t *testing.T) {
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
		o.custody(func(c *vaults.Custody) { c.Locked = true })
		close(release)
		o.ended(first, refresh.Rotated)
		wantRow(t, o.ended(second, refresh.RetryAt), "", refresh.RetryAt, refreshes.ReasonLocked)
		for _, e := range o.events() {
			if strings.Contains(e, " second ") {
				t.Errorf("on record: %q, want nothing of the second", e)
			}
		}
	})
}
