package storage

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
)

// Stats count what was asked of the disk since the folder was opened.
type Stats struct {
	Reads, Writes, Syncs, BytesWritten int64
}

// disk does what a File does to the file system, and counts it.
type disk struct {
	reads, writes, syncs, bytes atomic.Int64
	// fail, if set, may refuse an operation before it is done: how tests make a disk
	// full or broken. op is "write", "sync", "rename", "remove" or "truncate".
	fail func(op, path string) error
}

// Stats returns the counts so far.
func (f *File) Stats() Stats {
	d := f.disk
	return Stats{Reads: d.reads.Load(), Writes: d.writes.Load(), Syncs: d.syncs.Load(), BytesWritten: d.bytes.Load()}
}

const tempSuffix = ".tmp"

// replace makes path hold data, all or nothing and durable: another file in the same
// folder is written, synced and renamed over it. done says whether path holds data
// now, even if err says that it is not known to be durable.
func (d *disk) replace(path string, data []byte) (done bool, err error) {
	temp := path + tempSuffix
	if err := d.writeNew(temp, data); err != nil {
		_ = os.Remove(temp)
		return false, err
	}
	if err := d.try("rename", path); err != nil {
		_ = os.Remove(temp)
		return false, err
	}
	if err := os.Rename(temp, path); err != nil {
		_ = os.Remove(temp)
		return false, fmt.Errorf("storage: %w", err)
	}
	return true, d.syncDir(filepath.Dir(path))
}

// writeNew writes and syncs a file; what a failed attempt left there is truncated.
func (d *disk) writeNew(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("storage: %w", err)
	}
	err = d.writeAt(f, data, 0)
	if err == nil {
		err = d.sync(f)
	}
	if closeErr := f.Close(); err == nil && closeErr != nil {
		err = fmt.Errorf("storage: %w", closeErr)
	}
	return err
}

func (d *disk) writeAt(f *os.File, data []byte, offset int64) error {
	if err := d.try("write", f.Name()); err != nil {
		return err
	}
	n, err := f.WriteAt(data, offset)
	d.writes.Add(1)
	d.bytes.Add(int64(n))
	if err != nil {
		return fmt.Errorf("storage: %w", err)
	}
	return nil
}

// sync makes the content of a file durable, and of its metadata what reading it
// needs.
func (d *disk) sync(f *os.File) error {
	if err := d.try("sync", f.Name()); err != nil {
		return err
	}
	d.syncs.Add(1)
	if err := datasync(f); err != nil {
		return fmt.Errorf("storage: syncing %s: %w", f.Name(), err)
	}
	return nil
}

// syncDir makes the names in a folder durable.
func (d *disk) syncDir(dir string) error {
	if err := d.try("sync", dir); err != nil {
		return err
	}
	f, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("storage: %w", err)
	}
	d.syncs.Add(1)
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("storage: syncing %s: %w", dir, err)
	}
	return nil
}

// makeDir makes sure of a folder, durably.
func (d *disk) makeDir(dir string) error {
	err := os.Mkdir(dir, 0o700)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("storage: %w", err)
	}
	return d.syncDir(filepath.Dir(dir))
}

func (d *disk) remove(path string) error {
	if err := d.try("remove", path); err != nil {
		return err
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("storage: %w", err)
	}
	return nil
}

func (d *disk) truncate(f *os.File, size int64) error {
	if err := d.try("truncate", f.Name()); err != nil {
		return err
	}
	if err := f.Truncate(size); err != nil {
		return fmt.Errorf("storage: %w", err)
	}
	return nil
}

// read returns a file of at most limit bytes; a larger one is ErrDamaged.
func (d *disk) read(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("storage: %w", err)
	}
	defer f.Close()
	d.reads.Add(1)
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, fmt.Errorf("storage: reading %s: %w", path, err)
	}
	if int64(len(data)) > limit {
		return nil, damagedFile(path, fmt.Sprintf("it is larger than %d bytes", limit))
	}
	return data, nil
}

func (d *disk) try(op, path string) error {
	if d.fail == nil {
		return nil
	}
	return d.fail(op, path)
}

func damagedFile(path, why string) error {
	return fmt.Errorf("%w: %s: %s. Restore this file from a backup; without one, move it out of the folder: the document is then gone, and its credential must be stored again",
		ErrDamaged, path, why)
}
