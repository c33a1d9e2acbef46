package storage

import (
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
)

const maxDamageShown = 10

// scan finds the documents of a collection and removes temporary files. Whatever else
// lies there is refused: it may be a document that somebody renamed.
func (c *collection) scan(d *disk) ([]string, error) {
	shards, err := os.ReadDir(c.dir)
	if err != nil {
		return nil, fmt.Errorf("storage: %w", err)
	}
	var paths []string
	for _, shard := range shards {
		dir := filepath.Join(c.dir, shard.Name())
		if !shard.IsDir() || !isHex(shard.Name(), 2) {
			return nil, strange(dir)
		}
		c.shards[dir] = true
		files, err := os.ReadDir(dir)
		if err != nil {
			return nil, fmt.Errorf("storage: %w", err)
		}
		for _, file := range files {
			path := filepath.Join(dir, file.Name())
			name, isTemp := strings.CutSuffix(file.Name(), tempSuffix)
			hexName, isDoc := strings.CutSuffix(name, docSuffix)
			switch {
			case !isDoc || !isHex(hexName, 64) || hexName[:2] != shard.Name() || !file.Type().IsRegular():
				return nil, strange(path)
			case isTemp:
				if err := d.remove(path); err != nil {
					return nil, err
				}
			default:
				paths = append(paths, path)
			}
		}
	}
	return paths, nil
}

func strange(path string) error {
	return fmt.Errorf("%w: %s is not a document of this storage; move it out of the folder", ErrDamaged, path)
}

func isHex(text string, size int) bool {
	_, err := hex.DecodeString(text)
	return err == nil && len(text) == size && strings.ToLower(text) == text
}

// load reads the documents into the index, on all processors, and says all that it
// cannot read at once.
func (c *collection) load(d *disk, paths []string, cache *cache) error {
	var (
		next   atomic.Int64
		wait   sync.WaitGroup
		mu     sync.Mutex
		failed []error
	)
	for range min(runtime.GOMAXPROCS(0), 8) {
		wait.Go(func() {
			for {
				i := next.Add(1) - 1
				if i >= int64(len(paths)) {
					return
				}
				doc, err := readDocument(d, paths[i], c.name)
				if err != nil {
					mu.Lock()
					failed = append(failed, err)
					mu.Unlock()
					continue
				}
				r := &revision{meta: doc.meta, version: doc.version}
				cache.add(r, doc.data)
				c.show(doc.key, r)
			}
		})
	}
	wait.Wait()
	if len(failed) > maxDamageShown {
		more := fmt.Errorf("%w: and %d more", ErrDamaged, len(failed)-maxDamageShown)
		failed = append(failed[:maxDamageShown], more)
	}
	return errors.Join(failed...)
}
