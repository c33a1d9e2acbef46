package webhook

import (
	"context"
	"encoding/binary"
	"errors"
	"sync"
	"time"

	"github.com/tvzero/tokenvault/refresh"
	"github.com/tvzero/tokenvault/webhook-sdk/credential"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// leases are the rights to refresh a token, at most one for each at a time. They live
// in memory: one process owns the data folder, and what a lease protects is written
// under a condition as well.
type leases struct {
	mu         sync.Mutex
	held       map[string]heldLease // by service
	generation int64
}

type heldLease struct {
	generation int64
	until      time.Time
}

func newLeases() *leases { return &leases{held: make(map[string]heldLease)} }

// take returns the generation of a new lease, or a *refresh.BusyError.
func (l *leases) take(service string, now time.Time, ttl time.Duration) (int64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if held, ok := l.held[service]; ok && now.Before(held.until) {
		return 0, &refresh.BusyError{Until: held.until}
	}
	l.generation++
	l.held[service] = heldLease{generation: l.generation, until: now.Add(ttl)}
	return l.generation, nil
}

// holds reports whether nobody has taken the lease since. Its time may be over.
func (l *leases) holds(service string, generation int64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.held[service].generation == generation
}

func (l *leases) end(service string, generation int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held[service].generation == generation {
		delete(l.held, service)
	}
}

// A refreshPlace is the token of a service for the engine, as long as it is one of
// this provider. Whatever was stored in its place since an answer was asked for, is not
// written over.
type refreshPlace struct {
	w        *Webhook
	service  string
	known    *knownProvider
	provider refresh.Provider // known, with its endpoints
	address  string           // of who caused the refresh, for the records
}

// Lease implements refresh.Place.
func (p *refreshPlace) Lease(ctx context.Context, ttl time.Duration) (refresh.Lease, error) {
	// Not while a holder whose time is over writes what it got.
	defer p.w.writes.lock(p.service)()
	if _, err := p.load(ctx); err != nil {
		return nil, err
	}
	generation, err := p.w.leases.take(p.service, p.w.now(), ttl)
	if err != nil {
		return nil, err
	}
	return &refreshLease{refreshPlace: p, generation: generation}, nil
}

// load reads the token; refresh.ErrGone when there is none, or one that is not to be
// refreshed at this provider.
func (p *refreshPlace) load(ctx context.Context) (token, error) {
	stored, err := p.w.loadToken(ctx, p.service)
	if errors.Is(err, errTokenNotFound) {
		return token{}, refresh.ErrGone
	}
	if err != nil {
		return token{}, err
	}
	if known, ours := p.w.providers.of(stored.meta()); !ours || known != p.known {
		return token{}, refresh.ErrGone
	}
	return stored, nil
}

// A refreshLease is used by one goroutine.
type refreshLease struct {
	*refreshPlace
	generation int64
	creation   string         // of the token that Read saw last,
	read       refresh.Secret // its refresh token,
	sequence   int64          // and how often its tokens had changed
}

// Read implements refresh.Lease.
func (l *refreshLease) Read(ctx context.Context) (refresh.State, error) {
	stored, meta, secrets, err := l.open(ctx)
	if err != nil {
		return refresh.State{}, err
	}
	state := stateOf(meta, secrets)
	state.Provider, state.Version = l.provider, versionOf(stored.creationID(), state.Version)
	l.creation, l.read, l.sequence = stored.creationID(), state.Tokens.RefreshToken, sequenceOf(meta)
	return state, nil
}

// versionOf tells apart what different creations have the same number for.
func versionOf(creation string, sequence int64) int64 {
	hash := hashOf(creation)
	return int64(binary.BigEndian.Uint64(hash[:])>>2) + sequence // #nosec G115 -- two bits less
}

// open reads the token and opens it.
func (l *refreshLease) open(ctx context.Context) (token, map[string]any, map[string]string, error) {
	if !l.w.leases.holds(l.service, l.generation) {
		return token{}, nil, nil, refresh.ErrLeaseLost
	}
	stored, err := l.load(ctx)
	if err != nil {
		return token{}, nil, nil, err
	}
	meta, secrets, err := stored.openAll()
	return stored, meta, secrets, err
}

// Commit implements refresh.Lease. What changed beside the tokens since Read, such as
// notes, stays.
func (l *refreshLease) Commit(ctx context.Context, t refresh.Tokens, o refresh.Outcome) error {
	err := l.change(ctx, func(meta map[string]any, secrets map[string]string, same bool) (bool, error) {
		now := stateOf(meta, secrets)
		// A provider may give the same tokens with more time, which has to be written.
		if now.Version != l.sequence && now.Tokens.AccessToken.Equal(t.AccessToken) && now.Tokens.RefreshToken.Equal(t.RefreshToken) {
			return false, nil // a Commit before this one, whose answer was an error, had written it
		}
		if !same {
			return false, refresh.ErrLeaseLost
		}
		putTokens(meta, secrets, t, now.Version+1, l.w.now())
		return true, nil
	})
	if errors.Is(err, refresh.ErrGone) {
		l.revokeLate(ctx, t)
	}
	if err != nil {
		return err
	}
	l.note(ctx, o)
	return nil
}

// revokeLate revokes tokens whose own was deleted while the provider was asked: its
// revocation was of the ones before, and nobody else has these.
func (l *refreshLease) revokeLate(ctx context.Context, t refresh.Tokens) {
	if _, err := l.w.loadToken(ctx, l.service); errors.Is(err, errTokenNotFound) {
		l.w.revoke(ctx, l.address, l.service, revocation{known: l.known, creation: l.creation, token: t.RefreshToken, hint: hintRefreshToken})
	}
}

// Note implements refresh.Lease. What it says already is neither written nor recorded again: TV
// may ask as often as it likes.
func (l *refreshLease) Note(ctx context.Context, o refresh.Outcome) error {
	var stands bool
	err := l.change(ctx, func(meta map[string]any, secrets map[string]string, same bool) (bool, error) {
		if !same {
			return false, refresh.ErrLeaseLost
		}
		if stands = says(stateOf(meta, secrets), o); !stands {
			putOutcome(meta, o, l.w.now())
		}
		return !stands, nil
	})
	if err != nil {
		return err
	}
	if !stands && o.Kind != refresh.StillValid {
		l.note(ctx, o)
	}
	return nil
}

// change writes what fn makes of the token, unless fn says that there is nothing to
// write. same: it has the tokens that Read saw.
func (l *refreshLease) change(ctx context.Context, fn func(meta map[string]any, secrets map[string]string, same bool) (bool, error)) error {
	defer l.w.writes.lock(l.service)()
	stored, meta, secrets, err := l.open(ctx)
	if err != nil {
		return err
	}
	same := stored.creationID() == l.creation && l.read.Equal(refresh.Secret(secrets[wire.FieldRefreshToken]))
	write, err := fn(meta, secrets, same)
	if err != nil || !write {
		return err
	}
	if err := l.w.reseal(ctx, stored, meta, secrets); err != nil {
		return err
	}
	l.creation, _ = meta[credential.MetaCreationID].(string) // one of version 1 may have got its first
	l.read = refresh.Secret(secrets[wire.FieldRefreshToken])
	return nil
}

// note records an outcome. Tokens are not lost for want of a record: the log says so.
func (l *refreshLease) note(ctx context.Context, o refresh.Outcome) {
	outcome := outcomeOK
	if o.Kind != refresh.Rotated {
		outcome = string(o.Kind) + ": " + string(o.Reason)
	}
	rec := record{
		Action: actionRefresh, Service: l.service, CreationID: l.creation, Address: l.address, Outcome: outcome,
		Upstream: originOf(l.provider.TokenURL),
	}
	if err := l.w.appendRecord(ctx, rec); err != nil {
		l.w.log.ErrorContext(ctx, "a refresh has no record", "service", l.service, "outcome", outcome, "error", err.Error())
	}
}

// End implements refresh.Lease.
func (l *refreshLease) End(context.Context) error {
	l.w.leases.end(l.service, l.generation)
	return nil
}
