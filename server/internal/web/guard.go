package web

import (
	"crypto/rand"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"runtime/debug"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/tvzero/tokenvault/server/internal/fault"
)

// HeaderRequestID carries the id of a request in every answer. None is
// accepted from outside: the record could not rely on it.
const HeaderRequestID = "X-Request-Id"

// A guard is the one middleware of the engine. It is one function rather than
// six because the release of a credential passes through it.
type guard struct {
	logger  *slog.Logger
	quiet   map[string]bool
	page    func(*gin.Context, int, *fault.Error)
	now     func() time.Time
	origins *http.CrossOriginProtection

	// Header values that every answer shares; never written to.
	nosniff, noStore, noReferrer, hsts []string
}

func newGuard(options Options) *guard {
	g := &guard{
		logger: options.Logger, quiet: map[string]bool{}, page: options.ErrorPage, now: options.Now,
		origins:    http.NewCrossOriginProtection(),
		nosniff:    []string{"nosniff"},
		noStore:    []string{"no-store"},
		noReferrer: []string{"no-referrer"},
	}
	for _, route := range options.Quiet {
		g.quiet[route] = true
	}
	if g.now == nil {
		g.now = time.Now
	}
	if options.PublicURL != nil {
		// An origin that does not parse is refused by the configuration already.
		_ = g.origins.AddTrustedOrigin((&url.URL{Scheme: options.PublicURL.Scheme, Host: options.PublicURL.Host}).String())
		if options.PublicURL.Scheme == "https" {
			g.hsts = []string{"max-age=31536000"}
		}
	}
	return g
}

func (g *guard) serve(c *gin.Context) {
	start := g.now()
	id := rand.Text()
	h := c.Writer.Header()
	h[HeaderRequestID] = []string{id}
	h["X-Content-Type-Options"] = g.nosniff
	h["Cache-Control"] = g.noStore
	h["Referrer-Policy"] = g.noReferrer
	if g.hsts != nil {
		h["Strict-Transport-Security"] = g.hsts
	}
	defer g.finish(c, start, id)
	if failure := g.admit(c.Request); failure != nil {
		g.refuse(c, failure)
		return
	}
	c.Next()
}

// admit refuses what no route may get.
func (g *guard) admit(r *http.Request) *fault.Error {
	if r.Method == http.MethodGet {
		return nil
	}
	if r.ContentLength > MaxBody {
		return tooLarge()
	}
	// Only what a browser adds by itself can be abused from another site: cookies,
	// and Basic credentials that a proxy before us once asked for. Who sends a
	// bearer token had to know it.
	if token, _ := Bearer(r); token == "" && g.origins.Check(r) != nil {
		return fault.New(fault.CrossOrigin, "This request came from another site and was refused. Open Token Vault itself and try again there.")
	}
	return nil
}

// refuse answers a failure of the engine's own.
func (g *guard) refuse(c *gin.Context, failure *fault.Error) {
	c.Abort()
	switch {
	case IsAPI(c.Request.URL.Path):
		Problem(c, failure)
	case g.page != nil:
		g.page(c, Status(failure.Code), failure)
	default:
		c.Data(Status(failure.Code), "text/plain; charset=utf-8", []byte(failure.Message+"\n"))
	}
}

// finish hides a panic and writes the access log.
func (g *guard) finish(c *gin.Context, start time.Time, id string) {
	aborted := false
	if v := recover(); v != nil {
		aborted = g.panicked(c, v)
	}
	status := c.Writer.Status()
	level := slog.LevelInfo
	switch {
	case status >= http.StatusInternalServerError, aborted && len(c.Errors) > 0:
		level = slog.LevelError
	case status < http.StatusBadRequest && len(c.Errors) > 0: // something failed beside what was asked for
		level = slog.LevelWarn
	case status < http.StatusBadRequest && g.quiet[c.FullPath()]:
		level = slog.LevelDebug
	}
	if ctx := c.Request.Context(); g.logger.Enabled(ctx, level) {
		route := c.FullPath()
		if route == "" {
			route = "none"
		}
		attrs := [6]slog.Attr{
			slog.String("method", clip(c.Request.Method, 20)), slog.String("route", route), slog.Int("status", status),
			slog.Duration("duration", g.now().Sub(start)), slog.String("requestId", id),
		}
		n := 5
		if last := c.Errors.Last(); last != nil && level >= slog.LevelWarn {
			attrs[n] = slog.String("cause", last.Err.Error())
			n++
		}
		g.logger.LogAttrs(ctx, level, "request", attrs[:n]...)
	}
	if aborted {
		panic(http.ErrAbortHandler)
	}
}

// panicked answers 500 for a panic, or reports that the answer had begun, so
// that the connection must be cut lest half an answer look whole.
func (g *guard) panicked(c *gin.Context, v any) (abort bool) {
	if v == http.ErrAbortHandler { //nolint:errorlint // net/http compares it so
		return true
	}
	// The value goes to the log, cut; the goroutine's stack holds addresses, no contents.
	_ = c.Error(fmt.Errorf("panic: %s\n%s", clip(fmt.Sprint(v), 500), debug.Stack()))
	if c.Writer.Written() {
		return true
	}
	for name := range c.Writer.Header() {
		switch name {
		case HeaderRequestID, "X-Content-Type-Options", "Cache-Control", "Referrer-Policy", "Strict-Transport-Security":
		default:
			c.Writer.Header().Del(name)
		}
	}
	g.refuse(c, fault.From(fmt.Errorf("panic")))
	return false
}
