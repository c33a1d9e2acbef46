package dashboard

import (
	"time"

	"github.com/gin-gonic/gin"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/agents"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/vaults"
)

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

// A grantForm is what somebody filled into the form by which a token is granted.
type grantForm struct {
	Service string
	Hours   int
	Never   bool
}

// newGrant is the form as it begins.
func newGrant() grantForm { return grantForm{Hours: 24} }

func (d *Dashboard) agentPage(c *gin.Context, v visitor) error {
	id, err := pathID(c, "agent")
	if err != nil {
		return err
	}
	detail, err := d.deps.Agents.Get(c.Request.Context(), v.principal, id)
	if err != nil {
		return err
	}
	form := newGrant()
	form.Service = c.Query("service") // a token's page links here
	return d.showAgentPage(c, v, detail, form, nil)
}

func (d *Dashboard) showAgentPage(c *gin.Context, v visitor, detail agents.Detail, form grantForm, failure *fault.Error) error {
	type page struct {
		Agent             agentRow
		Active            bool
		Grants            []grantRow
		Services          []string
		Service           field
		Lives             []life
		Hours             int
		Never             bool
		Webhook           bool
		Snippets          []snippet
		Activity          activity
		Name, Description field
	}
	p := page{
		Webhook: bound(v), Agent: showAgent(detail.Agent), Active: detail.Agent.Status == models.AgentActive, Lives: lives(), Hours: form.Hours, Never: form.Never,
		Service: field{Name: "serviceName", Label: "Token", Type: "text", Value: form.Service, Hint: "The service name of one of your tokens.", Required: true, MaxLength: 128},
	}
	p.Name, p.Description = agentFields(detail.Agent.Name, detail.Agent.Description)
	p.Name.Hint = ""
	now := d.deps.Now()
	for _, g := range detail.Grants {
		p.Grants = append(p.Grants, grantRow{Service: g.ServiceName, ExpiresAt: g.ExpiresAt, Expired: g.Expired(now), CreatedAt: g.CreatedAt, Never: g.RefreshPolicy == models.RefreshNever})
	}
	ctx := c.Request.Context()
	tokens, _, err := d.deps.Tokens.Tokens(ctx, v.principal, vaults.Page{Limit: pageSize})
	if err != nil {
		return err
	}
	for _, token := range tokens {
		p.Services = append(p.Services, token.Token.ServiceName)
	}
	if p.Activity, err = d.activityOf(ctx, v, detail.Agent.ID, p.Services); err != nil {
		return err
	}
	// The agent's row is written some seconds after its use, the record before it.
	if seen := p.Activity.LastSeen; seen != nil && (p.Agent.LastUsedAt == nil || seen.After(*p.Agent.LastUsedAt)) {
		p.Agent.LastUsedAt = seen
	}
	example := ""
	if len(p.Grants) > 0 {
		example = p.Grants[0].Service
	}
	p.Snippets = d.agentSnippets(p.Webhook, example, "")
	return d.render(c, statusOf(failure), "agent", view{
		Title: detail.Agent.Name, Section: "agents", Page: &p, Problem: mark(failure, &p.Service, &p.Name, &p.Description),
	}, &v)
}
