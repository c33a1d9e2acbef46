package models

import (
	"time"

	"github.com/google/uuid"
)

// AgentStatus says whether an agent may act.
type AgentStatus string

// The statuses of an agent.
const (
	AgentActive    AgentStatus = "active"
	AgentSuspended AgentStatus = "suspended"
)

// An Agent is a named program with an agent key.
type Agent struct {
	AccountID   uuid.UUID `gorm:"primaryKey"`
	ID          uuid.UUID `gorm:"primaryKey"`
	Name        string    // unique in its account
	Description string
	Status      AgentStatus
	GrantID     uuid.UUID // its agent key
	CreatedAt   time.Time
	UpdatedAt   time.Time
	LastUsedAt  *time.Time // coarse, written lazily
}

// RefreshPolicy of a credential grant: whether a release may cause a refresh.
type RefreshPolicy string

// The refresh policies.
const (
	RefreshAuto  RefreshPolicy = "auto"
	RefreshNever RefreshPolicy = "never"
)

// A CredentialGrant is an agent's permission to use one token. Granting another
// token of the same name replaces it.
type CredentialGrant struct {
	AccountID     uuid.UUID `gorm:"primaryKey"`
	AgentID       uuid.UUID `gorm:"primaryKey"`
	ServiceName   string    `gorm:"primaryKey"`
	TokenID       uuid.UUID
	RefreshPolicy RefreshPolicy
	ExpiresAt     *time.Time // nil: until revoked
	CreatedAt     time.Time
	KeyID         int    // server key that authenticates this row
	MAC           Opaque // over all other fields: a writer of the database cannot grant
}

// Expired reports whether the grant has run out at t.
func (g CredentialGrant) Expired(t time.Time) bool {
	return g.ExpiresAt != nil && !t.Before(*g.ExpiresAt)
}

// A GrantedToken is a credential grant with whether its token still exists, also
// as a superseded one, and whether it is in platform mode: its credential is here.
type GrantedToken struct {
	Grant       CredentialGrant
	TokenExists bool
	Platform    bool
}

// An AgentUse says when an agent was last used.
type AgentUse struct {
	AccountID uuid.UUID
	AgentID   uuid.UUID
	At        time.Time
}
