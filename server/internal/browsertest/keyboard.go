package browsertest

import (
	"github.com/chromedp/chromedp/kb"
)

// most is how many controls of a page the keyboard is tried on.
const most = 150

// parts is how many stops of the Tab key a field for a date and time has at most.
const parts = 8

// A stop is where the Tab key led.
type stop struct {
	Index   int // among the page's controls; -1: none of them
	Name    string
	Visible bool // that it has the focus
	Parts   bool // it may have several stops
}

// tab presses the Tab key.
func (p *Page) tab() (s stop) {
	p.t.Helper()
	p.Press(kb.Tab)
	if err := p.ask(&s, "focused"); err != nil {
		p.t.Fatalf("what has the focus on %s: %v", p.URL(), err)
	}
	return s
}

// Keyboard goes through the page with the Tab key from its top. It reports every
// control that the key does not reach in the order of the page, or that does not show
// that it has the focus.
func (p *Page) Keyboard() []string {
	p.t.Helper()
	var controls []string
	if err := p.ask(&controls, "begin"); err != nil {
		p.t.Fatalf("the controls of %s: %v", p.URL(), err)
	}
	var problems []string
	for i, control := range controls[:min(len(controls), most)] {
		got := p.tab()
		for range parts {
			if got.Index != i-1 || !got.Parts {
				break
			}
			got = p.tab()
		}
		switch {
		case got.Index != i:
			return append(problems, "after "+control+" was expected, "+got.Name+" has the focus")
		case !got.Visible:
			problems = append(problems, "one does not see that "+control+" has the focus")
		}
	}
	return problems
}
