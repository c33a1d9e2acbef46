package store

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"github.com/tvzero/tokenvault/models"
)

// PutSuccessor sets which token follows a slot, unless that is set already, and
// adds the key of the new slot. It returns the one that is set, and whether that is
// this one: parallel callers all get the first. ErrNotFound: no such grant, or it
// has ended. ErrConflict: the new slot is taken.
func (s *Store) PutSuccessor(ctx context.Context, n *models.Successor, k *models.GrantKey) (models.Successor, bool, error) {
	var winner models.Successor
	first := false
	err := s.withGrant(ctx, n.AccountID, n.GrantID, func(ctx context.Context) error {
		var err error
		if winner, err = s.Successor(ctx, n.AccountID, n.GrantID, uint32(n.Slot)); !errors.Is(err, models.ErrNotFound) { // #nosec G115 -- a slot
			return err
		}
		if err := s.insert(ctx, n.AccountID, n, "successor of the slot"); err != nil {
			return err
		}
		winner, first = *n, true
		return s.insert(ctx, k.AccountID, k, "slot of the grant")
	})
	if err != nil {
		return models.Successor{}, false, err
	}
	return winner, first, nil
}

// Successor of a slot. ErrNotFound: none was made.
func (s *Store) Successor(ctx context.Context, accountID, grantID uuid.UUID, slot uint32) (models.Successor, error) {
	var n models.Successor
	err := s.view(ctx).Where("account_id = ? AND grant_id = ? AND slot = ?", accountID, grantID, int64(slot)).Take(&n).Error
	return n, failed(err, "successor of slot %d of grant %s", slot, grantID)
}

// SuccessorSeen notes when a slot's successor was first used; later times change
// nothing. It is no change of the account. ErrNotFound: no such successor.
func (s *Store) SuccessorSeen(ctx context.Context, accountID, grantID uuid.UUID, slot uint32, at time.Time) error {
	return s.record(ctx, func(db *gorm.DB) error {
		result := db.Model(&models.Successor{}).Where("account_id = ? AND grant_id = ? AND slot = ?", accountID, grantID, int64(slot)).
			UpdateColumn("seen_at", gorm.Expr("coalesce(seen_at, ?)", models.Stamp(at)))
		return affected(result, "successor of slot %d of grant %s", slot, grantID)
	})
}
