package browsertest

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// Patience is how long a page waits for what it is told to find. It is for a busy
// machine; what is there is found at once.
const Patience = 2 * time.Minute

// glance is how often a page looks whether it is there.
const glance = 15 * time.Millisecond

// A Page is a tab. Its methods end the test when something is not as they were
// told. Only one goroutine may use it.
type Page struct {
	ctx     context.Context
	t       testing.TB
	profile *Profile
	base    string // of the server
	watch   *watch
	within  string // selector of the part that it acts in; "": all of it
}

//go:embed find.js
var findScript string

// newPage opens a tab that is closed, and held to account, when the test ends.
func newPage(t testing.TB, p *Profile, base string) *Page {
	t.Helper()
	w := newWatch(p.allowed)
	ctx, cancel := chromedp.NewContext(p.ctx, chromedp.WithListener(w.event))
	if err := chromedp.Do(ctx); err != nil {
		cancel()
		t.Fatalf("a new tab: %v", err)
	}
	w.run(ctx)
	tab := &Page{ctx: ctx, t: t, profile: p, base: base, watch: w}
	t.Cleanup(func() {
		if t.Failed() {
			tab.keep()
		}
		cancel()
		w.wait()
		for _, problem := range w.Problems() {
			t.Errorf("the tab had a problem: %s", problem)
		}
	})
	tab.Emulate(Look{})
	return tab
}

// In is the same tab, acting and reading only inside what a selector finds.
func (p *Page) In(selector string) *Page {
	inner := *p
	inner.within = selector
	return &inner
}

// For is the same tab in a subtest, which then is what fails.
func (p *Page) For(t testing.TB) *Page {
	inner := *p
	inner.t = t
	return &inner
}

// Open goes to a path of the server, or to a whole URL, and waits until it has
// loaded.
func (p *Page) Open(address string) {
	p.t.Helper()
	if strings.HasPrefix(address, "/") {
		address = p.base + address
	}
	p.loading("open "+address, func(ctx context.Context) error {
		result, err := chromedp.Call(ctx, page.Navigate, page.NavigateParams{URL: address})
		if err == nil && result.ErrorText != "" {
			err = fmt.Errorf("%s", result.ErrorText)
		}
		return err
	})
}

// Back is the browser's back button.
func (p *Page) Back() {
	p.t.Helper()
	p.loading("go back", func(ctx context.Context) error { return chromedp.Do(ctx, chromedp.NavigateBack()) })
}

// Reload loads the page again.
func (p *Page) Reload() {
	p.t.Helper()
	p.loading("reload", func(ctx context.Context) error { return chromedp.Do(ctx, chromedp.Reload()) })
}

// loading does what makes the tab load a document, and waits until it has.
func (p *Page) loading(what string, do func(ctx context.Context) error) {
	p.t.Helper()
	before := p.watch.Loads()
	ctx, cancel := context.WithTimeout(p.ctx, Patience)
	defer cancel()
	if err := do(ctx); err != nil {
		p.t.Fatalf("%s: %v", what, err)
	}
	p.until(what+": no document was loaded", func() bool { return p.watch.Loads() > before })
}

// until waits for a condition, and ends the test with a message and what the page
// shows if it does not come about.
func (p *Page) until(otherwise string, met func() bool) {
	p.t.Helper()
	if !p.holds(Patience, met) {
		p.t.Fatalf("%s within %s; the tab is at %s and shows:\n%.3000s", otherwise, Patience, p.URL(), p.shown())
	}
}

func (p *Page) holds(patience time.Duration, met func() bool) bool {
	limit, tick := time.NewTimer(patience), time.NewTicker(glance)
	defer limit.Stop()
	defer tick.Stop()
	for {
		if met() {
			return true
		}
		select {
		case <-limit.C:
			return met()
		case <-p.ctx.Done():
			return false
		case <-tick.C:
		}
	}
}

// Eval runs an expression in the page's own world and decodes its value into out,
// unless that is nil. A promise is waited for.
func (p *Page) Eval(expression string, out any) {
	p.t.Helper()
	if err := p.eval(expression, 0, out); err != nil {
		p.t.Fatalf("%.200s: %v", expression, err)
	}
}

// Ask is Eval in a world of the test's own: on the same document, not under the
// page's policy, and not seen by its scripts.
func (p *Page) Ask(expression string, out any) {
	p.t.Helper()
	if err := p.apart(expression, out); err != nil {
		p.t.Fatalf("%.200s: %v", expression, err)
	}
}

// apart runs an expression beside the page's scripts: on the same document, with
// objects of its own and not under the page's policy.
func (p *Page) apart(expression string, out any) error {
	for again := false; ; again = true {
		world, err := p.world()
		if err == nil {
			err = p.eval(expression, world, out)
		}
		var thrown *chromedp.ExceptionError
		if err == nil || again || errors.As(err, &thrown) {
			return err
		}
		p.watch.Note(0) // the document may have gone, and its world with it
	}
}

// world is the test's own world in the document that the tab shows; find.js is there
// as browsertest.
func (p *Page) world() (runtime.ExecutionContextID, error) {
	if id := p.watch.World(); id != 0 {
		return id, nil
	}
	tree, err := chromedp.Call(p.ctx, page.GetFrameTree, struct{}{})
	if err != nil {
		return 0, err
	}
	made, err := chromedp.Call(p.ctx, page.CreateIsolatedWorld, page.CreateIsolatedWorldParams{
		FrameID: tree.FrameTree.Frame.ID, WorldName: "browsertest",
	})
	if err != nil {
		return 0, err
	}
	if err := p.eval("globalThis.browsertest = ("+findScript+")(); true", made.ExecutionContextID, nil); err != nil {
		return 0, err
	}
	p.watch.Note(made.ExecutionContextID)
	return made.ExecutionContextID, nil
}

// ask calls a function of find.js with arguments.
func (p *Page) ask(out any, function string, arguments ...any) error {
	list, err := json.Marshal(append([]any{p.within}, arguments...))
	if err != nil {
		return err
	}
	return p.apart("browsertest."+function+"(..."+string(list)+")", out)
}

func (p *Page) eval(expression string, world runtime.ExecutionContextID, out any) error {
	ctx, cancel := context.WithTimeout(p.ctx, Patience)
	defer cancel()
	text, err := chromedp.Run(ctx, chromedp.Evaluate[[]byte](expression, chromedp.EvalAwaitPromise, func(e *runtime.EvaluateParams) { e.ContextID = world }))
	if err != nil || out == nil {
		return err
	}
	if len(text) == 0 {
		return fmt.Errorf("it has no value")
	}
	return json.Unmarshal(text, out)
}

// keep writes what a failed test left in the tab into the test's artifacts.
func (p *Page) keep() {
	image, err := p.capture()
	if err != nil {
		return
	}
	name := filepath.Join(p.t.ArtifactDir(), fmt.Sprintf("tab-%d.png", time.Now().UnixNano()))
	if os.WriteFile(name, image, 0o600) == nil {
		p.t.Logf("the tab is at %s, pictured in %s (kept with -artifacts)", p.URL(), name)
	}
}
