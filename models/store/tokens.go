package store

import (
	"context"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"github.com/tvzero/tokenvault/models"
)

// plain is what SQL says of tokens that their service name alone names: they are of
// no bridge, and linking has not put another of the name in their place.
const plain = "owner = '' AND bridge = '' AND scheme = '' AND superseded_at IS NULL"

// Token by its service name alone in a vault. ErrNotFound.
func (s *Store) Token(ctx context.Context, accountID, vaultID uuid.UUID, service string) (models.Token, error) {
	var t models.Token
	err := s.view(ctx).Where("account_id = ? AND vault_id = ? AND service_name = ? AND "+plain, accountID, vaultID, service).Take(&t).Error
	return t, failed(err, "token %q", service)
}

// TokenByRef finds a token by all that names it. ErrNotFound.
func (s *Store) TokenByRef(ctx context.Context, accountID, vaultID uuid.UUID, owner, bridge, service, scheme string) (models.Token, error) {
	var t models.Token
	err := s.view(ctx).Where(`account_id = ? AND vault_id = ? AND service_name = ? AND owner = ? AND bridge = ? AND scheme = ?
		AND superseded_at IS NULL`, accountID, vaultID, service, owner, bridge, scheme).Take(&t).Error
	return t, failed(err, "token %q", service)
}

// TokenByID finds a token in any vault of an account, also a superseded one.
// ErrNotFound.
func (s *Store) TokenByID(ctx context.Context, accountID, id uuid.UUID) (models.Token, error) {
	var t models.Token
	err := s.view(ctx).Where("account_id = ? AND id = ?", accountID, id).Take(&t).Error
	return t, failed(err, "token %s", id)
}

// Tokens lists those of a vault that their service names alone name, by the bytes of
// the names, those after one name, at most limit of them; limit 0 is no limit.
func (s *Store) Tokens(ctx context.Context, accountID, vaultID uuid.UUID, afterService string, limit int) ([]models.Token, error) {
	var tokens []models.Token
	db := s.view(ctx).Where("account_id = ? AND vault_id = ? AND service_name > ? AND "+plain, accountID, vaultID, afterService).
		Order("service_name")
	err := atMost(db, limit).Find(&tokens).Error
	return tokens, failed(err, "tokens of vault %s", vaultID)
}

// VaultTokens lists all tokens of a vault by their names, superseded ones too.
func (s *Store) VaultTokens(ctx context.Context, accountID, vaultID uuid.UUID) ([]models.Token, error) {
	var tokens []models.Token
	err := s.view(ctx).Where("account_id = ? AND vault_id = ?", accountID, vaultID).
		Order("service_name, owner, bridge, scheme, id").Find(&tokens).Error
	return tokens, failed(err, "tokens of vault %s", vaultID)
}

// CountTokens counts all tokens of a vault, superseded ones too.
func (s *Store) CountTokens(ctx context.Context, accountID, vaultID uuid.UUID) (int64, error) {
	var n int64
	err := s.view(ctx).Model(&models.Token{}).Where("account_id = ? AND vault_id = ?", accountID, vaultID).Count(&n).Error
	return n, failed(err, "tokens of vault %s", vaultID)
}

// UpdateToken replaces the token of the same id. With another creation id it is another
// credential, and what came of refreshing the old one is forgotten. ErrNotFound: no such token, or no
// such vault. ErrConflict: the vault has another token of this name.
func (s *Store) UpdateToken(ctx context.Context, t *models.Token) error {
	if err := clean(t); err != nil {
		return err
	}
	return s.change(ctx, func(db *gorm.DB) error {
		if err := forgetReplaced(db, t); err != nil {
			return err
		}
		result := db.Model(&models.Token{}).Where("account_id = ? AND id = ?", t.AccountID, t.ID).
			Select("*").Omit("AccountID", "ID").UpdateColumns(t)
		return affected(result, "token %s", t.ID)
	}, t.AccountID)
}

// PutToken inserts a token or replaces the one of the same id. ErrConflict: the
// vault has another token of this service name. ErrNotFound: no such vault.
func (s *Store) PutToken(ctx context.Context, t *models.Token) error {
	return s.put(ctx, t.AccountID, t, "token")
}

// DeleteToken removes a token from the index of a webhook's vault, with its refreshes.
// ErrNotFound.
func (s *Store) DeleteToken(ctx context.Context, accountID, vaultID uuid.UUID, service string) error {
	return s.change(ctx, func(db *gorm.DB) error {
		tokens := db.Model(&models.Token{}).Select("id").
			Where("account_id = ? AND vault_id = ? AND service_name = ? AND "+plain, accountID, vaultID, service)
		if _, err := lockRefreshes(db, accountID, tokens); err != nil {
			return err
		}
		result := db.Where("account_id = ? AND vault_id = ? AND service_name = ? AND "+plain, accountID, vaultID, service).
			Delete(&models.Token{})
		return affected(result, "token %q", service)
	}, accountID)
}

// GrantedTokens lists, by id, the tokens of a vault that an agent was granted, expired
// grants too, or has a key of.
func (s *Store) GrantedTokens(ctx context.Context, accountID, vaultID uuid.UUID) ([]uuid.UUID, error) {
	var ids []uuid.UUID
	err := s.view(ctx).Raw(`SELECT t.id FROM tokens t WHERE t.account_id = ? AND t.vault_id = ? AND (
			EXISTS (SELECT 1 FROM credential_keys k WHERE k.account_id = t.account_id AND k.credential_id = t.id)
			OR EXISTS (SELECT 1 FROM credential_grants g WHERE g.account_id = t.account_id AND g.token_id = t.id))
		ORDER BY t.id`, accountID, vaultID).Scan(&ids).Error
	return ids, failed(err, "granted tokens of vault %s", vaultID)
}
