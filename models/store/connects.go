package store

import (
	"context"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/tvzero/tokenvault/models"
)

// UseConnect notes that a flow of connecting an account has come back, for all
// replicas; until is when it would be refused for its age. What the account has of
// such that is over goes. It is no change of the account. ErrConflict: it has come back
// before. ErrNotFound: no such account.
func (s *Store) UseConnect(ctx context.Context, accountID, id uuid.UUID, until time.Time) error {
	used := models.UsedConnect{AccountID: accountID, ID: id, ExpiresAt: until}
	if err := clean(&used); err != nil {
		return err
	}
	return s.InTx(ctx, func(ctx context.Context) error {
		now, err := s.Clock(ctx)
		if err != nil {
			return err
		}
		return s.record(ctx, func(db *gorm.DB) error {
			if err := db.Where("account_id = ? AND expires_at <= ?", accountID, now).Delete(&models.UsedConnect{}).Error; err != nil {
				return failed(err, "used connections of account %s", accountID)
			}
			result := db.Clauses(clause.OnConflict{DoNothing: true}).Create(&used)
			if result.Error == nil && result.RowsAffected == 0 {
				return conflict("connection %s has come back before", id)
			}
			return failed(result.Error, "connection %s", id)
		})
	})
}
