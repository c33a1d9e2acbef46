// Package storage is where a webhook keeps its documents: tokens (as ciphertext),
// proxy configurations, vault settings, the state of its bindings, and the record of
// every release.
//
// File keeps them in a folder of one machine: a file a document, written so that kill
// -9 or a power cut at any moment leaves every acknowledged write whole and no file
// half-written, and an append-only audit log. One process at a time may have the folder
// open. Other storages pass the same suite, package storagetest.
//
// A storage knows neither HTTP nor keys. It gives back what it was given, and treats
// documents as opaque JSON beside metadata that can be listed and filtered; what is
// secret must be sealed before it comes here.
package storage

import (
	"encoding/json"
	"errors"
	"time"
)

// Errors of every storage; test with errors.Is.
var (
	// ErrNotFound: there is no such document. The webhook answers token_not_found.
	ErrNotFound = errors.New("storage: not found")
	// ErrExists: Condition.Create, and the document is there. The webhook answers
	// already_exists.
	ErrExists = errors.New("storage: already exists")
	// ErrStale: the document is no longer the one that the condition names, or is gone.
	// The webhook answers stale_creation.
	ErrStale = errors.New("storage: changed in the meantime")
	// ErrInvalid: the caller's mistake: an unknown collection, a key or cursor that cannot be,
	// something that is not JSON, or too large. The webhook answers invalid_request.
	ErrInvalid = errors.New("storage: invalid")
	// ErrDamaged: what is stored cannot be read. The text names the file and a remedy,
	// for the operator; nothing is dropped or replaced.
	ErrDamaged = errors.New("storage: damaged")
	// ErrClosed: the storage was closed.
	ErrClosed = errors.New("storage: closed")
)

// The collections of a storage: a closed set. CollectionAudit is append-only, through
// AppendAudit; List and Get read it, Put and Delete refuse it.
const (
	CollectionTokens       = "tokens"
	CollectionProxyConfigs = "proxy_configs"
	CollectionVaultConfig  = "vault_config"
	CollectionBinding      = "binding" // the webhook's own; never on the wire
	CollectionAudit        = "audit"
)

// Limits of what a storage takes.
const (
	MaxKey      = 512     // bytes
	MaxDocument = 4 << 20 // bytes of JSON, key, metadata and data together
	MaxAudit    = 64 << 10
)

// MetaCreationID is the metadata field that Condition.IfCreationID looks at.
const MetaCreationID = "creationId"

// An Item is one document. What a storage returns is the caller's own copy.
type Item struct {
	Key  string         // 1–512 bytes of UTF-8 without control characters
	Meta map[string]any // what lists show and filters look at; values as JSON, numbers as json.Number
	Data json.RawMessage
	// Version changes whenever the document does. It is set by the storage; on Put it
	// is ignored.
	Version string
}

// A Condition must hold at the moment of a Put, else nothing is written. The zero
// Condition writes in any case.
type Condition struct {
	Create       bool   // there is no such document: else ErrExists
	IfCreationID string // the document's metadata has this creationId: else ErrStale
	IfVersion    string // the document has this Version: else ErrStale
}

// A Query narrows a list. The zero Query is everything, in one page.
type Query struct {
	// Filters are fields of the metadata (of the audit: of the record) that must be
	// equal. Numbers compare by value; null matches an absent field.
	Filters map[string]any
	// Since drops audit records before it. Document lists ignore it.
	Since time.Time
	// After is the NextCursor of the page before; anything else is ErrInvalid. Documents
	// that come or go between two pages neither repeat nor hide others.
	After string
	// Limit is the size of a page; 0 is no limit.
	Limit int
}

// A Page is one part of a list. Total counts everything that matches, on all pages.
type Page struct {
	Items      []Item
	HasMore    bool
	NextCursor string // "" unless HasMore
	Total      int
}

// An Audit is one record of what the webhook did. Data is a JSON object, which a list
// shows as it is; it should bear Time as its "timestamp".
type Audit struct {
	Time time.Time // kept to the millisecond
	Data json.RawMessage
}
