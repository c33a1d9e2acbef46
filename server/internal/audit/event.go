// Package audit is the append-only record of what was released, refused and
// changed. Record returns when its event is durable: no row, no release.
//
// Events form streams, one for each run of a replica; every row carries a hash
// over itself and the row before it, and signed checkpoints state where a
// stream stood. The package knows no door and no credential: what it is told
// must not hold credential material.
package audit

import (
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/server/internal/fault"
)

// EventType says what happened: a closed set, part of the API.
type EventType string

// The event types.
const (
	Release      EventType = "release"
	Refusal      EventType = "refusal"
	TicketIssued EventType = "ticket"
	Reveal       EventType = "reveal"
	Store        EventType = "store"
	Delete       EventType = "delete"
	Refresh      EventType = "refresh"
	GrantGiven   EventType = "grant_given"
	GrantRevoked EventType = "grant_revoked"
	AgentChanged EventType = "agent_changed"
	KeyChanged   EventType = "key_changed"
	SignIn       EventType = "sign_in"
	Bind         EventType = "bind"
	Lock         EventType = "lock"
	Link         EventType = "link"
)

// Source says through which door it happened.
type Source string

// The sources.
const (
	Direct Source = "direct" // a user
	Agent  Source = "agent"
	Proxy  Source = "proxy"
	System Source = "system"
)

// OutcomeOK is the outcome of what was done; a refusal bears its fault code.
const OutcomeOK = "ok"

// A Client is who is at the other end of a request, as doors see it.
type Client struct {
	Address   string // IP address, without a port
	UserAgent string
	RequestID string
}

// An Event is what a service tells the record.
type Event struct {
	AccountID uuid.UUID
	Type      EventType
	Source    Source
	Outcome   fault.Code // empty: it was done
	Service   string     // the token's service name
	AgentID   uuid.UUID  // zero: none
	GrantID   uuid.UUID  // what signed in; zero: none
	Client    Client
	Detail    string // never credential material
}

// Limits of the texts of an event, in bytes; longer ones are cut.
const (
	maxUserAgent = 200
	maxDetail    = 500
	maxRequestID = 64
	maxAddress   = 64
	maxService   = 128
)

// clip cuts s to at most n bytes of valid UTF-8 without NUL, which PostgreSQL
// does not store.
func clip(s string, n int) string {
	clean := true
	for i := range len(s) {
		if s[i] == 0 || s[i] >= utf8.RuneSelf {
			clean = false
			break
		}
	}
	if clean {
		return s[:min(n, len(s))]
	}
	out := make([]rune, 0, min(n, len(s)))
	size := 0
	for _, r := range s { // an invalid byte becomes U+FFFD
		if r == 0 {
			r = utf8.RuneError
		}
		if size += utf8.RuneLen(r); size > n {
			break
		}
		out = append(out, r)
	}
	return string(out)
}
