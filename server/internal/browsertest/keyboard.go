package browsertest

import (
	"github.com/chromedp/chromedp/kb"
)

// most is how many controls of a page the keyboard is tried on.
const most = 150

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
		p.Press(kb.Tab)
		var got struct {
			Index   int
			Name    string
			Visible bool
		}
		if err := p.ask(&got, "focused"); err != nil {
			p.t.Fatalf("what has the focus on %s: %v", p.URL(), err)
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
