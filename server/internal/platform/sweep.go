package platform

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/audit"
)

// How often the background does what, and how much at a time.
const (
	sweepEvery  = time.Minute
	resignEvery = time.Hour
	sweepBatch  = 100
)

// Run ends what has expired (grants, single tokens of theirs, agents' access to
// credentials, offers of vaults) and brings rows from old server keys under the current one, until ctx
// ends. Every replica runs it: what one has done, the others find done.
func (s *Service) Run(ctx context.Context) error {
	sweep, resign := time.NewTicker(sweepEvery), time.NewTicker(resignEvery)
	defer sweep.Stop()
	defer resign.Stop()
	s.try(ctx, "rows under old server keys", s.Resign)
	for {
		s.try(ctx, "what has expired", s.Sweep)
		select {
		case <-sweep.C:
		case <-resign.C:
			s.try(ctx, "rows under old server keys", s.Resign)
		case <-ctx.Done():
			return nil
		}
	}
}

func (s *Service) try(ctx context.Context, what string, do func(ctx context.Context) error) {
	if err := do(ctx); err != nil && ctx.Err() == nil {
		s.deps.Logger.Warn("platform: the background pass failed, and is tried again", "what", what, "error", err)
	}
}

// Sweep is one pass over what has expired.
func (s *Service) Sweep(ctx context.Context) error {
	return errors.Join(s.sweepGrants(ctx), s.sweepSlots(ctx), s.sweepAccess(ctx), s.expireEscrows(ctx))
}

// sweepGrants ends grants with which nothing can sign in any more, and with them
// what they alone opened. One that cannot be ended keeps no other from it.
func (s *Service) sweepGrants(ctx context.Context) error {
	var failed failures
	for {
		now, err := s.clock(ctx)
		if err != nil {
			return failed.with(err)
		}
		limit := sweepBatch + len(failed.ids)
		expired, err := s.deps.GrantRows.ExpiredGrants(ctx, now, limit)
		if err != nil {
			return failed.with(err)
		}
		for _, g := range expired {
			if failed.has(g.ID) {
				continue
			}
			e := audit.Event{AccountID: g.AccountID, Type: audit.KeyChanged, Source: audit.System, GrantID: g.ID, Detail: "expired: " + string(g.Kind) + " " + g.Label}
			if g.AgentID != nil {
				e.AgentID = *g.AgentID
			}
			err := s.deps.Audit.Do(ctx, e, func(ctx context.Context) error { return s.expireGrant(ctx, g) })
			if failed.add(ctx, err, g.ID) {
				return failed.with(nil)
			}
		}
		if len(expired) < limit {
			return failed.with(nil)
		}
	}
}

// failures are what a pass could not do, and passes over from then on.
type failures struct {
	ids  []any
	errs []error
}

func (f *failures) has(id any) bool { return slices.Contains(f.ids, id) }

// add notes what failed, if err says so, and reports whether to give up.
func (f *failures) add(ctx context.Context, err error, id any) bool {
	if err != nil {
		f.ids, f.errs = append(f.ids, id), append(f.errs, err)
	}
	return ctx.Err() != nil || len(f.ids) >= sweepBatch
}

func (f *failures) with(err error) error { return errors.Join(append(f.errs, err)...) }

func (s *Service) expireGrant(ctx context.Context, g models.Grant) error {
	return s.deps.Accounts.InTx(ctx, func(ctx context.Context) error {
		found, err := s.deps.GrantRows.LockGrants(ctx, g.AccountID, g.ID)
		if err != nil || len(found) == 0 || found[0].EndedAt != nil { // another replica was first
			return err
		}
		now, err := s.clock(ctx)
		if err != nil {
			return err
		}
		err = s.deps.GrantRows.EndExpiredGrant(ctx, g.AccountID, g.ID, now)
		if errors.Is(err, models.ErrNotFound) { // rotated in its last moment: it lives
			return nil
		}
		if err != nil {
			return err
		}
		found[0].EndedAt = &now
		return s.Ended(ctx, found[0])
	})
}

// sweepSlots deletes what is wrapped for tokens that have expired while their grants
// live on: such a token opens nothing any more, not for who has the database either.
func (s *Service) sweepSlots(ctx context.Context) error {
	for {
		now, err := s.clock(ctx)
		if err != nil {
			return err
		}
		expired, err := s.deps.Slots.ExpiredSlots(ctx, now, sweepBatch)
		if err != nil {
			return err
		}
		for _, k := range expired {
			err := s.deps.Slots.DeleteSlot(ctx, k.AccountID, k.GrantID, uint32(k.Slot)) // #nosec G115 -- a slot
			if err != nil && !errors.Is(err, models.ErrNotFound) {
				return err
			}
		}
		if len(expired) < sweepBatch {
			return nil
		}
	}
}

// sweepAccess withdraws credentials from agents whose credential grants have
// expired. The grants stay, to answer that they have expired.
func (s *Service) sweepAccess(ctx context.Context) error {
	type access struct {
		agentID uuid.UUID
		service string
	}
	var failed failures
	for {
		now, err := s.clock(ctx)
		if err != nil {
			return failed.with(err)
		}
		limit := sweepBatch + len(failed.ids)
		expired, keys, err := s.deps.Agents.ExpiredAccess(ctx, now, limit)
		if err != nil {
			return failed.with(err)
		}
		for i, g := range expired {
			which := access{g.AgentID, g.ServiceName}
			if !failed.has(which) && failed.add(ctx, s.expireAccess(ctx, g, keys[i]), which) {
				return failed.with(nil)
			}
		}
		if len(expired) < limit {
			return failed.with(nil)
		}
	}
}

func (s *Service) expireAccess(ctx context.Context, g models.CredentialGrant, agentGrant uuid.UUID) error {
	return s.deps.Accounts.InTx(ctx, func(ctx context.Context) error {
		if _, err := s.deps.GrantRows.LockGrants(ctx, g.AccountID, agentGrant); err != nil {
			return err
		}
		if _, err := s.lockCredential(ctx, g.AccountID, g.TokenID); err != nil {
			if errors.Is(err, models.ErrNotFound) {
				return nil
			}
			return err
		}
		now, err := s.clock(ctx)
		if err != nil {
			return err
		}
		granted, err := s.deps.Agents.TokenGrants(ctx, g.AccountID, g.TokenID)
		if err != nil || slices.ContainsFunc(granted, func(o models.CredentialGrant) bool { return o.AgentID == g.AgentID && !o.Expired(now) }) {
			return err // granted anew meanwhile
		}
		return s.Withdraw(ctx, g.AccountID, g.TokenID, agentGrant)
	})
}
