package store_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/models/store/storetest"
)

var errUndo = errors.New("undo")

func TestFailedTransactionLeavesNothingAndTellsNobody(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		account := newAccount(t, s)
		grant, key := newGrant(t, s, account.ID)
		c := watch(s)
		work := func(ctx context.Context) {
			ok(t, s.EndGrant(ctx, account.ID, grant.ID, at))
			ok(t, s.SetAccountLock(ctx, account.ID, &at))
			ok(t, s.CreateAgent(ctx, &models.Agent{AccountID: account.ID, ID: models.NewID(), Name: "a"}))
		}
		unchanged := func(how string) {
			t.Helper()
			got, err := s.Account(t.Context(), account.ID)
			ok(t, err)
			same(t, "account after "+how, got, account)
			ok(t, second(s.GrantWithKey(t.Context(), account.ID, grant.ID, uint32(key.Slot))))
			agents, err := s.Agents(t.Context(), account.ID, uuid.Nil, 0)
			ok(t, err)
			same(t, "agents after "+how, len(agents), 0)
			same(t, "told after "+how, len(c.take()), 0)
		}
		wantErr(t, s.InTx(t.Context(), func(ctx context.Context) error {
			work(ctx)
			return errUndo
		}), errUndo)
		unchanged("an error")

		func() {
			defer func() { same(t, "recovered", recover(), any("boom")) }()
			_ = s.InTx(t.Context(), func(ctx context.Context) error {
				work(ctx)
				panic("boom")
			})
		}()
		unchanged("a panic")

		ctx, cancel := context.WithCancel(t.Context())
		if err := s.InTx(ctx, func(ctx context.Context) error {
			work(ctx)
			cancel()
			return nil
		}); err == nil {
			t.Fatal("a transaction whose context ended: got no error, want one")
		}
		c.take() // a commit was tried: whether it is told is not promised
		unchanged("the end of its context")
	})
}

func TestTransactionSeesItsOwnWritesAndOthersDoNot(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		a := models.Account{ID: models.NewID(), Email: "a@example.com"}
		ok(t, s.InTx(t.Context(), func(ctx context.Context) error {
			ok(t, s.CreateAccount(ctx, &a))
			_, err := s.Account(ctx, a.ID)
			ok(t, err)
			_, err = s.Account(t.Context(), a.ID)
			wantErr(t, err, models.ErrNotFound)
			return nil
		}))
		_, err := s.Account(t.Context(), a.ID)
		ok(t, err)
	})
}

func TestTransactionHasOneTimestamp(t *testing.T) {
	t.Parallel()
	storetest.EachURL(t, func(t *testing.T, url string) {
		clock := at
		s, err := store.Open(t.Context(), store.Options{URL: url, Now: func() time.Time {
			clock = clock.Add(time.Hour)
			return clock
		}})
		ok(t, err)
		t.Cleanup(func() { ok(t, s.Close()) })
		a := models.Account{ID: models.NewID(), Email: "a@example.com"}
		var now time.Time
		ok(t, s.InTx(t.Context(), func(ctx context.Context) error {
			now = s.Now(ctx)
			ok(t, s.CreateAccount(ctx, &a))
			return s.InTx(ctx, func(ctx context.Context) error {
				same(t, "now in the nested transaction", s.Now(ctx), now)
				return nil
			})
		}))
		same(t, "created", a.CreatedAt, now)
		same(t, "stamped", now, models.Stamp(at.Add(time.Hour)))
		if later := s.Now(t.Context()); !later.After(now) {
			t.Fatalf("now outside: got %v, want after %v", later, now)
		}
	})
}

func TestEachAccountOfATransactionIsToldOnceAfterTheCommit(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		a, b := newAccount(t, s), newAccount(t, s)
		told := map[uuid.UUID]int{}
		s.OnChange(func(id uuid.UUID) { told[id]++ })
		ok(t, s.InTx(t.Context(), func(ctx context.Context) error {
			for range 3 {
				ok(t, s.SetAccountLock(ctx, a.ID, &at))
				ok(t, s.InTx(ctx, func(ctx context.Context) error { return s.SetAccountLock(ctx, b.ID, &at) }))
			}
			same(t, "told before the commit", len(told), 0)
			return nil
		}))
		same(t, "told", told, map[uuid.UUID]int{a.ID: 1, b.ID: 1})
	})
}

func TestRefusedWriteLeavesTheTransactionUsable(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		a := newAccount(t, s)
		agent := newAgent(t, s, a.ID)
		ok(t, s.InTx(t.Context(), func(ctx context.Context) error {
			twin := agent
			twin.ID = models.NewID()
			wantErr(t, s.CreateAgent(ctx, &twin), models.ErrConflict)
			wantErr(t, s.InTx(ctx, func(ctx context.Context) error {
				return s.EndGrant(ctx, a.ID, models.NewID(), at)
			}), models.ErrNotFound)
			return s.SetAccountLock(ctx, a.ID, &at)
		}))
		got, err := s.Account(t.Context(), a.ID)
		ok(t, err)
		same(t, "locked", got.Locked(), true)
	})
}

func TestHalfDoneStepPreventsTheCommit(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		a := newAccount(t, s)
		grant, key := newGrant(t, s, a.ID)
		for name, step := range map[string]func(ctx context.Context) error{
			"a nested transaction that wrote": func(ctx context.Context) error {
				return s.InTx(ctx, func(ctx context.Context) error {
					ok(t, s.SetAccountLock(ctx, a.ID, &at))
					return errUndo
				})
			},
			"a method that the database refused": func(ctx context.Context) error {
				return s.CreateGrant(ctx, &grant, &key)
			},
		} {
			err := s.InTx(t.Context(), func(ctx context.Context) error {
				if err := step(ctx); err == nil {
					t.Errorf("%s: got no error, want one", name)
				}
				return nil // as if nothing had happened
			})
			if err == nil || !strings.Contains(err.Error(), "a step of the transaction failed") {
				t.Fatalf("%s: got error %v, want that a step failed", name, err)
			}
			got, err := s.Account(t.Context(), a.ID)
			ok(t, err)
			same(t, "account after "+name, got, a)
		}
	})
}

func TestWritersQueueUpInsteadOfFailing(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		a := newAccount(t, s)
		for _, err := range together(60, func(i int) error {
			if i%2 == 0 {
				return s.AppendAudit(t.Context(), stream(a.ID, 3))
			}
			return s.InTx(t.Context(), func(ctx context.Context) error {
				if _, err := s.Account(ctx, a.ID); err != nil {
					return err
				}
				return s.SetAccountLock(ctx, a.ID, &at)
			})
		}) {
			ok(t, err)
		}
	})
}

func TestTransactionsOfTwoStoresDoNotMix(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		other := storetest.Open(t, storetest.URL(t, s.Dialect()))
		a := models.Account{ID: models.NewID(), Email: "a@example.com"}
		wantErr(t, s.InTx(t.Context(), func(ctx context.Context) error {
			ok(t, other.CreateAccount(ctx, &a))
			return errUndo
		}), errUndo)
		_, err := other.Account(t.Context(), a.ID)
		ok(t, err)
		_, err = s.Account(t.Context(), a.ID)
		wantErr(t, err, models.ErrNotFound)
	})
}

func TestChangeOfUnknownResultIsTold(t *testing.T) {
	t.Parallel()
	p, through, direct := viaProxy(t)
	s, err := store.Open(t.Context(), store.Options{URL: through, MaxConns: 1})
	ok(t, err)
	t.Cleanup(func() { ok(t, s.Close()) })
	account := newAccount(t, s).ID
	ok(t, s.SetAccountLock(t.Context(), account, nil)) // its statements are prepared from here on
	c := watch(s)

	err = s.InTx(t.Context(), func(ctx context.Context) error {
		defer p.nextAfter(1, loseAnswer) // the notification passes, the commit's answer does not
		return s.SetAccountLock(ctx, account, &at)
	})
	if err == nil {
		t.Fatal("a commit whose answer was lost: got no error, want one")
	}
	same(t, "told", c.take(), []uuid.UUID{account})
	got, err := storetest.Open(t, direct).Account(t.Context(), account)
	ok(t, err)
	same(t, "locked", got.Locked(), true)

	got, err = s.Account(t.Context(), account) // on a new connection
	ok(t, err)
	same(t, "locked, as the store itself reads", got.Locked(), true)
}
