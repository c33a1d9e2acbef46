package main

import (
	"context"
	"fmt"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

// The list of tokens, as a browser that has never been here sees it.
const (
	pageTokens   = 500
	pageLoads    = 5
	paintWanted  = time.Second
	bytesWanted  = 200 << 10
	pagePatience = 30 * time.Second
)

// measurePages: an account with 500 tokens, of which the list shows 100 a page; the
// first page of it, loaded five times by a headless Chromium, each with an empty cache.
func measurePages(ctx context.Context, s settings, b binaries) error {
	database, err := newDatabase(ctx, s.postgres, "pages")
	if err != nil {
		return err
	}
	server, err := startServer(ctx, s, b, "pages-server", database)
	if err != nil {
		return err
	}
	defer server.stop()
	user, err := signUp(ctx, server.url, "bench@example.com")
	if err != nil {
		return err
	}
	if err := user.seedPages(ctx); err != nil {
		return err
	}
	browser, err := startChromium(ctx)
	if err != nil {
		return err
	}
	defer browser.stop()
	var paints, sizes []float64
	for range pageLoads {
		paint, size, err := browser.coldLoad(server.url, user.cookie)
		if err != nil {
			return err
		}
		paints, sizes = append(paints, paint), append(sizes, size)
	}
	fmt.Printf("The list of tokens, first page of an account with %d, %d loads with an empty cache in headless Chromium:\n", pageTokens, pageLoads)
	fmt.Printf("  first contentful paint  %6.0f ms (%.0f–%.0f), wanted at most %d ms\n",
		series(paints).median(), slices.Min(paints), slices.Max(paints), paintWanted.Milliseconds())
	fmt.Printf("  transferred             %6.1f KB (%.1f–%.1f), wanted at most %d KB\n\n",
		series(sizes).median()/1024, slices.Min(sizes)/1024, slices.Max(sizes)/1024, bytesWanted>>10)
	return nil
}

// seedPages stores tokens of several kinds, as people have them.
func (s *session) seedPages(ctx context.Context) error {
	return each(pageTokens, 32, func(i int) error {
		data := map[string]any{
			"tokenType": "PlainText", "accessToken": "key-" + nonce(), "displayName": fmt.Sprintf("Account %d of the team", i),
			"tags": []string{"team", fmt.Sprintf("area-%d", i%20)},
		}
		switch i % 5 {
		case 1:
			data["tokenType"], data["refreshToken"] = "OAuth", "refresh-"+nonce()
			data["expiresAt"] = time.Now().Add(time.Duration(i) * time.Hour).UTC().Format(time.RFC3339)
		case 2:
			data = map[string]any{"tokenType": "TOTP", "totpSecret": "JBSWY3DPEHPK3PXP", "displayName": data["displayName"]}
		}
		return s.call(ctx, http.MethodPost, "/api/tokens", map[string]any{"serviceName": fmt.Sprintf("service-%03d", i), "tokenData": data}, nil)
	})
}

// A chromium is a headless browser that only this run uses.
type chromium struct {
	ctx  context.Context
	stop func()
}

func startChromium(ctx context.Context) (*chromium, error) {
	path, err := exec.LookPath("chromium")
	if err != nil {
		return nil, fmt.Errorf("no chromium is installed: run `make deps` (%w)", err)
	}
	root, stop := chromedp.NewExecAllocator(ctx, append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.Flag("headless", "new"))...)
	tab, cancel := chromedp.NewContext(root)
	if err := chromedp.Do(tab); err != nil {
		cancel()
		stop()
		return nil, fmt.Errorf("%s does not start: %w", path, err)
	}
	return &chromium{ctx: tab, stop: func() {
		_ = chromedp.Cancel(tab)
		stop()
	}}, nil
}

// traffic counts what a tab loads.
type traffic struct {
	mu      sync.Mutex
	open    map[network.RequestID]bool
	bytes   float64
	failed  string
	changed time.Time
}

func (t *traffic) event(event any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		t.open[e.RequestID] = true
	case *network.EventLoadingFinished:
		delete(t.open, e.RequestID)
		t.bytes += e.EncodedDataLength
	case *network.EventLoadingFailed:
		delete(t.open, e.RequestID)
		t.failed = e.ErrorText
	default:
		return
	}
	t.changed = time.Now()
}

// quiet reports whether nothing was under way for a moment.
func (t *traffic) quiet() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.bytes > 0 && len(t.open) == 0 && time.Since(t.changed) > 300*time.Millisecond
}

// coldLoad loads the list in a profile of its own: milliseconds until the first content
// was painted, and bytes on the wire of all that the page loads, headers included.
func (c *chromium) coldLoad(server, cookie string) (paint, bytes float64, err error) {
	seen := &traffic{open: map[network.RequestID]bool{}}
	ctx, cancel := chromedp.NewContext(c.ctx, chromedp.WithNewBrowserContext(), chromedp.WithListener(seen.event))
	defer cancel()
	ctx, done := context.WithTimeout(ctx, pagePatience)
	defer done()
	if err := chromedp.Do(ctx); err != nil {
		return 0, 0, err
	}
	name, value, _ := strings.Cut(cookie, "=")
	if _, err := chromedp.Call(ctx, network.SetCookie, network.SetCookieParams{Name: name, Value: value, URL: server}); err != nil {
		return 0, 0, err
	}
	if _, err := chromedp.Call(ctx, page.Navigate, page.NavigateParams{URL: server + "/"}); err != nil {
		return 0, 0, err
	}
	var cards float64
	for paint == 0 || cards == 0 || !seen.quiet() {
		select {
		case <-ctx.Done():
			return 0, 0, fmt.Errorf("the page did not come to rest: %w", ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
		for expression, out := range map[string]*float64{
			`performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? 0`: &paint,
			`document.querySelectorAll("#tokens > li").length`:                          &cards,
		} {
			if *out, err = chromedp.Run(ctx, chromedp.Evaluate[float64](expression)); err != nil {
				return 0, 0, err
			}
		}
	}
	seen.mu.Lock()
	defer seen.mu.Unlock()
	if seen.failed != "" || cards < 100 {
		return 0, 0, fmt.Errorf("the list shows %.0f tokens; what failed to load: %q", cards, seen.failed)
	}
	return paint, seen.bytes, nil
}
