package accounts_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"sync"
	"testing"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/accounts"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/custody"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
)

// One account, whatever its hash, and nothing that can be written.
type oneAccount struct {
	accounts.Store
	account models.Account
}

func (s oneAccount) AccountByEmail(_ context.Context, email string) (models.Account, error) {
	if email != s.account.Email {
		return models.Account{}, models.ErrNotFound
	}
	return s.account, nil
}

func (s oneAccount) Account(context.Context, uuid.UUID) (models.Account, error) {
	return s.account, nil
}

func (oneAccount) InTx(ctx context.Context, do func(ctx context.Context) error) error { return do(ctx) }

// noFactors has none.
type noFactors struct{ accounts.Factors }

func (noFactors) SecondFactor(context.Context, uuid.UUID) (models.SecondFactor, error) {
	return models.SecondFactor{}, models.ErrNotFound
}

// An allRecord takes and does everything.
type allRecord struct{}

func (allRecord) Record(context.Context, audit.Event) error { return nil }
func (allRecord) Do(ctx context.Context, _ audit.Event, do func(context.Context) error) error {
	return do(ctx)
}

var errIssued = errors.New("the password was right: a session would be issued")

type noGrants struct{}

func (noGrants) Issue(context.Context, grants.IssueInput) (grants.Issued, error) {
	return grants.Issued{}, errIssued
}
func (noGrants) End(context.Context, uuid.UUID, uuid.UUID) error { return nil }

var knownAccount = uuid.MustParse("01890a5d-ac96-774b-bcce-b302099a8057")

func parse(t *testing.T, ring string) *custody.Keyring {
	t.Helper()
	keys, err := custody.ParseKeyring(ring)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func withHash(t *testing.T, hash string) *accounts.Service {
	t.Helper()
	return withHashOf(t, knownAccount, hash)
}

func withHashOf(t *testing.T, id uuid.UUID, hash string) *accounts.Service {
	t.Helper()
	account := models.Account{ID: id, Email: "ann@example.com"}
	if hash != "" {
		account.PasswordHash = models.Opaque(hash)
	}
	s, err := accounts.New(accounts.Deps{
		Store: oneAccount{account: account}, Keys: parse(t, knownRing), Factors: noFactors{}, Grants: noGrants{}, Audit: allRecord{}, Random: rand.Reader,
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// known is argon2id of "correct horse battery", peppered for knownAccount under
// key 7 of knownRing (bytes 0 to 31), computed by python3's package cryptography
// (Argon2id.derive_phc_encoded) at another cost than ours.
const (
	known     = "$argon2id$v=19$m=256,t=3,p=2,keyid=Bw$" + knownSalt + "$" + knownKey
	knownRing = "7:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
	knownSalt = "AAECAwQFBgcICQoLDA0ODw"
	knownKey  = "KwkTKzYaGjo7/0nPezSdc8dU0t0FwRYbtbXUezH1xDU"
)

func login(t *testing.T, s *accounts.Service, email, password string) error {
	t.Helper()
	_, err := s.Login(t.Context(), accounts.LoginInput{Email: email, Password: password}, audit.Client{})
	return err
}

func TestAHashOfAnotherImplementationAndCostIsUnderstood(t *testing.T) {
	t.Parallel()
	s := withHash(t, known)
	if err := login(t, s, "ann@example.com", password); !errors.Is(err, errIssued) {
		t.Errorf("the right password: %v", err)
	}
	for _, wrong := range []string{password + " ", password[1:], "Correct horse battery", "x"} {
		if err := login(t, s, "ann@example.com", wrong); fault.CodeOf(err) != fault.LoginFailed {
			t.Errorf("%q: %v, want LOGIN_FAILED", wrong, err)
		}
	}
}

func TestAHashThatWasMovedToAnotherAccountSignsNobodyIn(t *testing.T) {
	t.Parallel()
	if err := login(t, withHashOf(t, models.NewID(), known), "ann@example.com", password); fault.CodeOf(err) != fault.LoginFailed {
		t.Errorf("got %v, want LOGIN_FAILED", err)
	}
}

func TestAnAccountWithoutAPasswordIsSignedInToByNone(t *testing.T) {
	t.Parallel()
	if err := login(t, withHash(t, ""), "ann@example.com", password); fault.CodeOf(err) != fault.LoginFailed {
		t.Errorf("got %v, want LOGIN_FAILED", err)
	}
}

func TestAMalformedHashIsOurFaultAndNoPanic(t *testing.T) {
	t.Parallel()
	for _, hash := range []string{
		"x", "$argon2id", "$argon2id$v=19$m=256,t=3,p=2,keyid=Bw$" + knownSalt, "$argon2i$v=19$m=256,t=3,p=2,keyid=Bw$" + knownSalt + "$" + knownKey,
		"$argon2id$v=16$m=256,t=3,p=2,keyid=Bw$" + knownSalt + "$" + knownKey, "$argon2id$v=19$m=a,t=3,p=2,keyid=Bw$" + knownSalt + "$" + knownKey,
		"$argon2id$v=19$m=256,t=0,p=2,keyid=Bw$" + knownSalt + "$" + knownKey, "$argon2id$v=19$m=256,t=3,p=0,keyid=Bw$" + knownSalt + "$" + knownKey,
		"$argon2id$v=19$m=256,t=3,p=256,keyid=Bw$" + knownSalt + "$" + knownKey, "$argon2id$v=19$m=4294967295,t=3,p=2,keyid=Bw$" + knownSalt + "$" + knownKey,
		"$argon2id$v=19$m=256,t=4294967295,p=2,keyid=Bw$" + knownSalt + "$" + knownKey, "$argon2id$v=19$m=256,t=-1,p=2,keyid=Bw$" + knownSalt + "$" + knownKey,
		"$argon2id$v=19$m=256,t=3,p=2,keyid=Bw$" + knownSalt + "$", "$argon2id$v=19$m=256,t=3,p=2,keyid=Bw$" + knownSalt + "$AAAA", "$argon2id$v=19$m=256,t=3,p=2,keyid=Bw$!$" + knownKey,
		known + "$", "\x00",
		// What a writer of the database could make without a server key, and keys that there are not.
		"$argon2id$v=19$m=256,t=3,p=2$AAECAwQFBgcICQoLDA0ODw$ofROoWwE6tENReMThlkA0YqL9p+bwQXvcvNHUSBLRkU",
		"$argon2id$v=19$m=256,t=3,p=2,keyid=$" + knownSalt + "$" + knownKey, "$argon2id$v=19$m=256,t=3,p=2,keyid=BwcH$" + knownSalt + "$" + knownKey,
		"$argon2id$v=19$m=256,t=3,p=2,keyid=CA$" + knownSalt + "$" + knownKey,
	} {
		if err := login(t, withHash(t, hash), "ann@example.com", password); fault.CodeOf(err) != fault.Internal {
			t.Errorf("%q: %v, want INTERNAL", hash, err)
		}
	}
}

func TestAKnownAndAnUnknownEmailCostTheSameDerivation(t *testing.T) {
	t.Parallel()
	s := withHash(t, "$argon2id$v=19$m=19456,t=2,p=1,keyid=Bw$"+knownSalt+"$"+knownKey)
	type cost struct {
		passes, memory uint32
		threads        uint8
	}
	var costs []cost
	s.OnDerivation(true, func(passes, memory uint32, threads uint8) { costs = append(costs, cost{passes, memory, threads}) })
	_ = login(t, s, "ann@example.com", "wrong password")
	_ = login(t, s, "bob@example.com", "wrong password")
	if want := (cost{2, 19 * 1024, 1}); len(costs) != 2 || costs[0] != want || costs[1] != want {
		t.Errorf("derivations %+v, want two of %+v", costs, want)
	}
}

func TestOnlyTwoPasswordsAreHashedAtOnceAndWhoLeavesDoesNotWait(t *testing.T) {
	t.Parallel()
	s := withHash(t, known)
	began, finish := make(chan struct{}, 10), make(chan struct{})
	s.OnDerivation(true, func(uint32, uint32, uint8) { began <- struct{}{}; <-finish })
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() { _ = login(t, s, "ann@example.com", password) })
	}
	<-began
	<-began
	ctx, leave := context.WithCancel(t.Context())
	leave()
	_, err := s.Login(ctx, accounts.LoginInput{Email: "ann@example.com", Password: password}, audit.Client{})
	if !errors.Is(err, context.Canceled) || len(began) != 0 {
		t.Errorf("a third: %v with %d more derivations; want its context's error and none", err, len(began))
	}
	close(finish)
	wg.Wait()
}

func TestWhoWouldWaitTooLongToSignInIsToldSo(t *testing.T) {
	t.Parallel()
	s := withHash(t, known)
	began, finish := make(chan struct{}, accounts.HashesInAll), make(chan struct{})
	s.OnDerivation(true, func(uint32, uint32, uint8) { began <- struct{}{}; <-finish })
	codes := make(chan fault.Code, accounts.HashesInAll+1)
	var wg sync.WaitGroup
	for range accounts.HashesInAll + 1 {
		wg.Go(func() { codes <- fault.CodeOf(login(t, s, "ann@example.com", "wrong password")) })
	}
	if got := <-codes; got != fault.Unavailable { // the only one that is answered while nobody's hash gets done
		t.Errorf("the last to come: %q, want UNAVAILABLE", got)
	}
	close(finish)
	wg.Wait()
	close(codes)
	for got := range codes {
		if got != fault.LoginFailed {
			t.Errorf("one who waited: %q, want LOGIN_FAILED", got)
		}
	}
}

func TestWithoutRandomnessThereIsNoService(t *testing.T) {
	t.Parallel()
	if _, err := accounts.New(accounts.Deps{Keys: parse(t, knownRing), Random: bytes.NewReader(make([]byte, 47))}); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %v, want the reader's error", err)
	}
}
