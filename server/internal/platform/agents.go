package platform

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/custody"
	"github.com/tvzero/tokenvault/server/internal/fault"
)

// Entrust wraps the key of a credential, which must be in the holder's vault, to an
// agent's grant, in the caller's transaction. TOKEN_NOT_FOUND, with nothing written,
// when it is not there.
func (s *Service) Entrust(ctx context.Context, h *custody.Holder, tokenID uuid.UUID, to *models.Grant) error {
	if to.Kind != models.GrantAgentKey || to.AgentID == nil {
		return fmt.Errorf("%w: a credential is wrapped to an agent's grant, not to one of kind %q", models.ErrInvalid, to.Kind)
	}
	gone := fault.New(fault.TokenNotFound, "The vault that this session opens has no such token.")
	if h.Grant().VaultID == nil {
		return gone
	}
	accountID := h.Grant().AccountID
	others, err := s.grantsWith(ctx, accountID, tokenID)
	if err != nil {
		return err
	}
	if err := s.lockGrants(ctx, h, append(others, to.ID)...); err != nil {
		return err
	}
	if h.Grant().VaultID == nil {
		return gone
	}
	v, err := s.lockVault(ctx, accountID, *h.Grant().VaultID)
	if errors.Is(err, models.ErrNotFound) {
		return gone
	}
	if err != nil {
		return err
	}
	token, err := s.deps.Tokens.TokenByID(ctx, accountID, tokenID)
	if errors.Is(err, models.ErrNotFound) || err == nil && token.VaultID != v.ID {
		return gone
	}
	if err != nil {
		return err
	}
	sealed, err := s.deps.Credentials.Credential(ctx, accountID, tokenID)
	if err != nil {
		return err
	}
	dek, _, err := s.openVault(ctx, h)
	if err != nil {
		return err
	}
	defer dek.Clear()
	if _, err := s.unseal(dek, &token, &sealed); err != nil { // a key that opens nothing is given to nobody
		return err
	}
	cek, err := dek.CEK(sealed.ID, sealed.Epoch)
	if err != nil {
		return err
	}
	defer cek.Clear()
	row, err := h.ShareCEK(s.deps.Random, cek, to)
	if err != nil {
		return s.damaged(err, "grant", to.ID)
	}
	if err := s.deps.Wraps.DeleteCredentialKeys(ctx, accountID, tokenID, to.ID); err != nil {
		return err
	}
	return s.deps.Wraps.PutCredentialKey(ctx, &row)
}

// Withdraw takes a credential from an agent's grant, in the caller's transaction:
// its wraps go, and the credential is due for a new key. When nobody else can open
// it, it goes too. A token without a credential here is a webhook's: nothing to do.
func (s *Service) Withdraw(ctx context.Context, accountID, tokenID, agentGrant uuid.UUID) error {
	if _, err := s.deps.GrantRows.LockGrants(ctx, accountID, agentGrant); err != nil {
		return err
	}
	sealed, err := s.lockCredential(ctx, accountID, tokenID)
	if errors.Is(err, models.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := s.deps.Wraps.DeleteCredentialKeys(ctx, accountID, tokenID, agentGrant); err != nil {
		return err
	}
	opens, err := s.opens(ctx, accountID, sealed.VaultID)
	if err != nil {
		return err
	}
	if !opens {
		return s.deleteUnopenable(ctx, accountID, sealed.VaultID, sealed.ID)
	}
	return s.rekeyDue(ctx, sealed)
}

// lockCredential reads a credential after its vault was locked. models.ErrNotFound.
func (s *Service) lockCredential(ctx context.Context, accountID, id uuid.UUID) (models.Credential, error) {
	for range tries {
		before, err := s.deps.Credentials.Credential(ctx, accountID, id)
		if err != nil {
			return before, err
		}
		if _, err := s.deps.Vaults.LockVaults(ctx, accountID, before.VaultID); err != nil {
			return before, err
		}
		sealed, err := s.deps.Credentials.Credential(ctx, accountID, id)
		if err != nil || sealed.VaultID == before.VaultID {
			return sealed, err
		}
	}
	return models.Credential{}, fmt.Errorf("%w: the credential moves all the time", models.ErrConflict)
}

// rekeyDue marks a credential, whose vault is locked, as due for a new epoch.
func (s *Service) rekeyDue(ctx context.Context, c models.Credential) error {
	if c.RekeyDueAt != nil {
		return nil
	}
	marked := c
	marked.RekeyDueAt = models.StampPtr(s.now())
	return s.deps.Credentials.UpdateCredential(ctx, &marked, c)
}
