package refreshtest

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tvzero/tokenvault/refresh"
)

func readReturnsStored(t *testing.T, f Fixture) {
	l := f.lease(t, f.Place, longLease)
	s := read(t, l)
	wantTokens(t, "under the first lease", s.Tokens, f.Stored(t))
	if s.Tokens.RefreshToken != Initial(time.Time{}).RefreshToken {
		t.Errorf("the fixture's refresh token: got %q, want Initial's", string(s.Tokens.RefreshToken))
	}
	if s.Provider.TokenURL == "" {
		t.Error("the state's provider has no TokenURL")
	}
	if s.Attempts != 0 || !s.RetryAt.IsZero() || s.NeedsReauthorization != "" {
		t.Errorf("before any outcome: attempts %d, retry at %v, needs %q, want none", s.Attempts, s.RetryAt, s.NeedsReauthorization)
	}
}

func wantBusy(t *testing.T, f Fixture, p refresh.Place) {
	t.Helper()
	_, err := p.Lease(t.Context(), longLease)
	var busy *refresh.BusyError
	if !errors.As(err, &busy) {
		t.Fatalf("a second lease: got %v, want a *BusyError", err)
	}
	if left := busy.Until.Sub(f.now()); left <= -5*time.Second || left > longLease+5*time.Second {
		t.Errorf("busy for another %v, want at most the lease's %v", left, longLease)
	}
}

func oneLeaseAtATime(t *testing.T, f Fixture) {
	l := f.lease(t, f.Place, longLease)
	wantBusy(t, f, f.Place)
	wantBusy(t, f, f.Other)
	read(t, l) // still its holder's
}

func manyTakers(t *testing.T, f Fixture) {
	var taken, failed atomic.Int64
	var wg sync.WaitGroup
	for i := range 16 {
		place := f.Place
		if i%2 == 1 {
			place = f.Other
		}
		wg.Go(func() {
			_, err := place.Lease(t.Context(), longLease)
			var busy *refresh.BusyError
			switch {
			case err == nil:
				taken.Add(1)
			case !errors.As(err, &busy):
				failed.Add(1)
				t.Errorf("a taker got %v, want the lease or a *BusyError", err)
			}
		})
	}
	wg.Wait()
	if taken.Load() != 1 {
		t.Errorf("%d of 16 takers got the lease (%d errors), want 1", taken.Load(), failed.Load())
	}
}

func leaseEndsByTime(t *testing.T, f Fixture) {
	f.lease(t, f.Place, f.short())
	read(t, f.takeOver(t))
}

func endGivesBack(t *testing.T, f Fixture) {
	l := f.lease(t, f.Place, longLease)
	end(t, l)
	end(t, l)
	read(t, f.lease(t, f.Other, longLease))
}

func commitStores(t *testing.T, f Fixture) {
	l := f.lease(t, f.Place, longLease)
	before := read(t, l)
	want := f.successor("b")
	want.Scopes = []string{"repo"}
	commit(t, l, want)
	end(t, l)
	wantTokens(t, "stored", f.Stored(t), want)
	after := read(t, f.lease(t, f.Other, longLease))
	wantTokens(t, "read by another", after.Tokens, want)
	if after.Version == before.Version {
		t.Errorf("version after a commit: still %d", after.Version)
	}
	if d := f.now().Sub(after.IssuedAt); d < -5*time.Second || d > 2*longLease {
		t.Errorf("issued %v ago, want just now", d)
	}
}

func commitMoreTime(t *testing.T, f Fixture) {
	l := f.lease(t, f.Place, longLease)
	want := read(t, l).Tokens // as of a provider that does not rotate, and gives a token again while it is good
	want.ExpiresAt = want.ExpiresAt.Add(time.Hour)
	commit(t, l, want)
	commit(t, l, want)
	end(t, l)
	wantTokens(t, "stored", f.Stored(t), want)
	read(t, f.lease(t, f.Other, longLease))
}

func commitAgain(t *testing.T, f Fixture) {
	l := f.lease(t, f.Place, longLease)
	read(t, l)
	want := f.successor("b")
	commit(t, l, want)
	commit(t, l, want) // as after an answer that got lost
	end(t, l)
	wantTokens(t, "stored", f.Stored(t), want)
}

func commitLate(t *testing.T, f Fixture) {
	ttl := f.short()
	l := f.lease(t, f.Place, ttl)
	read(t, l)
	if f.Advance != nil {
		f.Advance(ttl + time.Second)
	} else {
		timer := time.NewTimer(ttl + 50*time.Millisecond) // until the time is over; nobody can be asked, which would take it
		<-timer.C
	}
	want := f.successor("b")
	commit(t, l, want)
	wantTokens(t, "stored late", f.Stored(t), want)
}

func staleWritesNothing(t *testing.T, f Fixture) {
	stale := f.lease(t, f.Place, f.short())
	read(t, stale)
	newer := f.takeOver(t)
	before := read(t, newer)
	late := f.successor("stale")
	wantError(t, "a stale Commit", stale.Commit(t.Context(), late, rotated(late)), refresh.ErrLeaseLost)
	wantError(t, "a stale Note", stale.Note(t.Context(), refresh.Outcome{Kind: refresh.NeedsReauthorization, Reason: refresh.ReasonInvalidGrant, Attempts: 1}), refresh.ErrLeaseLost)
	after := read(t, newer)
	wantTokens(t, "after stale writes", after.Tokens, before.Tokens)
	if after.NeedsReauthorization != "" || after.Attempts != 0 || after.Version != before.Version {
		t.Errorf("after stale writes: needs %q, attempts %d, version %d, want nothing, 0, %d", after.NeedsReauthorization, after.Attempts, after.Version, before.Version)
	}
	want := f.successor("b")
	commit(t, newer, want)
	wantTokens(t, "stored", f.Stored(t), want)
}

func staleAfterCommit(t *testing.T, f Fixture) {
	stale := f.lease(t, f.Place, f.short())
	read(t, stale)
	newer := f.takeOver(t)
	read(t, newer)
	want := f.successor("b")
	commit(t, newer, want)
	end(t, newer)
	late := f.successor("stale")
	wantError(t, "a stale Commit after a newer one", stale.Commit(t.Context(), late, rotated(late)), refresh.ErrLeaseLost)
	wantError(t, "a stale Note after a newer Commit", stale.Note(t.Context(), refresh.Outcome{Kind: refresh.RetryAt, Reason: refresh.ReasonProviderError, At: f.now().Add(time.Hour), Attempts: 1}), refresh.ErrLeaseLost)
	wantTokens(t, "stored", f.Stored(t), want)
	if s := read(t, f.lease(t, f.Place, longLease)); s.Attempts != 0 || !s.RetryAt.IsZero() {
		t.Errorf("after a stale Note: attempts %d, retry at %v, want none", s.Attempts, s.RetryAt)
	}
}

func staleEnd(t *testing.T, f Fixture) {
	stale := f.lease(t, f.Place, f.short())
	newer := f.takeOver(t)
	end(t, stale)
	wantBusy(t, f, f.Place)
	read(t, newer)
}

func noteStores(t *testing.T, f Fixture) {
	before := f.Stored(t)
	retry := f.now().Add(10 * time.Minute)
	l := f.lease(t, f.Place, longLease)
	read(t, l)
	if err := l.Note(t.Context(), refresh.Outcome{Kind: refresh.RetryAt, Reason: refresh.ReasonRateLimited, At: retry, Attempts: 3}); err != nil {
		t.Fatalf("noting retry at: %v", err)
	}
	end(t, l)
	l = f.lease(t, f.Other, longLease)
	s := read(t, l)
	if d := s.RetryAt.Sub(retry); d < -time.Second || d > time.Second || s.Attempts != 3 || s.RetryReason != refresh.ReasonRateLimited || s.NeedsReauthorization != "" {
		t.Errorf("noted retry at %v, 3 attempts, rate limited: read %v, %d, %q, needs %q", retry, s.RetryAt, s.Attempts, s.RetryReason, s.NeedsReauthorization)
	}
	wantTokens(t, "after noting retry at", s.Tokens, before)
	if err := l.Note(t.Context(), refresh.Outcome{Kind: refresh.NeedsReauthorization, Reason: refresh.ReasonInvalidGrant, Attempts: 4}); err != nil {
		t.Fatalf("noting needs reauthorization: %v", err)
	}
	end(t, l)
	s = read(t, f.lease(t, f.Place, longLease))
	if s.NeedsReauthorization != refresh.ReasonInvalidGrant || s.Attempts != 4 || !s.RetryAt.IsZero() {
		t.Errorf("noted needs reauthorization, 4 attempts: read %q, %d, retry at %v", s.NeedsReauthorization, s.Attempts, s.RetryAt)
	}
	wantTokens(t, "after noting needs reauthorization", s.Tokens, before)
	wantTokens(t, "stored after notes", f.Stored(t), before)
}

func commitForgets(t *testing.T, f Fixture) {
	l := f.lease(t, f.Place, longLease)
	read(t, l)
	if err := l.Note(t.Context(), refresh.Outcome{Kind: refresh.NeedsReauthorization, Reason: refresh.ReasonInvalidGrant, Attempts: 2}); err != nil {
		t.Fatalf("noting: %v", err)
	}
	end(t, l)
	l = f.lease(t, f.Other, longLease)
	read(t, l)
	commit(t, l, f.successor("b"))
	end(t, l)
	if s := read(t, f.lease(t, f.Place, longLease)); s.NeedsReauthorization != "" || s.Attempts != 0 || !s.RetryAt.IsZero() {
		t.Errorf("after a commit: needs %q, attempts %d, retry at %v, want none", s.NeedsReauthorization, s.Attempts, s.RetryAt)
	}
}

func replaced(t *testing.T, f Fixture) {
	if f.Replace == nil {
		t.Log("this place cannot replace a credential while it is leased")
		return
	}
	l := f.lease(t, f.Place, longLease)
	before := read(t, l)
	want := f.successor("reconnected")
	f.Replace(t, want)
	late := f.successor("b")
	wantError(t, "a Commit over another credential", l.Commit(t.Context(), late, rotated(late)), refresh.ErrLeaseLost)
	wantTokens(t, "stored", f.Stored(t), want)
	end(t, l)
	after := read(t, f.takeOver(t))
	wantTokens(t, "read", after.Tokens, want)
	if after.Version == before.Version {
		t.Errorf("version after a replacement: still %d", after.Version)
	}
}

func deleted(t *testing.T, f Fixture) {
	if f.Delete == nil {
		t.Log("this place cannot delete a credential while it is leased")
		return
	}
	l := f.lease(t, f.Place, longLease)
	read(t, l)
	f.Delete(t)
	late := f.successor("b")
	wantError(t, "a Commit after the deletion", l.Commit(t.Context(), late, rotated(late)), refresh.ErrGone, refresh.ErrLeaseLost)
	_, err := l.Read(t.Context())
	wantError(t, "a Read after the deletion", err, refresh.ErrGone, refresh.ErrLeaseLost)
	end(t, l)
	_, err = f.Other.Lease(t.Context(), longLease)
	wantError(t, "a lease after the deletion", err, refresh.ErrGone)
}

func endedContext(t *testing.T, f Fixture) {
	before := f.Stored(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := f.Place.Lease(ctx, longLease); err == nil {
		t.Error("a lease with a context that has ended: got it, want an error")
	}
	l := f.lease(t, f.Place, longLease)
	read(t, l)
	late := f.successor("b")
	if err := l.Commit(ctx, late, rotated(late)); err == nil {
		t.Error("a Commit with a context that has ended: got no error")
	} else if errors.Is(err, refresh.ErrLeaseLost) || errors.Is(err, refresh.ErrGone) {
		t.Errorf("a Commit with a context that has ended: got %v, which says that tokens are out of date", err)
	}
	wantTokens(t, "stored", f.Stored(t), before)
	commit(t, l, late)
	wantTokens(t, "stored by the next attempt", f.Stored(t), late)
}

// single is a provider that grants each refresh token once.
type single struct {
	mu   sync.Mutex
	used map[refresh.Secret]int
	to   refresh.Tokens
}

func (s *single) Refresh(_ context.Context, _ refresh.Provider, token refresh.Secret, _ []string) (refresh.Tokens, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.used[token]++; s.used[token] > 1 {
		return refresh.Tokens{}, &refresh.Refusal{Reason: refresh.ReasonInvalidGrant, Permanent: true}
	}
	return s.to, nil
}

func enginesOnce(t *testing.T, f Fixture) {
	provider := &single{used: map[refresh.Secret]int{}, to: f.successor("b")}
	deps := refresh.Deps{Client: provider, Now: f.Now}
	one, two := refresh.New(deps), refresh.New(deps)
	var wg sync.WaitGroup
	for i := range 40 {
		engine, place := one, f.Place
		if i%2 == 1 {
			engine, place = two, f.Other
		}
		wg.Go(func() {
			o, err := engine.Ensure(t.Context(), "the credential", place, refresh.Options{})
			if err != nil || o.Kind != refresh.Rotated && o.Kind != refresh.StillValid {
				t.Errorf("ensuring: got %v %v (%v), want rotated or still valid", o.Kind, o.Reason, err)
			}
		})
	}
	wg.Wait()
	if n := provider.used[Initial(time.Time{}).RefreshToken]; n != 1 || len(provider.used) != 1 {
		t.Errorf("%d calls with the first refresh token, %d refresh tokens used, want 1 and 1", n, len(provider.used))
	}
	wantTokens(t, "stored", f.Stored(t), provider.to)
}
