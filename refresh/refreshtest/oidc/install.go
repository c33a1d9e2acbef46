package oidc

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
)

//go:embed package-lock.json
var lockFile []byte

//go:embed provider.mjs
var program []byte

// Folder is where scripts/install-test-deps installs what package-lock.json names: below $XDG_CACHE_HOME, or ~/.cache, and
// named after the lock file, so that another version is another folder and an old one never answers for a new one.
// It is outside the repository because tools that walk the tree would walk thousands of files that are not ours.
func Folder() (string, error) {
	cache := os.Getenv("XDG_CACHE_HOME")
	if cache == "" {
		home := os.Getenv("HOME")
		if home == "" {
			return "", fmt.Errorf("neither XDG_CACHE_HOME nor HOME is set, so there is no folder to look for the test provider in")
		}
		cache = filepath.Join(home, ".cache")
	}
	if !filepath.IsAbs(cache) {
		return "", fmt.Errorf("XDG_CACHE_HOME is %q: it must be an absolute path", cache)
	}
	sum := sha256.Sum256(lockFile)
	return filepath.Join(cache, "tokenvault-test", "oidc-"+hex.EncodeToString(sum[:8])), nil
}

// installation is what is run: Node.js, and the folder that holds the modules.
type installation struct{ node, modules string }

// installed finds the installation, or says how to get it.
func installed() (installation, error) {
	folder, err := Folder()
	if err != nil {
		return installation{}, err
	}
	found := installation{node: filepath.Join(folder, "node"), modules: filepath.Join(folder, "node_modules")}
	for _, needed := range []string{found.node, filepath.Join(found.modules, "oidc-provider")} {
		if _, err := os.Stat(needed); err != nil {
			return installation{}, fmt.Errorf("the OAuth provider that tests run is not installed in %s; run `make deps` once (%w)", folder, err)
		}
	}
	return found, nil
}
