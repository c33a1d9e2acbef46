package audit

import (
	"context"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
)

// A Way is one by which a credential went somewhere, or was used, as events tell it.
type Way string

// The ways. An event of another kind is of none of them.
const (
	WayStored      Way = "stored"       // here, in platform mode
	WayStoreTicket Way = "store_ticket" // a browser stored it at the webhook
	WayConnect     Way = "connect"      // the webhook connected its account
	WayConnected   Way = "connected"    // this server did
	WayMoved       Way = "moved"        // from platform mode to the webhook
	WayMovedBack   Way = "moved_back"
	WayAgent       Way = "agent"
	WayProxy       Way = "proxy"
	WayReveal      Way = "reveal" // also a one-time code in platform mode
	WayCode        Way = "code"   // a ticket for a one-time code
	WayRevoked     Way = "revoked"
	WayPlatform    Way = "platform" // refreshed when it was read
	WayMediated    Way = "mediated" // refreshed through this server
	WayNotify      Way = "notify"   // the webhook was told to refresh it
	WayGranted     Way = "granted"  // to an agent
)

// A History is what the record says of one service name, also of credentials that had it before.
type History struct {
	Last   map[Way]time.Time   // when something went a way last, and did not fail
	Latest []models.AuditEvent // newest first
}

// Limits of what is looked at: the latest events of each type.
const (
	historyEach   = 50
	historyLatest = 10
)

// historyTypes are those of events that bear a service name.
var historyTypes = [...]EventType{Release, Refusal, TicketIssued, Reveal, Store, Delete, Refresh, GrantGiven, GrantRevoked}

// History tells when a token went which way last, and its latest events. It looks at the
// latest 50 events of each type, for releases and refusals among the latest 10,000 of the
// account: a way that none of them tells of is not in it.
func (s *Service) History(ctx context.Context, accountID uuid.UUID, service string) (History, error) {
	types := make([]string, len(historyTypes))
	for i, kind := range historyTypes {
		types[i] = string(kind)
	}
	events, err := s.deps.Reader.AuditHistory(ctx, accountID, service, types, historyEach)
	if err != nil {
		return History{}, err
	}
	h := History{Last: map[Way]time.Time{}, Latest: events[:min(len(events), historyLatest)]}
	failed := map[attempt]bool{}
	for _, e := range events {
		switch way := wayOf(e); {
		case way == "":
		case e.Outcome != OutcomeOK:
			failed[attempt{way, e.RequestID}] = e.RequestID != ""
		case failed[attempt{way, e.RequestID}]: // recorded first, and then it was not done
		case h.Last[way].IsZero():
			h.Last[way] = e.At
		}
	}
	return h, nil
}

// An attempt is something that one request tried.
type attempt struct {
	way     Way
	request string
}

// wayOf reads an event as the services write it.
func wayOf(e models.AuditEvent) Way {
	says := func(beginning string) bool { return strings.HasPrefix(e.Detail, beginning) }
	switch EventType(e.EventType) {
	case Release:
		if e.Source == string(Proxy) {
			return WayProxy
		}
		return WayAgent
	case Reveal:
		if says("to revoke it") {
			return WayRevoked
		}
		return WayReveal
	case GrantGiven:
		return WayGranted
	case TicketIssued:
		for beginning, way := range map[string]Way{"purpose=store": WayStoreTicket, "purpose=connect": WayConnect, "purpose=totp_code": WayCode} {
			if says(beginning) {
				return way
			}
		}
	case Store:
		switch {
		case e.Detail == "":
			return WayStored
		case says("connected at "):
			return WayConnected
		case says("moved from platform mode"):
			return WayMoved
		case says("moved back"):
			return WayMovedBack
		}
	case Refresh:
		for beginning, way := range map[string]Way{"path=" + models.PathNotify: WayNotify, "path=" + models.PathMediated: WayMediated, "path=" + models.PathPlatform: WayPlatform} {
			if says(beginning) {
				return way
			}
		}
	}
	return ""
}
