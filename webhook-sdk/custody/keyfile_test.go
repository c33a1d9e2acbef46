package custody

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
)

func loadKeys(t *testing.T, path string) *Keys {
	t.Helper()
	k, err := LoadOrCreate(path, rand.Reader)
	if err != nil {
		t.Fatalf("loading keys: %v", err)
	}
	return k
}

func TestKeyFileIsCreatedForItsOwnerAloneAndLoaded(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "new", "folder")
	path := filepath.Join(dir, "webhook.key")
	first := loadKeys(t, path)
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("mode = %v, %v; want 0600", info.Mode(), err)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("mode of the folder = %v, %v; want 0700", info.Mode(), err)
	}
	if second := loadKeys(t, path); second.WebhookID() != first.WebhookID() {
		t.Errorf("second load is %s, want %s", second.WebhookID(), first.WebhookID())
	}
	if names := listDir(t, dir); len(names) != 1 {
		t.Errorf("folder has %q, want the key file alone", names)
	}
	if other := loadKeys(t, filepath.Join(dir, "other.key")); other.WebhookID() == first.WebhookID() {
		t.Error("two new files have the same keys")
	}
}

func TestKeyFileCreatedByManyAtOnceIsOne(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "webhook.key")
	const many = 16
	ids := make([]string, many)
	var wait sync.WaitGroup
	for i := range many {
		wait.Go(func() {
			if k, err := LoadOrCreate(path, rand.Reader); err != nil {
				t.Errorf("loading: %v", err)
			} else {
				ids[i] = k.WebhookID()
			}
		})
	}
	wait.Wait()
	want := loadKeys(t, path).WebhookID()
	for i, id := range ids {
		if id != want {
			t.Errorf("caller %d got %s, the file has %s", i, id, want)
		}
	}
}

func TestKeyFileThatCannotBeTrustedIsRefusedAndKept(t *testing.T) {
	t.Parallel()
	root := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, 32))
	short := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, 31))
	good := `{"v":1,"root":"` + root + `"}`
	tests := map[string]struct {
		content string
		mode    fs.FileMode
		says    string
	}{
		"readable by its group": {good, 0o640, "chmod 600"},
		"readable by all":       {good, 0o604, "chmod 600"},
		"writable by its group": {good, 0o620, "chmod 600"},
		"empty":                 {"", 0o600, "backup"},
		"not JSON":              {"0123456789", 0o600, "backup"},
		"truncated":             {good[:len(good)-1], 0o600, "backup"},
		"something behind":      {good + good, 0o600, "backup"},
		"newer version":         {strings.Replace(good, "1", "2", 1), 0o600, "version is 2"},
		"no root":               {`{"v":1}`, 0o600, "root"},
		"short root":            {`{"v":1,"root":"` + short + `"}`, 0o600, "root"},
		"root not base64":       {`{"v":1,"root":"` + strings.Repeat("!", 44) + `"}`, 0o600, "root"},
		"root with a line end":  {`{"v":1,"root":"\n` + root + `"}`, 0o600, "root"},
		"other key short":       {`{"v":1,"root":"` + root + `","v1Keys":["` + short + `"]}`, 0o600, "v1Keys[0]"},
		"huge":                  {good + strings.Repeat(" ", maxKeyFile), 0o600, "backup"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "webhook.key")
			if err := os.WriteFile(path, []byte(test.content), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, test.mode); err != nil {
				t.Fatal(err)
			}
			k, err := LoadOrCreate(path, rand.Reader)
			if !errors.Is(err, ErrKeyFile) || k != nil {
				t.Fatalf("got %v, want ErrKeyFile", err)
			}
			if !strings.Contains(err.Error(), test.says) || !strings.Contains(err.Error(), path) {
				t.Errorf("error %q does not name %s and say %q", err, path, test.says)
			}
			if strings.Contains(err.Error(), root[:20]) {
				t.Errorf("error shows the key: %v", err)
			}
			if after, err := os.ReadFile(path); err != nil || string(after) != test.content {
				t.Errorf("the file was changed: %q, %v", after, err)
			}
		})
	}
}

func TestKeyFileMustBeAFile(t *testing.T) {
	t.Parallel()
	path := t.TempDir()
	if _, err := LoadOrCreate(path, rand.Reader); !errors.Is(err, ErrKeyFile) {
		t.Errorf("a folder as key file: %v, want ErrKeyFile", err)
	}
	if _, err := LoadOrCreate(filepath.Join("/dev/null", "key"), rand.Reader); !errors.Is(err, ErrKeyFile) {
		t.Errorf("a key file in something that is no folder: %v, want ErrKeyFile", err)
	}
}

func TestKeyFileWithoutRandomnessIsNotCreated(t *testing.T) {
	t.Parallel()
	for name, random := range map[string]io.Reader{
		"failing":            iotest.ErrReader(errors.New("no entropy")),
		"ends early":         bytes.NewReader(make([]byte, 31)),
		"ends before a name": bytes.NewReader(make([]byte, 33)),
	} {
		dir := t.TempDir()
		k, err := LoadOrCreate(filepath.Join(dir, "webhook.key"), random)
		if err == nil || k != nil {
			t.Errorf("%s: got keys, want an error", name)
		}
		if names := listDir(t, dir); len(names) != 0 {
			t.Errorf("%s: the folder has %q, want nothing", name, names)
		}
	}
}

func TestCopiesThatACrashLeftAreRemoved(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "web[hook]*.key")
	want := loadKeys(t, path).WebhookID()
	if err := os.Link(path, path+tempInfix+"0011223344556677"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "webh.key"+tempInfix+"x"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := loadKeys(t, path).WebhookID(); got != want {
		t.Errorf("keys = %s, want %s", got, want)
	}
	if names := listDir(t, dir); len(names) != 2 {
		t.Errorf("folder has %q, want the key file and what is not a copy of it", names)
	}
}

func listDir(t *testing.T, dir string) []string {
	t.Helper()
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range files {
		names = append(names, f.Name())
	}
	return names
}
