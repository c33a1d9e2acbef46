package oidc_test

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/tvzero/tokenvault/refresh/refreshtest/oidc"
)

func TestAnInstallationThatIsMissingIsNamedWithTheCommandThatMakesIt(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	fake := &refusing{TB: t}
	func() {
		defer func() { _ = recover() }()
		oidc.Start(fake, oidc.Options{})
	}()
	folder, err := oidc.Folder()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(fake.said, "make deps") || !strings.Contains(fake.said, folder) {
		t.Errorf("without an installation Start fails with %q, want the folder %s and `make deps` in it", fake.said, folder)
	}
}

// refusing is a test that is not ended by Fatal, but remembers what it said.
type refusing struct {
	testing.TB
	said string
}

func (r *refusing) Fatal(args ...any) {
	r.said = fmt.Sprint(args...)
	panic(r)
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestTheLockFilePinsEveryPackageByHashAndItsLicenceIsNamed(t *testing.T) {
	t.Parallel()
	var lock struct {
		Packages map[string]struct {
			Version, Integrity, Resolved, License string
			HasInstallScript                      bool
		}
	}
	if err := json.Unmarshal(read(t, "package-lock.json"), &lock); err != nil {
		t.Fatal(err)
	}
	exact := regexp.MustCompile(`^\d+\.\d+\.\d+$`)
	notices, pinned := string(read(t, "../../../THIRD_PARTY.md")), 0
	for path, p := range lock.Packages {
		if path == "" {
			continue
		}
		pinned++
		if !exact.MatchString(p.Version) || !strings.HasPrefix(p.Integrity, "sha512-") {
			t.Errorf("%s: version %q, integrity %q; want both exact", path, p.Version, p.Integrity)
		}
		if p.Resolved != "" {
			t.Errorf("%s names the address %s: whoever installs has a registry of their own (npm's omit-lockfile-registry-resolved)", path, p.Resolved)
		}
		if p.HasInstallScript {
			t.Errorf("%s wants to run a script when it is installed, and none is run", path)
		}
		name := path[strings.LastIndex(path, "node_modules/")+len("node_modules/"):]
		if !strings.Contains(notices, "`"+name+"`") {
			t.Errorf("THIRD_PARTY.md does not name %s, which is under %s", name, p.License)
		}
	}
	if pinned < 30 {
		t.Errorf("the lock file has %d packages: the test reads it wrongly", pinned)
	}

	var wanted struct {
		Dependencies, OptionalDependencies map[string]string
	}
	if err := json.Unmarshal(read(t, "package.json"), &wanted); err != nil {
		t.Fatal(err)
	}
	for _, versions := range []map[string]string{wanted.Dependencies, wanted.OptionalDependencies} {
		for name, version := range versions {
			if locked := lock.Packages["node_modules/"+name].Version; locked != version {
				t.Errorf("%s: package.json has %q, the lock file %q; want the same exact version", name, version, locked)
			}
		}
	}
}
