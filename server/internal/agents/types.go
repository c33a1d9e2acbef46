// Package agents is agents, what they were granted, and the release of a
// credential to them: one function decides, one row records, and no row, no
// release.
//
// It knows no HTTP: a release in webhook mode is an address to go to. It never
// holds a credential of a webhook-mode vault.
package agents

import (
	"encoding/json"
	"time"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/server/internal/vaults"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// CreateInput is what an agent is made from.
type CreateInput struct {
	Name        string
	Description string
}

// UpdateInput changes what is not nil.
type UpdateInput struct {
	Name        *string
	Description *string
	Status      *models.AgentStatus
}

// GrantInput permits an agent to use one token.
type GrantInput struct {
	ServiceName   string
	ExpiresIn     time.Duration // 0: until revoked; else 1 hour to 30 days
	RefreshPolicy models.RefreshPolicy
}

// Created is an agent with its new key, shown once.
type Created struct {
	Agent models.Agent
	Key   grants.Token
	// Lost names what the agent was granted and its new key does not open, since it
	// is in a vault that who rotated it does not open, or damaged. Grant it anew from
	// there.
	Lost []string
}

// Detail is an agent with its credential grants, by service name.
type Detail struct {
	Agent  models.Agent
	Grants []models.CredentialGrant
}

// TicketLife is how long the ticket in Released.Location is good.
const TicketLife = wire.AgentTicketLife

// Released is where the agent fetches its credential, or the credential itself.
// Either is a secret, the former for as long as its ticket lives.
type Released struct {
	Location   string          // in webhook mode: the webhook's URL with a single-use ticket
	Credential json.RawMessage // in platform mode: in the caller's room, if it fits
}

// GrantView is what an agent is told about one of its credential grants.
type GrantView struct {
	Grant models.CredentialGrant
	Token vaults.TokenView // zero when the token is gone
}

// Identity is an agent as it sees itself.
type Identity struct {
	Agent     models.Agent
	AccountID uuid.UUID
	ExpiresAt time.Time // zero: until revoked
}
