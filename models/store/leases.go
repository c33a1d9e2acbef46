package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"github.com/tvzero/tokenvault/models"
)

// errInTransaction: a lease that is taken inside a transaction would be nobody's until
// that commits, and its caller would work meanwhile.
var errInTransaction = errors.New("store: a lease is taken before a transaction begins")

// TakeLease takes the lease of a token for a time. It must not run inside InTx.
// ErrLeased, with until when: another has it. ErrNotFound: no such token.
func (s *Store) TakeLease(ctx context.Context, accountID, tokenID uuid.UUID, ttl time.Duration) (models.Lease, error) {
	lease := models.Lease{AccountID: accountID, TokenID: tokenID, ID: models.NewID()}
	if s.txOf(ctx) != nil {
		return lease, errInTransaction
	}
	for {
		taken, err := s.tryLease(ctx, &lease, ttl)
		if err != nil || taken {
			return lease, err
		}
		if err := s.leasedBy(ctx, accountID, tokenID); err != nil {
			return lease, err
		}
	}
}

// tryLease sets generation and end of a lease if nobody has it.
func (s *Store) tryLease(ctx context.Context, lease *models.Lease, ttl time.Duration) (taken bool, err error) {
	err = s.InTx(ctx, func(ctx context.Context) error {
		// The time is from before a wait for the row: a lease that ended meanwhile still
		// counts, and the caller looks again.
		now, err := s.Clock(ctx)
		if err != nil {
			return err
		}
		lease.Until = models.Stamp(now.Add(ttl))
		var generation []int64
		err = s.view(ctx).Raw(`INSERT INTO refreshes (account_id, token_id, lease_id, lease_until, lease_generation) VALUES (?, ?, ?, ?, 1)
			ON CONFLICT (account_id, token_id) DO UPDATE SET lease_id = excluded.lease_id, lease_until = excluded.lease_until,
				lease_generation = refreshes.lease_generation + 1
			WHERE refreshes.lease_until IS NULL OR refreshes.lease_until <= ?
			RETURNING lease_generation`, lease.AccountID, lease.TokenID, lease.ID, lease.Until, now).Scan(&generation).Error
		if err == nil && len(generation) == 1 {
			lease.Generation, taken = generation[0], true
		}
		return failed(err, "lease of token %s", lease.TokenID)
	})
	return taken && err == nil, err
}

// leasedBy is the error of a token whose lease another has, or nil when nobody has
// any more.
func (s *Store) leasedBy(ctx context.Context, accountID, tokenID uuid.UUID) error {
	row, err := s.Refresh(ctx, accountID, tokenID)
	if err != nil {
		if errors.Is(err, models.ErrNotFound) { // the token went with it; taking the lease says so
			return nil
		}
		return err
	}
	now, err := s.Clock(ctx)
	if err != nil {
		return err
	}
	if row.LeaseUntil == nil || !row.LeaseUntil.After(now) {
		return nil
	}
	return fmt.Errorf("store: token %s: %w", tokenID, &models.LeasedError{Until: *row.LeaseUntil, Left: row.LeaseUntil.Sub(now)})
}

// leaseBatch is how many tokens one statement about leases names.
const leaseBatch = 500

// errBusy undoes a transaction that found a lease taken.
var errBusy = errors.New("store: leased")

// TakeLeases takes the leases of several tokens of an account, all of them or, when
// others have some, none: then it says until when at most. Tokens that do not exist
// are passed over. It must not run inside InTx.
func (s *Store) TakeLeases(ctx context.Context, accountID uuid.UUID, tokenIDs []uuid.UUID, ttl time.Duration) (
	taken []models.Lease, busyUntil *time.Time, err error) {
	if s.txOf(ctx) != nil {
		return nil, nil, errInTransaction
	}
	tokenIDs = byID(tokenIDs)
	for range 3 {
		err = s.InTx(ctx, func(ctx context.Context) error {
			taken, busyUntil, err = s.takeAll(ctx, accountID, tokenIDs, ttl)
			if err == nil && busyUntil != nil {
				return errBusy
			}
			return err
		})
		if !errors.Is(err, models.ErrNotFound) { // a token that was deleted at this moment
			break
		}
	}
	if errors.Is(err, errBusy) {
		return nil, busyUntil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	return taken, nil, nil
}

func (s *Store) takeAll(ctx context.Context, accountID uuid.UUID, tokenIDs []uuid.UUID, ttl time.Duration) (
	taken []models.Lease, busyUntil *time.Time, err error) {
	var rows []models.Refresh
	for ids := range slices.Chunk(tokenIDs, leaseBatch) {
		if err := s.createRefreshes(ctx, accountID, ids); err != nil {
			return nil, nil, err
		}
		some, err := lockRefreshes(s.view(ctx), accountID, ids)
		if err != nil {
			return nil, nil, err
		}
		rows = append(rows, some...)
	}
	now, err := s.Clock(ctx)
	if err != nil {
		return nil, nil, err
	}
	id, until := models.NewID(), models.Stamp(now.Add(ttl))
	for _, r := range rows {
		if r.LeaseUntil != nil && r.LeaseUntil.After(now) && (busyUntil == nil || busyUntil.Before(*r.LeaseUntil)) {
			busyUntil = r.LeaseUntil
		}
		taken = append(taken, models.Lease{AccountID: accountID, TokenID: r.TokenID, ID: id, Generation: r.LeaseGeneration + 1, Until: until})
	}
	if busyUntil != nil {
		return nil, busyUntil, nil
	}
	err = s.record(ctx, func(db *gorm.DB) error {
		for batch := range slices.Chunk(taken, leaseBatch) {
			ids := make([]uuid.UUID, len(batch))
			for i, lease := range batch {
				ids[i] = lease.TokenID
			}
			err := db.Exec(`UPDATE refreshes SET lease_id = ?, lease_until = ?, lease_generation = lease_generation + 1
				WHERE account_id = ? AND token_id IN ?`, id, until, accountID, ids).Error
			if err != nil {
				return failed(err, "leases of account %s", accountID)
			}
		}
		return nil
	})
	return taken, nil, err
}

// createRefreshes makes the rows of tokens that have none.
func (s *Store) createRefreshes(ctx context.Context, accountID uuid.UUID, tokenIDs []uuid.UUID) error {
	return s.record(ctx, func(db *gorm.DB) error {
		err := db.Exec(`INSERT INTO refreshes (account_id, token_id)
			SELECT account_id, id FROM tokens WHERE account_id = ? AND id IN ? ORDER BY id
			ON CONFLICT (account_id, token_id) DO NOTHING`, accountID, tokenIDs).Error
		return failed(err, "refreshes of account %s", accountID)
	})
}

// HoldLease keeps a lease the caller's until its transaction ends: nobody takes it
// before. It must run inside InTx, after vaults are locked and before credentials and
// tokens are written. ErrLeaseLost: it is not the caller's any more. That its time is
// over is no reason: nobody has taken it since.
func (s *Store) HoldLease(ctx context.Context, lease models.Lease) error {
	if s.txOf(ctx) == nil {
		return errNoTransaction
	}
	var held []models.Refresh
	err := locked(s.view(ctx)).Select("token_id").Where(heldBy, heldArgs(lease)...).Find(&held).Error
	if err == nil && len(held) == 0 {
		return leaseLost(lease)
	}
	return failed(err, "lease of token %s", lease.TokenID)
}

// heldBy is what SQL says of the row of a lease that is still its holder's.
const heldBy = "account_id = ? AND token_id = ? AND lease_generation = ? AND lease_id = ?"

func heldArgs(l models.Lease) []any { return []any{l.AccountID, l.TokenID, l.Generation, l.ID} }

func leaseLost(l models.Lease) error {
	return &refusal{fmt.Sprintf("token %s", l.TokenID), models.ErrLeaseLost}
}

// FinishLease writes what came of a refresh, when the next is due, and ends the lease.
// Of the paths' times and RefreshedAt those that r does not have stay as they are.
// ErrLeaseLost: it is not the caller's any more, and nothing is written.
func (s *Store) FinishLease(ctx context.Context, lease models.Lease, r models.Refresh) error {
	if err := clean(&r); err != nil {
		return err
	}
	return s.record(ctx, func(db *gorm.DB) error {
		set := map[string]any{
			"due_at": r.DueAt, "attempts": r.Attempts, "outcome": r.Outcome, "reason": r.Reason, "path": r.Path,
			"tried_at": r.TriedAt, "retry_at": r.RetryAt, "lease_id": nil, "lease_until": nil,
		}
		for column, at := range map[string]*time.Time{
			"refreshed_at": r.RefreshedAt, "platform_at": r.PlatformAt, "mediated_at": r.MediatedAt, "notified_at": r.NotifiedAt,
		} {
			if at != nil {
				set[column] = at
			}
		}
		result := db.Model(&models.Refresh{}).Where(heldBy, heldArgs(lease)...).UpdateColumns(set)
		if result.Error == nil && result.RowsAffected == 0 {
			return leaseLost(lease)
		}
		return failed(result.Error, "lease of token %s", lease.TokenID)
	})
}

// EndLease gives a lease back. What is scheduled stays: of one that was claimed, at
// the end that its lease had. One that is not the caller's any more is no error.
func (s *Store) EndLease(ctx context.Context, lease models.Lease) error {
	return s.record(ctx, func(db *gorm.DB) error {
		err := db.Model(&models.Refresh{}).Where(heldBy, heldArgs(lease)...).
			UpdateColumns(map[string]any{"lease_id": nil, "lease_until": nil}).Error
		return failed(err, "lease of token %s", lease.TokenID)
	})
}

// EndLeases is EndLease of several of one account.
func (s *Store) EndLeases(ctx context.Context, leases []models.Lease) error {
	// In the order in which all lock these rows.
	leases = slices.SortedFunc(slices.Values(leases), func(a, b models.Lease) int { return bytes.Compare(a.TokenID[:], b.TokenID[:]) })
	for batch := range slices.Chunk(leases, leaseBatch) {
		err := s.InTx(ctx, func(ctx context.Context) error {
			for _, lease := range batch {
				if err := s.EndLease(ctx, lease); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
