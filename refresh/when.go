package refresh

import (
	"math"
	"time"
)

// When a refresh is due.
const (
	readLead        = 5 * time.Minute // on read: at most this long before expiry,
	readShare       = 0.10            // and at most this share of the lifetime
	scheduledLead   = time.Hour       // scheduled: at most this long before expiry,
	scheduledShare  = 0.25            // and at most this share of the lifetime,
	scheduledJitter = 0.10            // give or take

	// wrongClock is how far ahead of us the clocks of other processes may be. What was issued later than
	// that was dated by a clock that was wrong, and so was its expiry.
	wrongClock = time.Hour
)

// How long to wait after attempts that did not work.
const (
	firstBackoff   = 10 * time.Second
	maxBackoff     = time.Hour
	backoffJitter  = 0.20 // give or take
	operatorFloor  = 30 * time.Minute
	retryAfterMore = 0.10 // past what the provider asked for, at most, so that not all come at once

	// MaxRetryAfter bounds what a provider may ask for.
	MaxRetryAfter = 24 * time.Hour
	// longestWait is above every Backoff.
	longestWait = MaxRetryAfter + MaxRetryAfter/8
)

// DueOnRead reports whether an access token is to be refreshed when it is read: it
// has expired, or will within 5 minutes or 10 % of its lifetime, whichever is less. A zero expires
// never does; with a zero issued, the lifetime is taken for long. What was issued more than an hour from now is due as well: a
// clock was wrong then, and nobody knows when the token expires.
func DueOnRead(issued, expires, now time.Time) bool {
	return !expires.IsZero() && (misdated(issued, now) || !now.Before(expires.Add(-lead(issued, expires, readLead, readShare))))
}

func misdated(issued, now time.Time) bool { return issued.After(now.Add(wrongClock)) }

// DueAt returns when a scheduled refresh is due: 1 hour or 25 % of the lifetime before expiry,
// whichever is less, that lead being varied by ±10 % with jitter in [0,1). A zero expires is never due:
// it returns the zero time. With a zero issued, the lifetime is taken for long.
func DueAt(issued, expires time.Time, jitter float64) time.Time {
	if expires.IsZero() {
		return time.Time{}
	}
	return expires.Add(-vary(lead(issued, expires, scheduledLead, scheduledShare), scheduledJitter, jitter))
}

// dueScheduled reports whether a scheduled refresh may be due, at the earliest that
// any jitter makes it.
func dueScheduled(issued, expires, now time.Time) bool {
	return !expires.IsZero() && (misdated(issued, now) || !now.Before(DueAt(issued, expires, 1)))
}

func lead(issued, expires time.Time, longest time.Duration, share float64) time.Duration {
	lifetime := expires.Sub(issued)
	if issued.IsZero() || lifetime <= 0 {
		return longest
	}
	return min(longest, time.Duration(float64(lifetime)*share))
}

// Backoff returns how long to wait after so many attempts in a row (1 or more) that did not
// work: 10 s doubled with each, at most an hour, ±20 % by jitter in [0,1). It is never less than retryAfter, which
// the provider asked for and which is bounded by MaxRetryAfter.
func Backoff(attempts int, retryAfter time.Duration, jitter float64) time.Duration {
	wait := maxBackoff
	if doublings := max(attempts, 1) - 1; doublings < 16 {
		wait = min(maxBackoff, firstBackoff<<doublings)
	}
	wait = vary(wait, backoffJitter, jitter)
	if retryAfter > 0 {
		retryAfter = min(retryAfter, MaxRetryAfter)
		wait = max(wait, retryAfter+time.Duration(float64(retryAfter)*retryAfterMore*unit(jitter)))
	}
	return wait
}

// vary moves d by at most ±share; jitter 0 is the least, 1 the most.
func vary(d time.Duration, share, jitter float64) time.Duration {
	return time.Duration(float64(d) * (1 - share + 2*share*unit(jitter)))
}

// unit brings a number into [0,1].
func unit(x float64) float64 {
	if math.IsNaN(x) {
		return 0
	}
	return min(max(x, 0), 1)
}
