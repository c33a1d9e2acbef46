package dashboard

import (
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/refresh"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/renew"
)

// An eventKind is a type of event in words.
type eventKind struct {
	Type audit.EventType
	Text string
}

// eventKinds are what the page's filter offers, in the order in which it does.
func eventKinds() []eventKind {
	return []eventKind{
		{audit.Release, "Released to an agent"},
		{audit.Refusal, "Refused"},
		{audit.Reveal, "Shown to you"},
		{audit.TicketIssued, "Ticket signed for your browser"},
		{audit.Refresh, "Refreshed"},
		{audit.Store, "Stored or changed"},
		{audit.Delete, "Deleted"},
		{audit.GrantGiven, "Access given"},
		{audit.GrantRevoked, "Access taken away"},
		{audit.AgentChanged, "Agent changed"},
		{audit.KeyChanged, "Key or session changed"},
		{audit.SignIn, "Signed in or out"},
		{audit.Bind, "Webhook bound or unbound"},
		{audit.Lock, "Vault locked or unlocked"},
		{audit.Link, "Vault shared"},
	}
}

func wordsOf(kind string) string {
	for _, k := range eventKinds() {
		if string(k.Type) == kind {
			return k.Text
		}
	}
	return kind
}

// A sourceKind is a door in words.
type sourceKind struct {
	Source audit.Source
	Text   string
}

func sourceKinds() []sourceKind {
	return []sourceKind{{audit.Agent, "An agent"}, {audit.Direct, "You"}, {audit.Proxy, "The MCP proxy"}, {audit.System, "This server by itself"}}
}

func sourceWords(source string) string {
	for _, k := range sourceKinds() {
		if string(k.Source) == source {
			return k.Text
		}
	}
	return source
}

// eventRow is an event as the table shows it.
type eventRow struct {
	At      time.Time
	What    string
	Outcome badge
	Why     string // it was refused or failed
	Service string
	Linked  bool   // the service has a page
	Agent   string // its name; its id if the agent is gone
	AgentID string // empty: it has no page
	Source  string
	Address string
	Client  string
	Detail  string
}

// rowsOf makes rows. Events of agents and tokens that exist link to their pages.
func rowsOf(events []models.AuditEvent, agents []models.Agent, services []string) []eventRow {
	names := make(map[uuid.UUID]string, len(agents))
	for _, a := range agents {
		names[a.ID] = a.Name
	}
	rows := make([]eventRow, len(events))
	for i, e := range events {
		row := eventRow{
			At: e.At, What: happened(e), Outcome: badge{Look: "good", Text: "Done"}, Service: e.ServiceName,
			Linked: slices.Contains(services, e.ServiceName), Source: sourceWords(e.Source), Address: e.Address, Client: e.Client, Detail: detailWords(e),
		}
		if e.Outcome != audit.OutcomeOK {
			row.Outcome, row.Why = badge{Look: "bad", Text: "Refused"}, refusalWords(fault.Code(e.Outcome))
			if e.EventType != string(audit.Refusal) {
				row.Outcome = badge{Look: "warn", Text: "Failed"}
			}
		}
		if e.EventType == string(audit.Refresh) {
			row.describeRefresh(e)
		}
		if e.AgentID != nil {
			if row.Agent = names[*e.AgentID]; row.Agent != "" {
				row.AgentID = e.AgentID.String()
			} else {
				row.Agent = e.AgentID.String()
			}
		}
		rows[i] = row
	}
	return rows
}

// A breakRow is a stream that does not verify, with the first of what is wrong.
type breakRow struct {
	Stream   string
	Problems []string
	More     int
}

const shownProblems = 3

func breakRows(breaks []audit.Break) []breakRow {
	rows := make([]breakRow, len(breaks))
	for i, b := range breaks {
		problems := b.Problems
		rows[i] = breakRow{Stream: b.StreamID.String(), Problems: problems[:min(shownProblems, len(problems))], More: max(0, len(problems)-shownProblems)}
	}
	return rows
}

// describeRefresh says in words what a refresh's detail says in pairs.
func (row *eventRow) describeRefresh(e models.AuditEvent) {
	said, _ := pairs(e.Detail)
	switch refresh.Kind(said["outcome"]) {
	case refresh.Rotated:
		row.Outcome.Text = "Renewed"
	case refresh.StillValid:
		row.Outcome.Text = "Still valid"
	case refresh.RetryAt, refresh.NeedsReauthorization:
		if reason := said["reason"]; reason != "" {
			row.Why = sentence(renew.Why(refresh.Reason(reason)))
		}
	}
}

// sentence makes a sentence of half a one.
func sentence(words string) string {
	if words == "" {
		return ""
	}
	return capital(words) + "."
}

// refusalWords says why something was refused or failed.
func refusalWords(code fault.Code) string {
	words := map[fault.Code]string{
		fault.NoGrant:                 "The agent was not granted this token.",
		fault.GrantExpired:            "The agent's permission had expired.",
		fault.AgentInactive:           "The agent is suspended.",
		fault.VaultLocked:             "The vault was locked.",
		fault.TokenNotFound:           "There is no such token.",
		fault.TokenEmpty:              "The token has no credential in it.",
		fault.WebhookNotConfigured:    "No webhook is bound.",
		fault.WebhookUnavailable:      "The webhook could not be reached.",
		fault.WebhookAuthFailed:       "The webhook did not accept this server's signature.",
		fault.WebhookMismatch:         "The webhook was not the one that its owner saw.",
		fault.BindCodeInvalid:         "The code to bind a webhook was wrong or too old.",
		fault.WrongVaultMode:          "The vault is of the other mode.",
		fault.ReauthorizationRequired: "The account has to be connected again.",
		fault.RefreshFailed:           "The token had expired and could not be refreshed.",
		fault.RateLimited:             "It was asked for too often.",
		fault.ScopeDenied:             "The key does not permit this.",
		fault.LoginFailed:             "E-mail address or password was wrong.",
		fault.InvalidKey:              "The key was not valid.",
		fault.Conflict:                "Something else had changed it meanwhile.",
		fault.InvalidRequest:          "The request was not understood.",
		fault.NotFound:                "It does not exist.",
		fault.Unavailable:             "This server could not do it at the time.",
		fault.Internal:                "Something went wrong in this server; its log says what.",
	}[code]
	if words == "" {
		return string(code)
	}
	return words
}
