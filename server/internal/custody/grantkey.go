package custody

import (
	"crypto/ecdh"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/google/uuid"

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

// What a slot's key-encryption keys are for: the end of their label. Under one
// label all salts are equally long, for HMAC pads short keys with zeros.
const (
	forPrivateKey = "/x25519" // salt: grant, slot
	forDEK        = "/dek"    // salt: grant, slot, vault, generation
	forCEK        = "/cek"    // salt: grant, slot, credential, epoch
)

// salt is that of the slot's own key, saltOf that of a key of its for something
// else: a vault or credential, at a generation or epoch.
func (c *Claims) salt() []byte {
	e := encoder{make([]byte, 0, 60)}
	e.id(c.GrantID)
	e.text = binary.BigEndian.AppendUint32(e.size(4), c.Slot)
	return e.text
}

func (c *Claims) saltOf(id uuid.UUID, number int64) []byte {
	e := encoder{c.salt()}
	e.id(id)
	e.number(number)
	return e.text
}

// kek is a key-encryption key of this token's slot; the caller clears it.
func (c *Claims) kek(use string, salt []byte) ([]byte, error) {
	kind := tokenKindOf(func(k *tokenKind) bool { return k.kind == c.Kind })
	if kind == nil {
		return nil, fmt.Errorf("custody: grants of kind %q have no keys", c.Kind)
	}
	return derive(c.Secret.bytes(), salt, kind.kek+use)
}

// wrap puts a key under one of this slot's key-encryption keys.
func (c *Claims) wrap(key Secret, use string, salt []byte) (models.Opaque, error) {
	kek, err := c.kek(use, salt)
	if err != nil {
		return nil, err
	}
	defer clear(kek)
	return wrap(kek, key.bytes())
}

// unwrap is what wrap wrapped.
func (c *Claims) unwrap(wrapped models.Opaque, use string, salt []byte) (Secret, error) {
	kek, err := c.kek(use, salt)
	if err != nil {
		return Secret{}, err
	}
	defer clear(kek)
	return unwrap(kek, wrapped)
}

// NewGrantKey draws a grant's X25519 key pair and wraps the private key
// (AES-KW, RFC 3394) for the token that the claims describe.
func (c *Claims) NewGrantKey(random io.Reader) (public []byte, wrapped models.Opaque, err error) {
	within(func() { public, wrapped, err = c.newGrantKey(random) })
	return public, wrapped, err
}

func (c *Claims) newGrantKey(random io.Reader) ([]byte, models.Opaque, error) {
	private, err := newSecret(random)
	if err != nil {
		return nil, nil, err
	}
	defer private.Clear()
	pair, err := ecdh.X25519().NewPrivateKey(private.bytes())
	if err != nil {
		return nil, nil, err
	}
	wrapped, err := c.wrap(private, forPrivateKey, c.salt())
	if err != nil {
		return nil, nil, err
	}
	return pair.PublicKey().Bytes(), wrapped, nil
}

// WrapGrantKey wraps a grant's private key for another token of that grant: its
// next slot. The claims must be of the grant of which private is.
func (c *Claims) WrapGrantKey(private PrivateKey) (wrapped models.Opaque, err error) {
	if private.held == nil || private.grantID != c.GrantID {
		return nil, errors.New("custody: the private key of another grant")
	}
	within(func() { wrapped, err = c.wrap(private.Secret, forPrivateKey, c.salt()) })
	return wrapped, err
}

// Unlock is what authenticates a token: the private key of its grant unwraps
// under its KEK. ErrOpen when it does not.
func (c *Claims) Unlock(wrapped models.Opaque) (err error) {
	salt := c.salt()
	within(func() {
		var private Secret
		if private, err = c.unwrap(wrapped, forPrivateKey, salt); err == nil {
			private.Clear()
		}
	})
	return err
}
