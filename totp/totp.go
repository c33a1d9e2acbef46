// Package totp turns an otpauth:// URI or a Base32 secret into a validated key,
// and a key into the current time-based one-time code (RFC 6238).
//
// It is strict about what it reads: whatever would silently give wrong codes (an
// algorithm that it does not know, a doubled parameter, a counter-based key) is an
// error that names the field. What people do when they paste a secret (spaces,
// dashes, lower case, padding left out) is fine.
//
// The package knows nothing of vaults, tokens or HTTP; it keeps no state and reads
// no clock. Everything in it may be used concurrently. The arithmetic is that of
// github.com/pquerna/otp.
package totp

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"
)

// Limits of a key. A number of digits or a period outside them is an error.
const (
	MinDigits = 6
	MaxDigits = 8

	MinPeriod = 15 * time.Second
	MaxPeriod = 120 * time.Second

	// MinSecretSize is 80 bits, what the first authenticators used. RFC 4226 §4
	// wants 128 and recommends 160, but shorter secrets are in wide use.
	MinSecretSize = 10  // bytes
	MaxSecretSize = 128 // bytes
)

// Defaults of what a URI or Options leave out.
const (
	DefaultAlgorithm = SHA1
	DefaultDigits    = 6
	DefaultPeriod    = 30 * time.Second
)

// Limits of what is read, in bytes.
const (
	maxInput = 4096
	maxName  = 256 // issuer, account
)

// An Algorithm is the hash function under a key's HMAC.
type Algorithm string

// The algorithms of RFC 6238 §1.2.
const (
	SHA1   Algorithm = "SHA1"
	SHA256 Algorithm = "SHA256"
	SHA512 Algorithm = "SHA512"
)

// Options are what a key has besides its secret. The zero value of a field means
// its default.
type Options struct {
	Algorithm Algorithm     // "" = SHA1
	Digits    int           // 0 = 6
	Period    time.Duration // 0 = 30 s; whole seconds
	Issuer    string        // "" = none; has no colon
	Account   string        // "" = none
}

// A FieldError says which field of a key is wrong, and how. It never holds the
// secret, nor any other part of what was read.
type FieldError struct {
	Field   string // "secret", "algorithm", "digits", "period", "issuer", "account", "type", "encoder", "uri", "query", "time"
	Problem string // completes a sentence that begins with the field
}

func (e *FieldError) Error() string { return "totp: " + e.Field + " " + e.Problem }

func fieldError(field, format string, args ...any) error {
	return &FieldError{Field: field, Problem: fmt.Sprintf(format, args...)}
}

// ErrRedacted is returned by every attempt to marshal a Key.
var ErrRedacted = errors.New("totp: a key is not marshalled; URI and Secret say what it is")

// A Key makes one-time codes. It is valid by construction (Parse, ParseURI,
// ParseSecret, New); the zero Key makes none. It prints without its secret in
// every format and refuses to be marshalled.
type Key struct {
	// In Base32, upper case, without padding. A function, because fmt cannot call
	// Format on a Key in someone's unexported field, and looks into all but functions.
	secret    func() string
	algorithm Algorithm
	digits    int
	period    time.Duration
	issuer    string
	account   string
}

// New validates a Base32 secret (spaces, dashes, lower case and missing padding
// are fine) and what goes with it. Every error is a *FieldError.
func New(secretText string, opts Options) (Key, error) {
	canonical, err := canonicalSecret(secretText)
	if err != nil {
		return Key{}, err
	}
	k := Key{
		secret:    func() string { return canonical },
		algorithm: opts.Algorithm,
		digits:    opts.Digits,
		period:    opts.Period,
		issuer:    opts.Issuer,
		account:   opts.Account,
	}
	if k.algorithm == "" {
		k.algorithm = DefaultAlgorithm
	}
	if k.digits == 0 {
		k.digits = DefaultDigits
	}
	if k.period == 0 {
		k.period = DefaultPeriod
	}
	if err := k.validate(); err != nil {
		return Key{}, err
	}
	return k, nil
}

// IsZero reports whether there is no key.
func (k Key) IsZero() bool { return k.secret == nil }

// Issuer is who the account is with, or "".
func (k Key) Issuer() string { return k.issuer }

// Account is the account's name, or "".
func (k Key) Account() string { return k.account }

// Algorithm is the hash function under the HMAC.
func (k Key) Algorithm() Algorithm { return k.algorithm }

// Digits is the length of a code, 6 to 8.
func (k Key) Digits() int { return k.digits }

// Period is how long a code is current, 15 to 120 whole seconds.
func (k Key) Period() time.Duration { return k.period }

// Secret is the secret in Base32, upper case and without padding.
func (k Key) Secret() string {
	if k.secret == nil {
		return ""
	}
	return k.secret()
}

func (k Key) String() string {
	if k.IsZero() {
		return "totp.Key{}"
	}
	return fmt.Sprintf("totp.Key{%s, %d digits, %s, secret [redacted]}", k.algorithm, k.digits, k.period)
}

// GoString is String.
func (k Key) GoString() string { return k.String() }

// Format is String under every verb.
func (k Key) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, k.String()) }

// LogValue is String.
func (k Key) LogValue() slog.Value { return slog.StringValue(k.String()) }

// MarshalJSON returns ErrRedacted.
func (k Key) MarshalJSON() ([]byte, error) { return nil, ErrRedacted }

// MarshalText returns ErrRedacted.
func (k Key) MarshalText() ([]byte, error) { return nil, ErrRedacted }

// MarshalBinary returns ErrRedacted.
func (k Key) MarshalBinary() ([]byte, error) { return nil, ErrRedacted }
