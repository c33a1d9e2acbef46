package audit

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/fault"
)

// Limits of a page.
const (
	DefaultLimit = 50
	MaxLimit     = 1000
)

// Only narrows a list by what came of the events.
type Only string

// Zero is both.
const (
	Done    Only = "ok"      // what was done
	Refused Only = "refused" // what was refused, or failed
)

// A Filter narrows a list; zero fields do not.
type Filter struct {
	Service string
	AgentID uuid.UUID
	Type    EventType
	Source  Source
	Only    Only
	Since   time.Time // this time or later
	Until   time.Time // before this time
	Cursor  string    // NextCursor of the page before
	Limit   int       // 0: DefaultLimit
}

// A Page is part of the record, newest first.
type Page struct {
	Events     []models.AuditEvent
	NextCursor string // empty: there is no more
}

// List returns an account's events. What Record returned for is in it.
func (s *Service) List(ctx context.Context, accountID uuid.UUID, f Filter) (Page, error) {
	if f.Limit == 0 {
		f.Limit = DefaultLimit
	}
	if f.Limit < 1 || f.Limit > MaxLimit {
		return Page{}, fault.Field("limit", "The limit must be between 1 and %d.", MaxLimit)
	}
	query := models.AuditFilter{
		ServiceName: f.Service, EventType: string(f.Type), Source: string(f.Source), Limit: f.Limit + 1,
	}
	if f.AgentID != uuid.Nil {
		query.AgentID = &f.AgentID
	}
	if !f.Since.IsZero() {
		query.Since = models.StampPtr(f.Since)
	}
	if !f.Until.IsZero() {
		query.Until = models.StampPtr(f.Until)
	}
	if f.Only != "" {
		done := f.Only == Done
		query.Done = &done
	}
	if f.Cursor != "" {
		before, err := uuid.Parse(f.Cursor)
		if err != nil || before.String() != f.Cursor {
			return Page{}, fault.Field("cursor", "This cursor is not one that a list returned. Start again without it.")
		}
		query.Before = &before
	}
	events, err := s.deps.Reader.AuditEvents(ctx, accountID, query)
	if err != nil {
		return Page{}, err
	}
	if len(events) <= f.Limit {
		return Page{Events: events}, nil
	}
	events = events[:f.Limit]
	return Page{Events: events, NextCursor: events[len(events)-1].ID.String()}, nil
}
