package store

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"time"

	"github.com/tvzero/tokenvault/models"
)

// loadTime bounds one shared query, unless Options say otherwise; no caller's hanging
// up ends it.
const loadTime = 5 * time.Second

// maxLoad is how many keys one query looks up.
const maxLoad = 256

// A loader answers look-ups that are made at the same time with one query. What
// replicas remember of agents ends after a fixed time, for many of them at once;
// one by one, reading them again costs more than everything else that a release
// does. Whoever asks joins a query that has not begun yet, so that an answer is
// never older than its question. The first who joins runs it for all, as soon as
// one of the turns is free. Safe for concurrent use.
type loader[K comparable, V any] struct {
	fetch func(ctx context.Context, keys []K) (map[K]V, error)
	turns chan struct{} // holds an element for each query that runs
	limit time.Duration // of one query, with the wait for its turn
	mu    sync.Mutex
	next  *load[K, V]
}

// A load is one query to come.
type load[K comparable, V any] struct {
	keys  []K
	done  chan struct{} // closed when found and err are set
	found map[K]V
	err   error
}

func newLoader[K comparable, V any](turns int, limit time.Duration, fetch func(ctx context.Context, keys []K) (map[K]V, error)) *loader[K, V] {
	return &loader[K, V]{fetch: fetch, turns: make(chan struct{}, turns), limit: limit}
}

// get returns what a query found under key: models.ErrNotFound when nothing.
func (l *loader[K, V]) get(ctx context.Context, key K) (V, error) {
	l.mu.Lock()
	q := l.next
	if q == nil {
		q = &load[K, V]{done: make(chan struct{})}
		l.next = q
	}
	q.keys = append(q.keys, key)
	leads := len(q.keys) == 1
	if len(q.keys) >= maxLoad {
		l.next = nil
	}
	l.mu.Unlock()
	if leads {
		l.run(ctx, q)
	}
	var none V
	select {
	case <-q.done:
	case <-ctx.Done():
		return none, ctx.Err()
	}
	if q.err != nil {
		return none, q.err
	}
	value, ok := q.found[key]
	if !ok {
		return none, models.ErrNotFound
	}
	return value, nil
}

var errBroken = errors.New("the look-up broke off")

// run waits for a turn, closes the query to those who come later, and runs it.
func (l *loader[K, V]) run(ctx context.Context, q *load[K, V]) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), l.limit)
	defer cancel()
	defer close(q.done)
	q.err = errBroken // also should fetch panic: that says nothing of what there is
	var late error
	select {
	case l.turns <- struct{}{}:
		defer func() { <-l.turns }()
	case <-ctx.Done():
		late = ctx.Err()
	}
	l.mu.Lock()
	if l.next == q {
		l.next = nil
	}
	l.mu.Unlock()
	if q.err = cmp.Or(late, q.err); late == nil {
		q.found, q.err = l.fetch(ctx, q.keys)
	}
}
