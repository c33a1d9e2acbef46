package store_test

import (
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/models/store/storetest"
)

// newFactor is a second factor of an account that nobody has confirmed.
func newFactor(t *testing.T, account uuid.UUID) models.SecondFactor {
	t.Helper()
	f := filled[models.SecondFactor](t)
	f.AccountID, f.ConfirmedAt, f.LastStep = account, nil, 0
	return f
}

func TestASecondFactorComesBackAsItWasStored(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		account := newAccount(t, s).ID
		_, err := s.SecondFactor(t.Context(), account)
		wantErr(t, err, models.ErrNotFound)
		first, second := newFactor(t, account), newFactor(t, account)
		ok(t, s.PutSecondFactor(t.Context(), &first))
		ok(t, s.PutSecondFactor(t.Context(), &second)) // the first was never confirmed
		got, err := s.SecondFactor(t.Context(), account)
		ok(t, err)
		same(t, "second factor", got, second)
		wantErr(t, s.UseStep(t.Context(), account, first.ID, 7), models.ErrNotFound)
		ok(t, s.UseStep(t.Context(), account, second.ID, 7))
		got, err = s.SecondFactor(t.Context(), account)
		ok(t, err)
		if got.LastStep != 7 || got.ConfirmedAt == nil {
			t.Errorf("after its first code: %+v, want step 7, confirmed", got)
		}
		third := newFactor(t, account)
		wantErr(t, s.PutSecondFactor(t.Context(), &third), models.ErrConflict)
		kept, err := s.SecondFactor(t.Context(), account)
		ok(t, err)
		same(t, "the confirmed one", kept, got)
		stray := newFactor(t, models.NewID())
		wantErr(t, s.PutSecondFactor(t.Context(), &stray), models.ErrNotFound)
	})
}

func TestACodeIsUsedOnceByWhoeverComesFirst(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		account := newAccount(t, s).ID
		f := newFactor(t, account)
		ok(t, s.PutSecondFactor(t.Context(), &f))
		errs := together(8, func(int) error { return s.UseStep(t.Context(), account, f.ID, 100) })
		none, _ := count(t, errs, models.ErrNotFound)
		same(t, "callers for whom the code counted", none, 1)
		wantErr(t, s.UseStep(t.Context(), account, f.ID, 99), models.ErrNotFound)
		ok(t, s.UseStep(t.Context(), account, f.ID, 101))
	})
}

func TestARecoveryCodeIsUsedOnceAndGoesWithItsFactor(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		account := newAccount(t, s).ID
		f := newFactor(t, account)
		ok(t, s.PutSecondFactor(t.Context(), &f))
		codes := func(texts ...string) (rows []models.RecoveryCode) {
			for _, text := range texts {
				rows = append(rows, models.RecoveryCode{AccountID: account, Hash: models.Opaque(text), CreatedAt: at})
			}
			return rows
		}
		ok(t, s.ReplaceRecoveryCodes(t.Context(), account, codes("a", "b")))
		ok(t, s.ReplaceRecoveryCodes(t.Context(), account, codes("b", "c", "d")))
		wantErr(t, s.UseRecoveryCode(t.Context(), account, models.Opaque("a")), models.ErrNotFound)
		errs := together(8, func(int) error { return s.UseRecoveryCode(t.Context(), account, models.Opaque("b")) })
		none, _ := count(t, errs, models.ErrNotFound)
		same(t, "callers for whom the recovery code counted", none, 1)
		wantErr(t, s.UseRecoveryCode(t.Context(), newAccount(t, s).ID, models.Opaque("c")), models.ErrNotFound)
		left, err := s.RecoveryCodesLeft(t.Context(), account)
		ok(t, err)
		same(t, "codes left", left, 2)
		ok(t, s.DeleteSecondFactor(t.Context(), account))
		left, err = s.RecoveryCodesLeft(t.Context(), account)
		ok(t, err)
		same(t, "codes left without the factor", left, 0)
		wantErr(t, s.DeleteSecondFactor(t.Context(), account), models.ErrNotFound)
	})
}

func TestTriesAreLimitedForAllReplicasWithinAWindow(t *testing.T) {
	t.Parallel()
	storetest.EachURL(t, func(t *testing.T, url string) {
		now := time.Now().Truncate(time.Second)
		s, err := store.Open(t.Context(), store.Options{URL: url, Now: func() time.Time { return now }})
		ok(t, err)
		t.Cleanup(func() { ok(t, s.Close()) })
		account, other := newAccount(t, s).ID, newAccount(t, s).ID
		take := func(of uuid.UUID, kind models.TryKind) time.Time {
			t.Helper()
			again, err := s.TakeTry(t.Context(), of, kind, 3, time.Minute)
			ok(t, err)
			return again
		}
		allowed := make(chan bool, 8)
		for _, err := range together(8, func(int) error {
			again, err := s.TakeTry(t.Context(), account, models.TryCode, 3, time.Minute)
			allowed <- again.IsZero()
			return err
		}) {
			ok(t, err)
		}
		n := 0
		for range 8 {
			if <-allowed {
				n++
			}
		}
		same(t, "tries at once that were allowed", n, 3)
		same(t, "when there is another", take(account, models.TryCode), now.Add(time.Minute).UTC())
		same(t, "another kind", take(account, models.TryPassword).IsZero(), true)
		same(t, "another account", take(other, models.TryCode).IsZero(), true)
		ok(t, s.ReturnTry(t.Context(), account, models.TryCode))
		same(t, "after one was given back", take(account, models.TryCode).IsZero(), true)
		same(t, "and the next", take(account, models.TryCode).IsZero(), false)
		now = now.Add(time.Minute)
		same(t, "in the next window", take(account, models.TryCode).IsZero(), true)
		_, err = s.TakeTry(t.Context(), models.NewID(), models.TryCode, 3, time.Minute)
		wantErr(t, err, models.ErrNotFound)
	})
}

func TestAChallengeIsAnsweredOnce(t *testing.T) {
	t.Parallel()
	storetest.EachURL(t, func(t *testing.T, url string) {
		s := storetest.Open(t, url)
		account := newAccount(t, s).ID
		id, until := models.NewID(), time.Now().Add(time.Minute)
		ok(t, s.UseChallenge(t.Context(), account, models.NewID(), time.Now().Add(-2*time.Hour)))
		errs := together(8, func(int) error { return s.UseChallenge(t.Context(), account, id, until) })
		none, _ := count(t, errs, models.ErrConflict)
		same(t, "callers for whom it counted", none, 1)
		wantErr(t, s.UseChallenge(t.Context(), models.NewID(), id, until), models.ErrNotFound)
		left := texts(t, rawDB(t, s.Dialect(), url), "SELECT CAST(id AS text) FROM used_challenges")
		same(t, "rows left", left, []string{id.String()})
	})
}

func TestAPasskeyComesBackAsItWasStored(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		account := newAccount(t, s).ID
		p := filled[models.Passkey](t)
		p.AccountID = account
		ok(t, s.CreatePasskey(t.Context(), &p))
		got, err := s.Passkeys(t.Context(), account)
		ok(t, err)
		same(t, "passkeys", got, []models.Passkey{p})
		again := p
		again.ID = models.NewID()
		wantErr(t, s.CreatePasskey(t.Context(), &again), models.ErrConflict)

		ok(t, s.RenamePasskey(t.Context(), account, p.ID, "phone"))
		wantErr(t, s.RenamePasskey(t.Context(), account, p.ID, "\x00"), models.ErrInvalid)
		wantErr(t, s.RenamePasskey(t.Context(), newAccount(t, s).ID, p.ID, "phone"), models.ErrNotFound)
		errs := together(8, func(int) error { return s.PasskeyUsed(t.Context(), account, p.ID, p.SignCount, p.SignCount+1, true) })
		none, _ := count(t, errs, models.ErrNotFound)
		same(t, "uses of one counter that counted", none, 1)
		got, err = s.Passkeys(t.Context(), account)
		ok(t, err)
		if k := got[0]; k.Name != "phone" || k.SignCount != p.SignCount+1 || !k.BackedUp || k.LastUsedAt == nil {
			t.Errorf("after its use: %+v", k)
		}
		ok(t, s.DeletePasskey(t.Context(), account, p.ID))
		wantErr(t, s.DeletePasskey(t.Context(), account, p.ID), models.ErrNotFound)
	})
}

func TestAProfileChangesUnlessTheAddressIsTaken(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		a, other := newAccount(t, s), newAccount(t, s)
		was := a
		a.DisplayName, a.Email = "Ann", "ann-"+a.ID.String()+"@example.com"
		ok(t, s.UpdateProfile(t.Context(), &was, &a))
		got, err := s.Account(t.Context(), a.ID)
		ok(t, err)
		same(t, "name and address", []string{got.DisplayName, got.Email}, []string{a.DisplayName, a.Email})
		taken := a
		taken.Email, taken.DisplayName = other.Email, "Bob"
		wantErr(t, s.UpdateProfile(t.Context(), &a, &taken), models.ErrConflict)
		kept, err := s.Account(t.Context(), a.ID)
		ok(t, err)
		same(t, "the account after a refusal", kept, got)
		// Who read it before it changed would put the address of then back.
		renamed := was
		renamed.DisplayName = "Eve"
		wantErr(t, s.UpdateProfile(t.Context(), &was, &renamed), models.ErrNotFound)
		kept, err = s.Account(t.Context(), a.ID)
		ok(t, err)
		same(t, "the account after it was changed from what it is no more", kept, got)
		stray := models.Account{ID: models.NewID(), Email: "stray@example.com"}
		wantErr(t, s.UpdateProfile(t.Context(), &stray, &stray), models.ErrNotFound)
	})
}
