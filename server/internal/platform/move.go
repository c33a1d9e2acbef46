package platform

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/custody"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/webhook-sdk/credential"
)

// Leaving is a credential that is going to its owner's webhook, opened. Until Moved
// it stays here as it is, and is not refreshed: both would use up one refresh token.
type Leaving struct {
	Token models.Token
	Data  credential.Credential

	version int64
	leases  *hold // nil: it cannot be refreshed
}

// End lets the credential be refreshed again, if it is still here. Call it when the
// move has ended, however it did.
func (l Leaving) End(ctx context.Context) { l.leases.end(ctx) }

// Marker names this version of this credential. Metadata bears it on the way, so
// that an interrupted move recognizes its own.
func (l Leaving) Marker() string { return fmt.Sprintf("%s.%d", l.Token.ID, l.version) }

// Holds lists all that p's vault holds, superseded tokens too, oldest id first.
func (s *Service) Holds(ctx context.Context, p grants.Principal) ([]models.Token, error) {
	all, err := s.list(ctx, p, func(models.Token) bool { return true })
	slices.SortFunc(all, func(a, b models.Token) int { return slices.Compare(a.ID[:], b.ID[:]) })
	return all, err
}

// Leave opens a credential of p's vault that is to be moved. That it is, is the
// caller's to record first. End it. TOKEN_NOT_FOUND: it is not there any more;
// VAULT_LOCKED; UNAVAILABLE: it is being refreshed for too long.
func (s *Service) Leave(ctx context.Context, p grants.Principal, tokenID uuid.UUID) (Leaving, error) {
	if err := user(p); err != nil {
		return Leaving{}, err
	}
	h, err := s.deps.Holders.Keys(ctx, p)
	if err != nil {
		return Leaving{}, err
	}
	defer h.Clear()
	if err := s.open(ctx, p.AccountID); err != nil {
		return Leaving{}, err
	}
	patience := s.patience()
	var l Leaving
	err = s.again(func() error {
		l, err = s.readLeased(ctx, h, p.AccountID, tokenID, patience)
		return err
	})
	return l, err
}

// readLeased opens a credential under its lease, if it can be refreshed.
func (s *Service) readLeased(ctx context.Context, h *custody.Holder, accountID, tokenID uuid.UUID, patience time.Time) (Leaving, error) {
	ids, err := s.refreshableOf(ctx, []models.Credential{{AccountID: accountID, ID: tokenID}})
	if err != nil {
		return Leaving{}, err
	}
	leases, err := s.lease(ctx, accountID, ids, patience)
	if err != nil {
		return Leaving{}, err
	}
	l, err := s.readByID(ctx, h, tokenID)
	if err == nil && refreshable(l.Token) && len(leases.leases) == 0 {
		err = fmt.Errorf("%w: the credential can be refreshed by now", models.ErrConflict)
	}
	if err != nil {
		leases.end(ctx)
		return Leaving{}, err
	}
	l.leases = leases
	return l, nil
}

// readByID opens a credential of the holder's vault, also a superseded one.
func (s *Service) readByID(ctx context.Context, h *custody.Holder, tokenID uuid.UUID) (Leaving, error) {
	var l Leaving
	err := s.again(func() error {
		dek, v, err := s.openVault(ctx, h)
		if errors.Is(err, errNoVault) {
			return goneFromVault()
		}
		if err != nil {
			return err
		}
		defer dek.Clear()
		var sealed models.Credential
		err = s.deps.Accounts.InTx(ctx, func(ctx context.Context) error {
			if err := s.unchanged(ctx, h, v); err != nil {
				return err
			}
			l.Token, sealed, err = s.inHand(ctx, v, tokenID)
			return err
		})
		if err != nil {
			return err
		}
		l.version = sealed.Version
		l.Data, err = s.unseal(dek, &l.Token, &sealed)
		return err
	})
	return l, err
}

// inHand reads a token with its credential, which must be in a vault that is locked.
func (s *Service) inHand(ctx context.Context, v models.Vault, tokenID uuid.UUID) (models.Token, models.Credential, error) {
	t, err := s.deps.Tokens.TokenByID(ctx, v.AccountID, tokenID)
	if errors.Is(err, models.ErrNotFound) || err == nil && t.VaultID != v.ID {
		return t, models.Credential{}, goneFromVault()
	}
	if err != nil {
		return t, models.Credential{}, err
	}
	sealed, err := s.deps.Credentials.Credential(ctx, v.AccountID, tokenID)
	return t, sealed, err
}

func goneFromVault() error {
	return fault.New(fault.TokenNotFound, "The vault that this session opens has no such token any more.")
}

// Moved ends a move in one transaction: agents that were granted the credential are
// granted the webhook's token from now on, and it is deleted here. CONFLICT, and
// nothing has changed, when the credential was written since it was opened;
// TOKEN_NOT_FOUND when it is gone, which is what another move does.
func (s *Service) Moved(ctx context.Context, p grants.Principal, l Leaving, to models.Token) error {
	h, err := s.deps.Holders.Keys(ctx, p)
	if err != nil {
		return err
	}
	defer h.Clear()
	return s.again(func() error {
		concerned, err := s.granted(ctx, l.Token)
		if err != nil {
			return err
		}
		return s.deps.Accounts.InTx(ctx, func(ctx context.Context) error {
			if err := s.lockAgents(ctx, p.AccountID, concerned); err != nil {
				return err
			}
			v, err := s.lockOwn(ctx, h)
			if err != nil {
				return err
			}
			_, sealed, err := s.inHand(ctx, v, l.Token.ID)
			if err != nil {
				return err
			}
			if sealed.Version != l.version {
				return writtenMeanwhile(nil)
			}
			if refreshable(l.Token) {
				if err := l.leases.keep(ctx, l.Token.ID); errors.Is(err, models.ErrConflict) {
					return writtenMeanwhile(err) // or about to be
				} else if err != nil {
					return err
				}
			}
			if err := s.follow(ctx, l.Token, to, concerned); err != nil {
				return err
			}
			return s.deps.Credentials.DeleteCredential(ctx, p.AccountID, l.Token.ID)
		})
	})
}

func writtenMeanwhile(cause error) error {
	return fault.Wrap(cause, fault.Conflict, "The credential was written while it was being moved. Move it again.")
}

// lockOwn locks the holder's grant and the vault that it opens, in a transaction.
func (s *Service) lockOwn(ctx context.Context, h *custody.Holder, others ...uuid.UUID) (models.Vault, error) {
	if err := s.lockGrants(ctx, h, others...); err != nil {
		return models.Vault{}, err
	}
	if h.Grant().VaultID == nil {
		return models.Vault{}, goneFromVault()
	}
	v, err := s.lockVault(ctx, h.Grant().AccountID, *h.Grant().VaultID)
	if errors.Is(err, models.ErrNotFound) {
		err = goneFromVault()
	}
	return v, err
}

// granted are the agents that were granted a token, by id.
func (s *Service) granted(ctx context.Context, t models.Token) ([]uuid.UUID, error) {
	rows, err := s.deps.Agents.TokenGrants(ctx, t.AccountID, t.ID)
	if err != nil {
		return nil, err
	}
	ids := make([]uuid.UUID, 0, len(rows))
	for _, g := range rows {
		ids = append(ids, g.AgentID)
	}
	slices.SortFunc(ids, func(a, b uuid.UUID) int { return slices.Compare(a[:], b[:]) })
	return slices.Compact(ids), nil
}

// lockAgents keeps agents' credential grants from changing until the transaction
// ends. It comes before all other locks.
func (s *Service) lockAgents(ctx context.Context, accountID uuid.UUID, ids []uuid.UUID) error {
	for _, id := range ids {
		if _, err := s.deps.Agents.LockAgent(ctx, accountID, id); err != nil && !errors.Is(err, models.ErrNotFound) {
			return err
		}
	}
	return nil
}

// follow makes credential grants of one token ones of another. The agents must be
// locked: models.ErrConflict when one was granted it since. What is not authentic
// stays, and grants nothing.
func (s *Service) follow(ctx context.Context, from, to models.Token, locked []uuid.UUID) error {
	rows, err := s.deps.Agents.TokenGrants(ctx, from.AccountID, from.ID)
	if err != nil {
		return err
	}
	for _, g := range rows {
		if !slices.Contains(locked, g.AgentID) {
			return fmt.Errorf("%w: an agent was granted the token meanwhile", models.ErrConflict)
		}
		if s.damaged(s.deps.Keyring.CheckCredentialGrant(&g), "credential grant of agent", g.AgentID) != nil {
			continue
		}
		g.TokenID = to.ID
		s.deps.Keyring.SignCredentialGrant(&g)
		if err := s.deps.Agents.PutCredentialGrant(ctx, &g); err != nil {
			return err
		}
	}
	return nil
}

// Retire deletes p's vault when nothing is left in it, and offers to share it. Who
// opened it gets another when something is to be kept here again.
func (s *Service) Retire(ctx context.Context, p grants.Principal) error {
	vaultID, ok, err := s.vaultOf(ctx, p)
	if err != nil || !ok {
		return err
	}
	return s.again(func() error {
		sharing, err := s.sharing(ctx, p.AccountID, vaultID)
		if err != nil {
			return err
		}
		return s.deps.Accounts.InTx(ctx, func(ctx context.Context) error { return s.retire(ctx, p.AccountID, vaultID, sharing) })
	})
}

func (s *Service) retire(ctx context.Context, accountID, vaultID uuid.UUID, sharing []uuid.UUID) error {
	locked, err := s.deps.GrantRows.LockGrants(ctx, accountID, sharing...)
	if err != nil {
		return err
	}
	if _, err := s.lockVault(ctx, accountID, vaultID); err != nil {
		return ignoreMissing(err)
	}
	left, err := s.deps.Tokens.CountTokens(ctx, accountID, vaultID)
	if err != nil || left > 0 {
		return err
	}
	now, err := s.sharing(ctx, accountID, vaultID)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(now, func(id uuid.UUID) bool { return !slices.Contains(sharing, id) }) {
		return fmt.Errorf("%w: the vault was shared meanwhile", models.ErrConflict)
	}
	for _, g := range locked {
		if g.VaultID == nil || *g.VaultID != vaultID || g.EndedAt != nil {
			continue
		}
		if err := s.damaged(s.deps.Keyring.CheckGrant(&g), "grant", g.ID); err != nil {
			return err // to sign what somebody else wrote would make it true
		}
		g.VaultID = nil
		s.deps.Keyring.SignGrant(&g)
		if err := s.deps.GrantRows.UpdateGrant(ctx, &g); err != nil {
			return err
		}
	}
	if err := s.cancelEscrows(ctx, accountID, func(e models.Escrow) bool { return e.VaultID == vaultID }); err != nil {
		return err
	}
	return s.deps.Vaults.DeleteVault(ctx, accountID, vaultID)
}

// sharing are the ids of the grants that open a vault.
func (s *Service) sharing(ctx context.Context, accountID, vaultID uuid.UUID) ([]uuid.UUID, error) {
	found, err := s.deps.GrantRows.VaultGrants(ctx, accountID, vaultID)
	ids := make([]uuid.UUID, len(found))
	for i, g := range found {
		ids[i] = g.ID
	}
	return ids, err
}

func ignoreMissing(err error) error {
	if errors.Is(err, models.ErrNotFound) {
		return nil
	}
	return err
}

// Drop deletes a credential of p's vault by its id, also a superseded one.
// TOKEN_NOT_FOUND.
func (s *Service) Drop(ctx context.Context, p grants.Principal, client audit.Client, tokenID uuid.UUID) error {
	vaultID, ok, err := s.vaultOf(ctx, p)
	if err != nil {
		return err
	}
	if !ok {
		return goneFromVault()
	}
	t, err := s.deps.Tokens.TokenByID(ctx, p.AccountID, tokenID)
	if errors.Is(err, models.ErrNotFound) || err == nil && t.VaultID != vaultID {
		return goneFromVault()
	}
	if err != nil {
		return err
	}
	e := event(audit.Delete, p, client, refOf(t))
	e.Detail = "from a platform vault, by its id"
	return s.deps.Audit.Do(ctx, e, func(ctx context.Context) error {
		return s.deps.Accounts.InTx(ctx, func(ctx context.Context) error {
			v, err := s.lockVault(ctx, p.AccountID, vaultID)
			if errors.Is(err, models.ErrNotFound) {
				return goneFromVault()
			}
			if err != nil {
				return err
			}
			if _, _, err := s.inHand(ctx, v, tokenID); err != nil {
				return err
			}
			return s.deps.Credentials.DeleteCredential(ctx, p.AccountID, tokenID)
		})
	})
}
