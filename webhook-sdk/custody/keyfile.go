package custody

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

const (
	keyFileVersion = 1
	maxKeyFile     = 64 << 10
	tempInfix      = ".tmp-"
)

// keyFile is the content of a key file. V1Keys is for the operator who comes from
// another webhook: standard base64 of its 32-byte data keys, with which documents of
// version 1 are read, and nothing is written.
type keyFile struct {
	V      int      `json:"v"`
	Root   string   `json:"root"` // standard base64 of 32 bytes
	V1Keys []string `json:"v1Keys,omitempty"`
}

// LoadOrCreate reads the keys from the file at path, or draws a root from random
// and creates the file, mode 0600, durable before it returns. Of several processes
// that create it at once one wins, and all return its keys. random is
// crypto/rand.Reader but in tests.
//
// A file that others may read, that belongs to another user, or that is not a key
// file is refused with ErrKeyFile and a text that says what to do; it is never
// written over.
func LoadOrCreate(path string, random io.Reader) (*Keys, error) {
	for range 3 {
		k, err := load(path)
		if !errors.Is(err, fs.ErrNotExist) {
			return k, err
		}
		err = create(path, random)
		if err != nil && !errors.Is(err, fs.ErrExist) && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return nil, fmt.Errorf("%w: %s appears and disappears; is another process at work there?", ErrKeyFile, path)
}

func load(path string) (*Keys, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w; it must be readable by the user who runs the webhook", ErrKeyFile, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKeyFile, err)
	}
	if err := checkKeyFile(path, info); err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKeyFile, err)
	}
	defer clear(data)
	k, err := parseKeyFile(path, data)
	if err != nil {
		return nil, err
	}
	return k, removeLeftovers(path)
}

func checkKeyFile(path string, info fs.FileInfo) error {
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%w: %s is not a regular file", ErrKeyFile, path)
	}
	if perm := info.Mode().Perm(); perm&0o077 != 0 {
		return fmt.Errorf("%w: %s has mode %04o, so others may read it; if nobody has, run: chmod 600 %s",
			ErrKeyFile, path, perm, path)
	}
	if !ownedByUs(info) {
		return fmt.Errorf("%w: %s belongs to another user; run the webhook as that user, or chown the file", ErrKeyFile, path)
	}
	return nil
}

func parseKeyFile(path string, data []byte) (*Keys, error) {
	var content keyFile
	if len(data) > maxKeyFile || json.Unmarshal(data, &content) != nil {
		return nil, damaged(path, "it is not a JSON object of a key file")
	}
	if content.V != keyFileVersion {
		return nil, damaged(path, fmt.Sprintf("its version is %d, this program knows %d", content.V, keyFileVersion))
	}
	root, err := decodeKey(content.Root)
	if err != nil {
		return nil, damaged(path, "root is not standard base64 of 32 bytes")
	}
	defer clear(root)
	var v1 [][]byte
	for i, text := range content.V1Keys {
		key, err := decodeKey(text)
		if err != nil {
			return nil, damaged(path, fmt.Sprintf("v1Keys[%d] is not standard base64 of 32 bytes", i))
		}
		v1 = append(v1, key)
	}
	return newKeys(root, v1)
}

func damaged(path, why string) error {
	return fmt.Errorf("%w: %s: %s; restore the file from a backup. Deleting it makes new keys, with which no stored token opens",
		ErrKeyFile, path, why)
}

func decodeKey(text string) ([]byte, error) {
	key, err := decodeField(text)
	if err != nil || len(key) != rootSize {
		return nil, ErrKeyFile
	}
	return key, nil
}

// create writes a complete file under another name and links it to path, which fails
// with fs.ErrExist if path is there: no reader ever sees half a file, and no
// writer replaces another's.
func create(path string, random io.Reader) error {
	root := make([]byte, rootSize)
	defer clear(root)
	if _, err := io.ReadFull(random, root); err != nil {
		return fmt.Errorf("custody: no randomness for the key file: %w", err)
	}
	content, err := json.Marshal(keyFile{V: keyFileVersion, Root: base64.StdEncoding.EncodeToString(root)})
	if err != nil {
		return fmt.Errorf("custody: the key file: %w", err)
	}
	defer clear(content)
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("%w: %w", ErrKeyFile, err)
	}
	// The name says nothing of the key: it is drawn separately.
	var suffix [8]byte
	if _, err := io.ReadFull(random, suffix[:]); err != nil {
		return fmt.Errorf("custody: no randomness for the key file: %w", err)
	}
	temp := path + tempInfix + hex.EncodeToString(suffix[:])
	// If this fails, or a crash comes first, the next load removes it.
	defer func() { _ = os.Remove(temp) }()
	if err := writeDurably(temp, append(content, '\n')); err != nil {
		return fmt.Errorf("%w: %w", ErrKeyFile, err)
	}
	if err := os.Link(temp, path); err != nil {
		return fmt.Errorf("%w: %w", ErrKeyFile, err)
	}
	return syncDir(dir)
}

func writeDurably(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if _, err = f.Write(data); err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrKeyFile, err)
	}
	if err = errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("%w: %w", ErrKeyFile, err)
	}
	return nil
}

// removeLeftovers removes what a crash between writing and unlinking left: a second
// name of this file, or a root that was never used.
func removeLeftovers(path string) error {
	leftovers, err := filepath.Glob(globEscape(path) + tempInfix + "*")
	if err != nil {
		return fmt.Errorf("%w: %w", ErrKeyFile, err)
	}
	for _, name := range leftovers {
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%w: a copy of the key was left by a crash and cannot be removed: %w", ErrKeyFile, err)
		}
	}
	return nil
}

// globEscape makes a path match itself only.
func globEscape(path string) string {
	out := make([]byte, 0, len(path))
	for i := range len(path) {
		switch path[i] {
		case '*', '?', '[', '\\':
			out = append(out, '\\')
		}
		out = append(out, path[i])
	}
	return string(out)
}
