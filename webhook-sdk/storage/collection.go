package storage

import (
	"cmp"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
)

// A collection is the index of one folder of documents. Writers of the same key are
// kept apart by File; the index itself by mu.
type collection struct {
	name string
	dir  string

	mu     sync.RWMutex
	slots  map[string]*slot
	sorted []*slot         // by key; may hold slots whose document is gone
	fresh  []*slot         // those not in sorted yet
	shards map[string]bool // folders that exist, durably

	making sync.Mutex // held while a folder is made, so that nobody relies on half of it
}

// A slot is the place of one key; cur is nil once the document is gone.
type slot struct {
	key string
	cur atomic.Pointer[revision]
}

// A revision is a document between two writes. It does not change, but for what the
// cache holds of it.
type revision struct {
	meta    map[string]any
	version string

	data atomic.Pointer[[]byte] // in the cache
	hot  atomic.Bool            // used since the cache last looked
	ring int                    // the cache's: place in its ring, plus one
}

// cached returns the data if it is in memory.
func (r *revision) cached() ([]byte, bool) {
	data := r.data.Load()
	if data == nil {
		return nil, false
	}
	if !r.hot.Load() {
		r.hot.Store(true)
	}
	return *data, true
}

// item is the listed part of the document, the caller's to keep.
func (r *revision) item(key string) Item {
	meta, _ := cloneJSON(r.meta).(map[string]any)
	return Item{Key: key, Meta: meta, Version: r.version}
}

func (c *collection) path(key string) string {
	name := fileName(key)
	return filepath.Join(c.dir, name[:2], name)
}

func (c *collection) current(key string) *revision {
	c.mu.RLock()
	s := c.slots[key]
	c.mu.RUnlock()
	if s == nil {
		return nil
	}
	return s.cur.Load()
}

func (c *collection) count() int {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return len(c.slots)
}

// write stores a document and then shows it. If the file was replaced but is not
// known to be durable, the index follows the file and the caller gets the error.
func (c *collection) write(d *disk, doc document, cache *cache) error {
	path := c.path(doc.key)
	if err := c.makeShard(d, filepath.Dir(path)); err != nil {
		return err
	}
	done, err := d.replace(path, doc.file)
	if !done {
		return err
	}
	r := &revision{meta: doc.meta, version: doc.version}
	cache.add(r, doc.data)
	if old := c.show(doc.key, r); old != nil {
		cache.drop(old)
	}
	return err
}

func (c *collection) remove(d *disk, key string, cache *cache) error {
	path := c.path(key)
	if err := d.remove(path); err != nil {
		return err
	}
	c.mu.Lock()
	s := c.slots[key]
	delete(c.slots, key)
	old := s.cur.Swap(nil)
	c.mu.Unlock()
	cache.drop(old)
	return d.syncDir(filepath.Dir(path))
}

// show makes r the document of key and returns the one before it.
func (c *collection) show(key string, r *revision) *revision {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.slots[key]
	if s == nil {
		s = &slot{key: key}
		c.slots[key] = s
		c.fresh = append(c.fresh, s)
	}
	return s.cur.Swap(r)
}

func (c *collection) makeShard(d *disk, dir string) error {
	c.mu.RLock()
	known := c.shards[dir]
	c.mu.RUnlock()
	if known {
		return nil
	}
	c.making.Lock()
	defer c.making.Unlock()
	if err := d.makeDir(dir); err != nil {
		return err
	}
	c.mu.Lock()
	c.shards[dir] = true
	c.mu.Unlock()
	return nil
}

// ordered returns all slots by key; it does not change afterwards.
func (c *collection) ordered() []*slot {
	c.mu.RLock()
	sorted, done := c.sorted, len(c.fresh) == 0
	c.mu.RUnlock()
	if done {
		return sorted
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	byKey := func(a, b *slot) int { return cmp.Compare(a.key, b.key) }
	slices.SortFunc(c.fresh, byKey)
	merged := make([]*slot, 0, len(c.slots))
	old, fresh := c.sorted, c.fresh
	for len(old) > 0 || len(fresh) > 0 {
		var next *slot
		if len(fresh) == 0 || len(old) > 0 && byKey(old[0], fresh[0]) <= 0 {
			next, old = old[0], old[1:]
		} else {
			next, fresh = fresh[0], fresh[1:]
		}
		if next.cur.Load() != nil {
			merged = append(merged, next)
		}
	}
	c.sorted, c.fresh = merged, nil
	return merged
}

// openCollection reads all documents of a folder.
func openCollection(d *disk, dir, name string, cache *cache) (*collection, error) {
	c := &collection{name: name, dir: dir, slots: make(map[string]*slot), shards: make(map[string]bool)}
	if err := d.makeDir(dir); err != nil {
		return nil, err
	}
	// A folder that was made just before a crash may not be durable yet.
	if err := d.syncDir(dir); err != nil {
		return nil, err
	}
	paths, err := c.scan(d)
	if err != nil {
		return nil, err
	}
	return c, c.load(d, paths, cache)
}
