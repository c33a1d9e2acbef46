// Package storagetest holds what every storage of a webhook must do, as a test suite:
// Run it against each implementation. It knows nothing of how one stores.
package storagetest

import (
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/tvzero/tokenvault/webhook-sdk/storage"
)

// Store is a storage under test.
type Store interface {
	Get(ctx context.Context, collection, key string) (storage.Item, error)
	Put(ctx context.Context, collection string, item storage.Item, cond storage.Condition) error
	Delete(ctx context.Context, collection, key string) error
	List(ctx context.Context, collection string, q storage.Query) (storage.Page, error)
	AppendAudit(ctx context.Context, record storage.Audit) error
	ListAudit(ctx context.Context, q storage.Query) (storage.Page, error)
	Count(collection string) int
	Close() error
}

// Run runs the suite. open returns an empty storage, which it closes when its test
// ends (closing twice is no failure).
func Run(t *testing.T, open func(t *testing.T) Store) {
	for name, test := range map[string]func(*testing.T, Store){
		"what is put comes back":                            roundTrip,
		"what comes back is the caller's own":               copies,
		"what is missing is not found":                      missing,
		"keys are any text and do not meet":                 keys,
		"create does not replace":                           create,
		"of many creators one wins":                         createRace,
		"a creation that has changed is stale":              creation,
		"a version that has changed is stale":               version,
		"conditional writers lose no update":                versionRace,
		"what is deleted is gone":                           deleted,
		"bad input is refused and changes nothing":          badInput,
		"a list is in the order of keys, without data":      listOrder,
		"filters are equality":                              listFilters,
		"pages are complete and stay so under changes":      listPages,
		"audit records come back newest first":              auditOrder,
		"audit pages follow each other":                     auditPages,
		"audit filters and since narrow the list":           auditFilters,
		"audit records of concurrent callers are all there": auditRace,
		"the audit is append-only":                          auditOnly,
		"bad audit records are refused":                     auditBadInput,
		"a cancelled caller changes nothing":                cancelled,
		"a closed storage says so":                          closed,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, open(t))
		})
	}
}

func put(t *testing.T, s Store, collection, key string, meta map[string]any, data string) {
	t.Helper()
	item := storage.Item{Key: key, Meta: meta, Data: json.RawMessage(data)}
	if err := s.Put(t.Context(), collection, item, storage.Condition{}); err != nil {
		t.Fatalf("putting %s %q: %v", collection, key, err)
	}
}

func get(t *testing.T, s Store, collection, key string) storage.Item {
	t.Helper()
	item, err := s.Get(t.Context(), collection, key)
	if err != nil {
		t.Fatalf("getting %s %q: %v", collection, key, err)
	}
	if item.Key != key {
		t.Fatalf("getting %s %q: key %q came back", collection, key, item.Key)
	}
	return item
}

func list(t *testing.T, s Store, collection string, q storage.Query) storage.Page {
	t.Helper()
	page, err := s.List(t.Context(), collection, q)
	if err != nil {
		t.Fatalf("listing %s %+v: %v", collection, q, err)
	}
	if page.HasMore != (page.NextCursor != "") {
		t.Fatalf("listing %s %+v: more %v, cursor %q", collection, q, page.HasMore, page.NextCursor)
	}
	return page
}

func wantError(t *testing.T, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("%s: error %v, want %v", what, got, want)
	}
}

func wantKeys(t *testing.T, what string, page storage.Page, want ...string) {
	t.Helper()
	got := []string{}
	for _, item := range page.Items {
		got = append(got, item.Key)
	}
	if strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("%s: keys %q, want %q", what, got, want)
	}
}

// sameJSON compares by value.
func sameJSON(t *testing.T, got, want any) bool {
	t.Helper()
	return reflect.DeepEqual(plain(t, got), plain(t, want))
}

func plain(t *testing.T, value any) any {
	t.Helper()
	text, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	decoder := json.NewDecoder(strings.NewReader(string(text)))
	decoder.UseNumber()
	var out any
	if err := decoder.Decode(&out); err != nil {
		t.Fatal(err)
	}
	return out
}
