package platform

import (
	"context"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
)

// A Preview says what accepting an offer would change, as things stand now.
type Preview struct {
	Escrow models.Escrow
	From   string // label of who offers
	Shared int    // tokens in the vault that is offered
	// Own are the tokens that come along from the vault that is left, superseded
	// ones too.
	Own []models.Token
	// Copies: others open the vault that is left. They keep it, with what agents
	// were granted there; copies come along.
	Copies    bool
	Conflicts []Conflict // names that both vaults have
	Agents    int        // that keep a credential which moves
	Cancels   int        // other offers that end
}

// A Conflict is a name that both vaults have. The token that was created later keeps
// it; the other is kept beside it, superseded.
type Conflict struct {
	Ref      Ref
	KeepsOwn bool // the one that comes along keeps the name
}

// Preview says what accepting would change. Only whom the vault was offered asks.
// NOT_FOUND, SCOPE_DENIED, CONFLICT when the offer has ended.
func (s *Service) Preview(ctx context.Context, p grants.Principal, id uuid.UUID) (Preview, error) {
	if err := mayLink(p); err != nil {
		return Preview{}, err
	}
	e, err := s.escrow(ctx, p, id, models.EscrowAccepted)
	if err != nil {
		return Preview{}, err
	}
	now, err := s.clock(ctx)
	if err != nil {
		return Preview{}, err
	}
	if !now.Before(e.ExpiresAt) {
		return Preview{}, ended(models.EscrowExpired)
	}
	from, err := s.deps.GrantRows.Grant(ctx, p.AccountID, e.FromID)
	if err != nil {
		return Preview{}, err
	}
	there, err := s.deps.Tokens.VaultTokens(ctx, p.AccountID, e.VaultID)
	if err != nil {
		return Preview{}, err
	}
	view := Preview{Escrow: shown(e), From: from.Label, Shared: len(there)}
	own, err := s.deps.GrantRows.Grant(ctx, p.AccountID, p.GrantID)
	if err != nil {
		return Preview{}, err
	}
	if own.VaultID != nil && *own.VaultID == e.VaultID {
		return Preview{}, fault.New(fault.Conflict, "You open this vault already.")
	}
	if err := s.previewLeaving(ctx, &view, own, there); err != nil {
		return Preview{}, err
	}
	return view, s.previewOffers(ctx, &view, own)
}

// previewLeaving says what becomes of the vault that is left.
func (s *Service) previewLeaving(ctx context.Context, view *Preview, own models.Grant, there []models.Token) error {
	if own.VaultID == nil {
		return nil
	}
	sharing, err := s.deps.GrantRows.VaultGrants(ctx, own.AccountID, *own.VaultID)
	if err != nil {
		return err
	}
	for _, g := range sharing {
		view.Copies = view.Copies || g.ID != own.ID && g.Kind.Shares() && g.Live(s.now())
	}
	if view.Own, err = s.deps.Tokens.VaultTokens(ctx, own.AccountID, *own.VaultID); err != nil {
		return err
	}
	for _, a := range arrivals(view.Own, there) {
		if a.superseded || a.displaces != nil {
			view.Conflicts = append(view.Conflicts, Conflict{refOf(a.token), !a.superseded})
		}
	}
	if view.Copies {
		return nil
	}
	granted, err := s.grantedIn(ctx, own.AccountID, *own.VaultID)
	if err != nil {
		return err
	}
	agents := map[uuid.UUID]bool{}
	for _, t := range view.Own {
		if !granted[t.ID] {
			continue
		}
		with, err := s.agentsOf(ctx, t.AccountID, t.ID)
		if err != nil {
			return err
		}
		for _, g := range with {
			agents[g.ID] = true
		}
	}
	view.Agents = len(agents)
	return nil
}

// previewOffers counts what ends with the offer that is accepted.
func (s *Service) previewOffers(ctx context.Context, view *Preview, own models.Grant) error {
	all, err := s.deps.Escrows.Escrows(ctx, own.AccountID)
	for _, e := range all {
		if e.State == models.EscrowPending && e.ID != view.Escrow.ID && endsWith(e, own, view.Escrow) {
			view.Cancels++
		}
	}
	return err
}

// endsWith reports whether an offer ends when a grant accepts another: it is of the
// vault that the grant leaves, by the grant, or of what the grant then opens to it.
func endsWith(e models.Escrow, own models.Grant, accepted models.Escrow) bool {
	return e.FromID == own.ID || own.VaultID != nil && e.VaultID == *own.VaultID || e.ToID == own.ID && e.VaultID == accepted.VaultID
}
