package store_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/models/store/storetest"
)

// stored is a token of a webhook's vault.
func stored(t *testing.T, s *store.Store, v models.Vault, service string) models.Token {
	t.Helper()
	token := newToken(t, v, service)
	ok(t, s.PutToken(t.Context(), &token))
	return token
}

func refreshOf(t *testing.T, s *store.Store, token models.Token) models.Refresh {
	t.Helper()
	r, err := s.Refresh(t.Context(), token.AccountID, token.ID)
	ok(t, err)
	return r
}

func TestOneOfManyReplicasTakesALease(t *testing.T) {
	t.Parallel()
	storetest.EachURL(t, func(t *testing.T, url string) {
		replicas := []*store.Store{storetest.Open(t, url), storetest.Open(t, url)}
		token := stored(t, replicas[0], newVault(t, replicas[0], models.ModeWebhook), "github")
		for round := int64(1); round <= 3; round++ {
			var lease models.Lease
			errs := together(8, func(i int) error {
				l, err := replicas[i%2].TakeLease(t.Context(), token.AccountID, token.ID, time.Minute)
				if err == nil {
					lease = l
				}
				return err
			})
			none, busy := count(t, errs, models.ErrLeased)
			same(t, "takers", []int{none, busy}, []int{1, 7})
			for _, err := range errs {
				var leased *models.LeasedError
				if errors.As(err, &leased) && (!leased.Until.Equal(lease.Until) || leased.Left <= 0 || leased.Left > time.Minute) {
					t.Fatalf("got %v with %v left, want until %v", leased.Until, leased.Left, lease.Until)
				}
			}
			same(t, "generation", lease.Generation, round)
			ok(t, replicas[1].EndLease(t.Context(), lease))
			ok(t, replicas[0].EndLease(t.Context(), lease)) // it may be ended twice
		}
	})
}

func TestWhoHasLostALeaseCanDoNothingToTheNext(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		token := stored(t, s, newVault(t, s, models.ModeWebhook), "github")
		old, err := s.TakeLease(t.Context(), token.AccountID, token.ID, time.Minute)
		ok(t, err)
		s.PassLease(t, token.AccountID, token.ID)
		next, err := s.TakeLease(t.Context(), token.AccountID, token.ID, time.Minute)
		ok(t, err)
		same(t, "generation", next.Generation, old.Generation+1)
		before := refreshOf(t, s, token)

		wantErr(t, s.FinishLease(t.Context(), old, filled[models.Refresh](t)), models.ErrLeaseLost)
		ok(t, s.EndLease(t.Context(), old))
		forged := next
		forged.ID = old.ID
		inTx(t, s, func(ctx context.Context) error { // a refusal leaves the transaction usable
			wantErr(t, s.HoldLease(ctx, old), models.ErrLeaseLost)
			wantErr(t, s.HoldLease(ctx, forged), models.ErrLeaseLost)
			return s.HoldLease(ctx, next)
		})
		same(t, "the next one's row", refreshOf(t, s, token), before)
		_, err = s.TakeLease(t.Context(), token.AccountID, token.ID, time.Minute)
		wantErr(t, err, models.ErrLeased)
	})
}

func TestALateHolderFinishesWhatNobodyTookSince(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		token := stored(t, s, newVault(t, s, models.ModeWebhook), "github")
		lease, err := s.TakeLease(t.Context(), token.AccountID, token.ID, time.Minute)
		ok(t, err)
		s.PassLease(t, token.AccountID, token.ID)
		want := filled[models.Refresh](t)
		want.AccountID, want.TokenID = token.AccountID, token.ID
		silent(t, watch(s), "finish", func() error {
			return s.InTx(t.Context(), func(ctx context.Context) error {
				ok(t, s.HoldLease(ctx, lease))
				return s.FinishLease(ctx, lease, want)
			})
		})
		want.LeaseID, want.LeaseUntil, want.LeaseGeneration = nil, nil, lease.Generation
		same(t, "finished", refreshOf(t, s, token), want)
		wantErr(t, s.FinishLease(t.Context(), lease, want), models.ErrLeaseLost)
		inTx(t, s, func(ctx context.Context) error {
			wantErr(t, s.HoldLease(ctx, lease), models.ErrLeaseLost)
			return nil
		})

		// What came before stays on record, and nothing else.
		lease, err = s.TakeLease(t.Context(), token.AccountID, token.ID, time.Minute)
		ok(t, err)
		ok(t, s.FinishLease(t.Context(), lease, models.Refresh{Outcome: "retry_at"}))
		same(t, "finished with less", refreshOf(t, s, token), models.Refresh{
			AccountID: token.AccountID, TokenID: token.ID, LeaseGeneration: 2, Outcome: "retry_at",
			RefreshedAt: want.RefreshedAt, PlatformAt: want.PlatformAt, MediatedAt: want.MediatedAt, NotifiedAt: want.NotifiedAt,
		})
		wantErr(t, s.FinishLease(t.Context(), lease, models.Refresh{Reason: "a\x00b"}), models.ErrInvalid)
	})
}

// While a holder's transaction is under way nobody takes its lease, though its time is
// over.
func TestAHeldLeaseIsNotTakenBeforeTheTransactionEnds(t *testing.T) {
	t.Parallel()
	storetest.EachURL(t, func(t *testing.T, url string) {
		s := storetest.Open(t, url)
		db := rawDB(t, s.Dialect(), url)
		token := stored(t, s, newVault(t, s, models.ModeWebhook), "github")
		lease, err := s.TakeLease(t.Context(), token.AccountID, token.ID, time.Minute)
		ok(t, err)
		s.PassLease(t, token.AccountID, token.ID)
		type taken struct {
			lease models.Lease
			err   error
		}
		done := make(chan taken, 1)
		inTx(t, s, func(ctx context.Context) error {
			ok(t, s.HoldLease(ctx, lease))
			go func() {
				l, err := s.TakeLease(t.Context(), token.AccountID, token.ID, time.Minute)
				done <- taken{l, err}
			}()
			for n := 0; n == 0 && s.Dialect() == store.Postgres; { // SQLite has one writer
				ok(t, db.QueryRowContext(t.Context(), `SELECT count(*) FROM pg_stat_activity
					WHERE application_name = current_setting('application_name') AND wait_event_type = 'Lock'`).Scan(&n))
			}
			select {
			case got := <-done:
				t.Errorf("got %+v meanwhile, want that it waits", got)
			default:
			}
			return s.FinishLease(ctx, lease, models.Refresh{Outcome: "rotated"})
		})
		got := <-done
		ok(t, got.err)
		same(t, "generation", got.lease.Generation, lease.Generation+1)
		same(t, "outcome", refreshOf(t, s, token).Outcome, "rotated")
	})
}

func TestLeasesOfSeveralTokensAreTakenTogetherOrNotAtAll(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		v := newPlatformVault(t, s)
		var ids []uuid.UUID
		for _, service := range []string{"a", "b", "c", "d"} {
			ids = append(ids, v.credential(t, s, service, nil).ID)
		}
		short, err := s.TakeLease(t.Context(), v.AccountID, ids[1], time.Minute)
		ok(t, err)
		long, err := s.TakeLease(t.Context(), v.AccountID, ids[2], time.Hour)
		ok(t, err)
		taken, until, err := s.TakeLeases(t.Context(), v.AccountID, ids, time.Minute)
		ok(t, err)
		if len(taken) > 0 || until == nil || !until.Equal(long.Until) {
			t.Fatalf("got %d leases, until %v; want none, until %v", len(taken), until, long.Until)
		}
		same(t, "rows of those that nobody had", s.Count(t, "refreshes"), int64(2))
		ok(t, s.EndLeases(t.Context(), []models.Lease{short, long}))

		asked := append([]uuid.UUID{models.NewID(), ids[3]}, ids...) // one is not there, one twice
		taken, until, err = s.TakeLeases(t.Context(), v.AccountID, asked, time.Minute)
		ok(t, err)
		if until != nil {
			t.Fatalf("got busy until %v, want nobody", until)
		}
		var got []uuid.UUID
		for _, lease := range taken {
			got = append(got, lease.TokenID)
			inTx(t, s, func(ctx context.Context) error { return s.HoldLease(ctx, lease) })
		}
		same(t, "taken", got, ids)
		same(t, "generations", []int64{taken[0].Generation, taken[1].Generation}, []int64{1, 2})
		_, err = s.TakeLease(t.Context(), v.AccountID, ids[0], time.Minute)
		wantErr(t, err, models.ErrLeased)
		taken, until, err = s.TakeLeases(t.Context(), models.NewID(), ids, time.Minute)
		ok(t, err)
		if len(taken) > 0 || until != nil {
			t.Fatalf("another account: got %d leases, until %v; want nothing", len(taken), until)
		}
	})
}

func TestTakersOfManyLeasesNeverWaitForEachOther(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		v := newPlatformVault(t, s)
		var ids []uuid.UUID
		for i := range 20 {
			ids = append(ids, v.credential(t, s, string(rune('a'+i)), nil).ID)
		}
		for range 5 {
			leases := make([][]models.Lease, 8)
			errs := together(len(leases), func(i int) (err error) {
				mine := slices.Clone(ids)
				if i%2 == 0 {
					slices.Reverse(mine)
				}
				leases[i], _, err = s.TakeLeases(t.Context(), v.AccountID, mine, time.Minute)
				return err
			})
			winners := 0
			for i, err := range errs {
				ok(t, err)
				if len(leases[i]) > 0 {
					winners++
					same(t, "leases", len(leases[i]), len(ids))
					ok(t, s.EndLeases(t.Context(), leases[i]))
				}
			}
			same(t, "winners", winners, 1)
		}
	})
}

// Whoever ends leases meets those who take or hold them: all of them go by the tokens'
// ids, or two would wait for each other.
func TestWhoEndsLeasesWaitsForOthersInTheirOrder(t *testing.T) {
	t.Parallel()
	storetest.EachURL(t, func(t *testing.T, url string) {
		s := storetest.Open(t, url)
		if s.Dialect() != store.Postgres {
			return // it has one writer
		}
		db := rawDB(t, s.Dialect(), url)
		v := newPlatformVault(t, s)
		ids := []uuid.UUID{v.credential(t, s, "a", nil).ID, v.credential(t, s, "b", nil).ID}
		leases, _, err := s.TakeLeases(t.Context(), v.AccountID, ids, time.Minute)
		ok(t, err)
		slices.SortFunc(leases, func(a, b models.Lease) int { return bytes.Compare(a.TokenID[:], b.TokenID[:]) })
		done := make(chan error, 1)
		inTx(t, s, func(ctx context.Context) error {
			ok(t, s.HoldLease(ctx, leases[0]))
			go func() { done <- s.EndLeases(t.Context(), []models.Lease{leases[1], leases[0]}) }()
			for n := 0; n == 0; {
				ok(t, db.QueryRowContext(t.Context(), `SELECT count(*) FROM pg_stat_activity
					WHERE application_name = current_setting('application_name') AND wait_event_type = 'Lock'`).Scan(&n))
			}
			return s.HoldLease(ctx, leases[1])
		})
		ok(t, <-done)
	})
}

func TestLeasesAreTakenOutsideOfTransactionsAndHeldInside(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		token := stored(t, s, newVault(t, s, models.ModeWebhook), "github")
		inTx(t, s, func(ctx context.Context) error {
			_, one := s.TakeLease(ctx, token.AccountID, token.ID, time.Minute)
			_, _, several := s.TakeLeases(ctx, token.AccountID, []uuid.UUID{token.ID}, time.Minute)
			_, due := s.ClaimDue(ctx, 1, time.Minute)
			_, outbox := s.ClaimOutbox(ctx, 1, time.Minute)
			for what, err := range map[string]error{"TakeLease": one, "TakeLeases": several, "ClaimDue": due, "ClaimOutbox": outbox} {
				if err == nil {
					t.Errorf("%s inside a transaction: got no error", what)
				}
			}
			return nil
		})
		same(t, "rows", s.Count(t, "refreshes"), int64(0))
		lease, err := s.TakeLease(t.Context(), token.AccountID, token.ID, time.Minute)
		ok(t, err)
		if err := s.HoldLease(t.Context(), lease); err == nil {
			t.Error("HoldLease outside of a transaction: got no error")
		}
		for _, id := range [][2]uuid.UUID{{token.AccountID, models.NewID()}, {models.NewID(), token.ID}} {
			_, err := s.TakeLease(t.Context(), id[0], id[1], time.Minute)
			wantErr(t, err, models.ErrNotFound)
		}
	})
}

// Whatever happens to a lease, exactly its last taker can write, and a live one cannot
// be taken.
func TestOnlyTheLastTakerOfALeaseWrites(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		v := newPlatformVault(t, s)
		rapid.Check(t, func(r *rapid.T) {
			c := v.credential(t, s, models.NewID().String(), nil)
			token, err := s.TokenByID(t.Context(), v.AccountID, c.ID)
			ok(t, err)
			var all []models.Lease
			current, live := -1, false // index of the lease that may write; whether its time is not over
			some := func() (int, models.Lease) {
				i := rapid.IntRange(0, len(all)-1).Draw(r, "lease")
				return i, all[i]
			}
			want := func(what string, i int, err error) {
				if i == current && err != nil || i != current && !errors.Is(err, models.ErrLeaseLost) {
					r.Fatalf("%s with lease %d of %d (in force: %d): got %v", what, i, len(all), current, err)
				}
			}
			r.Repeat(map[string]func(*rapid.T){
				"take": func(r *rapid.T) {
					l, err := s.TakeLease(t.Context(), v.AccountID, token.ID, time.Hour)
					switch {
					case live && !errors.Is(err, models.ErrLeased), !live && err != nil:
						r.Fatalf("take (live: %v): got %v", live, err)
					case err == nil:
						all, current, live = append(all, l), len(all), true
					}
				},
				"time passes": func(*rapid.T) {
					s.PassLease(t, v.AccountID, token.ID)
					live = false
				},
				"hold": func(r *rapid.T) {
					if len(all) == 0 {
						r.Skip()
					}
					i, l := some()
					want("hold", i, s.InTx(t.Context(), func(ctx context.Context) error { return s.HoldLease(ctx, l) }))
				},
				"finish": func(r *rapid.T) {
					if len(all) == 0 {
						r.Skip()
					}
					i, l := some()
					want("finish", i, s.FinishLease(t.Context(), l, models.Refresh{Attempts: i}))
					if i == current {
						current, live = -1, false
					}
				},
				"end": func(r *rapid.T) {
					if len(all) == 0 {
						r.Skip()
					}
					i, l := some()
					ok(t, s.EndLease(t.Context(), l))
					if i == current {
						current, live = -1, false
					}
				},
				"replace": func(*rapid.T) {
					token.CreationID = models.NewID().String()
					ok(t, s.UpdateToken(t.Context(), &token))
					current, live = -1, false
				},
			})
		})
	})
}
