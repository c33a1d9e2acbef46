package refresh

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"
)

// A Refresher calls a provider; *Client is one.
type Refresher interface {
	Refresh(ctx context.Context, p Provider, token Secret, scopes []string) (Tokens, error)
}

// Deps are what an Engine needs. Zero values mean what is said; Client is required.
type Deps struct {
	Client Refresher
	Now    func() time.Time // nil: time.Now
	Random func() float64   // jitter in [0,1); nil: math/rand/v2

	// LeaseTime is how long a lease is taken for; 0: 30 s. A call at a provider may take half of
	// it, reading and writing a place a third.
	LeaseTime time.Duration

	// CommitTime is how long tokens are kept in memory while they cannot be committed; 0: 10 minutes.
	CommitTime time.Duration

	MaxFlights int          // credentials being refreshed at a time; 0: 256. More wait
	Logger     *slog.Logger // nil: none
}

// Options say when a refresh is due. The zero value is for a credential that is being read.
type Options struct {
	Scheduled bool // as DueAt says, at the earliest that any jitter makes it
	Force     bool // at once, also when the owner has to connect again or a retry is set for later, unless Reason.Holds
}

// rank orders options by how much they ask for: a flight answers for those below its own.
func (o Options) rank() rank {
	switch {
	case o.Force:
		return forced
	case o.Scheduled:
		return scheduled
	}
	return onRead
}

type rank int

const (
	onRead rank = iota
	scheduled
	forced
)

// An Engine refreshes credentials, each once. It starts a goroutine for each credential that is
// being refreshed, which ends with it.
type Engine struct {
	deps  Deps
	slots chan struct{}

	mu      sync.Mutex
	flights map[string]*flight // by key

	counts counts
}

// New returns an engine. It panics without a Client.
func New(d Deps) *Engine {
	if d.Client == nil {
		panic("refresh: New needs a Client")
	}
	if d.Now == nil {
		d.Now = time.Now
	}
	if d.Random == nil {
		d.Random = rand.Float64
	}
	if d.LeaseTime <= 0 {
		d.LeaseTime = 30 * time.Second
	}
	if d.CommitTime <= 0 {
		d.CommitTime = 10 * time.Minute
	}
	if d.MaxFlights <= 0 {
		d.MaxFlights = 256
	}
	if d.Logger == nil {
		d.Logger = slog.New(slog.DiscardHandler)
	}
	return &Engine{deps: d, slots: make(chan struct{}, d.MaxFlights), flights: map[string]*flight{}}
}

// A flight is one credential being refreshed.
type flight struct {
	key   string
	place Place
	rank  rank

	done    chan struct{} // closed when the two below are set
	outcome Outcome
	err     error
}

// Ensure sees to it that the credential at p is fresh, and says how that ended. key names the credential in this process:
// calls with the same key share one flight, which goes on when a caller's ctx ends, since others may wait for it, and so
// may a provider's answer. key is no secret.
//
// The error is ctx's when that ends first; ErrGone; ErrNotCommitted; or the place's. The outcome says nothing then,
// except beside ErrNotCommitted and ErrNotNoted.
func (e *Engine) Ensure(ctx context.Context, key string, p Place, o Options) (Outcome, error) {
	for {
		f, own, err := e.join(ctx, key, p, o.rank())
		if err != nil {
			return Outcome{}, err
		}
		select {
		case <-f.done:
		case <-ctx.Done():
			return Outcome{}, ctx.Err()
		}
		// A flight that others began may have found nothing to do where this caller sees something.
		if own || f.rank >= o.rank() || f.err == nil && f.outcome.Kind == Rotated {
			return f.outcome, f.err
		}
	}
}

// join returns the flight of key; own says that it was started for this caller.
func (e *Engine) join(ctx context.Context, key string, p Place, r rank) (f *flight, own bool, err error) {
	if err := ctx.Err(); err != nil {
		return nil, false, err
	}
	if f := e.current(key); f != nil {
		return f, false, nil
	}
	select {
	case e.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, false, ctx.Err()
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if f := e.flights[key]; f != nil {
		<-e.slots
		e.counts.joined.Add(1)
		return f, false, nil
	}
	f = &flight{key: key, place: p, rank: r, done: make(chan struct{})}
	e.flights[key] = f
	e.counts.flights.Add(1)
	go e.fly(f)
	return f, true, nil
}

func (e *Engine) current(key string) *flight {
	e.mu.Lock()
	defer e.mu.Unlock()
	f := e.flights[key]
	if f != nil {
		e.counts.joined.Add(1)
	}
	return f
}

// fly runs a flight and tells those who wait. A place that panics takes down its own flight, not the process.
func (e *Engine) fly(f *flight) {
	defer func() {
		if v := recover(); v != nil {
			// The value may hold anything, a secret as well: its type is all that is said.
			f.outcome, f.err = Outcome{}, fmt.Errorf("refresh: a flight panicked with a %T", v)
			e.counts.panicked.Add(1)
			e.deps.Logger.Error("a refresh panicked", "key", f.key, "type", fmt.Sprintf("%T", v))
		}
		e.mu.Lock()
		delete(e.flights, f.key)
		e.mu.Unlock()
		<-e.slots
		close(f.done)
	}()
	t := trip{Engine: e, key: f.key, place: f.place, rank: f.rank, begun: e.deps.Now()}
	f.outcome, f.err = t.run()
}

// Wait returns when no flight is running, or with ctx's error. Call it at shutdown, when nothing calls Ensure any more: a
// provider's answer that is not committed is a credential lost.
func (e *Engine) Wait(ctx context.Context) error {
	for {
		f := e.running()
		if f == nil {
			return nil
		}
		select {
		case <-f.done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// running returns a running flight; nil when there is none.
func (e *Engine) running() *flight {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, f := range e.flights {
		return f
	}
	return nil
}
