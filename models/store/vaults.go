package store

import (
	"context"

	"github.com/google/uuid"

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
