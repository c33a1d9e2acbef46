package models

import (
	"time"

	"github.com/google/uuid"
)

// WholeGrant is the slot of a key that every token of a grant opens.
const WholeGrant int64 = -1

// KeyForm says under what a key is wrapped.
type KeyForm string

// The forms of a wrapped key.
const (
	FormSlot     KeyForm = "slot"      // AES-KW under a key that one slot's token yields
	FormShared   KeyForm = "shared"    // to the grant's public key, by another grant
	FormHandOver KeyForm = "hand_over" // under the grant's private key, by itself
)

// A VaultKey is a generation of a platform vault's data-encryption key, wrapped
// for one grant, or for one slot of it.
type VaultKey struct {
	AccountID  uuid.UUID `gorm:"primaryKey"`
	GrantID    uuid.UUID `gorm:"primaryKey"`
	VaultID    uuid.UUID `gorm:"primaryKey"`
	Generation int64     `gorm:"primaryKey;autoIncrement:false"`
	Slot       int64     `gorm:"primaryKey;autoIncrement:false"` // WholeGrant unless FormSlot
	Form       KeyForm
	SenderID   *uuid.UUID // grant that wrapped it, of FormShared
	Wrapped    Opaque
	CreatedAt  time.Time
	KeyID      int // server key that authenticates this row
	MAC        Opaque
}

// A Credential is the secret part of a token in platform mode: the ciphertext.
// Its id is the token's.
type Credential struct {
	AccountID  uuid.UUID `gorm:"primaryKey"`
	ID         uuid.UUID `gorm:"primaryKey"`
	VaultID    uuid.UUID
	Generation int64 // of the vault's key from which its own key derives
	Epoch      int64 // raised whenever an agent loses it
	Version    int64 // raised at each write
	Sealed     Opaque
	RekeyDueAt *time.Time // an agent lost it then: a new epoch is to be made
	UpdatedAt  time.Time
}

// A CredentialKey is a credential's key, wrapped for one agent's grant.
type CredentialKey struct {
	AccountID    uuid.UUID `gorm:"primaryKey"`
	CredentialID uuid.UUID `gorm:"primaryKey"`
	GrantID      uuid.UUID `gorm:"primaryKey"` // the agent key's
	Slot         int64     `gorm:"primaryKey;autoIncrement:false"`
	Epoch        int64
	Form         KeyForm    // FormShared or FormSlot
	SenderID     *uuid.UUID // grant that wrapped it, of FormShared
	Wrapped      Opaque
	CreatedAt    time.Time
	KeyID        int // server key that authenticates this row
	MAC          Opaque
}

// A Successor is the token that follows another of its grant, sealed so that
// only that other one opens it.
type Successor struct {
	AccountID uuid.UUID `gorm:"primaryKey"`
	GrantID   uuid.UUID `gorm:"primaryKey"`
	Slot      int64     `gorm:"primaryKey;autoIncrement:false"` // of the token that is followed
	NextSlot  int64
	Sealed    Opaque
	CreatedAt time.Time
	SeenAt    *time.Time // when the successor was first used
}

// EscrowState is where an escrow stands.
type EscrowState string

// The states of an escrow: pending, then one of the others for ever.
const (
	EscrowPending   EscrowState = "pending"
	EscrowAccepted  EscrowState = "accepted"
	EscrowDeclined  EscrowState = "declined"
	EscrowCancelled EscrowState = "cancelled"
	EscrowExpired   EscrowState = "expired"
)

// EscrowLife is how long an escrow may be accepted.
const EscrowLife = 24 * time.Hour

// An Escrow is a vault's key in transit from one grant to another.
type Escrow struct {
	AccountID  uuid.UUID `gorm:"primaryKey"`
	ID         uuid.UUID `gorm:"primaryKey"`
	VaultID    uuid.UUID
	Generation int64
	FromID     uuid.UUID // grant that shares
	ToID       uuid.UUID // grant that may accept
	Wrapped    Opaque    // nil once it is not pending
	State      EscrowState
	CreatedAt  time.Time
	ExpiresAt  time.Time
	EndedAt    *time.Time
	KeyID      int // server key that authenticates this row
	MAC        Opaque
}

// End takes an escrow out of pending and forgets the key. ErrInvalid when it is
// not pending.
func (e *Escrow) End(to EscrowState, at time.Time) error {
	if e.State != EscrowPending || to == EscrowPending {
		return ErrInvalid
	}
	e.State, e.EndedAt, e.Wrapped = to, StampPtr(at), nil
	return nil
}
