package storage

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"unicode/utf8"
)

// FileOptions tune a File; the zero value is right for most.
type FileOptions struct {
	// CacheBytes bounds the memory for documents that need not be read from disk again;
	// it is what was put, so ciphertext where it was sealed. 0 is 64 MiB, negative is no
	// cache.
	CacheBytes int64
	// AuditSegmentBytes is the size at which the audit log begins a new file. 0 is 64 MiB.
	AuditSegmentBytes int64
	// AuditSegments is how many files of the audit log are kept, the one being written
	// included; the oldest is deleted when a new one begins. 0 is 16 (with the default
	// size 1 GiB, some 3 million releases); negative keeps all.
	AuditSegments int
}

// File keeps documents in a folder:
//
//	lock                      held by the process that has the folder open
//	<collection>/ab/<hex>.doc one document; hex is the SHA-256 of its key, ab its beginning
//	audit/<number>.jsonl      the audit log; number is that of the first record in it
//
// Metadata is held in memory, data in a bounded cache. A document's file says its
// key and bears a checksum: one that was altered, truncated or moved is an error
// and never another document. A write costs the same however many documents there
// are. All methods may be called concurrently.
type File struct {
	disk        *disk
	lock        *os.File
	collections map[string]*collection // fixed when opened
	cache       *cache
	audit       *auditLog
	seed        maphash.Seed
	keys        [256]sync.Mutex // by hash of collection and key: one writer a document
	life        sync.RWMutex    // held for reading by every write, for writing by Close
	closed      atomic.Bool
}

// OpenFile opens the folder dir, which is created with mode 0700 if it is missing.
// It removes what a crash left half-written, reads every document and the end of the
// audit log, and fails with ErrDamaged, naming files and remedy, if something else cannot
// be read. A folder that another process has open, or that everybody may write to, is refused.
func OpenFile(dir string, opts FileOptions) (*File, error) {
	return openFile(dir, opts, &disk{})
}

func openFile(dir string, opts FileOptions, d *disk) (_ *File, err error) {
	if err := prepareFolder(d, dir); err != nil {
		return nil, err
	}
	lock, err := lockFolder(dir)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = unlockFolder(lock)
		}
	}()
	f := &File{
		disk: d, lock: lock, seed: maphash.MakeSeed(),
		cache: newCache(opts.CacheBytes), collections: make(map[string]*collection),
	}
	for _, name := range []string{CollectionTokens, CollectionProxyConfigs, CollectionVaultConfig, CollectionBinding} {
		c, err := openCollection(d, filepath.Join(dir, name), name, f.cache)
		if err != nil {
			return nil, err
		}
		f.collections[name] = c
	}
	if f.audit, err = openAudit(d, filepath.Join(dir, CollectionAudit), opts); err != nil {
		return nil, err
	}
	return f, nil
}

func prepareFolder(d *disk, dir string) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return fmt.Errorf("storage: the data folder: %w", err)
	}
	if err := d.makeDir(dir); err != nil {
		return err
	}
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("storage: the data folder: %w", err)
	}
	if !info.IsDir() {
		return fmt.Errorf("storage: the data folder %s is not a folder", dir)
	}
	if info.Mode().Perm()&0o002 != 0 {
		return fmt.Errorf("storage: everybody may write to the data folder %s; run: chmod 700 %s", dir, dir)
	}
	return nil
}

// Get returns one document, or ErrNotFound. In the audit the key is that of a listed
// item.
func (f *File) Get(ctx context.Context, collection, key string) (Item, error) {
	if err := f.usable(ctx); err != nil {
		return Item{}, err
	}
	if collection == CollectionAudit {
		return f.audit.get(key)
	}
	c, err := f.collection(collection)
	if err != nil {
		return Item{}, err
	}
	r := c.current(key)
	if r == nil {
		return Item{}, fmt.Errorf("%w: %s %q", ErrNotFound, collection, key)
	}
	data, ok := r.cached()
	if !ok {
		if r, data, err = f.readThrough(c, key); err != nil {
			return Item{}, err
		}
	}
	item := r.item(key)
	item.Data = slices.Clone(data)
	return item, nil
}

// readThrough reads a document that is not in the cache. The key's lock keeps index
// and file in step meanwhile.
func (f *File) readThrough(c *collection, key string) (*revision, []byte, error) {
	mu := f.keyLock(c.name, key)
	mu.Lock()
	defer mu.Unlock()
	r := c.current(key)
	if r == nil {
		return nil, nil, fmt.Errorf("%w: %s %q", ErrNotFound, c.name, key)
	}
	if data, ok := r.cached(); ok {
		return r, data, nil
	}
	doc, err := readDocument(f.disk, c.path(key), c.name)
	if err != nil {
		return nil, nil, err
	}
	if doc.key != key || doc.version != r.version {
		return nil, nil, damagedFile(c.path(key), "it was changed by something else than this process")
	}
	f.cache.add(r, doc.data)
	return r, doc.data, nil
}

// Put stores a document under item.Key if cond holds, and returns when it is
// durable. After an error other than those of the condition either the old document is
// there or the new one, whole.
func (f *File) Put(ctx context.Context, collection string, item Item, cond Condition) error {
	c, err := f.writable(ctx, collection)
	if err != nil {
		return err
	}
	if err := checkKey(item.Key); err != nil {
		return err
	}
	doc, err := newDocument(collection, item)
	if err != nil {
		return err
	}
	f.life.RLock()
	defer f.life.RUnlock()
	if f.closed.Load() {
		return ErrClosed
	}
	mu := f.keyLock(collection, item.Key)
	mu.Lock()
	defer mu.Unlock()
	if err := cond.check(c.current(item.Key)); err != nil {
		return fmt.Errorf("%w: %s %q", err, collection, item.Key)
	}
	return c.write(f.disk, doc, f.cache)
}

// Delete removes a document and returns when that is durable; ErrNotFound if there is
// none.
func (f *File) Delete(ctx context.Context, collection, key string) error {
	c, err := f.writable(ctx, collection)
	if err != nil {
		return err
	}
	f.life.RLock()
	defer f.life.RUnlock()
	if f.closed.Load() {
		return ErrClosed
	}
	mu := f.keyLock(collection, key)
	mu.Lock()
	defer mu.Unlock()
	if c.current(key) == nil {
		return fmt.Errorf("%w: %s %q", ErrNotFound, collection, key)
	}
	return c.remove(f.disk, key, f.cache)
}

// List returns documents in the order of their keys' bytes, without their Data. Of
// the audit it is ListAudit.
func (f *File) List(ctx context.Context, collection string, q Query) (Page, error) {
	if collection == CollectionAudit {
		return f.ListAudit(ctx, q)
	}
	if err := f.usable(ctx); err != nil {
		return Page{}, err
	}
	c, err := f.collection(collection)
	if err != nil {
		return Page{}, err
	}
	return c.list(q)
}

// AppendAudit adds a record to the audit and returns when it is durable. Records of
// concurrent callers share one write and one sync. The context is looked at before,
// not while the record is being written. After a failed sync the log takes nothing
// more until the folder is opened again: what the disk holds is not known.
func (f *File) AppendAudit(ctx context.Context, record Audit) error {
	if err := f.usable(ctx); err != nil {
		return err
	}
	f.life.RLock()
	defer f.life.RUnlock()
	if f.closed.Load() {
		return ErrClosed
	}
	return f.audit.append(record)
}

// ListAudit returns audit records, the last appended first, with their Data and
// without Meta; the filters look at fields of Data. Limit is at most 1000, also if it is 0.
func (f *File) ListAudit(ctx context.Context, q Query) (Page, error) {
	if err := f.usable(ctx); err != nil {
		return Page{}, err
	}
	return f.audit.list(ctx, q)
}

// Count is the number of documents in a collection, 0 for one that does not exist.
func (f *File) Count(collection string) int {
	if collection == CollectionAudit {
		return f.audit.count()
	}
	if c, ok := f.collections[collection]; ok {
		return c.count()
	}
	return 0
}

// Close waits for the writes under way, closes the files and lets another process
// open the folder. Every later call is ErrClosed.
func (f *File) Close() error {
	f.life.Lock()
	defer f.life.Unlock()
	if f.closed.Swap(true) {
		return ErrClosed
	}
	return errors.Join(f.audit.close(), unlockFolder(f.lock))
}

func (f *File) usable(ctx context.Context) error {
	if f.closed.Load() {
		return ErrClosed
	}
	return ctx.Err()
}

func (f *File) collection(name string) (*collection, error) {
	c, ok := f.collections[name]
	if !ok {
		return nil, fmt.Errorf("%w: there is no collection %q", ErrInvalid, name)
	}
	return c, nil
}

func (f *File) writable(ctx context.Context, name string) (*collection, error) {
	if err := f.usable(ctx); err != nil {
		return nil, err
	}
	if name == CollectionAudit {
		return nil, fmt.Errorf("%w: the audit is append-only", ErrInvalid)
	}
	return f.collection(name)
}

func (f *File) keyLock(collection, key string) *sync.Mutex {
	return &f.keys[maphash.String(f.seed, collection+"/"+key)%uint64(len(f.keys))]
}

func checkKey(key string) error {
	control := func(r rune) bool { return r < ' ' || r == 0x7f }
	if key == "" || len(key) > MaxKey || !utf8.ValidString(key) || strings.ContainsFunc(key, control) {
		return fmt.Errorf("%w: a key has 1 to %d bytes of UTF-8 without control characters", ErrInvalid, MaxKey)
	}
	return nil
}

// check reports whether the condition holds for what is stored, nil for nothing.
func (c Condition) check(r *revision) error {
	switch {
	case c.Create && r != nil:
		return ErrExists
	case c.IfCreationID == "" && c.IfVersion == "":
		return nil
	case r == nil:
		return ErrStale
	case c.IfVersion != "" && c.IfVersion != r.version:
		return ErrStale
	}
	if c.IfCreationID != "" {
		if id, _ := r.meta[MetaCreationID].(string); id != c.IfCreationID {
			return ErrStale
		}
	}
	return nil
}
