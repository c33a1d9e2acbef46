package custody

import (
	"crypto/ecdh"
	"errors"
	"fmt"
	"io"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
)

// A kind of token: how its text begins, so that people and scanners know it, and
// the labels of its key-encryption keys.
type tokenKind struct {
	kind   models.GrantKind
	prefix string
	keks   [3]string // by keyUse
}

var tokenKinds = [...]tokenKind{
	{models.GrantSession, "tcs", [...]string{
		"tokenvault/kek/v1/session/x25519", "tokenvault/kek/v1/session/dek", "tokenvault/kek/v1/session/cek"}},
	{models.GrantAPIKey, "tck", [...]string{
		"tokenvault/kek/v1/api-key/x25519", "tokenvault/kek/v1/api-key/dek", "tokenvault/kek/v1/api-key/cek"}},
	{models.GrantAgentKey, "tvagent", [...]string{
		"tokenvault/kek/v1/agent-key/x25519", "tokenvault/kek/v1/agent-key/dek", "tokenvault/kek/v1/agent-key/cek"}},
	{models.GrantOAuthAccess, "tca", [...]string{
		"tokenvault/kek/v1/oauth-access/x25519", "tokenvault/kek/v1/oauth-access/dek", "tokenvault/kek/v1/oauth-access/cek"}},
	{models.GrantOAuthRefresh, "tcr", [...]string{
		"tokenvault/kek/v1/oauth-refresh/x25519", "tokenvault/kek/v1/oauth-refresh/dek", "tokenvault/kek/v1/oauth-refresh/cek"}},
	{models.GrantAuthCode, "tcz", [...]string{
		"tokenvault/kek/v1/auth-code/x25519", "tokenvault/kek/v1/auth-code/dek", "tokenvault/kek/v1/auth-code/cek"}},
}

func tokenKindOf(match func(*tokenKind) bool) *tokenKind {
	for i := range tokenKinds {
		if match(&tokenKinds[i]) {
			return &tokenKinds[i]
		}
	}
	return nil
}

// keyUse is what a slot's key-encryption key is for. Under one label all salts are
// equally long, for HMAC pads short keys with zeros.
type keyUse int

const (
	forPrivateKey keyUse = iota // salt: grant, slot
	forDEK                      // salt: grant, slot, vault, generation
	forCEK                      // salt: grant, slot, credential, epoch
)

// salt is that of the slot's own key, saltOf that of a key of its for something
// else: a vault or credential, at a generation or epoch.
func (c *Claims) salt() []byte {
	e := encoder{make([]byte, 0, 60)}
	e.id(c.GrantID)
	e.uint32(c.Slot)
	return e.text
}

func (c *Claims) saltOf(id uuid.UUID, number int64) []byte {
	e := encoder{c.salt()}
	e.id(id)
	e.number(number)
	return e.text
}

// kek is a key-encryption key of this token's slot; the caller clears it.
func (c *Claims) kek(use keyUse, salt []byte) (key, error) {
	kind := tokenKindOf(func(k *tokenKind) bool { return k.kind == c.Kind })
	if kind == nil {
		return key{}, fmt.Errorf("custody: grants of kind %q have no keys", c.Kind)
	}
	return derive(c.Secret.bytes(), salt, kind.keks[use])
}

// wrap puts a key under one of this slot's key-encryption keys.
func (c *Claims) wrap(secret Secret, use keyUse, salt []byte) (models.Opaque, error) {
	kek, err := c.kek(use, salt)
	if err != nil {
		return nil, err
	}
	defer clear(kek[:])
	return wrap(kek[:], secret.bytes())
}

// unwrap is what wrap wrapped; the caller clears it.
func (c *Claims) unwrap(wrapped models.Opaque, use keyUse, salt []byte) (key, error) {
	kek, err := c.kek(use, salt)
	if err != nil {
		return key{}, err
	}
	defer clear(kek[:])
	return unwrap(kek[:], wrapped)
}

// NewGrantKey draws a grant's X25519 key pair and wraps the private key
// (AES-KW, RFC 3394) for the token that the claims describe.
func (c *Claims) NewGrantKey(random io.Reader) (public []byte, wrapped models.Opaque, err error) {
	within(func() { public, wrapped, err = c.newGrantKey(random) })
	return public, wrapped, err
}

func (c *Claims) newGrantKey(random io.Reader) ([]byte, models.Opaque, error) {
	private := blankSecret()
	defer private.Clear()
	if err := private.draw(random); err != nil {
		return nil, nil, err
	}
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
		var private key
		private, err = c.unwrap(wrapped, forPrivateKey, salt)
		clear(private[:])
	})
	return err
}
