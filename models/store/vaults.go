package store

import (
	"context"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"github.com/tvzero/tokenvault/models"
)

// CreateVault adds a vault. ErrConflict: the account has one of mode webhook
// already. ErrNotFound: no such account.
func (s *Store) CreateVault(ctx context.Context, v *models.Vault) error {
	return s.insert(ctx, v.AccountID, v, "vault")
}

// WebhookVault is the account's vault of mode webhook. ErrNotFound.
func (s *Store) WebhookVault(ctx context.Context, accountID uuid.UUID) (models.Vault, error) {
	var v models.Vault
	// The mode stands in the statement, so that the partial index serves it.
	err := s.view(ctx).Where("account_id = ? AND mode = 'webhook'", accountID).Take(&v).Error
	return v, failed(err, "webhook vault of account %s", accountID)
}

// Vault by id. ErrNotFound.
func (s *Store) Vault(ctx context.Context, accountID, vaultID uuid.UUID) (models.Vault, error) {
	var v models.Vault
	err := s.view(ctx).Where("account_id = ? AND id = ?", accountID, vaultID).Take(&v).Error
	return v, failed(err, "vault %s", vaultID)
}

// PlatformVaults lists the account's vaults of mode platform, oldest first.
func (s *Store) PlatformVaults(ctx context.Context, accountID uuid.UUID) ([]models.Vault, error) {
	var vaults []models.Vault
	err := s.view(ctx).Where("account_id = ? AND mode = 'platform'", accountID).Order("id").Find(&vaults).Error
	return vaults, failed(err, "platform vaults of account %s", accountID)
}

// LockVaults are those of an account with the ids given that exist, in the order
// of their ids. Until the transaction ends nobody else changes or deletes them, nor
// puts anything into them. It must run inside InTx; who locks grants too locks
// those first.
func (s *Store) LockVaults(ctx context.Context, accountID uuid.UUID, ids ...uuid.UUID) ([]models.Vault, error) {
	if s.txOf(ctx) == nil {
		return nil, errNoTransaction
	}
	if len(ids) == 0 {
		return nil, nil
	}
	var vaults []models.Vault
	err := locked(s.view(ctx)).Where("account_id = ? AND id IN ?", accountID, ids).Order("id").Find(&vaults).Error
	return vaults, failed(err, "vaults of account %s", accountID)
}

// UpdateVault replaces a vault's generation, when its rotation is due, and its MAC.
// ErrNotFound.
func (s *Store) UpdateVault(ctx context.Context, v *models.Vault) error {
	if err := clean(v); err != nil {
		return err
	}
	return s.change(ctx, func(db *gorm.DB) error {
		result := db.Model(&models.Vault{}).Where("account_id = ? AND id = ?", v.AccountID, v.ID).
			Select("Generation", "RotationDueAt", "KeyID", "MAC").UpdateColumns(v)
		return affected(result, "vault %s", v.ID)
	}, v.AccountID)
}

// DeleteVault deletes a platform vault with all that it holds: the tokens, their
// credentials, the keys of both, and their refreshes. ErrNotFound.
func (s *Store) DeleteVault(ctx context.Context, accountID, vaultID uuid.UUID) error {
	return s.change(ctx, func(db *gorm.DB) error {
		// The rows are locked first, so that whoever adds to them at the same time
		// waits, and then fails, instead of slipping in between.
		var v models.Vault
		err := locked(db).Select("id").Where("account_id = ? AND id = ?", accountID, vaultID).Take(&v).Error
		if err != nil {
			return failed(err, "vault %s", vaultID)
		}
		tokens := db.Model(&models.Token{}).Select("id").Where("account_id = ? AND vault_id = ?", accountID, vaultID)
		if _, err := lockRefreshes(db, accountID, tokens); err != nil {
			return err
		}
		var held []models.Credential
		err = locked(db).Select("id").Where("account_id = ? AND vault_id = ?", accountID, vaultID).Order("id").Find(&held).Error
		if err != nil {
			return failed(err, "credentials of vault %s", vaultID)
		}
		for _, step := range []*gorm.DB{
			db.Where(`account_id = ? AND credential_id IN (SELECT id FROM credentials WHERE account_id = ? AND vault_id = ?)`,
				accountID, accountID, vaultID).Delete(&models.CredentialKey{}),
			db.Where("account_id = ? AND vault_id = ?", accountID, vaultID).Delete(&models.Credential{}),
			db.Where("account_id = ? AND vault_id = ?", accountID, vaultID).Delete(&models.Token{}),
			db.Where("account_id = ? AND vault_id = ?", accountID, vaultID).Delete(&models.VaultKey{}),
			db.Where("account_id = ? AND id = ?", accountID, vaultID).Delete(&models.Vault{}),
		} {
			if step.Error != nil {
				return failed(step.Error, "vault %s", vaultID)
			}
		}
		return nil
	}, accountID)
}

// PutVaultKey adds a wrapped key of a vault, or replaces the one in its place.
// ErrNotFound: no such vault or grant, or the grant has ended.
func (s *Store) PutVaultKey(ctx context.Context, k *models.VaultKey) error {
	return s.withGrant(ctx, k.AccountID, k.GrantID, func(ctx context.Context) error {
		return s.put(ctx, k.AccountID, k, "vault key")
	})
}

// VaultKeys lists what a grant has of one generation of a vault's key: the whole
// grant's first, then its slots'.
func (s *Store) VaultKeys(ctx context.Context, accountID, grantID, vaultID uuid.UUID, generation int64) ([]models.VaultKey, error) {
	var keys []models.VaultKey
	err := s.view(ctx).Where("account_id = ? AND grant_id = ? AND vault_id = ? AND generation = ?", accountID, grantID, vaultID, generation).
		Order("slot").Find(&keys).Error
	return keys, failed(err, "keys of vault %s", vaultID)
}

// DeleteVaultKeys takes a vault's key, of every generation, from a grant. None to
// delete is no error.
func (s *Store) DeleteVaultKeys(ctx context.Context, accountID, grantID, vaultID uuid.UUID) error {
	return s.change(ctx, func(db *gorm.DB) error {
		err := db.Where("account_id = ? AND grant_id = ? AND vault_id = ?", accountID, grantID, vaultID).Delete(&models.VaultKey{}).Error
		return failed(err, "keys of vault %s", vaultID)
	}, accountID)
}

// DeleteOldVaultKeys deletes all wrapped keys of a vault's generations before one.
// None to delete is no error.
func (s *Store) DeleteOldVaultKeys(ctx context.Context, accountID, vaultID uuid.UUID, before int64) error {
	return s.change(ctx, func(db *gorm.DB) error {
		err := db.Where("account_id = ? AND vault_id = ? AND generation < ?", accountID, vaultID, before).Delete(&models.VaultKey{}).Error
		return failed(err, "old keys of vault %s", vaultID)
	}, accountID)
}

// SentElsewhere reports whether somebody has a key that a grant wrapped: of another
// vault than one, or of a credential there.
func (s *Store) SentElsewhere(ctx context.Context, accountID, grantID, vaultID uuid.UUID) (bool, error) {
	var n int64
	err := s.view(ctx).Raw(`SELECT
		(SELECT count(*) FROM vault_keys WHERE account_id = ? AND sender_id = ? AND vault_id <> ?) +
		(SELECT count(*) FROM credential_keys k JOIN credentials c ON c.account_id = k.account_id AND c.id = k.credential_id
			WHERE k.account_id = ? AND k.sender_id = ? AND c.vault_id <> ?)`,
		accountID, grantID, vaultID, accountID, grantID, vaultID).Scan(&n).Error
	return n > 0, failed(err, "keys that grant %s wrapped", grantID)
}
