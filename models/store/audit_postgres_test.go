package store_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/models/store/storetest"
)

func TestAuditBatchIsWrittenOnceWhateverBreaks(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]netFault{
		"the request is lost": cutRequest, "the answer is lost": loseAnswer, "the connection is half-open": freezeRequest,
	} {
		for what, size := range map[string]int{"rows": 3, "a block": blockSize} {
			t.Run(what+", "+name, func(t *testing.T) {
				t.Parallel()
				p, through, _ := viaProxy(t)
				s := storetest.Open(t, through)
				account := models.NewID()
				var all []models.AuditEvent
				for i := range 4 {
					events := stream(account, size)
					all = append(all, events...)
					if i == 2 {
						p.next(fault)
					}
					ok(t, s.AppendAudit(t.Context(), events))
					wantEvents(t, s, account, models.AuditFilter{}, newestFirst(all))
				}
			})
		}
	}
}

func TestAuditOutlivesItsBackend(t *testing.T) {
	t.Parallel()
	url := storetest.URL(t, store.Postgres)
	s := storetest.Open(t, url)
	account := models.NewID()
	var all []models.AuditEvent
	for range 3 {
		events := stream(account, 2)
		all = append(all, events...)
		ok(t, s.AppendAudit(t.Context(), events))
		terminate(t, url, "^COPY audit_events")
	}
	wantEvents(t, s, account, models.AuditFilter{}, newestFirst(all))
}

func TestRepeatedBatchIsAConflictAlsoOnANewConnection(t *testing.T) {
	t.Parallel()
	url := storetest.URL(t, store.Postgres)
	events := stream(models.NewID(), 2)
	for i := range 2 {
		err := storetest.Open(t, url).AppendAudit(t.Context(), events)
		if i == 0 {
			ok(t, err)
		} else {
			wantErr(t, err, models.ErrConflict)
		}
	}
}

func TestAuditEndsWithItsContextAndRecovers(t *testing.T) {
	t.Parallel()
	p, through, _ := viaProxy(t)
	s := storetest.Open(t, through)
	account := models.NewID()
	first := stream(account, 1)
	ok(t, s.AppendAudit(t.Context(), first))
	p.next(freezeRequest)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	wantErr(t, s.AppendAudit(ctx, stream(account, 1)), context.DeadlineExceeded)
	next := stream(account, 1)
	ok(t, s.AppendAudit(t.Context(), next))
	wantEvents(t, s, account, models.AuditFilter{}, newestFirst(append(first, next...)))
}

func TestCommitsAreDurableThoughTheServerIsSetOtherwise(t *testing.T) {
	t.Parallel()
	url := storetest.URL(t, store.Postgres)
	s := storetest.Open(t, url+"&synchronous_commit=off")
	same(t, "synchronous_commit of a pool connection", s.Setting(t, "synchronous_commit"), "on")
	s = storetest.Open(t, url+"&synchronous_commit=remote_write")
	same(t, "a setting that is durable", s.Setting(t, "synchronous_commit"), "remote_write")
}

func TestAuditBatchMayBeLargerThanAnyBuffer(t *testing.T) {
	t.Parallel()
	s := storetest.Open(t, storetest.URL(t, store.Postgres))
	for range 2 {
		events := stream(models.NewID(), 1000)
		for i := range events {
			events[i].Detail = strings.Repeat("d", 6<<10)
		}
		ok(t, s.AppendAudit(t.Context(), events))
		got, err := s.StreamEvents(t.Context(), events[0].StreamID, 990, 0)
		ok(t, err)
		same(t, "last events", got, events[990:])
	}
}
