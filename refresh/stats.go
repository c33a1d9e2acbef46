package refresh

import "sync/atomic"

// Stats count what an Engine has done since New.
type Stats struct {
	Flights       int64 // credentials looked after
	Joined        int64 // callers that shared a flight
	Calls         int64 // at providers
	CommitRetries int64 // commits that failed and were tried again
	Rescued       int64 // tokens committed under a second lease, the first being lost
	Superseded    int64 // tokens not committed, because newer ones were stored meanwhile
	Dropped       int64 // tokens not committed at all: what ErrNotCommitted says
	Panicked      int64 // flights ended by a panic
}

type counts struct {
	flights, joined, calls, commitRetries, rescued, superseded, dropped, panicked atomic.Int64
}

// Stats returns the counts as they are.
func (e *Engine) Stats() Stats {
	c := &e.counts
	return Stats{
		Flights: c.flights.Load(), Joined: c.joined.Load(), Calls: c.calls.Load(), CommitRetries: c.commitRetries.Load(),
		Rescued: c.rescued.Load(), Superseded: c.superseded.Load(), Dropped: c.dropped.Load(), Panicked: c.panicked.Load(),
	}
}
