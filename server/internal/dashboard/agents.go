package dashboard

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
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
	for _, m := range list {
		p.Agents = append(p.Agents, showAgent(m))
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
		Agent   agentRow
		Key     string
		Rotated bool
		URL     string
		Webhook bool
		Lost    []string
	}
	return d.render(c, status, "agentkey", view{Title: "Key of " + made.Agent.Name, Section: "agents", Page: page{
		Agent: showAgent(made.Agent), Key: made.Key.Reveal(), Rotated: rotated, URL: d.credentialsURL(), Webhook: bound(v), Lost: made.Lost,
	}}, &v)
}

// credentialsURL is where agents fetch credentials, for command lines.
func (d *Dashboard) credentialsURL() string {
	u := url.URL{Scheme: d.deps.PublicURL.Scheme, Host: d.deps.PublicURL.Host, Path: "/api/agents/credentials"}
	return u.String()
}

type grantRow struct {
	Service   string
	ExpiresAt *time.Time
	Expired   bool
	CreatedAt time.Time
	Never     bool // its use causes no refresh
}

// A life is how long a credential grant may last.
type life struct {
	Hours int // 0: until revoked
	Label string
}

func lives() []life {
	return []life{{1, "1 hour"}, {8, "8 hours"}, {24, "1 day"}, {7 * 24, "7 days"}, {30 * 24, "30 days"}, {0, "until revoked"}}
}

func (d *Dashboard) agentPage(c *gin.Context, v visitor) error {
	id, err := pathID(c, "agent")
	if err != nil {
		return err
	}
	detail, err := d.deps.Agents.Get(c.Request.Context(), v.principal, id)
	if err != nil {
		return err
	}
	return d.showAgentPage(c, v, detail, "", 24, nil)
}

func (d *Dashboard) showAgentPage(c *gin.Context, v visitor, detail agents.Detail, service string, hours int, failure *fault.Error) error {
	type page struct {
		Agent             agentRow
		Active            bool
		Grants            []grantRow
		Services          []string
		Service           field
		Lives             []life
		Hours             int
		URL               string
		Webhook           bool
		Name, Description field
	}
	p := page{
		Webhook: bound(v),
		Agent:   showAgent(detail.Agent), Active: detail.Agent.Status == models.AgentActive, Lives: lives(), Hours: hours, URL: d.credentialsURL(),
		Service: field{Name: "serviceName", Label: "Token", Type: "text", Value: service, Hint: "The service name of one of your tokens.", Required: true, MaxLength: 128},
	}
	p.Name, p.Description = agentFields(detail.Agent.Name, detail.Agent.Description)
	p.Name.Hint = ""
	now := d.deps.Now()
	for _, g := range detail.Grants {
		p.Grants = append(p.Grants, grantRow{Service: g.ServiceName, ExpiresAt: g.ExpiresAt, Expired: g.Expired(now), CreatedAt: g.CreatedAt, Never: g.RefreshPolicy == models.RefreshNever})
	}
	tokens, _, err := d.deps.Tokens.Tokens(c.Request.Context(), v.principal, vaults.Page{Limit: pageSize})
	if err != nil {
		return err
	}
	for _, token := range tokens {
		p.Services = append(p.Services, token.Token.ServiceName)
	}
	return d.render(c, statusOf(failure), "agent", view{
		Title: detail.Agent.Name, Section: "agents", Page: &p, Problem: mark(failure, &p.Service, &p.Name, &p.Description),
	}, &v)
}

func (d *Dashboard) updateAgent(c *gin.Context, v visitor) error {
	id, err := pathID(c, "agent")
	if err != nil {
		return err
	}
	form, err := readForm(c)
	if err != nil {
		return err
	}
	name, description := form.Get("name"), unixLines(form.Get("description"))
	_, err = d.deps.Agents.Update(c.Request.Context(), v.principal, client(c), id, agents.UpdateInput{Name: &name, Description: &description})
	if err == nil {
		return d.done(c, agentPath(id), flashAgentSaved)
	}
	failure, ok := mendable(err)
	if !ok {
		return err
	}
	detail, err := d.deps.Agents.Get(c.Request.Context(), v.principal, id)
	if err != nil {
		return err
	}
	detail.Agent.Name, detail.Agent.Description = name, description
	return d.showAgentPage(c, v, detail, "", 24, failure)
}

func (d *Dashboard) setAgentStatus(c *gin.Context, v visitor) error {
	id, err := pathID(c, "agent")
	if err != nil {
		return err
	}
	form, err := readForm(c)
	if err != nil {
		return err
	}
	status, word := models.AgentActive, flashAgentResumed
	switch form.Get("status") {
	case string(models.AgentActive):
	case string(models.AgentSuspended):
		status, word = models.AgentSuspended, flashAgentSuspended
	default:
		return fault.Field("status", "An agent is %q or %q.", models.AgentActive, models.AgentSuspended)
	}
	if _, err := d.deps.Agents.Update(c.Request.Context(), v.principal, client(c), id, agents.UpdateInput{Status: &status}); err != nil {
		return err
	}
	return d.done(c, agentPath(id), word)
}

func (d *Dashboard) rotateKeyPage(c *gin.Context, v visitor) error {
	detail, err := d.detail(c, v)
	if err != nil {
		return err
	}
	path := agentPath(detail.Agent.ID)
	return d.confirm(c, v, "agents", confirmation{
		Question: "Replace the key of " + detail.Agent.Name + "?",
		Lost: []string{
			"The key that the agent uses now is refused at once. Give it the new one, which is shown once.",
			"What it was granted stays, as far as this session opens it.",
			"A credential in a vault that this session does not open stays behind: the agent loses it, and if nobody else can open it, it is deleted.",
		},
		Do: "Replace the key", Action: path + "/rotate-key", Back: path,
	})
}

func (d *Dashboard) rotateKey(c *gin.Context, v visitor) error {
	id, err := pathID(c, "agent")
	if err != nil {
		return err
	}
	made, err := d.deps.Agents.RotateKey(c.Request.Context(), v.principal, client(c), id)
	if err != nil {
		return err
	}
	return d.showKey(c, v, http.StatusOK, made, true)
}

func (d *Dashboard) detail(c *gin.Context, v visitor) (agents.Detail, error) {
	id, err := pathID(c, "agent")
	if err != nil {
		return agents.Detail{}, err
	}
	return d.deps.Agents.Get(c.Request.Context(), v.principal, id)
}

func (d *Dashboard) deleteAgentPage(c *gin.Context, v visitor) error {
	detail, err := d.detail(c, v)
	if err != nil {
		return err
	}
	path := agentPath(detail.Agent.ID)
	return d.confirm(c, v, "agents", confirmation{
		Question: "Delete the agent " + detail.Agent.Name + "?",
		Lost: []string{
			"Its key is refused from now on, and cannot be had back.",
			"Its credential grants (" + strconv.Itoa(len(detail.Grants)) + ") end. The tokens themselves stay in the vaults that somebody opens.",
			"A credential that nobody but this agent can open is deleted.",
			"What the record says about it stays.",
		},
		Do: "Delete the agent", Action: path + "/delete", Back: path,
	})
}

func (d *Dashboard) deleteAgent(c *gin.Context, v visitor) error {
	id, err := pathID(c, "agent")
	if err != nil {
		return err
	}
	if _, err := d.deps.Agents.Delete(c.Request.Context(), v.principal, client(c), id); err != nil {
		return err
	}
	return d.done(c, "/agents", flashAgentDeleted)
}

func (d *Dashboard) grant(c *gin.Context, v visitor) error {
	id, err := pathID(c, "agent")
	if err != nil {
		return err
	}
	form, err := readForm(c)
	if err != nil {
		return err
	}
	hours, err := strconv.Atoi(form.Get("hours"))
	if err != nil || hours < 0 || hours > 30*24 {
		return fault.Field("hours", "A credential grant lasts 1 to %d hours, or until it is revoked.", 30*24)
	}
	in := agents.GrantInput{ServiceName: form.Get("serviceName"), ExpiresIn: time.Duration(hours) * time.Hour, RefreshPolicy: models.RefreshAuto}
	switch models.RefreshPolicy(form.Get("refreshPolicy")) {
	case "", models.RefreshAuto:
	case models.RefreshNever:
		in.RefreshPolicy = models.RefreshNever
	default:
		return fault.Field("refreshPolicy", "The refresh policy is %q or %q.", models.RefreshAuto, models.RefreshNever)
	}
	_, err = d.deps.Grants.Grant(c.Request.Context(), v.principal, client(c), id, in)
	if err == nil {
		return d.done(c, agentPath(id), flashGranted)
	}
	failure, ok := mendable(err)
	if !ok {
		return err
	}
	if failure.Code == fault.TokenNotFound || failure.Field == "service" { // say it beside the field
		failure = &fault.Error{Code: failure.Code, Field: "serviceName", Message: failure.Message}
	}
	detail, err := d.deps.Agents.Get(c.Request.Context(), v.principal, id)
	if err != nil {
		return err
	}
	return d.showAgentPage(c, v, detail, in.ServiceName, hours, failure)
}

func (d *Dashboard) revoke(c *gin.Context, v visitor) error {
	id, err := pathID(c, "agent")
	if err != nil {
		return err
	}
	form, err := readForm(c)
	if err != nil {
		return err
	}
	// Somebody else may have revoked it meanwhile: what was wanted holds.
	err = d.deps.Grants.Revoke(c.Request.Context(), v.principal, client(c), id, form.Get("serviceName"))
	if err != nil && fault.CodeOf(err) != fault.NotFound {
		return err
	}
	return d.done(c, agentPath(id), flashRevoked)
}
