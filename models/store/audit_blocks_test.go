package store_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/models/store/storetest"
)

// blockSize is more than any batch that is written as rows.
const blockSize = 20

func TestBatchesUnderLoadAreBlocksUntilSomebodyReads(t *testing.T) {
	t.Parallel()
	url := storetest.URL(t, store.Postgres)
	s, db := storetest.Open(t, url), rawDB(t, store.Postgres, url)
	blocks := func() []string { return texts(t, db, "SELECT events::text FROM audit_blocks") }
	account := models.NewID()
	var all []models.AuditEvent
	for i := range 3 * 16 { // more than are made rows of at once
		events := stream(account, blockSize+i)
		ok(t, s.AppendAudit(t.Context(), events))
		all = append(all, events...)
	}
	same(t, "blocks", len(blocks()), 48)
	same(t, "rows", texts(t, db, "SELECT id::text FROM audit_events"), []string(nil))

	few := stream(account, 2)
	ok(t, s.AppendAudit(t.Context(), few))
	same(t, "blocks after a small batch", len(blocks()), 48)
	last, err := s.StreamEvents(t.Context(), all[len(all)-1].StreamID, 0, 0)
	ok(t, err)
	same(t, "the last stream", last, all[len(all)-blockSize-47:])
	same(t, "blocks after reading", blocks(), []string(nil))
	wantEvents(t, s, account, models.AuditFilter{}, newestFirst(append(all, few...)))
	events, err := s.ProjectAudit(t.Context())
	ok(t, err)
	same(t, "events still to project", events, int64(0))
}

// Several replicas read while another writes: an event is readable once the call
// that wrote it was answered, and each is there once.
func TestWhatWasAnsweredIsReadableWhoeverProjects(t *testing.T) {
	t.Parallel()
	url := storetest.URL(t, store.Postgres)
	account := models.NewID()
	writer := storetest.Open(t, url)
	readers := []*store.Store{storetest.Open(t, url), storetest.Open(t, url), writer}
	for range 12 {
		events := stream(account, blockSize)
		ok(t, writer.AppendAudit(t.Context(), events))
		for i, err := range together(len(readers), func(i int) error {
			if i == 2 {
				return writer.AppendAudit(t.Context(), stream(models.NewID(), blockSize))
			}
			got, err := readers[i].StreamEvents(t.Context(), events[0].StreamID, 0, 0)
			if err == nil && len(got) != blockSize {
				err = fmt.Errorf("it read %d of %d events", len(got), blockSize)
			}
			return err
		}) {
			if err != nil {
				t.Errorf("reader %d: %v", i, err)
			}
		}
	}
}

// A connection that breaks at a bad moment can leave a batch twice: as rows, which a
// reader made, and as a block.
func TestABlockWhoseRowsExistIsDropped(t *testing.T) {
	t.Parallel()
	url := storetest.URL(t, store.Postgres)
	s, db := storetest.Open(t, url), rawDB(t, store.Postgres, url)
	account := models.NewID()
	events, after := stream(account, blockSize), stream(account, blockSize)
	ok(t, s.AppendAudit(t.Context(), events))
	wantEvents(t, s, account, models.AuditFilter{}, newestFirst(events))
	ok(t, s.AppendAudit(t.Context(), events)) // its block is gone, so nothing stands in the way
	ok(t, s.AppendAudit(t.Context(), after))
	wantEvents(t, s, account, models.AuditFilter{}, newestFirst(append(events, after...)))
	same(t, "blocks", texts(t, db, "SELECT seq::text FROM audit_blocks"), []string(nil))
}

func TestABlockInWhosePlaceOthersWroteIsMarkedAndHoldsUpNobody(t *testing.T) {
	t.Parallel()
	url := storetest.URL(t, store.Postgres)
	s := storetest.Open(t, url)
	account := models.NewID()
	events, forged, after := stream(account, blockSize), stream(account, 1), stream(account, blockSize)
	ok(t, s.AppendAudit(t.Context(), events))
	forged[0].StreamID = events[0].StreamID
	forged[0].Seq = 3
	ok(t, s.AppendAudit(t.Context(), forged))
	ok(t, s.AppendAudit(t.Context(), after))
	wantEvents(t, s, account, models.AuditFilter{}, newestFirst(append(forged, after...)))
	refused, err := s.RefusedBlocks(t.Context(), events[0].StreamID)
	ok(t, err)
	same(t, "blocks that were refused", refused, []models.AuditBlock{{StreamID: events[0].StreamID, Seq: 1, Events: blockSize}})
	wantEvents(t, s, account, models.AuditFilter{}, newestFirst(append(forged, after...)))
}

func TestABlockThatIsRepeatedIsAConflict(t *testing.T) {
	t.Parallel()
	url := storetest.URL(t, store.Postgres)
	events := stream(models.NewID(), blockSize)
	ok(t, storetest.Open(t, url).AppendAudit(t.Context(), events))
	wantErr(t, storetest.Open(t, url).AppendAudit(t.Context(), events), models.ErrConflict)
}

func TestALargeBatchIsWrittenAsRows(t *testing.T) {
	t.Parallel()
	url := storetest.URL(t, store.Postgres)
	s, db := storetest.Open(t, url), rawDB(t, store.Postgres, url)
	events := stream(models.NewID(), 300)
	for i := range events {
		events[i].Detail = strings.Repeat("d", 4<<10)
	}
	ok(t, s.AppendAudit(t.Context(), events))
	same(t, "blocks", texts(t, db, "SELECT seq::text FROM audit_blocks"), []string(nil))
	same(t, "rows", texts(t, db, "SELECT count(*)::text FROM audit_events"), []string{"300"})
}
