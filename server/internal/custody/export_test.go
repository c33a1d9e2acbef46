package custody

import (
	"crypto/ecdh"

	"github.com/google/uuid"
)

// What known answers and published vectors are held against.

var (
	Seal = seal
	Wrap = wrap
)

// Derive is derive, its key as a slice.
func Derive(secret, salt []byte, info string) ([]byte, error) {
	return slice(derive(secret, salt, info))
}

// Unwrap is unwrap, its key as a slice.
func Unwrap(kek, wrapped []byte) ([]byte, error) { return slice(unwrap(kek, wrapped)) }

// Open is open, in room of its own.
func Open(key, sealed, associated []byte) ([]byte, error) {
	return open(roomFor(sealed), key, sealed, associated)
}

func slice(k key, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	return k[:], nil
}

// Agree is agree, of a private key's bytes.
func Agree(private, public []byte) ([]byte, error) {
	p, err := ecdh.X25519().NewPrivateKey(private)
	if err != nil {
		return nil, err
	}
	return agree(p, public)
}

// Bytes is the key itself.
func (s Secret) Bytes() []byte { return s.bytes() }

// KEKs are a slot's key-encryption keys, for a vault at a generation and for a
// credential at an epoch.
func (c *Claims) KEKs(vault uuid.UUID, generation int64, credential uuid.UUID, epoch int64) (x25519, dek, cek []byte, err error) {
	if x25519, err = slice(c.kek(forPrivateKey, c.salt())); err != nil {
		return nil, nil, nil, err
	}
	if dek, err = slice(c.kek(forDEK, c.saltOf(vault, generation))); err != nil {
		return nil, nil, nil, err
	}
	cek, err = slice(c.kek(forCEK, c.saltOf(credential, epoch)))
	return x25519, dek, cek, err
}

// Said is what a token says, without what opens anything.
func (c Claims) Said() Claims {
	c.Secret, c.cipher = Secret{}, nil
	return c
}
