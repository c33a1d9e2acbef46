package dashboard

import (
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"os"
	"strings"
	"testing"
)

func TestVendoredFilesAreTheOnesOfTheirPackages(t *testing.T) {
	t.Parallel()
	list, err := vendoredFiles()
	if err != nil {
		t.Fatal(err)
	}
	notices, err := os.ReadFile("../../../THIRD_PARTY.md")
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]bool{}
	for _, file := range list {
		if listed[file.File] {
			t.Errorf("%s lists %s twice", vendorList, file.File)
		}
		listed[file.File] = true
		body, err := fs.ReadFile(assetFiles, "assets/vendor/"+file.File)
		if err != nil {
			t.Errorf("%s: %v; run scripts/vendor-assets", file.File, err)
			continue
		}
		sum := sha256.Sum256(body)
		if got := hex.EncodeToString(sum[:]); got != file.SHA256 {
			t.Errorf("%s has SHA-256 %s, want %s: it is not the file of %s %s", file.File, got, file.SHA256, file.Package, file.Version)
		}
		row := "`" + file.File + "` | `" + file.Package + "` " + file.Version + " | " + file.Licence + " |"
		if !strings.Contains(string(notices), row) {
			t.Errorf("THIRD_PARTY.md has no row with %q", row)
		}
	}
	present, err := fs.ReadDir(assetFiles, "assets/vendor")
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range present {
		if !listed[entry.Name()] {
			t.Errorf("assets/vendor/%s is not in %s", entry.Name(), vendorList)
		}
	}
}

func TestVendoredFilesAreServedUnderHashedNames(t *testing.T) {
	t.Parallel()
	a, err := loadAssets()
	if err != nil {
		t.Fatal(err)
	}
	address, err := a.path("vendor/uPlot.js")
	if err != nil {
		t.Fatal(err)
	}
	name := strings.TrimPrefix(address, "/assets/")
	if strings.Contains(name, "/") || name == "uPlot.js" {
		t.Errorf("the address is %s, want one name with a hash", address)
	}
	if got := a.files[name]; got.kind != "text/javascript; charset=utf-8" || len(got.body) == 0 {
		t.Errorf("%s is %q with %d bytes, want a script", name, got.kind, len(got.body))
	}
}
