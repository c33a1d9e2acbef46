//go:build !unix

package storage

import (
	"errors"
	"os"
)

// lockFolder refuses: without flock two processes could write the same folder.
func lockFolder(string) (*os.File, error) {
	return nil, errors.New("storage: file storage needs a Unix system (flock)")
}

func unlockFolder(f *os.File) error { return f.Close() }
