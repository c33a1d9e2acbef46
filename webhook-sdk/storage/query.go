package storage

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"unicode/utf8"
)

// list goes through the index once. Nothing is read from disk.
func (c *collection) list(q Query) (Page, error) {
	after, err := decodeCursor(q.After)
	if err != nil {
		return Page{}, err
	}
	filter, err := newFilter(q)
	if err != nil {
		return Page{}, err
	}
	page := Page{Items: []Item{}}
	for _, s := range c.ordered() {
		r := s.cur.Load()
		if r == nil || !filter.matches(r.meta) {
			continue
		}
		page.Total++
		switch {
		case after != "" && s.key <= after:
		case q.Limit == 0 || len(page.Items) < q.Limit:
			page.Items = append(page.Items, r.item(s.key))
		default:
			page.HasMore = true
		}
	}
	if page.HasMore {
		page.NextCursor = encodeCursor(page.Items[len(page.Items)-1].Key)
	}
	return page, nil
}

// A cursor is the last key of the page before, in base64url.
func encodeCursor(key string) string { return base64.RawURLEncoding.EncodeToString([]byte(key)) }

func decodeCursor(cursor string) (string, error) {
	key, err := base64.RawURLEncoding.Strict().DecodeString(cursor)
	if err != nil || len(key) > MaxKey || !utf8.Valid(key) {
		return "", fmt.Errorf("%w: after is not a cursor that this storage gave", ErrInvalid)
	}
	return string(key), nil
}

// A filter is the equality conditions of a query, with values as JSON has them.
type filter map[string]any

func newFilter(q Query) (filter, error) {
	if q.Limit < 0 {
		return nil, fmt.Errorf("%w: limit is negative", ErrInvalid)
	}
	if len(q.Filters) == 0 {
		return nil, nil
	}
	text, err := json.Marshal(q.Filters)
	if err != nil {
		return nil, fmt.Errorf("%w: a filter is not JSON", ErrInvalid)
	}
	out := filter{}
	return out, decodeJSON(text, &out)
}

func (f filter) matches(fields map[string]any) bool {
	for name, want := range f {
		if !equalJSON(fields[name], want) {
			return false
		}
	}
	return true
}

// equalJSON compares decoded JSON; numbers by value, to the precision of a float64
// where they are spelled differently.
func equalJSON(a, b any) bool {
	switch a := a.(type) {
	case json.Number:
		b, ok := b.(json.Number)
		return ok && equalNumber(string(a), string(b))
	case []any:
		b, ok := b.([]any)
		return ok && slices.EqualFunc(a, b, equalJSON)
	case map[string]any:
		b, ok := b.(map[string]any)
		if !ok || len(a) != len(b) {
			return false
		}
		for name, value := range a {
			other, ok := b[name]
			if !ok || !equalJSON(value, other) {
				return false
			}
		}
		return true
	}
	switch b.(type) {
	case json.Number, []any, map[string]any:
		return false
	}
	return a == b // string, bool, nil
}

func equalNumber(a, b string) bool {
	if a == b {
		return true
	}
	x, errX := strconv.ParseInt(a, 10, 64)
	y, errY := strconv.ParseInt(b, 10, 64)
	if errX == nil && errY == nil {
		return x == y
	}
	u, errU := strconv.ParseFloat(a, 64)
	v, errV := strconv.ParseFloat(b, 64)
	return errU == nil && errV == nil && u == v
}

// cloneJSON copies decoded JSON deeply.
func cloneJSON(value any) any {
	switch v := value.(type) {
	case map[string]any:
		if v == nil {
			return v
		}
		out := make(map[string]any, len(v))
		for name, field := range v {
			out[name] = cloneJSON(field)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, element := range v {
			out[i] = cloneJSON(element)
		}
		return out
	}
	return value
}

// decodeJSON decodes with numbers as they are written.
func decodeJSON(text []byte, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	return decoder.Decode(into)
}
