package storage

import "sync"

const defaultCache = 64 << 20

// cache bounds the memory that documents' data takes. A hit is seen in the revision
// itself and takes no lock; to make room, the clock hand goes round and drops what
// was not used since it last came by.
type cache struct {
	mu     sync.Mutex
	budget int64
	used   int64
	ring   []*revision
	hand   int
}

func newCache(budget int64) *cache {
	if budget == 0 {
		budget = defaultCache
	}
	return &cache{budget: budget}
}

// add keeps data, which must not change any more, for r. What is larger than an
// eighth of the budget is not kept.
func (c *cache) add(r *revision, data []byte) {
	size := int64(len(data))
	if c.budget < 0 || size > c.budget/8 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if r.ring != 0 {
		return
	}
	for c.used+size > c.budget {
		c.evict()
	}
	c.ring = append(c.ring, r)
	r.ring = len(c.ring)
	c.used += size
	r.data.Store(&data)
}

// evict gives every revision that was used a second chance, and drops the first that was
// not. The ring is not empty, as something is in use.
func (c *cache) evict() {
	for {
		if c.hand >= len(c.ring) {
			c.hand = 0
		}
		r := c.ring[c.hand]
		if r.hot.Swap(false) {
			c.hand++
			continue
		}
		c.take(r)
		return
	}
}

// drop forgets a revision that was replaced.
func (c *cache) drop(r *revision) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r.ring != 0 {
		c.take(r)
	}
}

func (c *cache) take(r *revision) {
	last := c.ring[len(c.ring)-1]
	c.ring[r.ring-1] = last
	last.ring = r.ring
	c.ring[len(c.ring)-1] = nil
	c.ring = c.ring[:len(c.ring)-1]
	r.ring = 0
	c.used -= int64(len(*r.data.Swap(nil)))
}
