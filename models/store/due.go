package store

import (
	"context"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
)

// RekeyDue lists the credentials of a vault for which a new epoch is to be made, by
// id.
func (s *Store) RekeyDue(ctx context.Context, accountID, vaultID uuid.UUID) ([]models.Credential, error) {
	var due []models.Credential
	err := s.view(ctx).Where("account_id = ? AND vault_id = ? AND rekey_due_at IS NOT NULL", accountID, vaultID).Order("id").Find(&due).Error
	return due, failed(err, "credentials of vault %s", vaultID)
}
