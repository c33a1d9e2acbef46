package webhook

import (
	"hash/maphash"
	"sync"
)

// keyLocks serializes changes to one token; different tokens rarely wait for each
// other.
type keyLocks struct {
	seed  maphash.Seed
	locks [64]sync.Mutex
}

func newKeyLocks() *keyLocks { return &keyLocks{seed: maphash.MakeSeed()} }

// lock takes the lock of a key and returns its unlock.
func (k *keyLocks) lock(key string) func() {
	m := &k.locks[maphash.String(k.seed, key)%uint64(len(k.locks))]
	m.Lock()
	return m.Unlock
}
