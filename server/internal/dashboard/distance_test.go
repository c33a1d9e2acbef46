package dashboard

import (
	"testing"
	"time"
)

func TestADistanceIsToldInItsLargestWholeUnit(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	for d, want := range map[time.Duration]string{
		0: "in a moment", -time.Second: "just now", 59 * time.Second: "in a moment", time.Minute: "in 1 minute", -119 * time.Second: "1 minute ago",
		-2 * time.Hour: "2 hours ago", 23*time.Hour + 59*time.Minute: "in 23 hours", day: "in 1 day", -29 * day: "29 days ago", 30 * day: "in 1 month", -800 * day: "2 years ago",
	} {
		if got := distance(d); got != want {
			t.Errorf("%v: got %q, want %q", d, got, want)
		}
	}
}
