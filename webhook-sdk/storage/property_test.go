package storage

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// model is what a File should behave like: a map, and a list of records.
type model struct {
	docs  map[string]Item
	audit []string
}

// A File behaves like a map in any sequence of operations, across reopenings and with
// any cache. rapid prints the seed of a failure.
func TestFileBehavesLikeAMap(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	runs := 0
	rapid.Check(t, func(t *rapid.T) {
		runs++
		dir := fmt.Sprintf("%s/%d", root, runs)
		opts := FileOptions{
			CacheBytes:        rapid.SampledFrom([]int64{0, -1, 200}).Draw(t, "cache"),
			AuditSegmentBytes: rapid.SampledFrom([]int64{0, 1, 200}).Draw(t, "segment"),
			AuditSegments:     -1,
		}
		f, err := OpenFile(dir, opts)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = f.Close() }()
		m := &model{docs: map[string]Item{}}
		t.Repeat(map[string]func(*rapid.T){
			"put":    func(t *rapid.T) { m.put(t, f) },
			"delete": func(t *rapid.T) { m.delete(t, f) },
			"list":   func(t *rapid.T) { m.list(t, f) },
			"append": func(t *rapid.T) { m.append(t, f) },
			"reopen": func(t *rapid.T) {
				if err := f.Close(); err != nil {
					t.Fatal(err)
				}
				next, err := OpenFile(dir, opts)
				if err != nil {
					t.Fatalf("reopening: %v", err)
				}
				f = next
			},
			"": func(t *rapid.T) { m.check(t, f) },
		})
	})
}

var modelKeys = rapid.SampledFrom([]string{"a", "b", "b ", "B", "ü", "../x", "k"})

func (m *model) put(t *rapid.T, f *File) {
	key := modelKeys.Draw(t, "key")
	creation := rapid.SampledFrom([]string{"c1", "c2", ""}).Draw(t, "creation")
	item := Item{
		Key:  key,
		Meta: map[string]any{MetaCreationID: creation, "group": rapid.SampledFrom([]string{"g", "h"}).Draw(t, "group")},
		Data: fmt.Appendf(nil, "%q", rapid.StringMatching(`[a-z]{0,60}`).Draw(t, "data")),
	}
	old, there := m.docs[key]
	var cond Condition
	var want error
	switch rapid.IntRange(0, 3).Draw(t, "condition") {
	case 1:
		cond.Create = true
		if there {
			want = ErrExists
		}
	case 2:
		cond.IfCreationID = rapid.SampledFrom([]string{"c1", "c2"}).Draw(t, "expected creation")
		if !there || old.Meta[MetaCreationID] != cond.IfCreationID {
			want = ErrStale
		}
	case 3:
		cond.IfVersion = old.Version
		if !there || rapid.Bool().Draw(t, "wrong version") {
			cond.IfVersion, want = "no such version", ErrStale
		}
	}
	if err := f.Put(t.Context(), CollectionTokens, item, cond); !errors.Is(err, want) {
		t.Fatalf("put %q with %+v: %v, want %v", key, cond, err, want)
	}
	if want != nil {
		return
	}
	got, err := f.Get(t.Context(), CollectionTokens, key)
	if err != nil {
		t.Fatal(err)
	}
	item.Version = got.Version
	m.docs[key] = item
}

func (m *model) delete(t *rapid.T, f *File) {
	key := modelKeys.Draw(t, "key")
	var want error
	if _, there := m.docs[key]; !there {
		want = ErrNotFound
	}
	if err := f.Delete(t.Context(), CollectionTokens, key); !errors.Is(err, want) {
		t.Fatalf("delete %q: %v, want %v", key, err, want)
	}
	delete(m.docs, key)
}

func (m *model) append(t *rapid.T, f *File) {
	text := fmt.Sprintf(`{"n":%d}`, len(m.audit))
	if err := f.AppendAudit(t.Context(), Audit{Time: day, Data: json.RawMessage(text)}); err != nil {
		t.Fatalf("append: %v", err)
	}
	m.audit = append(m.audit, text)
}

func (m *model) list(t *rapid.T, f *File) {
	q := Query{Limit: rapid.IntRange(1, 4).Draw(t, "limit")}
	var want []string
	group := rapid.SampledFrom([]string{"", "g"}).Draw(t, "filter")
	if group != "" {
		q.Filters = map[string]any{"group": group}
	}
	for _, key := range slices.Sorted(maps.Keys(m.docs)) {
		if group == "" || m.docs[key].Meta["group"] == group {
			want = append(want, key)
		}
	}
	var got []string
	for {
		page, err := f.List(t.Context(), CollectionTokens, q)
		if err != nil || page.Total != len(want) || len(page.Items) > q.Limit {
			t.Fatalf("list %+v: %d items of %d, %v; want %d in all", q, len(page.Items), page.Total, err, len(want))
		}
		for _, item := range page.Items {
			got = append(got, item.Key)
		}
		if !page.HasMore {
			break
		}
		q.After = page.NextCursor
	}
	if !slices.Equal(got, want) {
		t.Fatalf("list %+v: %q, want %q", q, got, want)
	}
}

func (m *model) check(t *rapid.T, f *File) {
	if n := f.Count(CollectionTokens); n != len(m.docs) {
		t.Fatalf("documents = %d, want %d", n, len(m.docs))
	}
	for key, want := range m.docs {
		got, err := f.Get(t.Context(), CollectionTokens, key)
		if err != nil || string(got.Data) != string(want.Data) || !maps.Equal(got.Meta, want.Meta) || got.Version != want.Version {
			t.Fatalf("document %q = %+v, %v; want %+v", key, got, err, want)
		}
	}
	page, err := f.ListAudit(t.Context(), Query{})
	if err != nil || page.Total != len(m.audit) || f.Count(CollectionAudit) != len(m.audit) {
		t.Fatalf("audit has %d records, %v; want %d", page.Total, err, len(m.audit))
	}
	for i, item := range page.Items {
		if want := m.audit[len(m.audit)-1-i]; string(item.Data) != want {
			t.Fatalf("record %d from the end = %s, want %s", i, item.Data, want)
		}
	}
}
