package health

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
)

// MaxPoints is how many steps a history has at most.
const MaxPoints = 400

// A Filter says what a history covers.
type Filter struct {
	BindingID    uuid.UUID
	Since, Until time.Time
	Step         time.Duration // whole seconds
}

// A Point is what a webhook answered in one step. Latencies are of calls that succeeded,
// with their repetitions; 0: none did.
type Point struct {
	At          time.Time
	Checks      int64
	Failures    int64
	Mean, Worst time.Duration
}

// A Share is how many of the checks of some time succeeded.
type Share struct{ Checks, Failures int64 }

// History tells how a webhook of the account was, with a point for each step, and for
// the last seven days as a whole. INVALID_REQUEST: more than MaxPoints steps, or none.
func (s *Service) History(ctx context.Context, p grants.Principal, f Filter) (points []Point, week Share, err error) {
	if f.Step < time.Second || f.Step%time.Second != 0 {
		return nil, week, fault.Field("step", "The length of a step must be whole seconds.")
	}
	since := f.Since.UTC().Truncate(time.Second)
	length := f.Until.Sub(since)
	if length <= 0 || length > MaxPoints*f.Step {
		return nil, week, fault.Field("until", "The time must be after since, and at most %d steps from it.", MaxPoints)
	}
	counts, err := s.deps.Samples.HealthSeries(ctx, p.AccountID, f.BindingID, since, f.Until, f.Step)
	if err != nil {
		return nil, week, err
	}
	points = make([]Point, (length+f.Step-1)/f.Step)
	for i := range points {
		points[i].At = since.Add(time.Duration(i) * f.Step)
	}
	for _, c := range counts {
		if c.Bucket < 0 || c.Bucket >= int64(len(points)) {
			continue
		}
		point := &points[c.Bucket]
		point.Checks, point.Failures = c.Checks, c.Failures
		if c.MeanMS != nil && c.WorstMS != nil {
			point.Mean, point.Worst = time.Duration(*c.MeanMS*float64(time.Millisecond)), time.Duration(*c.WorstMS)*time.Millisecond
		}
	}
	const sevenDays = 7 * 24 * time.Hour
	now := s.deps.Now().Add(time.Second)
	whole, err := s.deps.Samples.HealthSeries(ctx, p.AccountID, f.BindingID, now.Add(-sevenDays), now, sevenDays)
	for _, c := range whole {
		week.Checks += c.Checks
		week.Failures += c.Failures
	}
	return points, week, err
}
