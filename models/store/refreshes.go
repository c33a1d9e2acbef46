package store

import (
	"bytes"
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/tvzero/tokenvault/models"
)

// Refresh is what is known of refreshing a token. ErrNotFound: nothing, or no such
// token.
func (s *Store) Refresh(ctx context.Context, accountID, tokenID uuid.UUID) (models.Refresh, error) {
	var r models.Refresh
	err := s.view(ctx).Where("account_id = ? AND token_id = ?", accountID, tokenID).Take(&r).Error
	return r, failed(err, "refresh of token %s", tokenID)
}

// Refreshes are those of the tokens given of which anything is known, by token.
func (s *Store) Refreshes(ctx context.Context, accountID uuid.UUID, tokenIDs []uuid.UUID) ([]models.Refresh, error) {
	var all []models.Refresh
	for ids := range slices.Chunk(byID(tokenIDs), leaseBatch) {
		var some []models.Refresh
		err := s.view(ctx).Where("account_id = ? AND token_id IN ?", accountID, ids).Order("token_id").Find(&some).Error
		if err != nil {
			return nil, failed(err, "refreshes of account %s", accountID)
		}
		all = append(all, some...)
	}
	return all, nil
}

// ScheduleRefresh says when a token's next refresh is due; nil: never. Who is at one
// now finishes it, and decides when the next is. ErrNotFound: no such token.
func (s *Store) ScheduleRefresh(ctx context.Context, accountID, tokenID uuid.UUID, due *time.Time) error {
	return s.record(ctx, func(db *gorm.DB) error {
		return schedule(db, []models.Refresh{{AccountID: accountID, TokenID: tokenID, DueAt: due}})
	})
}

// schedule sets the due times of rows, by which it makes those that are missing.
func schedule(db *gorm.DB, rows []models.Refresh) error {
	for i := range rows {
		if err := clean(&rows[i]); err != nil {
			return err
		}
	}
	err := db.Clauses(clause.OnConflict{
		Columns:   []clause.Column{{Name: "account_id"}, {Name: "token_id"}},
		DoUpdates: clause.AssignmentColumns([]string{"due_at"}),
	}).Create(&rows).Error
	return failed(err, "refresh of token %s", rows[0].TokenID)
}

// replaced is what a new credential in a token's place forgets of the refreshes of the
// old one. Who is at one loses the lease: what comes of it is none of the new one's.
const replaced = `attempts = 0, outcome = '', reason = '', path = '', tried_at = NULL, refreshed_at = NULL, retry_at = NULL,
	lease_id = NULL, lease_until = NULL, lease_generation = lease_generation + 1`

// forgetReplaced is for a token that is about to be written with this creation id.
func forgetReplaced(db *gorm.DB, t *models.Token) error {
	err := db.Exec("UPDATE refreshes SET "+replaced+` WHERE account_id = ? AND token_id = ?
		AND EXISTS (SELECT 1 FROM tokens WHERE account_id = ? AND id = ? AND creation_id <> ?)`,
		t.AccountID, t.ID, t.AccountID, t.ID, t.CreationID).Error
	return failed(err, "refresh of token %s", t.ID)
}

// lockRefreshes locks and reads the rows of tokens, in the order of their ids; tokens
// are ids, or a query for them. Everybody locks them in this order and, as a lease's
// holder does, before the rows of credentials and tokens. A token's deletion takes its
// row along, so that is locked first too.
func lockRefreshes(db *gorm.DB, accountID uuid.UUID, tokens any) ([]models.Refresh, error) {
	var rows []models.Refresh
	err := locked(db).Where("account_id = ? AND token_id IN (?)", accountID, tokens).Order("token_id").Find(&rows).Error
	return rows, failed(err, "refreshes of account %s", accountID)
}

// byID sorts ids as the database does.
func byID(ids []uuid.UUID) []uuid.UUID {
	ids = slices.SortedFunc(slices.Values(ids), func(a, b uuid.UUID) int { return bytes.Compare(a[:], b[:]) })
	return slices.Compact(ids)
}

// dueRow is a row of dueRefreshes.
type dueRow struct {
	models.Refresh `gorm:"embedded"`

	VaultID         uuid.UUID
	ServiceName     string
	Provider        string
	CreationID      string
	Scope           string
	IssuedAt        *time.Time
	ExpiresAt       *time.Time
	HasRefreshToken bool
	Undelivered     bool
}

// dueRefreshes finds what is due, the longest first. The planner does not know how
// few it asks for unless the number stands in the statement; see claims.
const dueRefreshes = `SELECT r.account_id, r.token_id, r.due_at, r.lease_generation, r.attempts, r.outcome, r.reason, r.path,
		r.tried_at, r.refreshed_at, r.retry_at, r.platform_at, r.mediated_at, r.notified_at,
		t.vault_id, t.service_name, t.provider, t.creation_id, t.scope, t.issued_at, t.expires_at, t.has_refresh_token,
		o.token_id IS NOT NULL AS undelivered
	FROM refreshes r JOIN tokens t ON t.account_id = r.account_id AND t.id = r.token_id
	LEFT JOIN outbox o ON o.account_id = r.account_id AND o.token_id = r.token_id AND o.creation_id = t.creation_id
	WHERE r.due_at <= ? AND (r.lease_until IS NULL OR r.lease_until <= ?)
	ORDER BY r.due_at`

// ClaimDue takes the leases of refreshes of all accounts that are due and that nobody
// is at, the longest due first, at most limit of them. They are due again when their
// leases end, should the caller not finish them. No two callers get the same. It must
// not run inside InTx.
func (s *Store) ClaimDue(ctx context.Context, limit int, ttl time.Duration) ([]models.DueRefresh, error) {
	if s.txOf(ctx) != nil {
		return nil, errInTransaction
	}
	if limit <= 0 {
		return nil, nil
	}
	if s.dialect == SQLite { // looking costs other writers nothing, claiming does
		if any, err := s.anythingDue(ctx, "refreshes"); err != nil || !any {
			return nil, err
		}
	}
	var due []models.DueRefresh
	err := s.InTx(ctx, func(ctx context.Context) error {
		db := s.view(ctx)
		now, err := s.Clock(ctx)
		if err != nil {
			return err
		}
		var rows []dueRow
		if err := s.claims(db, dueRefreshes, "r", limit, now, now).Scan(&rows).Error; err != nil {
			return failed(err, "due refreshes")
		}
		id, until := models.NewID(), models.Stamp(now.Add(ttl))
		due = make([]models.DueRefresh, len(rows))
		keys := make([]rowKey, len(rows))
		for i := range rows {
			due[i], keys[i] = rows[i].claimed(id, until), rowKey{rows[i].AccountID, rows[i].TokenID}
		}
		return failed(s.updateRows(db, "refreshes", keys, "lease_id = ?, lease_until = ?, due_at = ?, lease_generation = c.lease_generation + 1",
			id, until, until), "due refreshes")
	})
	if err != nil {
		return nil, err
	}
	return due, nil
}

func (r *dueRow) claimed(id uuid.UUID, until time.Time) models.DueRefresh {
	r.LeaseID, r.LeaseUntil, r.LeaseGeneration = &id, &until, r.LeaseGeneration+1
	return models.DueRefresh{
		Refresh: r.Refresh,
		Lease:   models.Lease{AccountID: r.AccountID, TokenID: r.TokenID, ID: id, Generation: r.LeaseGeneration, Until: until},
		VaultID: r.VaultID, ServiceName: r.ServiceName, Provider: r.Provider, CreationID: r.CreationID, Scope: r.Scope,
		IssuedAt: r.IssuedAt, ExpiresAt: r.ExpiresAt, HasRefreshToken: r.HasRefreshToken, Undelivered: r.Undelivered,
	}
}

// anythingDue reports whether a table has a row that is due.
func (s *Store) anythingDue(ctx context.Context, table string) (bool, error) {
	now, err := s.Clock(ctx)
	if err != nil {
		return false, err
	}
	var any bool
	err = s.view(ctx).Raw("SELECT EXISTS (SELECT 1 FROM "+table+" WHERE due_at <= ?)", now).Scan(&any).Error
	return any, failed(err, "due rows of %s", table)
}

// claims completes a query for rows that are due: at most limit of them, locked in
// table. What another replica is claiming at this moment is passed over.
func (s *Store) claims(db *gorm.DB, query, table string, limit int, args ...any) *gorm.DB {
	query += " LIMIT " + strconv.Itoa(limit)
	if s.dialect == Postgres {
		query += " FOR UPDATE OF " + table + " SKIP LOCKED"
	}
	return db.Raw(query, args...)
}

// rowKey names a row of a token.
type rowKey struct{ account, token uuid.UUID }

// updateRows sets columns of rows that are locked already. In set the table is c.
func (s *Store) updateRows(db *gorm.DB, table string, keys []rowKey, set string, args ...any) error {
	if s.dialect == Postgres {
		if len(keys) == 0 {
			return nil
		}
		var accounts, tokens []string
		for _, k := range keys {
			accounts, tokens = append(accounts, k.account.String()), append(tokens, k.token.String())
		}
		return db.Exec("UPDATE "+table+" AS c SET "+set+` FROM unnest(?::uuid[], ?::uuid[]) AS k (account_id, token_id)
			WHERE c.account_id = k.account_id AND c.token_id = k.token_id`,
			append(args, "{"+strings.Join(accounts, ",")+"}", "{"+strings.Join(tokens, ",")+"}")...).Error
	}
	for batch := range slices.Chunk(keys, s.rowsPerStatement()) {
		values := slices.Clone(args)
		for _, k := range batch {
			values = append(values, k.account, k.token)
		}
		err := db.Exec("UPDATE "+table+" AS c SET "+set+" WHERE (account_id, token_id) IN (VALUES "+
			strings.Repeat(",(?,?)", len(batch))[1:]+")", values...).Error
		if err != nil {
			return err
		}
	}
	return nil
}
