package store

import (
	"context"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"github.com/tvzero/tokenvault/models"
)

// owned are the tables whose rows do not go by themselves with an account, those that
// others refer to last.
var owned = [...]string{
	"escrows", "successors", "credential_keys", "credentials", "vault_keys", "credential_grants", "agents",
	"grant_keys", "grants", "tokens", "bindings", "vaults",
}

// DeleteAccount deletes an account with everything that it has, but its audit record,
// which only grows. ErrNotFound.
func (s *Store) DeleteAccount(ctx context.Context, id uuid.UUID) error {
	return s.change(ctx, func(db *gorm.DB) error {
		var a models.Account
		if err := locked(db).Where("id = ?", id).Take(&a).Error; err != nil { // who adds to it waits, and then finds it gone
			return failed(err, "account %s", id)
		}
		for _, table := range owned {
			if err := db.Exec("DELETE FROM "+table+" WHERE account_id = ?", id).Error; err != nil { // #nosec G202 -- a constant
				return failed(err, "%s of account %s", table, id)
			}
		}
		return affected(db.Where("id = ?", id).Delete(&models.Account{}), "account %s", id)
	}, id)
}
