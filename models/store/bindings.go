package store

import (
	"context"
	"slices"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/tvzero/tokenvault/models"
)

// PutBinding inserts a binding or replaces the one of the same id. The webhook of an
// active one is asked how it is from then on, that of any other is not. ErrConflict:
// the account has another active, or another pending, binding.
func (s *Store) PutBinding(ctx context.Context, b *models.Binding) error {
	return s.InTx(ctx, func(ctx context.Context) error {
		if err := s.put(ctx, b.AccountID, b, "binding"); err != nil {
			return err
		}
		now, err := s.Clock(ctx)
		if err != nil {
			return err
		}
		return s.record(ctx, func(db *gorm.DB) error { return scheduleProbe(db, b, now) })
	})
}

// put inserts a row, or replaces the one of the same primary key.
func (s *Store) put(ctx context.Context, accountID uuid.UUID, row any, what string) error {
	if err := clean(row); err != nil {
		return err
	}
	return s.change(ctx, func(db *gorm.DB) error { return putRow(db, row, what) }, accountID)
}

// putRow is put of a row that is clean.
func putRow(db *gorm.DB, row any, what string) error {
	upsert, err := replaceRow(db, row)
	if err != nil {
		return failed(err, "%s", what)
	}
	return failed(db.Clauses(upsert).Create(row).Error, "%s", what)
}

// replaceRow is the ON CONFLICT clause for put.
func replaceRow(db *gorm.DB, row any) (clause.OnConflict, error) {
	stmt := &gorm.Statement{DB: db}
	if err := stmt.Parse(row); err != nil {
		return clause.OnConflict{}, err
	}
	var keys []clause.Column
	var rest []string
	for _, field := range stmt.Schema.Fields {
		if field.PrimaryKey {
			keys = append(keys, clause.Column{Name: field.DBName})
		} else {
			rest = append(rest, field.DBName)
		}
	}
	return clause.OnConflict{Columns: keys, DoUpdates: clause.AssignmentColumns(rest)}, nil
}

// BindingByState is the account's binding in a state; of several ended ones the
// newest. ErrNotFound.
func (s *Store) BindingByState(ctx context.Context, accountID uuid.UUID, state models.BindingState) (models.Binding, error) {
	var b models.Binding
	err := s.view(ctx).Where("account_id = ? AND state = ?", accountID, state).
		Order("id DESC").Limit(1).Take(&b).Error
	return b, failed(err, "%s binding of account %s", state, accountID)
}

// DeletePendingBindings forgets what an unfinished exchange left, if anything.
func (s *Store) DeletePendingBindings(ctx context.Context, accountID uuid.UUID) error {
	return s.change(ctx, func(db *gorm.DB) error {
		err := db.Where("account_id = ? AND state = 'pending'", accountID).Delete(&models.Binding{}).Error
		return failed(err, "pending bindings of account %s", accountID)
	}, accountID)
}

// SetBindingHealth stores what the last health check of a binding found. It
// counts as a change only when the capabilities changed. ErrNotFound.
func (s *Store) SetBindingHealth(ctx context.Context, accountID, bindingID uuid.UUID, status, detail string, at time.Time,
	version string, capabilities []string) error {
	found := models.Binding{HealthStatus: status, HealthDetail: detail, HealthCheckedAt: &at, Version: version, Capabilities: capabilities}
	if err := clean(&found); err != nil {
		return err
	}
	return s.InTx(ctx, func(ctx context.Context) error {
		var known models.Binding
		err := locked(s.view(ctx)).
			Where("account_id = ? AND id = ?", accountID, bindingID).Take(&known).Error
		if err != nil {
			return failed(err, "binding %s", bindingID)
		}
		update := func(db *gorm.DB) error {
			err := db.Model(&models.Binding{}).Where("account_id = ? AND id = ?", accountID, bindingID).
				Select("HealthStatus", "HealthDetail", "HealthCheckedAt", "Version", "Capabilities").UpdateColumns(&found).Error
			return failed(err, "binding %s", bindingID)
		}
		if slices.Equal(known.Capabilities, capabilities) {
			return s.record(ctx, update)
		}
		return s.change(ctx, update, accountID)
	})
}

// BindingsByKeyID counts the sealed binding secrets by the server key that seals
// them, so that the operator sees which old key is still needed.
func (s *Store) BindingsByKeyID(ctx context.Context) (map[int]int64, error) {
	var rows []struct {
		SecretKeyID int
		Count       int64
	}
	err := s.view(ctx).Model(&models.Binding{}).Select("secret_key_id, count(*) AS count").
		Where("sealed_secret IS NOT NULL").Group("secret_key_id").Scan(&rows).Error
	counts := make(map[int]int64, len(rows))
	for _, row := range rows {
		counts[row.SecretKeyID] = row.Count
	}
	return counts, failed(err, "bindings by key")
}
