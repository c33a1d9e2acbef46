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
	err := s.view(ctx).Raw(`SELECT g.account_id, g.id, g.kind, g.label, g.scopes, g.agent_id, g.vault_id, g.public_key, g.client,
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
	return s.withGrant(ctx, k.AccountID, k.GrantID, func(ctx context.Context) error {
		return s.insert(ctx, k.AccountID, k, "slot of the grant")
	})
}

// withGrant runs fn in a transaction in which a grant has not ended, nor ends:
// ErrNotFound otherwise. The lock keeps EndGrant from passing between the look and
// an insert.
func (s *Store) withGrant(ctx context.Context, accountID, grantID uuid.UUID, fn func(ctx context.Context) error) error {
	return s.InTx(ctx, func(ctx context.Context) error {
		var g models.Grant
		err := locked(s.view(ctx)).Select("id").
			Where("account_id = ? AND id = ? AND ended_at IS NULL", accountID, grantID).Take(&g).Error
		if err != nil {
			return failed(err, "grant %s", grantID)
		}
		return fn(ctx)
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

// EndGrant ends a grant for ever and deletes its keys, what it had of vaults' and
// credentials' keys, and its successors. ErrNotFound: no such grant, or it has
// ended already.
func (s *Store) EndGrant(ctx context.Context, accountID, grantID uuid.UUID, at time.Time) error {
	return s.endGrant(ctx, accountID, grantID, at, "ended_at IS NULL")
}

// EndExpiredGrant is EndGrant of one with which nothing can sign in any more at that
// time. ErrNotFound otherwise: it got another slot since it was listed. The grant
// must be locked.
func (s *Store) EndExpiredGrant(ctx context.Context, accountID, grantID uuid.UUID, at time.Time) error {
	if s.txOf(ctx) == nil {
		return errNoTransaction
	}
	return s.endGrant(ctx, accountID, grantID, at, expiredGrant, models.Stamp(at), models.Stamp(at))
}

// expiredGrant is what SQL says of grants that have not ended, and with which
// nothing can sign in at a time, which it takes twice.
const expiredGrant = `ended_at IS NULL AND (expires_at <= ? OR NOT EXISTS (
	SELECT 1 FROM grant_keys k WHERE k.account_id = grants.account_id AND k.grant_id = grants.id
	AND (k.expires_at IS NULL OR k.expires_at > ?)))`

func (s *Store) endGrant(ctx context.Context, accountID, grantID uuid.UUID, at time.Time, which string, args ...any) error {
	return s.change(ctx, func(db *gorm.DB) error {
		result := db.Model(&models.Grant{}).Where("account_id = ? AND id = ?", accountID, grantID).Where(which, args...).
			UpdateColumn("ended_at", models.Stamp(at))
		if err := affected(result, "grant %s", grantID); err != nil {
			return err
		}
		for _, rows := range []any{&models.GrantKey{}, &models.VaultKey{}, &models.CredentialKey{}, &models.Successor{}} {
			if err := db.Where("account_id = ? AND grant_id = ?", accountID, grantID).Delete(rows).Error; err != nil {
				return failed(err, "keys of grant %s", grantID)
			}
		}
		return nil
	}, accountID)
}

// Grants lists the grants of an account, ended ones too, oldest first.
func (s *Store) Grants(ctx context.Context, accountID uuid.UUID) ([]models.Grant, error) {
	var grants []models.Grant
	err := s.view(ctx).Where("account_id = ?", accountID).Order("id").Find(&grants).Error
	return grants, failed(err, "grants of account %s", accountID)
}

// Grant by id; it may have ended. ErrNotFound.
func (s *Store) Grant(ctx context.Context, accountID, grantID uuid.UUID) (models.Grant, error) {
	var g models.Grant
	err := s.view(ctx).Where("account_id = ? AND id = ?", accountID, grantID).Take(&g).Error
	return g, failed(err, "grant %s", grantID)
}

// LockGrants are those of an account with the ids given that exist, ended ones
// too, in the order of their ids. Until the transaction ends nobody else changes or
// ends them. It must run inside InTx; who locks vaults too locks grants first.
func (s *Store) LockGrants(ctx context.Context, accountID uuid.UUID, ids ...uuid.UUID) ([]models.Grant, error) {
	if s.txOf(ctx) == nil {
		return nil, errNoTransaction
	}
	if len(ids) == 0 {
		return nil, nil
	}
	var grants []models.Grant
	err := locked(s.view(ctx)).Where("account_id = ? AND id IN ?", accountID, ids).Order("id").Find(&grants).Error
	return grants, failed(err, "grants of account %s", accountID)
}

// UpdateGrant replaces a grant's label, scopes, vault, public key and MAC.
// ErrNotFound.
func (s *Store) UpdateGrant(ctx context.Context, g *models.Grant) error {
	if err := clean(g); err != nil {
		return err
	}
	return s.change(ctx, func(db *gorm.DB) error {
		result := db.Model(&models.Grant{}).Where("account_id = ? AND id = ?", g.AccountID, g.ID).
			Select("Label", "Scopes", "VaultID", "PublicKey", "KeyID", "MAC").UpdateColumns(g)
		return affected(result, "grant %s", g.ID)
	}, g.AccountID)
}

// VaultGrants lists the grants that use a platform vault and have not ended,
// oldest first. They may have expired.
func (s *Store) VaultGrants(ctx context.Context, accountID, vaultID uuid.UUID) ([]models.Grant, error) {
	var grants []models.Grant
	err := s.view(ctx).Where("account_id = ? AND vault_id = ? AND ended_at IS NULL", accountID, vaultID).
		Order("id").Find(&grants).Error
	return grants, failed(err, "grants of vault %s", vaultID)
}

// ExpiredGrants lists grants of all accounts that have not ended though nothing
// can sign in with them any more at a time: they have expired, or every slot of
// theirs has. At most limit of them; limit 0 is no limit.
func (s *Store) ExpiredGrants(ctx context.Context, at time.Time, limit int) ([]models.Grant, error) {
	at = models.Stamp(at)
	var grants []models.Grant
	db := s.view(ctx).Where(expiredGrant, at, at).Order("account_id, id")
	return grants, failed(atMost(db, limit).Find(&grants).Error, "expired grants")
}

// GrantKeys lists a grant's slots in their order.
func (s *Store) GrantKeys(ctx context.Context, accountID, grantID uuid.UUID) ([]models.GrantKey, error) {
	var keys []models.GrantKey
	err := s.view(ctx).Where("account_id = ? AND grant_id = ?", accountID, grantID).Order("slot").Find(&keys).Error
	return keys, failed(err, "keys of grant %s", grantID)
}
