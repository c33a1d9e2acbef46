package platform

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
)

var (
	// errNoVault: the grant opens no vault.
	errNoVault = errors.New("platform: the grant has no vault")
	// errNoKey: the vault's key is not wrapped for the grant, at its present
	// generation.
	errNoKey = errors.New("platform: no key of the vault for this grant")
)

// tries bounds how often something is done anew because the state that it began
// with has changed meanwhile.
const tries = 5

// vault reads a platform vault, which must be as it was signed. models.ErrNotFound.
func (s *Service) vault(ctx context.Context, accountID, id uuid.UUID) (models.Vault, error) {
	v, err := s.deps.Vaults.Vault(ctx, accountID, id)
	if err != nil {
		return v, err
	}
	return v, s.authentic(&v)
}

func (s *Service) authentic(v *models.Vault) error {
	if v.Mode != models.ModePlatform {
		return fmt.Errorf("%w: the vault is of mode %q", models.ErrNotFound, v.Mode)
	}
	return s.damaged(s.deps.Keyring.CheckVault(v), "vault", v.ID)
}

// lockVault is vault for a transaction that is going to change what is in it.
func (s *Service) lockVault(ctx context.Context, accountID, id uuid.UUID) (models.Vault, error) {
	found, err := s.deps.Vaults.LockVaults(ctx, accountID, id)
	if err != nil {
		return models.Vault{}, err
	}
	if len(found) == 0 {
		return models.Vault{}, fmt.Errorf("%w: vault %s", models.ErrNotFound, id)
	}
	return found[0], s.authentic(&found[0])
}

// lockGrants locks the holder's grant and others, in a transaction, and brings the
// holder up to date with its own. INVALID_KEY when that has ended.
func (s *Service) lockGrants(ctx context.Context, h *custody.Holder, others ...uuid.UUID) error {
	own := h.Grant()
	found, err := s.deps.GrantRows.LockGrants(ctx, own.AccountID, append(others, own.ID)...)
	if err != nil {
		return err
	}
	at := slices.IndexFunc(found, func(g models.Grant) bool { return g.ID == own.ID })
	if at < 0 || !found[at].Live(s.now()) {
		return grants.InvalidKey()
	}
	if err := s.deps.Keyring.CheckGrant(&found[at]); err != nil {
		return s.damaged(err, "grant", own.ID)
	}
	*own = found[at]
	return nil
}

// openVault unwraps the key of the holder's vault, at its present generation. What
// was shared with the grant or handed over within it is kept under the holder's
// slot from then on. The caller clears the key. errNoVault; CONFLICT when the vault
// is being replaced.
//
// In a transaction, the holder's grant and then the vault must be locked already.
func (s *Service) openVault(ctx context.Context, h *custody.Holder) (custody.DEK, models.Vault, error) {
	for range tries {
		g := h.Grant()
		if g.VaultID == nil {
			return custody.DEK{}, models.Vault{}, errNoVault
		}
		v, err := s.vault(ctx, g.AccountID, *g.VaultID)
		if errors.Is(err, models.ErrNotFound) {
			break
		}
		if err != nil {
			return custody.DEK{}, v, err
		}
		dek, form, err := s.openKey(ctx, h, &v)
		if errors.Is(err, errNoKey) {
			continue // of another generation by now, perhaps
		}
		if err != nil {
			return custody.DEK{}, v, err
		}
		if form != models.FormSlot {
			err = s.keep(ctx, h, dek)
		}
		if err != nil {
			dek.Clear()
			return custody.DEK{}, v, err
		}
		return dek, v, nil
	}
	return custody.DEK{}, models.Vault{}, fault.Wrap(errNoKey, fault.Conflict,
		"The vault that this session opens is being changed, or its key is lost. Try again; if it stays, sign in again.")
}

// openKey unwraps a vault's key by the slot's own row, or else by the grant's.
func (s *Service) openKey(ctx context.Context, h *custody.Holder, v *models.Vault) (custody.DEK, models.KeyForm, error) {
	g := h.Grant()
	rows, err := s.deps.VaultKeys.VaultKeys(ctx, g.AccountID, g.ID, v.ID, v.Generation)
	if err != nil {
		return custody.DEK{}, "", err
	}
	var row *models.VaultKey
	for i := range rows {
		if rows[i].Slot == int64(h.Slot()) || rows[i].Slot == models.WholeGrant && row == nil {
			row = &rows[i]
		}
	}
	if row == nil {
		return custody.DEK{}, "", errNoKey
	}
	sender, err := s.sender(ctx, row.AccountID, row.SenderID)
	if err != nil {
		return custody.DEK{}, "", err
	}
	dek, err := h.OpenVaultKey(row, sender)
	return dek, row.Form, s.damaged(err, "key of vault", v.ID)
}

// sender is the grant that wrapped a key; nil when the row names none, or one that
// is gone: such a key does not open.
func (s *Service) sender(ctx context.Context, accountID uuid.UUID, id *uuid.UUID) (*models.Grant, error) {
	if id == nil {
		return nil, nil
	}
	g, err := s.deps.GrantRows.Grant(ctx, accountID, *id)
	if errors.Is(err, models.ErrNotFound) {
		return nil, nil
	}
	return &g, err
}

// keep stores a vault's key under the holder's slot, unless the vault has another
// generation by now. INVALID_KEY when the grant has ended meanwhile: what has ended
// gets no key.
func (s *Service) keep(ctx context.Context, h *custody.Holder, dek custody.DEK) error {
	row, err := h.KeepDEK(dek)
	if err != nil {
		return err
	}
	vaultID, generation := dek.Vault()
	return s.deps.Accounts.InTx(ctx, func(ctx context.Context) error {
		if err := s.lockGrants(ctx, h); err != nil {
			return err
		}
		v, err := s.lockVault(ctx, row.AccountID, vaultID)
		if errors.Is(err, models.ErrNotFound) || err == nil && v.Generation != generation {
			return nil
		}
		if err != nil {
			return err
		}
		if now := h.Grant().VaultID; now == nil || *now != vaultID {
			return nil
		}
		return s.deps.VaultKeys.PutVaultKey(ctx, &row)
	})
}

// ensureVault is openVault that makes a vault first when the holder's grant has
// none: that of a session which began while a webhook was bound.
func (s *Service) ensureVault(ctx context.Context, h *custody.Holder) (custody.DEK, models.Vault, error) {
	if h.Grant().VaultID == nil {
		if err := s.makeVault(ctx, h); err != nil {
			return custody.DEK{}, models.Vault{}, err
		}
	}
	return s.openVault(ctx, h)
}

// makeVault gives the holder's grant a vault of its own, unless it has one by now.
func (s *Service) makeVault(ctx context.Context, h *custody.Holder) error {
	if !h.Grant().Kind.Shares() {
		return fault.New(fault.ScopeDenied, "An agent's key opens no vault. Sign in as a user.")
	}
	return s.deps.Accounts.InTx(ctx, func(ctx context.Context) error {
		if err := s.lockGrants(ctx, h); err != nil || h.Grant().VaultID != nil {
			return err
		}
		g := *h.Grant()
		v := models.Vault{AccountID: g.AccountID, ID: models.NewID(), Mode: models.ModePlatform, CreatedAt: s.now(), Generation: 1}
		s.deps.Keyring.SignVault(&v)
		if err := s.deps.Vaults.CreateVault(ctx, &v); err != nil {
			return err
		}
		dek, err := custody.NewDEK(s.deps.Random, v.ID, v.Generation)
		if err != nil {
			return err
		}
		defer dek.Clear()
		if err := s.enter(ctx, h, dek); err != nil { // a session's next token may be made already
			return err
		}
		return s.assign(ctx, h.Grant(), v.ID)
	})
}

// assign says in a grant's row which vault it opens. g must be locked, and is
// changed.
func (s *Service) assign(ctx context.Context, g *models.Grant, vaultID uuid.UUID) error {
	changed := *g
	changed.VaultID = &vaultID
	s.deps.Keyring.SignGrant(&changed)
	if err := s.deps.GrantRows.UpdateGrant(ctx, &changed); err != nil {
		return err
	}
	*g = changed
	return nil
}

// damaged turns custody's refusals into a fault, and logs them: somebody changed
// the database, or a server key is missing. Other errors pass.
func (s *Service) damaged(err error, what string, id uuid.UUID) error {
	if !errors.Is(err, custody.ErrRow) && !errors.Is(err, custody.ErrKeyID) && !errors.Is(err, custody.ErrOpen) {
		return err
	}
	s.deps.Logger.Error("platform: something stored is not authentic or does not open; it was changed outside this server, or a server key is missing",
		"what", what, "id", id, "error", err)
	return fault.Wrap(err, fault.Internal, "What is stored here is damaged and was not used. Tell the operator, who finds the reason in the log.")
}

func otherVault() error {
	return fault.New(fault.ScopeDenied, "This key opens another vault than the session does. Use a session that opens it, or make a new key.")
}
