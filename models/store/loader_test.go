package store

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/tvzero/tokenvault/models"
)

// A counter is a source that says how often it was asked, and waits to be let go.
type counter struct {
	mu      sync.Mutex
	queries [][]int
	release chan struct{}
}

func (c *counter) fetch(ctx context.Context, keys []int) (map[int]int, error) {
	c.mu.Lock()
	c.queries = append(c.queries, keys)
	n := len(c.queries)
	c.mu.Unlock()
	select {
	case <-c.release:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	found := map[int]int{}
	for _, k := range keys {
		if k >= 0 {
			found[k] = n
		}
	}
	return found, nil
}

func TestLookUpsAtTheSameTimeShareAQuery(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source := &counter{release: make(chan struct{})}
		l := newLoader(1, loadTime, source.fetch)
		answers := make([]int, 101)
		var wg sync.WaitGroup
		ask := func(i int) {
			wg.Go(func() {
				var err error
				if answers[i], err = l.get(t.Context(), i); err != nil {
					t.Errorf("key %d: %v", i, err)
				}
			})
		}
		ask(100)
		synctest.Wait() // its query runs, so nobody may join it any more
		for i := range 100 {
			ask(i)
		}
		synctest.Wait()
		source.release <- struct{}{}
		source.release <- struct{}{}
		wg.Wait()
		if len(source.queries) != 2 || len(source.queries[1]) != 100 {
			t.Fatalf("%d queries of %v keys, want one of 1 and one of 100", len(source.queries), source.queries)
		}
		for i, got := range answers[:100] {
			if got != 2 {
				t.Fatalf("key %d was answered by query %d, want the one that began after it was asked", i, got)
			}
		}
	})
}

func TestWhoHangsUpTakesNoAnswerFromOthers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source := &counter{release: make(chan struct{}, 2)}
		l := newLoader(1, loadTime, source.fetch)
		ctx, hangUp := context.WithCancel(t.Context())
		leader, follower, unknown := make(chan error, 1), make(chan error, 1), make(chan error, 1)
		l.turns <- struct{}{} // busy, so that all share a query
		go func() { _, err := l.get(ctx, 1); leader <- err }()
		synctest.Wait() // it leads
		go func() { _, err := l.get(t.Context(), 2); follower <- err }()
		go func() { _, err := l.get(t.Context(), -1); unknown <- err }()
		synctest.Wait()
		hangUp()
		source.release <- struct{}{}
		<-l.turns
		if err := <-follower; err != nil {
			t.Errorf("the other one got %v, want its answer", err)
		}
		if err := <-unknown; !errors.Is(err, models.ErrNotFound) {
			t.Errorf("an unknown key: got %v, want %v", err, models.ErrNotFound)
		}
		<-leader // either: its answer came, and it had hung up
	})
}

func TestAQueryThatNeverEndsIsGivenUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLoader(1, loadTime, (&counter{release: make(chan struct{})}).fetch)
		if _, err := l.get(t.Context(), 1); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want %v", err, context.DeadlineExceeded)
		}
		if len(l.turns) != 0 {
			t.Error("its turn was not given back")
		}
	})
}

func TestAQueryThatPanicsIsNoAnswerToOthers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLoader(1, loadTime, func(context.Context, []int) (map[int]int, error) { panic("broken") })
		l.turns <- struct{}{} // busy, so that both share a query
		leader, follower := make(chan any, 1), make(chan error, 1)
		go func() {
			defer func() { leader <- recover() }()
			_, _ = l.get(t.Context(), 1)
		}()
		synctest.Wait()
		go func() { _, err := l.get(t.Context(), 2); follower <- err }()
		synctest.Wait()
		<-l.turns
		if v := <-leader; v != "broken" {
			t.Errorf("the leader recovered %v, want its panic", v)
		}
		if err := <-follower; err == nil || errors.Is(err, models.ErrNotFound) {
			t.Errorf("the other one got %v, want an error that does not say that there is no such row", err)
		}
	})
}

func TestAQueryHasABound(t *testing.T) {
	t.Parallel()
	source := &counter{release: make(chan struct{})}
	close(source.release)
	l := newLoader(2, loadTime, source.fetch)
	var wg sync.WaitGroup
	for i := range 10 * maxLoad {
		wg.Go(func() {
			if _, err := l.get(t.Context(), i); err != nil {
				t.Errorf("key %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	total := 0
	for _, keys := range source.queries {
		total += len(keys)
		if len(keys) > maxLoad {
			t.Errorf("a query of %d keys, want at most %d", len(keys), maxLoad)
		}
	}
	if total != 10*maxLoad {
		t.Errorf("%d keys were looked up, want each once: %d", total, 10*maxLoad)
	}
}
