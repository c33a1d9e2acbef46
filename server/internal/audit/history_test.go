package audit_test

import (
	"maps"
	"testing"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/models/store/storetest"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/fault"
)

func TestAHistoryTellsWhichWaysATokenWent(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		r := start(t, s, s, ring(t))
		account := models.NewID()
		record := func(kind audit.EventType, detail, request string, outcome fault.Code) {
			mustRecord(t, r, audit.Event{AccountID: account, Type: kind, Source: audit.Direct, Service: "github", Detail: detail, Outcome: outcome, Client: audit.Client{RequestID: request}})
		}
		record(audit.Release, "", "", "")
		record(audit.TicketIssued, "purpose=store mode=create", "", "")
		record(audit.TicketIssued, "purpose=totp_code", "", "")
		record(audit.TicketIssued, "purpose=agent_credential probe", "", "")
		record(audit.Store, "connected at google as a@b.example", "", "")
		record(audit.Store, "metadata changed: notes", "", "")
		record(audit.Refresh, "path=tv-mediated: the webhook is asked for the refresh token", "", "")
		record(audit.Refresh, "path=notify outcome=retry_at", "", fault.RefreshFailed)
		record(audit.Reveal, "", "r1", "") // recorded first, and then it failed
		record(audit.Reveal, "", "r1", fault.Unavailable)
		record(audit.Reveal, "to revoke it at google", "r1", "")
		record(audit.GrantGiven, "expires=never", "r2", "")
		record(audit.Bind, "has a service, and is no way", "", "")
		mustRecord(t, r, audit.Event{AccountID: account, Type: audit.Release, Source: audit.Proxy, Service: "github"},
			audit.Event{AccountID: account, Type: audit.Delete, Service: "other"})

		h, err := r.History(t.Context(), account, "github")
		if err != nil {
			t.Fatal(err)
		}
		got := map[audit.Way]bool{}
		for way, at := range h.Last {
			got[way] = !at.IsZero()
		}
		want := map[audit.Way]bool{
			audit.WayAgent: true, audit.WayStoreTicket: true, audit.WayCode: true, audit.WayConnected: true, audit.WayMediated: true,
			audit.WayRevoked: true, audit.WayGranted: true, audit.WayProxy: true,
		}
		if !maps.Equal(got, want) {
			t.Errorf("ways %v, want %v", got, want)
		}
		if len(h.Latest) != 10 || h.Latest[0].Source != string(audit.Proxy) || h.Latest[1].EventType != string(audit.GrantGiven) {
			t.Errorf("latest %+v, want ten events of this service, newest first", h.Latest)
		}
		if h, err := r.History(t.Context(), account, "nothing"); err != nil || len(h.Last) != 0 || len(h.Latest) != 0 {
			t.Errorf("of nothing: %+v, %v; want nothing", h, err)
		}
	})
}
