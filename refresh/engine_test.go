package refresh_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tvzero/tokenvault/refresh"
	"github.com/tvzero/tokenvault/refresh/refreshtest"
)

func TestAnExpiredTokenIsRotatedAndAFreshOneIsNot(t *testing.T) {
	inWorld(t, func(w *world) {
		e := w.engine(nil)
		got := w.ensure(e, w.view(), refresh.Options{})
		w.wantOutcome(got, refresh.Rotated, "")
		if want := time.Now().Add(time.Hour); !got.At.Equal(want) || got.Attempts != 0 || got.ScopesChanged {
			t.Errorf("got expiry %v, attempts %d, scopes changed %t; want %v, 0, false", got.At, got.Attempts, got.ScopesChanged, want)
		}
		w.wantAlive()
		w.wantOutcome(w.ensure(e, w.view(), refresh.Options{}), refresh.StillValid, "")
		w.wantCalls(1)
		if n := len(w.memory.Outcomes()); n != 1 {
			t.Errorf("%d outcomes stored, want the rotation alone", n)
		}
	})
}

func TestManyReadersOfManyProcessesCauseOneCall(t *testing.T) {
	inWorld(t, func(w *world) {
		slow := refresherFunc(func(token refresh.Secret) (refresh.Tokens, error) {
			time.Sleep(3 * time.Second)
			return w.refresh(token)
		})
		engines := []*refresh.Engine{w.engine(slow), w.engine(slow), w.engine(slow)}
		var wg sync.WaitGroup
		for i := range 300 {
			wg.Go(func() {
				got := w.ensure(engines[i%3], w.view(), refresh.Options{})
				if got.Kind != refresh.Rotated && got.Kind != refresh.StillValid || !got.At.After(time.Now()) {
					t.Errorf("reader %d: got %s until %v, want a fresh token", i, got.Kind, got.At)
				}
			})
		}
		wg.Wait()
		w.wantCalls(1)
		w.wantAlive()
		flights := engines[0].Stats().Flights + engines[1].Stats().Flights + engines[2].Stats().Flights
		if flights != 3 {
			t.Errorf("%d flights, want one a process", flights)
		}
	})
}

func TestACallerThatLeavesCancelsNothing(t *testing.T) {
	inWorld(t, func(w *world) {
		e := w.engine(refresherFunc(func(token refresh.Secret) (refresh.Tokens, error) {
			time.Sleep(3 * time.Second)
			return w.refresh(token)
		}))
		impatient, cancel := context.WithTimeout(w.t.Context(), time.Second)
		defer cancel()
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := e.Ensure(impatient, "k", w.view(), refresh.Options{}); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("the caller that left: got %v, want its own deadline", err)
			}
		})
		synctest.Wait()
		wg.Go(func() { w.wantOutcome(w.ensure(e, w.view(), refresh.Options{}), refresh.Rotated, "") })
		wg.Wait()
		w.wantCalls(1)
		w.wantAlive()
		if _, err := e.Ensure(impatient, "k", w.view(), refresh.Options{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a caller whose context has ended before: got %v, want its deadline", err)
		}
	})
}

func TestTheLeaseOfAProcessThatDiedIsWaitedFor(t *testing.T) {
	inWorld(t, func(w *world) {
		if _, err := w.view().Lease(w.t.Context(), 20*time.Second); err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		w.wantOutcome(w.ensure(w.engine(nil), w.view(), refresh.Options{}), refresh.Rotated, "")
		if took := time.Since(begun); took < 20*time.Second || took > 21*time.Second {
			t.Errorf("took %v, want a little over the 20 s of the lease", took)
		}
	})
}

func TestALeaseThatIsNeverFreeEndsInRetryAt(t *testing.T) {
	inWorld(t, func(w *world) {
		v := w.view()
		v.Intercept = func(op refreshtest.Op, _ bool) error {
			if op == refreshtest.OpLease {
				return &refresh.BusyError{Until: time.Now().Add(time.Minute)}
			}
			return nil
		}
		got := w.ensure(w.engine(nil), v, refresh.Options{})
		w.wantOutcome(got, refresh.RetryAt, refresh.ReasonBusy)
		if !got.At.After(time.Now()) || len(w.memory.Outcomes()) != 0 {
			t.Errorf("retry at %v (now %v), %d outcomes stored; want later and none", got.At, time.Now(), len(w.memory.Outcomes()))
		}
		w.wantCalls(0)
	})
}

func TestWhatAWrongClockSetStopsNobodyWhenItIsRight(t *testing.T) {
	for name, o := range map[string]refresh.Options{"on read": {}, "scheduled": {Scheduled: true}} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				s := w.memory.State()
				s.Attempts, s.RetryAt, s.RetryReason = 1, time.Now().Add(28*time.Hour), refresh.ReasonProviderError
				w.memory = refreshtest.NewMemory(time.Now, s)
				w.wantOutcome(w.ensure(w.engine(nil), w.view(), o), refresh.Rotated, "")
				w.wantCalls(1)
				// Dated by that clock, tokens seem good for long.
				s = w.memory.State()
				s.IssuedAt, s.Tokens.ExpiresAt = time.Now().Add(2*time.Hour), time.Now().Add(3*time.Hour)
				w.memory = refreshtest.NewMemory(time.Now, s)
				w.wantOutcome(w.ensure(w.engine(nil), w.view(), o), refresh.Rotated, "")
				w.wantOutcome(w.ensure(w.engine(nil), w.view(), o), refresh.StillValid, "")
				w.wantCalls(2)
				w.wantAlive()
				// What a provider may wish for stands.
				s = w.memory.State()
				s.Tokens.ExpiresAt, s.Attempts, s.RetryAt, s.RetryReason = time.Now(), 1, time.Now().Add(26*time.Hour), refresh.ReasonRateLimited
				w.memory = refreshtest.NewMemory(time.Now, s)
				w.wantOutcome(w.ensure(w.engine(nil), w.view(), o), refresh.RetryAt, refresh.ReasonRateLimited)
				w.wantCalls(2)
			})
		})
	}
}

func TestARevokedGrantNeedsReauthorizationAndIsNotTriedAgain(t *testing.T) {
	inWorld(t, func(w *world) {
		w.grants.Revoke(w.first.RefreshToken)
		e := w.engine(nil)
		for range 3 {
			got := w.ensure(e, w.view(), refresh.Options{})
			w.wantOutcome(got, refresh.NeedsReauthorization, refresh.ReasonInvalidGrant)
			if got.Attempts != 1 || !got.At.IsZero() {
				t.Errorf("attempts %d, at %v, want 1 and never", got.Attempts, got.At)
			}
		}
		w.wantCalls(1)
		w.wantUntouched()
		w.ensure(e, w.view(), refresh.Options{Force: true})
		w.wantCalls(2)
	})
}

func TestARefusalOfATokenThatWasReplacedMeanwhileDoesNotCount(t *testing.T) {
	for name, c := range map[string]struct {
		expired bool
		want    refresh.Kind
		calls   int
	}{
		"the new one is fresh":   {false, refresh.StillValid, 1},
		"the new one is expired": {true, refresh.Rotated, 2},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.grants.Revoke(w.first.RefreshToken)
				e := w.engine(refresherFunc(func(token refresh.Secret) (refresh.Tokens, error) {
					if token == w.first.RefreshToken {
						again := w.grants.Issue("repo")
						if c.expired {
							again.ExpiresAt = time.Now().Add(-time.Second)
						}
						w.memory.Replace(again)
					}
					return w.refresh(token)
				}))
				w.wantOutcome(w.ensure(e, w.view(), refresh.Options{}), c.want, "")
				w.wantCalls(c.calls)
				w.wantAlive()
				for _, o := range w.memory.Outcomes() {
					if o.Kind == refresh.NeedsReauthorization {
						t.Error("needs reauthorization was stored over the new credential")
					}
				}
			})
		})
	}
}

func TestARefusalThatCannotBeVerifiedIsTransient(t *testing.T) {
	inWorld(t, func(w *world) {
		w.grants.Revoke(w.first.RefreshToken)
		v, reads := w.view(), 0
		v.Intercept = func(op refreshtest.Op, after bool) error {
			if op == refreshtest.OpRead && !after {
				if reads++; reads == 2 {
					return errStorage
				}
			}
			return nil
		}
		w.wantOutcome(w.ensure(w.engine(nil), v, refresh.Options{}), refresh.RetryAt, refresh.ReasonInvalidGrant)
		w.wantUntouched()
	})
}

func TestEveryTransientRefusalIsTriedAgainAndChangesNothing(t *testing.T) {
	t.Parallel()
	for _, reason := range refresh.Reasons() {
		if reason.Permanent() {
			continue
		}
		t.Run(string(reason), func(t *testing.T) {
			inWorld(t, func(w *world) {
				down, calls := true, 0
				e := w.engine(refresherFunc(func(token refresh.Secret) (refresh.Tokens, error) {
					calls++
					if down {
						return refresh.Tokens{}, &refresh.Refusal{Reason: reason, RetryAfter: 7 * time.Minute}
					}
					return w.refresh(token)
				}))
				floor := 7 * time.Minute
				if reason.ForOperator() {
					floor = 30 * time.Minute
				}
				for attempt := 1; attempt <= 3; attempt++ {
					got := w.ensure(e, w.view(), refresh.Options{})
					w.wantOutcome(got, refresh.RetryAt, reason)
					if wait := time.Until(got.At); wait < floor || wait > floor+floor/10 || got.Attempts != attempt {
						t.Errorf("attempt %d: try again in %v (attempts %d), want about %v", attempt, wait, got.Attempts, floor)
					}
					again := w.ensure(e, w.view(), refresh.Options{})
					if !again.At.Equal(got.At) || again.Reason != reason || again.Attempts != attempt || calls != attempt {
						t.Errorf("asked before its time: got %s %v, %d calls; want the same as before and no call", again.Reason, again.At, calls)
					}
					w.wantUntouched()
					w.sleep(time.Until(got.At))
				}
				down = false
				w.wantOutcome(w.ensure(e, w.view(), refresh.Options{}), refresh.Rotated, "")
				w.wantAlive()
				if s := w.memory.State(); s.Attempts != 0 || !s.RetryAt.IsZero() {
					t.Errorf("after it worked: attempts %d, retry at %v", s.Attempts, s.RetryAt)
				}
			})
		})
	}
}

func TestWithoutARefreshTokenTheOwnerIsAskedWhenTheTokenHasExpired(t *testing.T) {
	inWorld(t, func(w *world) {
		bare := w.first
		bare.RefreshToken, bare.ExpiresAt = "", time.Now().Add(time.Minute)
		w.memory.Replace(bare)
		e := w.engine(nil)
		time.Sleep(55 * time.Second)
		w.wantOutcome(w.ensure(e, w.view(), refresh.Options{}), refresh.StillValid, "")
		time.Sleep(5 * time.Second)
		w.wantOutcome(w.ensure(e, w.view(), refresh.Options{}), refresh.NeedsReauthorization, refresh.ReasonNoRefreshToken)
		if w.memory.State().Tokens.AccessToken != bare.AccessToken {
			t.Error("the access token has changed")
		}
		w.wantCalls(0)
	})
}

func TestAScheduledRefreshComesEarlierAndIsToldWhenNothingIsDue(t *testing.T) {
	inWorld(t, func(w *world) {
		again := w.grants.Issue()
		w.memory.Replace(again)
		e := w.engine(nil)
		w.wantOutcome(w.ensure(e, w.view(), refresh.Options{Scheduled: true}), refresh.StillValid, "")
		if got := w.memory.Outcomes(); len(got) != 1 || got[0].Kind != refresh.StillValid || !got[0].At.Equal(again.ExpiresAt) {
			t.Errorf("stored outcomes: %v, want still valid until %v", got, again.ExpiresAt)
		}
		time.Sleep(time.Until(refresh.DueAt(time.Now(), again.ExpiresAt, 1)))
		w.wantOutcome(w.ensure(e, w.view(), refresh.Options{}), refresh.StillValid, "")
		w.wantOutcome(w.ensure(e, w.view(), refresh.Options{Scheduled: true}), refresh.Rotated, "")
		w.wantOutcome(w.ensure(e, w.view(), refresh.Options{Scheduled: true}), refresh.StillValid, "")
		w.wantCalls(1)
	})
}

func TestAScheduledRefreshForgetsNoStandingOutcome(t *testing.T) {
	inWorld(t, func(w *world) {
		e := w.engine(refresherFunc(func(refresh.Secret) (refresh.Tokens, error) {
			return refresh.Tokens{}, &refresh.Refusal{Reason: refresh.ReasonInvalidGrant, Permanent: true}
		}))
		fresh := w.grants.Issue()
		w.memory.Replace(fresh)
		w.wantOutcome(w.ensure(e, w.view(), refresh.Options{Force: true}), refresh.NeedsReauthorization, refresh.ReasonInvalidGrant)
		w.wantOutcome(w.ensure(e, w.view(), refresh.Options{}), refresh.StillValid, "") // the access token is, for now
		w.wantOutcome(w.ensure(e, w.view(), refresh.Options{Scheduled: true}), refresh.NeedsReauthorization, refresh.ReasonInvalidGrant)
		if got := w.memory.State().NeedsReauthorization; got != refresh.ReasonInvalidGrant {
			t.Errorf("stored: needs %q, want invalid_grant", got)
		}
	})
}

func TestForceWaitsForARetryThatWasSetForTheProvidersSake(t *testing.T) {
	for _, reason := range refresh.Reasons() {
		if reason.Permanent() || reason == refresh.ReasonBusy || reason == refresh.ReasonNotStored {
			continue // no refusals, or no retries
		}
		t.Run(string(reason), func(t *testing.T) {
			inWorld(t, func(w *world) {
				calls := 0
				e := w.engine(refresherFunc(func(refresh.Secret) (refresh.Tokens, error) {
					calls++
					return refresh.Tokens{}, &refresh.Refusal{Reason: reason, RetryAfter: 10 * time.Minute}
				}))
				w.ensure(e, w.view(), refresh.Options{})
				again := 1
				if reason.ForOperator() {
					again = 2 // who has repaired it wants to see that
				}
				got := w.ensure(e, w.view(), refresh.Options{Force: true})
				w.wantOutcome(got, refresh.RetryAt, reason)
				if calls != again {
					t.Errorf("%d calls before the retry, want %d", calls, again)
				}
				w.sleep(time.Until(got.At))
				w.ensure(e, w.view(), refresh.Options{Force: true})
				if calls != again+1 {
					t.Errorf("%d calls at the retry, want %d", calls, again+1)
				}
			})
		})
	}
}

func TestForceRefreshesAFreshTokenOnceForAllWhoWait(t *testing.T) {
	inWorld(t, func(w *world) {
		w.memory.Replace(w.grants.Issue())
		slow := refresherFunc(func(token refresh.Secret) (refresh.Tokens, error) {
			time.Sleep(2 * time.Second)
			return w.refresh(token)
		})
		time.Sleep(time.Minute)
		var wg sync.WaitGroup
		for _, e := range []*refresh.Engine{w.engine(slow), w.engine(slow)} {
			for range 10 {
				wg.Go(func() {
					if got := w.ensure(e, w.view(), refresh.Options{Force: true}); got.Kind != refresh.Rotated && got.Kind != refresh.StillValid {
						t.Errorf("got %s %q", got.Kind, got.Reason)
					}
				})
			}
		}
		wg.Wait()
		w.wantCalls(1)
		w.wantAlive()
	})
}

func TestAForcedCallerIsNotContentWithAFlightThatFoundNothingToDo(t *testing.T) {
	inWorld(t, func(w *world) {
		w.memory.Replace(w.grants.Issue())
		v := w.view()
		v.Intercept = func(op refreshtest.Op, after bool) error {
			if op == refreshtest.OpRead && !after {
				time.Sleep(time.Second)
			}
			return nil
		}
		e := w.engine(nil)
		var wg sync.WaitGroup
		wg.Go(func() { w.wantOutcome(w.ensure(e, v, refresh.Options{}), refresh.StillValid, "") })
		synctest.Wait()
		wg.Go(func() { w.wantOutcome(w.ensure(e, v, refresh.Options{Force: true}), refresh.Rotated, "") })
		wg.Wait()
		w.wantCalls(1)
	})
}

func TestWhatAnAnswerLeavesOutStaysAndChangedScopesAreSaid(t *testing.T) {
	inWorld(t, func(w *world) {
		answer := refresh.Tokens{AccessToken: "new-canary", TokenType: "Bearer", ExpiresAt: time.Now().Add(time.Minute)}
		e := w.engine(refresherFunc(func(refresh.Secret) (refresh.Tokens, error) { return answer, nil }))
		if got := w.ensure(e, w.view(), refresh.Options{}); got.ScopesChanged {
			t.Error("scopes that the answer leaves out count as changed")
		}
		s := w.memory.State().Tokens
		if s.AccessToken != "new-canary" || s.RefreshToken != w.first.RefreshToken || !slices.Equal(s.Scopes, w.first.Scopes) {
			t.Errorf("stored %q, refresh token kept %t, scopes %q", string(s.AccessToken), s.RefreshToken == w.first.RefreshToken, s.Scopes)
		}
		answer.Scopes = []string{"gist", "repo"}
		if got := w.ensure(e, w.view(), refresh.Options{Force: true}); got.ScopesChanged {
			t.Error("the same scopes in another order count as changed")
		}
		answer.Scopes = []string{"repo"}
		if got := w.ensure(e, w.view(), refresh.Options{Force: true}); !got.ScopesChanged || !slices.Equal(w.memory.State().Tokens.Scopes, answer.Scopes) {
			t.Errorf("fewer scopes: changed %t, stored %q", got.ScopesChanged, w.memory.State().Tokens.Scopes)
		}
	})
}

func TestErrorsOfThePlaceComeBackAndPanicsStayInTheirFlight(t *testing.T) {
	inWorld(t, func(w *world) {
		e, v := w.engine(nil), w.view()
		for _, op := range []refreshtest.Op{refreshtest.OpLease, refreshtest.OpRead} {
			once := 1
			v.Intercept = failing(op, false, &once)
			if _, err := e.Ensure(w.t.Context(), "k", v, refresh.Options{}); !errors.Is(err, errStorage) {
				t.Errorf("failing %s: got %v, want the place's error", op, err)
			}
		}
		v.Intercept = func(refreshtest.Op, bool) error { panic("a value with a canary in it") }
		if _, err := e.Ensure(w.t.Context(), "k", v, refresh.Options{}); err == nil || strings.Contains(err.Error(), "canary") {
			t.Errorf("a panic: got %v, want an error without its value", err)
		}
		if n := e.Stats().Panicked; n != 1 {
			t.Errorf("counted %d panics, want 1", n)
		}
		v.Intercept = nil
		w.memory.Delete()
		if _, err := e.Ensure(w.t.Context(), "k", v, refresh.Options{}); !errors.Is(err, refresh.ErrGone) {
			t.Errorf("a deleted credential: got %v, want ErrGone", err)
		}
		w.wantCalls(0)
	})
}

func TestFlightsAreBoundedAndWaitedFor(t *testing.T) {
	inWorld(t, func(w *world) {
		running, most := 0, 0
		var mu sync.Mutex
		e := refresh.New(refresh.Deps{MaxFlights: 3, Client: refresherFunc(func(refresh.Secret) (refresh.Tokens, error) {
			mu.Lock()
			running++
			most = max(most, running)
			mu.Unlock()
			time.Sleep(time.Second)
			mu.Lock()
			running--
			mu.Unlock()
			return refresh.Tokens{}, &refresh.Refusal{Reason: refresh.ReasonProviderError}
		})})
		var wg sync.WaitGroup
		for i := range 10 {
			wg.Go(func() {
				m := refreshtest.NewMemory(time.Now, refresh.State{Tokens: w.first})
				if got, err := e.Ensure(w.t.Context(), string(rune('a'+i)), &refreshtest.View{Memory: m}, refresh.Options{}); err != nil || got.Kind != refresh.RetryAt {
					t.Errorf("got %s (%v)", got.Kind, err)
				}
			})
		}
		synctest.Wait()
		short, cancel := context.WithTimeout(w.t.Context(), time.Millisecond)
		defer cancel()
		if err := e.Wait(short); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("waiting for a millisecond while flights run: got %v, want its deadline", err)
		}
		if _, err := e.Ensure(short, "one more", w.view(), refresh.Options{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a caller that finds no room in time: got %v, want its deadline", err)
		}
		wg.Wait()
		if err := e.Wait(w.t.Context()); err != nil || running != 0 {
			t.Errorf("waited: %v, %d still running", err, running)
		}
		if most != 3 {
			t.Errorf("%d flights at a time, want 3", most)
		}
	})
}

func TestNoCallIsMadeUnderALeaseThatMayEndDuringIt(t *testing.T) {
	inWorld(t, func(w *world) {
		v, slow := w.view(), 2
		v.Intercept = func(op refreshtest.Op, after bool) error {
			if op == refreshtest.OpRead && after && slow > 0 {
				slow--
				time.Sleep(11 * time.Second)
			}
			return nil
		}
		var called time.Time
		e := w.engine(refresherFunc(func(token refresh.Secret) (refresh.Tokens, error) {
			called = time.Now()
			return w.refresh(token)
		}))
		begun := time.Now()
		w.wantOutcome(w.ensure(e, v, refresh.Options{}), refresh.Rotated, "")
		if got := called.Sub(begun); got != 22*time.Second {
			t.Errorf("called after %v, want 22 s: under a third lease", got)
		}
	})
}
