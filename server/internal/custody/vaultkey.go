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
	secret := blankSecret()
	within(func() {
		if err = secret.draw(random); err == nil {
			d = DEK{secret, vaultID, generation}
		}
	})
	return d, err
}

// Vault is the vault that the key is of, and its generation.
func (d DEK) Vault() (id uuid.UUID, generation int64) { return d.vaultID, d.generation }

// CEK is the key of a credential at an epoch: HKDF(DEK, salt = credential id,
// epoch; "tokenvault/credential/v1").
func (d DEK) CEK(credentialID uuid.UUID, epoch int64) (c CEK, err error) {
	salt, secret := encode("", credentialID[:], number(epoch)), blankSecret()
	within(func() {
		var cek key
		if cek, err = derive(d.bytes(), salt, credentialLabel); err == nil {
			secret.fill(&cek)
			c = CEK{secret, credentialID, epoch}
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
		defer clear(key[:])
		return seal(random, key[:], d.bytes(), handOverContext(&row))
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
	salt, secret := h.claims.saltOf(row.VaultID, row.Generation), blankSecret()
	within(func() {
		var dek key
		switch {
		case row.Form == models.FormSlot && row.Slot == int64(h.claims.Slot):
			dek, err = h.claims.unwrap(row.Wrapped, forDEK, salt)
		case row.Form == models.FormShared && row.Slot == models.WholeGrant:
			dek, err = h.openShared(row.Wrapped, row.SenderID, sender, sharedDEK, row.VaultID[:], number(row.Generation))
		case row.Form == models.FormHandOver && row.Slot == models.WholeGrant:
			dek, err = h.openHandOver(row)
		default:
			err = ErrOpen
		}
		if err == nil {
			secret.fill(&dek)
			d = DEK{secret, row.VaultID, row.Generation}
		}
	})
	return d, err
}

func (h *Holder) openHandOver(row *models.VaultKey) (key, error) {
	if len(row.Wrapped) != nonceSize+keySize+tagSize {
		return key{}, ErrOpen
	}
	own, err := h.handOverKey()
	if err != nil {
		return key{}, err
	}
	defer clear(own[:])
	dek, err := open(roomFor(row.Wrapped), own[:], row.Wrapped, handOverContext(row))
	if err != nil {
		return key{}, err
	}
	defer clear(dek)
	return key(dek), nil
}

// handOverKey is the caller's to clear.
func (h *Holder) handOverKey() (key, error) {
	private, err := h.openPrivate()
	if err != nil {
		return key{}, err
	}
	return derive(private.bytes(), encode("", h.grant.ID[:]), handOverLabel)
}

func handOverContext(row *models.VaultKey) []byte {
	return encode(handOverLabel, row.GrantID[:], row.VaultID[:], number(row.Generation))
}
