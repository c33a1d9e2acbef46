package platform

import (
	"context"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/custody"
	"github.com/tvzero/tokenvault/server/internal/fault"
)

// NewPair prepares for a new key pair of a grant, in the transaction that is about to
// replace it and has locked the grant's row and the holder's. What the grant wrapped to
// others opens only beside its present public key: the holder, who opens the same
// vault, wraps that anew. What is on offer to the grant or from it is cancelled.
// CONFLICT when the grant wrapped keys of a vault that it has left, which the holder
// cannot wrap anew, and others still need them.
func (s *Service) NewPair(ctx context.Context, h *custody.Holder, g models.Grant) error {
	if err := s.resend(ctx, h, g); err != nil {
		return err
	}
	return s.cancelEscrows(ctx, g.AccountID, func(e models.Escrow) bool { return e.FromID == g.ID || e.ToID == g.ID })
}

// resend wraps anew what a grant has wrapped to others.
func (s *Service) resend(ctx context.Context, h *custody.Holder, g models.Grant) error {
	var vaultID uuid.UUID
	if g.VaultID != nil {
		vaultID = *g.VaultID
	}
	if needed, err := s.deps.VaultKeys.SentElsewhere(ctx, g.AccountID, g.ID, vaultID); err != nil {
		return err
	} else if needed {
		return fault.New(fault.Conflict, "This key handed on keys of a vault that it has left, and others still need it for them. "+
			"Sign in with a session that opens that vault, then try again; or revoke this key and make another.")
	}
	if own := h.Grant().VaultID; own == nil || g.VaultID == nil || *own != *g.VaultID {
		return nil
	}
	v, err := s.lockVault(ctx, g.AccountID, vaultID)
	if err != nil {
		return err
	}
	dek, _, err := s.openVault(ctx, h)
	if err != nil {
		return err
	}
	defer dek.Clear()
	if err := s.resendVaultKeys(ctx, h, dek, v, g.ID); err != nil {
		return err
	}
	return s.resendCredentialKeys(ctx, h, dek, v, g.ID)
}

// resendVaultKeys wraps a vault's key anew for those to whom a grant has wrapped it.
func (s *Service) resendVaultKeys(ctx context.Context, h *custody.Holder, dek custody.DEK, v models.Vault, sender uuid.UUID) error {
	sharing, err := s.deps.GrantRows.VaultGrants(ctx, v.AccountID, v.ID)
	if err != nil {
		return err
	}
	for _, to := range sharing {
		rows, err := s.deps.VaultKeys.VaultKeys(ctx, v.AccountID, to.ID, v.ID, v.Generation)
		if err != nil {
			return err
		}
		for _, row := range rows {
			if row.Form != models.FormShared || row.SenderID == nil || *row.SenderID != sender {
				continue
			}
			if to.ID == h.Grant().ID {
				row, err = h.HandOver(s.deps.Random, dek) // for its other slots
			} else if s.damaged(s.deps.Keyring.CheckGrant(&to), "grant", to.ID) == nil {
				row, err = h.ShareDEK(s.deps.Random, dek, &to)
			} else {
				continue
			}
			if err != nil {
				return err
			}
			if err := s.deps.VaultKeys.PutVaultKey(ctx, &row); err != nil {
				return err
			}
		}
	}
	return nil
}

// resendCredentialKeys wraps credentials' keys anew for the agents to whom a grant has
// wrapped them.
func (s *Service) resendCredentialKeys(ctx context.Context, h *custody.Holder, dek custody.DEK, v models.Vault, sender uuid.UUID) error {
	sealed, err := s.deps.Credentials.Credentials(ctx, v.AccountID, v.ID)
	if err != nil {
		return err
	}
	granted, err := s.grantedIn(ctx, v.AccountID, v.ID)
	if err != nil {
		return err
	}
	for _, c := range sealed {
		if !granted[c.ID] {
			continue
		}
		rows, err := s.deps.Wraps.CredentialKeys(ctx, c.AccountID, c.ID)
		if err != nil {
			return err
		}
		for _, row := range rows {
			if row.Form != models.FormShared || row.SenderID == nil || *row.SenderID != sender ||
				row.Epoch != c.Epoch || c.Generation != v.Generation { // of no use any more
				continue
			}
			if err := s.resendCredentialKey(ctx, h, dek, c, row.GrantID); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *Service) resendCredentialKey(ctx context.Context, h *custody.Holder, dek custody.DEK, c models.Credential, toGrant uuid.UUID) error {
	to, err := s.deps.GrantRows.Grant(ctx, c.AccountID, toGrant)
	if err != nil {
		return err
	}
	if !to.Live(s.now()) || s.damaged(s.deps.Keyring.CheckGrant(&to), "grant", to.ID) != nil {
		return nil
	}
	cek, err := dek.CEK(c.ID, c.Epoch)
	if err != nil {
		return err
	}
	defer cek.Clear()
	row, err := h.ShareCEK(s.deps.Random, cek, &to)
	if err != nil {
		return err
	}
	return s.deps.Wraps.PutCredentialKey(ctx, &row)
}
