// Package web is the plumbing of the server's doors: the gin engine with its
// one middleware, request ids, strict reading of bodies and queries, cookies,
// and the one table that turns fault codes into HTTP.
//
// It knows no feature: neither accounts nor tokens nor pages. It never logs a
// query string, a header or a body.
package web

import (
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/tvzero/tokenvault/server/internal/fault"
)

// MaxBody is the largest request body that is read, in bytes.
const MaxBody = 1 << 20

// Options are what an engine needs.
type Options struct {
	// Logger gets one line a request: method, route template, status,
	// duration, request id; and the cause of every 5xx. Required.
	Logger *slog.Logger
	// PublicURL is where people reach the server; its origin is trusted for
	// unsafe requests besides the one a request arrived at. Required.
	PublicURL *url.URL
	// Quiet lists route templates whose successes are logged at debug level
	// only, because they are frequent and on record elsewhere.
	Quiet []string
	// ErrorPage answers a failure outside /api. Nil: plain text.
	ErrorPage func(c *gin.Context, status int, failure *fault.Error)
	// Now is the clock of durations. Nil: time.Now.
	Now func() time.Time
}

// NewEngine makes an engine without routes. It answers 404 and 405 by itself:
// as a problem under /api, as a page elsewhere.
func NewEngine(options Options) *gin.Engine {
	gin.SetMode(gin.ReleaseMode)
	engine := gin.New()
	engine.RedirectTrailingSlash = false
	engine.HandleMethodNotAllowed = true
	engine.ForwardedByClientIP = false
	_ = engine.SetTrustedProxies(nil) // cannot fail: there is nothing to parse

	g := newGuard(options)
	engine.Use(g.serve)
	engine.NoRoute(func(c *gin.Context) {
		g.refuse(c, fault.New(fault.NotFound, "There is nothing at this address."))
	})
	engine.NoMethod(func(c *gin.Context) {
		if c.Request.Method == http.MethodOptions { // gin has set Allow
			c.Status(http.StatusNoContent)
			c.Writer.WriteHeaderNow()
			return
		}
		g.refuse(c, fault.New(fault.MethodNotAllowed, "This address does not take %s; see the Allow header.", clip(c.Request.Method, 20)))
	})
	return engine
}

// IsAPI reports whether a path is answered with problem+json rather than pages.
func IsAPI(path string) bool {
	return path == "/api" || strings.HasPrefix(path, "/api/") || path == "/healthz" || path == "/readyz" || path == "/mcp"
}

// clip cuts text that came from outside before it goes into a message.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "…"
}
