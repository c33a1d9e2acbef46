package store

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
)

// PutEscrow adds an escrow or replaces the one of the same id. ErrConflict: another
// of the same two grants is pending. ErrNotFound: no such grant.
func (s *Store) PutEscrow(ctx context.Context, e *models.Escrow) error {
	return s.put(ctx, e.AccountID, e, "escrow")
}

// Escrow by id. ErrNotFound.
func (s *Store) Escrow(ctx context.Context, accountID, id uuid.UUID) (models.Escrow, error) {
	var e models.Escrow
	err := s.view(ctx).Where("account_id = ? AND id = ?", accountID, id).Take(&e).Error
	return e, failed(err, "escrow %s", id)
}

// LockEscrow is Escrow for who is about to change it: until the transaction ends,
// nobody else does. It must run inside InTx. ErrNotFound.
func (s *Store) LockEscrow(ctx context.Context, accountID, id uuid.UUID) (models.Escrow, error) {
	if s.txOf(ctx) == nil {
		return models.Escrow{}, errNoTransaction
	}
	var e models.Escrow
	err := locked(s.view(ctx)).Where("account_id = ? AND id = ?", accountID, id).Take(&e).Error
	return e, failed(err, "escrow %s", id)
}

// Escrows lists an account's escrows, newest first.
func (s *Store) Escrows(ctx context.Context, accountID uuid.UUID) ([]models.Escrow, error) {
	var escrows []models.Escrow
	err := s.view(ctx).Where("account_id = ?", accountID).Order("id DESC").Find(&escrows).Error
	return escrows, failed(err, "escrows of account %s", accountID)
}

// PendingEscrows lists the escrows of an account that wait for an answer, oldest
// first. They may have expired.
func (s *Store) PendingEscrows(ctx context.Context, accountID uuid.UUID) ([]models.Escrow, error) {
	var escrows []models.Escrow
	err := s.view(ctx).Where("account_id = ? AND state = 'pending'", accountID).Order("id").Find(&escrows).Error
	return escrows, failed(err, "pending escrows of account %s", accountID)
}

// ExpiredEscrows lists escrows of all accounts that wait for an answer though they
// have expired at a time, longest first. At most limit of them; limit 0 is no
// limit.
func (s *Store) ExpiredEscrows(ctx context.Context, at time.Time, limit int) ([]models.Escrow, error) {
	var escrows []models.Escrow
	db := s.view(ctx).Where("state = 'pending' AND expires_at <= ?", models.Stamp(at)).Order("expires_at, id")
	return escrows, failed(atMost(db, limit).Find(&escrows).Error, "expired escrows")
}
