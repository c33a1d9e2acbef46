package audit

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/fault"
)

// MaxPoints is how many buckets a series has at most.
const MaxPoints = 400

// A SeriesFilter says what a series covers: from Since until Until, in steps of Bucket, which is
// whole seconds. Zero Service and AgentID are all.
type SeriesFilter struct {
	Service      string
	AgentID      uuid.UUID
	Since, Until time.Time
	Bucket       time.Duration
}

// A Point is what a bucket has. A release that failed after it was decided counts as a
// refusal as well: both are on record.
type Point struct {
	At            time.Time // when the bucket begins
	Releases      int64
	Refusals      int64
	Refreshed     int64 // refreshes that brought new tokens
	RefreshFailed int64 // that will be tried again
	Reauthorize   int64 // that failed for good: the account has to be connected again
}

// Series counts an account's events over time, with a point for each bucket, also those
// without events. What Record returned for is counted. INVALID_REQUEST: more than
// MaxPoints buckets, or none.
func (s *Service) Series(ctx context.Context, accountID uuid.UUID, f SeriesFilter) ([]Point, error) {
	if f.Bucket < time.Second || f.Bucket%time.Second != 0 {
		return nil, fault.Field("bucket", "The length of a step must be whole seconds.")
	}
	since := models.Stamp(f.Since.Truncate(time.Second))
	length := f.Until.Sub(since)
	if length <= 0 || length > MaxPoints*f.Bucket {
		return nil, fault.Field("until", "The time must be after since, and at most %d steps from it.", MaxPoints)
	}
	query := models.AuditSeries{ServiceName: f.Service, Since: since, Until: f.Until, Bucket: f.Bucket}
	if f.AgentID != uuid.Nil {
		query.AgentID = &f.AgentID
	}
	counts, err := s.deps.Reader.AuditSeries(ctx, accountID, query)
	if err != nil {
		return nil, err
	}
	points := make([]Point, (length+f.Bucket-1)/f.Bucket)
	for i := range points {
		points[i].At = since.Add(time.Duration(i) * f.Bucket)
	}
	for _, c := range counts {
		if c.Bucket < 0 || c.Bucket >= int64(len(points)) {
			continue
		}
		p := &points[c.Bucket]
		p.Releases, p.Refusals, p.Refreshed, p.RefreshFailed, p.Reauthorize = c.Releases, c.Refusals, c.Refreshed, c.RefreshFailed, c.Reauthorize
	}
	return points, nil
}
