package browsertest

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"sync"
)

//go:embed axe/package-lock.json
var lockFile []byte

// axeScript is the program that looks at pages the way assistive technology does.
var axeScript = sync.OnceValues(func() (string, error) {
	folder, err := axeFolder()
	if err != nil {
		return "", err
	}
	text, err := os.ReadFile(filepath.Join(folder, "node_modules", "axe-core", "axe.min.js"))
	if err != nil {
		return "", fmt.Errorf("axe-core, which checks that pages are accessible, is not installed in %s; run `make deps` once (%w)", folder, err)
	}
	return string(text), nil
})

// axeFolder is where scripts/install-test-deps installs what package-lock.json
// names: outside the repository, and named after the lock file.
func axeFolder() (string, error) {
	cache := os.Getenv("XDG_CACHE_HOME")
	if cache == "" {
		home := os.Getenv("HOME")
		if home == "" {
			return "", fmt.Errorf("neither XDG_CACHE_HOME nor HOME is set, so there is no folder to look for axe-core in")
		}
		cache = filepath.Join(home, ".cache")
	}
	if !filepath.IsAbs(cache) {
		return "", fmt.Errorf("XDG_CACHE_HOME is %q: it must be an absolute path", cache)
	}
	sum := sha256.Sum256(lockFile)
	return filepath.Join(cache, "tokenvault-test", "axe-"+hex.EncodeToString(sum[:8])), nil
}
