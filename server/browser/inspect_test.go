package browser_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/tvzero/tokenvault/server/internal/browsertest"
)

// worstShift is the layout shift up to which a page feels steady.
const worstShift = 0.1

// inspect opens a page and looks at it as everybody does: in light and dark, on a
// desk and on a phone, with the keyboard alone, with assistive technology, and
// without scripts.
func inspect(t *testing.T, p *browsertest.Page, s *scene, w way) {
	t.Helper()
	path := w.path(s)
	p.Emulate(browsertest.Look{ReducedMotion: true})
	p.Open(path)
	if w.ends != "" {
		path = w.ends
	}
	if got := p.Path(); got != path {
		t.Fatalf("%s led to %s, want %s", w.path(s), got, path)
	}
	if got := p.LayoutShift(); got >= worstShift {
		t.Errorf("%s shifts by %.3f while it loads, want less than %g", path, got, worstShift)
	}
	looks(t, p, w.name, path)
	for _, problem := range p.Keyboard() {
		t.Errorf("%s with the keyboard: %s", path, problem)
	}
	withScripts := outline(p)
	p.Emulate(browsertest.Look{ReducedMotion: true, NoScript: true})
	p.Open(path)
	without := outline(p)
	for _, heading := range withScripts {
		if !slices.Contains(without, heading) && byScripts[heading] == "" {
			t.Errorf("%s without JavaScript lacks %q; it has %q", path, heading, without)
		}
	}
}

// looks checks what a page shows, as it stands: wide and light, narrow and dark. Pictures
// are made of every combination.
func looks(t *testing.T, p *browsertest.Page, name, path string) {
	t.Helper()
	for _, look := range []struct {
		suffix string
		browsertest.Look
		checked bool
	}{
		{"wide-light", browsertest.Look{}, true},
		{"wide-dark", browsertest.Look{Dark: true}, false},
		{"narrow-dark", browsertest.Look{Dark: true, Width: browsertest.Narrow}, true},
		{"narrow-light", browsertest.Look{Width: browsertest.Narrow}, false},
	} {
		if !look.checked && pictures() == "" {
			continue
		}
		look.ReducedMotion = true
		p.Emulate(look.Look)
		if folder := pictures(); folder != "" {
			p.Screenshot(filepath.Join(folder, name+"-"+look.suffix+".png"))
		}
		if !look.checked {
			continue
		}
		for _, barrier := range p.Barriers() {
			t.Errorf("%s, %s: %s", path, look.suffix, barrier)
		}
		if got := p.Overflow(); got != "" {
			t.Errorf("%s, %s: %s", path, look.suffix, got)
		}
	}
	p.Emulate(browsertest.Look{ReducedMotion: true})
}

// pictures is the folder to make pictures of the pages in (make screenshots); "": none
// are wanted.
func pictures() string { return os.Getenv("TOKENVAULT_SCREENSHOTS") }

// byScripts are headings of what only scripts can do, and why.
var byScripts = map[string]string{
	"Compare before you store": "the code of a secret that was typed is computed in the browser",
}

// outline is what of a page's content must not need scripts: its headings. Figures in
// them are left out: the server goes on working between two looks.
func outline(p *browsertest.Page) []string {
	var headings []string
	p.Ask(`[...document.querySelectorAll("main h1, main h2, main h3")].filter(h => h.checkVisibility()).map(h => h.innerText.trim().replace(/\d+/g, "#"))`, &headings)
	return headings
}
