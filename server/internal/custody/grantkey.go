package custody

import (
	"crypto/aes"
	"crypto/ecdh"
	"errors"
	"fmt"
	"io"

	josecipher "github.com/go-jose/go-jose/v4/cipher"

	"github.com/tvzero/tokenvault/models"
)

// kekLabel is the label of a kind's key-encryption keys.
func kekLabel(kind models.GrantKind) string {
	switch kind {
	case models.GrantSession:
		return "tokenvault/kek/v1/session"
	case models.GrantAgentKey:
		return "tokenvault/kek/v1/agent-key"
	}
	return ""
}

// privateKEK is the key that wraps the grant's X25519 private key for this
// token: HKDF(secret, salt = grant, slot; label "/x25519").
func (c *Claims) privateKEK() ([]byte, error) {
	label := kekLabel(c.Kind)
	if label == "" {
		return nil, fmt.Errorf("custody: grants of kind %q have no keys", c.Kind)
	}
	if c.Secret.key == nil {
		return nil, errors.New("custody: claims without a secret have no keys")
	}
	return derive(c.Secret.bytes(), encode("", c.GrantID[:], be32(c.Slot)), label+"/x25519")
}

// NewGrantKey draws a grant's X25519 key pair and wraps the private key
// (AES-KW, RFC 3394) for the token that the claims describe.
func (c *Claims) NewGrantKey(random io.Reader) (public []byte, wrapped models.Opaque, err error) {
	seed := make([]byte, keySize)
	defer clear(seed)
	if _, err := io.ReadFull(random, seed); err != nil {
		return nil, nil, fmt.Errorf("custody: no randomness: %w", err)
	}
	pair, err := ecdh.X25519().NewPrivateKey(seed)
	if err != nil {
		return nil, nil, err
	}
	kek, err := c.privateKEK()
	if err != nil {
		return nil, nil, err
	}
	defer clear(kek)
	block, err := aes.NewCipher(kek)
	if err != nil {
		return nil, nil, err
	}
	wrapped, err = josecipher.KeyWrap(block, seed)
	return pair.PublicKey().Bytes(), wrapped, err
}

// Unlock is what authenticates a token: the private key of its grant unwraps
// under its KEK. ErrOpen when it does not.
func (c *Claims) Unlock(wrapped models.Opaque) error {
	kek, err := c.privateKEK()
	if err != nil {
		return err
	}
	defer clear(kek)
	block, err := aes.NewCipher(kek)
	if err != nil {
		return err
	}
	if len(wrapped) != keySize+8 {
		return ErrOpen
	}
	private, err := josecipher.KeyUnwrap(block, wrapped)
	if err != nil {
		return ErrOpen
	}
	clear(private)
	return nil
}
