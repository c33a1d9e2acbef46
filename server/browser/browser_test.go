// Package browser_test uses the whole product in a real browser: it walks the ways
// that people go, looks at every page as each of them sees it, and attacks the pages
// as others would.
package browser_test

import (
	"os"
	"testing"

	"github.com/tvzero/tokenvault/server/internal/browsertest"
)

func TestMain(m *testing.M) { os.Exit(browsertest.Main(m)) }
