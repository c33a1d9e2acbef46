package custody

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"errors"
	"fmt"
	"io"

	josecipher "github.com/go-jose/go-jose/v4/cipher"

	"github.com/tvzero/tokenvault/models"
)

// A kind of token: how its text begins, so that people and scanners know it, and
// the label of its key-encryption keys.
type tokenKind struct {
	kind   models.GrantKind
	prefix string
	kek    string
}

var tokenKinds = [...]tokenKind{
	{models.GrantSession, "tcs", "tokenvault/kek/v1/session"},
	{models.GrantAPIKey, "tck", "tokenvault/kek/v1/api-key"},
	{models.GrantAgentKey, "tvagent", "tokenvault/kek/v1/agent-key"},
	{models.GrantOAuthAccess, "tca", "tokenvault/kek/v1/oauth-access"},
	{models.GrantOAuthRefresh, "tcr", "tokenvault/kek/v1/oauth-refresh"},
	{models.GrantAuthCode, "tcz", "tokenvault/kek/v1/auth-code"},
}

func tokenKindOf(match func(*tokenKind) bool) *tokenKind {
	for i := range tokenKinds {
		if match(&tokenKinds[i]) {
			return &tokenKinds[i]
		}
	}
	return nil
}

// What a slot's key-encryption keys are for: the end of their label.
const (
	forPrivateKey = "/x25519" // salt: grant, slot
	forDEK        = "/dek"    // salt: grant, slot, vault, generation
	forCEK        = "/cek"    // salt: grant, slot, credential, epoch
)

// kek is a key-encryption key of this token's slot, as a cipher for AES-KW.
func (c *Claims) kek(use string, salt ...[]byte) (cipher.Block, error) {
	kind := tokenKindOf(func(k *tokenKind) bool { return k.kind == c.Kind })
	if kind == nil {
		return nil, fmt.Errorf("custody: grants of kind %q have no keys", c.Kind)
	}
	if c.Secret.key == nil {
		return nil, errors.New("custody: claims without a secret have no keys")
	}
	key, err := derive(c.Secret.bytes(), encode("", append([][]byte{c.GrantID[:], be32(c.Slot)}, salt...)...), kind.kek+use)
	if err != nil {
		return nil, err
	}
	defer clear(key)
	return aes.NewCipher(key)
}

// unwrap is AES-KW's check and its key: ErrOpen when it does not hold.
func unwrap(block cipher.Block, wrapped []byte) (*[keySize]byte, error) {
	if len(wrapped) != wrappedSize {
		return nil, ErrOpen
	}
	key, err := josecipher.KeyUnwrap(block, wrapped)
	if err != nil || len(key) != keySize {
		return nil, ErrOpen
	}
	defer clear(key)
	held := [keySize]byte(key)
	return &held, nil
}

// wrappedSize is the length in bytes of a key under AES-KW.
const wrappedSize = keySize + 8

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
	block, err := c.kek(forPrivateKey)
	if err != nil {
		return nil, nil, err
	}
	wrapped, err = josecipher.KeyWrap(block, seed)
	return pair.PublicKey().Bytes(), wrapped, err
}

// WrapGrantKey wraps a grant's private key for another token of that grant: its
// next slot. The claims must be of the grant of which private is.
func (c *Claims) WrapGrantKey(private PrivateKey) (models.Opaque, error) {
	if private.key == nil || private.grantID != c.GrantID {
		return nil, errors.New("custody: the private key of another grant")
	}
	block, err := c.kek(forPrivateKey)
	if err != nil {
		return nil, err
	}
	return josecipher.KeyWrap(block, private.bytes())
}

// Unlock is what authenticates a token: the private key of its grant unwraps
// under its KEK. ErrOpen when it does not.
func (c *Claims) Unlock(wrapped models.Opaque) error {
	block, err := c.kek(forPrivateKey)
	if err != nil {
		return err
	}
	private, err := unwrap(block, wrapped)
	if err != nil {
		return err
	}
	clear(private[:])
	return nil
}
