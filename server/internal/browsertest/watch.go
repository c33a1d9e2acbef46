package browsertest

import (
	"context"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/chromedp/cdproto/audits"
	"github.com/chromedp/cdproto/inspector"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// A watch notes what happens in a tab. Its events come from the goroutine that
// reads the browser's messages.
type watch struct {
	allowed func(host string) bool
	dialogs chan struct{}
	joined  chan struct{}

	mu        sync.Mutex
	loads     int
	world     runtime.ExecutionContextID // of the test, in the present document; 0: none yet
	documents map[network.RequestID]bool
	requests  []string // method and URL
	problems  []string
	expected  []*regexp.Regexp
}

func newWatch(allowed func(string) bool) *watch {
	return &watch{allowed: allowed, dialogs: make(chan struct{}, 64), joined: make(chan struct{}), documents: map[network.RequestID]bool{}}
}

// run asks for the reports of broken policies, and answers dialogs until the tab
// is closed: a page with an open one does nothing more.
func (w *watch) run(ctx context.Context) {
	_, _ = chromedp.Call(ctx, audits.Enable, struct{}{})
	go func() {
		defer close(w.joined)
		for {
			select {
			case <-ctx.Done():
				return
			case <-w.dialogs:
				_, _ = chromedp.Call(ctx, page.HandleJavaScriptDialog, page.HandleJavaScriptDialogParams{})
			}
		}
	}()
}

func (w *watch) wait() { <-w.joined }

func (w *watch) event(event any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch e := event.(type) {
	case *page.EventLoadEventFired:
		w.loads++
	case *runtime.EventExecutionContextsCleared:
		w.world = 0
	case *page.EventJavascriptDialogOpening:
		w.problem("a dialog of kind %s: %s", e.Type, e.Message)
		select {
		case w.dialogs <- struct{}{}:
		default:
		}
	case *inspector.EventTargetCrashed:
		w.problem("it crashed")
	case *runtime.EventExceptionThrown:
		text := e.ExceptionDetails.Text
		if e.ExceptionDetails.Exception != nil {
			text += " " + e.ExceptionDetails.Exception.Description
		}
		w.problem("exception at %s:%d: %s", e.ExceptionDetails.URL, e.ExceptionDetails.LineNumber+1, text)
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.ConsoleAPICalledTypeError || e.Type == runtime.ConsoleAPICalledTypeWarning || e.Type == runtime.ConsoleAPICalledTypeAssert {
			w.problem("console %s: %s", e.Type, values(e.Args))
		}
	case *log.EventEntryAdded:
		w.entry(e.Entry)
	case *audits.EventIssueAdded:
		if e.Issue.Details != nil && e.Issue.Details.ContentSecurityPolicyIssueDetails != nil {
			d := e.Issue.Details.ContentSecurityPolicyIssueDetails
			w.problem("content security policy: %s refused %s (%s)", d.ViolatedDirective, d.BlockedURL, d.ContentSecurityPolicyViolationType)
		}
	case *network.EventRequestWillBeSent:
		w.request(e)
	}
}

// entry takes a line of the browser's own log. A document that was answered with
// an error status is how a refused form looks, and no error.
func (w *watch) entry(e *log.Entry) {
	if e.Level != log.EntryLevelError && e.Level != log.EntryLevelWarning {
		return
	}
	if e.Source == log.EntrySourceNetwork && w.documents[e.NetworkRequestID] {
		return
	}
	w.problem("log %s, %s: %s %s", e.Level, e.Source, e.Text, e.URL)
}

func (w *watch) request(e *network.EventRequestWillBeSent) {
	if e.Type == network.ResourceTypeDocument {
		w.documents[e.RequestID] = true
	}
	w.requests = append(w.requests, e.Request.Method+" "+e.Request.URL)
	u, err := url.Parse(e.Request.URL)
	if err != nil || slices.Contains([]string{"data", "blob", "about"}, u.Scheme) {
		return
	}
	if !w.allowed(u.Host) {
		w.problem("request to another host: %s %s", e.Request.Method, e.Request.URL)
	}
}

func (w *watch) problem(format string, args ...any) {
	w.problems = append(w.problems, fmt.Sprintf(format, args...))
}

// Loads counts the documents that have loaded.
func (w *watch) Loads() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.loads
}

// World is the test's world in the document that is shown; 0 if none is noted.
func (w *watch) World() runtime.ExecutionContextID {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.world
}

// Note notes the test's world in the document that is shown; 0: it is gone.
func (w *watch) Note(world runtime.ExecutionContextID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.world = world
}

// Problems are those that no test expected.
func (w *watch) Problems() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(w.problems), func(problem string) bool {
		return slices.ContainsFunc(w.expected, func(e *regexp.Regexp) bool { return e.MatchString(problem) })
	})
}

func values(objects []*runtime.RemoteObject) string {
	text := ""
	for _, o := range objects {
		text += " " + o.Description + string(o.Value)
	}
	return text
}

// Expect says that problems which match a pattern are part of the test.
func (p *Page) Expect(pattern string) {
	p.watch.mu.Lock()
	defer p.watch.mu.Unlock()
	p.watch.expected = append(p.watch.expected, regexp.MustCompile(pattern))
}

// Problems are the problems that the tab had so far, which no test expected, such
// as errors on the console and breaches of the policy.
func (p *Page) Problems() []string { return p.watch.Problems() }

// Requests lists what the tab asked for: "METHOD URL".
func (p *Page) Requests() []string {
	p.watch.mu.Lock()
	defer p.watch.mu.Unlock()
	return slices.Clone(p.watch.requests)
}

// WantsProblem waits until the tab had a problem, expected or not, with a text in
// it.
func (p *Page) WantsProblem(text string) {
	p.t.Helper()
	p.until("no problem with "+text, func() bool {
		p.watch.mu.Lock()
		defer p.watch.mu.Unlock()
		return slices.ContainsFunc(p.watch.problems, func(problem string) bool { return strings.Contains(problem, text) })
	})
}
