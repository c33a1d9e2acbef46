package custody

import (
	"errors"
	"io"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
)

// errNoVault: an agent opens what it was granted, never a vault, whatever bug
// stands above.
var errNoVault = errors.New("custody: grants of this kind are given no vault's key")

// A DEK is a platform vault's data-encryption key, of one generation.
type DEK struct {
	Secret
	vaultID    uuid.UUID
	generation int64
}

// NewDEK draws a key for a generation of a vault.
func NewDEK(random io.Reader, vaultID uuid.UUID, generation int64) (d DEK, err error) {
	within(func() {
		var key Secret
		if key, err = newSecret(random); err == nil {
			d = DEK{key, vaultID, generation}
		}
	})
	return d, err
}

// Vault is the vault that the key is of, and its generation.
func (d DEK) Vault() (id uuid.UUID, generation int64) { return d.vaultID, d.generation }

// CEK is the key of a credential at an epoch: HKDF(DEK, salt = credential id,
// epoch; "tokenvault/credential/v1").
func (d DEK) CEK(credentialID uuid.UUID, epoch int64) (c CEK, err error) {
	salt := encode("", credentialID[:], number(epoch))
	within(func() {
		var key []byte
		if key, err = derive(d.bytes(), salt, credentialLabel); err == nil {
			c = CEK{holdSecret(key), credentialID, epoch}
		}
	})
	return c, err
}

// KeepDEK wraps a vault's key for the holder's own slot.
func (h *Holder) KeepDEK(d DEK) (models.VaultKey, error) {
	salt := h.claims.saltOf(d.vaultID, d.generation)
	return h.keepVaultKey(h.vaultKey(d, models.FormSlot, int64(h.claims.Slot)), func() (models.Opaque, error) {
		return h.claims.wrap(d.Secret, forDEK, salt)
	})
}

// ShareDEK wraps a vault's key to another grant's public key.
func (h *Holder) ShareDEK(random io.Reader, d DEK, to *models.Grant) (models.VaultKey, error) {
	if !to.Kind.Shares() {
		return models.VaultKey{}, errNoVault
	}
	row := h.vaultKey(d, models.FormShared, models.WholeGrant)
	row.GrantID, row.SenderID = to.ID, &h.grant.ID
	return h.keepVaultKey(row, func() (models.Opaque, error) {
		return h.share(random, d.Secret, to, sharedDEK, d.vaultID[:], number(d.generation))
	})
}

const handOverLabel = "tokenvault/handover/v1"

// HandOver wraps a vault's key for the holder's other slots, whose tokens are not
// at hand: nonce(12) ‖ AES-256-GCM under HKDF(private key, salt = grant).
func (h *Holder) HandOver(random io.Reader, d DEK) (models.VaultKey, error) {
	row := h.vaultKey(d, models.FormHandOver, models.WholeGrant)
	return h.keepVaultKey(row, func() (models.Opaque, error) {
		if d.bytes() == nil {
			return nil, errCleared
		}
		key, err := h.handOverKey()
		if err != nil {
			return nil, err
		}
		defer clear(key)
		return seal(random, key, d.bytes(), handOverContext(&row))
	})
}

func (h *Holder) vaultKey(d DEK, form models.KeyForm, slot int64) models.VaultKey {
	return models.VaultKey{
		AccountID: h.grant.AccountID, GrantID: h.grant.ID, VaultID: d.vaultID, Generation: d.generation, Slot: slot, Form: form,
		CreatedAt: models.Stamp(h.now()),
	}
}

func (h *Holder) keepVaultKey(row models.VaultKey, wrap func() (models.Opaque, error)) (models.VaultKey, error) {
	if h.grant.Kind == models.GrantAgentKey {
		return models.VaultKey{}, errNoVault
	}
	var err error
	within(func() { row.Wrapped, err = wrap() })
	if err != nil {
		return models.VaultKey{}, err
	}
	h.ring.SignVaultKey(&row)
	return row, nil
}

// OpenVaultKey unwraps a vault's key, whatever its form. sender is the grant that
// wrapped it, of FormShared; ended ones count. ErrRow or ErrKeyID when a row is
// not authentic, ErrOpen when the key is not for this holder or does not open.
func (h *Holder) OpenVaultKey(row *models.VaultKey, sender *models.Grant) (d DEK, err error) {
	if err := h.ring.CheckVaultKey(row); err != nil {
		return DEK{}, err
	}
	if row.AccountID != h.grant.AccountID || row.GrantID != h.grant.ID || h.grant.Kind == models.GrantAgentKey {
		return DEK{}, ErrOpen
	}
	salt := h.claims.saltOf(row.VaultID, row.Generation)
	within(func() {
		var key []byte
		switch {
		case row.Form == models.FormSlot && row.Slot == int64(h.claims.Slot):
			key, err = h.claims.unwrap(row.Wrapped, forDEK, salt)
		case row.Form == models.FormShared && row.Slot == models.WholeGrant:
			key, err = h.openShared(row.Wrapped, row.SenderID, sender, sharedDEK, row.VaultID[:], number(row.Generation))
		case row.Form == models.FormHandOver && row.Slot == models.WholeGrant:
			key, err = h.openHandOver(row)
		default:
			err = ErrOpen
		}
		if err == nil {
			d = DEK{holdSecret(key), row.VaultID, row.Generation}
		}
	})
	return d, err
}

func (h *Holder) openHandOver(row *models.VaultKey) ([]byte, error) {
	if len(row.Wrapped) != nonceSize+keySize+tagSize {
		return nil, ErrOpen
	}
	key, err := h.handOverKey()
	if err != nil {
		return nil, err
	}
	defer clear(key)
	return open(key, row.Wrapped, handOverContext(row))
}

// handOverKey is the caller's to clear.
func (h *Holder) handOverKey() ([]byte, error) {
	private, err := h.openPrivate()
	if err != nil {
		return nil, err
	}
	return derive(private.bytes(), encode("", h.grant.ID[:]), handOverLabel)
}

func handOverContext(row *models.VaultKey) []byte {
	return encode(handOverLabel, row.GrantID[:], row.VaultID[:], number(row.Generation))
}
