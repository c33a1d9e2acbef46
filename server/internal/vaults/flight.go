package vaults

import (
	"context"
	"errors"
	"sync"

	"github.com/google/uuid"
)

// flights lets concurrent syncs of the same thing share one. Who asks while a sync
// runs is not given that one's result, since it may have read the list before the
// token was stored that the caller is after: it shares the next one, with all
// others that asked meanwhile.
type flights struct {
	mu      sync.Mutex
	running map[flightKey]*flight
	waiting map[flightKey]*flight // begins when the running one has ended
}

// flightKey is what is synced: one service, or with an empty name all of them.
type flightKey struct {
	account uuid.UUID
	service string
}

// A flight is run by the caller that made it.
type flight struct {
	start  chan struct{} // closed when it may run
	done   chan struct{} // closed when result and err are final
	result syncResult
	err    error
}

// errAbandoned: the caller that was to run a flight left.
var errAbandoned = errors.New("vaults: the sync was given up by who began it")

// do runs fn, or shares the run of another caller that began after this call did.
func (f *flights) do(ctx context.Context, key flightKey, fn func(ctx context.Context) (syncResult, error)) (syncResult, error) {
	for {
		mine, leads := f.join(key)
		if leads {
			return f.lead(ctx, key, mine, fn)
		}
		select {
		case <-mine.done:
		case <-ctx.Done():
			return syncResult{}, ctx.Err()
		}
		// The other caller's leaving says nothing about the webhook.
		gone := errors.Is(mine.err, errAbandoned) || errors.Is(mine.err, context.Canceled)
		if !gone || ctx.Err() != nil {
			return mine.result, mine.err
		}
	}
}

// join returns the flight that a new caller takes, and whether it is to run it.
func (f *flights) join(key flightKey) (mine *flight, leads bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if next := f.waiting[key]; next != nil {
		return next, false
	}
	mine = &flight{start: make(chan struct{}), done: make(chan struct{})}
	if f.running[key] == nil {
		f.running[key] = mine
		close(mine.start)
	} else {
		f.waiting[key] = mine
	}
	return mine, true
}

func (f *flights) lead(ctx context.Context, key flightKey, mine *flight, fn func(context.Context) (syncResult, error)) (syncResult, error) {
	mine.err = errAbandoned // also should fn panic
	defer f.land(key, mine)
	select {
	case <-mine.start:
	case <-ctx.Done():
		return syncResult{}, ctx.Err()
	}
	mine.result, mine.err = fn(ctx)
	return mine.result, mine.err
}

// land ends a flight, which may not have run, and starts the next.
func (f *flights) land(key flightKey, mine *flight) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.waiting[key] == mine {
		delete(f.waiting, key)
	} else if next := f.waiting[key]; next != nil {
		delete(f.waiting, key)
		f.running[key] = next
		close(next.start)
	} else {
		delete(f.running, key)
	}
	close(mine.done)
}
