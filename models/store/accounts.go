package store

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/tvzero/tokenvault/models"
)

// CreateAccount adds an account. ErrConflict: the e-mail is taken.
func (s *Store) CreateAccount(ctx context.Context, a *models.Account) error {
	return s.insert(ctx, a.ID, a, "account with this e-mail")
}

// insert adds a row unless a unique key of it is taken, in which case nothing
// was written and the transaction may go on.
func (s *Store) insert(ctx context.Context, accountID uuid.UUID, row any, what string) error {
	if err := clean(row); err != nil {
		return err
	}
	return s.change(ctx, func(db *gorm.DB) error {
		result := db.Clauses(clause.OnConflict{DoNothing: true}).Create(row)
		if result.Error == nil && result.RowsAffected == 0 {
			return conflict("%s", what)
		}
		return failed(result.Error, "%s", what)
	}, accountID)
}

// Account by id. ErrNotFound.
func (s *Store) Account(ctx context.Context, id uuid.UUID) (models.Account, error) {
	var a models.Account
	err := s.view(ctx).Where("id = ?", id).Take(&a).Error
	return a, failed(err, "account %s", id)
}

// AccountByEmail by its normalized e-mail. ErrNotFound.
func (s *Store) AccountByEmail(ctx context.Context, email string) (models.Account, error) {
	var a models.Account
	err := s.view(ctx).Where("email = ?", models.NormalizeEmail(email)).Take(&a).Error
	return a, failed(err, "account by e-mail")
}

// errNoTransaction: a method that is only right inside InTx was called outside.
var errNoTransaction = errors.New("store: a claim or lock needs the transaction that uses it (InTx)")

// ClaimFirstAccount is true for exactly one committed transaction ever: the one
// that may create the first account. It must run inside InTx, together with
// CreateAccount; a concurrent claim waits for this one to end.
func (s *Store) ClaimFirstAccount(ctx context.Context) (bool, error) {
	if s.txOf(ctx) == nil {
		return false, errNoTransaction
	}
	claimed := false
	err := s.record(ctx, func(db *gorm.DB) error {
		result := db.Exec("INSERT INTO first_account (id, claimed_at) VALUES (1, ?) ON CONFLICT (id) DO NOTHING", s.Now(ctx))
		claimed = result.RowsAffected == 1
		return failed(result.Error, "claim the first account")
	})
	return claimed && err == nil, err
}

// HasAccounts reports whether any account exists, or has existed.
func (s *Store) HasAccounts(ctx context.Context) (bool, error) {
	var has bool
	err := s.view(ctx).Raw("SELECT EXISTS (SELECT 1 FROM accounts) OR EXISTS (SELECT 1 FROM first_account)").Scan(&has).Error
	return has, failed(err, "accounts")
}

// SetAccountLock turns the owner's kill switch on (a time) or off (nil).
// ErrNotFound.
func (s *Store) SetAccountLock(ctx context.Context, id uuid.UUID, at *time.Time) error {
	if at != nil {
		at = models.StampPtr(*at)
	}
	return s.change(ctx, func(db *gorm.DB) error {
		result := db.Model(&models.Account{}).Where("id = ?", id).
			Updates(map[string]any{"locked_at": at, "updated_at": s.Now(ctx)})
		return affected(result, "account %s", id)
	}, id)
}

// ReplacePasswordHash puts a new hash of the same password in place of an old
// one. ErrNotFound: no such account, or its hash is not the old one any more.
func (s *Store) ReplacePasswordHash(ctx context.Context, id uuid.UUID, old, hash models.Opaque) error {
	return s.record(ctx, func(db *gorm.DB) error {
		result := db.Model(&models.Account{}).Where("id = ? AND password_hash = ?", id, old).UpdateColumn("password_hash", hash)
		return affected(result, "password of account %s", id)
	})
}

// UpdateProfile replaces an account's e-mail and display name, which were those of was.
// ErrConflict: another account has the e-mail. ErrNotFound: there is no such account,
// or they are others by now.
func (s *Store) UpdateProfile(ctx context.Context, was, a *models.Account) error {
	if err := clean(a); err != nil {
		return err
	}
	return s.InTx(ctx, func(ctx context.Context) error {
		var others int64
		err := s.view(ctx).Model(&models.Account{}).Where("email = ? AND id <> ?", a.Email, a.ID).Count(&others).Error
		if err != nil {
			return failed(err, "account by e-mail")
		}
		if others > 0 { // who comes between is refused by the index
			return conflict("account with this e-mail")
		}
		return s.change(ctx, func(db *gorm.DB) error {
			result := db.Model(&models.Account{}).Where("id = ? AND email = ? AND display_name = ?", a.ID, was.Email, was.DisplayName).
				Updates(map[string]any{"email": a.Email, "display_name": a.DisplayName, "updated_at": s.Now(ctx)})
			return affected(result, "account %s", a.ID)
		}, a.ID)
	})
}

// affected is for a statement about one row: none means ErrNotFound.
func affected(result *gorm.DB, format string, args ...any) error {
	if result.Error == nil && result.RowsAffected == 0 {
		return notFound(format, args...)
	}
	return failed(result.Error, format, args...)
}
