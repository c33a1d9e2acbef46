//go:build unix

package custody

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// owned is a file's information with another owner.
type owned struct {
	fs.FileInfo
	uid uint32
}

func (o owned) Sys() any { return &syscall.Stat_t{Uid: o.uid} }

func TestKeyFileOfAnotherUserIsRefused(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "webhook.key")
	loadKeys(t, path)
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	us := uint32(os.Geteuid())
	if err := checkKeyFile(path, owned{info, us}); err != nil {
		t.Errorf("our own file: %v, want it accepted", err)
	}
	err = checkKeyFile(path, owned{info, us + 1})
	if !errors.Is(err, ErrKeyFile) || !strings.Contains(err.Error(), "chown") {
		t.Errorf("another user's file: %v, want ErrKeyFile and what to do", err)
	}
}
