package store

import (
	"context"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"github.com/tvzero/tokenvault/models"
)

// ExpiredSlots lists slots of all accounts that have expired at a time, at most limit
// of them.
func (s *Store) ExpiredSlots(ctx context.Context, at time.Time, limit int) ([]models.GrantKey, error) {
	var keys []models.GrantKey
	db := s.view(ctx).Where("expires_at <= ?", models.Stamp(at)).Order("account_id, grant_id, slot")
	return keys, failed(atMost(db, limit).Find(&keys).Error, "expired slots")
}

// DeleteSlot deletes a slot of a grant that has not ended, with what it had of vaults'
// and credentials' keys, and its successor. ErrNotFound: no such grant, or it has
// ended. A slot that is not there is no error.
func (s *Store) DeleteSlot(ctx context.Context, accountID, grantID uuid.UUID, slot uint32) error {
	return s.withGrant(ctx, accountID, grantID, func(ctx context.Context) error {
		return s.change(ctx, func(db *gorm.DB) error {
			for _, rows := range []any{&models.GrantKey{}, &models.VaultKey{}, &models.CredentialKey{}, &models.Successor{}} {
				err := db.Where("account_id = ? AND grant_id = ? AND slot = ?", accountID, grantID, int64(slot)).Delete(rows).Error
				if err != nil {
					return failed(err, "slot %d of grant %s", slot, grantID)
				}
			}
			return nil
		}, accountID)
	})
}
