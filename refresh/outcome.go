package refresh

import "time"

// A Kind is one of the four ways in which an attempt ends.
type Kind string

// The four outcomes.
const (
	Rotated              Kind = "rotated"               // new tokens are committed
	StillValid           Kind = "still_valid"           // nothing was due, or another process has done it
	RetryAt              Kind = "retry_at"              // it did not work, and is tried again at Outcome.At
	NeedsReauthorization Kind = "needs_reauthorization" // the owner has to connect the account again
)

// Kinds lists the closed set.
func Kinds() []Kind { return []Kind{Rotated, StillValid, RetryAt, NeedsReauthorization} }

// An Outcome is how an attempt ended.
type Outcome struct {
	Kind   Kind
	Reason Reason // of RetryAt and NeedsReauthorization; empty otherwise

	// At is, of Rotated and StillValid, when the access token expires (zero: never or
	// unknown); of RetryAt, when to try again; of NeedsReauthorization, zero.
	At time.Time

	Attempts      int  // attempts in a row that ended otherwise than with tokens, this one included; 0 after one that gave some
	ScopesChanged bool // of Rotated: the provider granted others than before
}
