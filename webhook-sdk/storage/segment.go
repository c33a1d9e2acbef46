package storage

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
)

const (
	segmentSuffix = ".jsonl"
	blockBytes    = 64 << 10
	maxLine       = MaxAudit + 256
)

// A segment is one file of the log. Its blocks are known from its first reading on;
// for one that is no longer written to, that is when a list first needs it.
type segment struct {
	path  string
	first uint64 // number of its first record, from its name

	loading sync.Mutex // one reader at a time builds the blocks
	loaded  bool
	size    int64
	blocks  []block
}

// A block is a run of lines, of some 64 KiB: what a list reads at once.
type block struct {
	offset   int64
	size     int
	first    uint64
	count    int
	min, max int64 // times, Unix milliseconds
}

// add puts the line that follows into the last block, or into a new one.
func (s *segment) add(l line) {
	if n := len(s.blocks); n == 0 || s.blocks[n-1].size+l.size > blockBytes {
		s.blocks = append(s.blocks, block{offset: s.size, first: l.number, min: l.time, max: l.time})
	}
	b := &s.blocks[len(s.blocks)-1]
	b.size += l.size
	b.count++
	b.min, b.max = min(b.min, l.time), max(b.max, l.time)
	s.size += int64(l.size)
}

func (s *segment) count() uint64 {
	var n uint64
	for _, b := range s.blocks {
		n += uint64(b.count)
	}
	return n
}

// openAudit finds the segments and reads the last, of which kill -9 may have left half
// a line at the end: nobody was told that it is there, so it is cut off.
func openAudit(d *disk, dir string, opts FileOptions) (*auditLog, error) {
	l := &auditLog{disk: d, dir: dir, segmentBytes: opts.AuditSegmentBytes, keep: opts.AuditSegments, number: 1}
	if l.segmentBytes <= 0 {
		l.segmentBytes = defaultSegmentBytes
	}
	if l.keep == 0 {
		l.keep = defaultSegments
	}
	if err := d.makeDir(dir); err != nil {
		return nil, err
	}
	if err := l.findSegments(); err != nil {
		return nil, err
	}
	for _, old := range l.retire() {
		if err := d.remove(old.path); err != nil {
			return nil, err
		}
	}
	if len(l.segments) == 0 {
		first := &segment{path: l.segmentPath(1), first: 1, loaded: true}
		file, err := l.createSegment(first)
		l.segments, l.file = []*segment{first}, file
		return l, err
	}
	last := l.segments[len(l.segments)-1]
	tail, err := last.load(d)
	if err != nil {
		return nil, err
	}
	if l.file, err = os.OpenFile(last.path, os.O_RDWR, 0); err != nil {
		return nil, fmt.Errorf("storage: %w", err)
	}
	l.number = last.first + last.count()
	if tail == 0 {
		return l, nil
	}
	if err := d.truncate(l.file, last.size); err != nil {
		return nil, errors.Join(err, l.file.Close())
	}
	if err := d.sync(l.file); err != nil {
		return nil, errors.Join(err, l.file.Close())
	}
	return l, nil
}

// retire takes the segments out that are beyond those to keep.
func (l *auditLog) retire() []*segment {
	excess := len(l.segments) - l.keep
	if l.keep <= 0 || excess <= 0 {
		return nil
	}
	old := l.segments[:excess]
	l.segments = l.segments[excess:]
	return old
}

func (l *auditLog) findSegments() error {
	files, err := os.ReadDir(l.dir) // in the order of names, which is that of numbers
	if err != nil {
		return fmt.Errorf("storage: %w", err)
	}
	for _, file := range files {
		path := filepath.Join(l.dir, file.Name())
		text, _ := strings.CutSuffix(file.Name(), segmentSuffix)
		first, err := strconv.ParseUint(text, 10, 64)
		if err != nil || first == 0 || l.segmentPath(first) != path || !file.Type().IsRegular() {
			return strange(path)
		}
		l.segments = append(l.segments, &segment{path: path, first: first})
	}
	return nil
}

// load reads the whole segment, checks every line, and finds its blocks. tail is the
// number of bytes after the last complete line.
func (s *segment) load(d *disk) (tail int, err error) {
	f, err := os.Open(s.path)
	if err != nil {
		return 0, fmt.Errorf("storage: %w", err)
	}
	defer f.Close()
	d.reads.Add(1)
	s.size, s.blocks = 0, nil
	reader := bufio.NewReaderSize(f, maxLine)
	next := s.first
	for {
		text, err := reader.ReadSlice('\n')
		if err == io.EOF {
			if lostItsEnd(text) {
				return 0, s.damaged("the end of its last line was altered")
			}
			s.loaded = true
			return len(text), nil
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			return 0, s.damaged(fmt.Sprintf("the line at byte %d has no end", s.size))
		}
		if err != nil {
			return 0, fmt.Errorf("storage: reading %s: %w", s.path, err)
		}
		l, _, ok := parseLine(text[:len(text)-1])
		if !ok || l.number != next {
			return 0, s.damaged(fmt.Sprintf("the line at byte %d is not record %d", s.size, next))
		}
		s.add(l)
		next++
	}
}

// lostItsEnd tells an altered end of a line, after a record that somebody may have
// been told of, from half a line.
func lostItsEnd(tail []byte) bool {
	if len(tail) == 0 {
		return false
	}
	_, _, ok := parseLine(tail[:len(tail)-1])
	return ok
}

func (s *segment) damaged(why string) error {
	return fmt.Errorf("%w: audit log %s: %s. Restore the file from a backup; without one, move it and the older segments out of the folder and keep them for whoever audits",
		ErrDamaged, s.path, why)
}

// readBlock returns the lines of a block, the last first.
func (s *segment) readBlock(d *disk, f io.ReaderAt, b block) ([][]byte, error) {
	buf := make([]byte, b.size)
	d.reads.Add(1)
	if _, err := f.ReadAt(buf, b.offset); err != nil {
		return nil, fmt.Errorf("storage: reading %s: %w", s.path, err)
	}
	lines := bytes.Split(bytes.TrimSuffix(buf, []byte("\n")), []byte("\n"))
	slices.Reverse(lines)
	return lines, nil
}
