package store

import (
	"context"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/tvzero/tokenvault/models"
)

// PutOutbox keeps new tokens for a webhook in place of those that waited before.
// ErrConflict: newer ones of the same creation wait. ErrNotFound: no such token.
func (s *Store) PutOutbox(ctx context.Context, e *models.OutboxEntry) error {
	if err := clean(e); err != nil {
		return err
	}
	return s.record(ctx, func(db *gorm.DB) error {
		upsert, err := replaceRow(db, e)
		if err != nil {
			return failed(err, "outbox of token %s", e.TokenID)
		}
		upsert.Where = clause.Where{Exprs: []clause.Expression{clause.Expr{
			SQL: "outbox.creation_id <> excluded.creation_id OR outbox.sequence < excluded.sequence",
		}}}
		result := db.Clauses(upsert).Create(e)
		if result.Error == nil && result.RowsAffected == 0 {
			return conflict("outbox of token %s has newer", e.TokenID)
		}
		return failed(result.Error, "outbox of token %s", e.TokenID)
	})
}

// Outbox is what waits for the webhook of a token. ErrNotFound: nothing.
func (s *Store) Outbox(ctx context.Context, accountID, tokenID uuid.UUID) (models.OutboxEntry, error) {
	var e models.OutboxEntry
	err := s.view(ctx).Where("account_id = ? AND token_id = ?", accountID, tokenID).Take(&e).Error
	return e, failed(err, "outbox of token %s", tokenID)
}

// ClaimOutbox gets what is due to be delivered, of all accounts, the longest due
// first, at most limit. It is due again after a time, should the caller neither delete
// nor postpone it. No two callers get the same at a time. It must not run inside InTx.
func (s *Store) ClaimOutbox(ctx context.Context, limit int, ttl time.Duration) ([]models.OutboxEntry, error) {
	if s.txOf(ctx) != nil {
		return nil, errInTransaction
	}
	if limit <= 0 {
		return nil, nil
	}
	if s.dialect == SQLite { // looking costs other writers nothing, claiming does
		if any, err := s.anythingDue(ctx, "outbox"); err != nil || !any {
			return nil, err
		}
	}
	var due []models.OutboxEntry
	err := s.InTx(ctx, func(ctx context.Context) error {
		db := s.view(ctx)
		now, err := s.Clock(ctx)
		if err != nil {
			return err
		}
		if err := s.claims(db, dueOutbox, "o", limit, now).Scan(&due).Error; err != nil {
			return failed(err, "due outbox")
		}
		keys := make([]rowKey, len(due))
		for i, e := range due {
			keys[i] = rowKey{e.AccountID, e.TokenID}
		}
		return failed(s.updateRows(db, "outbox", keys, "due_at = ?", models.Stamp(now.Add(ttl))), "due outbox")
	})
	if err != nil {
		return nil, err
	}
	return due, nil
}

const dueOutbox = `SELECT o.account_id, o.token_id, o.creation_id, o.sequence, o.key_id, o.sealed, o.created_at, o.due_at, o.attempts
	FROM outbox o WHERE o.due_at <= ? ORDER BY o.due_at`

// entryIs is what SQL says of the row of an entry that no newer one has replaced.
const entryIs = "account_id = ? AND token_id = ? AND creation_id = ? AND sequence = ?"

// PostponeOutbox counts an attempt to deliver that failed, and says when to try next.
// ErrNotFound: the entry waits no more.
func (s *Store) PostponeOutbox(ctx context.Context, e models.OutboxEntry, due time.Time) error {
	return s.record(ctx, func(db *gorm.DB) error {
		result := db.Model(&models.OutboxEntry{}).Where(entryIs, e.AccountID, e.TokenID, e.CreationID, e.Sequence).
			UpdateColumns(map[string]any{"due_at": models.Stamp(due), "attempts": gorm.Expr("attempts + 1")})
		return affected(result, "outbox of token %s", e.TokenID)
	})
}

// DeleteOutbox forgets an entry that was delivered, or that the webhook does not want
// any more. One that is not there, or was replaced by a newer one, is no error.
func (s *Store) DeleteOutbox(ctx context.Context, accountID, tokenID uuid.UUID, creationID string, sequence int64) error {
	return s.record(ctx, func(db *gorm.DB) error {
		err := db.Where(entryIs, accountID, tokenID, creationID, sequence).Delete(&models.OutboxEntry{}).Error
		return failed(err, "outbox of token %s", tokenID)
	})
}
