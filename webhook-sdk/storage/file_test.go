package storage

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func open(t testing.TB, dir string, opts FileOptions) *File {
	t.Helper()
	f, err := OpenFile(dir, opts)
	if err != nil {
		t.Fatalf("opening %s: %v", dir, err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func shut(t testing.TB, f *File) {
	t.Helper()
	if err := f.Close(); err != nil {
		t.Fatalf("closing: %v", err)
	}
}

func put(t testing.TB, f *File, key, data string) {
	t.Helper()
	item := Item{Key: key, Meta: map[string]any{"name": key}, Data: json.RawMessage(data)}
	if err := f.Put(context.Background(), CollectionTokens, item, Condition{}); err != nil {
		t.Fatalf("putting %q: %v", key, err)
	}
}

func wantData(t testing.TB, f *File, key, want string) {
	t.Helper()
	item, err := f.Get(context.Background(), CollectionTokens, key)
	if err != nil || string(item.Data) != want || item.Meta["name"] != key {
		t.Errorf("%q = %s, %v; want %s", key, item.Data, err, want)
	}
}

func newDir(t testing.TB) string { return filepath.Join(t.TempDir(), "data") }

func TestEverythingIsThereAfterReopening(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	f := open(t, dir, FileOptions{})
	for i := range 50 {
		put(t, f, fmt.Sprint(i), fmt.Sprint(i))
	}
	put(t, f, "7", `{"changed":true}`)
	if err := f.Delete(t.Context(), CollectionTokens, "8"); err != nil {
		t.Fatal(err)
	}
	before, err := f.Get(t.Context(), CollectionTokens, "7")
	if err != nil {
		t.Fatal(err)
	}
	shut(t, f)
	f = open(t, dir, FileOptions{})
	if n := f.Count(CollectionTokens); n != 49 {
		t.Errorf("documents = %d, want 49", n)
	}
	wantData(t, f, "7", `{"changed":true}`)
	wantData(t, f, "49", "49")
	if _, err := f.Get(t.Context(), CollectionTokens, "8"); !errors.Is(err, ErrNotFound) {
		t.Errorf("deleted document: %v, want ErrNotFound", err)
	}
	if after, err := f.Get(t.Context(), CollectionTokens, "7"); err != nil || after.Version != before.Version {
		t.Errorf("version = %s, %v; want %s as before", after.Version, err, before.Version)
	}
}

func TestOnlyTheOwnerCanReadTheFolder(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	f := open(t, dir, FileOptions{})
	put(t, f, "k", "1")
	if err := f.AppendAudit(t.Context(), Audit{Data: json.RawMessage("{}")}); err != nil {
		t.Fatal(err)
	}
	files := 0
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		want := fs.FileMode(0o600)
		if entry.IsDir() {
			want = 0o700
		} else {
			files++
		}
		if info.Mode().Perm() != want {
			t.Errorf("%s has mode %04o, want %04o", path, info.Mode().Perm(), want)
		}
		return nil
	})
	if err != nil || files != 3 {
		t.Errorf("walked over %d files, %v; want the lock, a document and the audit log", files, err)
	}
}

func TestAFolderThatEverybodyMayWriteToIsRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenFile(dir, FileOptions{}); err == nil || !strings.Contains(err.Error(), "chmod 700") {
		t.Errorf("opening: %v, want a refusal that says what to do", err)
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 0 {
		t.Errorf("the folder has %d files, %v; want it untouched", len(files), err)
	}
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenFile(path, FileOptions{}); err == nil {
		t.Error("a file opened as a data folder")
	}
}

func TestAFolderIsOpenOnlyOnce(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	f := open(t, dir, FileOptions{})
	_, err := OpenFile(dir, FileOptions{})
	if err == nil || !strings.Contains(err.Error(), "in use") || !strings.Contains(err.Error(), fmt.Sprint(os.Getpid())) {
		t.Errorf("second opening: %v, want a refusal that names the process", err)
	}
	put(t, f, "k", "1")
	shut(t, f)
	wantData(t, open(t, dir, FileOptions{}), "k", "1")
}

func TestHalfWrittenFilesAreRemoved(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	f := open(t, dir, FileOptions{})
	put(t, f, "k", "1")
	path := f.collections[CollectionTokens].path("k")
	shut(t, f)
	half := []string{path + tempSuffix, filepath.Join(filepath.Dir(path), filepath.Base(filepath.Dir(path))+strings.Repeat("0", 62)+docSuffix+tempSuffix)}
	for _, name := range half {
		if err := os.WriteFile(name, []byte("tokenvault-docu"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f = open(t, dir, FileOptions{})
	wantData(t, f, "k", "1")
	for _, name := range half {
		if _, err := os.Stat(name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is still there: %v", name, err)
		}
	}
}

func TestWhatIsNoDocumentIsNotPassedOver(t *testing.T) {
	t.Parallel()
	for _, name := range []string{
		"tokens/notes.txt", "tokens/zz/x.doc", "tokens/ab/copy of x.doc", "tokens/ab/" + strings.Repeat("a", 64) + ".bak",
		"tokens/ab/" + strings.Repeat("c", 64) + ".doc", "tokens/AB/" + strings.Repeat("A", 64) + ".doc",
		"audit/1.jsonl", "audit/notes", "audit/00000000000000000000.jsonl",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := newDir(t)
			shut(t, open(t, dir, FileOptions{}))
			path := filepath.Join(dir, name)
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte("kept"), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := OpenFile(dir, FileOptions{})
			if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), "move it out") {
				t.Errorf("opening: %v, want ErrDamaged, a file and a remedy", err)
			}
			if data, err := os.ReadFile(path); err != nil || string(data) != "kept" {
				t.Errorf("the file was touched: %q, %v", data, err)
			}
		})
	}
}

func TestAllUnreadableDocumentsAreNamedAtOnce(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	f := open(t, dir, FileOptions{})
	var paths []string
	for i := range maxDamageShown + 3 {
		key := fmt.Sprint(i)
		put(t, f, key, "1")
		paths = append(paths, f.collections[CollectionTokens].path(key))
	}
	shut(t, f)
	for _, path := range paths[1:] {
		if err := os.Truncate(path, 5); err != nil {
			t.Fatal(err)
		}
	}
	_, err := OpenFile(dir, FileOptions{})
	if !errors.Is(err, ErrDamaged) {
		t.Fatalf("opening: %v, want ErrDamaged", err)
	}
	named := 0
	for _, path := range paths {
		if strings.Contains(err.Error(), path) {
			named++
		}
	}
	if named != maxDamageShown || !strings.Contains(err.Error(), "2 more") || strings.Contains(err.Error(), paths[0]) {
		t.Errorf("error names %d files, want %d and \"2 more\": %v", named, maxDamageShown, err)
	}
}

func TestACacheMissReadsTheFileAndAHitDoesNot(t *testing.T) {
	t.Parallel()
	f := open(t, newDir(t), FileOptions{CacheBytes: 10_000})
	data := `"` + strings.Repeat("x", 998) + `"`
	for i := range 30 {
		put(t, f, fmt.Sprint(i), data)
	}
	if f.cache.used > 10_000 || len(f.cache.ring) != 10 {
		t.Errorf("cache holds %d bytes in %d documents, want at most 10000 in 10", f.cache.used, len(f.cache.ring))
	}
	reads := f.Stats().Reads
	wantData(t, f, "29", data)
	if got := f.Stats().Reads; got != reads {
		t.Errorf("a document that was just put was read from disk %d times", got-reads)
	}
	wantData(t, f, "0", data)
	wantData(t, f, "0", data)
	if got := f.Stats().Reads; got != reads+1 {
		t.Errorf("a document out of the cache was read %d times for two gets, want 1", got-reads)
	}
	for i := range 30 {
		if i%2 == 0 {
			put(t, f, fmt.Sprint(i), "2")
		} else if err := f.Delete(t.Context(), CollectionTokens, fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	if f.cache.used != 15 || len(f.cache.ring) != 15 {
		t.Errorf("cache holds %d bytes in %d documents after replacing all, want 15 in 15", f.cache.used, len(f.cache.ring))
	}
}

func TestAUsedDocumentStaysInTheCache(t *testing.T) {
	t.Parallel()
	f := open(t, newDir(t), FileOptions{CacheBytes: 10_000})
	data := `"` + strings.Repeat("x", 998) + `"`
	put(t, f, "used", data)
	for i := range 40 {
		put(t, f, fmt.Sprint(i), data)
		wantData(t, f, "used", data)
	}
	if reads := f.Stats().Reads; reads != 0 {
		t.Errorf("the document in use was read from disk %d times", reads)
	}
}

func TestADocumentChangedBehindOurBackIsNotServed(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	f := open(t, dir, FileOptions{CacheBytes: -1})
	put(t, f, "k", "1")
	path := f.collections[CollectionTokens].path("k")
	old, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	put(t, f, "k", "2")
	if err := os.WriteFile(path, old, 0o600); err != nil {
		t.Fatal(err)
	}
	if item, err := f.Get(t.Context(), CollectionTokens, "k"); !errors.Is(err, ErrDamaged) {
		t.Errorf("an old copy that was put back: %s, %v; want ErrDamaged", item.Data, err)
	}
}

// A store costs the same among few and among many: that is what a customer with ten
// thousand tokens notices.
func TestTheCostOfAStoreDoesNotDependOnHowManyThereAre(t *testing.T) {
	t.Parallel()
	cost := func(f *File, i int) Stats {
		before := f.Stats()
		put(t, f, fmt.Sprintf("key-%05d", i), `{"fields":{"accessToken":"xxxx"}}`)
		after := f.Stats()
		return Stats{Reads: after.Reads - before.Reads, Writes: after.Writes - before.Writes,
			Syncs: after.Syncs - before.Syncs, BytesWritten: after.BytesWritten - before.BytesWritten}
	}
	f := open(t, newDir(t), FileOptions{})
	var few Stats
	for i := range 10 {
		few = cost(f, i)
	}
	if few.Writes != 1 || few.Reads != 0 || few.Syncs < 2 || few.Syncs > 3 {
		t.Errorf("a store among 10 costs %+v, want one write, no read, and a sync of file and folder (and of a new folder)", few)
	}
	for i := 10; i < 1000; i++ {
		cost(f, i)
	}
	many := cost(f, 1000)
	if want := (Stats{Writes: 1, Syncs: 2, BytesWritten: few.BytesWritten}); many != want {
		t.Errorf("a store among 1000 costs %+v, want %+v", many, want)
	}
}

func TestAFailingDiskKeepsWhatWasThere(t *testing.T) {
	t.Parallel()
	for _, op := range []string{"write", "sync", "rename"} {
		t.Run(op, func(t *testing.T) {
			t.Parallel()
			dir := newDir(t)
			d := &disk{}
			f, err := openFile(dir, FileOptions{}, d)
			if err != nil {
				t.Fatal(err)
			}
			put(t, f, "old", "1")
			d.fail = func(tried, path string) error {
				if tried == op && strings.Contains(path, docSuffix) {
					return syscall.ENOSPC
				}
				return nil
			}
			for _, key := range []string{"old", "new"} {
				item := Item{Key: key, Data: json.RawMessage("2")}
				if err := f.Put(t.Context(), CollectionTokens, item, Condition{}); !errors.Is(err, syscall.ENOSPC) {
					t.Errorf("putting %q: %v, want ENOSPC", key, err)
				}
			}
			d.fail = nil
			check := func(f *File) {
				t.Helper()
				wantData(t, f, "old", "1")
				if _, err := f.Get(t.Context(), CollectionTokens, "new"); !errors.Is(err, ErrNotFound) {
					t.Errorf("the new document: %v, want ErrNotFound", err)
				}
			}
			check(f)
			leftovers, err := filepath.Glob(filepath.Join(dir, "*", "*", "*"+tempSuffix))
			if err != nil || len(leftovers) != 0 {
				t.Errorf("leftovers: %q, %v", leftovers, err)
			}
			shut(t, f)
			f = open(t, dir, FileOptions{})
			check(f)
			put(t, f, "new", "3")
			wantData(t, f, "new", "3")
		})
	}
}

func TestARefusedDeletionDeletesNothing(t *testing.T) {
	t.Parallel()
	d := &disk{}
	f, err := openFile(newDir(t), FileOptions{}, d)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	put(t, f, "k", "1")
	d.fail = func(op, _ string) error {
		if op == "remove" {
			return syscall.EROFS
		}
		return nil
	}
	if err := f.Delete(t.Context(), CollectionTokens, "k"); !errors.Is(err, syscall.EROFS) {
		t.Errorf("deleting: %v, want EROFS", err)
	}
	wantData(t, f, "k", "1")
}

// When only the folder could not be synced the new document is in place: memory and
// disk must agree, and the caller must hear that it may not last.
func TestAFolderThatCannotBeSyncedIsAnErrorAndMemoryFollowsTheDisk(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	d := &disk{}
	f, err := openFile(dir, FileOptions{CacheBytes: -1}, d)
	if err != nil {
		t.Fatal(err)
	}
	put(t, f, "k", "1")
	put(t, f, "gone", "1")
	d.fail = func(op, path string) error {
		if op == "sync" && !strings.Contains(path, docSuffix) {
			return syscall.EIO
		}
		return nil
	}
	item := Item{Key: "k", Meta: map[string]any{"name": "k"}, Data: json.RawMessage("2")}
	if err := f.Put(t.Context(), CollectionTokens, item, Condition{}); !errors.Is(err, syscall.EIO) {
		t.Errorf("putting: %v, want EIO", err)
	}
	if err := f.Delete(t.Context(), CollectionTokens, "gone"); !errors.Is(err, syscall.EIO) {
		t.Errorf("deleting: %v, want EIO", err)
	}
	wantData(t, f, "k", "2")
	if n := f.Count(CollectionTokens); n != 1 {
		t.Errorf("documents = %d, want 1", n)
	}
	shut(t, f)
	wantData(t, open(t, dir, FileOptions{}), "k", "2")
}

// Whatever happens to a byte of a file, the document in it is refused, by name, and
// never another one served.
func TestEveryAlterationOfADocumentIsFound(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	f := open(t, dir, FileOptions{CacheBytes: -1})
	put(t, f, "k", `{"fields":{"accessToken":"AAECAwQFBgc="},"meta":{"a":1}}`)
	path := f.collections[CollectionTokens].path("k")
	original, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	check := func(what string, file []byte) {
		t.Helper()
		if err := os.WriteFile(path, file, 0o600); err != nil {
			t.Fatal(err)
		}
		item, err := f.Get(t.Context(), CollectionTokens, "k")
		if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "backup") {
			t.Errorf("%s: %s, %v; want ErrDamaged, the file and a remedy", what, item.Data, err)
		}
		if _, err := readDocument(f.disk, path, CollectionTokens); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s, when the folder is opened: %v, want ErrDamaged", what, err)
		}
	}
	for i := range original {
		check(fmt.Sprintf("cut to %d bytes", i), original[:i])
		for bit := range 8 {
			altered := bytes.Clone(original)
			altered[i] ^= 1 << bit
			check(fmt.Sprintf("bit %d of byte %d", bit, i), altered)
		}
	}
	check("something behind", append(bytes.Clone(original), '\n'))
	check("huge", append(bytes.Clone(original), make([]byte, maxDocument)...))
	if err := os.WriteFile(path, original, 0o600); err != nil {
		t.Fatal(err)
	}
	wantData(t, f, "k", `{"fields":{"accessToken":"AAECAwQFBgc="},"meta":{"a":1}}`)
	shut(t, f)
	if err := os.Truncate(path, int64(len(original)/2)); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenFile(dir, FileOptions{}); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), path) {
		t.Errorf("opening a folder with a damaged document: %v, want ErrDamaged and the file", err)
	}
	if after, err := os.ReadFile(path); err != nil || len(after) != len(original)/2 {
		t.Errorf("the damaged file was touched: %d bytes, %v", len(after), err)
	}
}

func TestADocumentInAnothersPlaceIsRefused(t *testing.T) {
	t.Parallel()
	for _, other := range []string{"tokens", "proxy_configs"} {
		dir := newDir(t)
		f := open(t, dir, FileOptions{})
		put(t, f, "a", "1")
		from, to := f.collections[CollectionTokens].path("a"), f.collections[other].path("b")
		if other != CollectionTokens {
			to = f.collections[other].path("a")
		}
		shut(t, f)
		file, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, file, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenFile(dir, FileOptions{}); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), to) {
			t.Errorf("a document copied to %s: %v, want ErrDamaged and the file", to, err)
		}
	}
}
