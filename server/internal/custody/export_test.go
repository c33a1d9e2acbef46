package custody

import (
	"crypto/ecdh"

	"github.com/google/uuid"
)

// What known answers and published vectors are held against.

var (
	Derive = derive
	Seal   = seal
	Open   = open
	Wrap   = wrap
	Unwrap = unwrap
)

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
	if x25519, err = c.kek(forPrivateKey, c.salt()); err != nil {
		return nil, nil, nil, err
	}
	if dek, err = c.kek(forDEK, c.saltOf(vault, generation)); err != nil {
		return nil, nil, nil, err
	}
	cek, err = c.kek(forCEK, c.saltOf(credential, epoch))
	return x25519, dek, cek, err
}
