package models

import (
	"time"

	"github.com/google/uuid"
)

// GrantKind says what can sign in with a grant.
type GrantKind string

// The kinds of grant.
const (
	GrantSession  GrantKind = "session"
	GrantAPIKey   GrantKind = "api_key"
	GrantAgentKey GrantKind = "agent_key"

	// The kinds of token of an OAuth client.
	GrantOAuthAccess  GrantKind = "oauth_access"
	GrantOAuthRefresh GrantKind = "oauth_refresh"
	GrantAuthCode     GrantKind = "auth_code"
)

// Shares reports whether grants of the kind open whole vaults. An agent's does
// not: it opens what it was granted.
func (k GrantKind) Shares() bool { return k != GrantAgentKey && k != GrantAuthCode }

// A Grant is something that can sign in. Its tokens are never stored, nor
// hashes of them: a token counts when its GrantKey unwraps under it.
type Grant struct {
	AccountID  uuid.UUID `gorm:"primaryKey"`
	ID         uuid.UUID `gorm:"primaryKey"`
	Kind       GrantKind
	Label      string
	Scopes     []string   `gorm:"serializer:json"` // of an API key: what it may do; policy, not cryptography
	AgentID    *uuid.UUID // of an agent key
	VaultID    *uuid.UUID // of what opens a platform vault
	PublicKey  []byte     // X25519, 32 bytes
	Client     string     // user agent that signed in
	Address    string     // address that signed in
	CreatedAt  time.Time
	ExpiresAt  *time.Time // nil: until revoked
	LastUsedAt *time.Time // coarse, written lazily
	EndedAt    *time.Time
	KeyID      int    // server key that authenticates this row
	MAC        Opaque // over all fields that steer keys
}

// Live reports whether the grant can sign in at t.
func (g Grant) Live(t time.Time) bool {
	return g.EndedAt == nil && (g.ExpiresAt == nil || t.Before(*g.ExpiresAt))
}

// A GrantKey is one token generation (slot) of a grant: the grant's private key
// under a key that only this slot's token yields.
type GrantKey struct {
	AccountID         uuid.UUID `gorm:"primaryKey"`
	GrantID           uuid.UUID `gorm:"primaryKey"`
	Slot              int64     `gorm:"primaryKey;autoIncrement:false"` // uint32 on the wire
	TokenKeyID        int       // server key that seals the token
	WrappedPrivateKey Opaque    // AES-KW, 40 bytes
	IssuedAt          time.Time
	ExpiresAt         *time.Time
	KeyID             int // server key that authenticates this row
	MAC               Opaque
}

// A GrantUse says when a grant was last used.
type GrantUse struct {
	AccountID uuid.UUID
	GrantID   uuid.UUID
	At        time.Time
}
