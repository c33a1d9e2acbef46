package refresh

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// ErrNotNoted is returned beside an outcome that could not be stored: what it says
// is so, but the next caller will not know it.
var ErrNotNoted = errors.New("refresh: the outcome could not be stored")

const (
	maxRounds = 5 // how often a trip begins again because something moved under it
	maxNotes  = 4 // how often an outcome is tried to be stored

	firstWait = 50 * time.Millisecond // for a busy lease, or between commits
	longWait  = time.Second           // at most, for a busy lease
)

// errAgain says that the world has moved on, and that the trip begins again.
var errAgain = errors.New("refresh: begin again")

// A trip is what one flight does, from the first lease to an outcome. Its contexts are its own: no caller's end ends it.
type trip struct {
	*Engine
	key   string
	place Place
	rank  rank
	begun time.Time

	// waited: another held the lease meanwhile, and may have done what this trip was to do.
	waited bool
}

func (t *trip) run() (Outcome, error) {
	for range maxRounds {
		lease, taken, err := t.lease()
		var busy *BusyError
		switch {
		case errors.As(err, &busy):
			return Outcome{Kind: RetryAt, Reason: ReasonBusy, At: busy.Until}, nil
		case err != nil:
			return Outcome{}, err
		}
		o, err := t.under(lease, taken)
		t.end(lease)
		if !errors.Is(err, errAgain) {
			return o, err
		}
	}
	return Outcome{Kind: RetryAt, Reason: ReasonBusy, At: t.deps.Now().Add(t.deps.LeaseTime)}, nil
}

// lease takes the lease, waiting while another has it, for three times as long as a lease may live. It lives from no
// earlier than taken.
func (t *trip) lease() (lease Lease, taken time.Time, err error) {
	limit := t.deps.Now().Add(3 * t.deps.LeaseTime)
	for wait := firstWait; ; wait = min(2*wait, longWait) {
		ctx, cancel := t.context()
		taken = t.deps.Now()
		lease, err = t.place.Lease(ctx, t.deps.LeaseTime)
		cancel()
		var busy *BusyError
		if !errors.As(err, &busy) {
			return lease, taken, err
		}
		now := t.deps.Now()
		if !now.Before(limit) {
			return nil, taken, err
		}
		t.waited = true
		// Not all at once, and not much later than the lease ends.
		pause := vary(wait, 0.5, t.deps.Random())
		if left := busy.Until.Sub(now); left > 0 {
			pause = min(pause, left+firstWait)
		}
		t.pause(pause)
	}
}

// under does what is to be done with the lease in hand.
func (t *trip) under(lease Lease, taken time.Time) (Outcome, error) {
	state, err := t.read(lease)
	if err != nil {
		return Outcome{}, err
	}
	for range maxRounds {
		now := t.deps.Now()
		if o, settled, isNew := t.settled(state, now); settled {
			if isNew || t.rank == scheduled { // what was scheduled wants to hear when it is due next
				return t.note(lease, o)
			}
			return o, nil
		}
		// A call that outlives the lease could meet another's.
		if now.Sub(taken) > t.deps.LeaseTime/3 {
			return Outcome{}, errAgain
		}
		tokens, err := t.call(state)
		if err == nil {
			return t.commit(lease, state, tokens)
		}
		refusal := asRefusal(err)
		if !refusal.Permanent {
			return t.note(lease, t.later(state, refusal))
		}
		// Another may have used the refresh token, and stored its successor: then this refusal is about the past.
		second, err := t.read(lease)
		switch {
		case errors.Is(err, errAgain), errors.Is(err, ErrGone):
			return Outcome{}, err
		case err != nil:
			return t.note(lease, t.later(state, refusal))
		case second.Version == state.Version && second.Tokens.RefreshToken.Equal(state.Tokens.RefreshToken):
			return t.note(lease, Outcome{Kind: NeedsReauthorization, Reason: refusal.Reason, Attempts: state.Attempts + 1})
		}
		state = second
		t.relax()
	}
	return Outcome{}, errAgain
}

// relax takes force away, once somebody has refreshed.
func (t *trip) relax() {
	if t.rank == forced {
		t.rank = onRead
	}
}

// settled says whether the state answers without a call. isNew: nobody has stored that answer before.
func (t *trip) settled(s State, now time.Time) (o Outcome, settled, isNew bool) {
	valid := Outcome{Kind: StillValid, At: s.Tokens.ExpiresAt}
	before, ended := s.ended(now)
	due, expired := t.due(s, now)
	switch {
	case ended && t.rank == scheduled:
		return before, true, false // not valid: that would be stored over it
	case !due:
		return valid, true, false
	case ended && (t.rank != forced || before.Reason.Holds()):
		return before, true, false
	case s.Tokens.RefreshToken == "" && t.rank == onRead && !expired:
		return valid, true, false
	case s.Tokens.RefreshToken == "":
		return Outcome{Kind: NeedsReauthorization, Reason: ReasonNoRefreshToken, Attempts: s.Attempts + 1}, true, true
	}
	return Outcome{}, false, false
}

// ended returns the last outcome if it still stands.
func (s State) ended(now time.Time) (Outcome, bool) {
	switch {
	case s.NeedsReauthorization != "":
		return Outcome{Kind: NeedsReauthorization, Reason: s.NeedsReauthorization, Attempts: s.Attempts}, true
	case s.RetryAt.After(now) && !s.RetryAt.After(now.Add(longestWait)): // later than that, a clock was wrong when it was set
		return Outcome{Kind: RetryAt, Reason: s.RetryReason, At: s.RetryAt, Attempts: s.Attempts}, true
	}
	return Outcome{}, false
}

func (t *trip) due(s State, now time.Time) (due, expired bool) {
	expires := s.Tokens.ExpiresAt
	expired = !expires.IsZero() && !now.Before(expires)
	switch t.rank {
	case scheduled:
		return dueScheduled(s.IssuedAt, expires, now), expired
	case forced:
		// Whoever held the lease while this trip waited did as it was to do.
		return !t.waited || s.IssuedAt.Before(t.begun), expired
	}
	return DueOnRead(s.IssuedAt, expires, now), expired
}

// later is the outcome of an attempt that is worth another.
func (t *trip) later(s State, r *Refusal) Outcome {
	attempts, floor := s.Attempts+1, r.RetryAfter
	if r.Reason.ForOperator() {
		floor = max(floor, operatorFloor)
	}
	wait := Backoff(attempts, floor, t.deps.Random())
	return Outcome{Kind: RetryAt, Reason: r.Reason, At: t.deps.Now().Add(wait), Attempts: attempts}
}

func asRefusal(err error) *Refusal {
	var r *Refusal
	if errors.As(err, &r) {
		return r
	}
	return refuse(ReasonProviderError, 0, "")
}

func (t *trip) call(s State) (Tokens, error) {
	ctx, cancel := context.WithTimeout(context.Background(), t.deps.LeaseTime/2)
	defer cancel()
	t.counts.calls.Add(1)
	return t.deps.Client.Refresh(ctx, s.Provider, s.Tokens.RefreshToken, nil)
}

// read reads under a lease; a lost one is errAgain.
func (t *trip) read(lease Lease) (State, error) {
	s, err := t.look(lease)
	if errors.Is(err, ErrLeaseLost) {
		return State{}, errAgain
	}
	return s, err
}

func (t *trip) look(lease Lease) (State, error) {
	ctx, cancel := t.context()
	defer cancel()
	return lease.Read(ctx)
}

// note stores an outcome without tokens. A lost lease is errAgain: what was found out may no longer be so.
func (t *trip) note(lease Lease, o Outcome) (Outcome, error) {
	var err error
	for n, wait := 0, firstWait; n < maxNotes; n, wait = n+1, 2*wait {
		if n > 0 {
			t.pause(vary(wait, 0.5, t.deps.Random()))
		}
		ctx, cancel := t.context()
		err = lease.Note(ctx, o)
		cancel()
		switch {
		case err == nil:
			return o, nil
		case errors.Is(err, ErrLeaseLost):
			return Outcome{}, errAgain
		case errors.Is(err, ErrGone):
			return Outcome{}, err
		}
	}
	return o, fmt.Errorf("%w: %w", ErrNotNoted, err)
}

// end gives a lease back; where that fails, it ends by its time.
func (t *trip) end(lease Lease) {
	ctx, cancel := t.context()
	defer cancel()
	if err := lease.End(ctx); err != nil {
		t.deps.Logger.Warn("a refresh lease could not be given back", "key", t.key, "error", describe(err.Error()))
	}
}

// context is for one use of the place.
func (t *trip) context() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), t.deps.LeaseTime/3)
}

func (t *trip) pause(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	<-timer.C
}
