package webhook

import (
	"sync"

	"github.com/tvzero/tokenvault/webhook-sdk/custody"
	"github.com/tvzero/tokenvault/webhook-sdk/storage"
)

// Limits of the documents that are kept ready, some 30 MiB at the most.
const (
	maxReady     = 2048
	maxReadySize = 8 << 10 // bytes of a document as it is stored
)

// documents keeps the documents of tokens that are in use parsed and ready to be
// opened: ciphertext, never a secret. An entry counts for the version of the
// document that the storage has, so that it cannot be stale.
type documents struct {
	mu    sync.RWMutex
	ready map[string]readyDocument
}

type readyDocument struct {
	version  string
	prepared *custody.Prepared
	encoded  []byte // of encodeMeta
}

func newDocuments() *documents { return &documents{ready: make(map[string]readyDocument)} }

// get returns the document of an item if it is ready.
func (d *documents) get(item storage.Item) (readyDocument, bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	entry, ok := d.ready[item.Key]
	if !ok || item.Version == "" || entry.version != item.Version {
		return readyDocument{}, false
	}
	return entry, true
}

// put keeps a document; of too many, any other one goes.
func (d *documents) put(item storage.Item, ready readyDocument) {
	if len(item.Data) > maxReadySize || ready.version == "" {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, there := d.ready[item.Key]; !there && len(d.ready) >= maxReady {
		for key := range d.ready {
			delete(d.ready, key)
			break
		}
	}
	d.ready[item.Key] = ready
}
