package webhook

import (
	"crypto/sha256"
	"errors"
	"sync"
	"time"
)

// errMemoryFull: forgetting would allow a replay, so that refusing is what is
// left. Towards the caller it is internal_error, which TV retries.
var errMemoryFull = errors.New("the replay memory is full: more signed calls than it is made for")

// errSetBack: the clock went ahead, what had ended by it was forgotten, and then it
// was set back, so that nobody knows whether this was used.
var errSetBack = errors.New("the clock was set back to a time of which the replay memory has forgotten what was used: restart the webhook once the clock is right")

// maxRemembered bounds a replay memory. An entry takes about 64 bytes.
const maxRemembered = 1 << 20

// bucketSeconds is the grain in which entries are forgotten.
const bucketSeconds = 16

// A once remembers what was used until a time of each entry's own, in bounded
// memory. It may be used concurrently. What is remembered is asked for only
// after a MAC held, so that a forger cannot fill it.
type once struct {
	mu      sync.Mutex
	limit   int
	seen    map[onceKey]struct{}
	buckets map[int64][]onceKey // by the bucket in which the entries end
	swept   int64               // this bucket and those before it were forgotten
}

// An onceKey is a hash, so that an entry's size does not depend on its input.
type onceKey [16]byte

func newOnce(limit int) *once {
	return &once{limit: limit, seen: make(map[onceKey]struct{}), buckets: make(map[int64][]onceKey)}
}

// keyOf hashes what is to be remembered. Kind keeps ids, MACs and nonces apart.
func keyOf(kind byte, value []byte) onceKey {
	var buffer [160]byte
	sum := sha256.Sum256(append(append(buffer[:0], kind), value...))
	return onceKey(sum[:16])
}

// use reports whether none of the keys was used before, and if so remembers all
// of them until the given time. errMemoryFull and errSetBack mean neither.
func (o *once) use(now, until time.Time, keys ...onceKey) (bool, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.sweep(now.Unix() / bucketSeconds)
	for _, k := range keys {
		if _, used := o.seen[k]; used {
			return false, nil
		}
	}
	bucket := until.Unix()/bucketSeconds + 1 // rounded up: never forgotten early
	if bucket <= o.swept {
		return false, errSetBack
	}
	if len(o.seen)+len(keys) > o.limit {
		return false, errMemoryFull
	}
	for _, k := range keys {
		o.seen[k] = struct{}{}
		o.buckets[bucket] = append(o.buckets[bucket], k)
	}
	return true, nil
}

// sweep forgets the buckets that have passed. A clock that was set back forgets
// nothing.
func (o *once) sweep(current int64) {
	if current <= o.swept {
		return
	}
	for bucket, keys := range o.buckets {
		if bucket <= current {
			for _, k := range keys {
				delete(o.seen, k)
			}
			delete(o.buckets, bucket)
		}
	}
	o.swept = current
}

func (o *once) size() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.seen)
}
