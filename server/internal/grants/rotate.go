package grants

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/custody"
)

// rotates is when a session's token is due to be followed: after a quarter of its
// life. One that lasts as long as its session is not: a successor would not
// last longer. Zero: never.
func rotates(g *models.Grant, k *models.GrantKey) time.Time {
	if g.Kind != models.GrantSession || k.ExpiresAt == nil || g.ExpiresAt != nil && !k.ExpiresAt.Before(*g.ExpiresAt) {
		return time.Time{}
	}
	return k.IssuedAt.Add(k.ExpiresAt.Sub(k.IssuedAt) / 4)
}

func (g *good) due(now time.Time) bool { return !g.rotates.IsZero() && !now.Before(g.rotates) }

// Rotate returns the token that follows p's, and when it ends. Parallel callers,
// and later ones, get the same. The old token works until its own end. When p's
// token is not due, it returns that one itself. INVALID_KEY when p's token no
// longer counts.
func (s *Service) Rotate(ctx context.Context, p Principal) (Token, time.Time, error) {
	if !p.RotateDue {
		return p.Token, p.ExpiresAt, nil
	}
	h, err := s.Keys(ctx, p)
	if err != nil {
		return Token{}, time.Time{}, err
	}
	defer h.Clear()
	row, err := s.deps.Slots.Successor(ctx, p.AccountID, p.GrantID, p.Slot)
	if errors.Is(err, models.ErrNotFound) {
		row, err = s.succeed(ctx, h)
	}
	if err != nil {
		return Token{}, time.Time{}, err
	}
	text, err := h.OpenSuccessor(&row)
	if err != nil {
		return Token{}, time.Time{}, fmt.Errorf("successor of slot %d of grant %s: %w", p.Slot, p.GrantID, err)
	}
	next, err := s.deps.Keys.OpenToken(text)
	if err != nil {
		return Token{}, time.Time{}, fmt.Errorf("successor of slot %d of grant %s: %w", p.Slot, p.GrantID, err)
	}
	next.Secret.Clear()
	return newToken(text), next.ExpiresAt, nil
}

// succeed makes a successor of the holder's token, unless another request has made
// one by now, and returns the one that counts.
func (s *Service) succeed(ctx context.Context, h *custody.Holder) (models.Successor, error) {
	d := draft{grant: *h.Grant()}
	if err := s.newSlot(&d, h.Slot()+1, SessionTokenLife, models.Stamp(s.deps.Now())); err != nil {
		return models.Successor{}, err
	}
	defer d.claims.Secret.Clear()
	if err := s.keepPair(&d, h); err != nil {
		return models.Successor{}, err
	}
	row, err := h.SealSuccessor(s.deps.Random, d.claims.Slot, d.text)
	if err != nil {
		return models.Successor{}, err
	}
	err = s.deps.Rows.InTx(ctx, func(ctx context.Context) error {
		// Locked first, as whoever else touches the grant and its vault does.
		found, err := s.deps.Rows.LockGrants(ctx, d.grant.AccountID, d.grant.ID)
		if err != nil {
			return err
		}
		if len(found) == 0 || !found[0].Live(s.deps.Now()) {
			return InvalidKey()
		}
		d.grant = found[0]
		var first bool
		if row, first, err = s.deps.Slots.PutSuccessor(ctx, &row, &d.key); err != nil || !first {
			return err
		}
		to, err := s.holder(&d)
		if err != nil {
			return err
		}
		defer to.Clear()
		return s.copied(ctx, h, to)
	})
	return row, err
}

// holder is who holds the draft's token.
func (s *Service) holder(d *draft) (*custody.Holder, error) {
	return s.deps.Keys.Hold(d.claims, &d.grant, &d.key, s.deps.Now)
}

func (s *Service) copied(ctx context.Context, from, to *custody.Holder) error {
	if s.deps.Vaults == nil {
		return nil
	}
	return s.deps.Vaults.Copied(ctx, from, to)
}
