package custody

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"time"

	josecipher "github.com/go-jose/go-jose/v4/cipher"
	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
)

// A PrivateKey is a grant's X25519 private key.
type PrivateKey struct {
	Secret
	grantID uuid.UUID
}

// A Holder is who holds a token that counts: it wraps and unwraps keys in the
// name of the token's grant. It lives for one request; Clear it then. It is not
// safe for concurrent use.
type Holder struct {
	ring    *Keyring
	claims  Claims
	grant   models.Grant
	wrapped models.Opaque
	private PrivateKey // unwrapped at its first use
	now     func() time.Time
}

// Hold makes a holder of claims, beside the rows of their grant and slot, which
// must be authentic and unlock: ErrRow, ErrKeyID, ErrOpen. Whether the grant is
// live is the caller's to decide. The claims' secret belongs to the holder from
// then on.
func (k *Keyring) Hold(c Claims, g *models.Grant, key *models.GrantKey, now func() time.Time) (*Holder, error) {
	if err := k.CheckGrant(g); err != nil {
		return nil, err
	}
	if err := k.CheckGrantKey(key); err != nil {
		return nil, err
	}
	if g.AccountID != c.AccountID || g.ID != c.GrantID || g.Kind != c.Kind ||
		key.AccountID != c.AccountID || key.GrantID != c.GrantID || key.Slot != int64(c.Slot) {
		return nil, ErrOpen
	}
	if err := c.Unlock(key.WrappedPrivateKey); err != nil {
		return nil, err
	}
	return &Holder{ring: k, claims: c, grant: *g, wrapped: key.WrappedPrivateKey, now: now}, nil
}

// Grant is the grant in whose name the holder acts.
func (h *Holder) Grant() *models.Grant { return &h.grant }

// Slot is the slot of the holder's token.
func (h *Holder) Slot() uint32 { return h.claims.Slot }

// Clear overwrites the holder's keys. It may be called twice.
func (h *Holder) Clear() {
	h.claims.Secret.Clear()
	h.private.Clear()
}

func (*Holder) String() string               { return redacted }
func (*Holder) Format(f fmt.State, _ rune)   { _, _ = io.WriteString(f, redacted) }
func (*Holder) MarshalJSON() ([]byte, error) { return nil, errMarshal }

// Private is the grant's private key, after its public key was computed anew and
// compared with the row's: ErrOpen when they differ.
func (h *Holder) Private() (PrivateKey, error) {
	if h.private.key != nil {
		return h.private, nil
	}
	block, err := h.claims.kek(forPrivateKey)
	if err != nil {
		return PrivateKey{}, err
	}
	key, err := unwrap(block, h.wrapped)
	if err != nil {
		return PrivateKey{}, err
	}
	pair, err := ecdh.X25519().NewPrivateKey(key[:])
	if err != nil || subtle.ConstantTimeCompare(pair.PublicKey().Bytes(), h.grant.PublicKey) != 1 {
		clear(key[:])
		return PrivateKey{}, ErrOpen
	}
	h.private = PrivateKey{holdSecret(key), h.grant.ID}
	return h.private, nil
}

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
func (h *Holder) share(random io.Reader, key Secret, to *models.Grant, label string, fields ...[]byte) (models.Opaque, error) {
	if err := h.ring.CheckGrant(to); err != nil {
		return nil, err
	}
	if to.AccountID != h.grant.AccountID || key.key == nil {
		return nil, ErrOpen
	}
	private, err := h.Private()
	if err != nil {
		return nil, err
	}
	ephemeral, err := newSecret(random)
	if err != nil {
		return nil, err
	}
	defer ephemeral.Clear()
	e, err := ecdh.X25519().NewPrivateKey(ephemeral.bytes())
	if err != nil {
		return nil, err
	}
	s, err := ecdh.X25519().NewPrivateKey(private.bytes())
	if err != nil {
		return nil, err
	}
	p, err := ecdh.X25519().NewPublicKey(to.PublicKey)
	if err != nil {
		return nil, ErrOpen
	}
	one, err := e.ECDH(p)
	if err != nil {
		return nil, ErrOpen
	}
	two, err := s.ECDH(p)
	if err != nil {
		return nil, ErrOpen
	}
	out := append(append(make([]byte, 0, sharedSize), e.PublicKey().Bytes()...), s.PublicKey().Bytes()...)
	wrapping, err := wrapKey(one, two, out[:publicSize], to.PublicKey, out[publicSize:], wrapContext(label, h.grant.ID, to.ID, fields...))
	if err != nil {
		return nil, err
	}
	defer clear(wrapping)
	block, err := aes.NewCipher(wrapping)
	if err != nil {
		return nil, err
	}
	wrapped, err := josecipher.KeyWrap(block, key.bytes())
	return append(out, wrapped...), err
}

// openShared opens what share made for this holder. The sender's public key must
// be the one that its authentic row has.
func (h *Holder) openShared(wrapped []byte, senderID *uuid.UUID, sender *models.Grant, label string, fields ...[]byte) (*[keySize]byte, error) {
	if senderID == nil || sender == nil || sender.ID != *senderID || sender.AccountID != h.grant.AccountID || len(wrapped) != sharedSize {
		return nil, ErrOpen
	}
	if err := h.ring.CheckGrant(sender); err != nil {
		return nil, err
	}
	ephemeral, static := wrapped[:publicSize], wrapped[publicSize:2*publicSize]
	if subtle.ConstantTimeCompare(static, sender.PublicKey) != 1 {
		return nil, ErrOpen
	}
	private, err := h.Private()
	if err != nil {
		return nil, err
	}
	p, err := ecdh.X25519().NewPrivateKey(private.bytes())
	if err != nil {
		return nil, err
	}
	one, err := agree(p, ephemeral)
	if err != nil {
		return nil, err
	}
	two, err := agree(p, static)
	if err != nil {
		return nil, err
	}
	wrapping, err := wrapKey(one, two, ephemeral, h.grant.PublicKey, static, wrapContext(label, sender.ID, h.grant.ID, fields...))
	if err != nil {
		return nil, err
	}
	defer clear(wrapping)
	block, err := aes.NewCipher(wrapping)
	if err != nil {
		return nil, err
	}
	return unwrap(block, wrapped[2*publicSize:])
}

func agree(private *ecdh.PrivateKey, public []byte) ([]byte, error) {
	p, err := ecdh.X25519().NewPublicKey(public)
	if err != nil {
		return nil, ErrOpen
	}
	shared, err := private.ECDH(p) // refuses points of low order
	if err != nil {
		return nil, ErrOpen
	}
	return shared, nil
}

func wrapContext(label string, from, to uuid.UUID, fields ...[]byte) []byte {
	return encode(label, append(fields, from[:], to[:])...)
}

// wrapKey derives the key of a wrap, and clears what it derives it from.
func wrapKey(one, two, ephemeral, recipient, static, context []byte) ([]byte, error) {
	secret := append(append(make([]byte, 0, 2*keySize), one...), two...)
	defer func() { clear(one); clear(two); clear(secret) }()
	return derive(secret, encode("", ephemeral, recipient, static), string(encode(wrapLabel, context)))
}

const handOverLabel = "tokenvault/handover/v1"

// HandOver wraps a vault's key for the holder's other slots, whose tokens are not
// at hand: nonce(12) ‖ AES-256-GCM under HKDF(private key, salt = grant).
func (h *Holder) HandOver(random io.Reader, d DEK) (models.VaultKey, error) {
	row := h.vaultKey(d, models.FormHandOver, models.WholeGrant)
	aead, err := h.handOverCipher()
	if err != nil {
		return models.VaultKey{}, err
	}
	sealed := make([]byte, nonceSize, nonceSize+keySize+tagSize)
	if _, err := io.ReadFull(random, sealed); err != nil {
		return models.VaultKey{}, fmt.Errorf("custody: no randomness: %w", err)
	}
	row.Wrapped = aead.Seal(sealed, sealed[:nonceSize], d.bytes(), handOverContext(&row))
	h.ring.SignVaultKey(&row)
	return row, nil
}

func (h *Holder) openHandOver(row *models.VaultKey) (*[keySize]byte, error) {
	aead, err := h.handOverCipher()
	if err != nil {
		return nil, err
	}
	if len(row.Wrapped) != nonceSize+keySize+tagSize {
		return nil, ErrOpen
	}
	key, err := aead.Open(nil, row.Wrapped[:nonceSize], row.Wrapped[nonceSize:], handOverContext(row))
	if err != nil {
		return nil, ErrOpen
	}
	defer clear(key)
	held := [keySize]byte(key)
	return &held, nil
}

func (h *Holder) handOverCipher() (cipher.AEAD, error) {
	private, err := h.Private()
	if err != nil {
		return nil, err
	}
	key, err := derive(private.bytes(), encode("", h.grant.ID[:]), handOverLabel)
	if err != nil {
		return nil, err
	}
	defer clear(key)
	return newGCM(key)
}

func handOverContext(row *models.VaultKey) []byte {
	return encode(handOverLabel, row.GrantID[:], row.VaultID[:], number(row.Generation))
}

// Offer puts a vault's key into a new escrow for the grant that may accept it,
// and signs it. Ids, vault, generation and times must be set.
func (h *Holder) Offer(random io.Reader, e *models.Escrow, d DEK, to *models.Grant) (err error) {
	if e.FromID != h.grant.ID || e.ToID != to.ID || e.VaultID != d.vaultID || e.Generation != d.generation || e.State != models.EscrowPending {
		return errors.New("custody: the escrow is of other grants or of another vault")
	}
	e.Wrapped, err = h.share(random, d.Secret, to, sharedEscrow, e.ID[:], e.VaultID[:], number(e.Generation))
	if err == nil {
		h.ring.SignEscrow(e)
	}
	return err
}

// OpenEscrow unwraps the key of a pending escrow that is for this holder.
func (h *Holder) OpenEscrow(e *models.Escrow, from *models.Grant) (DEK, error) {
	if err := h.ring.CheckEscrow(e); err != nil {
		return DEK{}, err
	}
	if e.ToID != h.grant.ID || e.AccountID != h.grant.AccountID || e.State != models.EscrowPending {
		return DEK{}, ErrOpen
	}
	key, err := h.openShared(e.Wrapped, &e.FromID, from, sharedEscrow, e.ID[:], e.VaultID[:], number(e.Generation))
	if err != nil {
		return DEK{}, err
	}
	return DEK{holdSecret(key), e.VaultID, e.Generation}, nil
}

const successorLabel = "tokenvault/successor/v1"

// SealSuccessor seals the text of the token that follows the holder's own, so
// that only this one opens it: nonce(12) ‖ AES-256-GCM under HKDF(secret).
func (h *Holder) SealSuccessor(random io.Reader, next uint32, text string) (models.Successor, error) {
	row := models.Successor{
		AccountID: h.grant.AccountID, GrantID: h.grant.ID, Slot: int64(h.claims.Slot), NextSlot: int64(next), CreatedAt: models.Stamp(h.now()),
	}
	aead, err := h.successorCipher()
	if err != nil {
		return row, err
	}
	sealed := make([]byte, nonceSize, nonceSize+len(text)+tagSize)
	if _, err := io.ReadFull(random, sealed); err != nil {
		return row, fmt.Errorf("custody: no randomness: %w", err)
	}
	row.Sealed = aead.Seal(sealed, sealed[:nonceSize], []byte(text), successorContext(&row))
	return row, nil
}

// OpenSuccessor is the text that SealSuccessor sealed: ErrOpen.
func (h *Holder) OpenSuccessor(row *models.Successor) (string, error) {
	if row.AccountID != h.grant.AccountID || row.GrantID != h.grant.ID || row.Slot != int64(h.claims.Slot) || len(row.Sealed) < nonceSize+tagSize {
		return "", ErrOpen
	}
	aead, err := h.successorCipher()
	if err != nil {
		return "", err
	}
	text, err := aead.Open(nil, row.Sealed[:nonceSize], row.Sealed[nonceSize:], successorContext(row))
	if err != nil {
		return "", ErrOpen
	}
	return string(text), nil
}

func (h *Holder) successorCipher() (cipher.AEAD, error) {
	key, err := derive(h.claims.Secret.bytes(), nil, successorLabel)
	if err != nil {
		return nil, err
	}
	defer clear(key)
	return newGCM(key)
}

func successorContext(row *models.Successor) []byte {
	return encode(successorLabel, row.AccountID[:], row.GrantID[:], number(row.Slot), number(row.NextSlot))
}
