package models

import (
	"time"

	"github.com/google/uuid"
)

// An AuditEvent is one row of the append-only record. Rows form streams, one
// for each run of a replica; Hash chains a row to the row before it in its
// stream. Events without an account (server start) bear the nil account.
type AuditEvent struct {
	AccountID   uuid.UUID `gorm:"primaryKey"`
	ID          uuid.UUID `gorm:"primaryKey"`
	StreamID    uuid.UUID
	Seq         int64 // from 1 in its stream, without gaps
	At          time.Time
	EventType   string
	Source      string
	Outcome     string // "ok", or the fault code of a refusal
	ServiceName string
	AgentID     *uuid.UUID
	GrantID     *uuid.UUID // what signed in
	Client      string     // user agent, at most 200 bytes
	Address     string     // client address
	RequestID   string
	Detail      string // a sentence or key=value pairs; never credential material
	Hash        []byte // SHA-256, see package audit
}

// An AuditCheckpoint is a signed statement of where a stream stood.
type AuditCheckpoint struct {
	StreamID  uuid.UUID `gorm:"primaryKey"`
	Seq       int64     `gorm:"primaryKey;autoIncrement:false"`
	At        time.Time
	Hash      []byte
	KeyID     int
	Signature []byte // Ed25519
	Final     bool   `gorm:"primaryKey"` // the stream ended here, in order
}

// An AuditBlock is a batch of events that could not be made readable, because rows
// that this server has not written stand in its place.
type AuditBlock struct {
	StreamID uuid.UUID
	Seq      int64 // of its first event
	Events   int64
}

// AuditFilter narrows a list of events of one account, newest first.
type AuditFilter struct {
	ServiceName string
	AgentID     *uuid.UUID
	EventType   string
	Source      string
	Done        *bool      // true: only what was done; false: only what was refused or failed
	Since       *time.Time // this time or later
	Until       *time.Time // before this time
	Before      *uuid.UUID // only events older than this one (by ID): the cursor
	Limit       int
}

// An AuditSeries says what to count of an account's events, and how: those from Since
// until Until, in buckets of equal length from Since on.
type AuditSeries struct {
	ServiceName  string
	AgentID      *uuid.UUID
	Since, Until time.Time
	Bucket       time.Duration // whole seconds
}

// AuditCounts are how many events of some kinds a bucket has. Buckets without any are
// not there.
type AuditCounts struct {
	Bucket        int64 // 0 is the one that begins at Since
	Releases      int64
	Refusals      int64
	Refreshed     int64 // refreshes that brought new tokens
	RefreshFailed int64 // that will be tried again
	Reauthorize   int64 // that failed for good: the owner has to connect the account again
}
