package refresh_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/tvzero/tokenvault/refresh"
	"github.com/tvzero/tokenvault/refresh/refreshtest"
)

// A plan is what happens to one credential over some hours. All that is random is drawn before it begins.
type plan struct {
	processes int
	seed      uint64
	calls     []call
	crashes   []crash
	replaces  []time.Duration // when the owner connects again
	rough     bool            // processes and provider stall for minutes at times, and answers get lost
}

type call struct {
	at       time.Duration
	process  int
	options  refresh.Options
	patience time.Duration
}

// A crash ends a process at its so-manieth step, wherever that is.
type crash struct{ process, step int }

func drawPlan(t *rapid.T, rough bool) plan {
	p := plan{processes: rapid.IntRange(1, 4).Draw(t, "processes"), seed: rapid.Uint64().Draw(t, "seed"), rough: rough}
	process := rapid.IntRange(0, p.processes-1)
	for range rapid.IntRange(1, 40).Draw(t, "calls") {
		// Most come in bursts: when a token expires, everybody asks.
		at := time.Duration(rapid.IntRange(0, 4).Draw(t, "burst"))*70*time.Minute + time.Duration(rapid.IntRange(0, 60_000).Draw(t, "ms"))*time.Millisecond
		p.calls = append(p.calls, call{
			at: at, process: process.Draw(t, "process"), patience: time.Duration(rapid.IntRange(1, 300).Draw(t, "patience")) * time.Second,
			options: rapid.SampledFrom([]refresh.Options{{}, {}, {}, {Scheduled: true}}).Draw(t, "options"),
		})
	}
	for range rapid.IntRange(0, 2).Draw(t, "crashes") {
		p.crashes = append(p.crashes, crash{process: process.Draw(t, "crashing"), step: rapid.IntRange(1, 40).Draw(t, "step")})
	}
	if rough {
		for range rapid.IntRange(0, 2).Draw(t, "replaces") {
			p.replaces = append(p.replaces, time.Duration(rapid.IntRange(0, 5*3600).Draw(t, "replace at"))*time.Second)
		}
	}
	return p
}

var errCrashed = errors.New("the process has crashed")

// A process has an engine, its way to the place, and its way to the provider.
type process struct {
	w      *model
	engine *refresh.Engine
	view   *refreshtest.View

	mu      sync.Mutex
	random  *rand.Rand
	steps   int
	crashAt []int
	dead    bool
	failing int              // uses of the place that failed in a row
	granted []refresh.Secret // refresh tokens that the provider gave to it
}

// A model is a plan being carried out.
type model struct {
	plan
	grants *refreshtest.Grants
	memory *refreshtest.Memory
	over   chan struct{} // closed at the end: what the dead wait for

	mu     sync.Mutex
	faults []string
	family string // that was connected last
	lost   bool   // an answer with tokens did not reach a process, or its process died with it
}

func (m *model) fail(format string, args ...any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.faults = append(m.faults, fmt.Sprintf(format, args...))
}

func (m *model) process(i int) *process {
	p := &process{w: m, random: rand.New(rand.NewPCG(m.seed, uint64(i)))}
	for _, c := range m.crashes {
		if c.process == i {
			p.crashAt = append(p.crashAt, c.step)
		}
	}
	p.view = &refreshtest.View{Memory: m.memory, Intercept: p.use}
	p.engine = refresh.New(refresh.Deps{Client: p, Random: p.jitter})
	return p
}

func (p *process) jitter() float64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.random.Float64()
}

// step takes time, and may be the process's last; the dead wait for the end of the world and do nothing more.
func (p *process) step(most time.Duration) error {
	p.mu.Lock()
	p.steps++
	p.dead = p.dead || slices.Contains(p.crashAt, p.steps)
	dead, pause := p.dead, time.Duration(p.random.Int64N(int64(most)))
	if p.w.rough && p.random.IntN(30) == 0 {
		pause += time.Duration(p.random.IntN(90)) * time.Second
	}
	p.mu.Unlock()
	if dead {
		<-p.w.over
		return errCrashed
	}
	time.Sleep(pause)
	return nil
}

// use is a use of the place: slow, and at times without success. Without stalls it fails at most twice in a row.
func (p *process) use(refreshtest.Op, bool) error {
	if err := p.step(200 * time.Millisecond); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.failing < 2 && p.random.IntN(8) == 0 {
		p.failing++
		return errStorage
	}
	p.failing = 0
	return nil
}

// Refresh is a call of the provider.
func (p *process) Refresh(ctx context.Context, provider refresh.Provider, token refresh.Secret, _ []string) (refresh.Tokens, error) {
	timeout := &refresh.Refusal{Reason: refresh.ReasonProviderTimeout}
	if err := p.step(5 * time.Second); err != nil || ctx.Err() != nil {
		return refresh.Tokens{}, timeout
	}
	t, err := p.w.grants.Refresh(ctx, provider, token, nil)
	if err != nil {
		return t, err
	}
	p.mu.Lock()
	p.granted = append(p.granted, t.RefreshToken)
	p.mu.Unlock()
	if err := p.step(5 * time.Second); err != nil || ctx.Err() != nil {
		p.w.mu.Lock()
		p.w.lost = true
		p.w.mu.Unlock()
		return refresh.Tokens{}, timeout
	}
	return t, nil
}

// run carries a plan out and returns what was wrong.
func (p plan) run(t *testing.T) (m *model) {
	synctest.Test(t, func(t *testing.T) {
		g := &refreshtest.Grants{}
		first := g.Issue("repo")
		m = &model{plan: p, grants: g, over: make(chan struct{}), family: part(first.AccessToken, 1), memory: refreshtest.NewMemory(time.Now, refresh.State{
			Tokens: first, IssuedAt: time.Now(), Version: 1,
		})}
		processes := make([]*process, p.processes)
		for i := range processes {
			processes[i] = m.process(i)
		}
		var wg sync.WaitGroup
		for _, c := range p.calls {
			wg.Go(func() {
				time.Sleep(c.at)
				m.ensure(t.Context(), processes[c.process], c)
			})
		}
		for _, at := range p.replaces {
			wg.Go(func() {
				time.Sleep(at)
				again := g.Issue("repo")
				m.mu.Lock()
				m.family = part(again.AccessToken, 1)
				m.memory.Replace(again)
				m.mu.Unlock()
			})
		}
		wg.Wait()
		close(m.over)
		for _, process := range processes {
			if err := process.engine.Wait(t.Context()); err != nil {
				m.fail("waiting for flights: %v", err)
			}
		}
		for _, process := range processes { // nothing runs any more
			for _, token := range process.granted {
				m.lost = m.lost || process.dead && !slices.ContainsFunc(m.memory.Commits(), func(c refresh.Tokens) bool { return c.RefreshToken == token })
			}
		}
		m.epilogue(t.Context())
	})
	return m
}

// ensure is one caller; whatever happens, it gets one of the four outcomes or an error that says why not.
func (m *model) ensure(ctx context.Context, p *process, c call) {
	ctx, cancel := context.WithTimeout(ctx, c.patience)
	defer cancel()
	o, err := p.engine.Ensure(ctx, "k", p.view, c.options)
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, errCrashed), errors.Is(err, errStorage):
	case err != nil:
		m.fail("a caller got the error %v", err)
	case !slices.Contains(refresh.Kinds(), o.Kind):
		m.fail("a caller got the outcome %q", o.Kind)
	case (o.Kind == refresh.Rotated || o.Kind == refresh.StillValid) != (o.Reason == ""):
		m.fail("a caller got %s with the reason %q", o.Kind, o.Reason)
	}
}

// epilogue looks at what is left, with a process that nothing happens to.
func (m *model) epilogue(ctx context.Context) {
	time.Sleep(2 * time.Hour) // leases and retries are over
	s := m.memory.State()
	if s.Tokens.RefreshToken == "" || s.Tokens.AccessToken == "" {
		m.fail("a token was blanked: %+v", s)
	}
	if got, want := part(s.Tokens.AccessToken, 1), m.family; got != want {
		m.fail("stored are tokens of family %s, want those that were connected last, %s", got, want)
	}
	for i, c := range m.memory.Commits() {
		if i > 0 && part(c.AccessToken, 2) < part(m.memory.Commits()[i-1].AccessToken, 2) {
			m.fail("commit %d stored tokens that are older than those before it", i)
		}
	}
	o, err := refresh.New(refresh.Deps{Client: m.grants}).Ensure(ctx, "k", &refreshtest.View{Memory: m.memory}, refresh.Options{Force: true})
	if err != nil || o.Kind != refresh.Rotated && o.Kind != refresh.NeedsReauthorization {
		m.fail("afterwards: got %s %q (%v), want rotated or needs reauthorization", o.Kind, o.Reason, err)
	}
	if o.Kind == refresh.NeedsReauthorization && !m.lost {
		m.fail("the credential is lost, though every answer reached its process, and no process died with one")
	}
}

// part takes a made-up token apart: 1 is its family, 2 its number.
func part(t refresh.Secret, i int) string { return strings.Split(string(t), "-")[i] }

// A process may die anywhere. Only one that dies with an answer in its hands, not yet stored, costs anything.
func TestAnyInterleavingWithCrashesCostsNothingButWhatACrashHadInHand(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		m := drawPlan(rt, false).run(t)
		if !m.lost && m.grants.Reused() != 0 {
			m.fail("%d refresh tokens were used twice", m.grants.Reused())
		}
		for _, c := range m.memory.Commits() {
			if n := m.grants.CallsWith(c.RefreshToken); n > 1 && !m.lost {
				m.fail("%d calls for one expiry", n)
			}
		}
		// Tokens live an hour and bursts are 70 minutes apart: each burst is one expiry at most. The schedule asks a
		// quarter of an hour earlier, which is no burst.
		if n := m.grants.Calls(); n > 5+1 && !m.lost { // the epilogue's own is one
			m.fail("%d calls in 5 bursts", n)
		}
		if len(m.faults) > 0 {
			rt.Fatalf("%s\n%+v", strings.Join(m.faults, "\n"), m.plan)
		}
	})
}

// With stalls of minutes, lost answers and an owner who connects again in between, a refresh token may be used twice; but
// nothing is blanked, nothing older is stored over something newer, and every caller hears one of the four outcomes.
func TestWhateverStallsNothingOlderIsStoredAndEveryCallerHearsAnOutcome(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		m := drawPlan(rt, true).run(t)
		// A stall may outlast a lease with tokens in hand: the same as a crash, to those who wait.
		faults := slices.DeleteFunc(m.faults, func(f string) bool { return strings.HasPrefix(f, "the credential is lost") && m.grants.Reused() > 0 })
		if len(faults) > 0 {
			rt.Fatalf("%s\n%+v", strings.Join(faults, "\n"), m.plan)
		}
	})
}
