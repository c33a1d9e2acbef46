package custody

import (
	"crypto/cipher"
	"fmt"
	"io"

	josecipher "github.com/go-jose/go-jose/v4/cipher"
	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
)

const credentialLabel = "tokenvault/credential/v1"

// A DEK is a platform vault's data-encryption key, of one generation.
type DEK struct {
	Secret
	vaultID    uuid.UUID
	generation int64
}

// A CEK is a credential's key: it derives from its vault's DEK, for one epoch.
type CEK struct {
	Secret
	credentialID uuid.UUID
	epoch        int64
}

// NewDEK draws a key for a generation of a vault.
func NewDEK(random io.Reader, vaultID uuid.UUID, generation int64) (DEK, error) {
	secret, err := newSecret(random)
	return DEK{secret, vaultID, generation}, err
}

// Vault is the vault that the key is of, and its generation.
func (d DEK) Vault() (id uuid.UUID, generation int64) { return d.vaultID, d.generation }

// CEK is the key of a credential at an epoch: HKDF(DEK, salt = credential id,
// epoch; "tokenvault/credential/v1").
func (d DEK) CEK(credentialID uuid.UUID, epoch int64) (CEK, error) {
	if d.key == nil {
		return CEK{}, ErrOpen
	}
	key, err := derive(d.bytes(), encode("", credentialID[:], number(epoch)), credentialLabel)
	if err != nil {
		return CEK{}, err
	}
	defer clear(key)
	held := [keySize]byte(key)
	return CEK{holdSecret(&held), credentialID, epoch}, nil
}

// Seal puts the secret part of a token into its credential: nonce(12) ‖
// AES-256-GCM, bound to where it stands and under which name. The credential's
// vault, epoch and version must be set. The CEK must be of its id and epoch.
func (c CEK) Seal(random io.Reader, t *models.Token, cr *models.Credential, secret []byte) error {
	aead, err := c.cipher(t, cr)
	if err != nil {
		return err
	}
	sealed := make([]byte, nonceSize, nonceSize+len(secret)+tagSize)
	if _, err := io.ReadFull(random, sealed); err != nil {
		return fmt.Errorf("custody: no randomness: %w", err)
	}
	cr.Sealed = aead.Seal(sealed, sealed[:nonceSize], secret, credentialContext(t, cr))
	return nil
}

// Open is what Seal sealed: ErrOpen when it does not open, or anything that it is
// bound to has changed. Clear it after use.
func (c CEK) Open(t *models.Token, cr *models.Credential) ([]byte, error) {
	aead, err := c.cipher(t, cr)
	if err != nil {
		return nil, err
	}
	if len(cr.Sealed) < nonceSize+tagSize {
		return nil, ErrOpen
	}
	secret, err := aead.Open(nil, cr.Sealed[:nonceSize], cr.Sealed[nonceSize:], credentialContext(t, cr))
	if err != nil {
		return nil, ErrOpen
	}
	return secret, nil
}

func (c CEK) cipher(t *models.Token, cr *models.Credential) (cipher.AEAD, error) {
	if c.key == nil || c.credentialID != cr.ID || c.credentialID != t.ID || c.epoch != cr.Epoch || t.AccountID != cr.AccountID {
		return nil, ErrOpen
	}
	return newGCM(c.bytes())
}

func credentialContext(t *models.Token, cr *models.Credential) []byte {
	return encode(credentialLabel, cr.VaultID[:], cr.ID[:], []byte(t.Owner), []byte(t.Bridge), []byte(t.ServiceName), []byte(t.Scheme),
		number(cr.Epoch), number(cr.Version))
}

// KeepDEK wraps a vault's key for the holder's own slot.
func (h *Holder) KeepDEK(d DEK) (models.VaultKey, error) {
	block, err := h.claims.kek(forDEK, d.vaultID[:], number(d.generation))
	if err != nil {
		return models.VaultKey{}, err
	}
	row := h.vaultKey(d, models.FormSlot, int64(h.claims.Slot))
	if row.Wrapped, err = josecipher.KeyWrap(block, d.bytes()); err != nil {
		return models.VaultKey{}, err
	}
	h.ring.SignVaultKey(&row)
	return row, nil
}

func (h *Holder) vaultKey(d DEK, form models.KeyForm, slot int64) models.VaultKey {
	return models.VaultKey{
		AccountID: h.grant.AccountID, GrantID: h.grant.ID, VaultID: d.vaultID, Generation: d.generation, Slot: slot, Form: form,
		CreatedAt: models.Stamp(h.now()),
	}
}

// OpenVaultKey unwraps a vault's key, whatever its form. sender is the grant that
// wrapped it, of FormShared; ended ones count. ErrRow or ErrKeyID when a row is
// not authentic, ErrOpen when the key is not for this holder or does not open.
func (h *Holder) OpenVaultKey(row *models.VaultKey, sender *models.Grant) (DEK, error) {
	if err := h.ring.CheckVaultKey(row); err != nil {
		return DEK{}, err
	}
	if row.AccountID != h.grant.AccountID || row.GrantID != h.grant.ID {
		return DEK{}, ErrOpen
	}
	var key *[keySize]byte
	var err error
	switch {
	case row.Form == models.FormSlot && row.Slot == int64(h.claims.Slot):
		var block cipher.Block
		if block, err = h.claims.kek(forDEK, row.VaultID[:], number(row.Generation)); err == nil {
			key, err = unwrap(block, row.Wrapped)
		}
	case row.Form == models.FormShared && row.Slot == models.WholeGrant:
		key, err = h.openShared(row.Wrapped, row.SenderID, sender, sharedDEK, row.VaultID[:], number(row.Generation))
	case row.Form == models.FormHandOver && row.Slot == models.WholeGrant:
		key, err = h.openHandOver(row)
	default:
		err = ErrOpen
	}
	if err != nil {
		return DEK{}, err
	}
	return DEK{holdSecret(key), row.VaultID, row.Generation}, nil
}

// ShareDEK wraps a vault's key to another grant's public key.
func (h *Holder) ShareDEK(random io.Reader, d DEK, to *models.Grant) (models.VaultKey, error) {
	wrapped, err := h.share(random, d.Secret, to, sharedDEK, d.vaultID[:], number(d.generation))
	if err != nil {
		return models.VaultKey{}, err
	}
	row := h.vaultKey(d, models.FormShared, models.WholeGrant)
	row.GrantID, row.SenderID, row.Wrapped = to.ID, &h.grant.ID, wrapped
	h.ring.SignVaultKey(&row)
	return row, nil
}

// KeepCEK wraps a credential's key for the holder's own slot: an agent's, for its
// later releases.
func (h *Holder) KeepCEK(c CEK) (models.CredentialKey, error) {
	block, err := h.claims.kek(forCEK, c.credentialID[:], number(c.epoch))
	if err != nil {
		return models.CredentialKey{}, err
	}
	row := h.credentialKey(c, models.FormSlot, int64(h.claims.Slot))
	if row.Wrapped, err = josecipher.KeyWrap(block, c.bytes()); err != nil {
		return models.CredentialKey{}, err
	}
	h.ring.SignCredentialKey(&row)
	return row, nil
}

func (h *Holder) credentialKey(c CEK, form models.KeyForm, slot int64) models.CredentialKey {
	return models.CredentialKey{
		AccountID: h.grant.AccountID, CredentialID: c.credentialID, GrantID: h.grant.ID, Slot: slot, Epoch: c.epoch, Form: form,
		CreatedAt: models.Stamp(h.now()),
	}
}

// ShareCEK wraps a credential's key to an agent's public key.
func (h *Holder) ShareCEK(random io.Reader, c CEK, to *models.Grant) (models.CredentialKey, error) {
	wrapped, err := h.share(random, c.Secret, to, sharedCEK, c.credentialID[:], number(c.epoch))
	if err != nil {
		return models.CredentialKey{}, err
	}
	row := h.credentialKey(c, models.FormShared, models.WholeGrant)
	row.GrantID, row.SenderID, row.Wrapped = to.ID, &h.grant.ID, wrapped
	h.ring.SignCredentialKey(&row)
	return row, nil
}

// OpenCredentialKey unwraps an agent's key of a credential, as OpenVaultKey does a
// vault's.
func (h *Holder) OpenCredentialKey(row *models.CredentialKey, sender *models.Grant) (CEK, error) {
	if err := h.ring.CheckCredentialKey(row); err != nil {
		return CEK{}, err
	}
	if row.AccountID != h.grant.AccountID || row.GrantID != h.grant.ID {
		return CEK{}, ErrOpen
	}
	var key *[keySize]byte
	var err error
	switch {
	case row.Form == models.FormSlot && row.Slot == int64(h.claims.Slot):
		var block cipher.Block
		if block, err = h.claims.kek(forCEK, row.CredentialID[:], number(row.Epoch)); err == nil {
			key, err = unwrap(block, row.Wrapped)
		}
	case row.Form == models.FormShared && row.Slot == models.WholeGrant:
		key, err = h.openShared(row.Wrapped, row.SenderID, sender, sharedCEK, row.CredentialID[:], number(row.Epoch))
	default:
		err = ErrOpen
	}
	if err != nil {
		return CEK{}, err
	}
	return CEK{holdSecret(key), row.CredentialID, row.Epoch}, nil
}
