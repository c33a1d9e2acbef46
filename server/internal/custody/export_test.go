package custody

import (
	"crypto/ecdh"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
)

// What known answers and published vectors are held against.

var (
	Derive = derive
	Seal   = seal
	Open   = open
	Wrap   = wrap
	NewGCM = newGCM
)

// Unwrap is unwrap, and the key itself.
func Unwrap(kek, wrapped []byte) ([]byte, error) {
	key, err := unwrap(kek, wrapped)
	return key.bytes(), err
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

// KEK is a slot's key-encryption key.
func (c *Claims) KEK(use string) ([]byte, error) { return c.kek(use, c.salt()) }

// KEKOf is one for a vault or credential, at a generation or epoch.
func (c *Claims) KEKOf(use string, id uuid.UUID, number int64) ([]byte, error) {
	return c.kek(use, c.saltOf(id, number))
}

// OpenShared opens bytes that another grant is said to have wrapped.
func (h *Holder) OpenShared(wrapped []byte, sender *models.Grant) ([]byte, error) {
	key, err := h.openShared(wrapped, &sender.ID, sender, sharedDEK)
	return key.bytes(), err
}
