package webhook

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/tvzero/tokenvault/webhook-sdk/credential"
	"github.com/tvzero/tokenvault/webhook-sdk/custody"
	"github.com/tvzero/tokenvault/webhook-sdk/storage"
)

// A token is a stored one, not opened. It is shared: neither the document nor its
// metadata may be changed.
type token struct {
	service string
	readyDocument
}

// meta is the metadata that the secrets are bound to, not the copy that lists show.
func (t token) meta() map[string]any { return t.prepared.Document().Meta }

func (t token) kind() string {
	kind, _ := t.meta()[credential.MetaTokenType].(string)
	return kind
}

// creationID is "" for no token, and for one of version 1 that has none.
func (t token) creationID() string {
	if t.prepared == nil {
		return ""
	}
	return t.prepared.Document().CreationID()
}

// loadToken reads the token of a service.
func (w *Webhook) loadToken(ctx context.Context, service string) (token, error) {
	item, err := w.storage.Get(ctx, storage.CollectionTokens, service)
	if errors.Is(err, storage.ErrNotFound) {
		return token{}, errTokenNotFound
	}
	if err != nil {
		return token{}, fmt.Errorf("reading a token: %w", err)
	}
	if ready, ok := w.documents.get(item); ok {
		return token{service, ready}, nil
	}
	document, err := custody.ParseDocument(item.Data)
	if err != nil {
		return token{}, fmt.Errorf("reading a token: %w", err)
	}
	prepared, err := w.keys.Prepare(service, document)
	if err != nil {
		return token{}, fmt.Errorf("reading a token: %w", err)
	}
	encoded, err := encodeMeta(service, document)
	if err != nil {
		return token{}, err
	}
	ready := readyDocument{version: item.Version, prepared: prepared, encoded: encoded}
	w.documents.put(item, ready)
	return token{service, ready}, nil
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
