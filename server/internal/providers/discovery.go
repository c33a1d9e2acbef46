package providers

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/tvzero/tokenvault/refresh"
	"github.com/tvzero/tokenvault/server/internal/fault"
)

const (
	discoveryLife = 24 * time.Hour   // of what an issuer said
	failureLife   = time.Minute      // of its silence, while nothing else is known
	staleRetry    = 10 * time.Minute // after a failure, while what it said before still serves
	discoveryTime = 10 * time.Second
	atOnce        = 4 // issuers that Run asks at once
)

var errNoAuthorization = errors.New("providers: an issuer without an authorization endpoint")

// An entry is a provider with what is known of it so far.
type entry struct {
	setting Setting
	known   facts
	turn    chan struct{} // held by who asks the issuer

	mu      sync.Mutex
	found   *refresh.Provider // what the issuer said last; nil: nothing yet
	next    time.Time         // when the issuer is asked again
	trouble string            // why it said nothing the last time
}

func newEntry(s Setting) *entry {
	return &entry{setting: s, known: factsOf(s.ID), turn: make(chan struct{}, 1)}
}

// issuer is whom to ask for endpoints; empty when they are known.
func (e *entry) issuer() string {
	if e.setting.TokenURL != "" || e.known.server.TokenURL != "" {
		return ""
	}
	return e.setting.Issuer
}

// fixed is the provider by its settings and what is known of it.
func (e *entry) fixed() refresh.Provider { return assemble(e.setting, e.known, refresh.Provider{}) }

func (e *entry) problem() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.found != nil {
		return "" // what it said before serves
	}
	return e.trouble
}

// look returns what is known, and whether that is recent enough. Nil and recent: the
// issuer failed a moment ago.
func (e *entry) look(now time.Time) (found *refresh.Provider, trouble string, recent bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.found, e.trouble, now.Before(e.next)
}

// discovered is a provider by what its issuer says, at most a day old; older while the
// issuer is away. One caller asks, others wait for it, or take what is known.
func (r *Registry) discovered(ctx context.Context, e *entry) (refresh.Provider, error) {
	found, trouble, recent := e.look(r.deps.Now())
	if !recent {
		var took bool
		if found != nil {
			took = e.tryTurn()
		} else if took = e.takeTurn(ctx); !took {
			return refresh.Provider{}, ctx.Err()
		}
		if took {
			defer func() { <-e.turn }()
			if found, trouble, recent = e.look(r.deps.Now()); !recent {
				if err := r.ask(ctx, e); err != nil {
					return refresh.Provider{}, err
				}
				found, trouble, _ = e.look(r.deps.Now())
			}
		}
	}
	if found == nil {
		return refresh.Provider{}, fault.New(fault.Unavailable, "The provider %s cannot be used at the moment: %s. Try again in a minute, or tell the operator.", e.setting.ID, trouble)
	}
	return assemble(e.setting, e.known, *found), nil
}

func (e *entry) tryTurn() bool {
	select {
	case e.turn <- struct{}{}:
		return true
	default:
		return false
	}
}

func (e *entry) takeTurn(ctx context.Context) bool {
	select {
	case e.turn <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

// ask asks an issuer and remembers what it said, or that it did not. Its error is
// that of ctx alone: who left learns nothing of the issuer.
func (r *Registry) ask(ctx context.Context, e *entry) error {
	limited, cancel := context.WithTimeout(ctx, discoveryTime)
	defer cancel()
	p, err := r.deps.Discoverer.Discover(limited, e.issuer())
	if err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	if err == nil && p.AuthorizationURL == "" {
		err = errNoAuthorization
	}
	now := r.deps.Now()
	e.mu.Lock()
	before := e.trouble
	switch {
	case err == nil:
		e.found, e.trouble, e.next = &p, "", now.Add(discoveryLife)
	case e.found != nil:
		e.trouble, e.next = reason(err), now.Add(staleRetry)
	default:
		e.trouble, e.next = reason(err), now.Add(failureLife)
	}
	after, serves := e.trouble, e.found != nil
	e.mu.Unlock()
	switch { // once for each change, not for each attempt
	case after != "" && after != before:
		r.deps.Logger.WarnContext(ctx, "providers: an issuer cannot be discovered", "provider", e.setting.ID, "issuer", e.issuer(), "reason", after, "older_answer_serves", serves)
	case after == "" && before != "":
		r.deps.Logger.InfoContext(ctx, "providers: an issuer can be discovered again", "provider", e.setting.ID)
	}
	return nil
}

// reason says for a person why an issuer could not be discovered, without what it or
// the network said.
func reason(err error) string {
	var refused *refresh.Refusal
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return "its issuer did not answer in time"
	case errors.Is(err, errNoAuthorization):
		return "its issuer names no authorization endpoint"
	case !errors.As(err, &refused):
		return "its issuer could not be asked"
	}
	switch refused.Reason {
	case refresh.ReasonProviderTimeout:
		return "its issuer did not answer in time"
	case refresh.ReasonProviderUnreachable:
		return "its issuer could not be reached"
	case refresh.ReasonMisconfigured:
		return "its issuer does not describe itself under the configured name"
	case refresh.ReasonBrokenAnswer:
		return "its issuer's description cannot be used"
	}
	return "its issuer answered with an error"
}

// Run asks every issuer at the start, and each again when what it said is a day old or
// it could not be reached, so that trouble is seen before somebody needs it. It
// returns when ctx ends.
func (r *Registry) Run(ctx context.Context) error {
	for {
		r.askAll(ctx)
		next := r.deps.Now().Add(discoveryLife)
		for _, e := range r.entries {
			if e.issuer() == "" {
				continue
			}
			e.mu.Lock()
			if e.next.Before(next) {
				next = e.next
			}
			e.mu.Unlock()
		}
		timer := time.NewTimer(max(next.Sub(r.deps.Now()), time.Second))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
}

// askAll asks those issuers whose answer is due.
func (r *Registry) askAll(ctx context.Context) {
	var running sync.WaitGroup
	slots := make(chan struct{}, atOnce)
	for _, e := range r.entries {
		if e.issuer() == "" {
			continue
		}
		slots <- struct{}{}
		running.Go(func() {
			defer func() { <-slots }()
			_, _ = r.discovered(ctx, e) // what went wrong is remembered and in the log
		})
	}
	running.Wait()
}
