package custody

import (
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/subtle"
	"fmt"
	"io"
	"log/slog"
	"time"

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
	grant   *models.Grant // its own, or what is remembered, which nobody changes
	wrapped models.Opaque
	private PrivateKey // unwrapped at its first use
	now     func() time.Time
}

// Hold makes a holder of claims, beside the rows of their grant and slot, which
// must be authentic and unlock: ErrRow, ErrKeyID, ErrOpen. Whether the grant is
// live is the caller's to decide. The claims' secret belongs to the holder from
// then on; after an error it is still the caller's to clear.
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
	own := *g
	return &Holder{ring: k, claims: c, grant: &own, wrapped: key.WrappedPrivateKey, now: now}, nil
}

// A Remembered is what a replica may remember of a token that counted: the rows of
// its grant and slot, as Hold checked them, and what opens its text, which derives
// from a server key alone. No key of the token's own is here.
type Remembered struct {
	grant   models.Grant
	slot    uint32
	wrapped models.Opaque
	cipher  func() cipher.AEAD
}

// Remember is what Recall takes.
func (h *Holder) Remember() Remembered {
	return Remembered{*h.grant, h.claims.Slot, h.wrapped, h.claims.cipher}
}

// Recall is OpenToken and Hold for the text of a token that counted a moment ago,
// which the caller knows by its SHA-256: rows are not checked again, and the private
// key not unwrapped until it is used. ErrToken, or ErrOpen when it is another token.
func (k *Keyring) Recall(text string, r *Remembered, now func() time.Time) (*Holder, error) {
	c, err := k.openToken(text, r.cipher)
	if err != nil {
		return nil, err
	}
	if r.grant.AccountID != c.AccountID || r.grant.ID != c.GrantID || r.grant.Kind != c.Kind || r.slot != c.Slot {
		c.Secret.Clear()
		return nil, ErrOpen
	}
	return &Holder{ring: k, claims: c, grant: &r.grant, wrapped: r.wrapped, now: now}, nil
}

// Grant is the grant in whose name the holder acts. Of a holder that was recalled it is
// what others remember too: nobody changes it.
func (h *Holder) Grant() *models.Grant { return h.grant }

// Slot is the slot of the holder's token.
func (h *Holder) Slot() uint32 { return h.claims.Slot }

// Clear overwrites the holder's keys: from here on it opens and wraps nothing. It
// may be called twice.
func (h *Holder) Clear() {
	h.claims.Secret.Clear()
	h.private.Clear()
}

func (Holder) String() string               { return redacted }
func (Holder) GoString() string             { return redacted }
func (Holder) Format(f fmt.State, _ rune)   { _, _ = io.WriteString(f, redacted) }
func (Holder) LogValue() slog.Value         { return slog.StringValue(redacted) }
func (Holder) MarshalJSON() ([]byte, error) { return nil, errMarshal }
func (Holder) MarshalText() ([]byte, error) { return nil, errMarshal }

// MarshalBinary keeps encoding/gob out as well.
func (Holder) MarshalBinary() ([]byte, error) { return nil, errMarshal }

// Private is the grant's private key, after its public key was computed anew and
// compared with the row's: ErrOpen when they differ.
func (h *Holder) Private() (private PrivateKey, err error) {
	within(func() { private, err = h.openPrivate() })
	return private, err
}

func (h *Holder) openPrivate() (PrivateKey, error) {
	if h.private.bytes() != nil {
		return h.private, nil
	}
	private, err := h.claims.unwrap(h.wrapped, forPrivateKey, h.claims.salt())
	if err != nil {
		return PrivateKey{}, err
	}
	defer clear(private[:])
	pair, err := ecdh.X25519().NewPrivateKey(private[:])
	if err != nil || subtle.ConstantTimeCompare(pair.PublicKey().Bytes(), h.grant.PublicKey) != 1 {
		return PrivateKey{}, ErrOpen
	}
	h.private = PrivateKey{blankSecret(), h.grant.ID}
	h.private.fill(&private)
	return h.private, nil
}
