package grants

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/custody"
	"github.com/tvzero/tokenvault/server/internal/fault"
)

// settleTime bounds what is done after a revocation: a lease of 30 s may have to be
// waited for.
const settleTime = time.Minute

// List lists all grants of p's account with which somebody can sign in, oldest
// first. SCOPE_DENIED without grants:read.
func (s *Service) List(ctx context.Context, p Principal) ([]View, error) {
	return s.list(ctx, p, func(models.GrantKind) bool { return true })
}

// APIKeys is List of API keys alone.
func (s *Service) APIKeys(ctx context.Context, p Principal) ([]View, error) {
	return s.list(ctx, p, func(k models.GrantKind) bool { return k == models.GrantAPIKey })
}

func (s *Service) list(ctx context.Context, p Principal, of func(models.GrantKind) bool) ([]View, error) {
	if err := Require(p, GrantsRead); err != nil {
		return nil, err
	}
	all, err := s.deps.Rows.Grants(ctx, p.AccountID)
	if err != nil {
		return nil, err
	}
	now := s.deps.Now()
	views := []View{}
	for _, g := range all {
		if !of(g.Kind) {
			continue
		}
		if live, err := s.live(ctx, &g, now); err != nil {
			return nil, err
		} else if live {
			views = append(views, view(p, &g))
		}
	}
	return views, nil
}

// live reports whether somebody can sign in with a grant. A session that was idle
// for as long as a token lasts has no token left: its slots decide.
func (s *Service) live(ctx context.Context, g *models.Grant, now time.Time) (bool, error) {
	used := g.CreatedAt
	if g.LastUsedAt != nil && g.LastUsedAt.After(used) {
		used = *g.LastUsedAt
	}
	if !g.Live(now) || g.Kind != models.GrantSession || now.Before(used.Add(SessionTokenLife)) {
		return g.Live(now), nil
	}
	keys, err := s.deps.Slots.GrantKeys(ctx, g.AccountID, g.ID)
	for _, k := range keys {
		if !ended(&k, now) {
			return true, nil
		}
	}
	return false, err
}

func view(p Principal, g *models.Grant) View {
	v := View{
		ID: g.ID, Kind: g.Kind, Label: g.Label, Scopes: g.Scopes, Client: g.Client, Address: g.Address,
		CreatedAt: g.CreatedAt, ExpiresAt: g.ExpiresAt, LastUsedAt: g.LastUsedAt, Current: g.ID == p.GrantID,
	}
	if g.AgentID != nil {
		v.AgentID = *g.AgentID
	}
	if g.VaultID != nil {
		v.VaultID = *g.VaultID
	}
	return v
}

// SetLabel renames a session, an API key or an OAuth client. INVALID_REQUEST,
// NOT_FOUND, CONFLICT for an agent's key, SCOPE_DENIED without grants:write.
func (s *Service) SetLabel(ctx context.Context, p Principal, c audit.Client, id uuid.UUID, text string) error {
	g, err := s.managed(ctx, p, id)
	if err != nil {
		return err
	}
	name, err := label("label", text)
	if err != nil {
		return err
	}
	return s.deps.Audit.Do(ctx, event(p, c, audit.KeyChanged, fmt.Sprintf("renamed %s %s to %s", kindName(g.Kind), g.Label, name)), func(ctx context.Context) error {
		return s.deps.Rows.InTx(ctx, func(ctx context.Context) error {
			h, g, err := s.lock(ctx, p, id)
			if err != nil {
				return err
			}
			defer h.Clear()
			g.Label = name
			return s.deps.Rows.UpdateGrant(ctx, &g)
		})
	})
}

// Revoke ends a grant with all its tokens, and gives the vault that it opened a
// new key, or leaves that to the next request that can. With the last grant that
// opens a vault, the vault ends: see LastOfVault. NOT_FOUND, CONFLICT for an
// agent's key, SCOPE_DENIED without grants:write, INVALID_KEY when p has ended
// meanwhile.
func (s *Service) Revoke(ctx context.Context, p Principal, c audit.Client, id uuid.UUID) error {
	g, err := s.managed(ctx, p, id)
	if err != nil {
		return err
	}
	var h *custody.Holder
	defer func() { clearAll(h) }()
	err = s.deps.Audit.Do(ctx, event(p, c, audit.KeyChanged, "revoked "+kindName(g.Kind)+" "+g.Label), func(ctx context.Context) error {
		return s.deps.Rows.InTx(ctx, func(ctx context.Context) error {
			if h, g, err = s.lock(ctx, p, id); err != nil {
				return err
			}
			return s.end(ctx, g)
		})
	})
	if err == nil && id != p.GrantID {
		s.settle(ctx, h)
	}
	return err
}

// LastOfVault reports whether a platform vault ends with a grant, because nothing
// else that can sign in opens it, and how many credentials are in that vault.
// Those that an agent was granted outlive it, for that agent alone. NOT_FOUND,
// SCOPE_DENIED without grants:read.
func (s *Service) LastOfVault(ctx context.Context, p Principal, id uuid.UUID) (last bool, credentials int, err error) {
	if err := Require(p, GrantsRead); err != nil {
		return false, 0, err
	}
	g, err := s.find(ctx, p, id)
	if err != nil || g.VaultID == nil || !g.Kind.Shares() {
		return false, 0, err
	}
	sharing, err := s.deps.Rows.VaultGrants(ctx, p.AccountID, *g.VaultID)
	if err != nil {
		return false, 0, err
	}
	now := s.deps.Now()
	for _, other := range sharing {
		if other.ID == id {
			continue
		}
		if live, err := s.live(ctx, &other, now); err != nil || live {
			return false, 0, err
		}
	}
	tokens, err := s.deps.VaultRows.VaultTokens(ctx, p.AccountID, *g.VaultID)
	return err == nil, len(tokens), err
}

// managed is find for what is changed here: an agent's key is not.
func (s *Service) managed(ctx context.Context, p Principal, id uuid.UUID) (models.Grant, error) {
	if err := Require(p, GrantsWrite); err != nil {
		return models.Grant{}, err
	}
	g, err := s.find(ctx, p, id)
	if err == nil && g.Kind == models.GrantAgentKey {
		err = fault.New(fault.Conflict, "This is the key of an agent. %s", hint(g.Kind))
	}
	return g, err
}

func hint(kind models.GrantKind) string {
	if kind == models.GrantAgentKey {
		return "Rotate the key, rename or delete the agent where agents are managed."
	}
	return "Revoke this one, and sign in anew."
}

// find is a grant of p's account that has not ended. NOT_FOUND.
func (s *Service) find(ctx context.Context, p Principal, id uuid.UUID) (models.Grant, error) {
	g, err := s.deps.Rows.Grant(ctx, p.AccountID, id)
	if errors.Is(err, models.ErrNotFound) || err == nil && !g.Live(s.deps.Now()) {
		return models.Grant{}, notFound()
	}
	return g, err
}

func notFound() error {
	return fault.New(fault.NotFound, "There is no such session or key. It may have ended already: look at the list again.")
}

// lock locks p's own grant and another, or the same, for the transaction at hand,
// and returns the holder of p's keys, and the other. INVALID_KEY when p has ended
// meanwhile, NOT_FOUND when the other has.
func (s *Service) lock(ctx context.Context, p Principal, id uuid.UUID) (*custody.Holder, models.Grant, error) {
	found, err := s.deps.Rows.LockGrants(ctx, p.AccountID, p.GrantID, id)
	if err != nil {
		return nil, models.Grant{}, err
	}
	h, err := s.Keys(ctx, p)
	if err != nil {
		return nil, models.Grant{}, err
	}
	for _, g := range found {
		if g.ID != id || !g.Live(s.deps.Now()) {
			continue
		}
		if err := s.deps.Keys.CheckGrant(&g); err != nil {
			h.Clear()
			return nil, models.Grant{}, fmt.Errorf("grants: grant %s: %w", id, err)
		}
		return h, g, nil
	}
	h.Clear()
	return nil, models.Grant{}, notFound()
}

// settle lets a vault that somebody has lost get its new key. What cannot be done
// now is left to the next request that can: what was revoked stays revoked.
func (s *Service) settle(ctx context.Context, h *custody.Holder) {
	if s.deps.Vaults == nil {
		return
	}
	// Not the request's context: whoever asked may have hung up, and is not asked for
	// it again.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTime)
	defer cancel()
	if err := s.deps.Vaults.Settle(ctx, h); err != nil {
		s.deps.Logger.WarnContext(ctx, "grants: a vault's new key is left to a later request", "account", h.Grant().AccountID, "error", err)
	}
}

func clearAll(holders ...*custody.Holder) {
	for _, h := range holders {
		if h != nil {
			h.Clear()
		}
	}
}

func event(p Principal, c audit.Client, kind audit.EventType, detail string) audit.Event {
	return audit.Event{AccountID: p.AccountID, Type: kind, Source: audit.Direct, GrantID: p.GrantID, Client: c, Detail: detail}
}

func kindName(k models.GrantKind) string {
	switch k {
	case models.GrantSession:
		return "the session"
	case models.GrantAPIKey:
		return "the API key"
	default:
		return "the client"
	}
}
