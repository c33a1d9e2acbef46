package refreshes

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/vaults"
)

const (
	slowPace  = 2 * time.Second  // a webhook whose refreshes take longer is slow
	fastPace  = time.Second / 2  // one whose refreshes take no longer is fast
	queueTime = 10 * time.Second // a lane takes as many refreshes as it can do in that time
	maxLane   = 128              // but no more
	maxSpread = 15 * time.Minute // what a lane has no room for is spread over at most that
	idleLanes = 1000             // that are remembered; more are forgotten when nothing is to be remembered of them
)

// A job is a refresh that was due and is claimed.
type job struct {
	due      models.DueRefresh
	claimed  time.Time       // at the latest
	custody  *vaults.Custody // once its turn has come
	host     string          // of the webhook: its lane
	provider string          // whose token endpoint is called; empty: none
	trial    bool            // it tries a webhook that was down
}

// lanes are the order in which jobs run: one lane for each webhook, which take turns.
// No webhook has more than its share of places; slow ones together have half of all.
type lanes struct {
	limits Limits
	random func() float64

	mu        sync.Mutex
	of        map[string]*lane
	ring      []*lane // that have jobs waiting
	turn      int     // in ring: whose turn it is
	providers map[string]int
	running   int
	slow      int // of running: of slow webhooks
	queued    int
}

// A lane is one webhook, or all that share a host.
type lane struct {
	host    string
	queue   []*job
	running int
	asked   chan struct{} // holds a value for each refresh that a person waits for
	waiting int           // that want a place in it, or have one
	pace    time.Duration // how long a refresh takes, on average
	tail    time.Time     // until when the lane has enough to do
	breaker breaker
}

func newLanes(l Limits, random func() float64) *lanes {
	return &lanes{limits: l, random: random, of: map[string]*lane{}, providers: map[string]int{}}
}

// lane finds or makes a host's lane. The lock is held, here and in all that follow in
// small letters.
func (l *lanes) lane(host string) *lane {
	found := l.of[host]
	if found == nil {
		if len(l.of) >= idleLanes {
			l.forget()
		}
		found = &lane{host: host, asked: make(chan struct{}, l.limits.PerWebhook), pace: time.Second, breaker: breaker{state: BreakerClosed}}
		l.of[host] = found
	}
	return found
}

// forget drops lanes of which there is nothing to remember.
func (l *lanes) forget() {
	for host, one := range l.of {
		if one.running+len(one.queue)+one.waiting == 0 && one.breaker == (breaker{state: BreakerClosed}) {
			delete(l.of, host)
		}
	}
}

// Room is how many jobs may be claimed.
func (l *lanes) Room() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return max(0, l.limits.Running+l.limits.Queued-l.running-l.queued)
}

// Add puts a job into its lane, or says when to claim it again.
func (l *lanes) Add(j *job, now time.Time) (later time.Time, added bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	one := l.lane(j.host)
	if len(one.queue) >= l.share(one) {
		return l.later(one, now), false
	}
	if one.queue = append(one.queue, j); len(one.queue) == 1 {
		l.ring = append(l.ring, one)
	}
	l.queued++
	return time.Time{}, true
}

// share is how many jobs may wait in a lane: what it can do soon and, unless it is
// known to be fast, not so many that a few lanes leave no room for others.
func (l *lanes) share(one *lane) int {
	most := min(maxLane, int(float64(l.limits.PerWebhook)*float64(queueTime)/float64(one.pace)))
	if one.pace > fastPace {
		most = min(most, l.limits.Queued/4)
	}
	return max(l.limits.PerWebhook, most)
}

// later is when the lane may have room for one more, not before a time.
func (l *lanes) later(one *lane, from time.Time) time.Time {
	if one.tail.Before(from) {
		one.tail = from
	}
	if one.tail = one.tail.Add(one.pace / time.Duration(l.limits.PerWebhook)); one.tail.Sub(from) > maxSpread {
		one.tail = from.Add(maxSpread)
		return from.Add(vary(maxSpread, 0.5, l.random()))
	}
	return one.tail
}

// Next takes the next job that may run, by turns; nil: none may.
func (l *lanes) Next() *job {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.running >= l.limits.Running {
		return nil
	}
	for i := range l.ring {
		at := (l.turn + i) % len(l.ring)
		one := l.ring[at]
		j := l.take(one)
		if j == nil {
			continue
		}
		l.turn = at + 1
		if len(one.queue) == 0 {
			l.ring = append(l.ring[:at], l.ring[at+1:]...)
			l.turn = at
		}
		return j
	}
	return nil
}

// take takes a lane's first job that may run.
func (l *lanes) take(one *lane) *job {
	isSlow := one.pace > slowPace
	if one.running >= l.limits.PerWebhook || isSlow && l.slow >= max(1, l.limits.Running/2) {
		return nil
	}
	for i, j := range one.queue {
		if j.provider != "" && l.providers[j.provider] >= l.limits.PerProvider {
			continue
		}
		one.queue = append(one.queue[:i], one.queue[i+1:]...)
		l.queued--
		l.running++
		one.running++
		if j.provider != "" {
			l.providers[j.provider]++
		}
		if isSlow {
			l.slow++
		}
		return j
	}
	return nil
}

// Done gives a job's place back.
func (l *lanes) Done(j *job, took time.Duration, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	one := l.lane(j.host)
	wasSlow := one.pace > slowPace
	one.running--
	l.running--
	if j.provider != "" {
		if l.providers[j.provider]--; l.providers[j.provider] == 0 {
			delete(l.providers, j.provider)
		}
	}
	if j.trial {
		one.breaker.settle(now)
	}
	one.pace = max(time.Millisecond, (4*one.pace+took)/5)
	// The lane's places count as slow or not all together.
	if wasSlow {
		l.slow--
	}
	switch isSlow := one.pace > slowPace; {
	case isSlow && !wasSlow:
		l.slow += one.running
	case !isSlow && wasSlow:
		l.slow -= one.running
	}
}

// Pass says whether a job may call its webhook, and otherwise when to try again.
func (l *lanes) Pass(j *job, now time.Time) (retryAt time.Time, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	one := l.lane(j.host)
	if ok, j.trial = one.breaker.pass(now); ok {
		return time.Time{}, true
	}
	from := one.breaker.until
	if one.breaker.state == BreakerHalfOpen || from.Before(now) {
		from = now.Add(vary(l.limits.FirstWait, 0.5, l.random()))
	}
	return l.later(one, from), false
}

// Answered notes that a webhook answers, whatever it said.
func (l *lanes) Answered(host string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lane(host).breaker.answered()
}

// Silent notes that a webhook did not answer.
func (l *lanes) Silent(host string, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lane(host).breaker.failed(now, l.limits, l.random())
}

// Enter waits for a place for somebody who asks for a refresh, beside those of the
// schedule.
func (l *lanes) Enter(ctx context.Context, host string) (leave func(), err error) {
	l.mu.Lock()
	one := l.lane(host)
	one.waiting++
	l.mu.Unlock()
	left := func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		one.waiting--
	}
	select {
	case one.asked <- struct{}{}:
		return func() { <-one.asked; left() }, nil
	case <-ctx.Done():
		left()
		return nil, ctx.Err()
	}
}

// Drop takes those of the jobs that wait of which that is so.
func (l *lanes) Drop(is func(*job) bool) []*job {
	l.mu.Lock()
	defer l.mu.Unlock()
	var dropped []*job
	for _, one := range l.ring {
		one.queue = slices.DeleteFunc(one.queue, func(j *job) bool {
			if !is(j) {
				return false
			}
			dropped = append(dropped, j)
			return true
		})
	}
	l.ring = slices.DeleteFunc(l.ring, func(one *lane) bool { return len(one.queue) == 0 })
	l.queued -= len(dropped)
	return dropped
}

// Later is when a job that waited in vain may have a chance.
func (l *lanes) Later(j *job, now time.Time) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.later(l.lane(j.host), now)
}

// load is what Stats says.
func (l *lanes) load() (running, queued int, states map[BreakerState]int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	states = map[BreakerState]int{BreakerClosed: 0, BreakerOpen: 0, BreakerHalfOpen: 0}
	for _, one := range l.of {
		states[one.breaker.state]++
	}
	return l.running, l.queued, states
}

// Settle ends a job that had no place, and may have tried a webhook that was down.
func (l *lanes) Settle(j *job, now func() time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if j.trial {
		l.lane(j.host).breaker.settle(now())
	}
}
