package storage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
)

// auditQuery is a Query of the audit under way.
type auditQuery struct {
	filter filter
	since  int64  // Unix milliseconds
	timed  bool   // since counts
	before uint64 // only records with lower numbers are in the page; 0 is all
	limit  int
	page   Page
}

func newAuditQuery(q Query) (*auditQuery, error) {
	filter, err := newFilter(q)
	if err != nil {
		return nil, err
	}
	a := &auditQuery{filter: filter, limit: q.Limit, page: Page{Items: []Item{}}}
	if a.limit == 0 || a.limit > maxAuditPage {
		a.limit = maxAuditPage
	}
	if !q.Since.IsZero() {
		a.since, a.timed = q.Since.UnixMilli(), true
	}
	if q.After != "" {
		if a.before, err = parseAuditKey(q.After); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// A key of the audit, and its cursor, is the number of a record.
func parseAuditKey(key string) (uint64, error) {
	n, err := strconv.ParseUint(key, 10, 64)
	if err != nil || n == 0 || strconv.FormatUint(n, 10) != key {
		return 0, fmt.Errorf("%w: %q is not a key or cursor of the audit", ErrInvalid, key)
	}
	return n, nil
}

// view is a segment at one moment, with the number of its records by its neighbour's
// name.
type view struct {
	*segment
	records uint64
	last    bool
	blocks  []block // of the last
}

func (l *auditLog) views() []view {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make([]view, len(l.segments))
	end := l.number
	for i, s := range slices.Backward(l.segments) {
		out[i] = view{segment: s, records: end - s.first}
		if i == len(l.segments)-1 {
			out[i].last, out[i].blocks = true, slices.Clone(s.blocks)
		}
		end = s.first
	}
	return out
}

// list goes from the newest record back. Blocks that cannot matter to the page are
// counted and not read, and so are whole segments if nothing is asked of the records.
func (l *auditLog) list(ctx context.Context, q Query) (Page, error) {
	a, err := newAuditQuery(q)
	if err != nil {
		return Page{}, err
	}
	for _, v := range slices.Backward(l.views()) {
		if err := ctx.Err(); err != nil {
			return Page{}, err
		}
		if a.filter == nil && !a.timed && a.skip(v.first, int(v.records)) {
			continue
		}
		// A segment that went out of retention meanwhile is no error.
		if err := l.listSegment(a, v); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return Page{}, err
		}
	}
	if a.page.HasMore {
		a.page.NextCursor = a.page.Items[len(a.page.Items)-1].Key
	}
	return a.page, nil
}

func (l *auditLog) listSegment(a *auditQuery, v view) error {
	blocks, err := l.blocksOf(v)
	if err != nil {
		return err
	}
	f, err := os.Open(v.path)
	if err != nil {
		return fmt.Errorf("storage: %w", err)
	}
	defer f.Close()
	for _, b := range slices.Backward(blocks) {
		if a.timed && b.max < a.since {
			continue
		}
		if a.filter == nil && (!a.timed || b.min >= a.since) && a.skip(b.first, b.count) {
			continue
		}
		lines, err := v.readBlock(l.disk, f, b)
		if err != nil {
			return err
		}
		for _, text := range lines {
			if err := a.visit(v.segment, text); err != nil {
				return err
			}
		}
	}
	return nil
}

// blocksOf reads a segment that is written no more when it is first needed.
func (l *auditLog) blocksOf(v view) ([]block, error) {
	if v.last {
		return v.blocks, nil
	}
	s := v.segment
	s.loading.Lock()
	defer s.loading.Unlock()
	if !s.loaded {
		tail, err := s.load(l.disk)
		if err != nil {
			return nil, err
		}
		if tail != 0 || s.count() != v.records {
			s.loaded = false
			return nil, s.damaged(fmt.Sprintf("it ends before record %d, with which the next file begins", s.first+v.records))
		}
	}
	return s.blocks, nil
}

// skip counts records of which all match, if none of them belongs on the page.
func (a *auditQuery) skip(first uint64, count int) bool {
	switch {
	case a.before != 0 && first >= a.before:
	case count > 0 && len(a.page.Items) == a.limit:
		a.page.HasMore = true
	case count > 0:
		return false
	}
	a.page.Total += count
	return true
}

// visit looks at one record.
func (a *auditQuery) visit(s *segment, text []byte) error {
	l, data, ok := parseLine(text)
	if !ok {
		return s.damaged("a line was altered since it was written")
	}
	if a.timed && l.time < a.since {
		return nil
	}
	if a.filter != nil {
		var fields map[string]any
		if decodeJSON(data, &fields) != nil {
			return s.damaged(fmt.Sprintf("record %d is not JSON", l.number))
		}
		if !a.filter.matches(fields) {
			return nil
		}
	}
	a.page.Total++
	switch {
	case a.before != 0 && l.number >= a.before:
	case len(a.page.Items) < a.limit:
		key := strconv.FormatUint(l.number, 10)
		a.page.Items = append(a.page.Items, Item{Key: key, Data: slices.Clone(data), Version: key})
	default:
		a.page.HasMore = true
	}
	return nil
}

// get returns the record of that number.
func (l *auditLog) get(key string) (Item, error) {
	n, err := parseAuditKey(key)
	if err != nil || n == ^uint64(0) {
		return Item{}, fmt.Errorf("%w: audit %q", ErrNotFound, key)
	}
	a := &auditQuery{before: n + 1, limit: 1}
	for _, v := range l.views() {
		if n < v.first || n-v.first >= v.records {
			continue
		}
		if err := l.listSegment(a, v); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return Item{}, err
		}
	}
	if len(a.page.Items) == 0 || a.page.Items[0].Key != key {
		return Item{}, fmt.Errorf("%w: audit %q", ErrNotFound, key)
	}
	return a.page.Items[0], nil
}
