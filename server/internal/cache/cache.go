// Package cache is a replica's short memory of what an account's requests need:
// that a token was good, what an agent was granted, how an account keeps its
// tokens.
//
// What it promises: an entry lives at most Life; a change of the account
// (Gate.Changed) ends every entry of that account at once, also those whose
// load was under way; while the gate is closed, because news from other
// replicas may be missing, nothing is remembered and nothing is used. It knows
// nothing of what it holds.
package cache

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
)

// Life is how long an entry may be used.
const Life = 30 * time.Second

const (
	shardCount = 32
	shardLimit = 8192 // entries of a shard's newer half; more means that it starts anew
)

// A Gate tells the caches of a replica what became stale. Safe for concurrent
// use. A new gate is closed.
type Gate struct {
	open     atomic.Bool
	epoch    atomic.Uint64 // raised whenever everything becomes stale
	changes  atomic.Uint64 // raised at every change of any account
	mu       sync.RWMutex
	accounts map[uuid.UUID]*atomic.Uint64 // raised whenever that account changes
	now      func() time.Time
}

// NewGate makes a closed gate.
func NewGate(now func() time.Time) *Gate {
	return &Gate{accounts: map[uuid.UUID]*atomic.Uint64{}, now: now}
}

// Open lets the caches be used: from here on, every change will be told.
func (g *Gate) Open() {
	g.epoch.Add(1)
	g.open.Store(true)
}

// Close ends every entry and stops the caches from being used.
func (g *Gate) Close() {
	g.open.Store(false)
	g.epoch.Add(1)
}

// IsOpen reports whether entries are used at present.
func (g *Gate) IsOpen() bool { return g.open.Load() }

// A Mark is a moment in what a gate was told.
type Mark struct{ epoch, changes uint64 }

// Mark is the present moment. Take it before looking anything up.
func (g *Gate) Mark() Mark { return Mark{g.epoch.Load(), g.changes.Load()} }

// Unchanged reports whether whatever was found in a cache or loaded since m
// would be found again: nothing of any account has changed, as far as this
// replica was told, and it was told everything.
func (g *Gate) Unchanged(m Mark) bool { return g.open.Load() && g.Mark() == m }

// Changed ends every entry of an account. When it returns, no later Get sees
// what was loaded before.
func (g *Gate) Changed(account uuid.UUID) {
	g.changes.Add(1)
	g.mu.RLock()
	counter := g.accounts[account]
	g.mu.RUnlock()
	if counter != nil { // unknown: nothing is remembered of it
		counter.Add(1)
	}
}

const accountLimit = 1 << 17

func (g *Gate) counter(account uuid.UUID) *atomic.Uint64 {
	g.mu.RLock()
	counter := g.accounts[account]
	g.mu.RUnlock()
	if counter != nil {
		return counter
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if counter := g.accounts[account]; counter != nil {
		return counter
	}
	if len(g.accounts) >= accountLimit { // start anew rather than grow for ever
		g.accounts = map[uuid.UUID]*atomic.Uint64{}
		g.epoch.Add(1)
	}
	counter = new(atomic.Uint64)
	g.accounts[account] = counter
	return counter
}

// A Cache maps keys to values that belong to accounts. Safe for concurrent use.
type Cache[K comparable, V any] struct {
	gate   *Gate
	seed   maphash.Seed
	shards [shardCount]shard[K, V]
}

// A shard keeps two halves and drops the older one each Life, so that memory is
// bounded by what two lives saw.
type shard[K comparable, V any] struct {
	mu      sync.RWMutex
	newer   map[K]entry[V]
	older   map[K]entry[V]
	rotated time.Time
}

type entry[V any] struct {
	value   V
	counter *atomic.Uint64
	account uint64 // counter's value when the load began
	epoch   uint64
	until   time.Time
}

// New makes an empty cache behind gate.
func New[K comparable, V any](gate *Gate) *Cache[K, V] {
	return &Cache[K, V]{gate: gate, seed: maphash.MakeSeed()}
}

// Get returns what is remembered for key, if it may still be used.
func (c *Cache[K, V]) Get(key K) (V, bool) {
	var none V
	if !c.gate.open.Load() {
		return none, false
	}
	s := c.shard(key)
	s.mu.RLock()
	e, ok := s.newer[key]
	if !ok {
		e, ok = s.older[key]
	}
	s.mu.RUnlock()
	if !ok || e.epoch != c.gate.epoch.Load() || e.account != e.counter.Load() || !c.gate.now().Before(e.until) {
		return none, false
	}
	return e.value, true
}

// Load calls load and remembers its value as the account's, unless the account
// changed meanwhile or the gate is closed. Concurrent loads of one key are not
// merged: a load that began before a change must not answer who asked after it.
func (c *Cache[K, V]) Load(account uuid.UUID, key K, load func() (V, error)) (V, error) {
	epoch := c.gate.epoch.Load()
	counter := c.gate.counter(account)
	generation := counter.Load()
	began := c.gate.now()
	value, err := load()
	if err != nil || !c.gate.open.Load() {
		return value, err
	}
	s := c.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.newer == nil || began.Sub(s.rotated) >= Life || len(s.newer) >= shardLimit {
		s.older, s.newer, s.rotated = s.newer, make(map[K]entry[V], len(s.newer)), began
	}
	s.newer[key] = entry[V]{value: value, counter: counter, account: generation, epoch: epoch, until: began.Add(Life)}
	return value, nil
}

// Forget ends one entry, for a change that made it worse but not wrong, of which the
// account is not told. A Load that is under way may still bring the older value.
func (c *Cache[K, V]) Forget(key K) {
	s := c.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.newer, key)
	delete(s.older, key)
}

func (c *Cache[K, V]) shard(key K) *shard[K, V] {
	return &c.shards[maphash.Comparable(c.seed, key)%shardCount]
}

// Len counts the entries that are kept, usable or not: for metrics.
func (c *Cache[K, V]) Len() int {
	n := 0
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.RLock()
		n += len(s.newer) + len(s.older)
		s.mu.RUnlock()
	}
	return n
}
