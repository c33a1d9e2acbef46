// Package vaults is the containers of tokens, whichever their mode: binding a
// webhook, the index of its tokens, tickets for people, the kill switch, and what
// a token's badge says. What concerns platform vaults it passes on to package
// platform.
//
// In webhook mode it never reads, writes or forwards credential material; it
// speaks to the webhook about metadata only. (Moving out of platform mode is the
// exception, and is on record.)
package vaults

import (
	"slices"
	"time"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// Trust is what a token's badge says about who could ever see it.
type Trust string

// The badges.
const (
	TVZero    Trust = "tv-zero"
	TVRefresh Trust = "tv-refresh"
	TVSeen    Trust = "tv-seen"
	Sealed    Trust = "sealed"
)

// Token statuses.
const (
	StatusActive               = "active"                // nothing is wrong; in platform mode one that is refreshed when it is read counts as well
	StatusExpiring             = "expiring"              // ends within 24 hours, and cannot be refreshed
	StatusExpired              = "expired"               // its expiry has passed
	StatusNeedsReauthorization = "needs_reauthorization" // its owner has to connect the account again
	StatusNeedsAttention       = "needs_attention"       // an operator has to set something right before it is refreshed
	StatusEmpty                = "empty"                 // the webhook says that it has nothing under this name
)

// A TokenView is a token's metadata with what is computed from facts, and the facts.
type TokenView struct {
	Token       models.Token
	Status      string
	Trust       Trust
	TrustReason string // a sentence for a person

	Mode        models.VaultMode
	Binding     *models.Binding // nil in platform mode. It is shared: do not change it
	Refresh     *models.Refresh // nil: nothing is known of refreshing it
	Connectable bool            // its account can be connected again, as far as is known
}

// Found is a token with the mode of the vault that it is in.
type Found struct {
	models.Token
	Mode models.VaultMode
}

// Status is how an account keeps its tokens.
type Status struct {
	Mode     models.VaultMode
	Locked   bool
	LockedAt *time.Time
	Binding  *models.Binding // nil without a webhook
}

// ConnectsItself reports whether accounts at providers can be connected at the webhook,
// with client secrets of its own.
func (s Status) ConnectsItself() bool {
	return s.Binding != nil && slices.Contains(s.Binding.Capabilities, wire.CapConnect)
}

// BindInput is what a registration URL carries.
type BindInput struct {
	Code       string
	WebhookURL string
	Hash       string // hex SHA-256 of the secret that the exchange must yield
}

// BindPreview is what the consent page shows before anything is called.
type BindPreview struct {
	WebhookURL  string // canonical
	Host        string
	Fingerprint string          // of the new secret
	Replaces    *models.Binding // the binding in use, nil if none
}

// A Ticket permits one call from a browser or client to the webhook.
type Ticket struct {
	Ticket     string
	WebhookURL string
	ExpiresIn  time.Duration
}

// StoreTicketInput asks for a store ticket; Mode is "", wire.ModeCreate or
// wire.ModeOverwrite.
type StoreTicketInput struct {
	ServiceName string
	Mode        string
}

// CredentialTicketInput asks for a ticket by which a person sees a credential
// or its code.
type CredentialTicketInput struct {
	ServiceName string
	Purpose     wire.Purpose // PurposeUserReveal or PurposeTOTPCode
}

// MetadataInput changes what is not nil.
type MetadataInput struct {
	DisplayName *string
	Notes       *string
	Tags        *[]string
}

// A Page asks for part of a list by an opaque cursor; Limit 0 is all of it.
type Page struct {
	Limit  int
	Cursor string
}

// Verdict is how a probe of a webhook ended.
type Verdict string

// The verdicts.
const (
	Pass Verdict = "pass"
	Warn Verdict = "warn"
	Fail Verdict = "fail"

	Untried Verdict = "untried" // of Preflight alone: a step before it failed
)

// A Probe is one check of a bound webhook.
type Probe struct {
	Name    string // stable identifier, e.g. "wrong_signature"
	Title   string // for a person
	Verdict Verdict
	Status  int // HTTP status that the webhook answered, 0 if none
	Latency time.Duration
	Advice  string // what happened and what to do about it
}
