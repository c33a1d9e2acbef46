package platform

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/refresh"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/custody"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/webhook-sdk/credential"
)

// errOtherKey: a credential is under a newer key than those in hand. Whoever reads it
// may have that.
var errOtherKey = errors.New("platform: the credential is under another key by now")

// A place is one credential for the engine that refreshes it. It has keys of its own,
// which readers have brought, since a refresh goes on when they have left: one for each
// epoch at which they have read. Safe for concurrent use.
type place struct {
	s         *Service
	accountID uuid.UUID
	tokenID   uuid.UUID
	by        audit.Event // who caused the refresh, for the record

	mu       sync.Mutex
	keys     map[int64]custody.CEK // by epoch
	creation string                // of the credential that was read last

	flights [2]*flight // see board; under the service's lock
}

func newPlace(s *Service, t models.Token, by audit.Event) *place {
	return &place{s: s, accountID: t.AccountID, tokenID: t.ID, by: by, keys: map[int64]custody.CEK{}, creation: t.CreationID}
}

// bring takes a copy of a reader's key, unless there is one.
func (p *place) bring(cek custody.CEK) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, has := p.keys[cek.Epoch()]; !has {
		p.keys[cek.Epoch()] = cek.Clone()
	}
}

// clear overwrites the keys. No flight may be left.
func (p *place) clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for epoch, cek := range p.keys {
		cek.Clear()
		delete(p.keys, epoch)
	}
}

// decode opens the credential. errOtherKey; refresh.ErrGone when it is under another key
// and has taken the place of the one that was read.
func (p *place) decode(t *models.Token, sealed *models.Credential) (credential.Credential, custody.CEK, error) {
	p.mu.Lock()
	cek, ok := p.keys[sealed.Epoch]
	before := p.creation
	p.mu.Unlock()
	switch {
	case !ok && t.CreationID != before:
		return credential.Credential{}, cek, refresh.ErrGone
	case !ok:
		return credential.Credential{}, cek, errOtherKey
	}
	c, err := p.s.decode(cek, t, sealed)
	return c, cek, err
}

// Lease implements refresh.Place.
func (p *place) Lease(ctx context.Context, ttl time.Duration) (refresh.Lease, error) {
	lease, err := p.s.deps.Leases.TakeLease(ctx, p.accountID, p.tokenID, ttl)
	var busy *models.LeasedError
	switch {
	case errors.As(err, &busy):
		return nil, &refresh.BusyError{Until: p.s.deps.Now().Add(busy.Left)} // by this clock, not the database's
	case errors.Is(err, models.ErrNotFound):
		return nil, refresh.ErrGone
	case err != nil:
		return nil, err
	}
	return &placeLease{place: p, lease: lease}, nil
}

// A placeLease is used by one goroutine.
type placeLease struct {
	*place
	lease    models.Lease
	creation string         // of the credential that Read saw last,
	read     refresh.Secret // and its refresh token
}

// Read implements refresh.Lease. What says where the refresh token may be sent comes
// from the ciphertext.
func (l *placeLease) Read(ctx context.Context) (refresh.State, error) {
	t, sealed, _, err := l.s.deps.Credentials.CredentialForAgent(ctx, l.accountID, uuid.Nil, l.tokenID) // both, as of one moment
	if errors.Is(err, models.ErrNotFound) {
		return refresh.State{}, refresh.ErrGone
	}
	if err != nil {
		return refresh.State{}, err
	}
	c, _, err := l.decode(&t, &sealed)
	if err != nil {
		return refresh.State{}, err
	}
	row, err := l.s.deps.Leases.Refresh(ctx, l.accountID, l.tokenID)
	if err != nil && !errors.Is(err, models.ErrNotFound) {
		return refresh.State{}, err
	}
	state := refresh.State{Tokens: tokensOf(c), IssuedAt: issuedAt(c.Meta), Version: sealed.Version, Attempts: row.Attempts}
	if o, stands := standing(row, l.s.deps.Now()); stands && o.Kind == refresh.NeedsReauthorization {
		state.NeedsReauthorization = o.Reason
	} else if stands {
		state.RetryAt, state.RetryReason = o.At, o.Reason
	}
	if state.Provider, err = l.s.providerOf(ctx, c); err != nil && state.RetryAt.IsZero() {
		state.RetryAt, state.RetryReason = undiscovered(l.s.deps.Now(), row.Attempts), refresh.ReasonProviderUnreachable
	}
	l.creation, l.read = t.CreationID, state.Tokens.RefreshToken
	l.mu.Lock()
	defer l.mu.Unlock()
	l.place.creation = t.CreationID
	return state, nil
}

// standing is the last outcome of refreshing a credential, if it still stands at now.
func standing(r models.Refresh, now time.Time) (refresh.Outcome, bool) {
	o := refresh.Outcome{Kind: refresh.Kind(r.Outcome), Reason: refresh.Reason(r.Reason), Attempts: r.Attempts}
	switch {
	case o.Kind == refresh.NeedsReauthorization:
		return o, true
	case o.Kind == refresh.RetryAt && r.RetryAt != nil && r.RetryAt.After(now):
		o.At = *r.RetryAt
		return o, true
	}
	return refresh.Outcome{}, false
}

// undiscovered is when to try again to find a provider's endpoints.
func undiscovered(now time.Time, attempts int) time.Time {
	return now.Add(refresh.Backoff(attempts+1, 0, 0.5))
}

// Commit implements refresh.Lease: under the same key and epoch, in one transaction
// with what is readable of it. It is on record before, or does not happen.
func (l *placeLease) Commit(ctx context.Context, t refresh.Tokens, o refresh.Outcome) error {
	return l.write(ctx, o, func(ctx context.Context) error { return l.commit(ctx, t, o) })
}

// write does something in a transaction, on record as o.
func (l *placeLease) write(ctx context.Context, o refresh.Outcome, do func(ctx context.Context) error) error {
	return l.s.deps.Audit.Do(ctx, l.event(o), func(ctx context.Context) error {
		err := l.s.deps.Accounts.InTx(ctx, do)
		if errors.Is(err, errReplaced) { // the lease is still held, and of use to nobody
			err = errors.Join(err, l.End(ctx))
		}
		return err
	})
}

// errReplaced: the credential is not the one that was read, though nobody has taken the
// lease: it was taken while the new one was being stored.
var errReplaced = fault.Wrap(refresh.ErrLeaseLost, fault.Conflict, "Another token is stored there by now.")

func (l *placeLease) commit(ctx context.Context, given refresh.Tokens, o refresh.Outcome) error {
	was, err := l.s.lockCredential(ctx, l.accountID, l.tokenID)
	if errors.Is(err, models.ErrNotFound) {
		return refresh.ErrGone
	}
	if err != nil {
		return err
	}
	token, err := l.s.deps.Tokens.TokenByID(ctx, l.accountID, l.tokenID)
	if err != nil {
		return err
	}
	c, cek, closed := l.decode(&token, &was)
	stored := tokensOf(c)
	// A provider may give the same tokens with more time, which has to be stored.
	already := closed == nil && stored.AccessToken.Equal(given.AccessToken) && stored.RefreshToken.Equal(given.RefreshToken) &&
		stored.ExpiresAt.UnixMilli() == given.ExpiresAt.UnixMilli()
	err = l.s.deps.Leases.HoldLease(ctx, l.lease)
	switch {
	case errors.Is(err, models.ErrLeaseLost) && already: // by a Commit before this one, whose answer was an error
		return nil
	case errors.Is(err, models.ErrLeaseLost):
		return lost(err)
	case err != nil:
		return err
	case closed != nil:
		return closed
	case already:
		return l.finish(ctx, o)
	case token.CreationID != l.creation || !stored.RefreshToken.Equal(l.read):
		return errReplaced
	}
	if err := l.store(ctx, token, was, c, cek, given); err != nil {
		return err
	}
	return l.finish(ctx, o)
}

func lost(cause error) error {
	return fault.Wrap(fmt.Errorf("%w: %w", refresh.ErrLeaseLost, cause), fault.Conflict, "Somebody else refreshes or changes the token by now.")
}

// store seals new tokens in the place of old ones, as the next version of their
// credential.
func (l *placeLease) store(ctx context.Context, t models.Token, was models.Credential, c credential.Credential, cek custody.CEK, given refresh.Tokens) error {
	now := l.s.now()
	putTokens(c, given, now)
	secret, err := c.Encode()
	if err != nil {
		return err
	}
	defer clear(secret)
	sealed := was
	sealed.Version, sealed.UpdatedAt = was.Version+1, now
	if err := cek.Seal(l.s.deps.Random, &t, &sealed, secret); err != nil {
		return err
	}
	if err := l.s.deps.Credentials.UpdateCredential(ctx, &sealed, was); err != nil {
		return err
	}
	issuedTo(&t, c.Meta)
	t.HasRefreshToken, t.ExpiresAt, t.UpdatedAt = given.RefreshToken != "", nil, now
	if at, ok := c.Expiry(); ok {
		t.ExpiresAt = models.StampPtr(at)
	}
	return l.s.deps.Tokens.UpdateToken(ctx, &t)
}

// Note implements refresh.Lease.
func (l *placeLease) Note(ctx context.Context, o refresh.Outcome) error {
	return l.write(ctx, o, func(ctx context.Context) error {
		// The vault is locked: whoever stores another token has done so, or begins later.
		_, err := l.s.lockCredential(ctx, l.accountID, l.tokenID)
		if errors.Is(err, models.ErrNotFound) {
			return refresh.ErrGone
		}
		if err != nil {
			return err
		}
		t, err := l.s.deps.Tokens.TokenByID(ctx, l.accountID, l.tokenID)
		if err != nil {
			return err
		}
		if err := l.s.deps.Leases.HoldLease(ctx, l.lease); errors.Is(err, models.ErrLeaseLost) {
			return lost(err)
		} else if err != nil {
			return err
		}
		if t.CreationID != l.creation {
			return errReplaced
		}
		return l.finish(ctx, o)
	})
}

// finish writes an outcome and ends the lease.
func (l *placeLease) finish(ctx context.Context, o refresh.Outcome) error {
	now := l.s.now()
	r := models.Refresh{
		Attempts: o.Attempts, Outcome: string(o.Kind), Reason: string(o.Reason), Path: models.PathPlatform, TriedAt: &now, PlatformAt: &now,
	}
	switch o.Kind {
	case refresh.Rotated:
		r.RefreshedAt = &now
	case refresh.RetryAt:
		r.RetryAt = models.StampPtr(o.At)
	}
	err := l.s.deps.Leases.FinishLease(ctx, l.lease, r)
	if errors.Is(err, models.ErrLeaseLost) {
		return lost(err)
	}
	return err
}

// End implements refresh.Lease.
func (l *placeLease) End(ctx context.Context) error {
	return l.s.deps.Leases.EndLeases(ctx, []models.Lease{l.lease})
}

// event is how an outcome stands in the record.
func (l *placeLease) event(o refresh.Outcome) audit.Event {
	e := l.by
	e.Detail = "path=" + models.PathPlatform + " outcome=" + string(o.Kind)
	if o.Reason != "" {
		e.Detail += " reason=" + string(o.Reason)
	}
	if o.ScopesChanged {
		e.Detail += " scopes=changed"
	}
	switch o.Kind {
	case refresh.RetryAt:
		e.Outcome = fault.RefreshFailed
	case refresh.NeedsReauthorization:
		e.Outcome = fault.ReauthorizationRequired
	}
	return e
}

// providerOf is the provider to which a credential's refresh token may be sent, by what
// is sealed with it. One without a token endpoint: to nobody, since the credential names
// no provider whose client this server is, or one that is another here. UNAVAILABLE: it
// cannot be found out at the moment.
func (s *Service) providerOf(ctx context.Context, c credential.Credential) (refresh.Provider, error) {
	id, _ := c.Meta[credential.MetaProvider].(string)
	nobody := refresh.Provider{ID: id}
	if id == "" || s.deps.Providers == nil {
		return nobody, nil
	}
	p, err := s.deps.Providers.Provider(ctx, id)
	if fault.CodeOf(err) == fault.NotFound {
		return nobody, nil
	}
	if err != nil {
		return nobody, err
	}
	for name, here := range map[string]string{credential.MetaTokenURL: p.TokenURL, credential.MetaIssuer: p.Issuer, MetaClientID: p.ClientID} {
		if there, stored := c.Meta[name]; stored && there != any("") && there != any(here) {
			return nobody, nil
		}
	}
	return p, nil
}
