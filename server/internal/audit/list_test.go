package audit_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/models/store/storetest"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/fault"
)

// details lists all pages of a filter, with how many pages there were.
func details(t *testing.T, r run, account uuid.UUID, f audit.Filter) (list []string, pages int) {
	t.Helper()
	for {
		page, err := r.List(t.Context(), account, f)
		if err != nil {
			t.Fatalf("List(%+v): %v", f, err)
		}
		pages++
		for _, e := range page.Events {
			if e.AccountID != account {
				t.Fatalf("an event of account %s is in the list of %s", e.AccountID, account)
			}
			list = append(list, e.Detail)
		}
		if page.NextCursor == "" {
			return list, pages
		}
		f.Cursor = page.NextCursor
	}
}

func TestAListHasEveryEventOfItsAccountNewestFirst(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		r := start(t, s, s, ring(t))
		agent, other := models.NewID(), models.NewID()
		var all []string
		for i := range 120 {
			e := event(fmt.Sprint(i))
			switch i % 4 {
			case 1:
				e.AgentID = agent
			case 2:
				e.Service = "gitlab"
			case 3:
				e.Type, e.Source = audit.Refusal, audit.Proxy
			}
			mustRecord(t, r, e)
			all = append([]string{e.Detail}, all...)
			if i%10 != 0 {
				continue
			}
			foreign := e
			foreign.AccountID = other
			mustRecord(t, r, foreign)
			if page, err := r.List(t.Context(), account, audit.Filter{Limit: 1}); err != nil || page.Events[0].Detail != e.Detail {
				t.Fatalf("just after event %s the newest is %+v, %v", e.Detail, page.Events, err)
			}
		}
		every := func(rest int) (list []string) {
			for _, d := range all {
				var i int
				_, _ = fmt.Sscan(d, &i)
				if i%4 == rest {
					list = append(list, d)
				}
			}
			return list
		}
		middle, err := r.List(t.Context(), account, audit.Filter{Limit: 60})
		if err != nil {
			t.Fatal(err)
		}
		since := middle.Events[59].At
		var recent []string
		for _, e := range must(t)(s.AuditEvents(t.Context(), account, models.AuditFilter{})) {
			if !e.At.Before(since) {
				recent = append(recent, e.Detail)
			}
		}
		for _, c := range []struct {
			name   string
			filter audit.Filter
			want   []string
			pages  int
		}{
			{"all by default", audit.Filter{}, all, 3},
			{"pages that come out even", audit.Filter{Limit: 60}, all, 2},
			{"pages of one", audit.Filter{Limit: 1}, all, 120},
			{"the longest page", audit.Filter{Limit: audit.MaxLimit}, all, 1},
			{"an agent", audit.Filter{AgentID: agent, Limit: 7}, every(1), 5},
			{"a service", audit.Filter{Service: "gitlab", Limit: 30}, every(2), 1},
			{"a type", audit.Filter{Type: audit.Refusal}, every(3), 1},
			{"a source", audit.Filter{Source: audit.Proxy}, every(3), 1},
			{"a type and another source", audit.Filter{Type: audit.Refusal, Source: audit.Direct}, nil, 1},
			{"since", audit.Filter{Since: since, Limit: 1000}, recent, 1},
			{"since tomorrow", audit.Filter{Since: time.Now().Add(24 * time.Hour)}, nil, 1},
			{"another agent", audit.Filter{AgentID: other}, nil, 1},
		} {
			got, pages := details(t, r, account, c.filter)
			if strings.Join(got, " ") != strings.Join(c.want, " ") || pages != c.pages {
				t.Errorf("%s: %d pages of %v, want %d pages of %v", c.name, pages, got, c.pages, c.want)
			}
		}
	})
}

func must(t *testing.T) func([]models.AuditEvent, error) []models.AuditEvent {
	return func(list []models.AuditEvent, err error) []models.AuditEvent {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
}

// A reader that must not be asked.
type noReader struct{ t *testing.T }

func (r noReader) AuditEvents(context.Context, uuid.UUID, models.AuditFilter) ([]models.AuditEvent, error) {
	r.t.Error("a refused list was read")
	return nil, nil
}

func (r noReader) AuditSeries(context.Context, uuid.UUID, models.AuditSeries) ([]models.AuditCounts, error) {
	r.t.Error("a refused series was read")
	return nil, nil
}

func (r noReader) AuditHistory(context.Context, uuid.UUID, string, []string, int) ([]models.AuditEvent, error) {
	r.t.Error("a history was read")
	return nil, nil
}

func TestABadListNamesItsField(t *testing.T) {
	t.Parallel()
	id := models.NewID().String()
	r := start(t, newLedger(), noReader{t}, ring(t))
	for _, c := range []struct {
		filter audit.Filter
		field  string
	}{
		{audit.Filter{Limit: -1}, "limit"},
		{audit.Filter{Limit: audit.MaxLimit + 1}, "limit"},
		{audit.Filter{Cursor: "x"}, "cursor"},
		{audit.Filter{Cursor: "urn:uuid:" + id}, "cursor"},
		{audit.Filter{Cursor: "{" + id + "}"}, "cursor"},
		{audit.Filter{Cursor: strings.ToUpper(id)}, "cursor"},
		{audit.Filter{Cursor: strings.ReplaceAll(id, "-", "")}, "cursor"},
	} {
		_, err := r.List(t.Context(), account, c.filter)
		if f := fault.From(err); f == nil || f.Code != fault.InvalidRequest || f.Field != c.field {
			t.Errorf("%+v: got %v, want INVALID_REQUEST of %s", c.filter, err, c.field)
		}
	}
}
