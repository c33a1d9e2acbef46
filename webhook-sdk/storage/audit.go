package storage

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
)

const (
	defaultSegmentBytes = 64 << 20
	defaultSegments     = 16
	maxAuditPage        = 1000
)

// auditLog is the append-only log: segments of JSON lines, each record numbered and
// checksummed. Appending is a group commit without a goroutine of its own: the first caller of a
// batch writes it for all who joined while the batch before it was on its way to the disk.
type auditLog struct {
	disk         *disk
	dir          string
	segmentBytes int64
	keep         int // segments; below 1 is all

	mu       sync.Mutex
	next     *batch     // the one that callers join
	segments []*segment // oldest first; the last is written to
	number   uint64     // of the next record

	commit sync.Mutex // held by who writes
	file   *os.File   // of the last segment
	broken error      // a failure after which the log takes nothing more
	buffer []byte
}

// A batch is what one write and one sync make durable.
type batch struct {
	records []Audit
	done    chan struct{} // closed when err is set
	err     error
}

// append returns when the record is durable.
func (l *auditLog) append(record Audit) error {
	data, err := compactRecord(record.Data)
	if err != nil {
		return err
	}
	record.Data = data
	l.mu.Lock()
	b := l.next
	if b == nil {
		b = &batch{done: make(chan struct{})}
		l.next = b
	}
	b.records = append(b.records, record)
	leads := len(b.records) == 1
	l.mu.Unlock()
	if !leads {
		<-b.done
		return b.err
	}
	l.commit.Lock()
	l.mu.Lock()
	l.next = nil // nobody joins any more
	l.mu.Unlock()
	b.err = l.write(b.records)
	l.commit.Unlock()
	close(b.done)
	return b.err
}

// compactRecord checks that the record is one JSON object, on one line.
func compactRecord(data json.RawMessage) (json.RawMessage, error) {
	if len(data) > MaxAudit || len(data) < 2 || data[0] != '{' || !json.Valid(data) {
		return nil, fmt.Errorf("%w: an audit record is a JSON object of at most %d bytes", ErrInvalid, MaxAudit)
	}
	if bytes.IndexByte(data, '\n') < 0 {
		return data, nil
	}
	var out bytes.Buffer
	if err := json.Compact(&out, data); err != nil {
		return nil, fmt.Errorf("%w: an audit record is a JSON object", ErrInvalid)
	}
	return out.Bytes(), nil
}

// write makes records durable and then shows them; it is called with commit held.
// After a failed write the file is cut back to what was there, so that the
// next batch may succeed when there is room again.
func (l *auditLog) write(records []Audit) error {
	if l.broken != nil {
		return l.broken
	}
	l.buffer = l.buffer[:0]
	lines := make([]line, len(records))
	for i, r := range records {
		start := len(l.buffer)
		number, at := l.number+uint64(i), r.Time.UnixMilli()
		l.buffer = appendLine(l.buffer, number, at, r.Data)
		lines[i] = line{number: number, time: at, size: len(l.buffer) - start}
	}
	if err := l.rotate(len(l.buffer)); err != nil {
		return err
	}
	last := l.segments[len(l.segments)-1]
	if err := l.disk.writeAt(l.file, l.buffer, last.size); err != nil {
		if cut := l.disk.truncate(l.file, last.size); cut != nil {
			l.fail(cut)
		}
		return err
	}
	if err := l.disk.sync(l.file); err != nil {
		l.fail(err)
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, n := range lines {
		last.add(n)
	}
	l.number += uint64(len(records))
	if cap(l.buffer) > 1<<20 {
		l.buffer = nil
	}
	return nil
}

// fail closes the log for good: after a failed sync nobody knows what the disk
// holds, and trying again would only seem to succeed.
func (l *auditLog) fail(cause error) {
	l.broken = fmt.Errorf("storage: the audit log failed and takes nothing more until a restart: %w", cause)
}

// rotate begins a new segment if size more bytes do not fit in the last, and deletes
// the oldest beyond those to keep.
func (l *auditLog) rotate(size int) error {
	last := l.segments[len(l.segments)-1]
	if last.size == 0 || last.size+int64(size) <= l.segmentBytes {
		return nil
	}
	next := &segment{path: l.segmentPath(l.number), first: l.number, loaded: true}
	file, err := l.createSegment(next)
	if err != nil {
		return err
	}
	_ = l.file.Close() // everything in it is synced
	l.file = file
	l.mu.Lock()
	l.segments = append(l.segments, next)
	old := l.retire()
	l.mu.Unlock()
	for _, s := range old {
		// One that cannot be deleted now is no reason to refuse a record: opening the
		// folder tries again, and says so.
		_ = l.disk.remove(s.path)
	}
	return nil
}

func (l *auditLog) createSegment(s *segment) (*os.File, error) {
	file, err := os.OpenFile(s.path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("storage: a new audit segment: %w", err)
	}
	if err := l.disk.syncDir(l.dir); err != nil {
		return nil, errors.Join(err, file.Close(), os.Remove(s.path))
	}
	return file, nil
}

func (l *auditLog) segmentPath(first uint64) string {
	return filepath.Join(l.dir, fmt.Sprintf("%020d%s", first, segmentSuffix))
}

func (l *auditLog) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return int(l.number - l.segments[0].first)
}

func (l *auditLog) close() error {
	l.commit.Lock()
	defer l.commit.Unlock()
	l.broken = ErrClosed
	return l.file.Close()
}
