package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/tvzero/tokenvault/webhook-sdk/credential"
	"github.com/tvzero/tokenvault/webhook-sdk/custody"
	"github.com/tvzero/tokenvault/webhook-sdk/storage"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

const (
	maxListLimit = 1000
	maxConfigs   = 10_000 // documents of TV's own in one collection
	maxTVRecord  = 8 << 10
	statusOK     = "ok"
)

// storageOperation answers POST /v1/storage: what TV may know and change of what
// the webhook keeps. Credential material neither enters nor leaves here.
func (w *Webhook) storageOperation(rw http.ResponseWriter, r *http.Request, body []byte) error {
	var request wire.StorageRequest
	if len(body) > 0 {
		if err := decodeInto(body, &request); err != nil {
			return err
		}
	}
	answer, err := w.operate(r, request)
	if errors.Is(err, storage.ErrInvalid) {
		err = because(invalid("the key, the cursor or a filter is not valid"), err)
	}
	if err != nil {
		return err
	}
	answer.RequestID = r.Header.Get(wire.HeaderRequestID)
	return writeJSON(rw, http.StatusOK, answer)
}

func (w *Webhook) operate(r *http.Request, request wire.StorageRequest) (wire.StorageResponse, error) {
	ctx := r.Context()
	if request.Operation == wire.OpListBatch {
		return w.listBatch(ctx, request)
	}
	if err := checkCollection(request.Collection); err != nil {
		return wire.StorageResponse{}, err
	}
	if request.Operation == wire.OpList {
		list, err := w.list(ctx, request.Collection, request.Options)
		return wire.StorageResponse{Items: list.Items, Pagination: list.Pagination}, err
	}
	if request.Key == "" || len(request.Key) > storage.MaxKey {
		return wire.StorageResponse{}, invalid("key is missing or longer than %d bytes", storage.MaxKey)
	}
	switch request.Operation {
	case wire.OpGet:
		data, err := w.get(ctx, request.Collection, request.Key)
		return wire.StorageResponse{Data: data}, err
	case wire.OpSet:
		return wire.StorageResponse{Status: statusOK}, w.set(ctx, request.Collection, request.Key, request.Data)
	case wire.OpDelete:
		return wire.StorageResponse{Status: statusOK}, w.remove(r, request.Collection, request.Key)
	}
	return wire.StorageResponse{}, invalid("operation is none of get, list, set, delete, list_batch")
}

func checkCollection(name string) error {
	switch name {
	case wire.CollectionTokens, wire.CollectionProxyConfigs, wire.CollectionAudit, wire.CollectionVaultConfig:
		return nil
	}
	return invalid("collection is none of tokens, proxy_configs, audit, vault_config")
}

func (w *Webhook) listBatch(ctx context.Context, request wire.StorageRequest) (wire.StorageResponse, error) {
	if len(request.Collections) == 0 || len(request.Collections) > 4 {
		return wire.StorageResponse{}, invalid("collections is missing, empty or too long")
	}
	results := make(map[string]wire.ListAnswer, len(request.Collections))
	for _, collection := range request.Collections {
		if err := checkCollection(collection); err != nil {
			return wire.StorageResponse{}, err
		}
		list, err := w.list(ctx, collection, request.Options)
		if err != nil {
			return wire.StorageResponse{}, err
		}
		results[collection] = list
	}
	return wire.StorageResponse{Results: results}, nil
}

// list shows metadata; of the audit, the records themselves.
func (w *Webhook) list(ctx context.Context, collection string, options *wire.ListOptions) (wire.ListAnswer, error) {
	if options == nil {
		options = &wire.ListOptions{}
	}
	if options.Limit < 0 {
		return wire.ListAnswer{}, invalid("options.limit is negative")
	}
	since, err := parseSince(options.Since)
	if err != nil {
		return wire.ListAnswer{}, err
	}
	query := storage.Query{Filters: options.Filters, Since: since, After: options.After, Limit: min(options.Limit, maxListLimit)}
	var page storage.Page
	if collection == wire.CollectionAudit {
		page, err = w.storage.ListAudit(ctx, query)
	} else {
		page, err = w.storage.List(ctx, collection, query)
	}
	if err != nil {
		return wire.ListAnswer{}, fmt.Errorf("listing %s: %w", collection, err)
	}
	answer := wire.ListAnswer{Items: make([]wire.StorageItem, 0, len(page.Items))}
	for _, item := range page.Items {
		shown := wire.StorageItem{Key: item.Key}
		if collection == wire.CollectionAudit {
			shown.Data = item.Data
		}
		if item.Meta != nil {
			if shown.Meta, err = json.Marshal(listable(item.Meta)); err != nil {
				return wire.ListAnswer{}, fmt.Errorf("encoding metadata: %w", err)
			}
		}
		answer.Items = append(answer.Items, shown)
	}
	if options.Limit > 0 || page.HasMore {
		answer.Pagination = &wire.Pagination{HasMore: page.HasMore, NextCursor: page.NextCursor, TotalCount: page.Total}
	}
	return answer, nil
}

// listable takes from metadata any field whose name says that it is a secret:
// none should be there, but others' documents are read too.
func listable(meta map[string]any) map[string]any {
	maps.DeleteFunc(meta, func(name string, _ any) bool { return wire.IsSensitive(name) })
	return meta
}

var maxSince = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)

// parseSince reads RFC 3339, or Unix milliseconds; nil is the beginning.
func parseSince(value any) (time.Time, error) {
	malformed := invalid("options.since is neither an RFC 3339 time nor Unix milliseconds")
	switch v := value.(type) {
	case nil:
		return time.Time{}, nil
	case json.Number:
		ms, err := v.Int64()
		if err != nil || ms < 0 || ms > maxSince.UnixMilli() {
			return time.Time{}, malformed
		}
		return time.UnixMilli(ms), nil
	case string:
		if at, err := time.Parse(time.RFC3339, v); err == nil {
			return at, nil
		}
	}
	return time.Time{}, malformed
}

// get shows the metadata of a token, and documents of TV's own.
func (w *Webhook) get(ctx context.Context, collection, key string) (json.RawMessage, error) {
	if collection == wire.CollectionTokens {
		stored, err := w.loadToken(ctx, key)
		if err != nil {
			return nil, err
		}
		return json.Marshal(listable(maps.Clone(stored.meta())))
	}
	item, err := w.storage.Get(ctx, collection, key)
	if errors.Is(err, storage.ErrNotFound) {
		return nil, refuse(wire.CodeTokenNotFound, "there is nothing under this key")
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", collection, err)
	}
	return item.Data, nil
}

// set changes the notes of a token, or writes a document of TV's own.
func (w *Webhook) set(ctx context.Context, collection, key string, data json.RawMessage) error {
	if len(data) == 0 || string(data) == "null" {
		return invalid("data is missing")
	}
	switch collection {
	case wire.CollectionTokens:
		return w.setNotes(ctx, key, data)
	case wire.CollectionAudit:
		return w.appendOfTV(ctx, key, data)
	}
	var value any
	if err := decodeInto(data, &value); err != nil {
		return err
	}
	if holdsSecretField(value) {
		return invalid("data has a field whose name is that of a secret: no credential material goes this way")
	}
	if w.storage.Count(collection) >= maxConfigs {
		// What is there already can still be changed.
		if _, err := w.storage.Get(ctx, collection, key); errors.Is(err, storage.ErrNotFound) {
			return refuse(wire.CodeTooLarge, "the collection holds %d documents already", maxConfigs)
		}
	}
	meta, _ := value.(map[string]any)
	if err := w.storage.Put(ctx, collection, storage.Item{Key: key, Meta: meta, Data: data}, storage.Condition{}); err != nil {
		return fmt.Errorf("writing %s: %w", collection, err)
	}
	return nil
}

func holdsSecretField(value any) bool {
	switch v := value.(type) {
	case map[string]any:
		for name, inner := range v {
			if wire.IsSensitive(name) || holdsSecretField(inner) {
				return true
			}
		}
	case []any:
		return slices.ContainsFunc(v, holdsSecretField)
	}
	return false
}

// setNotes changes displayName, notes and tags. Another field may be sent as it is,
// but not changed: what steers a secret is written by /v1/store alone.
func (w *Webhook) setNotes(ctx context.Context, service string, data json.RawMessage) error {
	var given map[string]any
	if err := decodeInto(data, &given); err != nil {
		return err
	}
	defer w.writes.lock(service)()
	stored, err := w.loadToken(ctx, service)
	if err != nil {
		return err
	}
	meta := maps.Clone(stored.meta())
	for name, value := range given {
		if !credential.IsNote(name) {
			if !sameJSON(value, meta[name]) {
				return refuse(wire.CodeForbidden, "only displayName, notes and tags of a token can be changed here; to change others, store it again")
			}
			continue
		}
		if err := credential.CheckNote(name, value); err != nil {
			return invalid("%s", err)
		}
		if meta[name] = value; value == nil {
			delete(meta, name)
		}
	}
	document := stored.prepared.Document()
	document.Meta = meta
	if document.V == custody.VersionPlain {
		// Written anew, a document is bound to its place.
		secrets, err := w.keys.OpenToken(service, document)
		if err != nil {
			return err
		}
		if document.CreationID() == "" {
			if meta[credential.MetaCreationID], err = w.newID(); err != nil {
				return err
			}
		}
		if document, err = w.keys.SealToken(service, secrets, meta); err != nil {
			return err
		}
	}
	return w.saveToken(ctx, service, document, storage.Condition{IfVersion: stored.version})
}

func sameJSON(a, b any) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && string(x) == string(y)
}

// appendOfTV adds a record that TV wrote to the log. It is marked as TV's, so that
// it cannot pass for the webhook's own.
func (w *Webhook) appendOfTV(ctx context.Context, key string, data json.RawMessage) error {
	var given map[string]any
	if err := decodeInto(data, &given); err != nil {
		return err
	}
	if holdsSecretField(given) {
		return invalid("data has a field whose name is that of a secret: no credential material goes this way")
	}
	now := w.now()
	if _, ok := given["timestamp"]; !ok {
		given["timestamp"] = credential.FormatTime(now)
	}
	if _, ok := given["id"]; !ok {
		given["id"] = key
	}
	given["recordedBy"] = recordedByTV
	text, err := json.Marshal(given)
	if err != nil || len(text) > maxTVRecord {
		return invalid("data is longer than %d bytes", maxTVRecord)
	}
	if err := w.storage.AppendAudit(ctx, storage.Audit{Time: now, Data: text}); err != nil {
		return fmt.Errorf("writing a record of TV: %w", err)
	}
	return nil
}

// remove deletes a token or a document of TV's own. What is not there is as good as
// deleted: a call that is repeated because its answer was lost succeeds.
func (w *Webhook) remove(r *http.Request, collection, key string) error {
	if collection == wire.CollectionAudit {
		return refuse(wire.CodeForbidden, "the webhook's log is only added to")
	}
	if collection == wire.CollectionTokens {
		return w.removeToken(r, key)
	}
	if err := w.storage.Delete(r.Context(), collection, key); err != nil && !errors.Is(err, storage.ErrNotFound) {
		return fmt.Errorf("deleting from %s: %w", collection, err)
	}
	return nil
}

// removeToken records first and then deletes, so that no token goes without a
// record; of a deletion that failed there is a second one.
func (w *Webhook) removeToken(r *http.Request, service string) error {
	_, err := w.storage.Get(r.Context(), storage.CollectionTokens, service)
	if errors.Is(err, storage.ErrNotFound) {
		return nil
	}
	rec := record{Action: actionDelete, Service: clip(service), Address: w.clients.describe(r), Outcome: outcomeOK}
	if err := w.appendRecord(r.Context(), rec); err != nil {
		return err
	}
	end, err := w.takeToken(r.Context(), service)
	if err == nil || errors.Is(err, storage.ErrNotFound) {
		w.revoke(r.Context(), rec.Address, service, end)
		return nil
	}
	rec.Outcome = outcomeOf(err)
	return errors.Join(fmt.Errorf("deleting a token: %w", err), w.appendRecord(r.Context(), rec))
}

// takeToken deletes a token and returns how it is revoked. The lock keeps a refresh
// from changing it between the two. A document that cannot be read is deleted all the
// same.
func (w *Webhook) takeToken(ctx context.Context, service string) (revocation, error) {
	defer w.writes.lock(service)()
	end := w.revocationOf(ctx, service)
	return end, w.storage.Delete(ctx, storage.CollectionTokens, service)
}
