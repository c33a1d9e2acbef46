package vaults

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// History tells what the record says of one service name.
type History interface {
	History(ctx context.Context, accountID uuid.UUID, service string) (audit.History, error)
}

// Sight is what this server sees of a credential on a path.
type Sight string

// The sights.
const (
	SeesNothing Sight = "never"     // it does not come by
	SeesKey     Sight = "its_key"   // the key that opens it is in memory, the credential is not opened
	SeesPassing Sight = "passes"    // it comes by, in memory, on its way to where it is kept
	SeesOpened  Sight = "is_opened" // it is in memory while it is used
)

// A Path is one way by which a credential can go, or could.
type Path struct {
	Name   string // stable identifier, e.g. "agent"
	Title  string // for a person
	Sight  Sight
	Why    string
	LastAt *time.Time // when it was used last, as far as the record is looked at; nil: that is not known
	Closed bool       // it was used, and cannot be at this moment
	Silent bool       // the record does not name tokens on it
	Recent bool       // it is looked for among the account's latest 10,000 events alone
}

// An Explanation is what a token's badge follows from.
type Explanation struct {
	TokenView
	Holder string // who holds the key, a sentence
	Paths  []Path
	Limits []string            // what the badge does not protect from
	Latest []models.AuditEvent // of the record, newest first
}

// Explain says why a token's trust is what it is, and which paths there are for its
// secret; it is computed from facts each time. TOKEN_NOT_FOUND.
func (s *Service) Explain(ctx context.Context, p grants.Principal, service string) (Explanation, error) {
	v, err := s.Token(ctx, p, service)
	if err != nil {
		return Explanation{}, err
	}
	c, err := s.Custody(ctx, p.AccountID)
	if err != nil {
		return Explanation{}, err
	}
	h, err := s.deps.History.History(ctx, p.AccountID, v.Token.ServiceName)
	if err != nil {
		return Explanation{}, err
	}
	e := explainer{v: v, last: h.Last, lens: lens{mode: v.Mode, binding: v.Binding, providers: s.deps.Providers}, bound: c.Mode == models.ModeWebhook}
	out := Explanation{TokenView: v, Latest: h.Latest}
	if v.Mode == models.ModeWebhook {
		out.Paths, out.Limits = e.atWebhook(), webhookLimits(v.Trust)
		out.Holder = "Your webhook. This project's encrypts what it keeps with keys of its own; another one, as its maker says. This server holds the secret that it shares with your webhook: that signs tickets, and decrypts nothing."
	} else {
		out.Paths, out.Limits = e.here(), sealedLimits()
		out.Holder = "Nobody, between requests. What opens this credential is derived from the token that comes with a request: of a session or API key of yours that opens this vault, or of an agent that was granted it. This server stores none of these tokens."
	}
	return out, nil
}

// An explainer writes down the paths of one token.
type explainer struct {
	lens
	v     TokenView
	last  map[audit.Way]time.Time
	bound bool // the account has a webhook
	paths []Path
}

// add adds a path, last used when the record says so of one of the ways.
func (e *explainer) add(path Path, ways ...audit.Way) {
	for _, way := range ways {
		if at := e.last[way]; !at.IsZero() {
			path.LastAt = later(path.LastAt, &at)
		}
	}
	e.paths = append(e.paths, path)
}

// addUsed adds a path that is closed by now, if it was ever used.
func (e *explainer) addUsed(path Path, ways ...audit.Way) {
	before := len(e.paths)
	path.Closed = true
	e.add(path, ways...)
	if e.paths[before].LastAt == nil {
		e.paths = e.paths[:before]
	}
}

func later(a, b *time.Time) *time.Time {
	if a == nil || b != nil && b.After(*a) {
		return b
	}
	return a
}

// row is what is known of refreshing the token, perhaps nothing.
func (e *explainer) row() models.Refresh {
	if e.v.Refresh == nil {
		return models.Refresh{}
	}
	return *e.v.Refresh
}

// seen is when the server saw this very credential on a path.
func (e *explainer) seen(path string) *time.Time {
	if e.v.Token.SeenByServer() && e.v.Token.SeenPath == path {
		return e.v.Token.SeenAt
	}
	return nil
}

// atWebhook are the paths of what a webhook keeps.
func (e *explainer) atWebhook() []Path {
	t := e.v.Token
	oauth, totp := t.TokenType == wire.TypeOAuth, t.TokenType == wire.TypeTOTP
	e.add(Path{Name: "store", Title: "It is stored", Sight: SeesNothing,
		Why: "Your browser posts it to your webhook itself. This server signs the ticket for that, without knowing what is stored."}, audit.WayStoreTicket)
	switch {
	case totp:
		e.add(Path{Name: "agent", Recent: true, Title: "An agent asks for a code", Sight: SeesNothing,
			Why: "This server decides, records it and sends the agent to your webhook, which computes the code."}, audit.WayAgent)
		e.add(Path{Name: "code", Title: "You look at a code", Sight: SeesNothing,
			Why: "Your webhook computes it and gives it to your browser. The secret itself leaves the webhook for nobody."}, audit.WayCode)
	default:
		e.add(Path{Name: "agent", Recent: true, Title: "An agent fetches it", Sight: SeesNothing,
			Why: "This server decides, records it and sends the agent to your webhook with a ticket. The answer goes from your webhook to the agent." + short(t)}, audit.WayAgent)
		e.add(Path{Name: "reveal", Title: "You look at it", Sight: SeesNothing,
			Why: "Your browser fetches it from your webhook with a ticket. This server does not see the answer." + short(t)}, audit.WayReveal)
	}
	if oauth {
		e.refreshedAtWebhook()
		e.connectedToWebhook()
	}
	moved := Path{Name: "moved", Title: "It was moved here from platform mode", Sight: SeesOpened, LastAt: e.seen(seenMoved),
		Why: "This server opened it with your session's key and stored it at your webhook. That is why a moved credential is marked as seen until it is replaced."}
	e.addUsed(moved, audit.WayMoved)
	if immovable(t) == nil {
		e.add(Path{Name: "move_back", Title: "You move it back to platform mode", Sight: SeesOpened,
			Why: "Only if you start that, and this badge ends with it: your browser fetches it and hands it to this server, which seals it."}, audit.WayMovedBack)
	}
	e.add(Path{Name: "list", Title: "The list of tokens is read", Sight: SeesNothing, Silent: true,
		Why: "This server asks your webhook for names, types, notes, tags and expiries. Whatever else a webhook puts there is skipped unread."})
	return e.paths
}

// short says of a raw credential that something else is given out.
func short(t models.Token) string {
	if t.TokenType != wire.TypeRawCredential {
		return ""
	}
	return " What is given out is a short-lived token that is made from it, not the credential itself."
}

func (e *explainer) refreshedAtWebhook() {
	t, row := e.v.Token, e.row()
	if e.can(wire.CapRefresh) && t.HasRefreshToken {
		e.add(Path{Name: "notify", Title: "Your webhook refreshes it", Sight: SeesNothing, LastAt: row.NotifiedAt,
			Why: "This server only says that it is time. Your webhook calls the provider with a client secret of its own."}, audit.WayNotify)
	}
	mediated := Path{Name: "mediated", Title: "It is refreshed through this server", Sight: SeesPassing, LastAt: row.MediatedAt,
		Why: "Your webhook hands out the refresh token; this server, which holds the provider's client secret, calls the provider and brings back what that gave. " +
			"All of it is in memory only; should your webhook be away just then, it waits here sealed to a key that only your webhook has."}
	if e.can(wire.CapTVRefresh) && e.providers != nil && e.providers.HoldsSecret(t.Provider) {
		e.add(mediated, audit.WayMediated)
	} else {
		mediated.Why += " Your webhook does not permit it at this moment, or this server does not hold that client secret."
		e.addUsed(mediated, audit.WayMediated)
	}
}

func (e *explainer) connectedToWebhook() {
	if e.can(wire.CapConnect) {
		e.add(Path{Name: "connect_webhook", Title: "Its account is connected at your webhook", Sight: SeesNothing,
			Why: "Your browser goes from the provider to your webhook, which is issued the tokens. This server signs the ticket."}, audit.WayConnect)
	}
	connected := Path{Name: "connect", Title: "Its account is connected through this server", Sight: SeesPassing, LastAt: e.seen(seenConnected),
		Why: "The provider issues the tokens to this server, which stores them at your webhook at once. That is why they are marked as seen until they are replaced."}
	if e.has(e.v.Token.Provider) {
		e.add(connected, audit.WayConnected)
	} else {
		e.addUsed(connected, audit.WayConnected)
	}
}

// here are the paths of what a platform vault keeps.
func (e *explainer) here() []Path {
	t := e.v.Token
	e.add(Path{Name: "store", Title: "It is stored", Sight: SeesPassing,
		Why: "Your browser posts it to this server, which seals it with a key that your session opens, and keeps the ciphertext alone."}, audit.WayStored, audit.WayMovedBack)
	if t.TokenType == wire.TypeTOTP {
		e.add(Path{Name: "agent", Recent: true, Title: "An agent asks for a code", Sight: SeesOpened,
			Why: "The agent's own key opens the secret in this server's memory. The answer holds the code, not the secret."}, audit.WayAgent)
		e.add(Path{Name: "code", Title: "You look at a code", Sight: SeesOpened,
			Why: "Your session opens the secret in this server's memory. The answer holds the code, not the secret."}, audit.WayReveal)
	} else {
		e.add(Path{Name: "agent", Recent: true, Title: "An agent fetches it", Sight: SeesOpened,
			Why: "The agent's own key opens it in this server's memory, for one answer. Without that key this server cannot." + short(t)}, audit.WayAgent)
		e.add(Path{Name: "reveal", Title: "You look at it", Sight: SeesOpened,
			Why: "Your session opens it in this server's memory, for one answer." + short(t)}, audit.WayReveal)
	}
	e.add(Path{Name: "grant", Title: "It is granted to an agent", Sight: SeesKey,
		Why: "Your session opens the key of this one credential and wraps it for that agent. The credential stays closed."}, audit.WayGranted)
	if t.TokenType == wire.TypeOAuth {
		e.providerHere()
	}
	e.add(Path{Name: "reseal", Title: "Keys are changed, or vaults are linked", Sight: SeesOpened, Silent: true,
		Why: "When you revoke a key or a session that opens this vault, take this credential from an agent, or link two vaults: that request, or the next one that opens the vault, seals it anew."})
	if e.bound {
		e.add(Path{Name: "move", Title: "You move it to your webhook", Sight: SeesOpened,
			Why: "Your session opens it, and this server hands it to your webhook. There it is marked as seen until it is replaced."}, audit.WayMoved)
	}
	return e.paths
}

func (e *explainer) providerHere() {
	t := e.v.Token
	refreshed := Path{Name: "refresh", Title: "It is refreshed when it is read", Sight: SeesOpened, LastAt: e.row().PlatformAt,
		Why: "Whoever reads it while it is about to expire opens the refresh token with it; this server calls the provider and seals what that gave."}
	connected := Path{Name: "connect", Title: "Its account is connected", Sight: SeesPassing,
		Why: "The provider issues the tokens to this server, which seals them with a key that your session opens."}
	if !e.has(t.Provider) {
		e.addUsed(refreshed, audit.WayPlatform)
		e.addUsed(connected, audit.WayConnected)
		return
	}
	if t.HasRefreshToken {
		e.add(refreshed, audit.WayPlatform)
	} else {
		e.addUsed(refreshed, audit.WayPlatform)
	}
	e.add(connected, audit.WayConnected)
	e.add(Path{Name: "revoke", Title: "You disconnect it", Sight: SeesOpened,
		Why: "Your session opens it, so that this server can revoke it at its provider before it is deleted."}, audit.WayRevoked)
}

// webhookLimits is what no badge of a webhook's token protects from.
func webhookLimits(trust Trust) []string {
	limits := []string{
		"Your webhook, the machine that it runs on, and whoever operates them: they have the credential.",
		"Agents and people who were given it. What they do with it is not seen here; it stays good until it is replaced at its provider.",
		"A server that was taken over: it could sign tickets and fetch the credential with them, and serve other scripts to your browser when you store or look at it. Your webhook's deny list, if this server's address is on it, refuses that address alone; from any other such a ticket works. Your webhook's own record shows what was given out.",
		"Its provider, and what is allowed there to whoever has it.",
	}
	switch trust {
	case TVRefresh:
		limits = append(limits, "Whoever watches this server's memory at the moment of a refresh: the refresh token and the new tokens pass through it.")
	case TVSeen:
		limits = append(limits, "Whoever watched this server's memory when it saw the credential. Replacing it at its provider ends that.")
	}
	return limits
}

// sealedLimits is what sealing does not protect from.
func sealedLimits() []string {
	return []string{
		"This server while it runs, and whoever takes it over: it sees what passes through it, and from one request of a session or API key it could open that whole vault.",
		"Whoever has a copy of the database and the server's key, and a session or key that was good in that copy: they open what that could open, whatever you changed later.",
		"Readers of the database, as far as names, notes, tags, types and expiries go: put no secret into them.",
		"Writers of the database, who can delete things, break them or bring back old ones. They read no credential.",
		"Agents and people who were given it. It stays good until it is replaced at its provider.",
		"Losing every session and key that opens this vault: then the credential is lost as well.",
	}
}
