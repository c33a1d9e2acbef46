package agents

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// Limits of a credential grant's life, unless it lasts until it is revoked.
const (
	MinGrantLife = time.Hour
	MaxGrantLife = 30 * 24 * time.Hour
)

// MaxGrants is how many credential grants an agent may have: a release reads all
// of them.
const MaxGrants = 1000

// Grant permits an agent to use one token, in place of what it was granted
// under that name before. TOKEN_NOT_FOUND, NOT_FOUND, INVALID_REQUEST; CONFLICT
// when it has MaxGrants already.
func (s *Service) Grant(ctx context.Context, p grants.Principal, c audit.Client, id uuid.UUID, in GrantInput) (models.CredentialGrant, error) {
	if !wire.ValidServiceName(in.ServiceName) {
		err := fault.From(invalidService())
		err.Field = "serviceName"
		return models.CredentialGrant{}, err
	}
	if in.ExpiresIn != 0 && (in.ExpiresIn < MinGrantLife || in.ExpiresIn > MaxGrantLife) {
		return models.CredentialGrant{}, fault.Field("expiresInHours", "A credential grant lasts from 1 hour to %d hours, or, without this field, until it is revoked.", int(MaxGrantLife/time.Hour))
	}
	if in.RefreshPolicy == "" {
		in.RefreshPolicy = models.RefreshAuto
	}
	if in.RefreshPolicy != models.RefreshAuto && in.RefreshPolicy != models.RefreshNever {
		return models.CredentialGrant{}, fault.Field("refreshPolicy", "A refresh policy is %q or %q.", models.RefreshAuto, models.RefreshNever)
	}
	if _, err := s.agent(ctx, p, id); err != nil {
		return models.CredentialGrant{}, err
	}
	token, err := s.deps.Vaults.Find(ctx, p, in.ServiceName)
	if err != nil {
		return models.CredentialGrant{}, err
	}
	h, err := s.holder(ctx, p, token)
	if err != nil {
		return models.CredentialGrant{}, err
	}
	defer clearHolder(h)
	now := models.Stamp(s.deps.Now())
	grant := models.CredentialGrant{
		AccountID: p.AccountID, AgentID: id, ServiceName: token.ServiceName, TokenID: token.ID,
		RefreshPolicy: in.RefreshPolicy, CreatedAt: now,
	}
	if in.ExpiresIn > 0 {
		grant.ExpiresAt = models.StampPtr(now.Add(in.ExpiresIn))
	}
	s.deps.Keys.SignCredentialGrant(&grant)
	event := s.event(p, c, audit.GrantGiven, id, describe(in))
	event.Service = token.ServiceName
	err = s.deps.Audit.Do(ctx, event, func(ctx context.Context) error {
		return s.inTx(ctx, func(ctx context.Context) error {
			// The agent may have been deleted since; its grants went with it.
			agent, err := s.lockAgent(ctx, p, id)
			if err != nil {
				return err
			}
			has, err := s.deps.GrantStore.CredentialGrants(ctx, p.AccountID, id)
			if err != nil {
				return err
			}
			if err := checkRoom(has, &grant); err != nil {
				return err
			}
			if err := s.deps.GrantStore.PutCredentialGrant(ctx, &grant); err != nil {
				return err
			}
			// First what locks other agents' grants: withdrawing locks a vault.
			if err := s.entrust(ctx, h, agent, grant.TokenID); err != nil {
				return err
			}
			return s.withdraw(ctx, agent, has, grant.ServiceName, grant.TokenID)
		})
	})
	if err != nil {
		return models.CredentialGrant{}, err
	}
	return grant, nil
}

// checkRoom refuses a credential grant beyond MaxGrants, unless it replaces one of
// those that the agent has.
func checkRoom(has []models.CredentialGrant, g *models.CredentialGrant) error {
	if len(has) < MaxGrants {
		return nil
	}
	for _, other := range has {
		if other.ServiceName == g.ServiceName {
			return nil
		}
	}
	return fault.New(fault.Conflict, "This agent has %d credential grants, which is the most. Revoke some, or make another agent.", MaxGrants)
}

// Revoke ends a credential grant. NOT_FOUND when there is none.
func (s *Service) Revoke(ctx context.Context, p grants.Principal, c audit.Client, id uuid.UUID, service string) error {
	detail, err := s.Get(ctx, p, id)
	if err != nil {
		return err
	}
	found := false
	for _, g := range detail.Grants {
		found = found || g.ServiceName == service
	}
	if !found {
		return noGrant(service)
	}
	event := s.event(p, c, audit.GrantRevoked, id, "")
	event.Service = service
	err = s.deps.Audit.Do(ctx, event, func(ctx context.Context) error {
		return s.inTx(ctx, func(ctx context.Context) error {
			agent, err := s.lockAgent(ctx, p, id)
			if err != nil {
				return err
			}
			has, err := s.deps.GrantStore.CredentialGrants(ctx, p.AccountID, id)
			if err != nil {
				return err
			}
			err = s.deps.GrantStore.DeleteCredentialGrant(ctx, p.AccountID, id, service)
			if errors.Is(err, models.ErrNotFound) {
				return noGrant(service)
			}
			if err != nil {
				return err
			}
			return s.withdraw(ctx, agent, has, service, uuid.Nil)
		})
	})
	if err == nil {
		s.settle(ctx, p)
	}
	return err
}

func noGrant(service string) error {
	return fault.New(fault.NotFound, "This agent has no credential grant for %q.", service)
}
