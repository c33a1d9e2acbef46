package dashboard

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/agents"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/server/internal/vaults"
	"github.com/tvzero/tokenvault/server/internal/web"
)

// Agents makes, changes and ends agents.
type Agents interface {
	Create(ctx context.Context, p grants.Principal, client audit.Client, in agents.CreateInput) (agents.Created, error)
	List(ctx context.Context, p grants.Principal, page vaults.Page) ([]models.Agent, string, error)
	Get(ctx context.Context, p grants.Principal, id uuid.UUID) (agents.Detail, error)
	Update(ctx context.Context, p grants.Principal, client audit.Client, id uuid.UUID, in agents.UpdateInput) (models.Agent, error)
	Delete(ctx context.Context, p grants.Principal, client audit.Client, ids ...uuid.UUID) (int, error)
	RotateKey(ctx context.Context, p grants.Principal, client audit.Client, id uuid.UUID) (agents.Created, error)
}

// CredentialGrants permits agents to use tokens.
type CredentialGrants interface {
	Grant(ctx context.Context, p grants.Principal, client audit.Client, id uuid.UUID, in agents.GrantInput) (models.CredentialGrant, error)
	Revoke(ctx context.Context, p grants.Principal, client audit.Client, id uuid.UUID, service string) error
	GrantCounts(ctx context.Context, p grants.Principal) (map[uuid.UUID]int, error)
}

func (d *Dashboard) agentRoutes(r routes) {
	r.page("/agents", d.user(d.agentsPage))
	r.POST("/agents", d.user(d.createAgent))
	r.page("/agents/:id", d.user(d.agentPage))
	r.POST("/agents/:id", d.user(d.updateAgent))
	r.POST("/agents/:id/status", d.user(d.setAgentStatus))
	r.page("/agents/:id/rotate-key", d.user(d.rotateKeyPage))
	r.POST("/agents/:id/rotate-key", d.user(d.rotateKey))
	r.page("/agents/:id/delete", d.user(d.deleteAgentPage))
	r.POST("/agents/:id/delete", d.user(d.deleteAgent))
	r.POST("/agents/:id/grants", d.user(d.grant))
	r.POST("/agents/:id/revoke", d.user(d.revoke))
}

type agentRow struct {
	ID          string
	Name        string
	Description string
	Status      badge
	Grants      int // credential grants in force; lists alone say
	LastUsedAt  *time.Time
	CreatedAt   time.Time
}

func showAgent(m models.Agent) agentRow {
	row := agentRow{ID: m.ID.String(), Name: m.Name, Description: m.Description, LastUsedAt: m.LastUsedAt, CreatedAt: m.CreatedAt}
	row.Status = badge{Look: "good", Text: string(m.Status)}
	if m.Status != models.AgentActive {
		row.Status = badge{Look: "warn", Text: string(m.Status), Reason: "Its key is refused until you resume it."}
	}
	return row
}

func agentPath(id uuid.UUID) string { return "/agents/" + id.String() }

// pathID is the id of a path, of a kind of thing; what is none names nothing.
func pathID(c *gin.Context, kind string) (uuid.UUID, error) {
	text := c.Param("id")
	id, err := uuid.Parse(text)
	if err != nil || id.String() != text {
		return uuid.Nil, fault.New(fault.NotFound, "There is no %s with this id.", kind)
	}
	return id, nil
}

func agentFields(name, description string) (n, about field) {
	return field{Name: "name", Label: "Name", Type: "text", Value: name, Hint: "What you call the program, e.g. deploy-bot.", Required: true, MaxLength: 100},
		field{Name: "description", Label: "Description", Type: "area", Value: description, MaxLength: 500}
}

func (d *Dashboard) agentsPage(c *gin.Context, v visitor) error {
	return d.showAgents(c, v, agents.CreateInput{}, nil)
}

func (d *Dashboard) showAgents(c *gin.Context, v visitor, in agents.CreateInput, failure *fault.Error) error {
	type page struct {
		Agents            []agentRow
		Next              string
		First             bool
		Name, Description field
	}
	cursor := c.Query("cursor")
	if err := web.CheckText("cursor", cursor, maxLine); err != nil {
		return err
	}
	p := page{First: cursor == ""}
	p.Name, p.Description = agentFields(in.Name, in.Description)
	list, next, err := d.deps.Agents.List(c.Request.Context(), v.principal, vaults.Page{Limit: pageSize, Cursor: cursor})
	if err != nil {
		return err
	}
	p.Next = next
	counts, err := d.deps.Grants.GrantCounts(c.Request.Context(), v.principal)
	if err != nil {
		return err
	}
	for _, m := range list {
		row := showAgent(m)
		row.Grants = counts[m.ID]
		p.Agents = append(p.Agents, row)
	}
	return d.render(c, statusOf(failure), "agents", view{
		Title: "Agents", Section: "agents", Page: &p, Problem: mark(failure, &p.Name, &p.Description),
	}, &v)
}

func (d *Dashboard) createAgent(c *gin.Context, v visitor) error {
	form, err := readForm(c)
	if err != nil {
		return err
	}
	in := agents.CreateInput{Name: form.Get("name"), Description: unixLines(form.Get("description"))}
	made, err := d.deps.Agents.Create(c.Request.Context(), v.principal, client(c), in)
	if err != nil {
		if failure, ok := mendable(err); ok {
			return d.showAgents(c, v, in, failure)
		}
		return err
	}
	return d.showKey(c, v, http.StatusCreated, made, false)
}

// showKey is the one page that shows an agent key. It answers the POST itself:
// to redirect, the key would have to be kept somewhere, and it is kept nowhere.
func (d *Dashboard) showKey(c *gin.Context, v visitor, status int, made agents.Created, rotated bool) error {
	type page struct {
		Agent    agentRow
		Key      string
		Rotated  bool
		Webhook  bool
		Lost     []string
		Snippets []snippet
	}
	return d.render(c, status, "agentkey", view{Title: "Key of " + made.Agent.Name, Section: "agents", Page: page{
		Agent: showAgent(made.Agent), Key: made.Key.Reveal(), Rotated: rotated, Webhook: bound(v), Lost: made.Lost,
		Snippets: d.agentSnippets(bound(v), "", made.Key.Reveal()),
	}}, &v)
}

// credentialsURL is where agents fetch credentials, for command lines.
func (d *Dashboard) credentialsURL() string {
	u := url.URL{Scheme: d.deps.PublicURL.Scheme, Host: d.deps.PublicURL.Host, Path: "/api/agents/credentials"}
	return u.String()
}
