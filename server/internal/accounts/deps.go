package accounts

import (
	"context"
	"io"
	"time"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
)

// Profiles changes and deletes accounts.
type Profiles interface {
	UpdateProfile(ctx context.Context, was, a *models.Account) error
	ReplacePasswordHash(ctx context.Context, id uuid.UUID, old, hash models.Opaque) error
	DeleteAccount(ctx context.Context, id uuid.UUID) error
}

// Tries limits how often something may fail, for all replicas together. TakeTry says
// from when on there is another when none is left: the zero time when there was.
type Tries interface {
	TakeTry(ctx context.Context, accountID uuid.UUID, kind models.TryKind, limit int, window time.Duration) (time.Time, error)
	ReturnTry(ctx context.Context, accountID uuid.UUID, kind models.TryKind) error
	// UseChallenge is models.ErrConflict when a challenge was answered before.
	UseChallenge(ctx context.Context, accountID, id uuid.UUID, until time.Time) error
}

// Factors keeps second factors. UseStep is models.ErrNotFound when the code of that
// step, or a later one, was used before.
type Factors interface {
	PutSecondFactor(ctx context.Context, f *models.SecondFactor) error
	SecondFactor(ctx context.Context, accountID uuid.UUID) (models.SecondFactor, error)
	UseStep(ctx context.Context, accountID, factorID uuid.UUID, step int64) error
	DeleteSecondFactor(ctx context.Context, accountID uuid.UUID) error
}

// RecoveryCodes keeps the hashes of recovery codes. UseRecoveryCode is
// models.ErrNotFound when there is no such code, or it was used before.
type RecoveryCodes interface {
	ReplaceRecoveryCodes(ctx context.Context, accountID uuid.UUID, codes []models.RecoveryCode) error
	UseRecoveryCode(ctx context.Context, accountID uuid.UUID, hash models.Opaque) error
	RecoveryCodesLeft(ctx context.Context, accountID uuid.UUID) (int, error)
}

// PasskeyRows keeps passkeys. PasskeyUsed is models.ErrNotFound when the counter
// stands elsewhere than from.
type PasskeyRows interface {
	CreatePasskey(ctx context.Context, p *models.Passkey) error
	Passkeys(ctx context.Context, accountID uuid.UUID) ([]models.Passkey, error)
	PasskeyUsed(ctx context.Context, accountID, id uuid.UUID, from, to int64, backedUp bool) error
	RenamePasskey(ctx context.Context, accountID, id uuid.UUID, name string) error
	DeletePasskey(ctx context.Context, accountID, id uuid.UUID) error
}

// Keys peppers passwords before they are hashed.
type Keys interface {
	Current() int
	PepperPassword(keyID int, accountID uuid.UUID, password string) ([]byte, error)
}

// Sealer seals second factors and challenges under the server's key, and
// authenticates passkeys.
type Sealer interface {
	SealSecondFactor(random io.Reader, f *models.SecondFactor, secret []byte) error
	OpenSecondFactor(f *models.SecondFactor) ([]byte, error)
	SealChallenge(random io.Reader, purpose string, state []byte) (string, error)
	OpenChallenge(purpose, text string) ([]byte, error)
	SignPasskey(p *models.Passkey)
	CheckPasskey(p *models.Passkey) error
}
