package store

import (
	"context"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"github.com/tvzero/tokenvault/models"
)

// CreateCredential adds a token of a platform vault with its credential, whose id
// is the token's. ErrConflict: the name is taken. ErrNotFound: no such vault.
func (s *Store) CreateCredential(ctx context.Context, t *models.Token, c *models.Credential) error {
	if err := clean(c); err != nil {
		return err
	}
	return s.InTx(ctx, func(ctx context.Context) error {
		if err := s.insert(ctx, t.AccountID, t, "token of this name"); err != nil {
			return err
		}
		return s.insert(ctx, c.AccountID, c, "credential")
	})
}

// UpdateCredential replaces a credential that is still where and what it was: of
// the same vault, generation, epoch and version. ErrConflict otherwise, also when
// it is not there any more.
func (s *Store) UpdateCredential(ctx context.Context, c *models.Credential, was models.Credential) error {
	if err := clean(c); err != nil {
		return err
	}
	return s.change(ctx, func(db *gorm.DB) error {
		if c.UpdatedAt.IsZero() {
			c.UpdatedAt = db.NowFunc()
		}
		result := db.Model(&models.Credential{}).
			Where("account_id = ? AND id = ? AND vault_id = ? AND generation = ? AND epoch = ? AND version = ?",
				c.AccountID, c.ID, was.VaultID, was.Generation, was.Epoch, was.Version).
			Select("*").Omit("AccountID", "ID").UpdateColumns(c)
		if result.Error == nil && result.RowsAffected == 0 {
			return conflict("credential %s has changed", c.ID)
		}
		return failed(result.Error, "credential %s", c.ID)
	}, c.AccountID)
}

// Credential by id, which is its token's. ErrNotFound.
func (s *Store) Credential(ctx context.Context, accountID, id uuid.UUID) (models.Credential, error) {
	var c models.Credential
	err := s.view(ctx).Where("account_id = ? AND id = ?", accountID, id).Take(&c).Error
	return c, failed(err, "credential %s", id)
}

// Credentials lists those of a vault by id, of superseded tokens too.
func (s *Store) Credentials(ctx context.Context, accountID, vaultID uuid.UUID) ([]models.Credential, error) {
	var credentials []models.Credential
	err := s.view(ctx).Where("account_id = ? AND vault_id = ?", accountID, vaultID).Order("id").Find(&credentials).Error
	return credentials, failed(err, "credentials of vault %s", vaultID)
}

// DeleteCredential deletes a credential with its agents' keys, its refreshes and its
// token.
// ErrNotFound.
func (s *Store) DeleteCredential(ctx context.Context, accountID, id uuid.UUID) error {
	return s.change(ctx, func(db *gorm.DB) error {
		if _, err := lockRefreshes(db, accountID, []uuid.UUID{id}); err != nil {
			return err
		}
		// The row is locked first, so that a key that is put at the same time waits,
		// and then fails, instead of slipping in between.
		var c models.Credential
		err := locked(db).Select("id").Where("account_id = ? AND id = ?", accountID, id).Take(&c).Error
		if err != nil {
			return failed(err, "credential %s", id)
		}
		for _, step := range []*gorm.DB{
			db.Where("account_id = ? AND credential_id = ?", accountID, id).Delete(&models.CredentialKey{}),
			db.Where("account_id = ? AND id = ?", accountID, id).Delete(&models.Credential{}),
			db.Where("account_id = ? AND id = ?", accountID, id).Delete(&models.Token{}),
		} {
			if step.Error != nil {
				return failed(step.Error, "credential %s", id)
			}
		}
		return nil
	}, accountID)
}

// PutCredentialKey adds an agent's key of a credential, or replaces the one in its
// place. ErrNotFound: no such credential or grant, or the grant has ended.
func (s *Store) PutCredentialKey(ctx context.Context, k *models.CredentialKey) error {
	return s.withGrant(ctx, k.AccountID, k.GrantID, func(ctx context.Context) error {
		return s.put(ctx, k.AccountID, k, "credential key")
	})
}

// KeepCredentialKey is PutCredentialKey of a key that its grant has already in another
// form: nobody learns or loses anything by it, so that nobody is told.
func (s *Store) KeepCredentialKey(ctx context.Context, k *models.CredentialKey) error {
	if err := clean(k); err != nil {
		return err
	}
	return s.withGrant(ctx, k.AccountID, k.GrantID, func(ctx context.Context) error {
		return s.record(ctx, func(db *gorm.DB) error { return putRow(db, k, "credential key") })
	})
}

// CredentialKeys lists all agents' keys of a credential, by grant and slot.
func (s *Store) CredentialKeys(ctx context.Context, accountID, credentialID uuid.UUID) ([]models.CredentialKey, error) {
	var keys []models.CredentialKey
	err := s.view(ctx).Where("account_id = ? AND credential_id = ?", accountID, credentialID).
		Order("grant_id, slot").Find(&keys).Error
	return keys, failed(err, "keys of credential %s", credentialID)
}

// AgentKeys lists all credentials' keys of an agent's grant, by credential and
// slot.
func (s *Store) AgentKeys(ctx context.Context, accountID, grantID uuid.UUID) ([]models.CredentialKey, error) {
	var keys []models.CredentialKey
	err := s.view(ctx).Where("account_id = ? AND grant_id = ?", accountID, grantID).
		Order("credential_id, slot").Find(&keys).Error
	return keys, failed(err, "credential keys of grant %s", grantID)
}

// DeleteCredentialKeys takes a credential's key from an agent's grant. None to
// delete is no error.
func (s *Store) DeleteCredentialKeys(ctx context.Context, accountID, credentialID, grantID uuid.UUID) error {
	return s.change(ctx, func(db *gorm.DB) error {
		err := db.Where("account_id = ? AND credential_id = ? AND grant_id = ?", accountID, credentialID, grantID).
			Delete(&models.CredentialKey{}).Error
		return failed(err, "keys of credential %s", credentialID)
	}, accountID)
}

// VaultAgentGrants lists the agents' grants that have a key of a credential in a
// vault, or whose agent was granted a token there, by id.
func (s *Store) VaultAgentGrants(ctx context.Context, accountID, vaultID uuid.UUID) ([]uuid.UUID, error) {
	var ids []uuid.UUID
	err := s.view(ctx).Raw(`SELECT k.grant_id AS id FROM credentials c
		JOIN credential_keys k ON k.account_id = c.account_id AND k.credential_id = c.id
		WHERE c.account_id = ? AND c.vault_id = ?
		UNION SELECT a.grant_id FROM tokens t
		JOIN credential_grants g ON g.account_id = t.account_id AND g.token_id = t.id
		JOIN agents a ON a.account_id = g.account_id AND a.id = g.agent_id
		WHERE t.account_id = ? AND t.vault_id = ? ORDER BY 1`, accountID, vaultID, accountID, vaultID).Scan(&ids).Error
	return ids, failed(err, "agents of vault %s", vaultID)
}
