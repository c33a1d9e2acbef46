// Package mint turns a raw credential, which must never leave its webhook, into a
// short-lived token, which may: a Google service account's key into an access
// token, for example.
//
// Each kind of raw credential is one Minter in one file. A Minter keeps no state
// and caches nothing: it is called for each release. It makes its calls with the
// client that it is given, and goes only where a credential of its kind belongs,
// whatever the credential itself says.
//
// The package knows nothing of storage, tickets or HTTP handlers. Everything in it
// may be used concurrently.
package mint

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"
)

// ErrRedacted is returned by every attempt to marshal a Token.
var ErrRedacted = errors.New("mint: a token is not marshalled; take its fields")

// A Token is what was minted. It prints without AccessToken in every format and
// refuses to be marshalled.
type Token struct {
	AccessToken string
	TokenType   string // as in RFC 6749 §7.1; usually "Bearer"
	ExpiresAt   time.Time
	Extra       map[string]any // what else the agent is told; nothing that is secret
}

func (t Token) String() string {
	return fmt.Sprintf("mint.Token{%s, [redacted], expires %s}", t.TokenType, t.ExpiresAt.UTC().Format(time.RFC3339))
}

// GoString is String.
func (t Token) GoString() string { return t.String() }

// Format is String under every verb.
func (t Token) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, t.String()) }

// LogValue is String.
func (t Token) LogValue() slog.Value { return slog.StringValue(t.String()) }

// MarshalJSON returns ErrRedacted.
func (t Token) MarshalJSON() ([]byte, error) { return nil, ErrRedacted }

// MarshalText returns ErrRedacted.
func (t Token) MarshalText() ([]byte, error) { return nil, ErrRedacted }

// MarshalBinary returns ErrRedacted.
func (t Token) MarshalBinary() ([]byte, error) { return nil, ErrRedacted }

// A Request asks for a token. It prints without Raw.
type Request struct {
	Raw    []byte         // the raw credential; not kept, not changed
	Meta   map[string]any // the stored token's metadata: what the owner set, such as scopes
	Now    time.Time      // the clock; required
	Client *http.Client   // of package netguard; required
}

// Format writes a request without the raw credential, under every verb.
func (r Request) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "mint.Request{[redacted]}") }

// LogValue is a request without the raw credential.
func (r Request) LogValue() slog.Value { return slog.StringValue("mint.Request{[redacted]}") }

// A Minter mints tokens from one kind of raw credential. Implementations are used
// concurrently.
type Minter interface {
	// Kind names the kind of credential, such as "gcp". It is no secret.
	Kind() string
	// Recognizes reports whether raw is of this kind. It makes no calls, and is
	// handed raw credentials of every other kind as well.
	Recognizes(raw []byte) bool
	// Mint returns a token that is valid at r.Now. Its error is an *Error.
	Mint(ctx context.Context, r Request) (Token, error)
}

// A Set is the minters that a webhook has, in the order in which they are asked.
type Set []Minter

// Default is every minter of this package, as it is without options.
func Default() Set { return Set{GCP{}} }

// Find returns the first minter that recognizes raw.
func (s Set) Find(raw []byte) (Minter, bool) {
	for _, m := range s {
		if m.Recognizes(raw) {
			return m, true
		}
	}
	return nil, false
}
