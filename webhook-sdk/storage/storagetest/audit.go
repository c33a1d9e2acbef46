package storagetest

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tvzero/tokenvault/webhook-sdk/storage"
)

var day = time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC)

func record(i int) storage.Audit {
	at := day.Add(time.Duration(i) * time.Second)
	text := fmt.Sprintf(`{"i":%d,"timestamp":%q,"service":"s%d"}`, i, at.Format(time.RFC3339Nano), i%3)
	return storage.Audit{Time: at, Data: json.RawMessage(text)}
}

func appendAudit(t *testing.T, s Store, n int) {
	t.Helper()
	for i := range n {
		if err := s.AppendAudit(t.Context(), record(i)); err != nil {
			t.Fatalf("appending record %d: %v", i, err)
		}
	}
}

// indexes are the numbers in listed records.
func indexes(t *testing.T, page storage.Page) []int {
	t.Helper()
	out := []int{}
	for _, item := range page.Items {
		var data struct{ I int }
		if err := json.Unmarshal(item.Data, &data); err != nil {
			t.Fatalf("record %q = %s: %v", item.Key, item.Data, err)
		}
		out = append(out, data.I)
	}
	return out
}

func audit(t *testing.T, s Store, q storage.Query) storage.Page {
	t.Helper()
	page, err := s.ListAudit(t.Context(), q)
	if err != nil {
		t.Fatalf("listing the audit %+v: %v", q, err)
	}
	if page.HasMore != (page.NextCursor != "") {
		t.Fatalf("listing the audit %+v: more %v, cursor %q", q, page.HasMore, page.NextCursor)
	}
	return page
}

func wantIndexes(t *testing.T, what string, page storage.Page, total int, want ...int) {
	t.Helper()
	if got := indexes(t, page); fmt.Sprint(got) != fmt.Sprint(want) || page.Total != total {
		t.Errorf("%s: records %v of %d, want %v of %d", what, got, page.Total, want, total)
	}
}

func auditOrder(t *testing.T, s Store) {
	wantIndexes(t, "empty", audit(t, s, storage.Query{Limit: 3}), 0)
	appendAudit(t, s, 5)
	page := audit(t, s, storage.Query{})
	wantIndexes(t, "all", page, 5, 4, 3, 2, 1, 0)
	if got := page.Items[4].Data; !sameJSON(t, got, record(0).Data) {
		t.Errorf("first record = %s, want %s", got, record(0).Data)
	}
	wantIndexes(t, "through List", list(t, s, storage.CollectionAudit, storage.Query{Limit: 2}), 5, 4, 3)
	item := get(t, s, storage.CollectionAudit, page.Items[3].Key)
	if !sameJSON(t, item.Data, record(1).Data) {
		t.Errorf("record by its key = %s, want %s", item.Data, record(1).Data)
	}
	if n := s.Count(storage.CollectionAudit); n != 5 {
		t.Errorf("count = %d, want 5", n)
	}
	for _, key := range []string{"0", "6", "x", "-1", "18446744073709551615", "18446744073709551616", page.Items[0].Key + " "} {
		_, err := s.Get(t.Context(), storage.CollectionAudit, key)
		wantError(t, "record "+key, err, storage.ErrNotFound)
	}
}

func auditPages(t *testing.T, s Store) {
	appendAudit(t, s, 10)
	page := audit(t, s, storage.Query{Limit: 4})
	wantIndexes(t, "first page", page, 10, 9, 8, 7, 6)
	// New records come in front and do not shift what follows.
	if err := s.AppendAudit(t.Context(), record(10)); err != nil {
		t.Fatal(err)
	}
	page = audit(t, s, storage.Query{Limit: 4, After: page.NextCursor})
	wantIndexes(t, "second page", page, 11, 5, 4, 3, 2)
	page = audit(t, s, storage.Query{Limit: 2, After: page.NextCursor})
	wantIndexes(t, "last page", page, 11, 1, 0)
	if page.HasMore {
		t.Errorf("last page says that there is more, after %q", page.NextCursor)
	}
}

func auditFilters(t *testing.T, s Store) {
	appendAudit(t, s, 9)
	since := day.Add(5 * time.Second)
	wantIndexes(t, "since", audit(t, s, storage.Query{Since: since}), 4, 8, 7, 6, 5)
	wantIndexes(t, "since just after", audit(t, s, storage.Query{Since: since.Add(time.Millisecond)}), 3, 8, 7, 6)
	wantIndexes(t, "since the future", audit(t, s, storage.Query{Since: day.Add(time.Hour)}), 0)
	wantIndexes(t, "service", audit(t, s, storage.Query{Filters: map[string]any{"service": "s1"}}), 3, 7, 4, 1)
	both := storage.Query{Filters: map[string]any{"service": "s1"}, Since: day.Add(2 * time.Second), Limit: 1}
	page := audit(t, s, both)
	wantIndexes(t, "both, first page", page, 2, 7)
	both.After = page.NextCursor
	page = audit(t, s, both)
	wantIndexes(t, "both, last page", page, 2, 4)
	if page.HasMore {
		t.Error("both, last page: says that there is more")
	}
	wantIndexes(t, "number", audit(t, s, storage.Query{Filters: map[string]any{"i": 3}}), 1, 3)
}

func auditRace(t *testing.T, s Store) {
	const callers, each = 16, 20
	var wait sync.WaitGroup
	for c := range callers {
		wait.Go(func() {
			for i := range each {
				if err := s.AppendAudit(t.Context(), record(c*each+i)); err != nil {
					t.Errorf("appending: %v", err)
				}
			}
		})
	}
	wait.Wait()
	page := audit(t, s, storage.Query{})
	if page.Total != callers*each {
		t.Errorf("total = %d, want %d", page.Total, callers*each)
	}
	last := map[int]int{} // of each caller, in the order of the list
	seen := map[int]bool{}
	for _, i := range indexes(t, page) {
		if seen[i] {
			t.Errorf("record %d is there twice", i)
		}
		seen[i] = true
		if before, ok := last[i/each]; ok && before < i {
			t.Errorf("record %d of a caller is listed after record %d of the same caller", i, before)
		}
		last[i/each] = i
	}
	if len(seen) != callers*each {
		t.Errorf("%d different records, want %d", len(seen), callers*each)
	}
}

func auditOnly(t *testing.T, s Store) {
	appendAudit(t, s, 1)
	key := audit(t, s, storage.Query{}).Items[0].Key
	item := storage.Item{Key: key, Data: json.RawMessage("{}")}
	wantError(t, "put", s.Put(t.Context(), storage.CollectionAudit, item, storage.Condition{}), storage.ErrInvalid)
	wantError(t, "delete", s.Delete(t.Context(), storage.CollectionAudit, key), storage.ErrInvalid)
	wantIndexes(t, "after both", audit(t, s, storage.Query{}), 1, 0)
}

func auditBadInput(t *testing.T, s Store) {
	for name, text := range map[string]string{
		"nothing":     "",
		"array":       "[]",
		"text":        `"x"`,
		"truncated":   `{"a":1`,
		"two records": `{"a":1}{"a":2}`,
		"two lines":   "{\"a\":1}\n{\"a\":2}",
		"too large":   `{"a":"` + strings.Repeat("x", storage.MaxAudit) + `"}`,
	} {
		err := s.AppendAudit(t.Context(), storage.Audit{Time: day, Data: json.RawMessage(text)})
		wantError(t, name, err, storage.ErrInvalid)
	}
	wantIndexes(t, "after bad records", audit(t, s, storage.Query{}), 0)
	pretty := "{\n \"i\": 7,\n \"text\": \"a\\nb\"\n}"
	if err := s.AppendAudit(t.Context(), storage.Audit{Time: day, Data: json.RawMessage(pretty)}); err != nil {
		t.Fatalf("a record of several lines: %v", err)
	}
	page := audit(t, s, storage.Query{})
	wantIndexes(t, "a record of several lines", page, 1, 7)
	if !sameJSON(t, page.Items[0].Data, json.RawMessage(pretty)) {
		t.Errorf("a record of several lines = %s, want %s", page.Items[0].Data, pretty)
	}
}

func cancelled(t *testing.T, s Store) {
	put(t, s, tokens, "k", nil, "1")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := s.Get(ctx, tokens, "k")
	wantError(t, "get", err, context.Canceled)
	wantError(t, "put", s.Put(ctx, tokens, storage.Item{Key: "new"}, storage.Condition{}), context.Canceled)
	wantError(t, "delete", s.Delete(ctx, tokens, "k"), context.Canceled)
	_, err = s.List(ctx, tokens, storage.Query{})
	wantError(t, "list", err, context.Canceled)
	wantError(t, "append", s.AppendAudit(ctx, record(0)), context.Canceled)
	_, err = s.ListAudit(ctx, storage.Query{})
	wantError(t, "list of the audit", err, context.Canceled)
	wantKeys(t, "after all that", list(t, s, tokens, storage.Query{}), "k")
	wantIndexes(t, "after all that", audit(t, s, storage.Query{}), 0)
}

func closed(t *testing.T, s Store) {
	put(t, s, tokens, "k", nil, "1")
	if err := s.Close(); err != nil {
		t.Fatalf("closing: %v", err)
	}
	_, err := s.Get(t.Context(), tokens, "k")
	wantError(t, "get", err, storage.ErrClosed)
	wantError(t, "put", s.Put(t.Context(), tokens, storage.Item{Key: "k"}, storage.Condition{}), storage.ErrClosed)
	wantError(t, "delete", s.Delete(t.Context(), tokens, "k"), storage.ErrClosed)
	_, err = s.List(t.Context(), tokens, storage.Query{})
	wantError(t, "list", err, storage.ErrClosed)
	wantError(t, "append", s.AppendAudit(t.Context(), record(0)), storage.ErrClosed)
	_, err = s.ListAudit(t.Context(), storage.Query{})
	wantError(t, "list of the audit", err, storage.ErrClosed)
	wantError(t, "closing again", s.Close(), storage.ErrClosed)
}
