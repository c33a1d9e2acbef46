// Package grants is what can sign in: it makes grants and their self-routing
// tokens, tells good tokens from bad ones, follows sessions with new tokens, and
// ends grants.
//
// It knows accounts, agents and vaults by their ids only: what a vault's key is
// and who opens it is told to others (Vaults). Tokens are never stored, nor
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
	Scopes    []string  // of what is not a session: see May
	AgentID   uuid.UUID // of an agent key; zero otherwise
	VaultID   uuid.UUID // the platform vault that the grant opens; zero: none
	Slot      uint32
	IssuedAt  time.Time
	ExpiresAt time.Time // of the token, not of the session; zero: until revoked
	RotateDue bool      // a session's token that should be followed: see Rotate
	Token     Token     // what was shown; Keys opens it again
}

// Issued is a new grant with its token, which exists nowhere else.
type Issued struct {
	Grant     models.Grant
	ExpiresAt time.Time // of the token; zero: until revoked
	Token     Token
}

// CreateKeyInput is what an API key is made from.
type CreateKeyInput struct {
	Name      string
	Scopes    []string   // of Scopes, at least one
	ExpiresAt *time.Time // nil: until revoked
}

// A View is a grant as its account sees it.
type View struct {
	ID         uuid.UUID
	Kind       models.GrantKind
	Label      string
	Scopes     []string  // of what is not a session
	AgentID    uuid.UUID // of an agent key; zero otherwise
	VaultID    uuid.UUID // the platform vault that it opens; zero: none
	Client     string    // user agent that signed in
	Address    string    // address that signed in
	CreatedAt  time.Time
	ExpiresAt  *time.Time // nil: until revoked
	LastUsedAt *time.Time // to a minute; nil: not yet
	Current    bool       // it is what the request itself signed in with
}
