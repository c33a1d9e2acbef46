// Package custody is the server's cryptography: the keyring, self-routing
// tokens, the keys of grants, of platform vaults and of their credentials,
// authenticated rows, and the sealing of binding secrets.
//
// It is the only package that sees keys. It knows neither storage nor doors,
// and keeps nothing between calls but the keyring. No primitive is written
// here: AES-GCM, HKDF, HMAC, X25519 and Ed25519 are the standard library's,
// AES-KW (RFC 3394) and HKDF (RFC 5869) are put together here, over crypto/aes and
// crypto/sha256: docs/adr/0018 says why. Every function may be called concurrently.
package custody

import (
	"errors"
)

// keySize is the length in bytes of every symmetric key here.
const keySize = 32

var (
	// ErrToken: a token that does not open, whatever the cause.
	ErrToken = errors.New("custody: not a token of this server")
	// ErrKeyID: something is under a server key that the keyring lacks.
	ErrKeyID = errors.New("custody: no such server key")
	// ErrOpen: sealed or wrapped data that does not open under its key.
	ErrOpen = errors.New("custody: does not open")
	// ErrRow: a row whose authentication does not hold.
	ErrRow = errors.New("custody: a row is not authentic")
)
