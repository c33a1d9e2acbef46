package store

import (
	"context"
	"strings"
	"time"

	"gorm.io/gorm"

	"github.com/tvzero/tokenvault/models"
)

// claimOne takes the row of a table that has been due the longest, and makes it due
// again after a time, should the caller not finish it. key names the columns of the
// primary key; the table has due_at and lease_id. No two callers get the same. It
// reports false if nothing is due.
func (s *Store) claimOne(ctx context.Context, table, key string, ttl time.Duration, row any) (claimed bool, err error) {
	if s.txOf(ctx) != nil {
		return false, errInTransaction
	}
	if s.dialect == SQLite { // looking costs other writers nothing, claiming does
		if any, err := s.anythingDue(ctx, table); err != nil || !any {
			return false, err
		}
	}
	passOver := ""
	if s.dialect == Postgres {
		passOver = " FOR UPDATE SKIP LOCKED"
	}
	err = s.InTx(ctx, func(ctx context.Context) error {
		now, err := s.Clock(ctx)
		if err != nil {
			return err
		}
		result := s.view(ctx).Raw("UPDATE "+table+" SET due_at = ?, lease_id = ? WHERE ("+key+") = (SELECT "+key+" FROM "+table+
			" WHERE due_at <= ? ORDER BY due_at LIMIT 1"+passOver+") RETURNING *", models.Stamp(now.Add(ttl)), models.NewID(), now).Scan(row)
		claimed = result.RowsAffected > 0
		return failed(result.Error, "due rows of %s", table)
	})
	return claimed && err == nil, err
}

// finishOne ends a lease that claimOne gave, and sets columns of its row, among them
// due_at. ErrLeaseLost: somebody else has claimed it since, or the row is gone.
func (s *Store) finishOne(ctx context.Context, table, key string, of []any, lease models.Lease, set map[string]any) error {
	set["lease_id"] = nil
	return s.record(ctx, func(db *gorm.DB) error {
		marks := strings.Repeat(", ?", strings.Count(key, ",")+1)[2:]
		result := db.Table(table).Where("("+key+") = ("+marks+")", of...).Where("lease_id = ?", lease.ID).UpdateColumns(set)
		if result.Error == nil && result.RowsAffected == 0 {
			return &refusal{table, models.ErrLeaseLost}
		}
		return failed(result.Error, "row of %s", table)
	})
}
