package app

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// gcPercent is the growth of the heap between two collections. What lives long is
// small here (what replicas remember), and each request leaves a few kilobytes behind: at
// Go's default of 100 collecting took a tenth of the time of a release, and at 300
// still a twentieth.
const gcPercent = 600

const (
	restPeriod = time.Second
	restQuiet  = 1 << 20 // bytes allocated in a period, at most, when nothing happens
	restWorth  = 8 << 20 // bytes allocated since memory was given back, at least, to do so again
	restPause  = 30      // periods since then, at least: each time all that lives is looked through
)

// manageMemory sets when garbage is collected, and gives memory back to the system when
// work is over, until ctx ends: the room of a password's hash alone is 19 MiB, which would
// be held until the next collection. Who sets GOGC decides for himself: then it does nothing.
func manageMemory(ctx context.Context) {
	if os.Getenv("GOGC") != "" {
		return
	}
	debug.SetGCPercent(gcPercent)
	go func() {
		ticker := time.NewTicker(restPeriod)
		defer ticker.Stop()
		allocated := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
		var r rest
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
			metrics.Read(allocated)
			if r.due(allocated[0].Value.Uint64()) {
				debug.FreeOSMemory()
			}
		}
	}()
}

// A rest decides when memory is given back: in the first quiet period after work.
type rest struct {
	last, given uint64 // bytes allocated until the last period, and when memory was given back
	pause       int    // periods to come
}

// due takes the bytes that were allocated so far.
func (r *rest) due(total uint64) bool {
	quiet := total-r.last <= restQuiet
	r.last = total
	r.pause = max(0, r.pause-1)
	if !quiet || r.pause > 0 || total-r.given < restWorth {
		return false
	}
	r.given, r.pause = total, restPause
	return true
}
