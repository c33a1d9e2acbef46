package app

import (
	"context"
	"log/slog"
	"time"

	"github.com/tvzero/tokenvault/server/internal/config"
)

// NewImpatient is New with another pause between two attempts at a webhook, and
// another limit to how long an attempt takes (0: the real one).
func NewImpatient(ctx context.Context, c config.Config, logger *slog.Logger,
	wait func(context.Context, time.Duration) error, timeout time.Duration) (*App, error) {
	return newApp(ctx, c, logger, seams{wait: wait, timeout: timeout})
}

// DrainTime is how long running requests may take once the server is told to stop.
const DrainTime = drainTime

// MetricsAddress is where metrics are served.
func (a *App) MetricsAddress() string { return a.metrics.Addr().String() }

// Rest decides when memory is given back.
type Rest = rest

// What rest counts by.
const (
	RestQuiet = restQuiet
	RestWorth = restWorth
	RestPause = restPause
)

// Due is due.
func (r *rest) Due(total uint64) bool { return r.due(total) }
