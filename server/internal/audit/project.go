package audit

import (
	"context"
	"time"
)

// A Projector makes rows of the batches that were written in a shorter form, and
// returns the number of events. Readers of the log see them either way.
type Projector interface {
	ProjectAudit(ctx context.Context) (int64, error)
}

const (
	projectPeriod  = 10 * time.Second
	projectTimeout = 2 * time.Minute
	quietPeriods   = 3       // of little load before housekeeping
	quietRows      = 1000    // written in a period, at most
	maxUnread      = 500_000 // pending events; a reader waits for them: some seconds
)

// A backlog decides when housekeeping is due: in quiet times, or when too much is
// pending. It counts this replica's events; others count theirs.
type backlog struct {
	pending int64
	quiet   int // periods
}

// due takes the number of events written in a period.
func (b *backlog) due(written int64) bool {
	b.pending += written
	if b.quiet++; written > quietRows {
		b.quiet = 0
	}
	return b.pending >= maxUnread || b.pending > 0 && b.quiet >= quietPeriods
}

// Project is the housekeeping of a record until ctx ends. What fails is logged, and
// tried again.
func (s *Service) Project(ctx context.Context) error {
	ticker := time.NewTicker(projectPeriod)
	defer ticker.Stop()
	last, behind := int64(0), backlog{pending: 1} // a server before this one may have left some
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		now := s.rows.Load()
		written := now - last
		last = now
		if !behind.due(written) {
			continue
		}
		if err := s.project(ctx); err == nil {
			behind = backlog{}
		} else if ctx.Err() == nil {
			s.deps.Logger.Error("audit: pending batches could not be made rows; it is tried again", "error", err)
		}
	}
}

func (s *Service) project(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, projectTimeout)
	defer cancel()
	_, err := s.deps.Projector.ProjectAudit(ctx)
	return err
}
