package platform

import (
	"context"
	"errors"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/custody"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/totp"
	"github.com/tvzero/tokenvault/webhook-sdk/credential"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// Reveal opens a credential of p's vault for its owner: the fields as they were
// stored, with the refresh token; of a TOTP secret the current code, of a raw
// credential a minted token. It is on record before it opens, and a token that is due
// is refreshed first. TOKEN_NOT_FOUND, VAULT_LOCKED; of a token that has expired,
// REFRESH_FAILED and REAUTHORIZATION_REQUIRED.
func (s *Service) Reveal(ctx context.Context, p grants.Principal, client audit.Client, ref Ref) (map[string]any, error) {
	var out map[string]any
	err := s.reveal(ctx, p, client, ref, "", s.readFresh, func(ctx context.Context, t models.Token, c credential.Credential) (err error) {
		out, err = s.shown(ctx, t, c)
		return err
	})
	return out, err
}

// TOTPCode makes the current code of a TOTP secret in p's vault. INVALID_REQUEST:
// the token is of another type.
func (s *Service) TOTPCode(ctx context.Context, p grants.Principal, client audit.Client, ref Ref) (totp.Code, error) {
	var code totp.Code
	err := s.reveal(ctx, p, client, ref, "one-time code", s.readAsItIs, func(_ context.Context, _ models.Token, c credential.Credential) (err error) {
		code, err = credential.TOTPCode(c, s.deps.Now())
		return refusedRelease(err)
	})
	return code, err
}

// reading is how a credential is opened for its owner.
type reading func(ctx context.Context, by *reader, h *custody.Holder, ref Ref) (*look, error)

func (s *Service) reveal(ctx context.Context, p grants.Principal, client audit.Client, ref Ref, detail string, read reading,
	use func(ctx context.Context, t models.Token, c credential.Credential) error,
) error {
	if _, err := s.Token(ctx, p, ref); err != nil {
		return err
	}
	if err := s.open(ctx, p.AccountID); err != nil {
		return err
	}
	h, err := s.deps.Holders.Keys(ctx, p)
	if err != nil {
		return err
	}
	defer h.Clear()
	e := event(audit.Reveal, p, client, ref)
	e.Detail = detail
	err = s.deps.Audit.Do(ctx, e, func(ctx context.Context) error {
		// Locked while the record was being written: the owner was told that it holds.
		if err := s.open(ctx, p.AccountID); err != nil {
			return err
		}
		by := &reader{principal: p, client: client}
		l, err := read(ctx, by, h, ref)
		if err != nil {
			return err
		}
		defer l.clear()
		// Locked while it was read, or waited for its refresh.
		if err := s.open(ctx, p.AccountID); err != nil {
			return err
		}
		return use(ctx, l.token, l.credential)
	})
	if err == nil {
		s.settleAfter(ctx, h)
	}
	return err
}

// readFresh has a credential refreshed that is due.
func (s *Service) readFresh(ctx context.Context, by *reader, h *custody.Holder, ref Ref) (*look, error) {
	return s.fresh(ctx, by, func(ctx context.Context) (*look, error) { return s.lookAsOwner(ctx, h, ref) })
}

// readAsItIs does not.
func (s *Service) readAsItIs(ctx context.Context, _ *reader, h *custody.Holder, ref Ref) (*look, error) {
	return s.lookAsOwner(ctx, h, ref)
}

// lookAsOwner opens a credential of the holder's vault.
func (s *Service) lookAsOwner(ctx context.Context, h *custody.Holder, ref Ref) (*look, error) {
	l := &look{}
	err := s.again(func() error {
		dek, v, err := s.openVault(ctx, h)
		if errors.Is(err, errNoVault) {
			return ref.notFound()
		}
		if err != nil {
			return err
		}
		defer dek.Clear()
		var sealed models.Credential
		// The lock makes vault, token and ciphertext be of one moment.
		err = s.deps.Accounts.InTx(ctx, func(ctx context.Context) error {
			if err := s.unchanged(ctx, h, v); err != nil {
				return err
			}
			if l.token, err = s.deps.Tokens.TokenByRef(ctx, v.AccountID, v.ID, ref.Owner, ref.Bridge, ref.Service, ref.Scheme); err != nil {
				return err
			}
			sealed, err = s.deps.Credentials.Credential(ctx, v.AccountID, l.token.ID)
			return err
		})
		if errors.Is(err, models.ErrNotFound) {
			return ref.notFound()
		}
		if err != nil {
			return err
		}
		l.credential, l.cek, err = s.unsealed(dek, &l.token, &sealed)
		return err
	})
	if err != nil {
		return nil, err
	}
	return l, nil
}

// unseal opens a credential with its vault's key.
func (s *Service) unseal(dek custody.DEK, t *models.Token, sealed *models.Credential) (credential.Credential, error) {
	c, cek, err := s.unsealed(dek, t, sealed)
	cek.Clear()
	return c, err
}

// unsealed is unseal that also returns the credential's own key. The caller clears it.
func (s *Service) unsealed(dek custody.DEK, t *models.Token, sealed *models.Credential) (credential.Credential, custody.CEK, error) {
	vaultID, generation := dek.Vault()
	if sealed.VaultID != vaultID || sealed.Generation != generation || t.VaultID != vaultID {
		return credential.Credential{}, custody.CEK{}, s.damaged(custody.ErrOpen, "credential", sealed.ID)
	}
	cek, err := dek.CEK(sealed.ID, sealed.Epoch)
	if err != nil {
		return credential.Credential{}, cek, err
	}
	c, err := s.decode(cek, t, sealed)
	if err != nil {
		cek.Clear()
	}
	return c, cek, err
}

// decode opens a credential with its own key.
func (s *Service) decode(cek custody.CEK, t *models.Token, sealed *models.Credential) (credential.Credential, error) {
	secret, err := cek.Open(t, sealed)
	if err != nil {
		return credential.Credential{}, s.damaged(err, "credential", sealed.ID)
	}
	defer clear(secret)
	return credential.Decode(secret)
}

// shown is what its owner sees of a credential, with what its token says for people.
func (s *Service) shown(ctx context.Context, t models.Token, c credential.Credential) (map[string]any, error) {
	options := s.toAgent(&t)
	options.RefreshToken = true
	out, err := credential.Release(ctx, c, options)
	if err != nil {
		return nil, refusedRelease(err)
	}
	out[credential.MetaDisplayName], out[credential.MetaNotes], out[credential.MetaTags] = t.DisplayName, t.Notes, t.Tags
	return out, nil
}

// toAgent is how a credential is released to an agent.
func (s *Service) toAgent(t *models.Token) credential.ReleaseOptions {
	return credential.ReleaseOptions{Service: t.ServiceName, Now: s.deps.Now(), Minters: s.deps.Minters, Client: s.deps.Client}
}

// refusedRelease turns what package credential says of a release into a fault.
func refusedRelease(err error) error {
	var refused *wire.Error
	if !errors.As(err, &refused) {
		return err
	}
	if refused.Code == wire.CodeNotTOTP {
		return fault.Wrap(err, fault.InvalidRequest, "This token is not a TOTP secret: it makes no codes.")
	}
	return fault.Wrap(err, fault.Unavailable, "The credential cannot be released at the moment: %s.", refused.Message)
}
