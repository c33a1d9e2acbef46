package platform

import (
	"cmp"
	"context"
	"slices"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/grants"
)

// Waiting is what a platform vault still holds, and who can open it.
type Waiting struct {
	VaultID uuid.UUID
	Tokens  []models.Token // by name
	Grants  []models.Grant // live ones that open the vault; none: only agents open it
}

// Waiting lists the account's platform vaults that are not empty, oldest first.
func (s *Service) Waiting(ctx context.Context, p grants.Principal) ([]Waiting, error) {
	if err := user(p); err != nil {
		return nil, err
	}
	found, err := s.deps.Vaults.PlatformVaults(ctx, p.AccountID)
	if err != nil {
		return nil, err
	}
	list := []Waiting{}
	for _, v := range found {
		w := Waiting{VaultID: v.ID}
		if w.Tokens, err = s.deps.Tokens.VaultTokens(ctx, p.AccountID, v.ID); err != nil {
			return nil, err
		}
		if len(w.Tokens) == 0 {
			continue
		}
		if w.Grants, err = s.openers(ctx, p.AccountID, v.ID); err != nil {
			return nil, err
		}
		list = append(list, w)
	}
	return list, nil
}

// openers are the live grants that open a vault, by label; agents open what they were
// granted alone, and are none.
func (s *Service) openers(ctx context.Context, accountID, vaultID uuid.UUID) ([]models.Grant, error) {
	open, err := s.deps.GrantRows.VaultGrants(ctx, accountID, vaultID)
	if err != nil {
		return nil, err
	}
	open = slices.DeleteFunc(open, func(g models.Grant) bool { return !g.Live(s.now()) || !g.Kind.Shares() })
	slices.SortFunc(open, func(a, b models.Grant) int {
		return cmp.Or(cmp.Compare(a.Label, b.Label), slices.Compare(a.ID[:], b.ID[:]))
	})
	return open, nil
}
