package dashboard

import (
	"crypto/sha256"
	"embed"
	"encoding/base32"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"sync"

	"github.com/gin-gonic/gin"

	"github.com/tvzero/tokenvault/server/internal/fault"
)

//go:embed assets
var assetFiles embed.FS

// assets are the style sheet and the scripts, under names that bear a hash of
// their content: a browser may keep them for ever.
type assets struct {
	hashed map[string]string // "style.css" → "style.x7k2….css"
	files  map[string]asset  // by hashed name
}

type asset struct {
	kind   string
	body   []byte
	packed func() []byte // with gzip, made when it is first asked for; nil: that would be no shorter
}

func loadAssets() (*assets, error) {
	a := &assets{hashed: map[string]string{}, files: map[string]asset{}}
	sheet, err := joinSheets()
	if err != nil {
		return nil, err
	}
	if err := a.add("style.css", sheet); err != nil {
		return nil, err
	}
	entries, err := fs.ReadDir(assetFiles, "assets")
	if err != nil {
		return nil, fmt.Errorf("dashboard: assets: %w", err)
	}
	for _, entry := range entries {
		if entry.IsDir() || entry.Name() == vendorList {
			continue
		}
		body, err := fs.ReadFile(assetFiles, "assets/"+entry.Name())
		if err != nil {
			return nil, fmt.Errorf("dashboard: assets: %w", err)
		}
		if err := a.add(entry.Name(), body); err != nil {
			return nil, err
		}
	}
	if err := a.addVendored(); err != nil {
		return nil, err
	}
	return a, nil
}

// joinSheets makes one style sheet of those of the areas, in the order of their names:
// a page asks for one file, and each area keeps its own.
func joinSheets() ([]byte, error) {
	names, err := fs.Glob(assetFiles, "assets/css/*.css") // sorted
	if err != nil {
		return nil, fmt.Errorf("dashboard: style sheets: %w", err)
	}
	var sheet []byte
	for _, name := range names {
		body, err := fs.ReadFile(assetFiles, name)
		if err != nil {
			return nil, fmt.Errorf("dashboard: style sheets: %w", err)
		}
		sheet = append(sheet, body...)
	}
	return sheet, nil
}

// add files an asset under a name that bears a hash of its content. What has folders in its
// own name has none there.
func (a *assets) add(name string, body []byte) error {
	extension := path.Ext(name)
	kind, known := map[string]string{
		".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml",
	}[extension]
	if !known {
		return fmt.Errorf("dashboard: asset %s is of no known kind", name)
	}
	sum := sha256.Sum256(body)
	hash := strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:10]))
	hashed := strings.TrimSuffix(path.Base(name), extension) + "." + hash + extension
	a.hashed[name] = "/assets/" + hashed
	a.files[hashed] = asset{kind, body, sync.OnceValue(func() []byte { return pack(body) })}
	return nil
}

// path is where an asset is served; templates call it.
func (a *assets) path(name string) (string, error) {
	p, ok := a.hashed[name]
	if !ok {
		return "", fmt.Errorf("dashboard: there is no asset %q", name)
	}
	return p, nil
}

func (d *Dashboard) serveAsset(c *gin.Context) {
	file, ok := d.assets.files[c.Param("name")]
	if !ok {
		d.fail(c, fault.New(fault.NotFound, "There is nothing at this address."))
		return
	}
	h := c.Writer.Header()
	h.Set("Cache-Control", "public, max-age=31536000, immutable")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Vary", "Accept-Encoding")
	body := file.body
	if takesGzip(c.Request.Header.Values("Accept-Encoding")) {
		if packed := file.packed(); packed != nil {
			h.Set("Content-Encoding", "gzip")
			body = packed
		}
	}
	c.Data(200, file.kind, body)
}
