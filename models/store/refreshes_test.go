package store_test

import (
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/models/store/storetest"
)

// longAgo is a time at which whatever is due then is due by every clock.
func longAgo(minutes int) *time.Time {
	return models.StampPtr(time.Date(2020, 2, 3, 4, minutes, 0, 123456000, time.UTC))
}

func farAway() *time.Time { return models.StampPtr(time.Date(2999, 1, 1, 0, 0, 0, 0, time.UTC)) }

func scheduled(t *testing.T, s *store.Store, v models.Vault, service string, due *time.Time) models.Token {
	t.Helper()
	token := stored(t, s, v, service)
	ok(t, s.ScheduleRefresh(t.Context(), token.AccountID, token.ID, due))
	return token
}

func claim(t *testing.T, s *store.Store, limit int) []models.DueRefresh {
	t.Helper()
	due, err := s.ClaimDue(t.Context(), limit, time.Minute)
	ok(t, err)
	return due
}

func services(due []models.DueRefresh) []string {
	names := []string{}
	for _, d := range due {
		names = append(names, d.ServiceName)
	}
	return names
}

func TestARefreshIsScheduledMovedAndCalledOff(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		v := newVault(t, s, models.ModeWebhook)
		token, other := stored(t, s, v, "github"), stored(t, s, v, "gitlab")
		_, err := s.Refresh(t.Context(), v.AccountID, token.ID)
		wantErr(t, err, models.ErrNotFound)
		for _, due := range []*time.Time{nil, farAway(), longAgo(1), nil} {
			silent(t, watch(s), "schedule", func() error { return s.ScheduleRefresh(t.Context(), v.AccountID, token.ID, due) })
			same(t, "row", refreshOf(t, s, token), models.Refresh{AccountID: v.AccountID, TokenID: token.ID, DueAt: due})
		}
		ok(t, s.ScheduleRefresh(t.Context(), v.AccountID, other.ID, farAway()))
		want := []models.Refresh{refreshOf(t, s, token), refreshOf(t, s, other)}
		slices.SortFunc(want, func(a, b models.Refresh) int { return slices.Compare(a.TokenID[:], b.TokenID[:]) })
		got, err := s.Refreshes(t.Context(), v.AccountID, []uuid.UUID{other.ID, models.NewID(), token.ID, other.ID})
		ok(t, err)
		same(t, "of several", got, want)
		got, err = s.Refreshes(t.Context(), v.AccountID, nil)
		ok(t, err)
		same(t, "of none", len(got), 0)
		for _, id := range [][2]uuid.UUID{{v.AccountID, models.NewID()}, {models.NewID(), token.ID}} {
			wantErr(t, s.ScheduleRefresh(t.Context(), id[0], id[1], farAway()), models.ErrNotFound)
			_, err := s.Refresh(t.Context(), id[0], id[1])
			wantErr(t, err, models.ErrNotFound)
		}
	})
}

func TestWhatIsDueIsClaimedOnceTheLongestDueFirst(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		v := newVault(t, s, models.ModeWebhook)
		scheduled(t, s, v, "later", farAway())
		scheduled(t, s, v, "never", nil)
		stored(t, s, v, "unknown")
		leased := scheduled(t, s, v, "leased", longAgo(0))
		third, first, second := scheduled(t, s, v, "third", longAgo(3)), scheduled(t, s, newVault(t, s, models.ModeWebhook), "first", longAgo(1)),
			scheduled(t, s, v, "second", longAgo(2))
		lease, err := s.TakeLease(t.Context(), v.AccountID, leased.ID, time.Minute)
		ok(t, err)
		waiting := filled[models.OutboxEntry](t)
		waiting.AccountID, waiting.TokenID, waiting.CreationID = second.AccountID, second.ID, second.CreationID
		ok(t, s.PutOutbox(t.Context(), &waiting))
		stale := waiting
		stale.TokenID, stale.CreationID = third.ID, "that of the one before"
		ok(t, s.PutOutbox(t.Context(), &stale))

		same(t, "of no more than none", len(claim(t, s, 0)), 0)
		silent(t, watch(s), "claim", func() error {
			got := claim(t, s, 2)
			same(t, "claimed", services(got), []string{"first", "second"})
			for i, token := range []models.Token{first, second} {
				row := refreshOf(t, s, token)
				d := got[i]
				if row.LeaseID == nil || !row.DueAt.Equal(*row.LeaseUntil) {
					t.Fatalf("row: got %s, want that it is due again when its lease ends", show(row))
				}
				same(t, "lease", d.Lease, models.Lease{AccountID: token.AccountID, TokenID: token.ID, ID: *row.LeaseID, Generation: 1, Until: *row.LeaseUntil})
				row.DueAt = longAgo(i + 1)
				same(t, "what was due", d.Refresh, row)
				same(t, "vault", d.VaultID, token.VaultID)
				same(t, "texts", []string{d.Provider, d.CreationID, d.Scope}, []string{token.Provider, token.CreationID, token.Scope})
				same(t, "times", []*time.Time{d.IssuedAt, d.ExpiresAt}, []*time.Time{token.IssuedAt, token.ExpiresAt})
				same(t, "has a refresh token, waits for its webhook", []bool{d.HasRefreshToken, d.Undelivered}, []bool{true, i == 1})
			}
			return nil
		})
		got := claim(t, s, 10)
		same(t, "the rest", services(got), []string{"third"})
		same(t, "tokens of another creation that wait do not count", got[0].Undelivered, false)
		ok(t, s.EndLease(t.Context(), lease))
		same(t, "given back", services(claim(t, s, 10)), []string{"leased"})
		same(t, "nothing is left", len(claim(t, s, 10)), 0)
	})
}

func TestAClaimIsFinishedOrComesAgain(t *testing.T) {
	t.Parallel()
	storetest.EachURL(t, func(t *testing.T, url string) {
		dying, s := storetest.Open(t, url), storetest.Open(t, url)
		v := newVault(t, s, models.ModeWebhook)
		token := scheduled(t, s, v, "github", longAgo(1))
		dead := claim(t, dying, 10)
		same(t, "claimed", services(dead), []string{"github"})
		same(t, "by another meanwhile", len(claim(t, s, 10)), 0)
		_, err := s.TakeLease(t.Context(), v.AccountID, token.ID, time.Minute)
		wantErr(t, err, models.ErrLeased)
		s.PassLease(t, v.AccountID, token.ID)
		again := claim(t, s, 10)
		same(t, "when its lease is over", services(again), []string{"github"})
		same(t, "generation", again[0].Lease.Generation, dead[0].Lease.Generation+1)

		wantErr(t, dying.FinishLease(t.Context(), dead[0].Lease, models.Refresh{DueAt: longAgo(1)}), models.ErrLeaseLost)
		r := again[0].Refresh
		r.DueAt, r.Attempts, r.Outcome, r.Reason, r.Path = longAgo(5), 3, "retry_at", "provider_timeout", models.PathNotify
		r.TriedAt, r.RetryAt, r.NotifiedAt = longAgo(2), longAgo(5), longAgo(2)
		ok(t, s.FinishLease(t.Context(), again[0].Lease, r))
		third := claim(t, s, 10)
		same(t, "due anew", services(third), []string{"github"})
		r.LeaseID, r.LeaseUntil, r.LeaseGeneration = third[0].LeaseID, third[0].LeaseUntil, 3
		same(t, "what came of the last", third[0].Refresh, r)
		ok(t, s.FinishLease(t.Context(), third[0].Lease, models.Refresh{Outcome: "needs_reauthorization"}))
		same(t, "given up", len(claim(t, s, 10)), 0)
	})
}

func TestReplicasThatClaimAtOnceGetDifferentRows(t *testing.T) {
	t.Parallel()
	storetest.EachURL(t, func(t *testing.T, url string) {
		replicas := []*store.Store{storetest.Open(t, url), storetest.Open(t, url)}
		v := newVault(t, replicas[0], models.ModeWebhook)
		const rows = 120
		for i := range rows {
			scheduled(t, replicas[0], v, strconv.Itoa(i), longAgo(i%7))
		}
		var mu sync.Mutex
		claimed := map[uuid.UUID]int{}
		for _, err := range together(6, func(i int) error {
			for {
				due, err := replicas[i%2].ClaimDue(t.Context(), 7, time.Minute)
				if err != nil {
					return err
				}
				mu.Lock()
				for _, d := range due {
					claimed[d.TokenID]++
				}
				all := len(claimed) == rows
				mu.Unlock()
				if all { // an empty answer may mean that others are at the rest
					return nil
				}
			}
		}) {
			ok(t, err)
		}
		for id, n := range claimed {
			if n != 1 {
				t.Errorf("token %s was claimed %d times, want once", id, n)
			}
		}
	})
}

func TestNothingOfATokenOutlivesIt(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		var leases []models.Lease
		known := func(token models.Token) {
			t.Helper()
			lease, err := s.TakeLease(t.Context(), token.AccountID, token.ID, time.Minute)
			ok(t, err)
			e := filled[models.OutboxEntry](t)
			e.AccountID, e.TokenID = token.AccountID, token.ID
			ok(t, s.PutOutbox(t.Context(), &e))
			leases = append(leases, lease)
		}
		webhook, platform := newVault(t, s, models.ModeWebhook), newPlatformVault(t, s)
		known(stored(t, s, webhook, "stays"))
		for what, remove := range map[string]func() error{
			"DeleteToken": func() error {
				known(stored(t, s, webhook, "one"))
				return s.DeleteToken(t.Context(), webhook.AccountID, webhook.ID, "one")
			},
			"SyncTokens": func() error {
				known(stored(t, s, webhook, "two"))
				known(stored(t, s, webhook, "three"))
				stays, err := s.Token(t.Context(), webhook.AccountID, webhook.ID, "stays")
				ok(t, err)
				_, err = s.SyncTokens(t.Context(), webhook.AccountID, webhook.ID, []models.Token{stays}, true)
				return err
			},
			"DeleteCredential": func() error {
				token, c := platform.pair(t, "one")
				ok(t, s.CreateCredential(t.Context(), &token, &c))
				known(token)
				return s.DeleteCredential(t.Context(), token.AccountID, token.ID)
			},
			"DeleteVault": func() error {
				other := filled[models.Vault](t)
				other.AccountID, other.Mode = platform.AccountID, models.ModePlatform
				v := addPlatformVault(t, s, other)
				for _, service := range []string{"one", "two"} {
					token, c := v.pair(t, service)
					ok(t, s.CreateCredential(t.Context(), &token, &c))
					known(token)
				}
				return s.DeleteVault(t.Context(), v.AccountID, v.ID)
			},
		} {
			ok(t, remove())
			same(t, "rows left after "+what, []int64{s.Count(t, "refreshes"), s.Count(t, "outbox")}, []int64{1, 1})
		}
		ok(t, s.DeleteToken(t.Context(), webhook.AccountID, webhook.ID, "stays"))
		for _, lease := range leases {
			wantErr(t, s.FinishLease(t.Context(), lease, models.Refresh{}), models.ErrLeaseLost)
		}
	})
}

// In platform mode nothing is reported: who writes the token says what it is.
func TestAnotherCredentialInATokensPlaceForgetsTheOldOnesRefreshes(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		token := stored(t, s, newVault(t, s, models.ModePlatform), "github")
		lease, err := s.TakeLease(t.Context(), token.AccountID, token.ID, time.Minute)
		ok(t, err)
		given := filled[models.Refresh](t)
		given.DueAt = nil
		ok(t, s.FinishLease(t.Context(), lease, given))
		lease, err = s.TakeLease(t.Context(), token.AccountID, token.ID, time.Minute)
		ok(t, err)

		before := refreshOf(t, s, token)
		token.Notes = "only this"
		ok(t, s.UpdateToken(t.Context(), &token))
		same(t, "the same credential", refreshOf(t, s, token), before)
		token.CreationID = "another"
		ok(t, s.UpdateToken(t.Context(), &token))
		same(t, "another", refreshOf(t, s, token), models.Refresh{AccountID: token.AccountID, TokenID: token.ID, LeaseGeneration: 3,
			PlatformAt: before.PlatformAt, MediatedAt: before.MediatedAt, NotifiedAt: before.NotifiedAt})
		wantErr(t, s.FinishLease(t.Context(), lease, models.Refresh{Outcome: "rotated"}), models.ErrLeaseLost)
		next, err := s.TakeLease(t.Context(), token.AccountID, token.ID, time.Minute)
		ok(t, err)
		same(t, "generation", next.Generation, int64(4))
	})
}
