package store

import (
	"context"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/tvzero/tokenvault/models"
)

// CreateGrant adds a grant with its first key. ErrConflict: the id is taken.
// ErrNotFound: no such account.
func (s *Store) CreateGrant(ctx context.Context, g *models.Grant, k *models.GrantKey) error {
	if err := clean(g); err != nil {
		return err
	}
	if err := clean(k); err != nil {
		return err
	}
	return s.change(ctx, func(db *gorm.DB) error {
		if err := db.Create(g).Error; err != nil {
			return failed(err, "grant %s", g.ID)
		}
		return failed(db.Create(k).Error, "key of grant %s", g.ID)
	}, g.AccountID)
}

// grantWithKey is a row of GrantWithKey.
type grantWithKey struct {
	models.Grant `gorm:"embedded"`
	Key          models.GrantKey `gorm:"embedded;embeddedPrefix:key_"`
}

// GrantWithKey is a grant and the key of one slot, in one round trip.
// ErrNotFound: no such grant, or no such slot. The grant may have ended.
//
// On PostgreSQL, callers at the same time share that round trip.
func (s *Store) GrantWithKey(ctx context.Context, accountID, grantID uuid.UUID, slot uint32) (models.Grant, models.GrantKey, error) {
	if s.dialect == Postgres && s.txOf(ctx) == nil {
		row, err := s.slots.get(ctx, slotKey{accountID, grantID, int64(slot)})
		return row.Grant, row.Key, failed(err, "grant %s with slot %d", grantID, slot)
	}
	var row grantWithKey
	err := s.view(ctx).Raw(`SELECT g.account_id, g.id, g.kind, g.label, g.agent_id, g.vault_id, g.public_key, g.client,
			g.address, g.created_at, g.expires_at, g.last_used_at, g.ended_at, g.key_id, g.mac,
			k.account_id AS key_account_id, k.grant_id AS key_grant_id, k.slot AS key_slot,
			k.token_key_id AS key_token_key_id, k.wrapped_private_key AS key_wrapped_private_key,
			k.issued_at AS key_issued_at, k.expires_at AS key_expires_at, k.key_id AS key_key_id, k.mac AS key_mac
		FROM grant_keys k JOIN grants g ON g.account_id = k.account_id AND g.id = k.grant_id
		WHERE k.account_id = ? AND k.grant_id = ? AND k.slot = ?`, accountID, grantID, int64(slot)).Take(&row).Error
	return row.Grant, row.Key, failed(err, "grant %s with slot %d", grantID, slot)
}

// AddGrantKey adds a key to a grant that has not ended. ErrNotFound: no such
// grant, or it has ended. ErrConflict: the slot is taken.
func (s *Store) AddGrantKey(ctx context.Context, k *models.GrantKey) error {
	return s.InTx(ctx, func(ctx context.Context) error {
		// The lock keeps EndGrant from passing between the look and the insert.
		var g models.Grant
		err := locked(s.view(ctx)).Select("id").
			Where("account_id = ? AND id = ? AND ended_at IS NULL", k.AccountID, k.GrantID).Take(&g).Error
		if err != nil {
			return failed(err, "grant %s", k.GrantID)
		}
		return s.insert(ctx, k.AccountID, k, "slot of the grant")
	})
}

// locked makes a SELECT hold its rows against concurrent changes until the
// transaction ends. On SQLite writers are alone anyway.
func locked(db *gorm.DB) *gorm.DB { return db.Clauses(clause.Locking{Strength: "UPDATE"}) }

// DeleteGrantKeys deletes the keys of a grant, all but one slot if that is
// given. None left to delete is no error.
func (s *Store) DeleteGrantKeys(ctx context.Context, accountID, grantID uuid.UUID, exceptSlot *uint32) error {
	return s.change(ctx, func(db *gorm.DB) error {
		db = db.Where("account_id = ? AND grant_id = ?", accountID, grantID)
		if exceptSlot != nil {
			db = db.Where("slot <> ?", int64(*exceptSlot))
		}
		return failed(db.Delete(&models.GrantKey{}).Error, "keys of grant %s", grantID)
	}, accountID)
}

// EndGrant ends a grant for ever and deletes its keys. ErrNotFound: no such
// grant, or it has ended already.
func (s *Store) EndGrant(ctx context.Context, accountID, grantID uuid.UUID, at time.Time) error {
	return s.change(ctx, func(db *gorm.DB) error {
		result := db.Model(&models.Grant{}).Where("account_id = ? AND id = ? AND ended_at IS NULL", accountID, grantID).
			UpdateColumn("ended_at", models.Stamp(at))
		if err := affected(result, "grant %s", grantID); err != nil {
			return err
		}
		err := db.Where("account_id = ? AND grant_id = ?", accountID, grantID).Delete(&models.GrantKey{}).Error
		return failed(err, "keys of grant %s", grantID)
	}, accountID)
}

// Grants lists the grants of an account, ended ones too, oldest first.
func (s *Store) Grants(ctx context.Context, accountID uuid.UUID) ([]models.Grant, error) {
	var grants []models.Grant
	err := s.view(ctx).Where("account_id = ?", accountID).Order("id").Find(&grants).Error
	return grants, failed(err, "grants of account %s", accountID)
}
