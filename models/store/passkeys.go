package store

import (
	"context"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/tvzero/tokenvault/models"
)

// CreatePasskey adds a passkey. ErrConflict: the account has this one.
func (s *Store) CreatePasskey(ctx context.Context, p *models.Passkey) error {
	return s.insert(ctx, p.AccountID, p, "passkey")
}

// Passkeys of an account, oldest first.
func (s *Store) Passkeys(ctx context.Context, accountID uuid.UUID) ([]models.Passkey, error) {
	var keys []models.Passkey
	err := s.view(ctx).Where("account_id = ?", accountID).Order("id").Find(&keys).Error
	return keys, failed(err, "passkeys of account %s", accountID)
}

// PasskeyUsed notes a sign-in with a passkey whose counter stood at from: it stands at
// to now. ErrNotFound: the passkey is gone, or its counter stands elsewhere.
func (s *Store) PasskeyUsed(ctx context.Context, accountID, id uuid.UUID, from, to int64, backedUp bool) error {
	return s.record(ctx, func(db *gorm.DB) error {
		result := db.Model(&models.Passkey{}).Where("account_id = ? AND id = ? AND sign_count = ?", accountID, id, from).
			UpdateColumns(map[string]any{"sign_count": to, "backed_up": backedUp, "last_used_at": s.Now(ctx)})
		return affected(result, "passkey %s", id)
	})
}

// RenamePasskey gives a passkey another name. ErrNotFound.
func (s *Store) RenamePasskey(ctx context.Context, accountID, id uuid.UUID, name string) error {
	if !keepable(name) {
		return errText
	}
	return s.record(ctx, func(db *gorm.DB) error {
		result := db.Model(&models.Passkey{}).Where("account_id = ? AND id = ?", accountID, id).UpdateColumn("name", name)
		return affected(result, "passkey %s", id)
	})
}

// DeletePasskey ErrNotFound.
func (s *Store) DeletePasskey(ctx context.Context, accountID, id uuid.UUID) error {
	return s.change(ctx, func(db *gorm.DB) error {
		return affected(db.Where("account_id = ? AND id = ?", accountID, id).Delete(&models.Passkey{}), "passkey %s", id)
	}, accountID)
}

// ResignPasskeys is ResignGrants for passkeys.
func (s *Store) ResignPasskeys(ctx context.Context, current, skip, limit int, sign func(*models.Passkey) error) (seen, refused int, err error) {
	return resign(ctx, s, macPass("account_id, id"), current, skip, limit, sign,
		func(p *models.Passkey) (int, models.Opaque) { return p.KeyID, p.MAC })
}

// UseChallenge notes that a challenge was answered, for all replicas; until is when it
// would be refused for its age. What the account has of such that is over goes. It is
// no change of the account. ErrConflict: it was answered before. ErrNotFound: no such
// account.
func (s *Store) UseChallenge(ctx context.Context, accountID, id uuid.UUID, until time.Time) error {
	used := models.UsedChallenge{AccountID: accountID, ID: id, ExpiresAt: until}
	if err := clean(&used); err != nil {
		return err
	}
	return s.InTx(ctx, func(ctx context.Context) error {
		return s.record(ctx, func(db *gorm.DB) error {
			// An hour more than is needed, because clocks of replicas differ.
			over := s.Now(ctx).Add(-time.Hour)
			if err := db.Where("account_id = ? AND expires_at <= ?", accountID, over).Delete(&models.UsedChallenge{}).Error; err != nil {
				return failed(err, "used challenges of account %s", accountID)
			}
			result := db.Clauses(clause.OnConflict{DoNothing: true}).Create(&used)
			if result.Error == nil && result.RowsAffected == 0 {
				return conflict("challenge %s was answered before", id)
			}
			return failed(result.Error, "challenge %s", id)
		})
	})
}
