package store

import (
	"slices"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"github.com/tvzero/tokenvault/models"
)

// A refreshPlan is what a batch of SyncTokens means for refreshes.
type refreshPlan struct {
	replaced  []uuid.UUID      // another credential is in the token's place
	renewed   []uuid.UUID      // the same credential has other tokens
	stopped   []uuid.UUID      // it cannot be refreshed any more
	scheduled []models.Refresh // when it is due
}

// add decides for a token that is about to be written as next.
func (p *refreshPlan) add(old models.Token, known bool, next models.Token, due func(models.Token) time.Time) {
	isReplaced := known && old.CreationID != next.CreationID
	isRenewed := known && !isReplaced && !sameTime(old.ExpiresAt, next.ExpiresAt)
	switch {
	case isReplaced:
		p.replaced = append(p.replaced, next.ID)
	case isRenewed:
		p.renewed = append(p.renewed, next.ID)
	}
	switch {
	case !next.Refreshable():
		if known && (isReplaced || old.Refreshable()) {
			p.stopped = append(p.stopped, next.ID)
		}
	case due != nil && (!known || isReplaced || isRenewed || !old.Refreshable()):
		at := due(next)
		p.scheduled = append(p.scheduled, models.Refresh{AccountID: next.AccountID, TokenID: next.ID, DueAt: &at})
	}
}

// touches are the tokens whose refreshes change, but for those that only get a time.
func (p *refreshPlan) touches() []uuid.UUID { return slices.Concat(p.replaced, p.renewed, p.stopped) }

// change is the part of the plan that goes before the tokens are written.
func (p *refreshPlan) change(db *gorm.DB, account uuid.UUID, batch int) error {
	for _, step := range []struct {
		ids []uuid.UUID
		sql string
	}{
		{p.replaced, "UPDATE refreshes SET " + replaced + " WHERE account_id = ? AND token_id IN ?"},
		// Somebody else renewed what was given up, or is tried again and again.
		{p.renewed, `UPDATE refreshes SET attempts = 0, outcome = '', reason = '', retry_at = NULL
			WHERE account_id = ? AND token_id IN ? AND (due_at IS NULL OR retry_at IS NOT NULL)`},
		{p.stopped, "UPDATE refreshes SET due_at = NULL WHERE account_id = ? AND token_id IN ?"},
	} {
		for ids := range slices.Chunk(step.ids, batch) {
			if err := db.Exec(step.sql, account, ids).Error; err != nil {
				return failed(err, "refreshes of account %s", account)
			}
		}
	}
	return nil
}

// schedule is the part that goes after it.
func (p *refreshPlan) schedule(db *gorm.DB, batch int) error {
	for rows := range slices.Chunk(p.scheduled, batch) {
		if err := schedule(db, rows); err != nil {
			return err
		}
	}
	return nil
}
