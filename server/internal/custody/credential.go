package custody

import (
	"errors"
	"io"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
)

const credentialLabel = "tokenvault/credential/v1"

// errNoAgent: only agents are given the keys of single credentials.
var errNoAgent = errors.New("custody: only agents are given a credential's key")

// A CEK is a credential's key: it derives from its vault's DEK, for one epoch.
type CEK struct {
	Secret
	credentialID uuid.UUID
	epoch        int64
}

// Seal puts the secret part of a token into its credential: nonce(12) ‖
// AES-256-GCM, bound to where it stands and under which name. The credential's
// vault, epoch and version must be set. The CEK must be of its id and epoch. An
// error leaves the credential as it was.
func (c CEK) Seal(random io.Reader, t *models.Token, cr *models.Credential, secret []byte) (err error) {
	if !c.of(t, cr) {
		return ErrOpen
	}
	context := credentialContext(t, cr)
	within(func() {
		var sealed []byte
		if sealed, err = seal(random, c.bytes(), secret, context); err == nil {
			cr.Sealed = sealed
		}
	})
	return err
}

// Open is what Seal sealed: ErrOpen when it does not open, or anything that it is
// bound to has changed. Clear it after use.
func (c CEK) Open(t *models.Token, cr *models.Credential) (secret []byte, err error) {
	if !c.of(t, cr) {
		return nil, ErrOpen
	}
	context := credentialContext(t, cr)
	room := roomFor(cr.Sealed)
	within(func() { secret, err = open(room, c.bytes(), cr.Sealed, context) })
	return secret, err
}

func (c CEK) of(t *models.Token, cr *models.Credential) bool {
	return c.credentialID == cr.ID && c.credentialID == t.ID && c.epoch == cr.Epoch && t.AccountID == cr.AccountID
}

func credentialContext(t *models.Token, cr *models.Credential) []byte {
	return encode(credentialLabel, cr.VaultID[:], cr.ID[:], []byte(t.Owner), []byte(t.Bridge), []byte(t.ServiceName), []byte(t.Scheme),
		number(cr.Epoch), number(cr.Version))
}

// KeepCEK wraps a credential's key for the holder's own slot: an agent's, for its
// later releases.
func (h *Holder) KeepCEK(c CEK) (models.CredentialKey, error) {
	if h.grant.Kind != models.GrantAgentKey {
		return models.CredentialKey{}, errNoAgent
	}
	salt := h.claims.saltOf(c.credentialID, c.epoch)
	return h.keepCredentialKey(h.credentialKey(c, models.FormSlot, int64(h.claims.Slot)), func() (models.Opaque, error) {
		return h.claims.wrap(c.Secret, forCEK, salt)
	})
}

// ShareCEK wraps a credential's key to an agent's public key.
func (h *Holder) ShareCEK(random io.Reader, c CEK, to *models.Grant) (models.CredentialKey, error) {
	if to.Kind != models.GrantAgentKey {
		return models.CredentialKey{}, errNoAgent
	}
	row := h.credentialKey(c, models.FormShared, models.WholeGrant)
	row.GrantID, row.SenderID = to.ID, &h.grant.ID
	return h.keepCredentialKey(row, func() (models.Opaque, error) {
		return h.share(random, c.Secret, to, sharedCEK, c.credentialID[:], number(c.epoch))
	})
}

func (h *Holder) credentialKey(c CEK, form models.KeyForm, slot int64) models.CredentialKey {
	return models.CredentialKey{
		AccountID: h.grant.AccountID, CredentialID: c.credentialID, GrantID: h.grant.ID, Slot: slot, Epoch: c.epoch, Form: form,
		CreatedAt: models.Stamp(h.now()),
	}
}

func (h *Holder) keepCredentialKey(row models.CredentialKey, wrap func() (models.Opaque, error)) (models.CredentialKey, error) {
	var err error
	within(func() { row.Wrapped, err = wrap() })
	if err != nil {
		return models.CredentialKey{}, err
	}
	h.ring.SignCredentialKey(&row)
	return row, nil
}

// OpenCredentialKey unwraps an agent's key of a credential, as OpenVaultKey does a
// vault's.
func (h *Holder) OpenCredentialKey(row *models.CredentialKey, sender *models.Grant) (c CEK, err error) {
	if err := h.ring.CheckCredentialKey(row); err != nil {
		return CEK{}, err
	}
	if !h.isFor(row) {
		return CEK{}, ErrOpen
	}
	salt, secret := h.claims.saltOf(row.CredentialID, row.Epoch), blankSecret()
	within(func() { c, err = h.openCredentialKey(row, sender, salt, secret) })
	return c, err
}

func (h *Holder) isFor(row *models.CredentialKey) bool {
	return row.AccountID == h.grant.AccountID && row.GrantID == h.grant.ID && h.grant.Kind == models.GrantAgentKey
}

// openCredentialKey is OpenCredentialKey's work with keys; it fills secret.
func (h *Holder) openCredentialKey(row *models.CredentialKey, sender *models.Grant, salt []byte, secret Secret) (CEK, error) {
	var cek key
	var err error
	switch {
	case row.Form == models.FormSlot && row.Slot == int64(h.claims.Slot):
		cek, err = h.claims.unwrap(row.Wrapped, forCEK, salt)
	case row.Form == models.FormShared && row.Slot == models.WholeGrant:
		cek, err = h.openShared(row.Wrapped, row.SenderID, sender, sharedCEK, row.CredentialID[:], number(row.Epoch))
	default:
		err = ErrOpen
	}
	if err != nil {
		return CEK{}, err
	}
	secret.fill(&cek)
	return CEK{secret, row.CredentialID, row.Epoch}, nil
}

// A RememberedCredential is what a replica may remember of a credential for an agent:
// its ciphertext, what that is bound to, and the agent's wrap of its key, which was found
// authentic. Whoever remembers it does not change the rows. No key is here.
type RememberedCredential struct {
	row        *models.CredentialKey
	token      *models.Token
	credential *models.Credential
	context    []byte
}

// RememberCredential is what RecallCredential takes, or ErrRow or ErrKeyID of the
// wrapped key's row.
func (k *Keyring) RememberCredential(row *models.CredentialKey, t *models.Token, cr *models.Credential) (RememberedCredential, error) {
	if err := k.CheckCredentialKey(row); err != nil {
		return RememberedCredential{}, err
	}
	return RememberedCredential{row, t, cr, credentialContext(t, cr)}, nil
}

// RecallCredential is OpenCredentialKey and CEK.Open in one. The secret is written to room
// where that is large enough; it does not outlive room, and the caller clears both. What
// opens by another key than it should, or not at all, is ErrOpen, of the key or of the
// credential: then the CEK is returned as well.
func (h *Holder) RecallCredential(r *RememberedCredential, sender *models.Grant, room []byte) (c CEK, secret []byte, err error) {
	if r.row == nil || !h.isFor(r.row) {
		return CEK{}, nil, ErrOpen
	}
	salt, blank := h.claims.saltOf(r.row.CredentialID, r.row.Epoch), blankSecret()
	if needed := len(r.credential.Sealed); cap(room) < needed {
		room = roomFor(r.credential.Sealed)
	}
	within(func() {
		if c, err = h.openCredentialKey(r.row, sender, salt, blank); err != nil {
			return
		}
		if !c.of(r.token, r.credential) {
			err = ErrOpen
			return
		}
		secret, err = open(room[:0], c.bytes(), r.credential.Sealed, r.context)
	})
	return c, secret, err
}
