package api

import (
	"net/url"
	"slices"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
)

// eventTypes and sources are what a filter may name.
func eventTypes() []audit.EventType {
	return []audit.EventType{
		audit.Release, audit.Refusal, audit.TicketIssued, audit.Reveal, audit.Store, audit.Delete, audit.Refresh,
		audit.GrantGiven, audit.GrantRevoked, audit.AgentChanged, audit.KeyChanged, audit.SignIn, audit.Bind, audit.Lock, audit.Link,
		"link", "policy_changed", // recorded by what later versions add
	}
}

func sources() []audit.Source {
	return []audit.Source{audit.Direct, audit.Agent, audit.Proxy, audit.System}
}

type eventJSON struct {
	ID          uuid.UUID  `json:"id"`
	Timestamp   time.Time  `json:"timestamp"`
	EventType   string     `json:"eventType"`
	Source      string     `json:"source"`
	Outcome     string     `json:"outcome"` // "ok", or the code of a refusal
	ServiceName string     `json:"serviceName"`
	AgentID     *uuid.UUID `json:"agentId"`
	GrantID     *uuid.UUID `json:"grantId"`
	Address     string     `json:"address"`
	Client      string     `json:"client"`
	RequestID   string     `json:"requestId"`
	Detail      string     `json:"detail"`
}

func showEvent(e models.AuditEvent) eventJSON {
	return eventJSON{
		ID: e.ID, Timestamp: e.At.UTC(), EventType: e.EventType, Source: e.Source, Outcome: e.Outcome,
		ServiceName: e.ServiceName, AgentID: e.AgentID, GrantID: e.GrantID, Address: e.Address, Client: e.Client,
		RequestID: e.RequestID, Detail: e.Detail,
	}
}

type pagination struct {
	HasMore    bool   `json:"hasMore"`
	NextCursor string `json:"nextCursor,omitempty"`
}

func paginationOf(next string) pagination { return pagination{HasMore: next != "", NextCursor: next} }

// auditFilter reads the filters of the audit log. An empty one is no filter.
func auditFilter(values url.Values) (audit.Filter, error) {
	f := audit.Filter{
		Service: values.Get("serviceName"), Type: audit.EventType(values.Get("eventType")),
		Source: audit.Source(values.Get("source")), Only: audit.Only(values.Get("outcome")), Cursor: values.Get("cursor"),
	}
	if f.Type != "" && !slices.Contains(eventTypes(), f.Type) {
		return f, fault.Field("eventType", "There is no such eventType. They are: %s.", join(eventTypes()))
	}
	if f.Source != "" && !slices.Contains(sources(), f.Source) {
		return f, fault.Field("source", "There is no such source. They are: %s.", join(sources()))
	}
	if text := values.Get("agentId"); text != "" {
		id, valid := parseID(text)
		if !valid {
			return f, fault.Field("agentId", "The agentId is not the id of an agent.")
		}
		f.AgentID = id
	}
	if f.Only != "" && f.Only != audit.Done && f.Only != audit.Refused {
		return f, fault.Field("outcome", `The outcome is "ok" or "refused".`)
	}
	for name, to := range map[string]*time.Time{"since": &f.Since, "until": &f.Until} {
		text := values.Get(name)
		if text == "" {
			continue
		}
		at, err := time.Parse(time.RFC3339, text)
		if err != nil {
			return f, fault.Field(name, "The time in %s is written like 2026-01-31T12:00:00Z (RFC 3339).", name)
		}
		*to = at
	}
	limit, err := limitOf(values)
	f.Limit = limit
	return f, err
}

func join[T ~string](names []T) string {
	out := ""
	for i, n := range names {
		if i > 0 {
			out += ", "
		}
		out += string(n)
	}
	return out
}

func (a *API) auditLog(c *gin.Context, p grants.Principal) error {
	values, err := query(c, "serviceName", "agentId", "eventType", "source", "outcome", "since", "until", "limit", "cursor", "format", "download")
	if err != nil {
		return err
	}
	filter, err := auditFilter(values)
	if err != nil {
		return err
	}
	download := values.Get("download")
	if download != "" && download != "true" && download != "false" {
		return fault.Field("download", "download is true or false.")
	}
	switch values.Get("format") {
	case "", "json":
		if download == "true" {
			return a.exportAudit(c, p, filter, newJSON)
		}
	case "csv":
		return a.exportAudit(c, p, filter, newCSV)
	default:
		return fault.Field("format", `The format is "json" or "csv".`)
	}
	pg, err := a.deps.Audit.List(c.Request.Context(), p.AccountID, filter)
	if err != nil {
		return err
	}
	events := make([]eventJSON, len(pg.Events))
	for i, e := range pg.Events {
		events[i] = showEvent(e)
	}
	return ok(c, struct {
		Events     []eventJSON `json:"events"`
		Pagination pagination  `json:"pagination"`
	}{events, paginationOf(pg.NextCursor)})
}
