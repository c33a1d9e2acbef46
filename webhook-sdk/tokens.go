package webhook

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/tvzero/tokenvault/webhook-sdk/custody"
	"github.com/tvzero/tokenvault/webhook-sdk/storage"
)

// loadToken reads the document of a service's token. Its metadata is that which
// the secrets are bound to, not the copy that lists show.
func (w *Webhook) loadToken(ctx context.Context, service string) (custody.Document, storage.Item, error) {
	item, err := w.storage.Get(ctx, storage.CollectionTokens, service)
	if errors.Is(err, storage.ErrNotFound) {
		return custody.Document{}, item, errTokenNotFound
	}
	if err != nil {
		return custody.Document{}, item, fmt.Errorf("reading a token: %w", err)
	}
	document, err := custody.ParseDocument(item.Data)
	if err != nil {
		return custody.Document{}, item, fmt.Errorf("reading a token: %w", err)
	}
	return document, item, nil
}

// saveToken writes a document if the condition holds.
func (w *Webhook) saveToken(ctx context.Context, service string, document custody.Document, condition storage.Condition) error {
	data, err := json.Marshal(document)
	if err != nil {
		return fmt.Errorf("encoding a token: %w", err)
	}
	item := storage.Item{Key: service, Meta: document.Meta, Data: data}
	switch err := w.storage.Put(ctx, storage.CollectionTokens, item, condition); {
	case errors.Is(err, storage.ErrExists):
		return errAlreadyExists
	case errors.Is(err, storage.ErrStale):
		return errStaleCreation
	case err != nil:
		return fmt.Errorf("storing a token: %w", err)
	}
	return nil
}

// newID is 128 random bits in hex.
func (w *Webhook) newID() (string, error) {
	var raw [16]byte
	if _, err := io.ReadFull(w.random, raw[:]); err != nil {
		return "", fmt.Errorf("no randomness: %w", err)
	}
	return hex.EncodeToString(raw[:]), nil
}
