package vaults

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/google/uuid"
)

func newFlights() *flights {
	return &flights{running: map[flightKey]*flight{}, waiting: map[flightKey]*flight{}}
}

func (f *flights) idle() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.running)+len(f.waiting) == 0
}

func TestWhoAsksDuringASyncSharesTheNextOne(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f, key := newFlights(), flightKey{account: uuid.New()}
		var runs atomic.Int32
		goOn := make(chan struct{})
		run := func(context.Context) (syncResult, error) {
			n := int(runs.Add(1))
			<-goOn
			return syncResult{listed: n}, nil
		}
		var wg sync.WaitGroup
		ask := func(want int) {
			wg.Go(func() {
				if got, err := f.do(t.Context(), key, run); err != nil || got.listed != want {
					t.Errorf("got run %d, %v; want run %d", got.listed, err, want)
				}
			})
		}
		ask(1)
		synctest.Wait()
		for range 50 { // these came too late for run 1
			ask(2)
		}
		synctest.Wait()
		close(goOn)
		wg.Wait()
		if got := runs.Load(); got != 2 || !f.idle() {
			t.Errorf("%d runs, idle %v; want 2 runs and nothing left", got, f.idle())
		}
	})
}

func TestOneThatLeavesDoesNotFailTheOthers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f, key := newFlights(), flightKey{account: uuid.New()}
		var runs atomic.Int32
		goOn := make(chan struct{})
		run := func(ctx context.Context) (syncResult, error) {
			runs.Add(1)
			select {
			case <-goOn:
				return syncResult{listed: 7}, nil
			case <-ctx.Done():
				return syncResult{}, ctx.Err()
			}
		}
		leaving, leave := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		left := func() {
			wg.Go(func() {
				if _, err := f.do(leaving, key, run); !errors.Is(err, context.Canceled) {
					t.Errorf("who left got %v, want the context's error", err)
				}
			})
		}
		left() // runs
		synctest.Wait()
		left() // is to run the next
		synctest.Wait()
		for range 5 {
			wg.Go(func() {
				if got, err := f.do(t.Context(), key, run); err != nil || got.listed != 7 {
					t.Errorf("who stayed got %+v, %v; want a result", got, err)
				}
			})
		}
		synctest.Wait()
		leave()
		synctest.Wait()
		close(goOn)
		wg.Wait()
		if !f.idle() {
			t.Error("something is left")
		}
	})
}

func TestAPanicFreesWhoWaits(t *testing.T) {
	t.Parallel()
	f, key := newFlights(), flightKey{service: "x"}
	func() {
		defer func() { _ = recover() }()
		_, _ = f.do(t.Context(), key, func(context.Context) (syncResult, error) { panic("oh") })
	}()
	got, err := f.do(t.Context(), key, func(context.Context) (syncResult, error) { return syncResult{listed: 1}, nil })
	if err != nil || got.listed != 1 || !f.idle() {
		t.Errorf("after a panic: %+v, %v, idle %v; want a result", got, err, f.idle())
	}
}

func TestFlightsOfDifferentThingsDoNotMeet(t *testing.T) {
	t.Parallel()
	f := newFlights()
	outer := flightKey{service: "a"}
	got, err := f.do(t.Context(), outer, func(ctx context.Context) (syncResult, error) {
		return f.do(ctx, flightKey{service: "b"}, func(context.Context) (syncResult, error) { return syncResult{listed: 2}, nil })
	})
	if err != nil || got.listed != 2 {
		t.Errorf("got %+v, %v; want the inner result", got, err)
	}
}
