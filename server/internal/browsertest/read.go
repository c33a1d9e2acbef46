package browsertest

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

// URL is where the tab is.
func (p *Page) URL() string {
	at, err := chromedp.Run(p.ctx, chromedp.Location())
	if err != nil {
		return err.Error()
	}
	return at
}

// Path is the path of where the tab is, with its query.
func (p *Page) Path() string {
	u, err := url.Parse(p.URL())
	if err != nil {
		return err.Error()
	}
	return u.RequestURI()
}

// Text is what the page shows.
func (p *Page) Text() string {
	p.t.Helper()
	var got struct{ Value, Why string }
	p.until("no text of "+p.within, func() bool {
		got.Why = ""
		return p.ask(&got, "text") == nil && got.Why == ""
	})
	return got.Value
}

func (p *Page) shown() string {
	var got struct{ Value, Why string }
	if err := p.ask(&got, "text"); err != nil {
		return err.Error()
	}
	return got.Value + got.Why
}

// Wants waits until the page shows each of the texts. White space counts as one
// space.
func (p *Page) Wants(texts ...string) {
	p.t.Helper()
	for _, text := range texts {
		p.until(fmt.Sprintf("no %q was shown", text), func() bool { return p.shows(text) })
	}
}

// Lacks waits until the page shows none of the texts.
func (p *Page) Lacks(texts ...string) {
	p.t.Helper()
	for _, text := range texts {
		p.until(fmt.Sprintf("%q did not go away", text), func() bool { return !p.shows(text) })
	}
}

func (p *Page) shows(text string) bool {
	return strings.Contains(strings.Join(strings.Fields(p.shown()), " "), strings.Join(strings.Fields(text), " "))
}

// WantsAt waits until the tab is at a path of the server.
func (p *Page) WantsAt(path string) {
	p.t.Helper()
	p.until("the tab did not come to "+path, func() bool { return p.Path() == path })
}

// WantsElement waits until a selector finds something visible.
func (p *Page) WantsElement(selector string) {
	p.t.Helper()
	p.until("nothing visible matches "+selector, func() bool { return p.Count(selector) > 0 })
}

// Count counts the visible elements that match a selector.
func (p *Page) Count(selector string) int {
	p.t.Helper()
	n := 0
	if err := p.ask(&n, "count", selector); err != nil {
		return 0
	}
	return n
}

// Value is what a field holds; "true" or "false" of a box that is checked or not.
func (p *Page) Value(where string) string {
	p.t.Helper()
	var got struct{ Value, Why string }
	p.until("no field "+where+" was found", func() bool {
		got.Why = ""
		return p.ask(&got, "value", where) == nil && got.Why == ""
	})
	return got.Value
}

// Attribute is an attribute of the first element that matches a selector.
func (p *Page) Attribute(selector, name string) string {
	p.t.Helper()
	var got struct{ Value, Why string }
	p.until("nothing matches "+selector, func() bool {
		got.Why = ""
		return p.ask(&got, "attribute", selector, name) == nil && got.Why == ""
	})
	return got.Value
}

// WantsTitle waits until the document has a title.
func (p *Page) WantsTitle(title string) {
	p.t.Helper()
	p.until("the title did not become "+title, func() bool {
		var got string
		return p.apart("document.title", &got) == nil && got == title
	})
}

// Frames are the addresses of what frames in the page show. A frame that the browser
// refused to fill shows its own error page.
func (p *Page) Frames() []string {
	p.t.Helper()
	tree, err := chromedp.Call(p.ctx, page.GetFrameTree, struct{}{})
	if err != nil {
		p.t.Fatalf("the frames of %s: %v", p.URL(), err)
	}
	var found []string
	for _, child := range tree.FrameTree.ChildFrames {
		found = append(found, child.Frame.URL)
	}
	return found
}
