package agents

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"net/url"
	"slices"
	"time"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/server/internal/vaults"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// Release decides whether the agent whose key this is may have a credential,
// records the decision, and, if it may, says where to fetch it. It returns only
// when the record is durable; without a record there is no release.
func (s *Service) Release(ctx context.Context, key string, c audit.Client, service string) (Released, error) {
	p, err := s.deps.Grants.Authenticate(ctx, key, models.GrantAgentKey)
	if err != nil {
		return Released{}, err
	}
	if !wire.ValidServiceName(service) {
		return Released{}, invalidService()
	}
	r := request{now: s.deps.Now(), service: service}
	if r.subject, err = s.subject(ctx, p); err != nil {
		return Released{}, err
	}
	if r.custody, err = s.deps.Vaults.Custody(ctx, p.AccountID); err != nil {
		return Released{}, err
	}
	event := audit.Event{
		AccountID: p.AccountID, Type: audit.Release, Source: audit.Agent, Service: service,
		AgentID: p.AgentID, GrantID: p.GrantID, Client: c,
	}
	refused := authorize(&r)
	if refused != nil {
		event.Type, event.Outcome = audit.Refusal, fault.CodeOf(refused)
	}
	if err := s.deps.Audit.Record(ctx, event); err != nil {
		return Released{}, err
	}
	if refused != nil {
		return Released{}, refused
	}
	return s.redirect(p, r.custody, service)
}

// redirect makes the single-use ticket and the address that bears it. Its life
// begins now, not when the request came: recording takes its time.
func (s *Service) redirect(p grants.Principal, c *vaults.Custody, service string) (Released, error) {
	var nonce [16]byte
	if _, err := io.ReadFull(s.deps.Random, nonce[:]); err != nil {
		return Released{}, fmt.Errorf("agents: no randomness: %w", err)
	}
	now := s.deps.Now().Unix()
	ticket := wire.SignTicket(c.Secret, wire.Ticket{
		Subject: p.AccountID.String(), Service: service, Purpose: wire.PurposeAgentCredential,
		IssuedAt: now, ExpiresAt: now + int64(wire.AgentTicketLife/time.Second),
		Nonce: hex.EncodeToString(nonce[:]), AgentID: p.AgentID.String(),
	})
	return Released{Location: c.Binding.URL + wire.PathCredential + "?ticket=" + ticket + "&service=" + url.QueryEscape(service)}, nil
}

// Granted lists what the agent whose key this is was granted, by service name.
func (s *Service) Granted(ctx context.Context, key string) ([]GrantView, error) {
	p, err := s.deps.Grants.Authenticate(ctx, key, models.GrantAgentKey)
	if err != nil {
		return nil, err
	}
	known, err := s.loadSubject(ctx, p.AccountID, p.AgentID)
	if err != nil {
		return nil, err
	}
	views := make([]GrantView, 0, len(known.grants))
	for _, name := range slices.Sorted(maps.Keys(known.grants)) {
		g := known.grants[name]
		view := GrantView{Grant: g.Grant}
		if g.TokenExists {
			view.Token, err = s.deps.Vaults.View(ctx, p.AccountID, g.Grant.TokenID)
			if err != nil && fault.CodeOf(err) != fault.TokenNotFound { // gone since: as if it had been gone before
				return nil, err
			}
		}
		views = append(views, view)
	}
	return views, nil
}

// Whoami tells an agent who it is.
func (s *Service) Whoami(ctx context.Context, key string) (Identity, error) {
	p, err := s.deps.Grants.Authenticate(ctx, key, models.GrantAgentKey)
	if err != nil {
		return Identity{}, err
	}
	known, err := s.subject(ctx, p)
	if err != nil {
		return Identity{}, err
	}
	return Identity{Agent: known.agent, AccountID: p.AccountID, ExpiresAt: p.ExpiresAt}, nil
}

func invalidService() error {
	return fault.Field("service",
		"A service name has 1 to %d letters, digits, spaces and . _ : @ -, and begins with a letter or digit.", wire.MaxServiceNameLength)
}
