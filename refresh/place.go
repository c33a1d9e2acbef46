package refresh

import (
	"context"
	"errors"
	"time"
)

// ErrLeaseLost is returned by a Lease when another has taken the lease since, or the
// credential was replaced or deleted: whatever its holder has is out of date.
var ErrLeaseLost = errors.New("refresh: the lease is lost")

// ErrGone is returned by a Place or Lease when there is no such credential any more.
var ErrGone = errors.New("refresh: the credential is gone")

// A BusyError is returned by Place.Lease while another holds the lease.
type BusyError struct {
	Until time.Time // when that lease ends unless it is given back before
}

func (e *BusyError) Error() string {
	return "refresh: busy until " + e.Until.UTC().Format(time.RFC3339)
}

// A State is what a Place keeps of a credential.
type State struct {
	Tokens   Tokens
	IssuedAt time.Time // when Tokens were committed; zero: unknown
	Provider Provider
	Version  int64 // another one after each change of Tokens

	Attempts             int       // of the last outcome
	RetryAt              time.Time // of the last outcome if it was RetryAt; zero otherwise
	RetryReason          Reason    // of the last outcome if it was RetryAt
	NeedsReauthorization Reason    // of the last outcome if it was NeedsReauthorization; empty otherwise
}

// A Place is where one credential is kept. Implementations are used concurrently and
// pass refreshtest.TestPlace. Their errors hold no secret.
type Place interface {
	// Lease takes the credential's lease for ttl; at most one is live at a time, over
	// all processes. Its error is a *BusyError while another is, ErrGone when the credential
	// was deleted.
	Lease(ctx context.Context, ttl time.Duration) (Lease, error)
}

// A Lease is the right to refresh a credential. One goroutine uses it. Nothing in it
// may write once another has taken the lease: such a call returns ErrLeaseLost.
type Lease interface {
	// Read returns what is stored now, not what was when the lease began.
	Read(ctx context.Context) (State, error)

	// Commit stores new tokens, durably, with the outcome Rotated. Tokens are complete:
	// what the provider left out is filled in from before. It may come after the lease's
	// time if nobody has taken it since, and again with the same tokens if an error left
	// open whether they are stored. ErrLeaseLost: another has taken the lease, or the
	// refresh token under it is another than Read returned; then nothing is stored.
	Commit(ctx context.Context, t Tokens, o Outcome) error

	// Note stores an outcome without new tokens: RetryAt, NeedsReauthorization or
	// StillValid. It leaves tokens alone. ErrLeaseLost as in Commit.
	Note(ctx context.Context, o Outcome) error

	// End gives the lease back, so that others need not wait for its time. It does
	// nothing when the lease has ended or is another's.
	End(ctx context.Context) error
}
