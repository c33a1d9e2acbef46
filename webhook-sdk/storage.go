package webhook

import (
	"context"

	"github.com/tvzero/tokenvault/webhook-sdk/storage"
)

// Storage is what a webhook needs of the place where its documents are.
// storage.OpenFile gives one; storagetest holds others against the contract.
type Storage interface {
	Documents
	AuditLog
}

// Documents are read and written whole. A Put or Delete that returned nil has
// reached the disk, and survives a kill -9 of the process.
type Documents interface {
	// Get returns storage.ErrNotFound for a key that is not there.
	Get(ctx context.Context, collection, key string) (storage.Item, error)
	// Put returns storage.ErrExists or storage.ErrStale when the condition does not
	// hold; nothing was written then.
	Put(ctx context.Context, collection string, item storage.Item, condition storage.Condition) error
	// Delete returns storage.ErrNotFound for a key that is not there.
	Delete(ctx context.Context, collection, key string) error
	// List returns items without Data.
	List(ctx context.Context, collection string, query storage.Query) (storage.Page, error)
	Count(collection string) int
}

// An AuditLog keeps the webhook's own record of what it gave out.
type AuditLog interface {
	// AppendAudit returns when the record is durable.
	AppendAudit(ctx context.Context, record storage.Audit) error
	// ListAudit returns items with Data, newest first.
	ListAudit(ctx context.Context, query storage.Query) (storage.Page, error)
}
