package store_test

import (
	"context"
	"errors"
	"testing"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/models/store/storetest"
)

func TestAccountComesBackWhole(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		has, err := s.HasAccounts(t.Context())
		ok(t, err)
		same(t, "HasAccounts of an empty database", has, false)
		want := filled[models.Account](t)
		want.Email = "ann@example.com"
		ok(t, s.CreateAccount(t.Context(), &want))

		got, err := s.Account(t.Context(), want.ID)
		ok(t, err)
		same(t, "by id", got, want)
		got, err = s.AccountByEmail(t.Context(), " Ann@Example.com ")
		ok(t, err)
		same(t, "by e-mail", got, want)
		has, err = s.HasAccounts(t.Context())
		ok(t, err)
		same(t, "HasAccounts", has, true)
	})
}

func TestCreateAccountStampsTheCallersTimes(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		a := newAccount(t, s)
		same(t, "created", a.CreatedAt, models.Stamp(at))
		got, err := s.Account(t.Context(), a.ID)
		ok(t, err)
		same(t, "account", got, a)
	})
}

func TestMissingAccountIsNotFound(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		_, err := s.Account(t.Context(), models.NewID())
		wantErr(t, err, models.ErrNotFound)
		_, err = s.AccountByEmail(t.Context(), "nobody@example.com")
		wantErr(t, err, models.ErrNotFound)
		_, err = s.AccountByEmail(t.Context(), "no\x00body@example.com")
		wantErr(t, err, models.ErrNotFound)
		_, err = s.AccountByEmail(t.Context(), "no\xffbody@example.com")
		wantErr(t, err, models.ErrNotFound)
		wantErr(t, s.SetAccountLock(t.Context(), models.NewID(), &at), models.ErrNotFound)
	})
}

func TestOnlyOneOfManyConcurrentAccountsGetsAnEmail(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		errs := together(20, func(int) error {
			return s.CreateAccount(t.Context(), &models.Account{ID: models.NewID(), Email: "same@example.com"})
		})
		none, conflicts := count(t, errs, models.ErrConflict)
		if none != 1 || conflicts != 19 {
			t.Fatalf("got %d created and %d conflicts, want 1 and 19", none, conflicts)
		}
	})
}

func TestTextThatNoDatabaseKeepsIsInvalid(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		for _, text := range []string{"a\x00b", "a\xffb"} {
			a := models.Account{ID: models.NewID(), Email: "x@example.com", DisplayName: text}
			wantErr(t, s.CreateAccount(t.Context(), &a), models.ErrInvalid)
			_, err := s.AccountByEmail(t.Context(), "x@example.com")
			wantErr(t, err, models.ErrNotFound)
		}
	})
}

func TestFirstAccountIsClaimedByExactlyOne(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		if _, err := s.ClaimFirstAccount(t.Context()); err == nil {
			t.Fatal("a claim outside a transaction: got no error, want one")
		}
		undone := errors.New("undone")
		err := s.InTx(t.Context(), func(ctx context.Context) error {
			if claimed, err := s.ClaimFirstAccount(ctx); err != nil || !claimed {
				t.Errorf("first claim: got %v, %v; want true", claimed, err)
			}
			return undone
		})
		wantErr(t, err, undone)

		claims := make([]bool, 50)
		errs := together(len(claims), func(i int) error {
			return s.InTx(t.Context(), func(ctx context.Context) (err error) {
				claims[i], err = s.ClaimFirstAccount(ctx)
				return err
			})
		})
		none, _ := count(t, errs, models.ErrConflict)
		winners := 0
		for _, claimed := range claims {
			if claimed {
				winners++
			}
		}
		if none != len(claims) || winners != 1 {
			t.Fatalf("got %d claims without error and %d winners, want %d and 1", none, winners, len(claims))
		}
	})
}

func TestAccountLockGoesOnAndOff(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		a := newAccount(t, s)
		c := watch(s)
		tells(t, c, a.ID, "lock", func() error { return s.SetAccountLock(t.Context(), a.ID, &at) })
		got, err := s.Account(t.Context(), a.ID)
		ok(t, err)
		same(t, "locked at", got.LockedAt, models.StampPtr(at))
		if !got.UpdatedAt.After(a.UpdatedAt) {
			t.Fatalf("updated at: got %v, want after %v", got.UpdatedAt, a.UpdatedAt)
		}
		tells(t, c, a.ID, "unlock", func() error { return s.SetAccountLock(t.Context(), a.ID, nil) })
		got, err = s.Account(t.Context(), a.ID)
		ok(t, err)
		same(t, "locked", got.Locked(), false)
	})
}

func TestAPasswordHashIsReplacedOnlyIfItIsStillTheOldOne(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		a := filled[models.Account](t)
		a.Email, a.PasswordHash = "ann@example.com", models.Opaque("old")
		ok(t, s.CreateAccount(t.Context(), &a))
		ok(t, s.ReplacePasswordHash(t.Context(), a.ID, models.Opaque("old"), models.Opaque("new")))
		wantErr(t, s.ReplacePasswordHash(t.Context(), a.ID, models.Opaque("old"), models.Opaque("newer")), models.ErrNotFound)
		wantErr(t, s.ReplacePasswordHash(t.Context(), models.NewID(), models.Opaque("new"), models.Opaque("newer")), models.ErrNotFound)
		got, err := s.Account(t.Context(), a.ID)
		ok(t, err)
		a.PasswordHash = models.Opaque("new")
		same(t, "account", got, a)
	})
}
