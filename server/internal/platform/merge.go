package platform

import (
	"context"
	"fmt"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/custody"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/webhook-sdk/credential"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// An arrival is a token on its way into another vault. Of two of one name the later
// keeps it, and the other is superseded.
type arrival struct {
	token      models.Token
	superseded bool          // it loses its name
	granted    bool          // to an agent
	displaces  *models.Token // that loses the name to it
}

// arrivals says what becomes of a vault's tokens when they come to those of another.
// Of two that were created at the same moment, the one that is there keeps the name.
func arrivals(coming, there []models.Token) []arrival {
	named := make(map[Ref]*models.Token, len(there))
	for i := range there {
		if there[i].SupersededAt == nil {
			named[refOf(there[i])] = &there[i]
		}
	}
	list := make([]arrival, len(coming))
	for i, t := range coming {
		list[i].token = t
		other := named[refOf(t)]
		switch {
		case t.SupersededAt != nil || other == nil:
		case t.CreatedAt.After(other.CreatedAt):
			list[i].displaces = other
		default:
			list[i].superseded = true
		}
	}
	return list
}

// bring re-encrypts what is in the vault that is left into the one that is shared:
// the credentials themselves, or copies of them.
func (s *Service) bring(ctx context.Context, h *custody.Holder, j *join, copies bool) error {
	shared, _ := j.shared.Vault()
	coming, err := s.deps.Tokens.VaultTokens(ctx, j.left.AccountID, j.left.ID)
	if err != nil {
		return err
	}
	there, err := s.deps.Tokens.VaultTokens(ctx, j.left.AccountID, shared)
	if err != nil {
		return err
	}
	if len(coming)+len(there) > MaxTokens {
		return fault.New(fault.Conflict, "Together the vaults have %d tokens, and %d are the most. Delete some first.", len(coming)+len(there), MaxTokens)
	}
	sealed, err := s.sealed(ctx, j.left)
	if err != nil {
		return err
	}
	granted, err := s.grantedIn(ctx, j.left.AccountID, j.left.ID)
	if err != nil {
		return err
	}
	for _, a := range arrivals(coming, there) {
		a.granted = granted[a.token.ID]
		c, ok := sealed[a.token.ID]
		if !ok {
			return fmt.Errorf("platform: token %s of vault %s has no credential", a.token.ID, j.left.ID)
		}
		if err := s.displace(ctx, a.displaces); err != nil {
			return err
		}
		if copies {
			err = s.copyCredential(ctx, j, a, c)
		} else {
			err = s.moveCredential(ctx, h, j, a, c)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *Service) sealed(ctx context.Context, v *models.Vault) (map[uuid.UUID]models.Credential, error) {
	list, err := s.deps.Credentials.Credentials(ctx, v.AccountID, v.ID)
	if err != nil {
		return nil, err
	}
	byID := make(map[uuid.UUID]models.Credential, len(list))
	for _, c := range list {
		byID[c.ID] = c
	}
	return byID, nil
}

// displace takes a token's name from it. Its credential stays as it is: being
// superseded is no part of what that is bound to.
func (s *Service) displace(ctx context.Context, t *models.Token) error {
	if t == nil {
		return nil
	}
	t.SupersededAt, t.UpdatedAt = models.StampPtr(s.now()), s.now()
	return s.deps.Tokens.UpdateToken(ctx, t)
}

// arrive says in a token that it has come, and whether it lost its name.
func (s *Service) arrive(t *models.Token, a arrival) {
	if a.superseded {
		t.SupersededAt = models.StampPtr(s.now())
	}
}

// moveCredential brings a credential, with the agents that were granted it.
func (s *Service) moveCredential(ctx context.Context, h *custody.Holder, j *join, a arrival, c models.Credential) error {
	return s.reseal(ctx, h, move{token: a.token, credential: c, from: j.own, to: j.shared, alone: !a.granted,
		change: func(t *models.Token) { s.arrive(t, a) }})
}

// copyCredential brings a copy, which is a credential of its own: no agent was
// granted it. It keeps its time of creation, by which names are decided. The refresh
// token stays with the original: it is good for one use at many providers, which end
// both when it is used twice.
func (s *Service) copyCredential(ctx context.Context, j *join, a arrival, c models.Credential) error {
	old, err := j.own.CEK(c.ID, c.Epoch)
	if err != nil {
		return err
	}
	defer old.Clear()
	secret, err := old.Open(&a.token, &c)
	if err != nil {
		return s.damaged(err, "credential", c.ID)
	}
	defer func() { clear(secret) }()
	token := a.token
	if plain, had, err := withoutRefresh(secret); err != nil {
		return err
	} else if had {
		clear(secret)
		secret, token.HasRefreshToken = plain, false
	}
	sealed := models.Credential{AccountID: c.AccountID, Epoch: 1, Version: 1, UpdatedAt: s.now()}
	sealed.ID = models.NewID()
	sealed.VaultID, sealed.Generation = j.shared.Vault()
	token.ID, token.VaultID, token.UpdatedAt = sealed.ID, sealed.VaultID, s.now()
	s.arrive(&token, a)
	if err := s.seal(j.shared, &token, &sealed, secret); err != nil {
		return err
	}
	return s.deps.Credentials.CreateCredential(ctx, &token, &sealed)
}

// withoutRefresh is an encoded credential without the refresh token that it had from a
// provider.
func withoutRefresh(secret []byte) (plain []byte, had bool, err error) {
	c, err := credential.Decode(secret)
	if err != nil || !issued(c.Type) || c.Secrets[wire.FieldRefreshToken] == "" {
		return nil, false, err
	}
	delete(c.Secrets, wire.FieldRefreshToken)
	c.Meta[credential.MetaHasRefreshToken] = false
	plain, err = c.Encode()
	return plain, true, err
}
