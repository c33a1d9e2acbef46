package agents

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/server/internal/vaults"
)

// A subject is an agent with what it was granted, as a replica remembers it. It
// is shared between requests: nobody changes it.
type subject struct {
	agent   models.Agent
	grants  map[string]models.GrantedToken // by service name
	damaged map[string]error               // why those of these names do not count
}

// A request is everything that the decision about one release rests on.
type request struct {
	now       time.Time
	service   string
	principal grants.Principal
	subject   *subject
	custody   *vaults.Custody
	granted   models.GrantedToken // set by hasGrant
}

// rules are what every release must satisfy, in order: the first that refuses
// decides. This is the one place where a release is decided; policies and rate
// limits belong here as well, after the credential grant.
var rules = [...]func(*request) error{
	agentIsActive,
	vaultIsOpen,
	hasGrant,
	grantIsCurrent,
	tokenExists,
	custodyIsReachable,
}

// authorize decides about a release. nil is the only permission.
func authorize(r *request) error {
	for _, rule := range rules {
		if err := rule(r); err != nil {
			return err
		}
	}
	return nil
}

func agentIsActive(r *request) error {
	if r.subject.agent.Status != models.AgentActive {
		return fault.New(fault.AgentInactive, "This agent is suspended. Its owner can activate it again on the agents page.")
	}
	return nil
}

func vaultIsOpen(r *request) error {
	if r.custody.Locked {
		return fault.New(fault.VaultLocked, "The owner has locked the vault: no credential is released until it is unlocked.")
	}
	return nil
}

func hasGrant(r *request) error {
	if err := r.subject.damaged[r.service]; err != nil {
		return fault.Wrap(err, fault.Internal, "The credential grant for %q is damaged. Its owner can revoke it and give it anew.", r.service)
	}
	granted, ok := r.subject.grants[r.service]
	if !ok {
		return fault.New(fault.NoGrant, "This agent has no credential grant for %q. Its owner can give one on the agents page.", r.service)
	}
	r.granted = granted
	return nil
}

func grantIsCurrent(r *request) error {
	if r.granted.Grant.Expired(r.now) {
		return fault.New(fault.GrantExpired, "The credential grant for %q has expired. Its owner can give a new one on the agents page.", r.service)
	}
	return nil
}

func tokenExists(r *request) error {
	if !r.granted.TokenExists {
		return fault.New(fault.TokenNotFound, "The token %q that this agent was granted is gone. Store it again and grant it anew.", r.service)
	}
	return nil
}

// custodyIsReachable: what a platform vault holds stays there when a webhook is
// bound, until it is moved.
func custodyIsReachable(r *request) error {
	if r.granted.Platform {
		return nil
	}
	if r.custody.Mode != models.ModeWebhook || r.custody.Secret.IsZero() {
		return fault.New(fault.WebhookNotConfigured, "No webhook is bound to this account, so its credentials cannot be reached. Its owner can bind one in the settings.")
	}
	return nil
}

// subject returns the agent that p speaks for, with its credential grants.
func (s *Service) subject(ctx context.Context, p grants.Principal) (*subject, error) {
	if known, ok := s.known.Get(p.AgentID); ok {
		return known, nil
	}
	return s.known.Load(p.AccountID, p.AgentID, func() (*subject, error) { return s.loadSubject(ctx, p.AccountID, p.AgentID) })
}

func (s *Service) loadSubject(ctx context.Context, accountID, agentID uuid.UUID) (*subject, error) {
	agent, granted, err := s.deps.GrantStore.AgentWithGrants(ctx, accountID, agentID)
	if errors.Is(err, models.ErrNotFound) { // deleted between the key's check and now
		return nil, grants.InvalidKey()
	}
	if err != nil {
		return nil, fault.Wrap(err, fault.Unavailable, "The database cannot be reached at the moment. Try again shortly.")
	}
	known := &subject{agent: agent, grants: make(map[string]models.GrantedToken, len(granted)), damaged: map[string]error{}}
	for _, g := range granted {
		// A grant that was not signed by a server key was not given by this server.
		if err := s.deps.Keys.CheckCredentialGrant(&g.Grant); err != nil {
			known.damaged[g.Grant.ServiceName] = err
			continue
		}
		known.grants[g.Grant.ServiceName] = g
	}
	return known, nil
}
