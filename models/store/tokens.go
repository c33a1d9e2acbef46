package store

import (
	"context"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"github.com/tvzero/tokenvault/models"
)

// Token by its service name in a vault. ErrNotFound.
func (s *Store) Token(ctx context.Context, accountID, vaultID uuid.UUID, service string) (models.Token, error) {
	var t models.Token
	err := s.view(ctx).Where("account_id = ? AND vault_id = ? AND service_name = ?", accountID, vaultID, service).Take(&t).Error
	return t, failed(err, "token %q", service)
}

// TokenByID finds a token in any vault of an account. ErrNotFound.
func (s *Store) TokenByID(ctx context.Context, accountID, id uuid.UUID) (models.Token, error) {
	var t models.Token
	err := s.view(ctx).Where("account_id = ? AND id = ?", accountID, id).Take(&t).Error
	return t, failed(err, "token %s", id)
}

// Tokens lists a vault by the bytes of the service names, those after one name,
// at most limit of them; limit 0 is no limit.
func (s *Store) Tokens(ctx context.Context, accountID, vaultID uuid.UUID, afterService string, limit int) ([]models.Token, error) {
	var tokens []models.Token
	db := s.view(ctx).Where("account_id = ? AND vault_id = ? AND service_name > ?", accountID, vaultID, afterService).
		Order("service_name")
	err := atMost(db, limit).Find(&tokens).Error
	return tokens, failed(err, "tokens of vault %s", vaultID)
}

// PutToken inserts a token or replaces the one of the same id. ErrConflict: the
// vault has another token of this service name. ErrNotFound: no such vault.
func (s *Store) PutToken(ctx context.Context, t *models.Token) error {
	return s.put(ctx, t.AccountID, t, "token")
}

// DeleteToken removes a token from the index. ErrNotFound.
func (s *Store) DeleteToken(ctx context.Context, accountID, vaultID uuid.UUID, service string) error {
	return s.change(ctx, func(db *gorm.DB) error {
		result := db.Where("account_id = ? AND vault_id = ? AND service_name = ?", accountID, vaultID, service).
			Delete(&models.Token{})
		return affected(result, "token %q", service)
	}, accountID)
}
