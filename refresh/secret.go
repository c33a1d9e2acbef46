package refresh

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"log/slog"
)

// ErrRedacted is returned by every attempt to marshal a Secret. Writing something
// else in its place would be worse: what was stored that way could not be read back.
var ErrRedacted = errors.New("refresh: a secret is not marshalled; convert it to a string")

const redacted = "[redacted]"

// A Secret is a token, code, verifier or client secret. It prints as "[redacted]"
// in every format and refuses to be marshalled; string(s) is the value. In a struct
// it belongs into an exported field: package fmt does not ask the methods of others; nor does
// package encoding/json ask those of a map's keys.
// It is read from JSON like a string.
type Secret string

// String returns no secret.
func (Secret) String() string { return redacted }

// GoString returns no secret.
func (Secret) GoString() string { return redacted }

// Format writes no secret, under every verb.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue returns no secret.
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalJSON returns ErrRedacted.
func (Secret) MarshalJSON() ([]byte, error) { return nil, ErrRedacted }

// MarshalText returns ErrRedacted.
func (Secret) MarshalText() ([]byte, error) { return nil, ErrRedacted }

// Equal compares in constant time; lengths are not hidden.
func (s Secret) Equal(other Secret) bool {
	return subtle.ConstantTimeCompare([]byte(s), []byte(other)) == 1
}
