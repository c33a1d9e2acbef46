package dashboard

import (
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/web"
)

// auditForm is the filter of the audit page as it was typed, and what it means.
type auditForm struct {
	Service, Agent, Type, Source, Outcome string
	Within                                string // the key of a period; empty: any time, or what the dates say
	From, To                              string // days, in UTC
	Wrong                                 string // the field at fault
	Why                                   string

	filter audit.Filter
}

const dayForm = "2006-01-02"

// readAuditForm reads the page's query. What is wrong with it is said beside its field, and
// nothing is listed.
func readAuditForm(q url.Values, now time.Time) (auditForm, *fault.Error) {
	f := auditForm{
		Service: q.Get("service"), Agent: q.Get("agent"), Type: q.Get("type"), Source: q.Get("source"), Outcome: q.Get("outcome"),
		Within: q.Get("within"), From: q.Get("from"), To: q.Get("to"),
	}
	f.filter = audit.Filter{
		Service: f.Service, Type: audit.EventType(f.Type), Source: audit.Source(f.Source), Only: audit.Only(f.Outcome),
		Cursor: q.Get("cursor"), Limit: auditPageRows,
	}
	err := f.check(now)
	if err == nil {
		return f, nil
	}
	failure := fault.From(err)
	f.Wrong, f.Why = failure.Field, failure.Message
	for _, text := range []*string{&f.Service, &f.Agent, &f.From, &f.To} { // what a page should not repeat
		if web.CheckText("", *text, maxLine) != nil {
			*text = ""
		}
	}
	return f, failure
}

func (f *auditForm) check(now time.Time) error {
	if err := web.CheckText("service", f.Service, 128); err != nil {
		return err
	}
	if err := web.CheckText("cursor", f.filter.Cursor, 512); err != nil {
		return err
	}
	if f.Agent != "" {
		id, err := uuid.Parse(f.Agent)
		if err != nil {
			return fault.Field("agent", "Choose one of your agents.")
		}
		f.filter.AgentID = id
	}
	if f.Type != "" && !slices.ContainsFunc(eventKinds(), func(k eventKind) bool { return k.Type == f.filter.Type }) {
		return fault.Field("type", "The record has no such kind of event. Choose one of the list.")
	}
	if f.Source != "" && !slices.ContainsFunc(sourceKinds(), func(k sourceKind) bool { return k.Source == f.filter.Source }) {
		return fault.Field("source", "Nothing comes that way. Choose one of the list.")
	}
	if f.filter.Only != "" && f.filter.Only != audit.Done && f.filter.Only != audit.Refused {
		return fault.Field("outcome", "Choose what was done, or what was refused.")
	}
	return f.times(now)
}

// times reads the period, or the days; days count when there are any.
func (f *auditForm) times(now time.Time) (err error) {
	if f.From != "" {
		if f.filter.Since, err = time.Parse(dayForm, f.From); err != nil {
			return fault.Field("from", "Write the first day like 2026-01-31.")
		}
	}
	if f.To != "" {
		last, err := time.Parse(dayForm, f.To)
		if err != nil {
			return fault.Field("to", "Write the last day like 2026-01-31.")
		}
		f.filter.Until = last.AddDate(0, 0, 1)
	}
	if f.From != "" && f.To != "" && !f.filter.Since.Before(f.filter.Until) {
		return fault.Field("to", "The last day is before the first. Exchange them.")
	}
	if f.From != "" || f.To != "" {
		f.Within = ""
		return nil
	}
	if f.Within == "" {
		return nil
	}
	p, ok := periodOf(f.Within)
	if !ok {
		return fault.Field("within", "There is no such period. Choose one of the links.")
	}
	f.filter.Since = now.Add(-p.length)
	return nil
}

// query is the filter without its place in the list.
func (f *auditForm) query() url.Values {
	out := url.Values{}
	for name, value := range map[string]string{
		"service": f.Service, "agent": f.Agent, "type": f.Type, "source": f.Source, "outcome": f.Outcome, "within": f.Within, "from": f.From, "to": f.To,
	} {
		if value != "" {
			out.Set(name, value)
		}
	}
	return out
}

// Narrowed reports whether the filter leaves anything out.
func (f auditForm) Narrowed() bool { return len(f.query()) > 0 }

// periods are links to the same filter over other times.
func (f *auditForm) periods() []link {
	links := []link{{Text: "All of it", Current: f.Within == "" && f.From == "" && f.To == ""}}
	for _, p := range periods() {
		links = append(links, link{Text: "Last " + p.text, Current: f.Within == p.key})
	}
	for i := range links {
		q := f.query()
		q.Del("from")
		q.Del("to")
		q.Del("within")
		if i > 0 {
			q.Set("within", periods()[i-1].key)
		}
		links[i].URL = withQuery("/audit", q)
	}
	return links
}

// span is the time that the charts cover: the filter's, or else the last 30 days.
func (f *auditForm) span(now time.Time) span {
	if p, ok := periodOf(f.Within); ok {
		return p.until(now)
	}
	since, until := f.filter.Since, f.filter.Until
	if since.IsZero() && until.IsZero() {
		return periods()[2].until(now)
	}
	words := "on these days"
	if until.IsZero() || until.After(now) {
		until = now
	}
	if since.IsZero() {
		since = until.AddDate(0, 0, -30)
	}
	if !since.Before(until) { // days to come
		since = until.Add(-time.Hour)
	}
	return spanOf(since, until, words)
}

// words says what the list is of.
func (f *auditForm) words(agents []models.Agent) string {
	var parts []string
	if f.Service != "" {
		parts = append(parts, "of “"+f.Service+"”")
	}
	for _, a := range agents {
		if a.ID == f.filter.AgentID {
			parts = append(parts, "by “"+a.Name+"”")
		}
	}
	switch p, ok := periodOf(f.Within); {
	case ok:
		parts = append(parts, "in the last "+p.text)
	case f.From != "" && f.From == f.To:
		parts = append(parts, "of "+f.From)
	case f.From != "" && f.To != "":
		parts = append(parts, "from "+f.From+" to "+f.To)
	case f.From != "":
		parts = append(parts, "since "+f.From)
	case f.To != "":
		parts = append(parts, "until "+f.To)
	}
	return strings.Join(parts, " ")
}
