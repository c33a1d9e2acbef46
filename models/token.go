package models

import (
	"time"

	"github.com/google/uuid"
)

// A Token is the metadata of a stored credential, named by its service. In
// webhook mode it is the index of what the webhook reported; no secret field
// exists here.
//
// Subject, IssuedAt and Scope are not part of what store.CredentialForAgent reads.
type Token struct {
	AccountID       uuid.UUID `gorm:"primaryKey"`
	ID              uuid.UUID `gorm:"primaryKey"`
	VaultID         uuid.UUID
	Owner           string // of the bridge, an API that an account published; mostly empty
	Bridge          string
	ServiceName     string // unique in its vault, with owner, bridge and scheme, among those not superseded
	Scheme          string
	TokenType       string
	DisplayName     string
	Notes           string
	Tags            []string `gorm:"serializer:json"`
	Provider        string
	CreationID      string // changes when the token is replaced
	ExpiresAt       *time.Time
	Subject         string     // of an OAuth token: whose it is at its provider
	IssuedAt        *time.Time // of an OAuth token: when it was last issued, or that was noticed
	Scope           string     // of an OAuth token: what it may do, as RFC 6749 spells it
	HasRefreshToken bool
	HasCertificate  bool
	HasPrivateKey   bool
	HasSSHKey       bool
	HasTOTPSecret   bool
	StoredAt        *time.Time // when the webhook stored it
	SeenAt          *time.Time // seenByServer: when, by which path, which creation
	SeenPath        string
	SeenCreationID  string
	SupersededAt    *time.Time // in platform mode: linking brought another of the name; kept beside it
	CreatedAt       time.Time
	UpdatedAt       time.Time
}

// TypeOAuth is the type of tokens that a provider issued, and may issue anew.
const TypeOAuth = "OAuth"

// Refreshable reports whether the token can be refreshed before it expires: it is
// from a provider, has what refreshes it, and expires at all.
func (t Token) Refreshable() bool {
	return t.TokenType == TypeOAuth && t.HasRefreshToken && t.ExpiresAt != nil
}

// SeenByServer reports whether the server saw this very secret once.
func (t Token) SeenByServer() bool { return t.SeenAt != nil && t.SeenCreationID == t.CreationID }
