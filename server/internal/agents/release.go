package agents

import (
	"cmp"
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
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// Release decides whether the agent whose key this is may have a credential,
// records the decision, and, if it may, opens it or says where to fetch it. It returns only
// when the record is durable; without a record there is no release. A credential is
// appended to room, which may be nil, and which the caller clears, also after an error.
func (s *Service) Release(ctx context.Context, key string, c audit.Client, service string, room []byte) (Released, error) {
	r := request{service: service}
	before := s.deps.Gate.Mark()
	refused, err := s.decide(ctx, key, &r)
	if err != nil {
		return Released{}, err
	}
	if err := s.record(ctx, &r, c, refused); err != nil || refused != nil {
		return Released{}, cmp.Or(err, refused)
	}
	// While the row was being written, the owner may have revoked or locked and
	// been told that it holds. So unless nothing at all has changed, the decision is
	// made again.
	if s.deps.Gate.Unchanged(before) {
		return s.hand(ctx, key, &r, c, room)
	}
	if err := s.decideAgain(ctx, key, &r, c); err != nil {
		return Released{}, err
	}
	return s.hand(ctx, key, &r, c, room)
}

// decideAgain makes a decision anew that has been recorded as a release.
func (s *Service) decideAgain(ctx context.Context, key string, r *request, c audit.Client) error {
	refused, err := s.decide(ctx, key, r)
	if err != nil {
		return err
	}
	if refused != nil {
		return cmp.Or(s.record(ctx, r, c, refused), refused)
	}
	return nil
}

// hand gives the agent what was decided and recorded: the credential, opened with
// its own key, or the way to the webhook. That it cannot is on record as well. When it
// had to wait for a refresh, the owner may have revoked or locked meanwhile.
func (s *Service) hand(ctx context.Context, key string, r *request, c audit.Client, room []byte) (Released, error) {
	if !r.granted.Platform {
		return s.redirect(r)
	}
	tokenID := r.granted.Grant.TokenID
	credential, waited, err := s.deps.Platform.ReleaseTo(ctx, r.principal, tokenID, r.granted.Grant.RefreshPolicy, room)
	if err != nil {
		return Released{}, cmp.Or(s.record(ctx, r, c, err), err)
	}
	if waited {
		if err := s.decideAgain(ctx, key, r, c); err != nil {
			clear(credential)
			return Released{}, err
		}
		if r.granted.Grant.TokenID != tokenID {
			clear(credential)
			err := fault.New(fault.Conflict, "Another token was granted under this name meanwhile. Ask again.")
			return Released{}, cmp.Or(s.record(ctx, r, c, err), error(err))
		}
	}
	return Released{Credential: credential}, nil
}

// decide finds out what the decision about r.service rests on, and decides. The
// first error is the refusal, to be recorded; the second says that there is
// nothing to decide about, or no way to.
func (s *Service) decide(ctx context.Context, key string, r *request) (refused, err error) {
	if r.principal, err = s.deps.Grants.Authenticate(ctx, key, models.GrantAgentKey); err != nil {
		return nil, err
	}
	if !wire.ValidServiceName(r.service) {
		return nil, invalidService()
	}
	r.now = s.deps.Now()
	if r.subject, err = s.subject(ctx, r.principal); err != nil {
		return nil, err
	}
	if r.custody, err = s.deps.Vaults.Custody(ctx, r.principal.AccountID); err != nil {
		return nil, err
	}
	return authorize(r), nil
}

// record makes a decision's row durable.
func (s *Service) record(ctx context.Context, r *request, c audit.Client, refused error) error {
	event := audit.Event{
		AccountID: r.principal.AccountID, Type: audit.Release, Source: audit.Agent, Service: r.service,
		AgentID: r.principal.AgentID, GrantID: r.principal.GrantID, Client: c,
	}
	if refused != nil {
		event.Type, event.Outcome = audit.Refusal, fault.CodeOf(refused)
	}
	return s.deps.Audit.Record(ctx, event)
}

// redirect makes the single-use ticket and the address that bears it. Its life
// begins now, not when the request came: recording takes its time.
func (s *Service) redirect(r *request) (Released, error) {
	var nonce [16]byte
	if _, err := io.ReadFull(s.deps.Random, nonce[:]); err != nil {
		return Released{}, fmt.Errorf("agents: no randomness: %w", err)
	}
	now := s.deps.Now().Unix()
	location := make([]byte, 0, 768)
	location = append(append(append(location, r.custody.Binding.URL...), wire.PathCredential...), "?ticket="...)
	location = wire.AppendTicket(location, r.custody.Secret, wire.Ticket{
		Subject: r.principal.AccountID.String(), Service: r.service, Purpose: wire.PurposeAgentCredential,
		IssuedAt: now, ExpiresAt: now + int64(wire.AgentTicketLife/time.Second),
		Nonce: hex.EncodeToString(nonce[:]), AgentID: r.principal.AgentID.String(),
	})
	location = append(append(location, "&service="...), url.QueryEscape(r.service)...)
	return Released{Location: string(location)}, nil
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
