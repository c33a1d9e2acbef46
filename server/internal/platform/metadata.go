package platform

import (
	"context"
	"errors"
	"slices"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/custody"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/webhook-sdk/credential"
)

// MetadataInput changes what is not nil.
type MetadataInput struct {
	DisplayName *string
	Notes       *string
	Tags        *[]string
}

func (in MetadataInput) check() error {
	values := map[string]any{}
	if in.DisplayName != nil {
		values[credential.MetaDisplayName] = *in.DisplayName
	}
	if in.Notes != nil {
		values[credential.MetaNotes] = *in.Notes
	}
	if in.Tags != nil {
		list := make([]any, len(*in.Tags))
		for i, tag := range *in.Tags {
			list[i] = tag
		}
		values[credential.MetaTags] = list
	}
	for name, value := range values {
		var wrong *credential.Error
		if err := credential.CheckNote(name, value); errors.As(err, &wrong) {
			return fault.Field(name, "%s %s.", name, wrong.Message)
		}
	}
	return nil
}

func (in MetadataInput) apply(t *models.Token) {
	if in.DisplayName != nil {
		t.DisplayName = *in.DisplayName
	}
	if in.Notes != nil {
		t.Notes = *in.Notes
	}
	if in.Tags != nil {
		t.Tags = slices.Clone(*in.Tags)
	}
}

// vaultOf is the vault that p opens now, by its grant's row: not ok when it has none.
func (s *Service) vaultOf(ctx context.Context, p grants.Principal) (id uuid.UUID, ok bool, err error) {
	if err := user(p); err != nil {
		return uuid.Nil, false, err
	}
	g, err := s.deps.GrantRows.Grant(ctx, p.AccountID, p.GrantID)
	if errors.Is(err, models.ErrNotFound) || err == nil && !g.Live(s.now()) {
		return uuid.Nil, false, grants.InvalidKey()
	}
	if err != nil {
		return uuid.Nil, false, err
	}
	if err := s.damaged(s.deps.Keyring.CheckGrant(&g), "grant", g.ID); err != nil || g.VaultID == nil {
		return uuid.Nil, false, err
	}
	return *g.VaultID, true, nil
}

// Tokens lists the metadata of p's vault by names, without what was superseded.
func (s *Service) Tokens(ctx context.Context, p grants.Principal) ([]models.Token, error) {
	return s.list(ctx, p, func(t models.Token) bool { return t.SupersededAt == nil })
}

// Superseded lists what was put beside others of its name when vaults were linked.
func (s *Service) Superseded(ctx context.Context, p grants.Principal) ([]models.Token, error) {
	return s.list(ctx, p, func(t models.Token) bool { return t.SupersededAt != nil })
}

func (s *Service) list(ctx context.Context, p grants.Principal, want func(models.Token) bool) ([]models.Token, error) {
	vaultID, ok, err := s.vaultOf(ctx, p)
	if err != nil || !ok {
		return []models.Token{}, err
	}
	all, err := s.deps.Tokens.VaultTokens(ctx, p.AccountID, vaultID)
	return slices.DeleteFunc(all, func(t models.Token) bool { return !want(t) }), err
}

// Token is the metadata of one credential in p's vault. TOKEN_NOT_FOUND.
func (s *Service) Token(ctx context.Context, p grants.Principal, ref Ref) (models.Token, error) {
	if err := ref.check(); err != nil {
		return models.Token{}, err
	}
	vaultID, ok, err := s.vaultOf(ctx, p)
	if err != nil {
		return models.Token{}, err
	}
	if !ok {
		return models.Token{}, ref.notFound()
	}
	t, err := s.deps.Tokens.TokenByRef(ctx, p.AccountID, vaultID, ref.Owner, ref.Bridge, ref.Service, ref.Scheme)
	if errors.Is(err, models.ErrNotFound) {
		return models.Token{}, ref.notFound()
	}
	return t, err
}

// UpdateMetadata changes display name, notes or tags of a credential in p's vault.
// It needs no key: what decides where a secret goes is sealed with it.
func (s *Service) UpdateMetadata(ctx context.Context, p grants.Principal, client audit.Client, ref Ref, in MetadataInput) (models.Token, error) {
	if err := in.check(); err != nil {
		return models.Token{}, err
	}
	t, err := s.Token(ctx, p, ref)
	if err != nil {
		return models.Token{}, err
	}
	e := event(audit.Store, p, client, ref)
	e.Detail = "metadata changed"
	err = s.deps.Audit.Do(ctx, e, func(ctx context.Context) error {
		return s.inVault(ctx, t.AccountID, t.VaultID, ref, func(ctx context.Context, now models.Token) error {
			t = now
			in.apply(&t)
			t.UpdatedAt = s.now()
			return s.deps.Tokens.UpdateToken(ctx, &t)
		})
	})
	return t, err
}

// Delete deletes credentials of p's vault, one after the other. A single one that
// is not there is TOKEN_NOT_FOUND; of several, such are passed over.
func (s *Service) Delete(ctx context.Context, p grants.Principal, client audit.Client, refs ...Ref) error {
	for _, ref := range refs {
		t, err := s.Token(ctx, p, ref)
		if fault.CodeOf(err) == fault.TokenNotFound && len(refs) > 1 {
			continue
		}
		if err != nil {
			return err
		}
		err = s.deps.Audit.Do(ctx, event(audit.Delete, p, client, ref), func(ctx context.Context) error {
			return s.inVault(ctx, t.AccountID, t.VaultID, ref, func(ctx context.Context, now models.Token) error {
				return s.deps.Credentials.DeleteCredential(ctx, now.AccountID, now.ID)
			})
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// inVault locks a vault and calls do with a token of it, as it is then.
func (s *Service) inVault(ctx context.Context, accountID, vaultID uuid.UUID, ref Ref, do func(ctx context.Context, t models.Token) error) error {
	err := s.deps.Accounts.InTx(ctx, func(ctx context.Context) error {
		if _, err := s.lockVault(ctx, accountID, vaultID); err != nil {
			return err
		}
		t, err := s.deps.Tokens.TokenByRef(ctx, accountID, vaultID, ref.Owner, ref.Bridge, ref.Service, ref.Scheme)
		if err != nil {
			return err
		}
		return do(ctx, t)
	})
	if errors.Is(err, models.ErrNotFound) {
		return ref.notFound()
	}
	return err
}

// superseded finds a superseded token of p's vault. TOKEN_NOT_FOUND.
func (s *Service) superseded(ctx context.Context, p grants.Principal, tokenID uuid.UUID) (models.Token, error) {
	vaultID, ok, err := s.vaultOf(ctx, p)
	if err != nil {
		return models.Token{}, err
	}
	var t models.Token
	if ok {
		t, err = s.deps.Tokens.TokenByID(ctx, p.AccountID, tokenID)
	}
	if !ok || errors.Is(err, models.ErrNotFound) || err == nil && (t.VaultID != vaultID || t.SupersededAt == nil) {
		return models.Token{}, fault.New(fault.TokenNotFound, "There is no such superseded token.")
	}
	return t, err
}

// Discard deletes a superseded credential. TOKEN_NOT_FOUND.
func (s *Service) Discard(ctx context.Context, p grants.Principal, client audit.Client, tokenID uuid.UUID) error {
	t, err := s.superseded(ctx, p, tokenID)
	if err != nil {
		return err
	}
	e := event(audit.Delete, p, client, refOf(t))
	e.Detail = "superseded"
	return s.deps.Audit.Do(ctx, e, func(ctx context.Context) error {
		return s.deps.Accounts.InTx(ctx, func(ctx context.Context) error {
			if _, err := s.lockVault(ctx, t.AccountID, t.VaultID); err != nil {
				return err
			}
			if _, err := s.superseded(ctx, p, tokenID); err != nil { // restored meanwhile
				return err
			}
			return s.deps.Credentials.DeleteCredential(ctx, t.AccountID, t.ID)
		})
	})
}

// Restore brings a superseded credential back under a name that is free; "" is the
// name that it has. Agents that were granted it keep it. CONFLICT when the name is
// taken; UNAVAILABLE when it is being refreshed for too long.
func (s *Service) Restore(ctx context.Context, p grants.Principal, client audit.Client, tokenID uuid.UUID, newName string) (models.Token, error) {
	t, err := s.superseded(ctx, p, tokenID)
	if err != nil {
		return models.Token{}, err
	}
	ref := refOf(t)
	if newName != "" {
		ref.Service = newName
	}
	if err := ref.check(); err != nil {
		return models.Token{}, err
	}
	h, err := s.deps.Holders.Keys(ctx, p)
	if err != nil {
		return models.Token{}, err
	}
	defer h.Clear()
	e := event(audit.Store, p, client, ref)
	e.Detail = "restored what was superseded as " + t.ServiceName
	err = s.deps.Audit.Do(ctx, e, func(ctx context.Context) error { return s.restore(ctx, h, p, tokenID, ref) })
	if err != nil {
		return models.Token{}, err
	}
	return s.deps.Tokens.TokenByID(ctx, p.AccountID, tokenID)
}

func (s *Service) restore(ctx context.Context, h *custody.Holder, p grants.Principal, tokenID uuid.UUID, ref Ref) error {
	patience := s.patience()
	return s.again(func() error {
		dek, v, err := s.openVault(ctx, h)
		if err != nil {
			return err
		}
		defer dek.Clear()
		agents, err := s.grantsWith(ctx, v.AccountID, tokenID)
		if err != nil {
			return err
		}
		ids, err := s.refreshableOf(ctx, []models.Credential{{AccountID: v.AccountID, ID: tokenID}})
		if err != nil {
			return err
		}
		leases, err := s.lease(ctx, v.AccountID, ids, patience)
		if err != nil {
			return err
		}
		defer leases.end(ctx)
		return s.deps.Accounts.InTx(ctx, func(ctx context.Context) error {
			if err := s.unchanged(ctx, h, v, agents...); err != nil {
				return err
			}
			t, err := s.superseded(ctx, p, tokenID)
			if err != nil {
				return err
			}
			_, err = s.deps.Tokens.TokenByRef(ctx, v.AccountID, v.ID, ref.Owner, ref.Bridge, ref.Service, ref.Scheme)
			if err == nil {
				return fault.New(fault.Conflict, "There is a token named %q already. Choose another name, or delete that one first.", ref.Service)
			}
			if !errors.Is(err, models.ErrNotFound) {
				return err
			}
			if refreshable(t) {
				if err := leases.keep(ctx, tokenID); err != nil {
					return err
				}
			}
			sealed, err := s.deps.Credentials.Credential(ctx, v.AccountID, tokenID)
			if err != nil {
				return err
			}
			return s.reseal(ctx, h, move{token: t, credential: sealed, from: dek, to: dek, change: func(t *models.Token) {
				t.ServiceName, t.SupersededAt = ref.Service, nil
			}})
		})
	})
}
