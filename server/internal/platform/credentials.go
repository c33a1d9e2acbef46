package platform

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/custody"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/webhook-sdk/credential"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// MaxTokens is how many tokens a vault has at most, superseded ones counted.
const MaxTokens = 10_000

// maxCredential is how long a credential may be altogether, in bytes.
const maxCredential = 512 << 10

// Store seals a credential into p's vault, in place of what has the same reference;
// of that, display name, notes and tags stay unless fields has them. A vault is made
// when p has none. INVALID_REQUEST names the field; WRONG_VAULT_MODE while a
// webhook is bound, to which new credentials go; VAULT_LOCKED; CONFLICT when the
// vault is full.
func (s *Service) Store(ctx context.Context, p grants.Principal, client audit.Client, ref Ref, fields map[string]json.RawMessage) (models.Token, error) {
	return s.store(ctx, p, event(audit.Store, p, client, ref), ref, fields, nil)
}

// store is Store, on record as e. over, if there is one, is the creation of the only
// token that may be replaced: CONFLICT when the name is another's.
func (s *Service) store(ctx context.Context, p grants.Principal, e audit.Event, ref Ref, fields map[string]json.RawMessage, over *string) (models.Token, error) {
	if err := user(p); err != nil {
		return models.Token{}, err
	}
	if err := ref.check(); err != nil {
		return models.Token{}, err
	}
	if err := s.open(ctx, p.AccountID); err != nil {
		return models.Token{}, err
	}
	if err := s.keepsHere(ctx, p.AccountID); err != nil {
		return models.Token{}, err
	}
	c, err := credential.Parse(fields, credential.Options{Platform: true, PlainHTTP: s.deps.PlainHTTP})
	if err != nil {
		return models.Token{}, refusedInput(err)
	}
	h, err := s.deps.Holders.Keys(ctx, p)
	if err != nil {
		return models.Token{}, err
	}
	defer h.Clear()
	in, err := s.describe(c, ref)
	if err != nil {
		return models.Token{}, err
	}
	defer clear(in.secret)
	if in.over = over; over != nil {
		in.data = c
	}
	var token models.Token
	err = s.deps.Audit.Do(ctx, e, func(ctx context.Context) error {
		token, err = s.put(ctx, h, in)
		return err
	})
	if err == nil {
		s.settleAfter(ctx, h)
	}
	return token, err
}

// An incoming is a credential that is to be stored: its readable part, and the
// rest encoded to be sealed.
type incoming struct {
	token  models.Token // without ids and vault
	notes  map[string]bool
	secret []byte
	copyOf string                // creation at a webhook that it is a copy of: it replaces nothing but such copies
	over   *string               // creation that alone may be replaced; nil: whatever has the name
	data   credential.Credential // with over: what secret encodes
}

// describe takes the readable part out of a credential. Display name, notes and
// tags stand in the token alone, so that to change them needs no key.
func (s *Service) describe(c credential.Credential, ref Ref) (incoming, error) {
	t := models.Token{
		Owner: ref.Owner, Bridge: ref.Bridge, ServiceName: ref.Service, Scheme: ref.Scheme, TokenType: c.Type,
		CreationID:      models.NewID().String(),
		HasRefreshToken: c.Secrets[wire.FieldRefreshToken] != "",
		HasCertificate:  c.Secrets[wire.FieldCertificateData] != "",
		HasPrivateKey:   c.Secrets[wire.FieldPrivateKeyData] != "",
		HasSSHKey:       c.Secrets[wire.FieldSSHPrivateKey] != "",
		HasTOTPSecret:   c.Secrets[wire.FieldTOTPSecret] != "",
	}
	t.Provider, _ = c.Meta[credential.MetaProvider].(string)
	issuedTo(&t, c.Meta)
	if at, ok := c.Expiry(); ok {
		t.ExpiresAt = models.StampPtr(at)
	}
	in := incoming{notes: map[string]bool{}}
	for _, name := range credential.Notes() {
		value, ok := c.Meta[name]
		if !ok {
			continue
		}
		in.notes[name] = true
		setNote(&t, name, value)
		delete(c.Meta, name)
	}
	in.token = t
	c.Describe(ref.Service, t.CreationID, s.now())
	var err error
	if in.secret, err = c.Encode(); err != nil {
		return in, refusedInput(err)
	}
	if len(in.secret) > maxCredential {
		return in, fault.New(fault.TooLarge, "A credential has at most %d KiB.", maxCredential>>10)
	}
	return in, nil
}

// setNote writes a note of a credential, which is valid, into its token.
func setNote(t *models.Token, name string, value any) {
	switch name {
	case credential.MetaDisplayName:
		t.DisplayName, _ = value.(string)
	case credential.MetaNotes:
		t.Notes, _ = value.(string)
	case credential.MetaTags:
		list, _ := value.([]any)
		t.Tags = make([]string, 0, len(list))
		for _, tag := range list {
			text, _ := tag.(string)
			t.Tags = append(t.Tags, text)
		}
	}
}

// put writes what comes in to the holder's vault, and does it again when the vault
// or the credential has changed meanwhile.
func (s *Service) put(ctx context.Context, h *custody.Holder, in incoming) (models.Token, error) {
	var token models.Token
	err := s.again(func() error {
		dek, v, err := s.ensureVault(ctx, h)
		if err != nil {
			return err
		}
		defer dek.Clear()
		return s.deps.Accounts.InTx(ctx, func(ctx context.Context) error {
			if err := s.unchanged(ctx, h, v); err != nil {
				return err
			}
			t := in.token
			old, err := s.deps.Tokens.TokenByRef(ctx, v.AccountID, v.ID, t.Owner, t.Bridge, t.ServiceName, t.Scheme)
			switch {
			case errors.Is(err, models.ErrNotFound):
				token, err = s.create(ctx, dek, v, t, in.secret)
			case err == nil && in.over != nil && *in.over != old.CreationID:
				err = fault.New(fault.Conflict, "There is another token named %q by now. Choose another name, or delete that one first.", t.ServiceName)
			case err == nil:
				token, err = s.replace(ctx, dek, old, in)
			}
			return err
		})
	})
	return token, err
}

func (s *Service) create(ctx context.Context, dek custody.DEK, v models.Vault, t models.Token, secret []byte) (models.Token, error) {
	if count, err := s.deps.Tokens.CountTokens(ctx, v.AccountID, v.ID); err != nil {
		return t, err
	} else if count >= MaxTokens {
		return t, fault.New(fault.Conflict, "This vault has %d tokens, which is the most. Delete some first.", MaxTokens)
	}
	now := s.now()
	t.AccountID, t.ID, t.VaultID = v.AccountID, models.NewID(), v.ID
	t.CreatedAt, t.UpdatedAt, t.StoredAt = now, now, &now
	c := models.Credential{AccountID: v.AccountID, ID: t.ID, VaultID: v.ID, Generation: v.Generation, Epoch: 1, Version: 1, UpdatedAt: now}
	if err := s.seal(dek, &t, &c, secret); err != nil {
		return t, err
	}
	return t, s.deps.Credentials.CreateCredential(ctx, &t, &c)
}

// replace writes a new version of a credential, at its epoch: agents who were
// granted it go on with it.
func (s *Service) replace(ctx context.Context, dek custody.DEK, old models.Token, in incoming) (models.Token, error) {
	was, err := s.deps.Credentials.Credential(ctx, old.AccountID, old.ID)
	if err == nil && in.copyOf != "" {
		var refreshed bool
		if refreshed, err = s.copyAlready(dek, old, was, in); refreshed {
			return old, nil
		}
	}
	if err == nil && in.over != nil {
		in.secret, err = s.withHosts(dek, old, was, in)
	}
	if err != nil {
		return old, err
	}
	now := s.now()
	t := in.token
	t.AccountID, t.ID, t.VaultID, t.CreatedAt, t.UpdatedAt, t.StoredAt = old.AccountID, old.ID, old.VaultID, old.CreatedAt, now, &now
	if !in.notes[credential.MetaDisplayName] {
		t.DisplayName = old.DisplayName
	}
	if !in.notes[credential.MetaNotes] {
		t.Notes = old.Notes
	}
	if !in.notes[credential.MetaTags] {
		t.Tags = old.Tags
	}
	c := was
	c.Version, c.UpdatedAt = c.Version+1, now
	_, c.Generation = dek.Vault()
	if err := s.seal(dek, &t, &c, in.secret); err != nil {
		return t, err
	}
	if err := s.deps.Credentials.UpdateCredential(ctx, &c, was); err != nil {
		return t, err
	}
	return t, s.deps.Tokens.UpdateToken(ctx, &t)
}

func (s *Service) seal(dek custody.DEK, t *models.Token, c *models.Credential, secret []byte) error {
	cek, err := dek.CEK(c.ID, c.Epoch)
	if err != nil {
		return err
	}
	defer cek.Clear()
	return cek.Seal(s.deps.Random, t, c, secret)
}

// unchanged locks the holder's grant and a vault that was opened before the
// transaction. models.ErrConflict: the grant opens another, or the vault has another
// generation by now.
func (s *Service) unchanged(ctx context.Context, h *custody.Holder, v models.Vault, alsoGrants ...uuid.UUID) error {
	if err := s.lockGrants(ctx, h, alsoGrants...); err != nil {
		return err
	}
	now, err := s.lockVault(ctx, v.AccountID, v.ID)
	if errors.Is(err, models.ErrNotFound) {
		return fmt.Errorf("%w: the vault is gone", models.ErrConflict)
	}
	if err != nil {
		return err
	}
	if current := h.Grant().VaultID; current == nil || *current != v.ID || now.Generation != v.Generation {
		return fmt.Errorf("%w: the vault has changed", models.ErrConflict)
	}
	return nil
}

// again calls do, a whole transaction, until nobody is in its way.
func (s *Service) again(do func() error) error {
	return models.Again(tries, do, func(err error) error {
		return fault.Wrap(err, fault.Conflict, "The vault was changed at the same time. Try again.")
	})
}

func refusedInput(err error) error {
	var wrong *credential.Error
	if !errors.As(err, &wrong) {
		return err
	}
	if wrong.Field == "" {
		return fault.Field("tokenData", "%s.", wrong.Message)
	}
	return fault.Field("tokenData."+wrong.Field, "tokenData.%s %s.", wrong.Field, wrong.Message)
}
