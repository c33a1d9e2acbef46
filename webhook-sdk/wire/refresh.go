package wire

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"slices"
	"strings"
)

// Reasons of a RefreshNotifyRequest. ReasonRequested is an extension: somebody asked
// for it, so that a token is refreshed that is not due yet.
const (
	ReasonExpiring  = "token_expiring"
	ReasonRequested = "requested"
)

// Actions of a RefreshRequest.
const (
	RefreshGet    = "get"
	RefreshUpdate = "update"
)

// Statuses of a RefreshResponse, besides NotifyNoToken and NotifyNoRefreshToken.
const (
	RefreshOK      = "ok"
	RefreshUpdated = "updated"
)

// MetaRefreshSequence is the metadata of a token that counts the changes of its
// tokens under one creationId (extension of capability outbox). An update bears a
// greater number, so that one that arrives late does not undo a newer one; RefreshGet
// says in Meta what the number is. Absent is 0.
const MetaRefreshSequence = "refreshSequence"

// A RefreshRequest is the one call in which TV sees credential material, in transit
// (capability tv-refresh). An update bears either Tokens or Sealed.
type RefreshRequest struct {
	RequestID string         `json:"requestId"`
	Action    string         `json:"action"`
	Service   string         `json:"service"`
	Tokens    *RefreshTokens `json:"tokens,omitempty"`
	Sealed    *Sealed        `json:"sealed,omitempty"`
	// CreationID and Sequence are extensions, for an update with Tokens: it applies to
	// the token of that creation, and if the number is greater than its
	// MetaRefreshSequence; else it is answered stale_creation. Zero: not looked at.
	CreationID string `json:"creationId,omitempty"`
	Sequence   int64  `json:"sequence,omitempty"`
}

// A RefreshResponse answers both actions; which fields are set depends on it.
type RefreshResponse struct {
	RequestID    string         `json:"requestId,omitempty"`
	Status       string         `json:"status"`
	RefreshToken RefreshToken   `json:"refreshToken,omitempty"`
	Meta         map[string]any `json:"meta,omitempty"`
	NewExpiresAt string         `json:"newExpiresAt,omitempty"` // RFC 3339
}

// A RefreshToken prints as "[redacted]"; JSON has its value.
type RefreshToken string

// String returns no secret.
func (RefreshToken) String() string { return redacted }

// Format writes no secret, under every verb.
func (RefreshToken) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue returns no secret.
func (RefreshToken) LogValue() slog.Value { return slog.StringValue(redacted) }

// RefreshTokens are what a refresh gave. They print as "[redacted]"; JSON has their
// values. Fields that a webhook does not know are ignored. What is read may be the only
// copy of a refresh token: fractions of expiryTime are cut off, and scopes that are none
// are left out.
type RefreshTokens struct {
	AccessToken  string   `json:"accessToken"`
	RefreshToken string   `json:"refreshToken,omitempty"` // "": the stored one stays
	ExpiryTime   int64    `json:"expiryTime,omitempty"`   // Unix ms; 0: not known, or never
	Scopes       []string `json:"scopes,omitempty"`       // extension; empty: those that are stored
}

// UnmarshalJSON reads what TVs of others write as well: an expiryTime with a fraction or
// an exponent, and scopes as one text, or in some form of their own.
func (t *RefreshTokens) UnmarshalJSON(text []byte) error {
	var given struct {
		AccessToken  string          `json:"accessToken"`
		RefreshToken string          `json:"refreshToken"`
		ExpiryTime   json.Number     `json:"expiryTime"`
		Scopes       json.RawMessage `json:"scopes"`
	}
	if err := json.Unmarshal(text, &given); err != nil {
		return err
	}
	var ms float64 // exact to the millisecond for 285,000 years
	if given.ExpiryTime != "" {
		var err error
		if ms, err = given.ExpiryTime.Float64(); err != nil || math.Abs(ms) > maxExpiry {
			return errors.New("wire: expiryTime is not a time in milliseconds since 1970")
		}
	}
	*t = RefreshTokens{
		AccessToken: given.AccessToken, RefreshToken: given.RefreshToken, ExpiryTime: int64(ms), Scopes: readScopes(given.Scopes),
	}
	return nil
}

const (
	maxExpiry     = 1 << 53 // ms, beyond every calendar
	maxScopesRead = 64
	maxScopeRead  = 512 // bytes
)

// readScopes reads a list, or one text with spaces between. What is no scope (RFC 6749
// §3.3) is left out.
func readScopes(raw json.RawMessage) []string {
	var list []any
	var text string
	if json.Unmarshal(raw, &text) == nil {
		for word := range strings.FieldsSeq(text) {
			list = append(list, word)
		}
	} else if json.Unmarshal(raw, &list) != nil {
		return nil
	}
	var scopes []string
	for _, entry := range list {
		if scope, ok := entry.(string); ok && isScope(scope) && len(scopes) < maxScopesRead && !slices.Contains(scopes, scope) {
			scopes = append(scopes, scope)
		}
	}
	return scopes
}

func isScope(text string) bool {
	for i := range len(text) {
		if c := text[i]; c <= ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return text != "" && len(text) <= maxScopeRead
}

// String returns no secret.
func (RefreshTokens) String() string { return redacted }

// Format writes no secret, under every verb.
func (RefreshTokens) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue returns no secret.
func (RefreshTokens) LogValue() slog.Value { return slog.StringValue(redacted) }
