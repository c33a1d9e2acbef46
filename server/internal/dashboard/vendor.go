package dashboard

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
)

// vendorList names the browser libraries that others wrote, with what
// scripts/vendor-assets needs to bring them again. Templates call such a file
// by `{{asset "vendor/<file>"}}`.
const vendorList = "vendor.json"

// A vendored file lies in assets/vendor as its package on npm has it.
type vendored struct {
	File    string `json:"file"`    // its name here
	Package string `json:"package"` // on npm
	Version string `json:"version"`
	From    string `json:"from"`    // its path in the package
	Licence string `json:"licence"` // SPDX; THIRD_PARTY.md has its text
	SHA256  string `json:"sha256"`  // of the file, hexadecimal
}

// vendoredFiles reads the list.
func vendoredFiles() ([]vendored, error) {
	text, err := fs.ReadFile(assetFiles, "assets/"+vendorList)
	if err != nil {
		return nil, fmt.Errorf("dashboard: %s: %w", vendorList, err)
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	var list []vendored
	if err := decoder.Decode(&list); err != nil {
		return nil, fmt.Errorf("dashboard: %s: %w", vendorList, err)
	}
	return list, nil
}

// addVendored makes assets of the files that are on the list, and of no others.
func (a *assets) addVendored() error {
	list, err := vendoredFiles()
	if err != nil {
		return err
	}
	for _, file := range list {
		body, err := fs.ReadFile(assetFiles, "assets/vendor/"+file.File)
		if err != nil {
			return fmt.Errorf("dashboard: assets: %w", err)
		}
		if err := a.add("vendor/"+file.File, body); err != nil {
			return err
		}
	}
	return nil
}
