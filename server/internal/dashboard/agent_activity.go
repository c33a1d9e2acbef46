package dashboard

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/server/internal/audit"
)

// What the page of an agent shows of the record.
const (
	activityShown = 20
	activitySpan  = 7 * 24 * time.Hour
)

// activity is what the record says of an agent lately.
type activity struct {
	Events   []eventRow
	Older    bool // there are more than those
	Releases int  // within activitySpan
	Refusals int
	LastSeen *time.Time // when it last asked for something, nil: not among the newest events
	More     bool       // the two are only those of the newest events: there are too many to count
}

func (d *Dashboard) activityOf(ctx context.Context, v visitor, agent uuid.UUID, services []string) (activity, error) {
	newest, err := d.deps.Audit.List(ctx, v.principal.AccountID, audit.Filter{AgentID: agent, Limit: activityShown})
	if err != nil {
		return activity{}, err
	}
	a := activity{Older: newest.NextCursor != ""}
	a.Events = rowsOf(newest.Events, nil, services)
	for _, e := range newest.Events {
		if e.Source == string(audit.Agent) && (a.LastSeen == nil || e.At.After(*a.LastSeen)) {
			a.LastSeen = &e.At
		}
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
