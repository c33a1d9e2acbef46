package accounts

import (
	"context"
	"encoding/base32"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/totp"
)

const (
	factorBytes  = 20               // of the secret, as RFC 4226 §4 recommends
	enrolWithin  = 15 * time.Minute // an unconfirmed secret is forgotten then
	factorIssuer = "Token Vault"
	codeSkew     = 1 // time steps: clocks differ, and typing takes time
)

// BeginSecondFactor makes the secret of a second factor for p's account; it counts
// when ConfirmSecondFactor gets a code of it. It is shown now and never again.
// INVALID_REQUEST with the field, CONFLICT when there is one already, RATE_LIMITED,
// SCOPE_DENIED for what is no session.
func (s *Service) BeginSecondFactor(ctx context.Context, p grants.Principal, c audit.Client, password string) (totp.Key, error) {
	const detail = "began to set up a second factor"
	account, err := s.confirm(ctx, p, c, "password", password, detail)
	if err != nil {
		return totp.Key{}, err
	}
	secret := make([]byte, factorBytes)
	if _, err := io.ReadFull(s.deps.Random, secret); err != nil {
		return totp.Key{}, fmt.Errorf("accounts: no randomness: %w", err)
	}
	text := base32.StdEncoding.EncodeToString(secret)
	key, err := totp.New(text, totp.Options{Issuer: factorIssuer, Account: account.Email})
	if err != nil {
		return totp.Key{}, err
	}
	f := models.SecondFactor{AccountID: account.ID, ID: models.NewID(), CreatedAt: s.deps.Now()}
	if err := s.deps.Sealer.SealSecondFactor(s.deps.Random, &f, []byte(text)); err != nil {
		return totp.Key{}, err
	}
	err = s.deps.Audit.Do(ctx, event(p, c, detail), func(ctx context.Context) error {
		err := s.deps.Factors.PutSecondFactor(ctx, &f)
		if errors.Is(err, models.ErrConflict) {
			return fault.New(fault.Conflict, "This account has a second factor already. Turn it off first to set up another.")
		}
		return err
	})
	if err != nil {
		return totp.Key{}, err
	}
	return key, nil
}

// ConfirmSecondFactor lets the second factor that was begun count from now on, if code
// is one of it, and returns recovery codes. INVALID_REQUEST with the field, CONFLICT
// when none was begun, or it is too long ago, RATE_LIMITED.
func (s *Service) ConfirmSecondFactor(ctx context.Context, p grants.Principal, c audit.Client, code string) (Codes, error) {
	if err := ownerOnly(p); err != nil {
		return Codes{}, err
	}
	f, err := s.deps.Factors.SecondFactor(ctx, p.AccountID)
	switch {
	case errors.Is(err, models.ErrNotFound) || err == nil && f.ConfirmedAt == nil && !s.deps.Now().Before(f.CreatedAt.Add(enrolWithin)):
		return Codes{}, fault.New(fault.Conflict, "There is nothing to confirm, or it was begun more than %d minutes ago. Begin again.", int(enrolWithin/time.Minute))
	case err != nil:
		return Codes{}, err
	case f.ConfirmedAt != nil:
		return Codes{}, fault.New(fault.Conflict, "The second factor is on already.")
	}
	turnedOn := event(p, c, "turned the second factor on")
	if err := s.try(ctx, turnedOn, models.TryCode); err != nil {
		return Codes{}, err
	}
	step, ok, err := s.match(&f, code)
	if err != nil {
		return Codes{}, err
	}
	if !ok {
		return Codes{}, fault.Field("code", "This is not the current code. Compare the clock of your device, and enter the code that it shows now.")
	}
	var codes Codes
	err = s.deps.Audit.Do(ctx, turnedOn, func(ctx context.Context) error {
		return s.deps.Store.InTx(ctx, func(ctx context.Context) error {
			err := s.deps.Factors.UseStep(ctx, p.AccountID, f.ID, step)
			if errors.Is(err, models.ErrNotFound) {
				return fault.New(fault.Conflict, "The second factor was confirmed or replaced at the same moment, elsewhere. Look at your settings again.")
			}
			if err != nil {
				return err
			}
			codes, err = s.makeRecoveryCodes(ctx, p.AccountID)
			return err
		})
	})
	if err != nil {
		return Codes{}, err
	}
	s.returnTry(ctx, p.AccountID, models.TryCode)
	return codes, nil
}

// DisableSecondFactor ends the second factor of p's account, and its recovery codes.
// It needs the password and a code, which may be a recovery code. INVALID_REQUEST with
// the field, NOT_FOUND, RATE_LIMITED.
func (s *Service) DisableSecondFactor(ctx context.Context, p grants.Principal, c audit.Client, password, code string) error {
	_, err := s.withFactor(ctx, p, c, "turned the second factor off", password, code, func(ctx context.Context) (Codes, error) {
		return Codes{}, s.deps.Factors.DeleteSecondFactor(ctx, p.AccountID)
	})
	return err
}

// NewRecoveryCodes replaces the recovery codes of p's account. It needs what
// DisableSecondFactor does.
func (s *Service) NewRecoveryCodes(ctx context.Context, p grants.Principal, c audit.Client, password, code string) (Codes, error) {
	return s.withFactor(ctx, p, c, "made new recovery codes", password, code, func(ctx context.Context) (Codes, error) {
		return s.makeRecoveryCodes(ctx, p.AccountID)
	})
}

// withFactor does something, in a transaction, that needs the password and a code.
func (s *Service) withFactor(ctx context.Context, p grants.Principal, c audit.Client, detail, password, code string,
	do func(ctx context.Context) (Codes, error)) (codes Codes, err error) {
	if err := ownerOnly(p); err != nil {
		return Codes{}, err
	}
	f, on, err := s.factor(ctx, p.AccountID)
	if err != nil {
		return Codes{}, err
	}
	if !on {
		return Codes{}, fault.New(fault.NotFound, "This account has no second factor.")
	}
	if _, err := s.confirm(ctx, p, c, "password", password, detail); err != nil {
		return Codes{}, err
	}
	e := event(p, c, detail)
	proof, err := s.prove(ctx, e, &f, code)
	if err != nil {
		return Codes{}, ofField(err)
	}
	err = s.deps.Audit.Do(ctx, e, func(ctx context.Context) error {
		return s.deps.Store.InTx(ctx, func(ctx context.Context) error {
			if err := proof.use(ctx); err != nil {
				return err
			}
			codes, err = do(ctx)
			return err
		})
	})
	if err != nil {
		return Codes{}, ofField(err)
	}
	s.returnTry(ctx, p.AccountID, models.TryCode)
	return codes, nil
}

// alsoCode demands a code of who has a second factor, besides the password that was
// right, and uses it up. What it is for is e. INVALID_REQUEST with the field,
// RATE_LIMITED.
func (s *Service) alsoCode(ctx context.Context, e audit.Event, code string) error {
	f, on, err := s.factor(ctx, e.AccountID)
	if err != nil || !on {
		return err
	}
	if code == "" || len(code) > maxCode {
		return fault.Field("code", "Enter the code that your device shows now, or a recovery code.")
	}
	proof, err := s.prove(ctx, e, &f, code)
	if err != nil {
		return ofField(err)
	}
	e.Detail += ", " + proof.detail
	err = s.deps.Audit.Do(ctx, e, func(ctx context.Context) error { return s.deps.Store.InTx(ctx, proof.use) })
	if err != nil {
		return ofField(err)
	}
	s.returnTry(ctx, e.AccountID, models.TryCode)
	return nil
}

// factor is the second factor of an account, if it has one that counts.
func (s *Service) factor(ctx context.Context, accountID uuid.UUID) (f models.SecondFactor, on bool, err error) {
	f, err = s.deps.Factors.SecondFactor(ctx, accountID)
	if errors.Is(err, models.ErrNotFound) {
		return f, false, nil
	}
	return f, err == nil && f.ConfirmedAt != nil, err
}

// A proof is a right code that is not used up yet: use does that, in a transaction,
// for all replicas.
type proof struct {
	detail string // for the record
	use    func(ctx context.Context) error
}

// prove checks a code of a second factor, or a recovery code. It counts the try, which
// the caller gives back when all is done. LOGIN_FAILED with the field, RATE_LIMITED,
// both on record as e.
func (s *Service) prove(ctx context.Context, e audit.Event, f *models.SecondFactor, code string) (proof, error) {
	if err := s.try(ctx, e, models.TryCode); err != nil {
		return proof{}, err
	}
	if recovery, is := recoveryCode(code); is {
		hash := recoveryHash(f.AccountID, recovery)
		return proof{"with a recovery code", func(ctx context.Context) error {
			return once(s.deps.Codes.UseRecoveryCode(ctx, f.AccountID, hash))
		}}, nil
	}
	step, ok, err := s.match(f, code)
	if err != nil {
		return proof{}, err
	}
	if !ok {
		e.Outcome, e.Detail = fault.LoginFailed, "wrong code of the second factor"
		if err := s.deps.Audit.Record(ctx, e); err != nil {
			return proof{}, err
		}
		return proof{}, wrongCode("This code is wrong, or no longer current. Enter the one that your device shows now, or a recovery code.")
	}
	return proof{"with a second factor", func(ctx context.Context) error {
		return once(s.deps.Factors.UseStep(ctx, f.AccountID, f.ID, step))
	}}, nil
}

// match compares a code in constant time; step is the time step to which it belongs.
func (s *Service) match(f *models.SecondFactor, code string) (step int64, ok bool, err error) {
	secret, err := s.deps.Sealer.OpenSecondFactor(f)
	if err != nil {
		return 0, false, fmt.Errorf("accounts: the second factor of account %s: %w", f.AccountID, err)
	}
	defer clear(secret)
	key, err := totp.ParseSecret(string(secret))
	if err != nil {
		return 0, false, fmt.Errorf("accounts: the second factor of account %s is malformed", f.AccountID)
	}
	step, ok = key.Match(code, s.deps.Now(), codeSkew)
	return step, ok, nil
}

// once says that a code was used before.
func once(err error) error {
	if errors.Is(err, models.ErrNotFound) {
		return wrongCode("This code is wrong, or was used before: each counts once. Wait for the next one, or enter a recovery code that you have not used.")
	}
	return err
}

func wrongCode(message string) error {
	failure := fault.New(fault.LoginFailed, "%s", message)
	failure.Field = "code"
	return failure
}

// ofField is a wrong code of somebody who is signed in: a field to mend.
func ofField(err error) error {
	if failure := fault.From(err); failure.Code == fault.LoginFailed {
		return fault.Field(failure.Field, "%s", failure.Message)
	}
	return err
}
