package refreshtest

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/tvzero/tokenvault/refresh"
)

// An Op is a use of a Memory.
type Op string

// The uses. Each is seen twice by Memory.Intercept: before it has its effect and after.
const (
	OpLease  Op = "lease"
	OpRead   Op = "read"
	OpCommit Op = "commit"
	OpNote   Op = "note"
	OpEnd    Op = "end"
)

// A Memory keeps one credential in memory: what any number of processes share. Each process uses it through a View.
type Memory struct {
	now func() time.Time

	mu         sync.Mutex
	state      refresh.State
	gone       bool
	generation int64 // of the lease that was taken last
	until      time.Time
	held       bool
	commits    []refresh.Tokens // every one, in order
	outcomes   []refresh.Outcome
}

// NewMemory keeps a state; now is what leases end by.
func NewMemory(now func() time.Time, s refresh.State) *Memory {
	return &Memory{now: now, state: s}
}

// A View is one process's way to a Memory; it implements refresh.Place.
type View struct {
	*Memory
	// Intercept, if set, is called before (after = false) and after each use. Its error becomes that of the use: before, the
	// use has no effect; after, it has had it. It may block.
	Intercept func(op Op, after bool) error
}

// State returns what is stored.
func (m *Memory) State() refresh.State {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.state
	s.Tokens.Scopes = slices.Clone(s.Tokens.Scopes)
	return s
}

// Commits returns the tokens of every commit, in order.
func (m *Memory) Commits() []refresh.Tokens {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.commits)
}

// Outcomes returns every outcome that was committed or noted, in order.
func (m *Memory) Outcomes() []refresh.Outcome {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.outcomes)
}

// Replace puts other tokens there, as when the owner connects again.
func (m *Memory) Replace(t refresh.Tokens) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.state = refresh.State{Tokens: t, IssuedAt: m.now(), Provider: m.state.Provider, Version: m.state.Version + 1}
}

// Delete removes the credential.
func (m *Memory) Delete() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.gone = true
}

// around runs a use with the view's interceptor and the memory's lock.
func (v *View) around(ctx context.Context, op Op, use func() error) error {
	if v.Intercept != nil {
		if err := v.Intercept(op, false); err != nil {
			return err
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	v.mu.Lock()
	err := use()
	v.mu.Unlock()
	if err == nil && v.Intercept != nil {
		return v.Intercept(op, true)
	}
	return err
}

// Lease implements refresh.Place.
func (v *View) Lease(ctx context.Context, ttl time.Duration) (refresh.Lease, error) {
	l := &memoryLease{view: v}
	err := v.around(ctx, OpLease, func() error {
		now := v.now()
		switch {
		case v.gone:
			return refresh.ErrGone
		case v.held && now.Before(v.until):
			return &refresh.BusyError{Until: v.until}
		}
		v.generation++
		v.held, v.until = true, now.Add(ttl)
		l.generation = v.generation
		return nil
	})
	if err != nil {
		return nil, err
	}
	return l, nil
}

type memoryLease struct {
	view       *View
	generation int64
	used       refresh.Secret // the refresh token that was read last
	committed  refresh.Secret
}

// check says whether the lease may still write; the lock is held.
func (l *memoryLease) check() error {
	switch {
	case l.view.gone:
		return refresh.ErrGone
	case l.view.generation != l.generation:
		return refresh.ErrLeaseLost
	}
	return nil
}

func (l *memoryLease) Read(ctx context.Context) (s refresh.State, err error) {
	err = l.view.around(ctx, OpRead, func() error {
		if err := l.check(); err != nil {
			return err
		}
		s = l.view.state
		s.Tokens.Scopes = slices.Clone(s.Tokens.Scopes)
		l.used = s.Tokens.RefreshToken
		return nil
	})
	return s, err
}

func (l *memoryLease) Commit(ctx context.Context, t refresh.Tokens, o refresh.Outcome) error {
	return l.view.around(ctx, OpCommit, func() error {
		if err := l.check(); err != nil {
			return err
		}
		if stored := l.view.state.Tokens.RefreshToken; stored != l.used && (l.committed == "" || stored != l.committed) {
			return refresh.ErrLeaseLost
		}
		l.committed = t.RefreshToken
		l.view.state.Tokens, l.view.state.IssuedAt = t, l.view.now()
		l.view.state.Version++
		l.view.commits = append(l.view.commits, t)
		l.view.note(o)
		return nil
	})
}

func (l *memoryLease) Note(ctx context.Context, o refresh.Outcome) error {
	return l.view.around(ctx, OpNote, func() error {
		if err := l.check(); err != nil {
			return err
		}
		l.view.note(o)
		return nil
	})
}

// note keeps an outcome; the lock is held.
func (m *Memory) note(o refresh.Outcome) {
	m.outcomes = append(m.outcomes, o)
	m.state.Attempts, m.state.RetryAt, m.state.RetryReason, m.state.NeedsReauthorization = o.Attempts, time.Time{}, "", ""
	switch o.Kind {
	case refresh.RetryAt:
		m.state.RetryAt, m.state.RetryReason = o.At, o.Reason
	case refresh.NeedsReauthorization:
		m.state.NeedsReauthorization = o.Reason
	}
}

func (l *memoryLease) End(ctx context.Context) error {
	return l.view.around(ctx, OpEnd, func() error {
		if l.view.generation == l.generation {
			l.view.held = false
		}
		return nil
	})
}
