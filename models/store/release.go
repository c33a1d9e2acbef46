package store

import (
	"context"
	"slices"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"github.com/tvzero/tokenvault/models"
)

// releaseKey names a credential and the agent's grant that asks for it.
type releaseKey struct{ account, grant, credential uuid.UUID }

// releaseRow is what CredentialForAgent answers.
type releaseRow struct {
	token      models.Token
	credential models.Credential
	keys       []models.CredentialKey
}

// releaseKeyRow is a row of CredentialForAgent: the credential with one of the
// agent's keys; all of Key is nil when it has none.
type releaseKeyRow struct {
	Token      models.Token      `gorm:"embedded;embeddedPrefix:token_"`
	Credential models.Credential `gorm:"embedded;embeddedPrefix:credential_"`
	Key        struct {
		Slot      *int64
		Epoch     *int64
		Form      *models.KeyForm
		SenderID  *uuid.UUID
		Wrapped   models.Opaque
		CreatedAt *time.Time
		KeyID     *int
		MAC       models.Opaque
	} `gorm:"embedded;embeddedPrefix:key_"`
}

// CredentialForAgent is a credential with its token, superseded or not, and the
// keys that an agent's grant has of it, the whole grant's first, all as of one
// moment, in one round trip. ErrNotFound: no such credential.
//
// On PostgreSQL, callers at the same time share that round trip.
func (s *Store) CredentialForAgent(ctx context.Context, accountID, grantID, credentialID uuid.UUID) (
	models.Token, models.Credential, []models.CredentialKey, error) {
	var r releaseRow
	var err error
	key := releaseKey{accountID, grantID, credentialID}
	if s.dialect == Postgres && s.txOf(ctx) == nil {
		r, err = s.releases.get(ctx, key)
		r.keys = slices.Clone(r.keys) // callers of one query share the row
	} else {
		r, err = s.release(ctx, key)
	}
	return r.token, r.credential, r.keys, failed(err, "credential %s", credentialID)
}

func (s *Store) release(ctx context.Context, key releaseKey) (r releaseRow, err error) {
	var rows []releaseKeyRow
	err = s.view(ctx).Raw("SELECT "+releaseColumns+`
		FROM tokens t JOIN credentials c ON c.account_id = t.account_id AND c.id = t.id
		LEFT JOIN credential_keys k ON k.account_id = c.account_id AND k.credential_id = c.id AND k.grant_id = ?
		WHERE t.account_id = ? AND t.id = ? ORDER BY k.slot`, key.grant, key.account, key.credential).Scan(&rows).Error
	if err == nil && len(rows) == 0 {
		err = gorm.ErrRecordNotFound
	}
	for i := range rows {
		r.add(key, &rows[i])
	}
	return r, err
}

// releaseColumns are those of a releaseKeyRow, in its order.
const releaseColumns = `t.account_id AS token_account_id, t.id AS token_id, t.vault_id AS token_vault_id, t.owner AS token_owner,
	t.bridge AS token_bridge, t.service_name AS token_service_name, t.scheme AS token_scheme, t.token_type AS token_token_type,
	t.display_name AS token_display_name, t.notes AS token_notes, t.tags AS token_tags, t.provider AS token_provider,
	t.creation_id AS token_creation_id, t.expires_at AS token_expires_at, t.has_refresh_token AS token_has_refresh_token,
	t.has_certificate AS token_has_certificate, t.has_private_key AS token_has_private_key, t.has_ssh_key AS token_has_ssh_key,
	t.has_totp_secret AS token_has_totp_secret, t.stored_at AS token_stored_at, t.seen_at AS token_seen_at, t.seen_path AS token_seen_path,
	t.seen_creation_id AS token_seen_creation_id, t.superseded_at AS token_superseded_at, t.created_at AS token_created_at,
	t.updated_at AS token_updated_at,
	c.account_id AS credential_account_id, c.id AS credential_id, c.vault_id AS credential_vault_id, c.generation AS credential_generation,
	c.epoch AS credential_epoch, c.version AS credential_version, c.sealed AS credential_sealed,
	c.rekey_due_at AS credential_rekey_due_at, c.updated_at AS credential_updated_at,
	k.slot AS key_slot, k.epoch AS key_epoch, k.form AS key_form, k.sender_id AS key_sender_id, k.wrapped AS key_wrapped,
	k.created_at AS key_created_at, k.key_id AS key_key_id, k.mac AS key_mac`

// add takes a row's token and credential, and its key if it has one.
func (r *releaseRow) add(key releaseKey, row *releaseKeyRow) {
	r.token, r.credential = row.Token, row.Credential
	if k := row.Key; k.Slot != nil {
		r.keys = append(r.keys, models.CredentialKey{
			AccountID: key.account, CredentialID: key.credential, GrantID: key.grant, Slot: *k.Slot, Epoch: *k.Epoch, Form: *k.Form,
			SenderID: k.SenderID, Wrapped: k.Wrapped, CreatedAt: *k.CreatedAt, KeyID: *k.KeyID, MAC: k.MAC,
		})
	}
}
