package api_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/gin-gonic/gin"

	"github.com/tvzero/tokenvault/server/internal/agents"
	"github.com/tvzero/tokenvault/server/internal/api"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/web"
)

// releases answers at once, so that the door alone is measured.
type releases struct{ api.Releases }

func (releases) Release(context.Context, string, audit.Client, string, []byte) (agents.Released, error) {
	return agents.Released{Location: location}, nil
}

// discard is a ResponseWriter that keeps its headers alone.
type discard struct{ header http.Header }

func (d discard) Header() http.Header         { return d.header }
func (d discard) Write(p []byte) (int, error) { return len(p), nil }
func (d discard) WriteHeader(int)             {}

// What the door adds to a release, beside a bare handler with the same answer.
func BenchmarkRelease(b *testing.B) {
	public := &url.URL{Scheme: "https", Host: "vault.example"}
	door := web.NewEngine(web.Options{Logger: slog.New(slog.NewJSONHandler(b.Output(), nil)), PublicURL: public, Quiet: api.Quiet()})
	api.New(api.Deps{Releases: releases{}}).Routes(door)
	bare := gin.New()
	bare.GET("/api/agents/credentials", func(c *gin.Context) {
		c.Header("Location", location)
		c.Header("Cache-Control", "no-store")
		c.Header("Referrer-Policy", "no-referrer")
		c.Status(http.StatusTemporaryRedirect)
	})
	for _, engine := range []struct {
		name string
		h    http.Handler
	}{{"door", door}, {"bare", bare}} {
		b.Run(engine.name, func(b *testing.B) {
			r := httptest.NewRequest(http.MethodGet, "/api/agents/credentials?service=github", nil)
			r.Header.Set("Authorization", "Bearer tvagent_x")
			w := discard{http.Header{}}
			b.ReportAllocs()
			for b.Loop() {
				clear(w.header)
				engine.h.ServeHTTP(w, r)
			}
		})
	}
}
