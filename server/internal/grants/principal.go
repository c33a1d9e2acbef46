// Package grants is what can sign in: it makes grants and their self-routing
// tokens, tells good tokens from bad ones, and ends grants.
//
// It knows accounts and agents by their ids only. Tokens are never stored, nor
// hashes of them beyond the 30 seconds of a replica's memory.
package grants

import (
	"time"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
)

// A Principal is who a good token speaks for.
type Principal struct {
	AccountID uuid.UUID
	GrantID   uuid.UUID
	Kind      models.GrantKind
	AgentID   uuid.UUID // of an agent key; zero otherwise
	Slot      uint32
	IssuedAt  time.Time
	ExpiresAt time.Time // zero: until revoked
}

// Issued is a new grant with its token, which exists nowhere else.
type Issued struct {
	Grant models.Grant
	Token Token
}
