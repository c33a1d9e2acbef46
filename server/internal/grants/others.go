package grants

import (
	"context"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/fault"
)

// A Loss is what ends with sessions that are revoked together.
type Loss struct {
	Sessions    int
	Vaults      int // platform vaults that nothing else opens
	Credentials int // in those vaults
}

// LossOfSessions says what would end with all sessions of p's account, p's own
// included if it is to end as well. Credentials that an agent was granted outlive
// their vault, for that agent alone. SCOPE_DENIED without grants:read.
func (s *Service) LossOfSessions(ctx context.Context, p Principal, ownToo bool) (Loss, error) {
	if err := Require(p, GrantsRead); err != nil {
		return Loss{}, err
	}
	all, err := s.deps.Rows.Grants(ctx, p.AccountID)
	if err != nil {
		return Loss{}, err
	}
	now, loss := s.deps.Now(), Loss{}
	ends := map[uuid.UUID]bool{} // by vault: whether nothing that stays opens it
	for _, g := range all {
		live, err := s.live(ctx, &g, now)
		if err != nil {
			return Loss{}, err
		}
		if !live {
			continue
		}
		goes := g.Kind == models.GrantSession && (ownToo || g.ID != p.GrantID)
		if goes {
			loss.Sessions++
		}
		if g.VaultID == nil || !g.Kind.Shares() {
			continue
		}
		if before, seen := ends[*g.VaultID]; !seen || before {
			ends[*g.VaultID] = goes
		}
	}
	for vault, over := range ends {
		if !over {
			continue
		}
		tokens, err := s.deps.VaultRows.VaultTokens(ctx, p.AccountID, vault)
		if err != nil {
			return Loss{}, err
		}
		loss.Vaults++
		loss.Credentials += len(tokens)
	}
	return loss, nil
}

// RevokeOthers revokes all sessions of p's account but p's own, one after another: see
// Revoke. API keys and agents' keys stay. It returns how many there were. When it
// fails, those revoked so far stay revoked. SCOPE_DENIED without grants:write.
func (s *Service) RevokeOthers(ctx context.Context, p Principal, c audit.Client) (int, error) {
	if err := Require(p, GrantsWrite); err != nil {
		return 0, err
	}
	all, err := s.deps.Rows.Grants(ctx, p.AccountID)
	if err != nil {
		return 0, err
	}
	n := 0
	for _, g := range all {
		if g.Kind != models.GrantSession || g.ID == p.GrantID || !g.Live(s.deps.Now()) {
			continue
		}
		switch err := s.Revoke(ctx, p, c, g.ID); fault.CodeOf(err) {
		case "":
			n++
		case fault.NotFound: // it has ended meanwhile
		default:
			return n, err
		}
	}
	return n, nil
}
