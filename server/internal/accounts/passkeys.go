package accounts

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/server/internal/grants"
)

// A PasskeyView is a passkey as its owner sees it.
type PasskeyView struct {
	ID         uuid.UUID
	Name       string
	CreatedAt  time.Time
	LastUsedAt *time.Time // nil: not yet
	Synced     bool       // it may be copied to other devices of its owner
}

func (s *Service) passkeys(ctx context.Context, p grants.Principal) ([]PasskeyView, error) {
	rows, err := s.deps.Passkeys.Passkeys(ctx, p.AccountID)
	if err != nil {
		return nil, err
	}
	views := make([]PasskeyView, len(rows))
	for i, r := range rows {
		views[i] = PasskeyView{ID: r.ID, Name: r.Name, CreatedAt: r.CreatedAt, LastUsedAt: r.LastUsedAt, Synced: r.BackupEligible}
	}
	return views, nil
}
