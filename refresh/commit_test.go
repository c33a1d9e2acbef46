package refresh_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/tvzero/tokenvault/refresh"
	"github.com/tvzero/tokenvault/refresh/refreshtest"
)

func TestACommitIsTriedUntilItWorks(t *testing.T) {
	for name, after := range map[string]bool{"without effect": false, "whose answer is lost": true} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				v, left := w.view(), 20
				v.Intercept = failing(refreshtest.OpCommit, after, &left)
				e := w.engine(nil)
				begun := time.Now()
				w.wantOutcome(w.ensure(e, v, refresh.Options{}), refresh.Rotated, "")
				if took := time.Since(begun); took < time.Minute || took > 10*time.Minute {
					t.Errorf("20 failures took %v, want minutes: the storage has to recover", took)
				}
				w.wantCalls(1)
				w.wantAlive()
				if s := e.Stats(); s.CommitRetries != 20 || s.Dropped != 0 {
					t.Errorf("counted %d retries, %d dropped, want 20 and 0", s.CommitRetries, s.Dropped)
				}
			})
		})
	}
}

func TestTokensThatCannotBeStoredAreGivenUpLoudlyAfterTenMinutes(t *testing.T) {
	inWorld(t, func(w *world) {
		v := w.view()
		v.Intercept = func(op refreshtest.Op, _ bool) error {
			if op == refreshtest.OpCommit {
				return errors.New("cannot store " + string(w.memory.State().Tokens.RefreshToken))
			}
			return nil
		}
		e := w.engine(nil)
		begun := time.Now()
		got, err := e.Ensure(w.t.Context(), "k", v, refresh.Options{})
		if !errors.Is(err, refresh.ErrNotCommitted) {
			t.Errorf("got %v, want ErrNotCommitted", err)
		}
		w.wantOutcome(got, refresh.RetryAt, refresh.ReasonNotStored)
		if took := time.Since(begun); took < 10*time.Minute || took > 11*time.Minute {
			t.Errorf("gave up after %v, want 10 minutes", took)
		}
		w.wantCalls(1)
		w.wantUntouched()
		if e.Stats().Dropped != 1 || !strings.Contains(w.log.String(), "level=ERROR") {
			t.Errorf("counted %d dropped, logged %q; want 1 and an error", e.Stats().Dropped, w.log)
		}
		w.log.Reset() // this place breaks the rule that errors hold no secret
	})
}

// whilePaused runs meanwhile between the provider's answer and the commit, when the lease's time is over.
func (w *world) whilePaused(meanwhile func()) *refreshtest.View {
	v, once := w.view(), true
	v.Intercept = func(op refreshtest.Op, after bool) error {
		if op == refreshtest.OpCommit && !after && once {
			once = false
			w.sleep(time.Minute)
			meanwhile()
		}
		return nil
	}
	return v
}

func TestALateCommitWorksWhenNobodyTookTheLease(t *testing.T) {
	inWorld(t, func(w *world) {
		w.wantOutcome(w.ensure(w.engine(nil), w.whilePaused(func() {}), refresh.Options{}), refresh.Rotated, "")
		w.wantAlive()
		w.wantCalls(1)
	})
}

func TestTokensOfALostLeaseAreStoredUnderANewOneWhenNothingNewerIs(t *testing.T) {
	inWorld(t, func(w *world) {
		e := w.engine(nil)
		v := w.whilePaused(func() { // another takes the lease and dies
			if _, err := w.view().Lease(w.t.Context(), 10*time.Second); err != nil {
				t.Error(err)
			}
		})
		w.wantOutcome(w.ensure(e, v, refresh.Options{}), refresh.Rotated, "")
		w.wantAlive()
		w.wantCalls(1)
		if n := e.Stats().Rescued; n != 1 {
			t.Errorf("counted %d rescued, want 1", n)
		}
	})
}

func TestARefusalThatAnotherMetMeanwhileIsSettledByOneMoreCall(t *testing.T) {
	for name, c := range map[string]struct {
		forgiving bool // the provider does not end the family for a used refresh token
		want      refresh.Kind
		reason    refresh.Reason
	}{
		"the family lives": {true, refresh.Rotated, ""},
		"the family ended": {false, refresh.NeedsReauthorization, refresh.ReasonInvalidGrant},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				other := w.engine(refresherFunc(func(token refresh.Secret) (refresh.Tokens, error) {
					if c.forgiving {
						return refresh.Tokens{}, &refresh.Refusal{Reason: refresh.ReasonInvalidGrant, Permanent: true}
					}
					return w.refresh(token)
				}))
				v := w.whilePaused(func() {
					w.wantOutcome(w.ensure(other, w.view(), refresh.Options{}), refresh.NeedsReauthorization, refresh.ReasonInvalidGrant)
				})
				w.wantOutcome(w.ensure(w.engine(nil), v, refresh.Options{}), c.want, c.reason)
				if got := w.memory.State().NeedsReauthorization; got != c.reason {
					t.Errorf("stored: needs %q, want %q", got, c.reason)
				}
				if c.forgiving {
					w.wantAlive()
				}
			})
		})
	}
}

func TestTokensOfALostLeaseOverwriteNothingNewer(t *testing.T) {
	inWorld(t, func(w *world) {
		e := w.engine(nil)
		again := refresh.Tokens{}
		v := w.whilePaused(func() {
			again = w.grants.Issue("repo")
			w.memory.Replace(again)
		})
		got := w.ensure(e, v, refresh.Options{Force: true})
		w.wantOutcome(got, refresh.StillValid, "")
		if s := w.memory.State().Tokens; s.AccessToken != again.AccessToken || s.RefreshToken != again.RefreshToken {
			t.Error("the credential that was connected meanwhile is overwritten")
		}
		w.wantAlive()
		if s := e.Stats(); s.Superseded != 1 || s.Dropped != 0 {
			t.Errorf("counted %d superseded, %d dropped, want 1 and 0", s.Superseded, s.Dropped)
		}
	})
}

func TestOfTwoRefreshesWithALastingRefreshTokenTheLateOneIsNotStored(t *testing.T) {
	inWorld(t, func(w *world) {
		w.grants.KeepRefreshTokens = true
		v := w.whilePaused(func() {
			w.wantOutcome(w.ensure(w.engine(nil), w.view(), refresh.Options{}), refresh.Rotated, "")
		})
		w.wantOutcome(w.ensure(w.engine(nil), v, refresh.Options{}), refresh.StillValid, "")
		w.wantAlive()
		w.wantCalls(2)
	})
}

func TestTokensOfACredentialThatWasDeletedMeanwhileGoNowhere(t *testing.T) {
	inWorld(t, func(w *world) {
		e := w.engine(nil)
		if _, err := e.Ensure(w.t.Context(), "k", w.whilePaused(w.memory.Delete), refresh.Options{}); !errors.Is(err, refresh.ErrGone) {
			t.Errorf("got %v, want ErrGone", err)
		}
		w.wantUntouched()
		if n := e.Stats().Superseded; n != 1 {
			t.Errorf("counted %d superseded, want 1", n)
		}
	})
}

func TestAnOutcomeThatCannotBeStoredIsSaidNevertheless(t *testing.T) {
	inWorld(t, func(w *world) {
		w.grants.Revoke(w.first.RefreshToken)
		v, left := w.view(), 1<<30
		v.Intercept = failing(refreshtest.OpNote, false, &left)
		got, err := w.engine(nil).Ensure(w.t.Context(), "k", v, refresh.Options{})
		if !errors.Is(err, refresh.ErrNotNoted) || !errors.Is(err, errStorage) {
			t.Errorf("got %v, want ErrNotNoted and why", err)
		}
		w.wantOutcome(got, refresh.NeedsReauthorization, refresh.ReasonInvalidGrant)
		left = 2
		w.wantOutcome(w.ensure(w.engine(nil), v, refresh.Options{}), refresh.NeedsReauthorization, refresh.ReasonInvalidGrant)
		if w.memory.State().NeedsReauthorization == "" {
			t.Error("an outcome is not stored though its third attempt works")
		}
	})
}

func TestTokensThatWereStoredAfterAllAreRecognizedUnderANewLease(t *testing.T) {
	inWorld(t, func(w *world) {
		v, once := w.view(), true
		v.Intercept = func(op refreshtest.Op, after bool) error {
			if op != refreshtest.OpCommit || !after || !once {
				return nil
			}
			once = false // it is stored; before we hear of it, the lease's time is over and another has taken it
			w.sleep(time.Minute)
			if _, err := w.view().Lease(w.t.Context(), time.Second); err != nil {
				t.Error(err)
			}
			return errStorage
		}
		e := w.engine(nil)
		w.wantOutcome(w.ensure(e, v, refresh.Options{}), refresh.Rotated, "")
		w.wantAlive()
		w.wantCalls(1)
		if s := e.Stats(); len(w.memory.Commits()) != 1 || s.Rescued != 0 || s.Superseded != 0 {
			t.Errorf("%d commits, %d rescued, %d superseded, want 1, 0, 0", len(w.memory.Commits()), s.Rescued, s.Superseded)
		}
	})
}

func TestTheSearchForANewLeaseGoesOnWhileItFails(t *testing.T) {
	inWorld(t, func(w *world) {
		v := w.whilePaused(func() {
			if _, err := w.view().Lease(w.t.Context(), 200*time.Second); err != nil { // longer than one search takes
				t.Error(err)
			}
		})
		paused, fails := v.Intercept, 3
		v.Intercept = func(op refreshtest.Op, after bool) error {
			if op == refreshtest.OpRead && !after && len(w.memory.Commits()) == 0 && time.Since(w.first.ExpiresAt) > time.Hour+4*time.Minute && fails > 0 {
				fails--
				return errStorage
			}
			return paused(op, after)
		}
		e := w.engine(nil)
		w.wantOutcome(w.ensure(e, v, refresh.Options{}), refresh.Rotated, "")
		w.wantAlive()
		w.wantCalls(1)
		if e.Stats().Rescued != 1 || fails != 0 {
			t.Errorf("counted %d rescued, %d failures left, want 1 and 0", e.Stats().Rescued, fails)
		}
	})
}
