package custody

import (
	"crypto/ecdh"
	"crypto/subtle"
	"io"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
)

// What a key is wrapped to another grant for: the label of the wrap's context.
const (
	wrapLabel    = "tokenvault/wrap/v1"
	sharedDEK    = "tokenvault/wrap/vault-key/v1"      // vault, generation, from, to
	sharedCEK    = "tokenvault/wrap/credential-key/v1" // credential, epoch, from, to
	sharedEscrow = "tokenvault/wrap/escrow/v1"         // escrow, vault, generation, from, to

	publicSize = 32
	sharedSize = 2*publicSize + wrappedSize
)

// share wraps a key to another grant of the account: a fresh pair (e, E), the
// holder's pair (s, S); k = HKDF(X25519(e, P) ‖ X25519(s, P), salt = E, P, S;
// label and context); E ‖ S ‖ AES-KW(k, key).
func (h *Holder) share(random io.Reader, secret Secret, to *models.Grant, label string, fields ...[]byte) (models.Opaque, error) {
	if err := h.ring.CheckGrant(to); err != nil {
		return nil, err
	}
	if to.AccountID != h.grant.AccountID {
		return nil, ErrOpen
	}
	private, err := h.openPrivate()
	if err != nil {
		return nil, err
	}
	s, err := ecdh.X25519().NewPrivateKey(private.bytes())
	if err != nil {
		return nil, err
	}
	ephemeral := blankSecret()
	defer ephemeral.Clear()
	if err := ephemeral.draw(random); err != nil {
		return nil, err
	}
	e, err := ecdh.X25519().NewPrivateKey(ephemeral.bytes())
	if err != nil {
		return nil, err
	}
	out := append(append(make([]byte, 0, sharedSize), e.PublicKey().Bytes()...), s.PublicKey().Bytes()...)
	one, err := agree(e, to.PublicKey)
	if err != nil {
		return nil, err
	}
	defer clear(one)
	two, err := agree(s, to.PublicKey)
	if err != nil {
		return nil, err
	}
	defer clear(two)
	kek, err := wrapKey(one, two, out[:publicSize], to.PublicKey, out[publicSize:], wrapContext(label, h.grant.ID, to.ID, fields...))
	if err != nil {
		return nil, err
	}
	defer clear(kek[:])
	wrapped, err := wrap(kek[:], secret.bytes())
	if err != nil {
		return nil, err
	}
	return append(out, wrapped...), nil
}

// openShared opens what share made for this holder. The sender's public key must
// be the one that its authentic row has. The caller clears the key.
func (h *Holder) openShared(wrapped []byte, senderID *uuid.UUID, sender *models.Grant, label string, fields ...[]byte) (key, error) {
	if senderID == nil || sender == nil || sender.ID != *senderID || sender.AccountID != h.grant.AccountID || len(wrapped) != sharedSize {
		return key{}, ErrOpen
	}
	if err := h.ring.CheckGrant(sender); err != nil {
		return key{}, err
	}
	ephemeral, static := wrapped[:publicSize], wrapped[publicSize:2*publicSize]
	if subtle.ConstantTimeCompare(static, sender.PublicKey) != 1 {
		return key{}, ErrOpen
	}
	private, err := h.openPrivate()
	if err != nil {
		return key{}, err
	}
	p, err := ecdh.X25519().NewPrivateKey(private.bytes())
	if err != nil {
		return key{}, err
	}
	one, err := agree(p, ephemeral)
	if err != nil {
		return key{}, err
	}
	defer clear(one)
	two, err := agree(p, static)
	if err != nil {
		return key{}, err
	}
	defer clear(two)
	kek, err := wrapKey(one, two, ephemeral, h.grant.PublicKey, static, wrapContext(label, sender.ID, h.grant.ID, fields...))
	if err != nil {
		return key{}, err
	}
	defer clear(kek[:])
	return unwrap(kek[:], wrapped[2*publicSize:])
}

// agree is X25519 (RFC 7748): ErrOpen of a public key that is none, or of low
// order.
func agree(private *ecdh.PrivateKey, public []byte) ([]byte, error) {
	p, err := ecdh.X25519().NewPublicKey(public)
	if err != nil {
		return nil, ErrOpen
	}
	shared, err := private.ECDH(p)
	if err != nil {
		return nil, ErrOpen
	}
	return shared, nil
}

func wrapContext(label string, from, to uuid.UUID, fields ...[]byte) []byte {
	return appendField(appendField(encode(label, fields...), from[:]), to[:])
}

// wrapKey derives the key of a wrap; the caller clears it.
func wrapKey(one, two, ephemeral, recipient, static, context []byte) (key, error) {
	secret := append(append(make([]byte, 0, 2*keySize), one...), two...)
	defer clear(secret)
	return derive(secret, encode("", ephemeral, recipient, static), string(encode(wrapLabel, context)))
}
