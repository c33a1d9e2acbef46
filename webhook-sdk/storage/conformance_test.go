package storage_test

import (
	"path/filepath"
	"testing"

	"github.com/tvzero/tokenvault/webhook-sdk/storage"
	"github.com/tvzero/tokenvault/webhook-sdk/storage/storagetest"
)

func TestFileDoesWhatAStorageMust(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string]storage.FileOptions{
		"with defaults":         {},
		"without cache":         {CacheBytes: -1},
		"with a tiny cache":     {CacheBytes: 64},
		"with many audit files": {AuditSegmentBytes: 1, AuditSegments: -1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			storagetest.Run(t, func(t *testing.T) storagetest.Store {
				t.Helper()
				f, err := storage.OpenFile(filepath.Join(t.TempDir(), "data"), opts)
				if err != nil {
					t.Fatalf("opening: %v", err)
				}
				t.Cleanup(func() { _ = f.Close() })
				return f
			})
		})
	}
}
