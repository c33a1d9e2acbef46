package models

import (
	"time"

	"github.com/google/uuid"
)

// A SecondFactor is an account's TOTP secret, which guards signing in. It counts once
// it is confirmed.
type SecondFactor struct {
	AccountID   uuid.UUID `gorm:"primaryKey"`
	ID          uuid.UUID // of this secret: another one has another
	KeyID       int       // server key that seals the secret
	Sealed      Opaque
	LastStep    int64 // time step of the last code that counted; no code of it or before counts again
	CreatedAt   time.Time
	ConfirmedAt *time.Time // nil: a code of it has not been entered yet
}

// A RecoveryCode signs in once in place of a code of the second factor.
type RecoveryCode struct {
	AccountID uuid.UUID `gorm:"primaryKey"`
	Hash      Opaque    `gorm:"primaryKey"` // SHA-256, of 80 random bits
	CreatedAt time.Time
	UsedAt    *time.Time
}

// A Passkey is a public key whose private key is on a device of the account's owner
// (WebAuthn).
type Passkey struct {
	AccountID      uuid.UUID `gorm:"primaryKey"`
	ID             uuid.UUID `gorm:"primaryKey"`
	CredentialID   []byte    // as the device calls it
	PublicKey      []byte    // COSE
	Name           string
	Transports     []string `gorm:"serializer:json"`
	BackupEligible bool     // it may be copied to other devices of its owner
	BackedUp       bool
	SignCount      int64 // of the last sign-in; 0 of devices that do not count
	CreatedAt      time.Time
	LastUsedAt     *time.Time
	KeyID          int    // server key that authenticates this row
	MAC            Opaque // over all but name, transports, backup and use
}

// A UsedChallenge is one that was answered, and so counts no more.
type UsedChallenge struct {
	AccountID uuid.UUID `gorm:"primaryKey"`
	ID        uuid.UUID `gorm:"primaryKey"`
	ExpiresAt time.Time // from then on it is refused for its age, and the row can go
}

// TryKind says what is tried.
type TryKind string

// What is limited in how often it may fail.
const (
	TryCode     TryKind = "code"     // of the second factor, or a recovery code
	TryPassword TryKind = "password" // the current one, of who is signed in
)

// SignInTries counts tries of one kind since the beginning of a window.
type SignInTries struct {
	AccountID uuid.UUID `gorm:"primaryKey"`
	Kind      TryKind   `gorm:"primaryKey"`
	Since     time.Time
	Tries     int
}
