package audit_test

import (
	"testing"
	"time"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/models/store/storetest"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/fault"
)

func TestASeriesHasAPointForEachBucket(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		r := start(t, s, s, ring(t))
		began := time.Now().Truncate(time.Minute)
		refused, failed, other := event("refused"), event("failed"), event("of another account")
		refused.Type, refused.Outcome, refused.Service = audit.Refusal, fault.NoGrant, "gitlab"
		failed.Type, failed.Outcome = audit.Refresh, fault.RefreshFailed
		other.AccountID = models.NewID()
		// More than eight at once, which PostgreSQL keeps as a block until somebody reads.
		events := []audit.Event{refused, failed, other}
		for range 20 {
			events = append(events, event("released"))
		}
		answers := make([]<-chan error, len(events))
		for i, e := range events {
			answers[i] = r.later(t.Context(), e)
		}
		for _, answer := range answers {
			if err := <-answer; err != nil {
				t.Fatalf("Record: %v", err)
			}
		}
		filter := audit.SeriesFilter{Since: began.Add(-time.Hour), Until: began.Add(90 * time.Minute), Bucket: time.Hour}
		points := series(t, r, filter)
		var sum audit.Point
		for i, p := range points {
			if want := filter.Since.Add(time.Duration(i) * time.Hour); !p.At.Equal(want) {
				t.Errorf("point %d is of %s, want %s", i, p.At, want)
			}
			sum.Releases += p.Releases
			sum.Refusals += p.Refusals
			sum.RefreshFailed += p.RefreshFailed
		}
		if len(points) != 3 || points[0] != (audit.Point{At: points[0].At}) {
			t.Fatalf("got %+v, want three points, and nothing in the first", points)
		}
		if sum.Releases != 20 || sum.Refusals != 1 || sum.RefreshFailed != 1 {
			t.Errorf("got %d releases, %d refusals, %d failed refreshes; want 20, 1, 1", sum.Releases, sum.Refusals, sum.RefreshFailed)
		}
		filter.Service = "gitlab"
		points = series(t, r, filter)
		if got := points[1].Releases + points[2].Releases; got != 0 {
			t.Errorf("got %d releases of a token that has none", got)
		}
	})
}

func TestASeriesIsBounded(t *testing.T) {
	t.Parallel()
	r := start(t, newLedger(), noReader{t}, ring(t))
	now := time.Now()
	for name, f := range map[string]audit.SeriesFilter{
		"too many":  {Since: now, Until: now.Add((audit.MaxPoints + 1) * time.Minute), Bucket: time.Minute},
		"backwards": {Since: now, Until: now.Add(-time.Hour), Bucket: time.Minute},
		"no length": {Since: now, Until: now.Add(time.Hour)},
		"fraction":  {Since: now, Until: now.Add(time.Hour), Bucket: 1500 * time.Millisecond},
	} {
		if points, err := r.Series(t.Context(), account, f); fault.CodeOf(err) != fault.InvalidRequest || points != nil {
			t.Errorf("%s: got %d points and %v, want INVALID_REQUEST", name, len(points), err)
		}
	}
}

func series(t *testing.T, r run, f audit.SeriesFilter) []audit.Point {
	t.Helper()
	points, err := r.Series(t.Context(), account, f)
	if err != nil {
		t.Fatalf("Series(%+v): %v", f, err)
	}
	return points
}
