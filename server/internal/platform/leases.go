package platform

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/fault"
)

// Leases are the rights to refresh a credential, or to move it or seal it anew, which
// one has at a time; and what came of refreshing. Leases are taken outside of
// transactions, and held inside.
type Leases interface {
	TakeLease(ctx context.Context, accountID, tokenID uuid.UUID, ttl time.Duration) (models.Lease, error)
	// TakeLeases takes all or none: then it says until when others have some.
	TakeLeases(ctx context.Context, accountID uuid.UUID, tokenIDs []uuid.UUID, ttl time.Duration) (taken []models.Lease, busyUntil *time.Time, err error)
	HoldLease(ctx context.Context, lease models.Lease) error
	FinishLease(ctx context.Context, lease models.Lease, r models.Refresh) error
	EndLeases(ctx context.Context, leases []models.Lease) error
	Refresh(ctx context.Context, accountID, tokenID uuid.UUID) (models.Refresh, error)
}

const (
	// leaseTime is how long a refresh holds a lease at most: its call at the provider
	// ends before. What is sealed anew here takes it for as long.
	leaseTime = 30 * time.Second
	// leaseWait is how long a lease is waited for.
	leaseWait = leaseTime + 5*time.Second
)

// Pauses between two looks at a lease that another has.
const (
	firstPause = 20 * time.Millisecond
	longPause  = 500 * time.Millisecond
)

// A hold is the leases of credentials that are about to be sealed anew or moved, so
// that no refresh is under way: its new tokens could not be stored. Only what a
// provider can refresh has one; of none it costs nothing.
type hold struct {
	s      *Service
	leases map[uuid.UUID]models.Lease // by token
}

// lease takes the leases of tokens of an account, waiting for who has one of them, at
// most until a time; the zero time does not wait. UNAVAILABLE: somebody has one still,
// and nothing was done. End the hold.
func (s *Service) lease(ctx context.Context, accountID uuid.UUID, tokenIDs []uuid.UUID, until time.Time) (*hold, error) {
	if len(tokenIDs) == 0 {
		return &hold{s: s}, nil
	}
	for pause := firstPause; ; pause = min(2*pause, longPause) {
		taken, busyUntil, err := s.deps.Leases.TakeLeases(ctx, accountID, tokenIDs, leaseTime)
		if err != nil {
			return nil, err
		}
		if busyUntil == nil {
			h := &hold{s: s, leases: make(map[uuid.UUID]models.Lease, len(taken))}
			for _, l := range taken {
				h.leases[l.TokenID] = l
			}
			return h, nil
		}
		if !s.deps.Now().Add(pause).Before(until) {
			return nil, fault.New(fault.Unavailable, "A token of this vault is being refreshed at its provider, which takes long to answer. Nothing was changed; try again in half a minute.")
		}
		if err := wait(ctx, pause); err != nil {
			return nil, err
		}
	}
}

func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// patience is until when something that begins now waits for leases.
func (s *Service) patience() time.Time { return s.deps.Now().Add(leaseWait) }

// keep makes sure, in a transaction that has locked the vaults, that the tokens given
// are leased until it ends. models.ErrConflict: one is not, or not any more.
func (h *hold) keep(ctx context.Context, tokenIDs ...uuid.UUID) error {
	slices.SortFunc(tokenIDs, func(a, b uuid.UUID) int { return bytes.Compare(a[:], b[:]) })
	for _, id := range tokenIDs {
		l, ok := h.leases[id]
		if !ok {
			return fmt.Errorf("%w: token %s can be refreshed by now", models.ErrConflict, id)
		}
		err := h.s.deps.Leases.HoldLease(ctx, l)
		if errors.Is(err, models.ErrLeaseLost) {
			return fmt.Errorf("%w: token %s: %w", models.ErrConflict, id, err)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// end gives the leases back. Where that fails, they end by their time.
func (h *hold) end(ctx context.Context) {
	if h == nil || len(h.leases) == 0 {
		return
	}
	// Not the caller's context: whoever waits for these need not wait for who hung up.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaseTime/3)
	defer cancel()
	if err := h.s.deps.Leases.EndLeases(ctx, slices.Collect(maps.Values(h.leases))); err != nil {
		h.s.deps.Logger.WarnContext(ctx, "platform: leases could not be given back; they end by themselves", "error", err)
	}
}

// refreshableIn are the tokens of a vault that a provider may be asked to renew.
func (s *Service) refreshableIn(ctx context.Context, accountID, vaultID uuid.UUID) ([]uuid.UUID, error) {
	all, err := s.deps.Tokens.VaultTokens(ctx, accountID, vaultID)
	var ids []uuid.UUID
	for _, t := range all {
		if refreshable(t) {
			ids = append(ids, t.ID)
		}
	}
	return ids, err
}

// refreshableOf are those of some credentials.
func (s *Service) refreshableOf(ctx context.Context, sealed []models.Credential) ([]uuid.UUID, error) {
	var ids []uuid.UUID
	for _, c := range sealed {
		t, err := s.deps.Tokens.TokenByID(ctx, c.AccountID, c.ID)
		if errors.Is(err, models.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if refreshable(t) {
			ids = append(ids, t.ID)
		}
	}
	return ids, nil
}
