package storagetest

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/tvzero/tokenvault/webhook-sdk/storage"
)

func listOrder(t *testing.T, s Store) {
	for _, key := range []string{"b", "a", "ü", "B", "a.b", "ab", "a b", "10", "9"} {
		put(t, s, tokens, key, map[string]any{"n": key}, `{"sealed":"x"}`)
	}
	page := list(t, s, tokens, storage.Query{})
	wantKeys(t, "list", page, "10", "9", "B", "a", "a b", "a.b", "ab", "b", "ü")
	for _, item := range page.Items {
		if item.Data != nil || item.Meta["n"] != item.Key {
			t.Errorf("item %q = %v with data %s; want its metadata alone", item.Key, item.Meta, item.Data)
		}
	}
	if page.Total != 9 {
		t.Errorf("total = %d, want 9", page.Total)
	}
}

func listFilters(t *testing.T, s Store) {
	put(t, s, tokens, "a", map[string]any{"type": "OAuth", "n": 1, "ok": true, "tags": []string{"x", "y"}}, "1")
	put(t, s, tokens, "b", map[string]any{"type": "OAuth", "n": 2.0, "ok": false, "tags": []string{"y", "x"}}, "1")
	put(t, s, tokens, "c", map[string]any{"type": "TOTP", "n": "1", "o": map[string]any{"p": 1, "q": nil}}, "1")
	for name, test := range map[string]struct {
		filters map[string]any
		want    []string
	}{
		"text":                      {map[string]any{"type": "OAuth"}, []string{"a", "b"}},
		"other case":                {map[string]any{"type": "oauth"}, nil},
		"all must hold":             {map[string]any{"type": "OAuth", "n": 2}, []string{"b"}},
		"number by value":           {map[string]any{"n": 1.0}, []string{"a"}},
		"number spelled otherwise":  {map[string]any{"n": json.Number("0.1e1")}, []string{"a"}},
		"text is no number":         {map[string]any{"n": "1"}, []string{"c"}},
		"truth":                     {map[string]any{"ok": false}, []string{"b"}},
		"null is absent":            {map[string]any{"ok": nil}, []string{"c"}},
		"list in its order":         {map[string]any{"tags": []any{"x", "y"}}, []string{"a"}},
		"part of a list":            {map[string]any{"tags": []any{"x"}}, nil},
		"object":                    {map[string]any{"o": map[string]any{"q": nil, "p": 1}}, []string{"c"}},
		"part of an object":         {map[string]any{"o": map[string]any{"p": 1}}, nil},
		"object with another field": {map[string]any{"o": map[string]any{"p": 1, "r": nil}}, nil},
		"unknown field":             {map[string]any{"nothing": "x"}, nil},
		"no filter":                 {map[string]any{}, []string{"a", "b", "c"}},
	} {
		page := list(t, s, tokens, storage.Query{Filters: test.filters})
		wantKeys(t, name, page, test.want...)
		if page.Total != len(test.want) {
			t.Errorf("%s: total = %d, want %d", name, page.Total, len(test.want))
		}
	}
	page := list(t, s, tokens, storage.Query{Filters: map[string]any{"type": "OAuth"}, Limit: 1})
	wantKeys(t, "first page of a filtered list", page, "a")
	if page.Total != 2 || !page.HasMore {
		t.Errorf("first page of a filtered list: total %d, more %v; want 2, true", page.Total, page.HasMore)
	}
}

func listPages(t *testing.T, s Store) {
	for i := range 10 {
		put(t, s, tokens, fmt.Sprintf("k%d", i), nil, "1")
	}
	page := list(t, s, tokens, storage.Query{Limit: 4})
	wantKeys(t, "first page", page, "k0", "k1", "k2", "k3")
	if page.Total != 10 || !page.HasMore {
		t.Errorf("first page: total %d, more %v; want 10, true", page.Total, page.HasMore)
	}
	// The page's last goes, others come before and behind it.
	if err := s.Delete(t.Context(), tokens, "k3"); err != nil {
		t.Fatal(err)
	}
	put(t, s, tokens, "k1.5", nil, "1")
	put(t, s, tokens, "k4.5", nil, "1")
	page = list(t, s, tokens, storage.Query{Limit: 4, After: page.NextCursor})
	wantKeys(t, "second page", page, "k4", "k4.5", "k5", "k6")
	put(t, s, tokens, "k6", map[string]any{"changed": true}, "1")
	page = list(t, s, tokens, storage.Query{Limit: 3, After: page.NextCursor})
	wantKeys(t, "last page", page, "k7", "k8", "k9")
	if page.HasMore || page.Total != 11 {
		t.Errorf("last page: total %d, more %v; want 11, false", page.Total, page.HasMore)
	}
}
