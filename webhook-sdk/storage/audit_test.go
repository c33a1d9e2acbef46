package storage

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

var day = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func record(i int) Audit {
	return Audit{Time: day.Add(time.Duration(i) * time.Second), Data: fmt.Appendf(nil, `{"i":%d}`, i)}
}

func appendRecords(t testing.TB, f *File, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		if err := f.AppendAudit(t.Context(), record(i)); err != nil {
			t.Fatalf("appending record %d: %v", i, err)
		}
	}
}

// wantRecords checks that the audit holds records from up to, but without, to.
func wantRecords(t testing.TB, f *File, from, to int) {
	t.Helper()
	q := Query{Limit: 7}
	next := to - 1
	for {
		page, err := f.ListAudit(t.Context(), q)
		if err != nil {
			t.Fatalf("listing: %v", err)
		}
		if page.Total != to-from {
			t.Errorf("records = %d, want %d", page.Total, to-from)
		}
		for _, item := range page.Items {
			if want := fmt.Sprintf(`{"i":%d}`, next); string(item.Data) != want {
				t.Fatalf("record = %s, want %s", item.Data, want)
			}
			next--
		}
		if !page.HasMore {
			break
		}
		q.After = page.NextCursor
	}
	if next != from-1 {
		t.Errorf("the oldest record is %d, want %d", next+1, from)
	}
}

func segmentFiles(t testing.TB, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, CollectionAudit, "*"+segmentSuffix))
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	return names
}

func TestTheAuditGoesOnAfterReopening(t *testing.T) {
	t.Parallel()
	for _, size := range []int64{1, 200, 1000, 0} {
		dir := newDir(t)
		opts := FileOptions{AuditSegmentBytes: size, AuditSegments: -1}
		for round := range 4 {
			f := open(t, dir, opts)
			wantRecords(t, f, 0, round*20)
			appendRecords(t, f, round*20, round*20+20)
			wantRecords(t, f, 0, round*20+20)
			shut(t, f)
		}
		if n := len(segmentFiles(t, dir)); (n > 1) != (size > 0) {
			t.Errorf("segments of %d bytes: %d files", size, n)
		}
	}
}

func TestOnlyTheLastSegmentsAreKept(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	f := open(t, dir, FileOptions{AuditSegmentBytes: 200, AuditSegments: 3})
	appendRecords(t, f, 0, 50)
	if n := len(segmentFiles(t, dir)); n != 3 {
		t.Errorf("files = %d, want 3", n)
	}
	kept := f.Count(CollectionAudit)
	if kept < 6 || kept > 12 {
		t.Errorf("records kept = %d, want those of three files of 200 bytes", kept)
	}
	wantRecords(t, f, 50-kept, 50)
	if _, err := f.Get(t.Context(), CollectionAudit, "1"); !errors.Is(err, ErrNotFound) {
		t.Errorf("a record out of retention: %v, want ErrNotFound", err)
	}
	if page, err := f.ListAudit(t.Context(), Query{After: "2"}); err != nil || len(page.Items) != 0 || page.Total != kept {
		t.Errorf("page behind the oldest record = %+v, %v; want none of %d", page, err, kept)
	}
	shut(t, f)
	f = open(t, dir, FileOptions{AuditSegmentBytes: 200, AuditSegments: 1})
	if n := len(segmentFiles(t, dir)); n != 1 {
		t.Errorf("files after opening with one to keep = %d", n)
	}
	wantRecords(t, f, 50-f.Count(CollectionAudit), 50)
}

// kill -9 in the middle of a write leaves the beginning of it.
func TestHalfARecordAtTheEndIsCutOff(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	f := open(t, dir, FileOptions{})
	appendRecords(t, f, 0, 3)
	shut(t, f)
	path := segmentFiles(t, dir)[0]
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.SplitAfter(whole, []byte("\n"))
	two := len(lines[0]) + len(lines[1])
	for size := two; size < len(whole); size++ {
		if err := os.WriteFile(path, whole[:size], 0o600); err != nil {
			t.Fatal(err)
		}
		f := open(t, dir, FileOptions{})
		wantRecords(t, f, 0, 2)
		appendRecords(t, f, 2, 4)
		wantRecords(t, f, 0, 4)
		shut(t, f)
		f = open(t, dir, FileOptions{})
		wantRecords(t, f, 0, 4)
		shut(t, f)
	}
}

func TestEveryAlteredBitOfTheAuditIsFound(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	f := open(t, dir, FileOptions{AuditSegmentBytes: 200, AuditSegments: -1})
	appendRecords(t, f, 0, 5)
	shut(t, f)
	files := segmentFiles(t, dir)
	if len(files) != 2 {
		t.Fatalf("files = %d, want 2", len(files))
	}
	for _, path := range files {
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for i := range whole {
			altered := bytes.Clone(whole)
			altered[i] ^= 1 << (i % 8)
			if err := os.WriteFile(path, altered, 0o600); err != nil {
				t.Fatal(err)
			}
			f, err := OpenFile(dir, FileOptions{})
			if err == nil {
				// An older file is read when it is needed.
				_, err = f.ListAudit(t.Context(), Query{})
				shut(t, f)
			}
			if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), path) {
				t.Errorf("byte %d of %s altered: %v, want ErrDamaged and the file", i, path, err)
			}
			if after, err := os.ReadFile(path); err != nil || !bytes.Equal(after, altered) {
				t.Errorf("byte %d altered: the file was changed, %v", i, err)
			}
		}
		if err := os.WriteFile(path, whole, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	wantRecords(t, open(t, dir, FileOptions{}), 0, 5)
}

func TestAMissingPartOfTheAuditIsFound(t *testing.T) {
	t.Parallel()
	damage := map[string]func(files []string) error{
		"an older file cut":    func(files []string) error { return os.Truncate(files[1], 100) },
		"an older file empty":  func(files []string) error { return os.Truncate(files[1], 0) },
		"a file missing":       func(files []string) error { return os.Remove(files[1]) },
		"files changed places": func(files []string) error { return os.Rename(files[1], files[2]) },
	}
	for name, change := range damage {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := newDir(t)
			f := open(t, dir, FileOptions{AuditSegmentBytes: 200, AuditSegments: -1})
			appendRecords(t, f, 0, 20)
			shut(t, f)
			if err := change(segmentFiles(t, dir)); err != nil {
				t.Fatal(err)
			}
			f = open(t, dir, FileOptions{})
			appendRecords(t, f, 20, 21)
			_, err := f.ListAudit(t.Context(), Query{})
			if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "backup") {
				t.Errorf("listing: %v, want ErrDamaged and a remedy", err)
			}
		})
	}
}

// The batch is held at its sync until the others have joined the next one.
func TestConcurrentRecordsShareOneSync(t *testing.T) {
	t.Parallel()
	d := &disk{}
	f, err := openFile(newDir(t), FileOptions{}, d)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	held, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	d.fail = func(op, _ string) error {
		if op == "sync" {
			once.Do(func() { close(held); <-release })
		}
		return nil
	}
	before := f.Stats()
	const many = 64
	var wait sync.WaitGroup
	add := func(i int) {
		if err := f.AppendAudit(t.Context(), record(i)); err != nil {
			t.Errorf("appending: %v", err)
		}
	}
	wait.Go(func() { add(0) })
	<-held
	for i := 1; i < many; i++ {
		wait.Go(func() { add(i) })
	}
	joined := func() int {
		f.audit.mu.Lock()
		defer f.audit.mu.Unlock()
		if f.audit.next == nil {
			return 0
		}
		return len(f.audit.next.records)
	}
	for deadline := time.Now().Add(10 * time.Second); joined() < many-1; {
		if time.Now().After(deadline) {
			t.Fatalf("%d callers joined the next batch, want %d", joined(), many-1)
		}
		runtime.Gosched()
	}
	if n := f.Count(CollectionAudit); n != 0 {
		t.Errorf("records shown before they are durable: %d", n)
	}
	close(release)
	wait.Wait()
	after := f.Stats()
	if after.Syncs-before.Syncs != 2 || after.Writes-before.Writes != 2 {
		t.Errorf("%d records took %d writes and %d syncs, want 2 of each", many, after.Writes-before.Writes, after.Syncs-before.Syncs)
	}
	if n := f.Count(CollectionAudit); n != many {
		t.Errorf("records = %d, want %d", n, many)
	}
}

func TestTheNewestPageIsReadWithoutTheRest(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	f := open(t, dir, FileOptions{AuditSegmentBytes: 10_000, AuditSegments: -1})
	appendRecords(t, f, 0, 1000)
	shut(t, f)
	if n := len(segmentFiles(t, dir)); n < 5 {
		t.Fatalf("files = %d, want several", n)
	}
	f = open(t, dir, FileOptions{})
	reads := f.Stats().Reads
	page, err := f.ListAudit(t.Context(), Query{Limit: 5})
	if err != nil || len(page.Items) != 5 || page.Total != 1000 {
		t.Fatalf("page = %d items of %d, %v; want 5 of 1000", len(page.Items), page.Total, err)
	}
	if n := f.Stats().Reads - reads; n > 1 {
		t.Errorf("the newest page took %d reads, want 1", n)
	}
	since := Query{Since: day.Add(998 * time.Second)}
	if page, err := f.ListAudit(t.Context(), since); err != nil || len(page.Items) != 2 || page.Total != 2 {
		t.Errorf("since: %d items of %d, %v; want 2 of 2", len(page.Items), page.Total, err)
	}
	reads = f.Stats().Reads
	if _, err := f.ListAudit(t.Context(), since); err != nil {
		t.Fatal(err)
	}
	if n := f.Stats().Reads - reads; n > 1 {
		t.Errorf("since, once all files are known, took %d reads, want 1", n)
	}
}

func TestAPageOfTheAuditIsLimited(t *testing.T) {
	t.Parallel()
	f := open(t, newDir(t), FileOptions{})
	var wait sync.WaitGroup
	for i := range 8 {
		wait.Go(func() { appendRecords(t, f, i*200, i*200+200) })
	}
	wait.Wait()
	for _, limit := range []int{0, 5000} {
		page, err := f.ListAudit(t.Context(), Query{Limit: limit})
		if err != nil || len(page.Items) != maxAuditPage || !page.HasMore || page.Total != 1600 {
			t.Errorf("limit %d: %d items of %d, more %v, %v; want %d of 1600", limit, len(page.Items), page.Total, page.HasMore, err, maxAuditPage)
		}
	}
}

func TestAClockThatGoesBackHidesNoRecord(t *testing.T) {
	t.Parallel()
	f := open(t, newDir(t), FileOptions{AuditSegmentBytes: 150, AuditSegments: -1})
	for _, i := range []int{1, 100, 2, 101, 3, 4, 102, 5} {
		appendRecords(t, f, i, i+1)
	}
	page, err := f.ListAudit(t.Context(), Query{Since: day.Add(100 * time.Second)})
	if err != nil || page.Total != 3 || len(page.Items) != 3 {
		t.Errorf("since: %d of %d records, %v; want 3 of 3", len(page.Items), page.Total, err)
	}
}

func TestAFullDiskRefusesRecordsUntilThereIsRoom(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	d := &disk{}
	f, err := openFile(dir, FileOptions{}, d)
	if err != nil {
		t.Fatal(err)
	}
	appendRecords(t, f, 0, 2)
	d.fail = failing("write")
	if err := f.AppendAudit(t.Context(), record(9)); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("appending to a full disk: %v, want ENOSPC", err)
	}
	wantRecords(t, f, 0, 2)
	d.fail = nil
	appendRecords(t, f, 2, 4)
	wantRecords(t, f, 0, 4)
	shut(t, f)
	wantRecords(t, open(t, dir, FileOptions{}), 0, 4)
}

func failing(ops ...string) func(op, path string) error {
	return func(op, _ string) error {
		if slices.Contains(ops, op) {
			return syscall.ENOSPC
		}
		return nil
	}
}

// After a failed sync a second one may succeed without the data being there.
func TestAFailedSyncEndsTheAuditUntilTheFolderIsOpenedAgain(t *testing.T) {
	t.Parallel()
	for name, ops := range map[string][]string{"sync": {"sync"}, "write and cutting back": {"write", "truncate"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := newDir(t)
			d := &disk{}
			f, err := openFile(dir, FileOptions{}, d)
			if err != nil {
				t.Fatal(err)
			}
			appendRecords(t, f, 0, 2)
			d.fail = failing(ops...)
			if err := f.AppendAudit(t.Context(), record(2)); !errors.Is(err, syscall.ENOSPC) {
				t.Errorf("appending: %v, want ENOSPC", err)
			}
			d.fail = nil
			err = f.AppendAudit(t.Context(), record(3))
			if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "restart") {
				t.Errorf("appending after that: %v, want the first error and what to do", err)
			}
			wantRecords(t, f, 0, 2)
			shut(t, f)
			f = open(t, dir, FileOptions{})
			n := f.Count(CollectionAudit)
			if n != 2 && n != 3 {
				t.Errorf("records after reopening = %d, want the two acknowledged and perhaps the one that was not", n)
			}
			appendRecords(t, f, n, 5)
			wantRecords(t, f, 0, 5)
		})
	}
}

func TestAnOldFileThatCannotBeDeletedRefusesNoRecord(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	d := &disk{fail: failing("remove")}
	f, err := openFile(dir, FileOptions{AuditSegmentBytes: 100, AuditSegments: 2}, d)
	if err != nil {
		t.Fatal(err)
	}
	appendRecords(t, f, 0, 20)
	if n := len(segmentFiles(t, dir)); n < 5 {
		t.Errorf("files = %d, want all, as none can be deleted", n)
	}
	shut(t, f)
	f = open(t, dir, FileOptions{AuditSegmentBytes: 100, AuditSegments: 2})
	if n := len(segmentFiles(t, dir)); n != 2 {
		t.Errorf("files after opening again = %d, want 2", n)
	}
	wantRecords(t, f, 20-f.Count(CollectionAudit), 20)
}

func TestASegmentThatCannotBeCreatedIsTriedAgain(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	d := &disk{}
	f, err := openFile(dir, FileOptions{AuditSegmentBytes: 1, AuditSegments: -1}, d)
	if err != nil {
		t.Fatal(err)
	}
	appendRecords(t, f, 0, 1)
	d.fail = func(op, path string) error {
		if op == "sync" && filepath.Base(path) == CollectionAudit {
			return syscall.EIO
		}
		return nil
	}
	if err := f.AppendAudit(t.Context(), record(1)); !errors.Is(err, syscall.EIO) {
		t.Errorf("appending: %v, want EIO", err)
	}
	d.fail = nil
	appendRecords(t, f, 1, 3)
	wantRecords(t, f, 0, 3)
	shut(t, f)
	wantRecords(t, open(t, dir, FileOptions{}), 0, 3)
}

func TestALineIsReadAsItWasWritten(t *testing.T) {
	t.Parallel()
	for _, data := range []string{`{}`, `{"data":{},"t":1}`, `{"a":"}"}`, `{"a":",\"data\":"}`} {
		at := time.Date(1960, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli()
		text := appendLine(nil, 7, at, []byte(data))
		l, got, ok := parseLine(text[:len(text)-1])
		if want := (line{number: 7, time: at, size: len(text)}); !ok || l != want || string(got) != data {
			t.Errorf("%s is read as %+v %s, %v; want %+v %s", data, l, got, ok, want, data)
		}
		if !json.Valid(text) {
			t.Errorf("line %s is not JSON", text)
		}
	}
}

func FuzzParseLine(f *testing.F) {
	f.Add(appendLine(nil, 7, 1, []byte(`{"a":1}`)))
	f.Add([]byte(crcBefore))
	f.Fuzz(func(t *testing.T, text []byte) {
		l, data, ok := parseLine(text)
		if !ok {
			return
		}
		again := appendLine(nil, l.number, l.time, data)
		if l2, data2, ok := parseLine(again[:len(again)-1]); !ok || l2.number != l.number || l2.time != l.time || !bytes.Equal(data, data2) {
			t.Fatalf("%q is read as %+v %s, and written again as %q", text, l, data, again)
		}
	})
}

func FuzzParseDocument(f *testing.F) {
	doc, err := newDocument(CollectionTokens, Item{Key: "k", Meta: map[string]any{"a": 1}, Data: json.RawMessage("{}")})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(doc.file)
	f.Fuzz(func(t *testing.T, file []byte) {
		got, err := parseDocument(file, CollectionTokens)
		if err != nil {
			return
		}
		again, err := newDocument(CollectionTokens, Item{Key: got.key, Meta: got.meta, Data: got.data})
		if err != nil || again.key != got.key {
			t.Fatalf("%q is read as %q, %v", file, got.key, err)
		}
	})
}
