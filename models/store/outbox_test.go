package store_test

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/models/store/storetest"
)

func entryOf(t *testing.T, token models.Token) models.OutboxEntry {
	t.Helper()
	e := filled[models.OutboxEntry](t)
	e.AccountID, e.TokenID, e.DueAt = token.AccountID, token.ID, *longAgo(1)
	return e
}

func TestTheOutboxKeepsTheNewestOfEachToken(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		token := stored(t, s, newVault(t, s, models.ModeWebhook), "github")
		is := func(what string, want models.OutboxEntry) {
			t.Helper()
			got, err := s.Outbox(t.Context(), token.AccountID, token.ID)
			ok(t, err)
			same(t, what, got, want)
		}
		_, err := s.Outbox(t.Context(), token.AccountID, token.ID)
		wantErr(t, err, models.ErrNotFound)
		first := entryOf(t, token)
		silent(t, watch(s), "put", func() error { return s.PutOutbox(t.Context(), &first) })
		is("put", first)
		if text := fmt.Sprintf("%v", first); !strings.Contains(text, "[redacted]") || strings.Contains(text, "[0 254") {
			t.Errorf("printed: got %s, want that what is sealed does not show", text)
		}
		for _, sequence := range []int64{first.Sequence, first.Sequence - 1} {
			older := entryOf(t, token)
			older.Sequence, older.Sealed = sequence, models.Opaque{7}
			wantErr(t, s.PutOutbox(t.Context(), &older), models.ErrConflict)
			is("older ones came later", first)
		}
		newer := entryOf(t, token)
		newer.Sequence, newer.Sealed, newer.Attempts = first.Sequence+1, models.Opaque{8}, 0
		ok(t, s.PutOutbox(t.Context(), &newer))
		is("newer", newer)
		another := entryOf(t, token)
		another.CreationID, another.Sequence = "another", 1
		ok(t, s.PutOutbox(t.Context(), &another))
		is("of another creation", another)

		ok(t, s.DeleteOutbox(t.Context(), token.AccountID, token.ID, newer.CreationID, newer.Sequence))
		wantErr(t, s.PostponeOutbox(t.Context(), newer, at), models.ErrNotFound)
		is("one that was replaced was delivered", another)
		ok(t, s.PostponeOutbox(t.Context(), another, at))
		another.DueAt, another.Attempts = models.Stamp(at), another.Attempts+1
		is("postponed", another)
		ok(t, s.DeleteOutbox(t.Context(), token.AccountID, token.ID, another.CreationID, another.Sequence))
		_, err = s.Outbox(t.Context(), token.AccountID, token.ID)
		wantErr(t, err, models.ErrNotFound)

		stray := entryOf(t, token)
		stray.TokenID = models.NewID()
		wantErr(t, s.PutOutbox(t.Context(), &stray), models.ErrNotFound)
	})
}

func TestWhatWaitsIsClaimedByOneAndComesAgain(t *testing.T) {
	t.Parallel()
	storetest.EachURL(t, func(t *testing.T, url string) {
		replicas := []*store.Store{storetest.Open(t, url), storetest.Open(t, url)}
		s, v := replicas[0], newVault(t, replicas[0], models.ModeWebhook)
		later := entryOf(t, stored(t, s, v, "later"))
		later.DueAt = *farAway()
		ok(t, s.PutOutbox(t.Context(), &later))
		const entries = 40
		want := map[uuid.UUID]models.OutboxEntry{}
		for i := range entries {
			e := entryOf(t, stored(t, s, v, strconv.Itoa(i)))
			e.DueAt = *longAgo(entries - i)
			ok(t, s.PutOutbox(t.Context(), &e))
			want[e.TokenID] = e
		}
		first, err := s.ClaimOutbox(t.Context(), 1, time.Minute)
		ok(t, err)
		same(t, "the longest due", first[0].DueAt, *longAgo(1))
		ok(t, s.PostponeOutbox(t.Context(), first[0], *longAgo(2)))
		e := want[first[0].TokenID]
		e.DueAt, e.Attempts = *longAgo(2), e.Attempts+1
		want[e.TokenID] = e

		var mu sync.Mutex
		got := map[uuid.UUID]models.OutboxEntry{}
		for _, err := range together(4, func(i int) error {
			for {
				due, err := replicas[i%2].ClaimOutbox(t.Context(), 3, time.Minute)
				if err != nil {
					return err
				}
				mu.Lock()
				for _, e := range due {
					if _, twice := got[e.TokenID]; twice {
						t.Errorf("token %s was claimed twice", e.TokenID)
					}
					got[e.TokenID] = e
				}
				all := len(got) == entries
				mu.Unlock()
				if all {
					return nil
				}
			}
		}) {
			ok(t, err)
		}
		same(t, "claimed", got, want)
		due, err := s.ClaimOutbox(t.Context(), 10, time.Minute)
		ok(t, err)
		same(t, "meanwhile", len(due), 0)
		again, err := s.Outbox(t.Context(), v.AccountID, first[0].TokenID)
		ok(t, err)
		if now, err := s.Clock(t.Context()); err != nil || again.DueAt.Before(now) || again.DueAt.After(now.Add(time.Minute)) {
			t.Errorf("due again at %v, want within a minute from %v (%v)", again.DueAt, now, err)
		}
	})
}
