package storagetest

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/tvzero/tokenvault/webhook-sdk/storage"
)

const tokens = storage.CollectionTokens

func roundTrip(t *testing.T, s Store) {
	meta := map[string]any{
		"text": "ünï<&> \u2028\"\\", "whole": json.Number("9007199254740993"), "part": 0.5, "yes": true, "none": nil,
		"list": []any{"a", json.Number("1"), nil}, "deep": map[string]any{"a": map[string]any{"b": []any{}}},
	}
	data := `{"v":2, "fields":{"accessToken":"b64+/="}, "n":12345678901234567890, "t":"<\u00e9>"}`
	put(t, s, tokens, "github", meta, data)
	item := get(t, s, tokens, "github")
	if !sameJSON(t, item.Meta, meta) {
		t.Errorf("metadata = %v, want %v", item.Meta, meta)
	}
	if !sameJSON(t, item.Data, json.RawMessage(data)) {
		t.Errorf("data = %s, want %s", item.Data, data)
	}
	if n, ok := item.Meta["whole"].(json.Number); !ok || n != "9007199254740993" {
		t.Errorf("whole number = %#v, want a json.Number", item.Meta["whole"])
	}
	put(t, s, tokens, "bare", nil, "")
	if item := get(t, s, tokens, "bare"); len(item.Meta) != 0 || len(item.Data) != 0 || item.Version == "" {
		t.Errorf("document without metadata and data = %+v, want it so, with a version", item)
	}
	put(t, s, tokens, "github", map[string]any{"new": true}, `"text"`)
	if item := get(t, s, tokens, "github"); len(item.Meta) != 1 || string(item.Data) != `"text"` {
		t.Errorf("replaced document = %+v, want only what was put last", item)
	}
}

func copies(t *testing.T, s Store) {
	meta := map[string]any{"list": []any{"a"}, "map": map[string]any{"a": "b"}}
	data := []byte(`{"a":"b"}`)
	item := storage.Item{Key: "k", Meta: meta, Data: data}
	if err := s.Put(t.Context(), tokens, item, storage.Condition{}); err != nil {
		t.Fatal(err)
	}
	spoil := func(item storage.Item) {
		item.Meta["list"].([]any)[0] = "spoilt"
		item.Meta["map"].(map[string]any)["a"] = "spoilt"
		item.Meta["more"] = "spoilt"
		for i := range item.Data {
			item.Data[i] = 'x'
		}
	}
	spoil(item)
	spoil(get(t, s, tokens, "k"))
	spoil(list(t, s, tokens, storage.Query{}).Items[0])
	got := get(t, s, tokens, "k")
	want := map[string]any{"list": []any{"a"}, "map": map[string]any{"a": "b"}}
	if !sameJSON(t, got.Meta, want) || string(got.Data) != `{"a":"b"}` {
		t.Errorf("after callers changed theirs: %v %s, want %v {\"a\":\"b\"}", got.Meta, got.Data, want)
	}
}

func missing(t *testing.T, s Store) {
	_, err := s.Get(t.Context(), tokens, "nobody")
	wantError(t, "get", err, storage.ErrNotFound)
	wantError(t, "delete", s.Delete(t.Context(), tokens, "nobody"), storage.ErrNotFound)
	if page := list(t, s, tokens, storage.Query{Limit: 5}); page.Items == nil || len(page.Items) != 0 || page.Total != 0 {
		t.Errorf("list of nothing = %+v, want an empty page with a slice", page)
	}
	if n := s.Count(tokens); n != 0 {
		t.Errorf("count = %d, want 0", n)
	}
}

func keys(t *testing.T, s Store) {
	names := []string{
		"a", "A", "a ", "a.b", "../../../../etc/passwd", "..", "/", "a/b", `a\b`, "a:b@c", "ü", "u\u0308", "日本", "'; DROP TABLE tokens; --",
		"%", "_", "*", strings.Repeat("k", storage.MaxKey), strings.Repeat("k", storage.MaxKey-1), "\u2028", "😀",
	}
	collections := []string{tokens, storage.CollectionProxyConfigs, storage.CollectionVaultConfig, storage.CollectionBinding}
	for _, collection := range collections {
		for i, name := range names {
			put(t, s, collection, name, map[string]any{"i": i, "in": collection}, fmt.Sprintf("%d", i))
		}
	}
	for _, collection := range collections {
		if n := s.Count(collection); n != len(names) {
			t.Errorf("%s has %d documents, want %d", collection, n, len(names))
		}
		for i, name := range names {
			item := get(t, s, collection, name)
			if string(item.Data) != fmt.Sprint(i) || item.Meta["in"] != collection {
				t.Errorf("%s %q = %s of %v, want %d of %s", collection, name, item.Data, item.Meta["in"], i, collection)
			}
		}
	}
}

func create(t *testing.T, s Store) {
	first := storage.Item{Key: "k", Meta: map[string]any{"n": "first"}}
	again := storage.Item{Key: "k", Meta: map[string]any{"n": "again"}}
	if err := s.Put(t.Context(), tokens, first, storage.Condition{Create: true}); err != nil {
		t.Fatalf("creating: %v", err)
	}
	wantError(t, "creating again", s.Put(t.Context(), tokens, again, storage.Condition{Create: true}), storage.ErrExists)
	if got := get(t, s, tokens, "k"); got.Meta["n"] != "first" {
		t.Errorf("document = %v, want the first", got.Meta)
	}
	if err := s.Delete(t.Context(), tokens, "k"); err != nil {
		t.Fatal(err)
	}
	if err := s.Put(t.Context(), tokens, again, storage.Condition{Create: true}); err != nil {
		t.Errorf("creating after deleting: %v, want it done", err)
	}
}

func createRace(t *testing.T, s Store) {
	const many = 16
	var won atomic.Int64
	var winner atomic.Value
	var wait sync.WaitGroup
	for i := range many {
		wait.Go(func() {
			name := fmt.Sprint(i)
			item := storage.Item{Key: "k", Meta: map[string]any{"by": name}}
			switch err := s.Put(t.Context(), tokens, item, storage.Condition{Create: true}); {
			case err == nil:
				won.Add(1)
				winner.Store(name)
			case !errors.Is(err, storage.ErrExists):
				t.Errorf("creator %d: %v, want ErrExists", i, err)
			}
		})
	}
	wait.Wait()
	if got := get(t, s, tokens, "k").Meta["by"]; won.Load() != 1 || got != winner.Load() {
		t.Errorf("%d of %d creators won; stored is that of %v, told was %v", won.Load(), many, got, winner.Load())
	}
}

func creation(t *testing.T, s Store) {
	update := storage.Item{Key: "k", Meta: map[string]any{storage.MetaCreationID: "c1", "n": "updated"}}
	cond := storage.Condition{IfCreationID: "c1"}
	wantError(t, "update of nothing", s.Put(t.Context(), tokens, update, cond), storage.ErrStale)
	if s.Count(tokens) != 0 {
		t.Errorf("a stale update made a document")
	}
	put(t, s, tokens, "k", map[string]any{storage.MetaCreationID: "c2"}, "1")
	wantError(t, "update of another creation", s.Put(t.Context(), tokens, update, cond), storage.ErrStale)
	put(t, s, tokens, "k", map[string]any{"n": "no creation"}, "1")
	wantError(t, "update of one without creation", s.Put(t.Context(), tokens, update, cond), storage.ErrStale)
	put(t, s, tokens, "k", map[string]any{storage.MetaCreationID: "c1"}, "1")
	if err := s.Put(t.Context(), tokens, update, cond); err != nil {
		t.Errorf("update of the same creation: %v, want it done", err)
	}
	if got := get(t, s, tokens, "k"); got.Meta["n"] != "updated" {
		t.Errorf("document = %v, want the update", got.Meta)
	}
}

func version(t *testing.T, s Store) {
	put(t, s, tokens, "k", map[string]any{"n": 1}, "1")
	before := get(t, s, tokens, "k").Version
	if listed := list(t, s, tokens, storage.Query{}).Items[0].Version; listed != before || before == "" {
		t.Errorf("version listed = %q, got = %q; want the same", listed, before)
	}
	next := storage.Item{Key: "k", Meta: map[string]any{"n": 2}, Data: json.RawMessage("1")}
	if err := s.Put(t.Context(), tokens, next, storage.Condition{IfVersion: before}); err != nil {
		t.Fatalf("update of the version that was read: %v", err)
	}
	if after := get(t, s, tokens, "k").Version; after == before {
		t.Errorf("version = %q before and after a change", after)
	}
	wantError(t, "second update of the same version",
		s.Put(t.Context(), tokens, next, storage.Condition{IfVersion: before}), storage.ErrStale)
	if err := s.Delete(t.Context(), tokens, "k"); err != nil {
		t.Fatal(err)
	}
	wantError(t, "update of what was deleted",
		s.Put(t.Context(), tokens, next, storage.Condition{IfVersion: before}), storage.ErrStale)
}

func versionRace(t *testing.T, s Store) {
	const writers, each = 8, 10
	put(t, s, tokens, "counter", nil, "0")
	add := func() error {
		for {
			item, err := s.Get(t.Context(), tokens, "counter")
			if err != nil {
				return err
			}
			var n int
			if err := json.Unmarshal(item.Data, &n); err != nil {
				return err
			}
			item.Data = fmt.Appendf(nil, "%d", n+1)
			err = s.Put(t.Context(), tokens, item, storage.Condition{IfVersion: item.Version})
			if !errors.Is(err, storage.ErrStale) {
				return err
			}
		}
	}
	var wait sync.WaitGroup
	for range writers {
		wait.Go(func() {
			for range each {
				if err := add(); err != nil {
					t.Errorf("adding: %v", err)
				}
			}
		})
	}
	wait.Wait()
	if got, want := string(get(t, s, tokens, "counter").Data), fmt.Sprint(writers*each); got != want {
		t.Errorf("counter = %s, want %s", got, want)
	}
}

func deleted(t *testing.T, s Store) {
	put(t, s, tokens, "a", nil, "1")
	put(t, s, tokens, "b", nil, "2")
	if err := s.Delete(t.Context(), tokens, "a"); err != nil {
		t.Fatalf("deleting: %v", err)
	}
	_, err := s.Get(t.Context(), tokens, "a")
	wantError(t, "get after delete", err, storage.ErrNotFound)
	wantError(t, "second delete", s.Delete(t.Context(), tokens, "a"), storage.ErrNotFound)
	wantKeys(t, "list after delete", list(t, s, tokens, storage.Query{}), "b")
	if n := s.Count(tokens); n != 1 {
		t.Errorf("count = %d, want 1", n)
	}
}

func badInput(t *testing.T, s Store) {
	put(t, s, tokens, "k", map[string]any{"n": "kept"}, "1")
	for name, item := range map[string]storage.Item{
		"no key":           {Key: ""},
		"long key":         {Key: strings.Repeat("k", storage.MaxKey+1)},
		"key not UTF-8":    {Key: "a\xff"},
		"key with NUL":     {Key: "a\x00b"},
		"key with line":    {Key: "a\nb"},
		"data not JSON":    {Key: "k", Data: json.RawMessage("{")},
		"two data":         {Key: "k", Data: json.RawMessage("{}{}")},
		"metadata no JSON": {Key: "k", Meta: map[string]any{"f": func() {}}},
		"large data":       {Key: "k", Data: json.RawMessage(`"` + strings.Repeat("x", storage.MaxDocument) + `"`)},
	} {
		wantError(t, name, s.Put(t.Context(), tokens, item, storage.Condition{}), storage.ErrInvalid)
	}
	for _, collection := range []string{"", "Tokens", "token", "../tokens", "lock"} {
		_, err := s.Get(t.Context(), collection, "k")
		wantError(t, "get in "+collection, err, storage.ErrInvalid)
		wantError(t, "put in "+collection, s.Put(t.Context(), collection, storage.Item{Key: "k"}, storage.Condition{}), storage.ErrInvalid)
		wantError(t, "delete in "+collection, s.Delete(t.Context(), collection, "k"), storage.ErrInvalid)
		_, err = s.List(t.Context(), collection, storage.Query{})
		wantError(t, "list of "+collection, err, storage.ErrInvalid)
		if n := s.Count(collection); n != 0 {
			t.Errorf("count of %q = %d, want 0", collection, n)
		}
	}
	for name, q := range map[string]storage.Query{
		"negative limit": {Limit: -1},
		"foreign cursor": {After: "!"},
		"filter no JSON": {Filters: map[string]any{"f": func() {}}},
	} {
		_, err := s.List(t.Context(), tokens, q)
		wantError(t, name, err, storage.ErrInvalid)
		_, err = s.ListAudit(t.Context(), q)
		wantError(t, "audit: "+name, err, storage.ErrInvalid)
	}
	if got := get(t, s, tokens, "k"); got.Meta["n"] != "kept" || string(got.Data) != "1" || s.Count(tokens) != 1 {
		t.Errorf("after bad input: %v %s, %d documents; want it unchanged", got.Meta, got.Data, s.Count(tokens))
	}
}
