package refreshes

import (
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tvzero/tokenvault/refresh"
)

// An Ended says by which path, at which provider, and how refreshes ended. Provider is
// one of the registry's ids, or "other": what webhooks report is no label.
type Ended struct {
	Path     string // models.PathNotify, models.PathMediated
	Provider string
	Kind     refresh.Kind
	Reason   refresh.Reason
}

// Stats is what a replica has done since New, and what it is at.
type Stats struct {
	Ended map[Ended]int64

	Polls      int64         // looks for what is due
	Claimed    int64         // rows that were
	Deferred   int64         // given back, because their webhook had enough to do
	TurnedAway int64         // put off without a call, because their webhook is down
	Backlog    time.Duration // how long the oldest of the last look had been due
	Running    int
	Queued     int
	Breakers   map[BreakerState]int // webhooks, by state; closed ones that are idle are forgotten

	Sealed       int64 // tokens put into the outbox
	Delivered    int64 // from the outbox
	Discarded    int64 // from the outbox: the webhook has newer tokens, or another credential
	Undelivered  int64 // attempts to deliver that failed
	Lost         int64 // tokens that reached no webhook, neither from memory nor from the outbox
	OutboxDue    int   // entries that the last look found due, at most outboxBatch
	OutboxOldest time.Duration

	Engine refresh.Stats
}

type counts struct {
	polls, claimed, deferred, turnedAway, backlog                         atomic.Int64
	sealed, delivered, discarded, undelivered, lost, outboxDue, outboxOld atomic.Int64

	mu    sync.Mutex
	ended map[Ended]int64
}

func (c *counts) end(e Ended) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended == nil {
		c.ended = map[Ended]int64{}
	}
	c.ended[e]++
}

// Stats may be called at any time.
func (s *Service) Stats() Stats {
	c := &s.counts
	c.mu.Lock()
	ended := maps.Clone(c.ended)
	c.mu.Unlock()
	out := Stats{
		Ended: ended, Polls: c.polls.Load(), Claimed: c.claimed.Load(), Deferred: c.deferred.Load(), TurnedAway: c.turnedAway.Load(),
		Backlog: time.Duration(c.backlog.Load()),
		Sealed:  c.sealed.Load(), Delivered: c.delivered.Load(), Discarded: c.discarded.Load(), Undelivered: c.undelivered.Load(), Lost: c.lost.Load(),
		OutboxDue: int(c.outboxDue.Load()), OutboxOldest: time.Duration(c.outboxOld.Load()),
		Engine: s.engine.Stats(),
	}
	out.Running, out.Queued, out.Breakers = s.lanes.load()
	return out
}
