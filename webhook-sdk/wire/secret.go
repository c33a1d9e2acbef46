package wire

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"log/slog"
	"sync"
)

// SecretSize is the length in bytes of a binding's secret.
const SecretSize = 32

const redacted = "[redacted]"

// ErrRedacted is returned by every attempt to marshal a Secret.
var ErrRedacted = errors.New("wire: a binding secret is not marshalled")

// A Secret is the HMAC key that a webhook and TV share. It prints as
// "[redacted]" in every format and refuses to be marshalled. The zero Secret
// signs nothing: check IsZero before use.
type Secret struct {
	// A function, because fmt cannot call Format on a Secret in someone's unexported
	// field, and looks into all but functions. It also keeps == from compiling.
	key func() *keyed
}

// keyed is a key with HMAC states that were begun with it: beginning one costs
// as much as a short message.
type keyed struct {
	raw  [SecretSize]byte
	macs sync.Pool
}

// newSecret copies key.
func newSecret(key *[SecretSize]byte) Secret {
	k := &keyed{raw: *key}
	k.macs.New = func() any { return hmac.New(sha256.New, k.raw[:]) }
	return Secret{key: func() *keyed { return k }}
}

// NewSecret copies 32 raw bytes.
func NewSecret(key []byte) (Secret, error) {
	if len(key) != SecretSize {
		return Secret{}, fmt.Errorf("wire: a binding secret has %d bytes, want %d", len(key), SecretSize)
	}
	own := [SecretSize]byte(key)
	return newSecret(&own), nil
}

// GenerateSecret makes a new secret from random, which is crypto/rand.Reader
// but in tests.
func GenerateSecret(random io.Reader) (Secret, error) {
	var key [SecretSize]byte
	if _, err := io.ReadFull(random, key[:]); err != nil {
		return Secret{}, fmt.Errorf("wire: no randomness: %w", err)
	}
	return newSecret(&key), nil
}

// ParseSecret reads the standard base64 of the wire (hmacSecret).
func ParseSecret(text string) (Secret, error) {
	key, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil {
		return Secret{}, errors.New("wire: the binding secret is not standard base64")
	}
	return NewSecret(key)
}

// IsZero reports whether there is no secret.
func (s Secret) IsZero() bool { return s.key == nil }

// raw is the key; all zeros when there is none.
func (s Secret) raw() *[SecretSize]byte {
	if s.key == nil {
		return new([SecretSize]byte)
	}
	return &s.key().raw
}

// Equal compares in constant time.
func (s Secret) Equal(other Secret) bool {
	return s.IsZero() == other.IsZero() && subtle.ConstantTimeCompare(s.raw()[:], other.raw()[:]) == 1
}

// Encode returns the standard base64 that the answer of /v1/exchange bears.
// It is the only way out for the secret besides Bytes.
func (s Secret) Encode() string { return base64.StdEncoding.EncodeToString(s.raw()[:]) }

// Bytes returns a copy of the raw key, for sealing it at rest.
func (s Secret) Bytes() []byte { return append([]byte(nil), s.raw()[:]...) }

// Hash is the lower-case hex SHA-256 of the secret: the fingerprint shown to
// people and the hmac_hash of a registration URL.
func (s Secret) Hash() string {
	sum := sha256.Sum256(s.raw()[:])
	return hex.EncodeToString(sum[:])
}

// mac returns HMAC-SHA256 over the parts, one after the other.
func (s Secret) mac(parts ...[]byte) [sha256.Size]byte {
	var out [sha256.Size]byte
	if s.IsZero() {
		return out // no caller takes it for a MAC: each looks at IsZero
	}
	k := s.key()
	h, _ := k.macs.Get().(hash.Hash)
	h.Reset()
	for _, p := range parts {
		h.Write(p)
	}
	h.Sum(out[:0])
	k.macs.Put(h)
	return out
}

func (s Secret) String() string               { return redacted }
func (s Secret) GoString() string             { return redacted }
func (s Secret) Format(f fmt.State, _ rune)   { _, _ = io.WriteString(f, redacted) }
func (s Secret) LogValue() slog.Value         { return slog.StringValue(redacted) }
func (s Secret) MarshalJSON() ([]byte, error) { return nil, ErrRedacted }
func (s Secret) MarshalText() ([]byte, error) { return nil, ErrRedacted }
func (s Secret) MarshalBinary() ([]byte, error) {
	return nil, ErrRedacted
}
