package store

import (
	"context"
	"time"

	"github.com/tvzero/tokenvault/models"
)

// Clock is the database's time at this moment, also in a transaction that has
// waited for locks: what replicas whose clocks differ decide expiries by. SQLite
// has one process, and that process's clock.
func (s *Store) Clock(ctx context.Context) (time.Time, error) {
	if s.dialect != Postgres {
		return models.Stamp(s.now()), nil
	}
	var at time.Time
	err := s.view(ctx).Raw("SELECT clock_timestamp()").Row().Scan(&at)
	return models.Stamp(at), failed(err, "the database's time")
}
