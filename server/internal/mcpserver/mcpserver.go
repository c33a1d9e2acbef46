// Package mcpserver is the door for agents that speak MCP (Model Context Protocol):
// two tools over streamable HTTP at /mcp, with an agent's key as the bearer token.
//
// It releases as the API does: the same decision, the same row of the record, the
// same refusals. In webhook mode it answers with the address that bears the ticket,
// never with what is there: the server does not fetch credentials from webhooks. It
// keeps no session, and knows no storage, no keys, and no other door.
package mcpserver

import (
	"context"
	"log/slog"
	"net/http"

	"github.com/gin-gonic/gin"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/tvzero/tokenvault/server/internal/agents"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/web"
)

// Path is where the door is mounted.
const Path = "/mcp"

// version is that of the tools, for clients' logs.
const version = "1"

// maxBody is the largest request that is read, in bytes: a call has a name in it.
const maxBody = 64 << 10

// Releases gives agents what they were granted, and tells them who they are.
type Releases interface {
	Release(ctx context.Context, key string, c audit.Client, service string, room []byte) (agents.Released, error)
	Granted(ctx context.Context, key string) ([]agents.GrantView, error)
	Whoami(ctx context.Context, key string) (agents.Identity, error)
}

// Deps is what the door needs; all of it is required.
type Deps struct {
	Releases Releases
	Logger   *slog.Logger
}

// Door is the door. Safe for concurrent use.
type Door struct {
	deps    Deps
	handler http.Handler
}

// New makes the door.
func New(d Deps) *Door {
	door := &Door{deps: d}
	door.handler = mcp.NewStreamableHTTPHandler(door.server, &mcp.StreamableHTTPOptions{
		Stateless: true, JSONResponse: true, MaxRequestBodyBytes: maxBody,
		// Who asks has a key, which no page of another site has: names that lead here by
		// another host's DNS get nothing. Reverse proxies reach this server on loopback.
		DisableLocalhostProtection: true,
	})
	return door
}

// Routes mounts the door. GET and DELETE, which only sessions need, are 405.
func (d *Door) Routes(r gin.IRoutes) {
	r.POST(Path, web.JSON(d.serve))
}

// A caller is who makes a request.
type caller struct {
	key    string // a secret
	client audit.Client
}

type callerKey struct{}

// serve authenticates before the protocol is read: a key that is no good gets nothing
// but 401, as everywhere.
func (d *Door) serve(c *gin.Context) error {
	ctx := c.Request.Context()
	who := caller{key: web.AgentKey(c.Request), client: audit.Client(web.ClientOf(c))}
	if _, err := d.deps.Releases.Whoami(ctx, who.key); err != nil {
		return err
	}
	d.handler.ServeHTTP(unstored{c.Writer}, c.Request.WithContext(context.WithValue(ctx, callerKey{}, who)))
	return nil
}

// server is the MCP server of one request.
func (d *Door) server(r *http.Request) *mcp.Server {
	who, _ := r.Context().Value(callerKey{}).(caller)
	s := mcp.NewServer(&mcp.Implementation{Name: "tokenvault", Title: "Token Vault", Version: version}, &mcp.ServerOptions{
		Instructions: "Credentials that this agent was granted. List them, then fetch one when it is needed, and keep none of them longer than that.",
		// The tools never change: a subscription to their changes, which the SDK offers
		// otherwise, would keep a request open for as long as its caller likes, beyond the
		// end of its key and into the server's shutdown.
		Capabilities: &mcp.ServerCapabilities{Tools: &mcp.ToolCapabilities{}},
	})
	d.addTools(s, who)
	return s
}

// unstored is a writer whose answers nothing on the way keeps, whatever the SDK says
// about caching.
type unstored struct{ http.ResponseWriter }

func (u unstored) WriteHeader(status int) {
	u.Header().Set("Cache-Control", "no-store")
	u.ResponseWriter.WriteHeader(status)
}

func (u unstored) Write(p []byte) (int, error) {
	u.Header().Set("Cache-Control", "no-store")
	return u.ResponseWriter.Write(p)
}

// Unwrap is for http.ResponseController.
func (u unstored) Unwrap() http.ResponseWriter { return u.ResponseWriter }
