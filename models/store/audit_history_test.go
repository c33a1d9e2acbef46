package store_test

import (
	"testing"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/models/store/storetest"
)

func TestHistoryHasTheLatestOfEachTypeOfOneService(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		account := models.NewID()
		events := stream(account, 40) // on PostgreSQL a block, which nobody has read yet
		for i := range events {
			events[i].ServiceName, events[i].EventType = "github", "release"
			switch {
			case i < 3:
				events[i].EventType = "reveal"
			case i%10 == 0:
				events[i].ServiceName = "other"
			case i == 4:
				events[i].EventType = "bind" // is not asked for
			}
		}
		ok(t, s.AppendAudit(t.Context(), events))
		strangers := stream(models.NewID(), 1)
		strangers[0].ServiceName, strangers[0].EventType = "github", "release"
		ok(t, s.AppendAudit(t.Context(), strangers))

		got, err := s.AuditHistory(t.Context(), account, "github", []string{"reveal", "release", "store"}, 2)
		ok(t, err)
		same(t, "history", got, []models.AuditEvent{events[39], events[38], events[2], events[1]})
		for _, types := range [][]string{nil, {"store"}} {
			got, err = s.AuditHistory(t.Context(), account, "github", types, 2)
			ok(t, err)
			same(t, "history of nothing", len(got), 0)
		}
	})
}

// Releases and refusals are most of a record: what is far back in it is not looked for.
func TestHistoryLooksForReleasesAmongTheLatestEventsAlone(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		account := models.NewID()
		for batch := range 5 {
			events := stream(account, 2001)
			for i := range events {
				events[i].ServiceName, events[i].EventType = "busy", "release"
			}
			if batch == 0 {
				events[0].ServiceName = "old"
				events[1].ServiceName, events[1].EventType = "old", "reveal"
				events[5].ServiceName = "recent" // the 10,000th from the end
				events[4].ServiceName = "lost"
			}
			ok(t, s.AppendAudit(t.Context(), events))
		}
		for service, want := range map[string]int{"old": 1, "recent": 1, "lost": 0, "busy": 3} {
			got, err := s.AuditHistory(t.Context(), account, service, []string{"release", "reveal"}, 3)
			ok(t, err)
			same(t, "events of "+service, len(got), want)
		}
	})
}
