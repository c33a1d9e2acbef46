package agents

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/custody"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/server/internal/vaults"
)

// Limits of what people type, in characters, and of lists.
const (
	maxName        = 100
	maxDescription = 500
	maxPage        = 1000
	maxBulk        = 1000
)

// Create makes an agent and its key. CONFLICT when the name is taken.
func (s *Service) Create(ctx context.Context, p grants.Principal, c audit.Client, in CreateInput) (Created, error) {
	name, err := checkName(in.Name)
	if err != nil {
		return Created{}, err
	}
	description, err := checkDescription(in.Description)
	if err != nil {
		return Created{}, err
	}
	now := models.Stamp(s.deps.Now())
	agent := models.Agent{
		AccountID: p.AccountID, ID: models.NewID(), Name: name, Description: description, Status: models.AgentActive,
		CreatedAt: now, UpdatedAt: now,
	}
	var issued grants.Issued
	err = s.deps.Audit.Do(ctx, s.event(p, c, audit.AgentChanged, agent.ID, "created "+name), func(ctx context.Context) error {
		return s.inTx(ctx, func(ctx context.Context) error {
			if issued, err = s.issueKey(ctx, &agent); err != nil {
				return err
			}
			agent.GrantID = issued.Grant.ID
			return taken(s.deps.Store.CreateAgent(ctx, &agent), name)
		})
	})
	if err != nil {
		return Created{}, err
	}
	return Created{Agent: agent, Key: issued.Token}, nil
}

// List returns the account's agents, oldest first.
func (s *Service) List(ctx context.Context, p grants.Principal, page vaults.Page) (list []models.Agent, next string, err error) {
	if page.Limit < 0 || page.Limit > maxPage {
		return nil, "", fault.Field("limit", "The limit must be between 1 and %d.", maxPage)
	}
	after := uuid.Nil
	if page.Cursor != "" {
		if after, err = uuid.Parse(page.Cursor); err != nil || after.String() != page.Cursor {
			return nil, "", fault.Field("cursor", "This cursor is not one that a list returned. Start again without it.")
		}
	}
	limit := page.Limit
	if limit > 0 {
		limit++
	}
	list, err = s.deps.Store.Agents(ctx, p.AccountID, after, limit)
	if err == nil && page.Limit > 0 && len(list) > page.Limit {
		list = list[:page.Limit]
		next = list[page.Limit-1].ID.String()
	}
	return list, next, err
}

// GrantCounts says how many credential grants in force the account's agents have;
// those without any are left out.
func (s *Service) GrantCounts(ctx context.Context, p grants.Principal) (map[uuid.UUID]int, error) {
	return s.deps.GrantStore.CredentialGrantCounts(ctx, p.AccountID, s.deps.Now())
}

// Get returns an agent with its credential grants. NOT_FOUND.
func (s *Service) Get(ctx context.Context, p grants.Principal, id uuid.UUID) (Detail, error) {
	agent, err := s.agent(ctx, p, id)
	if err != nil {
		return Detail{}, err
	}
	granted, err := s.deps.GrantStore.CredentialGrants(ctx, p.AccountID, id)
	return Detail{Agent: agent, Grants: granted}, err
}

// Update changes what is not nil in the input, and nothing else: what others
// change at the same time stays changed.
func (s *Service) Update(ctx context.Context, p grants.Principal, c audit.Client, id uuid.UUID, in UpdateInput) (models.Agent, error) {
	agent, err := s.agent(ctx, p, id)
	if err != nil {
		return models.Agent{}, err
	}
	changes, err := in.apply(&agent)
	if err != nil || len(changes) == 0 {
		return agent, err
	}
	err = s.deps.Audit.Do(ctx, s.event(p, c, audit.AgentChanged, id, strings.Join(changes, ", ")), func(ctx context.Context) error {
		return s.inTx(ctx, func(ctx context.Context) error {
			if agent, err = s.lockAgent(ctx, p, id); err != nil {
				return err
			}
			if _, err := in.apply(&agent); err != nil {
				return err
			}
			agent.UpdatedAt = models.Stamp(s.deps.Now())
			return taken(s.deps.Store.UpdateAgent(ctx, &agent), agent.Name)
		})
	})
	if err != nil {
		return models.Agent{}, err
	}
	return agent, nil
}

// apply brings the changes to a, and says what they are.
func (in UpdateInput) apply(a *models.Agent) (changes []string, err error) {
	if in.Name != nil {
		if a.Name, err = checkName(*in.Name); err != nil {
			return nil, err
		}
		changes = append(changes, "name "+a.Name)
	}
	if in.Description != nil {
		if a.Description, err = checkDescription(*in.Description); err != nil {
			return nil, err
		}
		changes = append(changes, "description")
	}
	if in.Status != nil {
		if *in.Status != models.AgentActive && *in.Status != models.AgentSuspended {
			return nil, fault.Field("status", "An agent is %q or %q.", models.AgentActive, models.AgentSuspended)
		}
		a.Status = *in.Status
		changes = append(changes, "status "+string(a.Status))
	}
	return changes, nil
}

// Delete ends agents with their keys and credential grants. One id that is
// unknown is NOT_FOUND; of several, those that exist are deleted and counted.
func (s *Service) Delete(ctx context.Context, p grants.Principal, c audit.Client, ids ...uuid.UUID) (deleted int, err error) {
	if len(ids) > maxBulk {
		return 0, fault.Field("agentIds", "At most %d agents can be deleted at once.", maxBulk)
	}
	for _, id := range slices.Compact(slices.SortedFunc(slices.Values(ids), func(a, b uuid.UUID) int { return strings.Compare(a.String(), b.String()) })) {
		err := s.deleteOne(ctx, p, c, id)
		if fault.CodeOf(err) == fault.NotFound && len(ids) > 1 {
			continue
		}
		if err != nil {
			return deleted, err
		}
		deleted++
	}
	return deleted, nil
}

func (s *Service) deleteOne(ctx context.Context, p grants.Principal, c audit.Client, id uuid.UUID) error {
	agent, err := s.agent(ctx, p, id)
	if err != nil {
		return err
	}
	err = s.deps.Audit.Do(ctx, s.event(p, c, audit.AgentChanged, id, "deleted "+agent.Name), func(ctx context.Context) error {
		return s.inTx(ctx, func(ctx context.Context) error {
			if agent, err = s.lockAgent(ctx, p, id); err != nil { // its key may have been rotated since
				return err
			}
			if err := s.withdrawAll(ctx, agent); err != nil {
				return err
			}
			if err := s.endKey(ctx, agent); err != nil {
				return err
			}
			return missing(s.deps.Store.DeleteAgent(ctx, p.AccountID, id))
		})
	})
	if err == nil {
		s.settle(ctx, p)
	}
	return err
}

// RotateKey ends the agent's key and makes a new one, of a new key pair; its
// credential grants stay. What p does not open either is named in Lost.
func (s *Service) RotateKey(ctx context.Context, p grants.Principal, c audit.Client, id uuid.UUID) (Created, error) {
	agent, err := s.agent(ctx, p, id)
	if err != nil {
		return Created{}, err
	}
	var issued grants.Issued
	var lost []string
	var h *custody.Holder
	if p.VaultID != uuid.Nil {
		if h, err = s.deps.Grants.Keys(ctx, p); err != nil {
			return Created{}, err
		}
	}
	defer clearHolder(h)
	err = s.deps.Audit.Do(ctx, s.event(p, c, audit.KeyChanged, id, "rotated the key of "+agent.Name), func(ctx context.Context) error {
		return s.inTx(ctx, func(ctx context.Context) error {
			agent, issued, lost, err = s.replaceKey(ctx, p, h, id)
			return err
		})
	})
	if err != nil {
		return Created{}, err
	}
	s.settle(ctx, p)
	return Created{Agent: agent, Key: issued.Token, Lost: lost}, nil
}

// replaceKey gives an agent another key, in a transaction.
func (s *Service) replaceKey(ctx context.Context, p grants.Principal, h *custody.Holder, id uuid.UUID) (
	agent models.Agent, issued grants.Issued, lost []string, err error,
) {
	// Locked, then read: of two rotations at once, the second ends the first one's key.
	if agent, err = s.lockAgent(ctx, p, id); err != nil {
		return agent, issued, nil, err
	}
	old := agent
	if issued, err = s.issueKey(ctx, &agent); err != nil {
		return agent, issued, nil, err
	}
	agent.GrantID, agent.UpdatedAt = issued.Grant.ID, models.Stamp(s.deps.Now())
	if err := missing(s.deps.Store.UpdateAgent(ctx, &agent)); err != nil {
		return agent, issued, nil, err
	}
	if lost, err = s.reentrust(ctx, h, agent, old.GrantID); err != nil {
		return agent, issued, nil, err
	}
	return agent, issued, lost, s.endKey(ctx, old)
}

func (s *Service) issueKey(ctx context.Context, a *models.Agent) (grants.Issued, error) {
	return s.deps.Grants.Issue(ctx, grants.IssueInput{
		AccountID: a.AccountID, Kind: models.GrantAgentKey, Label: a.Name, AgentID: &a.ID,
	})
}

func (s *Service) endKey(ctx context.Context, a models.Agent) error {
	err := s.deps.Grants.End(ctx, a.AccountID, a.GrantID)
	if errors.Is(err, models.ErrNotFound) {
		return nil
	}
	return err
}

func (s *Service) agent(ctx context.Context, p grants.Principal, id uuid.UUID) (models.Agent, error) {
	agent, err := s.deps.GrantStore.Agent(ctx, p.AccountID, id)
	return agent, missing(err)
}

// lockAgent is agent for a transaction that is going to change it.
func (s *Service) lockAgent(ctx context.Context, p grants.Principal, id uuid.UUID) (models.Agent, error) {
	agent, err := s.deps.Store.LockAgent(ctx, p.AccountID, id)
	return agent, missing(err)
}

func (s *Service) event(p grants.Principal, c audit.Client, kind audit.EventType, agentID uuid.UUID, detail string) audit.Event {
	return audit.Event{
		AccountID: p.AccountID, Type: kind, Source: audit.Direct, AgentID: agentID, GrantID: p.GrantID, Client: c, Detail: detail,
	}
}

func missing(err error) error {
	if errors.Is(err, models.ErrNotFound) {
		return fault.New(fault.NotFound, "There is no such agent.")
	}
	return err
}

func taken(err error, name string) error {
	if errors.Is(err, models.ErrConflict) {
		return fault.New(fault.Conflict, "There is an agent named %q already. Choose another name.", name)
	}
	return err
}

func checkName(name string) (string, error) {
	name = strings.TrimSpace(name)
	if n := utf8.RuneCountInString(name); n == 0 || n > maxName || !printable(name) {
		return "", fault.Field("name", "A name has 1 to %d printable characters.", maxName)
	}
	return name, nil
}

func checkDescription(text string) (string, error) {
	text = strings.TrimSpace(strings.ReplaceAll(text, "\r\n", "\n")) // forms send the former
	if utf8.RuneCountInString(text) > maxDescription || !printable(strings.ReplaceAll(text, "\n", "")) {
		return "", fault.Field("description", "A description has at most %d printable characters.", maxDescription)
	}
	return text, nil
}

func printable(s string) bool {
	return utf8.ValidString(s) && strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) < 0
}

// describe is how a life stands in the record.
func describe(in GrantInput) string {
	if in.ExpiresIn == 0 {
		return "until revoked"
	}
	return fmt.Sprintf("for %s", in.ExpiresIn)
}
