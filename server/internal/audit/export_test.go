package audit

import "context"

// Clip is clip, for its fuzz test.
var Clip = clip

// The limits, for tests.
const (
	MaxPending      = maxPending
	MaxDetail       = maxDetail
	CheckpointEvery = checkpointEvery
	WriteTimeout    = writeTimeout
	ProjectPeriod   = projectPeriod
	MaxUnread       = maxUnread
)

// Wrote counts events as if they had been recorded.
func (s *Service) Wrote(events int64) { s.rows.Add(events) }

// Next visits the stream that is due the longest.
func (v *Verifier) Next(ctx context.Context) (bool, error) { return v.next(ctx) }
