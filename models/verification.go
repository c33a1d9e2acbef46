package models

import (
	"time"

	"github.com/google/uuid"
)

// An AuditVerification is how far one stream of the audit log was verified. It goes
// through the stream in passes, each from the first row.
type AuditVerification struct {
	StreamID  uuid.UUID `gorm:"primaryKey"`
	DueAt     time.Time
	LeaseID   *uuid.UUID // of the replica that is at it
	BeganAt   *time.Time // the pass under way
	Seq       int64      // the row from which the pass goes on; 0: from the first
	Hash      []byte     // of that row
	Through   int64      // the last row that was ever seen
	Final     bool       // the stream was ended in order
	CheckedAt *time.Time // when its end was reached last; nil: never yet
	Found     string     // what the pass under way has found; empty: nothing
	Problem   string     // what is known to be wrong; empty: nothing
}
