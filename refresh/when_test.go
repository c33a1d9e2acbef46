package refresh_test

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tvzero/tokenvault/refresh"
)

var noon = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

func TestATokenIsDueOnReadShortlyBeforeItExpires(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		lifetime, left time.Duration
		want           bool
	}{
		"a day, 5 minutes and a second left": {24 * time.Hour, 5*time.Minute + time.Second, false},
		"a day, 5 minutes left":              {24 * time.Hour, 5 * time.Minute, true},
		"an hour, 5 minutes left":            {time.Hour, 5 * time.Minute, true},
		"10 minutes, 61 seconds left":        {10 * time.Minute, 61 * time.Second, false},
		"10 minutes, 60 seconds left":        {10 * time.Minute, time.Minute, true},
		"a minute, just issued":              {time.Minute, time.Minute, false},
		"expired":                            {time.Hour, 0, true},
		"long expired":                       {time.Hour, -24 * time.Hour, true},
	} {
		expires := noon.Add(c.left)
		if got := refresh.DueOnRead(expires.Add(-c.lifetime), expires, noon); got != c.want {
			t.Errorf("%s: got %t, want %t", name, got, c.want)
		}
	}
	if refresh.DueOnRead(noon.Add(-time.Hour), time.Time{}, noon) {
		t.Error("a token that does not expire is due")
	}
	if !refresh.DueOnRead(noon.Add(2*time.Hour), noon.Add(3*time.Hour), noon) || refresh.DueOnRead(noon.Add(time.Minute), noon.Add(time.Hour), noon) {
		t.Error("want what a wrong clock dated to be due, and not what one a little ahead did")
	}
	if refresh.DueOnRead(noon.Add(2*time.Hour), time.Time{}, noon) {
		t.Error("a token that does not expire is due, because a wrong clock dated it")
	}
	if !refresh.DueOnRead(time.Time{}, noon.Add(4*time.Minute), noon) || refresh.DueOnRead(time.Time{}, noon.Add(6*time.Minute), noon) {
		t.Error("of a token issued nobody knows when, the last 5 minutes alone are due")
	}
}

func TestAScheduledRefreshComesAnHourOrAQuarterBeforeExpiry(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		lifetime time.Duration
		jitter   float64
		want     time.Duration // before expiry
	}{
		"a day":                {24 * time.Hour, 0.5, time.Hour},
		"a day, late":          {24 * time.Hour, 0, 54 * time.Minute},
		"a day, early":         {24 * time.Hour, 1, 66 * time.Minute},
		"an hour":              {time.Hour, 0.5, 15 * time.Minute},
		"a jitter beyond 1":    {24 * time.Hour, 7, 66 * time.Minute},
		"a jitter that is NaN": {24 * time.Hour, math.NaN(), 54 * time.Minute},
	} {
		if got := noon.Sub(refresh.DueAt(noon.Add(-c.lifetime), noon, c.jitter)); got != c.want {
			t.Errorf("%s: got %v before expiry, want %v", name, got, c.want)
		}
	}
	if got := refresh.DueAt(noon, time.Time{}, 0.5); !got.IsZero() {
		t.Errorf("a token that does not expire is due at %v", got)
	}
}

func TestATokenIsScheduledAfterItIsIssuedAndBeforeAReaderFindsItDue(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		lifetime := time.Duration(rapid.Int64Range(int64(time.Second), int64(10*365*24*time.Hour)).Draw(t, "lifetime"))
		due := refresh.DueAt(noon, noon.Add(lifetime), rapid.Float64Range(0, 1).Draw(t, "jitter"))
		if !due.After(noon) || !due.Before(noon.Add(lifetime)) {
			t.Fatalf("lifetime %v: due %v after it was issued", lifetime, due.Sub(noon))
		}
		if refresh.DueOnRead(noon, noon.Add(lifetime), due) {
			t.Fatalf("lifetime %v: a reader finds it due before the schedule does", lifetime)
		}
	})
}

func TestBackoffDoublesToAnHourAndHonoursTheProvider(t *testing.T) {
	t.Parallel()
	for attempts, want := range map[int]time.Duration{
		-1: 10 * time.Second, 0: 10 * time.Second, 1: 10 * time.Second, 2: 20 * time.Second, 5: 160 * time.Second, 9: 2560 * time.Second,
		10: time.Hour, 64: time.Hour, math.MaxInt: time.Hour,
	} {
		if got := refresh.Backoff(attempts, 0, 0.5); got != want {
			t.Errorf("after %d attempts: got %v, want %v", attempts, got, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		attempts := rapid.IntRange(1, 100).Draw(t, "attempts")
		wish := time.Duration(rapid.Int64Range(-int64(time.Hour), int64(100*time.Hour)).Draw(t, "retry after"))
		got := refresh.Backoff(attempts, wish, rapid.Float64Range(0, 1).Draw(t, "jitter"))
		if least := min(wish, refresh.MaxRetryAfter); got < least || got < 8*time.Second {
			t.Fatalf("got %v, want at least %v and 8 s", got, least)
		}
		if most := refresh.MaxRetryAfter + refresh.MaxRetryAfter/10; got > most || wish <= 0 && got > 72*time.Minute {
			t.Fatalf("got %v with the wish %v", got, wish)
		}
	})
}
