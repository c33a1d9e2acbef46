package refreshes

import (
	"time"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/refresh"
)

const (
	minPause  = 5 * time.Second  // between two refreshes of a token
	turnPause = time.Second      // until one is claimed again whose turn did not come
	minLook   = 30 * time.Second // until a token is looked at again that its webhook does not find due yet
	look      = 24 * time.Hour   // until something that nobody can do anything about is looked at again
	lookSoon  = 15 * time.Minute // until something that its owner may change at any time is
	longest   = 10 * 365 * 24 * time.Hour
)

// DueOf returns what store.Options.RefreshDue wants: when a token that a webhook
// reported is to be refreshed. random is jitter in [0,1).
func DueOf(now func() time.Time, random func() float64) func(models.Token) time.Time {
	return func(t models.Token) time.Time {
		issued := now()
		if t.IssuedAt != nil {
			issued = *t.IssuedAt
		}
		if t.ExpiresAt == nil {
			return time.Time{} // is not asked for: such a token is not refreshable
		}
		return refresh.DueAt(issued, *t.ExpiresAt, random())
	}
}

// nextDue is when a token is to be looked at after an outcome; nil: never.
func (s *Service) nextDue(o refresh.Outcome, issued time.Time) *time.Time {
	var at time.Time
	switch o.Kind {
	case refresh.Rotated:
		at = refresh.DueAt(s.now(), o.At, s.deps.Random())
	case refresh.StillValid:
		at = refresh.DueAt(issued, o.At, s.deps.Random())
		if now := s.now(); !at.IsZero() && !at.After(now) { // whoever has it sees that otherwise
			at = now.Add(max(minLook, o.At.Sub(now)/4))
		}
	case refresh.RetryAt:
		at = o.At
	}
	if at.IsZero() {
		return nil
	}
	return &at
}

// again is RetryAt after so many attempts; floor is how long to wait at least.
func (s *Service) again(reason refresh.Reason, attempts int, floor time.Duration) refresh.Outcome {
	at := s.now().Add(max(refresh.Backoff(attempts, 0, s.deps.Random()), floor))
	return refresh.Outcome{Kind: refresh.RetryAt, Reason: reason, At: at, Attempts: attempts}
}

// unattended is RetryAt for a token whose client secret nobody has: until it expires,
// at half of what is left, since somebody may store another, and then once a day.
func (s *Service) unattended(expires *time.Time, attempts int) refresh.Outcome {
	wait := look
	if expires != nil {
		if left := expires.Sub(s.now()); left > 0 {
			wait = min(max(left/2, lookSoon), look)
		}
	}
	return refresh.Outcome{Kind: refresh.RetryAt, Reason: ReasonAcknowledged, At: s.now().Add(vary(wait, 0.1, s.deps.Random())), Attempts: attempts}
}

// timeOf reads a time that a webhook gave, within reason: not after ten years.
func (s *Service) timeOf(text string) (time.Time, bool) {
	if len(text) > 40 {
		return time.Time{}, false
	}
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil || at.After(s.now().Add(longest)) || at.Year() < 1970 {
		return time.Time{}, false
	}
	return models.Stamp(at), true
}
