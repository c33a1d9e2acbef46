package store_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/models/store/storetest"
)

// stream makes events of one account in a stream of its own.
func stream(account uuid.UUID, n int) []models.AuditEvent {
	streamID := models.NewID()
	events := make([]models.AuditEvent, n)
	for i := range events {
		hash := sha256.Sum256([]byte{byte(i)})
		events[i] = models.AuditEvent{
			AccountID: account, ID: models.NewID(), StreamID: streamID, Seq: int64(i + 1), At: models.Stamp(at.Add(time.Duration(i) * time.Second)),
			EventType: "release", Source: "agent", Outcome: "ok", ServiceName: "github", Client: "curl", Hash: hash[:],
		}
	}
	return events
}

func newestFirst(events []models.AuditEvent) []models.AuditEvent {
	events = slices.Clone(events)
	slices.Reverse(events)
	return events
}

func wantEvents(t *testing.T, s *store.Store, account uuid.UUID, f models.AuditFilter, want []models.AuditEvent) {
	t.Helper()
	got, err := s.AuditEvents(t.Context(), account, f)
	ok(t, err)
	if len(got) == 0 && len(want) == 0 {
		return
	}
	same(t, fmt.Sprintf("events of %+v", f), got, want)
}

func TestAuditEventsComeBackWhole(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		full, bare := filled[models.AuditEvent](t), models.AuditEvent{ID: models.NewID(), At: models.Stamp(at), Hash: []byte{0}}
		bare.AccountID = full.AccountID
		early := models.AuditEvent{
			AccountID: full.AccountID, ID: models.NewID(), StreamID: full.StreamID,
			At: time.Date(1969, 12, 31, 23, 59, 59, 999999000, time.UTC), Hash: []byte{1},
		}
		events := []models.AuditEvent{full, bare, early}
		silent(t, watch(s), "audit", func() error { return s.AppendAudit(t.Context(), events) })
		wantEvents(t, s, full.AccountID, models.AuditFilter{}, newestFirst(events))
		ok(t, s.AppendAudit(t.Context(), nil))

		noAccount := stream(uuid.Nil, 1)
		ok(t, s.AppendAudit(t.Context(), noAccount))
		wantEvents(t, s, uuid.Nil, models.AuditFilter{}, noAccount)
	})
}

func TestAuditEventsAreFiltered(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		account := models.NewID()
		events := stream(account, 6)
		agent := models.NewID()
		events[1].AgentID, events[3].AgentID = &agent, &agent
		events[2].EventType, events[2].Source, events[3].ServiceName = "store", "direct", "gitlab"
		ok(t, s.AppendAudit(t.Context(), events))
		ok(t, s.AppendAudit(t.Context(), stream(models.NewID(), 3)))

		pick := func(indexes ...int) (list []models.AuditEvent) {
			for _, i := range indexes {
				list = append(list, events[i])
			}
			return list
		}
		none, since := models.NewID(), events[4].At.In(time.FixedZone("", -7200))
		for _, c := range []struct {
			filter models.AuditFilter
			want   []models.AuditEvent
		}{
			{models.AuditFilter{Limit: 2}, pick(5, 4)},
			{models.AuditFilter{Before: &events[4].ID, Limit: 2}, pick(3, 2)},
			{models.AuditFilter{AgentID: &agent}, pick(3, 1)},
			{models.AuditFilter{AgentID: &none}, nil},
			{models.AuditFilter{EventType: "store"}, pick(2)},
			{models.AuditFilter{Source: "direct"}, pick(2)},
			{models.AuditFilter{ServiceName: "gitlab", AgentID: &agent}, pick(3)},
			{models.AuditFilter{Since: &since}, pick(5, 4)},
		} {
			wantEvents(t, s, account, c.filter, c.want)
		}
	})
}

func TestLongAuditBatchIsWholeOrNotThere(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		events := stream(models.NewID(), 150)
		ok(t, s.AppendAudit(t.Context(), events))
		got, err := s.StreamEvents(t.Context(), events[0].StreamID, 0, 0)
		ok(t, err)
		same(t, "events", len(got), len(events))

		again := stream(models.NewID(), 150)
		for i := range again {
			again[i].Detail = strings.Repeat("d", 8<<10) // no block, which does not look at ids
		}
		again[120].ID, again[120].AccountID = events[7].ID, events[7].AccountID
		wantErr(t, s.AppendAudit(t.Context(), again), models.ErrConflict)
		got, err = s.StreamEvents(t.Context(), again[0].StreamID, 0, 0)
		ok(t, err)
		same(t, "events of the refused batch", len(got), 0)
	})
}

func TestPlaceInAStreamIsTakenOnce(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		events := stream(models.NewID(), 2)
		ok(t, s.AppendAudit(t.Context(), events))
		wantErr(t, s.AppendAudit(t.Context(), events), models.ErrConflict)
		fork := stream(models.NewID(), 1)
		fork[0].StreamID, fork[0].Seq = events[1].StreamID, events[1].Seq
		wantErr(t, s.AppendAudit(t.Context(), fork), models.ErrConflict)
		next := stream(events[0].AccountID, 1) // a refusal does not spoil what comes after
		ok(t, s.AppendAudit(t.Context(), next))
		wantEvents(t, s, events[0].AccountID, models.AuditFilter{Limit: 1}, next)
	})
}

func TestAuditRefusesWhatItCannotKeepAndKeepsNothingOfTheBatch(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		for _, spoil := range []func(*models.AuditEvent){
			func(e *models.AuditEvent) { e.Client = "a\x00b" },
			func(e *models.AuditEvent) { e.Detail = "\xc3\x28" },
		} {
			events := stream(models.NewID(), 3)
			spoil(&events[2])
			wantErr(t, s.AppendAudit(t.Context(), events), models.ErrInvalid)
			wantEvents(t, s, events[0].AccountID, models.AuditFilter{}, nil)
		}
		events := stream(models.NewID(), 2)
		events[1].Hash = nil
		if err := s.AppendAudit(t.Context(), events); err == nil {
			t.Fatal("an event without a hash: got no error, want one")
		}
		wantEvents(t, s, events[0].AccountID, models.AuditFilter{}, nil)
	})
}

func TestAuditIsNeverPartOfATransaction(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		events := stream(models.NewID(), 1)
		err := s.InTx(t.Context(), func(ctx context.Context) error { return s.AppendAudit(ctx, events) })
		if err == nil {
			t.Fatal("audit inside a transaction: got no error, want one")
		}
		wantEvents(t, s, events[0].AccountID, models.AuditFilter{}, nil)
	})
}

func TestAuditOfAnEndedContextIsRefused(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		events := stream(models.NewID(), 1)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		wantErr(t, s.AppendAudit(ctx, events), context.Canceled)
		wantEvents(t, s, events[0].AccountID, models.AuditFilter{}, nil)
		ok(t, s.AppendAudit(t.Context(), events))
	})
}

func TestConcurrentAppendsAreAllKept(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		account := models.NewID()
		for _, err := range together(16, func(int) error { return s.AppendAudit(t.Context(), stream(account, 5)) }) {
			ok(t, err)
		}
		got, err := s.AuditEvents(t.Context(), account, models.AuditFilter{})
		ok(t, err)
		same(t, "events", len(got), 80)
	})
}

func TestStreamsAreListedAndReadInOrder(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		streams, err := s.AuditStreams(t.Context())
		ok(t, err)
		same(t, "streams of an empty log", len(streams), 0)

		first, second := stream(models.NewID(), 5), stream(models.NewID(), 1)
		ok(t, s.AppendAudit(t.Context(), second))
		ok(t, s.AppendAudit(t.Context(), first))
		emptied := models.AuditCheckpoint{StreamID: models.NewID(), Seq: 3, Hash: []byte{1}, Signature: []byte{2}}
		ok(t, s.PutCheckpoint(t.Context(), &emptied))
		streams, err = s.AuditStreams(t.Context())
		ok(t, err)
		same(t, "streams", streams, []uuid.UUID{first[0].StreamID, second[0].StreamID, emptied.StreamID})

		got, err := s.StreamEvents(t.Context(), first[0].StreamID, 2, 2)
		ok(t, err)
		same(t, "page", got, first[2:4])
	})
}

func TestCheckpointsComeBackInOrderAndOnce(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		later, earlier := filled[models.AuditCheckpoint](t), filled[models.AuditCheckpoint](t)
		earlier.StreamID, earlier.Seq, earlier.Final = later.StreamID, 1, false
		silent(t, watch(s), "checkpoint", func() error { return s.PutCheckpoint(t.Context(), &later) })
		ok(t, s.PutCheckpoint(t.Context(), &earlier))
		wantErr(t, s.PutCheckpoint(t.Context(), &earlier), models.ErrConflict)
		got, err := s.Checkpoints(t.Context(), later.StreamID)
		ok(t, err)
		same(t, "checkpoints", got, []models.AuditCheckpoint{earlier, later})
	})
}

func BenchmarkAppendAudit(b *testing.B) {
	for _, dialect := range storetest.Dialects {
		for _, size := range []int{1, 16, 128, 512} {
			b.Run(fmt.Sprintf("%s/%d", dialect, size), func(b *testing.B) {
				s := storetest.Open(b, storetest.URL(b, dialect))
				ctx := context.Background()
				b.ReportAllocs()
				for b.Loop() {
					b.StopTimer()
					events := stream(models.NewID(), size)
					b.StartTimer()
					if err := s.AppendAudit(ctx, events); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*size), "ns/event")
			})
		}
	}
}
