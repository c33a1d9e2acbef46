package models

import (
	"strings"
	"time"

	"github.com/google/uuid"
)

// VaultMode is a custody mode.
type VaultMode string

// The custody modes of a vault.
const (
	ModePlatform VaultMode = "platform"
	ModeWebhook  VaultMode = "webhook"
)

// An Account is a person or an organization; it owns vaults.
type Account struct {
	ID           uuid.UUID `gorm:"primaryKey"`
	Email        string    // as NormalizeEmail leaves it; unique
	DisplayName  string
	PasswordHash Opaque // argon2id in PHC string format, of the peppered password (package custody)
	LockedAt     *time.Time
	CreatedAt    time.Time
	UpdatedAt    time.Time
}

// Locked reports whether the owner's kill switch is on.
func (a Account) Locked() bool { return a.LockedAt != nil }

// NormalizeEmail is the form under which an e-mail address is unique.
func NormalizeEmail(email string) string { return strings.ToLower(strings.TrimSpace(email)) }

// A Vault is a container of tokens with one custody mode. The fields after
// CreatedAt are those of a platform vault; one of mode webhook has no key.
type Vault struct {
	AccountID     uuid.UUID `gorm:"primaryKey"`
	ID            uuid.UUID `gorm:"primaryKey"`
	Mode          VaultMode
	CreatedAt     time.Time
	Generation    int64      // of its data-encryption key, from 1
	RotationDueAt *time.Time // a grant lost it then: a new generation is to be made
	KeyID         int        // server key that authenticates this row
	MAC           Opaque     // over mode and generation
}
