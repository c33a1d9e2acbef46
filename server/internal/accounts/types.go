// Package accounts is registration and sign-in: e-mail and password (argon2id)
// into a login session, and out again.
//
// It knows neither cookies nor pages: a door turns a SignIn into its own shape.
package accounts

import (
	"time"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/server/internal/grants"
)

// RegisterInput is what a new account is made from.
type RegisterInput struct {
	Email       string
	Password    string
	DisplayName string
}

// LoginInput is what signs in.
type LoginInput struct {
	Email    string
	Password string
}

// A SignIn is a new login session. Token exists nowhere else; it ends at ExpiresAt,
// the session itself when nothing has followed the token by then.
type SignIn struct {
	AccountID uuid.UUID
	GrantID   uuid.UUID
	ExpiresAt time.Time
	Token     grants.Token
}
