// Package models is what Token Vault stores: types, their invariants and their
// transitions, and the errors by which storage speaks.
//
// It knows neither SQL nor HTTP nor JSON: what an API shows is a type of the
// door that shows it. Columns that hold something sealed or hashed redact
// themselves. Ids are UUIDv7; every row of an account starts its primary key
// with the account's id. All times are UTC with microseconds.
package models

import (
	"encoding/binary"
	"errors"
	"time"

	"github.com/google/uuid"
)

var (
	// ErrNotFound: no such row. Services turn it into their own "not found" or,
	// where existence is nobody's business, into a refusal.
	ErrNotFound = errors.New("models: not found")
	// ErrConflict: a unique name is taken, or a conditional write found another
	// state than it expected. Services turn it into CONFLICT.
	ErrConflict = errors.New("models: conflict")
	// ErrDeadlock: the database has ended a transaction so that another could go on.
	// Nothing of it was done; Again does it anew.
	ErrDeadlock = errors.New("models: deadlock")
	// ErrInvalid: an invariant of a type does not hold. A programming error, or
	// input that a door let through.
	ErrInvalid = errors.New("models: invalid")
)

// Again calls do, a whole transaction, until nobody is in its way: until its error is
// neither ErrConflict nor ErrDeadlock, at most so many times. exhausted turns the last of
// these into what the caller is told; other errors of do are returned as they are.
func Again(times int, do func() error, exhausted func(error) error) error {
	var err error
	for range times {
		if err = do(); !errors.Is(err, ErrConflict) && !errors.Is(err, ErrDeadlock) {
			return err
		}
	}
	return exhausted(err)
}

// NewID makes a UUIDv7. It panics when the system has no randomness.
func NewID() uuid.UUID { return uuid.Must(uuid.NewV7()) }

// FirstID is not greater than any UUIDv7 made at a time or later (RFC 9562, section
// 5.7): the place in an index where those of that time begin.
func FirstID(at time.Time) uuid.UUID {
	var id uuid.UUID
	var milliseconds [8]byte
	binary.BigEndian.PutUint64(milliseconds[:], uint64(max(0, at.UnixMilli()))) // #nosec G115 -- not negative
	copy(id[:6], milliseconds[2:])
	id[6], id[8] = 0x70, 0x80
	return id
}

// Stamp cuts a time to what every database keeps: UTC, microseconds.
func Stamp(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }

// StampPtr is Stamp for a column that may be empty.
func StampPtr(t time.Time) *time.Time {
	t = Stamp(t)
	return &t
}
