// Package accounts is registration and sign-in: e-mail and password (argon2id), a
// second factor (RFC 6238) and passkeys (WebAuthn) into a login session, and out again;
// and what people change of that: profile, password, factors, the end of an account.
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

// LoginInput is what signs in. Code is of the second factor, or a recovery code, where
// the account has one.
type LoginInput struct {
	Email    string
	Password string
	Code     string
}

// A SignIn is a new login session. Token exists nowhere else; it ends at ExpiresAt,
// the session itself when nothing has followed the token by then. With a Challenge
// there is none yet: the password was right, and a code is needed within ChallengeLife.
type SignIn struct {
	Challenge string
	AccountID uuid.UUID
	GrantID   uuid.UUID
	ExpiresAt time.Time
	Token     grants.Token
}
