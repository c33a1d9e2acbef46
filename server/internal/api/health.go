package api

import (
	"context"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/tvzero/tokenvault/server/internal/fault"
)

// readyTimeout is how long /readyz waits for an answer of what it asks.
const readyTimeout = 2 * time.Second

type healthJSON struct {
	Status string `json:"status"`
}

// healthz says that the process answers, nothing more.
func (a *API) healthz(c *gin.Context) error { return ok(c, healthJSON{"ok"}) }

// readyz says that database, migrations and keys are in order. Why not is in
// the log, not in the answer.
func (a *API) readyz(c *gin.Context) error {
	ctx, cancel := context.WithTimeout(c.Request.Context(), readyTimeout)
	defer cancel()
	if err := a.deps.Ready(ctx); err != nil {
		return fault.Wrap(err, fault.Unavailable, "The server cannot serve at present; its log says why.")
	}
	return ok(c, healthJSON{"ready"})
}
