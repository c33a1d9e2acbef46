package dashboard

import (
	"context"
	"net/url"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/vaults"
)

// Record reads the audit record.
type Record interface {
	List(ctx context.Context, accountID uuid.UUID, filter audit.Filter) (audit.Page, error)
	Series(ctx context.Context, accountID uuid.UUID, filter audit.SeriesFilter) ([]audit.Point, error)
}

// Chain tells what verifying the record has found.
type Chain interface {
	State(ctx context.Context) (audit.ChainState, error)
}

func (d *Dashboard) auditRoutes(r routes) {
	r.page("/audit", d.user(d.auditPage))
}

const (
	auditPageRows = 50
	maxOffered    = 1000 // agents and tokens that the filter offers, and events link to
)

// auditView is what the page shows.
type auditView struct {
	Form     auditForm
	Types    []eventKind
	Sources  []sourceKind
	Agents   []models.Agent
	Services []string
	Periods  []link
	Charts   []chart
	Chain    audit.ChainState
	Breaks   []breakRow
	Events   []eventRow
	Shown    string // what the list is of, in words
	Older    string
	Newest   string // where the newest page is; empty: this is it
	CSV      string
	JSON     string
}

// A link is one of several ways to see a page.
type link struct {
	Text    string
	URL     string
	Current bool
}

func (d *Dashboard) auditPage(c *gin.Context, v visitor) error {
	ctx, now := c.Request.Context(), d.deps.Now()
	form, failure := readAuditForm(c.Request.URL.Query(), now)
	p := auditView{Form: form, Types: eventKinds(), Sources: sourceKinds(), Periods: form.periods()}
	agents, _, err := d.deps.Agents.List(ctx, v.principal, vaults.Page{Limit: maxOffered})
	if err != nil {
		return err
	}
	tokens, _, err := d.deps.Tokens.Tokens(ctx, v.principal, vaults.Page{Limit: maxOffered})
	if err != nil {
		return err
	}
	if p.Chain, err = d.deps.Chain.State(ctx); err != nil {
		return err
	}
	p.Agents, p.Breaks = agents, breakRows(p.Chain.Breaks)
	for _, t := range tokens {
		p.Services = append(p.Services, t.Token.ServiceName)
	}
	if failure == nil {
		failure, err = d.auditList(ctx, v, &p, now)
	}
	if err != nil {
		return err
	}
	return d.render(c, statusOf(failure), "audit", view{Title: "Audit record", Section: "audit", Page: p, Problem: failure}, &v)
}

// auditList fills in what the filter chooses; a failure is for the person to mend.
func (d *Dashboard) auditList(ctx context.Context, v visitor, p *auditView, now time.Time) (*fault.Error, error) {
	list, err := d.deps.Audit.List(ctx, v.principal.AccountID, p.Form.filter)
	if err != nil {
		if failure, ok := mendable(err); ok {
			return failure, nil
		}
		return nil, err
	}
	p.Events = rowsOf(list.Events, p.Agents, p.Services)
	p.links(p.Form, list.NextCursor)
	p.Charts, err = d.auditCharts(ctx, v.principal.AccountID, p.Form, now)
	return nil, err
}

// links are where the rest of what the filter chooses is.
func (p *auditView) links(f auditForm, next string) {
	p.Shown = f.words(p.Agents)
	if next != "" {
		older := f.query()
		older.Set("cursor", next)
		p.Older = "/audit?" + older.Encode()
	}
	if f.filter.Cursor != "" {
		p.Newest = withQuery("/audit", f.query())
	}
	file := url.Values{}
	for name, value := range map[string]string{
		"serviceName": f.Service, "agentId": f.Agent, "eventType": f.Type, "source": f.Source, "outcome": f.Outcome,
		"since": rfc3339(f.filter.Since), "until": rfc3339(f.filter.Until),
	} {
		if value != "" {
			file.Set(name, value)
		}
	}
	file.Set("format", "csv")
	p.CSV = "/api/tokens/audit-log?" + file.Encode()
	file.Set("format", "json")
	file.Set("download", "true")
	p.JSON = "/api/tokens/audit-log?" + file.Encode()
}

func rfc3339(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

func withQuery(path string, query url.Values) string {
	if len(query) == 0 {
		return path
	}
	return path + "?" + query.Encode()
}

// auditCharts are of the token and agent that the filter chooses, over its time.
func (d *Dashboard) auditCharts(ctx context.Context, accountID uuid.UUID, f auditForm, now time.Time) ([]chart, error) {
	over := f.span(now)
	points, err := d.deps.Audit.Series(ctx, accountID, audit.SeriesFilter{
		Service: f.filter.Service, AgentID: f.filter.AgentID, Since: over.since, Until: over.until, Bucket: over.step,
	})
	if err != nil {
		return nil, err
	}
	releases := newChart("releases", "Releases and refusals", over,
		series{"Released", "good", "release", "releases"}, series{"Refused", "bad", "refusal", "refusals"})
	refreshes := newChart("refreshes", "Refreshes", over,
		series{"Renewed", "good", "renewal", "renewals"}, series{"Tried again later", "warn", "failure that is tried again", "failures that are tried again"},
		series{"Needs you", "bad", "failure until you connect again", "failures until you connect again"})
	for _, p := range points {
		releases.add(p.At, p.Releases, p.Refusals)
		refreshes.add(p.At, p.Refreshed, p.RefreshFailed, p.Reauthorize)
	}
	releases.summarize("No agent asked for anything", over)
	refreshes.summarize("Nothing was refreshed", over)
	return []chart{releases, refreshes}, nil
}
