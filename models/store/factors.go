package store

import (
	"context"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"github.com/tvzero/tokenvault/models"
)

// PutSecondFactor keeps a secret that is to be confirmed, in place of one that was
// not. ErrConflict: a confirmed one stands.
func (s *Store) PutSecondFactor(ctx context.Context, f *models.SecondFactor) error {
	if err := clean(f); err != nil {
		return err
	}
	return s.InTx(ctx, func(ctx context.Context) error {
		err := s.record(ctx, func(db *gorm.DB) error {
			err := db.Where("account_id = ? AND confirmed_at IS NULL", f.AccountID).Delete(&models.SecondFactor{}).Error
			return failed(err, "unconfirmed second factor of account %s", f.AccountID)
		})
		if err != nil {
			return err
		}
		return s.insert(ctx, f.AccountID, f, "second factor")
	})
}

// SecondFactor of an account, confirmed or not. ErrNotFound.
func (s *Store) SecondFactor(ctx context.Context, accountID uuid.UUID) (models.SecondFactor, error) {
	var f models.SecondFactor
	err := s.view(ctx).Where("account_id = ?", accountID).Take(&f).Error
	return f, failed(err, "second factor of account %s", accountID)
}

// UseStep notes that the code of a time step has been used, for all replicas; the
// first one confirms the factor. ErrNotFound: that code, or a later one, has been
// used before, or the factor is another by now.
func (s *Store) UseStep(ctx context.Context, accountID, factorID uuid.UUID, step int64) error {
	return s.change(ctx, func(db *gorm.DB) error {
		result := db.Model(&models.SecondFactor{}).Where("account_id = ? AND id = ? AND last_step < ?", accountID, factorID, step).
			UpdateColumns(map[string]any{"last_step": step, "confirmed_at": gorm.Expr("COALESCE(confirmed_at, ?)", s.Now(ctx))})
		return affected(result, "an unused code of account %s", accountID)
	}, accountID)
}

// DeleteSecondFactor deletes an account's second factor with its recovery codes.
// ErrNotFound.
func (s *Store) DeleteSecondFactor(ctx context.Context, accountID uuid.UUID) error {
	return s.change(ctx, func(db *gorm.DB) error {
		if err := affected(db.Where("account_id = ?", accountID).Delete(&models.SecondFactor{}), "second factor of account %s", accountID); err != nil {
			return err
		}
		err := db.Where("account_id = ?", accountID).Delete(&models.RecoveryCode{}).Error
		return failed(err, "recovery codes of account %s", accountID)
	}, accountID)
}

// ReplaceRecoveryCodes puts new recovery codes in place of all that an account had.
func (s *Store) ReplaceRecoveryCodes(ctx context.Context, accountID uuid.UUID, codes []models.RecoveryCode) error {
	for i := range codes {
		if err := clean(&codes[i]); err != nil {
			return err
		}
	}
	return s.change(ctx, func(db *gorm.DB) error {
		if err := db.Where("account_id = ?", accountID).Delete(&models.RecoveryCode{}).Error; err != nil {
			return failed(err, "recovery codes of account %s", accountID)
		}
		return failed(db.Create(&codes).Error, "recovery codes of account %s", accountID)
	}, accountID)
}

// UseRecoveryCode uses a recovery code up, for all replicas. ErrNotFound: there is no
// such code, or it has been used.
func (s *Store) UseRecoveryCode(ctx context.Context, accountID uuid.UUID, hash models.Opaque) error {
	return s.record(ctx, func(db *gorm.DB) error {
		result := db.Model(&models.RecoveryCode{}).Where("account_id = ? AND hash = ? AND used_at IS NULL", accountID, hash).
			UpdateColumn("used_at", s.Now(ctx))
		return affected(result, "an unused recovery code of account %s", accountID)
	})
}

// RecoveryCodesLeft counts the recovery codes of an account that were not used.
func (s *Store) RecoveryCodesLeft(ctx context.Context, accountID uuid.UUID) (int, error) {
	var n int64
	err := s.view(ctx).Model(&models.RecoveryCode{}).Where("account_id = ? AND used_at IS NULL", accountID).Count(&n).Error
	return int(n), failed(err, "recovery codes of account %s", accountID)
}

// ResealSecondFactors is ResignGrants for the secrets of second factors.
func (s *Store) ResealSecondFactors(ctx context.Context, current, skip, limit int, seal func(*models.SecondFactor) error) (seen, refused int, err error) {
	p := pass{keyColumn: "key_id", column: "sealed", order: "account_id"}
	return resign(ctx, s, p, current, skip, limit, seal, func(f *models.SecondFactor) (int, models.Opaque) { return f.KeyID, f.Sealed })
}

// SecondFactorsByKeyID is BindingsByKeyID for the secrets of second factors.
func (s *Store) SecondFactorsByKeyID(ctx context.Context) (map[int]int64, error) {
	counts := map[int]int64{}
	err := s.countByKey(ctx, counts, s.view(ctx).Table("second_factors"), "key_id")
	return counts, failed(err, "second factors by key")
}

// TakeTry counts a try of something that may fail so many times within a window that
// begins with the first one, on whichever replica. It says from when on there is
// another when there is none left: the zero time when there was.
func (s *Store) TakeTry(ctx context.Context, accountID uuid.UUID, kind models.TryKind, limit int, window time.Duration) (again time.Time, err error) {
	err = s.InTx(ctx, func(ctx context.Context) error {
		now := s.Now(ctx)
		return s.record(ctx, func(db *gorm.DB) error {
			over := now.Add(-window)
			result := db.Exec(`INSERT INTO sign_in_tries (account_id, kind, since, tries) VALUES (?, ?, ?, 1)
				ON CONFLICT (account_id, kind) DO UPDATE SET
					tries = CASE WHEN sign_in_tries.since <= ? THEN 1 ELSE sign_in_tries.tries + 1 END,
					since = CASE WHEN sign_in_tries.since <= ? THEN excluded.since ELSE sign_in_tries.since END
				WHERE sign_in_tries.since <= ? OR sign_in_tries.tries < ?`, accountID, kind, now, over, over, over, limit)
			if result.Error != nil || result.RowsAffected == 1 {
				return failed(result.Error, "tries of account %s", accountID)
			}
			var row models.SignInTries
			err := db.Where("account_id = ? AND kind = ?", accountID, kind).Take(&row).Error
			again = row.Since.Add(window)
			return failed(err, "tries of account %s", accountID)
		})
	})
	return again, err
}

// ReturnTry gives a try back that did not fail.
func (s *Store) ReturnTry(ctx context.Context, accountID uuid.UUID, kind models.TryKind) error {
	return s.record(ctx, func(db *gorm.DB) error {
		err := db.Model(&models.SignInTries{}).Where("account_id = ? AND kind = ? AND tries > 0", accountID, kind).
			UpdateColumn("tries", gorm.Expr("tries - 1")).Error
		return failed(err, "tries of account %s", accountID)
	})
}
