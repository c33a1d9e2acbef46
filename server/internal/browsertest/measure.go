package browsertest

import (
	"fmt"
	"os"
	"time"

	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

// LayoutShift is the sum of the page's layout shifts since it was opened, but for
// those that a person caused: the measure that is good below 0.1.
func (p *Page) LayoutShift() float64 {
	p.t.Helper()
	var score float64
	err := p.apart(`new Promise(done => {
		let sum = 0;
		const add = list => { for (const e of list) if (!e.hadRecentInput) sum += e.value; };
		const seen = new PerformanceObserver(l => add(l.getEntries()));
		seen.observe({ type: "layout-shift", buffered: true });
		requestAnimationFrame(() => requestAnimationFrame(() => { add(seen.takeRecords()); seen.disconnect(); done(sum); }));
	})`, &score)
	if err != nil {
		p.t.Fatalf("measure the layout shift: %v", err)
	}
	return score
}

// settling is how long what scripts lay out, such as a chart, may take to fit into
// another window.
const settling = 10 * time.Second

// Overflow names what makes the page wider than its window, and stays; "" if nothing does.
func (p *Page) Overflow() (problem string) {
	p.t.Helper()
	p.holds(settling, func() bool {
		problem = p.overflow()
		return problem == ""
	})
	return problem
}

func (p *Page) overflow() string {
	p.t.Helper()
	var got string
	err := p.apart(`(() => {
		const wide = document.documentElement.clientWidth;
		if (document.documentElement.scrollWidth <= wide) return "";
		const inner = e => { for (let up = e.parentElement; up && up !== document.body; up = up.parentElement)
			if (getComputedStyle(up).overflowX !== "visible") return true; return false; };
		const out = [...document.body.querySelectorAll("*")].filter(e => e.getBoundingClientRect().right > wide + 0.5 && !inner(e));
		return "the page is " + document.documentElement.scrollWidth + " px wide in " + wide + ": " +
			out.slice(-3).map(e => e.outerHTML.slice(0, 120)).join(" … ");
	})()`, &got)
	if err != nil {
		p.t.Fatalf("measure the width: %v", err)
	}
	return got
}

// Paint is when the first content was painted, in milliseconds since the page was
// asked for.
func (p *Page) Paint() float64 {
	p.t.Helper()
	var at float64
	p.until("no content was painted", func() bool {
		err := p.apart(`performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? 0`, &at)
		return err == nil && at > 0
	})
	return at
}

// Transferred is how many bytes the page and what it consists of took on the wire.
func (p *Page) Transferred() int {
	p.t.Helper()
	var bytes int
	p.Eval(`[...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")].reduce((n, e) => n + e.transferSize, 0)`, &bytes)
	return bytes
}

// Screenshot writes a picture of the whole page, as PNG.
func (p *Page) Screenshot(name string) {
	p.t.Helper()
	image, err := p.capture()
	if err == nil {
		err = os.WriteFile(name, image, 0o600)
	}
	if err != nil {
		p.t.Fatalf("a picture of %s: %v", p.URL(), err)
	}
}

// tallest is how much of a page is pictured, in CSS pixels.
const tallest = 8000

func (p *Page) capture() ([]byte, error) {
	metrics, err := chromedp.Call(p.ctx, page.GetLayoutMetrics, struct{}{})
	if err != nil {
		return nil, err
	}
	if metrics.CSSContentSize == nil || metrics.CSSLayoutViewport == nil {
		return nil, fmt.Errorf("the page has no size")
	}
	beyond := true
	shot, err := chromedp.Call(p.ctx, page.CaptureScreenshot, page.CaptureScreenshotParams{
		CaptureBeyondViewport: &beyond,
		Clip: &page.Viewport{
			Width: float64(metrics.CSSLayoutViewport.ClientWidth), Height: min(metrics.CSSContentSize.Height, tallest), Scale: 1,
		},
	})
	return shot.Data, err
}
