package models

import (
	"time"

	"github.com/google/uuid"
)

// BindingState is where a binding stands.
type BindingState string

// The states of a binding: pending → active → ended, or pending → ended.
const (
	BindingPending BindingState = "pending" // secret exchanged, no signed call has succeeded yet
	BindingActive  BindingState = "active"
	BindingEnded   BindingState = "ended"
)

// Health verdicts of a bound webhook.
const (
	HealthUnknown   = "unknown"
	HealthHealthy   = "healthy"
	HealthUnhealthy = "unhealthy"
)

// A Binding pairs a customer's webhook with a vault. An account has at most one
// active and one pending binding; a pending one is kept so that nothing is lost
// when the process ends between the exchange and the first signed call.
type Binding struct {
	AccountID       uuid.UUID `gorm:"primaryKey"`
	ID              uuid.UUID `gorm:"primaryKey"`
	VaultID         uuid.UUID
	State           BindingState
	URL             string // base URL, canonical, without a trailing slash
	WebhookID       string
	Fingerprint     string   // lower-case hex SHA-256 of the secret
	SecretKeyID     int      // server key that seals the secret
	SealedSecret    Opaque   // the 32 bytes of the binding secret
	Version         string   // protocol version that the webhook reported
	Capabilities    []string `gorm:"serializer:json"`
	SealKey         string   // HPKE key pinned at binding: "id kem base64", empty when the webhook has none
	SignKey         string   // Ed25519 key pinned at binding, standard base64
	HealthStatus    string   // HealthUnknown, HealthHealthy, HealthUnhealthy
	HealthDetail    string
	HealthCheckedAt *time.Time
	CreatedAt       time.Time
	ActivatedAt     *time.Time
	EndedAt         *time.Time
}

// Activate makes a pending binding the one in use.
func (b *Binding) Activate(at time.Time) error {
	if b.State != BindingPending {
		return ErrInvalid
	}
	b.State, b.ActivatedAt = BindingActive, StampPtr(at)
	return nil
}

// End takes a binding out of use and forgets its secret.
func (b *Binding) End(at time.Time) {
	b.State, b.EndedAt, b.SealedSecret = BindingEnded, StampPtr(at), nil
}
