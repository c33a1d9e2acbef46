package dashboard

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/vaults"
	"github.com/tvzero/tokenvault/server/internal/web"
)

// Record reads the audit record.
type Record interface {
	List(ctx context.Context, accountID uuid.UUID, filter audit.Filter) (audit.Page, error)
}

func (d *Dashboard) auditRoutes(r routes) {
	r.page("/audit", d.user(d.auditPage))
}

type eventRow struct {
	At      time.Time
	Type    string
	Outcome badge
	Service string
	Agent   string // its name; its id if the agent is gone
	AgentID string
	Source  string
	Address string
	Client  string
	Detail  string
}

// eventTypes are what the page's filter offers.
func eventTypes() []audit.EventType {
	return []audit.EventType{
		audit.Release, audit.Refusal, audit.TicketIssued, audit.Reveal, audit.Store, audit.Delete, audit.Refresh,
		audit.GrantGiven, audit.GrantRevoked, audit.AgentChanged, audit.KeyChanged, audit.SignIn, audit.Bind, audit.Lock, audit.Link,
	}
}

func (d *Dashboard) auditPage(c *gin.Context, v visitor) error {
	type page struct {
		Events  []eventRow
		Types   []audit.EventType
		Service string
		Type    audit.EventType
		Older   string
		CSV     string
		Cursor  bool
	}
	f := audit.Filter{Service: c.Query("service"), Type: audit.EventType(c.Query("type")), Cursor: c.Query("cursor"), Limit: 100}
	for name, value := range map[string]string{"service": f.Service, "cursor": f.Cursor} {
		if err := web.CheckText(name, value, 512); err != nil {
			return err
		}
	}
	if f.Type != "" && !slices.Contains(eventTypes(), f.Type) {
		return fault.Field("type", "The record has no such kind of event.")
	}
	ctx := c.Request.Context()
	list, err := d.deps.Audit.List(ctx, v.principal.AccountID, f)
	if err != nil {
		return err
	}
	agents, _, err := d.deps.Agents.List(ctx, v.principal, vaults.Page{Limit: 1000})
	if err != nil {
		return err
	}
	names := map[uuid.UUID]string{}
	for _, a := range agents {
		names[a.ID] = a.Name
	}
	p := page{Types: eventTypes(), Service: f.Service, Type: f.Type, Cursor: f.Cursor != ""}
	for _, e := range list.Events {
		row := eventRow{
			At: e.At, Type: e.EventType, Service: e.ServiceName, Source: e.Source, Address: e.Address, Client: e.Client, Detail: e.Detail,
			Outcome: badge{Look: "good", Text: e.Outcome},
		}
		if e.Outcome != audit.OutcomeOK {
			row.Outcome.Look = "warn"
		}
		if e.AgentID != nil {
			row.AgentID = e.AgentID.String()
			if row.Agent = names[*e.AgentID]; row.Agent == "" {
				row.Agent, row.AgentID = row.AgentID, ""
			}
		}
		p.Events = append(p.Events, row)
	}
	if list.NextCursor != "" {
		p.Older = "/audit?" + values("cursor", list.NextCursor, "service", f.Service, "type", string(f.Type))
	}
	p.CSV = "/api/tokens/audit-log?" + values("format", "csv", "serviceName", f.Service, "eventType", string(f.Type))
	return d.render(c, http.StatusOK, "audit", view{Title: "Audit record", Section: "audit", Page: p}, &v)
}

// values encodes those pairs whose value is not empty.
func values(pairs ...string) string {
	out := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			out.Set(pairs[i], pairs[i+1])
		}
	}
	return out.Encode()
}
