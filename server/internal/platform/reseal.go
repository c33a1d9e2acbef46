package platform

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/custody"
)

// errUnreadable: a credential does not open under its vault's key, and so cannot be
// brought under another one. Nothing was written.
var errUnreadable = errors.New("platform: a credential does not open")

// A move is a credential on its way to another key: another vault, generation or
// epoch, or to another name.
type move struct {
	token      models.Token // as stored
	credential models.Credential
	from, to   custody.DEK
	// alone: no agent was granted it, nor has a key of it.
	alone bool
	// change says what becomes of the token; nil: nothing but its vault.
	change func(t *models.Token)
}

// reseal re-encrypts a credential, always at a new epoch, and wraps the new key to
// the agents that were granted it: all older wraps go. The vaults concerned, and
// the grants that agents returned, must be locked. models.ErrConflict when the
// credential is not as m says.
func (s *Service) reseal(ctx context.Context, h *custody.Holder, m move) error {
	old, err := m.from.CEK(m.credential.ID, m.credential.Epoch)
	if err != nil {
		return err
	}
	defer old.Clear()
	secret, err := old.Open(&m.token, &m.credential)
	if err != nil {
		return fmt.Errorf("%w: %w", errUnreadable, s.damaged(err, "credential", m.credential.ID))
	}
	defer clear(secret)

	now := s.now()
	token, sealed := m.token, m.credential
	sealed.VaultID, sealed.Generation = m.to.Vault()
	sealed.Epoch, sealed.Version, sealed.RekeyDueAt, sealed.UpdatedAt = sealed.Epoch+1, sealed.Version+1, nil, now
	token.VaultID = sealed.VaultID
	if m.change != nil {
		m.change(&token)
	}
	cek, err := m.to.CEK(sealed.ID, sealed.Epoch)
	if err != nil {
		return err
	}
	defer cek.Clear()
	if err := cek.Seal(s.deps.Random, &token, &sealed, secret); err != nil {
		return err
	}
	if err := s.deps.Credentials.UpdateCredential(ctx, &sealed, m.credential); err != nil {
		return err
	}
	if m.change != nil || token.VaultID != m.token.VaultID {
		token.UpdatedAt = now
		if err := s.deps.Tokens.UpdateToken(ctx, &token); err != nil {
			return err
		}
	}
	if m.alone {
		return nil
	}
	return s.rewrap(ctx, h, cek, &sealed)
}

// grantedIn are the credentials of a vault that agents were granted or have keys of:
// most have none, and to ask of each takes long. The vault must be locked.
func (s *Service) grantedIn(ctx context.Context, accountID, vaultID uuid.UUID) (map[uuid.UUID]bool, error) {
	ids, err := s.deps.Tokens.GrantedTokens(ctx, accountID, vaultID)
	granted := make(map[uuid.UUID]bool, len(ids))
	for _, id := range ids {
		granted[id] = true
	}
	return granted, err
}

// rewrap replaces all wraps of a credential's key by one for each agent that was
// granted it.
func (s *Service) rewrap(ctx context.Context, h *custody.Holder, cek custody.CEK, c *models.Credential) error {
	before, err := s.deps.Wraps.CredentialKeys(ctx, c.AccountID, c.ID)
	if err != nil {
		return err
	}
	gone := map[uuid.UUID]bool{}
	for _, k := range before {
		if gone[k.GrantID] {
			continue
		}
		gone[k.GrantID] = true
		if err := s.deps.Wraps.DeleteCredentialKeys(ctx, c.AccountID, c.ID, k.GrantID); err != nil {
			return err
		}
	}
	granted, err := s.agentsOf(ctx, c.AccountID, c.ID)
	if err != nil {
		return err
	}
	for _, to := range granted {
		row, err := h.ShareCEK(s.deps.Random, cek, &to)
		if err != nil {
			return err
		}
		if err := s.deps.Wraps.PutCredentialKey(ctx, &row); err != nil {
			return err
		}
	}
	return nil
}

// agentsOf is the grants of the agents that may use a token now. What is not
// authentic does not count: a writer of the database grants nothing.
func (s *Service) agentsOf(ctx context.Context, accountID, tokenID uuid.UUID) ([]models.Grant, error) {
	granted, err := s.deps.Agents.TokenGrants(ctx, accountID, tokenID)
	if err != nil {
		return nil, err
	}
	now := s.now()
	var found []models.Grant
	for _, g := range granted {
		if g.Expired(now) {
			continue
		}
		if s.damaged(s.deps.Keyring.CheckCredentialGrant(&g), "credential grant of agent", g.AgentID) != nil {
			continue
		}
		agent, err := s.deps.Agents.Agent(ctx, accountID, g.AgentID)
		if err != nil {
			return nil, err
		}
		key, err := s.deps.GrantRows.Grant(ctx, accountID, agent.GrantID)
		if err != nil {
			return nil, err
		}
		if !key.Live(now) || key.Kind != models.GrantAgentKey || key.AgentID == nil || *key.AgentID != agent.ID ||
			s.damaged(s.deps.Keyring.CheckGrant(&key), "grant", key.ID) != nil {
			continue
		}
		found = append(found, key)
	}
	return found, nil
}

// grantsWith are the ids of the grants that have keys of a credential or are going
// to get them when it is resealed: those to lock first.
func (s *Service) grantsWith(ctx context.Context, accountID, tokenID uuid.UUID) ([]uuid.UUID, error) {
	keys, err := s.deps.Wraps.CredentialKeys(ctx, accountID, tokenID)
	if err != nil {
		return nil, err
	}
	granted, err := s.agentsOf(ctx, accountID, tokenID)
	if err != nil {
		return nil, err
	}
	var ids []uuid.UUID
	for _, k := range keys {
		ids = append(ids, k.GrantID)
	}
	for _, g := range granted {
		ids = append(ids, g.ID)
	}
	return ids, nil
}
