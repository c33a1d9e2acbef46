package accounts

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/fault"
)

// ChallengeLife is how long a challenge may be answered.
const ChallengeLife = 5 * time.Minute

// What challenges are for: one for one purpose is none for another.
const (
	forCode     = "sign in: second factor"
	forPasskey  = "sign in: passkey"
	forNewKey   = "new passkey"
	forDeletion = "delete account: passkey"
)

// A challenge is what a browser keeps, sealed, until it answers. The server keeps
// nothing until then: whoever asks for challenges without being anybody costs no rows.
type challenge struct {
	ID      uuid.UUID
	Account uuid.UUID // zero: of whoever answers
	Until   time.Time
	Proof   []byte          `json:",omitempty"` // of the password that was right: another one ends the challenge
	Data    json.RawMessage `json:",omitempty"`
}

func (s *Service) seal(purpose string, of challenge) (string, error) {
	of.ID, of.Until = models.NewID(), s.deps.Now().Add(ChallengeLife)
	state, err := json.Marshal(of)
	if err != nil {
		return "", fmt.Errorf("accounts: challenge: %w", err)
	}
	return s.deps.Sealer.SealChallenge(s.deps.Random, purpose, state)
}

// opened is a challenge of that purpose that may still be answered, or nil.
func (s *Service) opened(purpose, text string) *challenge {
	state, err := s.deps.Sealer.OpenChallenge(purpose, text)
	if err != nil {
		return nil
	}
	var of challenge
	if json.Unmarshal(state, &of) != nil || !s.deps.Now().Before(of.Until) {
		return nil
	}
	return &of
}

// answered uses a challenge up, for all replicas: LOGIN_FAILED when it was before.
func (s *Service) answered(ctx context.Context, accountID uuid.UUID, of *challenge) error {
	err := s.deps.Tries.UseChallenge(ctx, accountID, of.ID, of.Until)
	if errors.Is(err, models.ErrConflict) {
		return tooLate()
	}
	return err
}

func tooLate() error {
	return fault.New(fault.LoginFailed, "This took longer than %d minutes, or was answered before. Start again.", int(ChallengeLife/time.Minute))
}

// challenge asks for a code of the second factor.
func (s *Service) challenge(ctx context.Context, a models.Account, c audit.Client) (SignIn, error) {
	if err := s.deps.Audit.Record(ctx, signInEvent(a.ID, c, "the password was right; a code of the second factor is asked for")); err != nil {
		return SignIn{}, err
	}
	text, err := s.seal(forCode, challenge{Account: a.ID, Proof: passwordProof(a)})
	if err != nil {
		return SignIn{}, err
	}
	return SignIn{AccountID: a.ID, Challenge: text}, nil
}

func passwordProof(a models.Account) []byte {
	sum := sha256.Sum256(a.PasswordHash)
	return sum[:8]
}

// CodeInput is the second step of signing in: what Login answered, and a code.
type CodeInput struct {
	Challenge string
	Code      string
}

// LoginCode signs in who knew the password, and knows a code. LOGIN_FAILED with the
// field when the code is wrong, without one when the first step is to be done again;
// RATE_LIMITED.
func (s *Service) LoginCode(ctx context.Context, in CodeInput, c audit.Client) (SignIn, error) {
	if in.Code == "" || len(in.Code) > maxCode {
		return SignIn{}, fault.Field("code", "Enter the code that your device shows now, or a recovery code.")
	}
	of := s.opened(forCode, in.Challenge)
	if of == nil {
		return SignIn{}, tooLate()
	}
	account, err := s.deps.Store.Account(ctx, of.Account)
	if errors.Is(err, models.ErrNotFound) {
		return SignIn{}, tooLate()
	}
	if err != nil {
		return SignIn{}, err
	}
	f, on, err := s.factor(ctx, account.ID)
	if err != nil {
		return SignIn{}, err
	}
	// A password that was changed, or a factor that was turned off: ask anew what counts now.
	if !on || subtle.ConstantTimeCompare(of.Proof, passwordProof(account)) != 1 {
		return SignIn{}, tooLate()
	}
	return s.second(ctx, &f, in.Code, c, of)
}

// second signs in with a code; of is the challenge that asked for it, if one did.
func (s *Service) second(ctx context.Context, f *models.SecondFactor, code string, c audit.Client, of *challenge) (SignIn, error) {
	right, err := s.prove(ctx, signInEvent(f.AccountID, c, ""), f, code)
	if err != nil {
		return SignIn{}, err
	}
	in, err := s.begin(ctx, f.AccountID, c, proof{right.detail, func(ctx context.Context) error {
		if of != nil {
			if err := s.answered(ctx, f.AccountID, of); err != nil {
				return err
			}
		}
		return right.use(ctx)
	}})
	if err == nil {
		s.returnTry(ctx, f.AccountID, models.TryCode)
	}
	return in, err
}
