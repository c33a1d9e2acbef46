package store_test

import (
	"context"
	"testing"
	"time"

	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/models/store/storetest"
)

func TestClockGoesOnWithinATransaction(t *testing.T) {
	t.Parallel()
	storetest.EachURL(t, func(t *testing.T, url string) {
		s := storetest.Open(t, url)
		start := time.Now()
		inTx(t, s, func(ctx context.Context) error {
			first, err := s.Clock(ctx)
			ok(t, err)
			later := first
			for !later.After(first) { // a microsecond, at least
				later, err = s.Clock(ctx)
				ok(t, err)
			}
			if d := first.Sub(start); d < -time.Minute || d > time.Minute || first.Location() != time.UTC {
				t.Errorf("got %v at %v, want about the same, in UTC", first, start)
			}
			return nil
		})
	})
}

func TestOnPostgresTheDatabasesClockCounts(t *testing.T) {
	t.Parallel()
	storetest.EachURL(t, func(t *testing.T, url string) {
		wrong := time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC)
		s, err := store.Open(t.Context(), store.Options{URL: url, Now: func() time.Time { return wrong }})
		ok(t, err)
		defer func() { ok(t, s.Close()) }()
		got, err := s.Clock(t.Context())
		ok(t, err)
		if isWrong := got.Equal(wrong); isWrong != (s.Dialect() == store.SQLite) {
			t.Errorf("%s: got %v beside a process's clock at %v", s.Dialect(), got, wrong)
		}
	})
}
