package agents

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/custody"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/server/internal/vaults"
)

// holder is the holder of p's token when found is in a platform vault, else nil,
// which may be cleared as well.
func (s *Service) holder(ctx context.Context, p grants.Principal, found vaults.Found) (*custody.Holder, error) {
	if found.Mode != models.ModePlatform {
		return nil, nil
	}
	return s.deps.Grants.Keys(ctx, p)
}

func clearHolder(h *custody.Holder) {
	if h != nil {
		h.Clear()
	}
}

// entrust wraps a platform credential's key to an agent's key, in a transaction. A
// nil holder: the token is a webhook's, and there is no key to wrap.
func (s *Service) entrust(ctx context.Context, h *custody.Holder, a models.Agent, tokenID uuid.UUID) error {
	if h == nil {
		return nil
	}
	to, err := s.deps.GrantRows.Grant(ctx, a.AccountID, a.GrantID)
	if err != nil {
		return err
	}
	// The grant's row is authentic, or nothing is wrapped to it; the agent's is not.
	if to.AgentID == nil || *to.AgentID != a.ID {
		s.deps.Logger.ErrorContext(ctx, "agents: an agent's row names the key of another; it was changed outside this server", "agent", a.ID, "grant", a.GrantID)
		return fault.Wrap(custody.ErrRow, fault.Internal, "What is stored about this agent is damaged: nothing is granted to it. Rotate its key, and grant again.")
	}
	return s.deps.Platform.Entrust(ctx, h, tokenID, &to)
}

// withdraw takes from an agent what it was granted under a name, but for one token,
// in a transaction that has deleted or replaced that credential grant.
func (s *Service) withdraw(ctx context.Context, a models.Agent, before []models.CredentialGrant, service string, except uuid.UUID) error {
	for _, g := range before {
		if g.ServiceName == service && g.TokenID != except {
			return s.deps.Platform.Withdraw(ctx, a.AccountID, g.TokenID, a.GrantID)
		}
	}
	return nil
}

// withdrawAll is withdraw for every credential grant that an agent has.
func (s *Service) withdrawAll(ctx context.Context, a models.Agent) error {
	before, err := s.deps.GrantStore.CredentialGrants(ctx, a.AccountID, a.ID)
	if err != nil {
		return err
	}
	for _, g := range before {
		if err := s.deps.GrantStore.DeleteCredentialGrant(ctx, a.AccountID, a.ID, g.ServiceName); err != nil {
			return err
		}
		if err := s.deps.Platform.Withdraw(ctx, a.AccountID, g.TokenID, a.GrantID); err != nil {
			return err
		}
	}
	return nil
}

// settle gives new keys to what an agent lost, now that somebody who opens it is
// here. What stays undone is marked, and done by the next one who can.
func (s *Service) settle(ctx context.Context, p grants.Principal) {
	if p.VaultID == uuid.Nil {
		return
	}
	h, err := s.deps.Grants.Keys(ctx, p)
	if err == nil {
		defer h.Clear()
		err = s.deps.Platform.Settle(ctx, h)
	}
	if err != nil {
		s.deps.Logger.WarnContext(ctx, "agents: new keys for what an agent lost are still due", "account", p.AccountID, "error", err)
	}
}

// reentrust wraps to an agent's new key what its old one opened, as far as the
// holder opens it too, in the transaction that replaced the key. It returns the
// names of what is lost. What does not count as granted, because it has expired or
// this server did not give it, is wrapped to nobody.
func (s *Service) reentrust(ctx context.Context, h *custody.Holder, a models.Agent, oldGrant uuid.UUID) (lost []string, err error) {
	_, granted, err := s.deps.GrantStore.AgentWithGrants(ctx, a.AccountID, a.ID)
	if err != nil {
		return nil, err
	}
	if err := s.lockOpeners(ctx, h, oldGrant); err != nil {
		return nil, err
	}
	now := s.deps.Now()
	for _, g := range granted {
		if !g.Platform {
			continue
		}
		if !g.Grant.Expired(now) && s.deps.Keys.CheckCredentialGrant(&g.Grant) == nil {
			err := error(fault.New(fault.TokenNotFound, "no holder"))
			if h != nil {
				err = s.entrust(ctx, h, a, g.Grant.TokenID)
			}
			if err != nil && !unopened(err) {
				return nil, err
			}
			if err != nil {
				lost = append(lost, g.Grant.ServiceName)
			}
		}
		if err := s.deps.Platform.Withdraw(ctx, a.AccountID, g.Grant.TokenID, oldGrant); err != nil && !errors.Is(err, models.ErrNotFound) {
			return nil, err
		}
	}
	return lost, nil
}

// lockOpeners locks the holder's vault, and before it an agent's former grant and all
// grants that may be locked for a credential of that vault: with the first one the
// vault is locked, and no grant may be after it. models.ErrConflict when another agent
// has come meanwhile.
func (s *Service) lockOpeners(ctx context.Context, h *custody.Holder, oldGrant uuid.UUID) error {
	if h == nil || h.Grant().VaultID == nil {
		return nil
	}
	accountID, vaultID := h.Grant().AccountID, *h.Grant().VaultID
	before, err := s.deps.GrantRows.VaultAgentGrants(ctx, accountID, vaultID)
	if err != nil {
		return err
	}
	if _, err := s.deps.GrantRows.LockGrants(ctx, accountID, append(before, oldGrant, h.Grant().ID)...); err != nil {
		return err
	}
	if _, err := s.deps.GrantRows.LockVaults(ctx, accountID, vaultID); err != nil {
		return err
	}
	after, err := s.deps.GrantRows.VaultAgentGrants(ctx, accountID, vaultID)
	if err == nil && slices.ContainsFunc(after, func(id uuid.UUID) bool { return !slices.Contains(before, id) }) {
		err = fmt.Errorf("%w: another agent uses vault %s by now", models.ErrConflict, vaultID)
	}
	return err
}

// tries bounds how often something is done anew that others got in the way of: each
// time one of them has done what it wanted.
const tries = 50

// inTx is a transaction, done anew when others are in its way: agents that are managed
// at once lock each other's grants, and, of credentials in several vaults, these in
// any order.
func (s *Service) inTx(ctx context.Context, do func(ctx context.Context) error) error {
	return models.Again(tries, func() error { return s.deps.Store.InTx(ctx, do) }, func(err error) error {
		return fault.Wrap(err, fault.Conflict, "Other agents were changed at the same time. Try again.")
	})
}

// unopened reports whether entrusting failed because the holder does not open the
// credential: it is elsewhere, or it or the way to it is damaged. That keeps nobody
// from replacing a key that may have leaked.
func unopened(err error) bool {
	switch fault.CodeOf(err) {
	case fault.TokenNotFound, fault.ScopeDenied, fault.Conflict:
		return true
	}
	return errors.Is(err, custody.ErrOpen) || errors.Is(err, custody.ErrRow) || errors.Is(err, custody.ErrKeyID)
}
