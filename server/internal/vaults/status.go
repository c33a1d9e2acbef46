package vaults

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/grants"
)

const (
	settleEvery    = time.Minute     // an account's status tries a pending binding at most so often
	settleTimeout  = 3 * time.Second // and so long, since a page waits for it
	settleRemember = 4096
)

// Status says how the account keeps its tokens, read from the database. When it
// finds no binding in use but one that an interrupted bind left, it tries that.
func (s *Service) Status(ctx context.Context, p grants.Principal) (Status, error) {
	if err := user(p); err != nil {
		return Status{}, err
	}
	account, err := s.account(ctx, p.AccountID)
	if err != nil {
		return Status{}, err
	}
	status := Status{Mode: models.ModePlatform, Locked: account.Locked(), LockedAt: account.LockedAt}
	binding, err := s.deps.Bindings.BindingByState(ctx, p.AccountID, models.BindingActive)
	if errors.Is(err, models.ErrNotFound) && s.settleForStatus(ctx, p.AccountID) {
		binding, err = s.deps.Bindings.BindingByState(ctx, p.AccountID, models.BindingActive)
	}
	switch {
	case err == nil:
		binding.SealedSecret = nil
		status.Mode, status.Binding = models.ModeWebhook, &binding
	case !errors.Is(err, models.ErrNotFound):
		return Status{}, fmt.Errorf("vaults: binding: %w", err)
	}
	return status, nil
}

func (s *Service) settleForStatus(ctx context.Context, accountID uuid.UUID) bool {
	if _, err := s.deps.Bindings.BindingByState(ctx, accountID, models.BindingPending); err != nil {
		return false
	}
	now := s.deps.Now()
	s.mu.Lock()
	last, tried := s.settling[accountID]
	due := !tried || now.Sub(last) >= settleEvery
	if due {
		if len(s.settling) >= settleRemember {
			clear(s.settling)
		}
		s.settling[accountID] = now
	}
	s.mu.Unlock()
	if !due {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	settled, err := s.settlePending(ctx, accountID)
	if err != nil {
		s.deps.Logger.InfoContext(ctx, "vaults: a pending binding could not be settled", "account", accountID, "error", err)
	}
	return settled
}
