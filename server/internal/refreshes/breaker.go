package refreshes

import "time"

// BreakerState is how much a webhook is called: a closed set.
type BreakerState string

// The states. A breaker is open after so many calls in a row without an answer; when its
// time is over, one refresh tries the webhook (half open), which closes it or opens it for longer.
const (
	BreakerClosed   BreakerState = "closed"
	BreakerOpen     BreakerState = "open"
	BreakerHalfOpen BreakerState = "half_open"
)

// BreakerStates lists the closed set.
func BreakerStates() []BreakerState {
	return []BreakerState{BreakerClosed, BreakerOpen, BreakerHalfOpen}
}

// A breaker keeps refreshes from a webhook that is down. Its lane's lock guards it.
type breaker struct {
	state    BreakerState
	failures int       // in a row
	opened   int       // how often in a row
	until    time.Time // open: when to try
}

// pass says whether a refresh may call the webhook, and whether it is the one that
// tries it. One that is must end with settle.
func (b *breaker) pass(now time.Time) (ok, trial bool) {
	switch {
	case b.state == BreakerOpen && !now.Before(b.until):
		b.state = BreakerHalfOpen
		return true, true
	case b.state == BreakerOpen, b.state == BreakerHalfOpen:
		return false, false
	}
	return true, false
}

// settle ends a trial that has called nobody: the next one tries.
func (b *breaker) settle(now time.Time) {
	if b.state == BreakerHalfOpen {
		b.state, b.until = BreakerOpen, now
	}
}

// answered closes it.
func (b *breaker) answered() { *b = breaker{state: BreakerClosed} }

// failed counts a call that nobody answered.
func (b *breaker) failed(now time.Time, l Limits, jitter float64) {
	b.failures++
	if b.state == BreakerOpen || b.state == BreakerClosed && b.failures < l.Failures {
		return // of a call that began before it opened: it opens once
	}
	wait := l.LongWait
	if b.opened < 16 {
		wait = min(wait, l.FirstWait<<b.opened)
	}
	b.opened++
	b.state, b.until = BreakerOpen, now.Add(vary(wait, 0.2, jitter))
}

// vary moves d by at most ±share.
func vary(d time.Duration, share, jitter float64) time.Duration {
	return time.Duration(float64(d) * (1 - share + 2*share*jitter))
}
