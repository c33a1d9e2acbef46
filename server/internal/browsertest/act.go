package browsertest

import (
	"context"
	"strings"

	"github.com/chromedp/cdproto/dom"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"
)

// What a method calls "where" is what is written on a link, button or label: all
// of it or, if that is nothing's, how it begins; or "css:" and a selector. It must
// be one visible thing.

// Click clicks what stays on this page.
func (p *Page) Click(where string) {
	p.t.Helper()
	p.click(where, 1)
}

// Follow clicks what leads to another page, or submits a form, and waits until
// that has loaded.
func (p *Page) Follow(where string) {
	p.t.Helper()
	before := p.watch.Loads()
	p.click(where, 1)
	p.until("after a click on "+where+": no document was loaded", func() bool { return p.watch.Loads() > before })
}

// FollowTwice is Follow by somebody who clicks everything twice, as fast as it
// goes.
func (p *Page) FollowTwice(where string) {
	p.t.Helper()
	before := p.watch.Loads()
	p.click(where, 2)
	p.until("after a double click on "+where+": no document was loaded", func() bool { return p.watch.Loads() > before })
}

func (p *Page) click(where string, times int64) {
	p.t.Helper()
	type point struct {
		X, Y float64
		Why  string
	}
	var at, last point
	p.until("no click on "+where+" was possible", func() bool {
		last = at
		at = point{}
		if err := p.ask(&at, "point", where); err != nil {
			at.Why = err.Error()
			return false
		}
		return at.Why == "" && at == last // it has stopped moving
	})
	for n := int64(1); n <= times; n++ {
		if err := chromedp.Do(p.ctx, chromedp.MouseEvent(input.DispatchMouseEventTypeMouseMoved, at.X, at.Y),
			chromedp.MouseClickXY(at.X, at.Y, func(e *input.DispatchMouseEventParams) { e.ClickCount = n })); err != nil {
			p.t.Fatalf("click on %s: %v", where, err)
		}
	}
}

// Fill replaces what a field holds.
func (p *Page) Fill(where, text string) {
	p.t.Helper()
	filled := p.focus(where)
	if text == "" {
		if filled {
			p.Press("\b")
		}
		return
	}
	if _, err := chromedp.Call(p.ctx, input.InsertText, input.InsertTextParams{Text: text}); err != nil {
		p.t.Fatalf("type into %s: %v", where, err)
	}
}

// Focus moves the keyboard to a field.
func (p *Page) Focus(where string) {
	p.t.Helper()
	p.focus(where)
}

func (p *Page) focus(where string) (filled bool) {
	p.t.Helper()
	var got struct {
		Why    string
		Filled bool
	}
	p.until("no field "+where+" was found", func() bool {
		got.Why = ""
		return p.ask(&got, "focus", where) == nil && got.Why == ""
	})
	return got.Filled
}

// Press types keys, one after the other, into what has the keyboard.
func (p *Page) Press(keys string) {
	p.t.Helper()
	if err := chromedp.Do(p.ctx, chromedp.KeyEvent(keys)); err != nil {
		p.t.Fatalf("press %q: %v", keys, err)
	}
}

// Select chooses an option of a list by its text or value.
func (p *Page) Select(where, option string) {
	p.t.Helper()
	why := ""
	p.until("no option "+option+" of "+where+" was found", func() bool {
		var got struct{ Why string }
		if err := p.ask(&got, "choose", where, option); err != nil {
			why = err.Error()
		} else {
			why = got.Why
		}
		return why == ""
	})
}

// Upload gives a file field, named by its selector, the files at paths.
func (p *Page) Upload(selector string, paths ...string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, Patience)
	defer cancel()
	_, err := chromedp.Run(ctx, chromedp.QueryAfter(chromedp.CSS(selector), func(ctx context.Context, t *chromedp.Target, nodes []*chromedp.Node) (chromedp.Void, error) {
		_, err := chromedp.Call(ctx, dom.SetFileInputFiles, dom.SetFileInputFilesParams{Files: paths, NodeID: nodes[0].NodeID})
		return chromedp.Void{}, err
	}, chromedp.NodeReady))
	if err != nil {
		p.t.Fatalf("give %s to %s: %v", strings.Join(paths, ", "), selector, err)
	}
}
