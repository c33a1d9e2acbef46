package dashboard

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/audit"
)

// What the page of an agent shows of the record.
const (
	activityShown = 20
	activitySpan  = 7 * 24 * time.Hour
)

// activity is what the record says of an agent lately.
type activity struct {
	Events   []activityRow
	Older    bool // there are more than those
	Releases int  // within activitySpan
	Refusals int
	More     bool // the two are only those of the newest events: there are too many to count
}

type activityRow struct {
	At      time.Time
	Type    string
	Outcome badge
	Service string
	Address string
	Detail  string
}

func (d *Dashboard) activityOf(ctx context.Context, v visitor, agent uuid.UUID) (activity, error) {
	newest, err := d.deps.Audit.List(ctx, v.principal.AccountID, audit.Filter{AgentID: agent, Limit: activityShown})
	if err != nil {
		return activity{}, err
	}
	a := activity{Older: newest.NextCursor != ""}
	for _, e := range newest.Events {
		a.Events = append(a.Events, showActivity(e))
	}
	week, err := d.deps.Audit.List(ctx, v.principal.AccountID, audit.Filter{AgentID: agent, Since: d.deps.Now().Add(-activitySpan), Limit: audit.MaxLimit})
	if err != nil {
		return activity{}, err
	}
	a.More = week.NextCursor != ""
	for _, e := range week.Events {
		switch audit.EventType(e.EventType) {
		case audit.Release:
			a.Releases++
		case audit.Refusal:
			a.Refusals++
		}
	}
	return a, nil
}

func showActivity(e models.AuditEvent) activityRow {
	row := activityRow{At: e.At, Type: e.EventType, Service: e.ServiceName, Address: e.Address, Detail: e.Detail, Outcome: badge{Look: "good", Text: e.Outcome}}
	if e.Outcome != audit.OutcomeOK {
		row.Outcome.Look = "warn"
	}
	return row
}
