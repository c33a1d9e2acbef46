package browsertest

import (
	"context"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
)

// A Profile is one person's browser: cookies, storage and cache are its own. Its
// pages may be used by one goroutine at a time.
type Profile struct {
	ctx    context.Context // of its first, blank tab
	t      testing.TB
	mu     sync.Mutex
	allows map[string]bool // hosts with ports that its pages may ask
}

// newProfile makes a profile that ends with the test.
func newProfile(t testing.TB, c *chromium, hosts ...string) *Profile {
	t.Helper()
	ctx, cancel := chromedp.NewContext(c.ctx, chromedp.WithNewBrowserContext())
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("a new profile: %v", err)
	}
	p := &Profile{ctx: ctx, t: t, allows: map[string]bool{}}
	p.Allow(hosts...)
	return p
}

// Allow lets the profile's pages ask hosts (HOST:PORT, or a URL of theirs).
func (p *Profile) Allow(hosts ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, host := range hosts {
		if u, err := url.Parse(host); err == nil && u.Host != "" {
			host = u.Host
		}
		p.allows[host] = true
	}
}

func (p *Profile) allowed(host string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.allows[host]
}

// SetCookie gives the profile a session that was begun elsewhere: cookie is
// NAME=VALUE, as apptest.Owner has it.
func (p *Profile) SetCookie(server, cookie string) {
	p.t.Helper()
	name, value, _ := strings.Cut(cookie, "=")
	yes := true
	_, err := chromedp.Call(p.ctx, network.SetCookie, network.SetCookieParams{
		Name: name, Value: value, URL: server, HTTPOnly: &yes, SameSite: network.CookieSameSiteLax,
	})
	if err != nil {
		p.t.Fatalf("set the session's cookie: %v", err)
	}
}

// ClearCookies forgets every session, as if they had ended.
func (p *Profile) ClearCookies() {
	p.t.Helper()
	if _, err := chromedp.Call(p.ctx, network.ClearBrowserCookies, struct{}{}); err != nil {
		p.t.Fatalf("forget the cookies: %v", err)
	}
}
