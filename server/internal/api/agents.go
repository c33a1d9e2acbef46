package api

import (
	"time"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/agents"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/server/internal/web"
)

type agentJSON struct {
	ID          uuid.UUID          `json:"id"`
	Name        string             `json:"name"`
	Description string             `json:"description"`
	Status      models.AgentStatus `json:"status"`
	CreatedAt   time.Time          `json:"createdAt"`
	UpdatedAt   time.Time          `json:"updatedAt"`
	LastUsedAt  *time.Time         `json:"lastUsedAt"` // coarse; null: never
}

// agentKeyJSON is an agent with its key, in the one answer that shows it.
type agentKeyJSON struct {
	agentJSON
	APIKey string `json:"apiKey"`
}

type agentDetailJSON struct {
	agentJSON
	Grants []grantJSON `json:"grants"`
}

type grantJSON struct {
	ServiceName    string               `json:"serviceName"`
	RefreshPolicy  models.RefreshPolicy `json:"refreshPolicy"`
	GrantExpiresAt *time.Time           `json:"grantExpiresAt"` // null: until revoked
	CreatedAt      time.Time            `json:"createdAt"`
}

func showAgent(m models.Agent) agentJSON {
	return agentJSON{
		ID: m.ID, Name: m.Name, Description: m.Description, Status: m.Status,
		CreatedAt: m.CreatedAt.UTC(), UpdatedAt: m.UpdatedAt.UTC(), LastUsedAt: utc(m.LastUsedAt),
	}
}

func showGrant(g models.CredentialGrant) grantJSON {
	return grantJSON{
		ServiceName: g.ServiceName, RefreshPolicy: g.RefreshPolicy, GrantExpiresAt: utc(g.ExpiresAt), CreatedAt: g.CreatedAt.UTC(),
	}
}

func (a *API) listAgents(c *gin.Context, p grants.Principal) error {
	pg, err := page(c)
	if err != nil {
		return err
	}
	list, next, err := a.deps.Agents.List(c.Request.Context(), p, pg)
	if err != nil {
		return err
	}
	linkNext(c, pg, next)
	out := make([]agentJSON, len(list))
	for i, m := range list {
		out[i] = showAgent(m)
	}
	return ok(c, out)
}

type createAgentBody struct {
	Name        string `json:"name"`
	Description string `json:"description"`
}

func (a *API) createAgent(c *gin.Context, p grants.Principal) error {
	var in createAgentBody
	if err := web.ReadJSON(c, &in, web.IgnoreUnknown); err != nil {
		return err
	}
	if err := first(web.CheckText("name", in.Name, maxName), web.CheckLines("description", in.Description, maxText)); err != nil {
		return err
	}
	made, err := a.deps.Agents.Create(c.Request.Context(), p, client(c), agents.CreateInput(in))
	if err != nil {
		return err
	}
	return created(c, agentKeyJSON{agentJSON: showAgent(made.Agent), APIKey: made.Key.Reveal()})
}

func (a *API) getAgent(c *gin.Context, p grants.Principal) error {
	id, err := pathID(c, "agent")
	if err != nil {
		return err
	}
	d, err := a.deps.Agents.Get(c.Request.Context(), p, id)
	if err != nil {
		return err
	}
	out := agentDetailJSON{agentJSON: showAgent(d.Agent), Grants: make([]grantJSON, len(d.Grants))}
	for i, g := range d.Grants {
		out.Grants[i] = showGrant(g)
	}
	return ok(c, out)
}

type updateAgentBody struct {
	Name        *string `json:"name"`
	Description *string `json:"description"`
	Status      *string `json:"status"`
}

func (b updateAgentBody) input() (agents.UpdateInput, error) {
	in := agents.UpdateInput{Name: b.Name, Description: b.Description}
	if b.Name == nil && b.Description == nil && b.Status == nil {
		return in, fault.New(fault.InvalidRequest, "There is nothing to change: send name, description or status.")
	}
	if b.Name != nil {
		if err := web.CheckText("name", *b.Name, maxName); err != nil {
			return in, err
		}
	}
	if b.Description != nil {
		if err := web.CheckLines("description", *b.Description, maxText); err != nil {
			return in, err
		}
	}
	if b.Status != nil {
		status := models.AgentStatus(*b.Status)
		if status != models.AgentActive && status != models.AgentSuspended {
			return in, fault.Field("status", "The status of an agent is %q or %q.", models.AgentActive, models.AgentSuspended)
		}
		in.Status = &status
	}
	return in, nil
}

func (a *API) updateAgent(c *gin.Context, p grants.Principal) error {
	id, err := pathID(c, "agent")
	if err != nil {
		return err
	}
	var body updateAgentBody
	if err := web.ReadJSON(c, &body, web.IgnoreUnknown); err != nil {
		return err
	}
	in, err := body.input()
	if err != nil {
		return err
	}
	m, err := a.deps.Agents.Update(c.Request.Context(), p, client(c), id, in)
	if err != nil {
		return err
	}
	return ok(c, showAgent(m))
}

func (a *API) deleteAgent(c *gin.Context, p grants.Principal) error {
	id, err := pathID(c, "agent")
	if err != nil {
		return err
	}
	if _, err := a.deps.Agents.Delete(c.Request.Context(), p, client(c), id); err != nil {
		return err
	}
	return web.NoContent(c)
}

type bulkAgentsBody struct {
	AgentIDs []string `json:"agentIds"`
}

func (a *API) deleteAgents(c *gin.Context, p grants.Principal) error {
	var in bulkAgentsBody
	if err := web.ReadJSON(c, &in, web.IgnoreUnknown); err != nil {
		return err
	}
	if len(in.AgentIDs) == 0 || len(in.AgentIDs) > maxList {
		return fault.Field("agentIds", "Name 1 to %d agents in agentIds.", maxList)
	}
	ids := make([]uuid.UUID, len(in.AgentIDs))
	for i, text := range in.AgentIDs {
		id, valid := parseID(text)
		if !valid {
			return fault.Field("agentIds", "Entry %d of agentIds is not the id of an agent.", i+1)
		}
		ids[i] = id
	}
	deleted, err := a.deps.Agents.Delete(c.Request.Context(), p, client(c), ids...)
	if err != nil && !(fault.CodeOf(err) == fault.NotFound && len(ids) == 1) {
		return err
	}
	return ok(c, struct {
		Deleted int `json:"deleted"`
	}{deleted})
}

func (a *API) rotateKey(c *gin.Context, p grants.Principal) error {
	id, err := pathID(c, "agent")
	if err != nil {
		return err
	}
	made, err := a.deps.Agents.RotateKey(c.Request.Context(), p, client(c), id)
	if err != nil {
		return err
	}
	return ok(c, agentKeyJSON{agentJSON: showAgent(made.Agent), APIKey: made.Key.Reveal()})
}
