package storage

import (
	"os"

	"golang.org/x/sys/unix"
)

// datasync leaves out times and other metadata that reading does not need, which
// saves a journal write.
func datasync(f *os.File) error {
	for {
		if err := unix.Fdatasync(int(f.Fd())); err != unix.EINTR {
			return err
		}
	}
}
