package models

import (
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
)

var (
	// ErrLeased: another holds the lease of a token. The error is a *LeasedError.
	// Who refreshes waits and looks again.
	ErrLeased = errors.New("models: leased")
	// ErrLeaseLost: the lease is not the caller's any more: it was ended, another has
	// taken it since, or the token was replaced. What was done under it is not to be
	// written.
	ErrLeaseLost = errors.New("models: the lease is lost")
)

// The paths by which a token is refreshed.
const (
	PathPlatform = "platform"    // here, with a reader's key
	PathMediated = "tv-mediated" // here, with what the webhook hands out for it
	PathNotify   = "notify"      // at the webhook
)

// A Refresh is what is known of refreshing one token: when that is due, who is at it,
// what came of it last. A token that was never refreshed nor scheduled has none.
type Refresh struct {
	AccountID uuid.UUID  `gorm:"primaryKey"`
	TokenID   uuid.UUID  `gorm:"primaryKey"`
	DueAt     *time.Time // nil: nothing is scheduled. In platform mode nothing ever is

	LeaseID         *uuid.UUID
	LeaseUntil      *time.Time
	LeaseGeneration int64 // raised whenever a lease is taken, and when one is broken

	Attempts    int    // that failed, since the last that did not
	Outcome     string // the last; empty: none of this credential yet
	Reason      string
	Path        string     // of the last: PathPlatform, PathMediated, PathNotify
	TriedAt     *time.Time // the last
	RefreshedAt *time.Time // the last that brought new tokens
	RetryAt     *time.Time

	PlatformAt *time.Time // last use of each path, by whatever credential the token had
	MediatedAt *time.Time
	NotifiedAt *time.Time
}

// A Lease is the right to refresh one token, or to move or seal it anew, which nobody
// else has at the same time. After Until another may take it; until one does, it
// holds.
type Lease struct {
	AccountID  uuid.UUID
	TokenID    uuid.UUID
	ID         uuid.UUID
	Generation int64
	Until      time.Time // of the database's clock
}

// A LeasedError says until when another holds a lease at most. It is an ErrLeased.
type LeasedError struct {
	Until time.Time     // of the database's clock
	Left  time.Duration // until then, from when it was asked: what to wait by
}

func (e *LeasedError) Error() string {
	return fmt.Sprintf("%v until %s", ErrLeased, e.Until.Format(time.RFC3339Nano))
}

// Unwrap makes errors.Is say ErrLeased.
func (e *LeasedError) Unwrap() error { return ErrLeased }

// A DueRefresh is a refresh that was due and was claimed, with what its token says.
type DueRefresh struct {
	Refresh // DueAt is when it was due; the row's is the end of the lease now
	Lease   Lease

	VaultID         uuid.UUID
	ServiceName     string
	Provider        string
	CreationID      string
	Scope           string
	IssuedAt        *time.Time
	ExpiresAt       *time.Time
	HasRefreshToken bool
	Undelivered     bool // new tokens wait in the outbox: the webhook has an old refresh token
}

// An OutboxEntry is new tokens of one token, sealed so that only the webhook whose
// token it is opens them, that wait until it can be reached. There is one a token,
// the newest.
type OutboxEntry struct {
	AccountID  uuid.UUID `gorm:"primaryKey"`
	TokenID    uuid.UUID `gorm:"primaryKey"`
	CreationID string    // of the credential that they renew
	Sequence   int64     // greater than of any before, for the same creation
	KeyID      string    // of the webhook's key
	Sealed     Opaque
	CreatedAt  time.Time
	DueAt      time.Time // when to try next
	Attempts   int       // that failed
}

// TableName is the table's.
func (OutboxEntry) TableName() string { return "outbox" }
