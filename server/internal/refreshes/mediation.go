package refreshes

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/refresh"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/webhooks"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// A mediation is a lease under which a token is refreshed through this server.
type mediation struct {
	*place
	held held

	recorded bool           // that the refresh token is asked for
	read     refresh.Secret // the refresh token that Read saw last,
	meta     meta           // and what stood beside it
	failed   bool           // a Commit has failed: tokens are in the air
	result   *result        // how it ended; nil: not yet
	ended    bool
}

// own returns the row if the lease is still this one's.
func (m *mediation) own(ctx context.Context) (models.Refresh, error) {
	row, err := m.s.deps.Leases.Refresh(ctx, m.a.account, m.a.token)
	switch {
	case errors.Is(err, models.ErrNotFound):
		return row, refresh.ErrGone
	case err != nil:
		return row, fmt.Errorf("refreshes: lease: %w", err)
	case row.LeaseGeneration != m.held.lease.Generation || row.LeaseID == nil || *row.LeaseID != m.held.lease.ID:
		return row, refresh.ErrLeaseLost
	}
	return row, nil
}

// Read implements refresh.Lease. That the refresh token is asked for is on record
// first.
func (m *mediation) Read(ctx context.Context) (refresh.State, error) {
	row, err := m.own(ctx)
	if err != nil {
		return refresh.State{}, err
	}
	if err := m.s.deliverFirst(ctx, m.a); err != nil {
		return refresh.State{}, err
	}
	if !m.recorded {
		e := m.a.event
		e.Detail = "path=" + models.PathMediated + ": the webhook is asked for the refresh token"
		if err := m.s.deps.Audit.Record(ctx, e); err != nil {
			return refresh.State{}, err
		}
		m.recorded = true
	}
	said, err := m.get(ctx)
	if err != nil {
		return refresh.State{}, err
	}
	found := readMeta(said.Meta)
	switch {
	case found.provider != "" && found.provider != m.provider.ID:
		return refresh.State{}, errOtherProvider
	case found.clientID != "" && found.clientID != m.provider.ClientID:
		return refresh.State{}, errRefused // issued to another client
	}
	m.read, m.meta = refresh.Secret(said.RefreshToken), found
	return m.state(row), nil
}

// state puts together what webhook and database know.
func (m *mediation) state(row models.Refresh) refresh.State {
	if m.meta.creation == "" {
		m.meta.creation = m.a.creation
	}
	if m.meta.expires.IsZero() && m.meta.creation == m.a.creation {
		m.meta.expires = orZero(m.a.expires)
	}
	if m.meta.issued.IsZero() && m.a.expires != nil && m.meta.expires.Equal(*m.a.expires) {
		m.meta.issued = orZero(m.a.issued)
	}
	state := refresh.State{
		Tokens:   refresh.Tokens{RefreshToken: m.read, Scopes: m.meta.scopes, ExpiresAt: m.meta.expires},
		IssuedAt: m.meta.issued, Provider: m.provider, Version: m.meta.version(m.read), Attempts: row.Attempts,
	}
	switch refresh.Kind(row.Outcome) {
	case refresh.NeedsReauthorization:
		state.NeedsReauthorization = refresh.Reason(row.Reason)
	case refresh.RetryAt:
		// What was claimed is due, whatever this replica's clock says.
		if row.RetryAt != nil && row.RetryAt.After(m.held.databaseNow(m.s.now())) {
			state.RetryAt, state.RetryReason = *row.RetryAt, refresh.Reason(row.Reason)
		}
	}
	return state
}

// Commit implements refresh.Lease. Where the webhook is away, tokens that are sealed
// to its key and stored here count as committed.
func (m *mediation) Commit(ctx context.Context, t refresh.Tokens, o refresh.Outcome) error {
	if _, err := m.own(ctx); err != nil {
		m.failed = m.failed && !errors.Is(err, refresh.ErrLeaseLost) && !errors.Is(err, refresh.ErrGone)
		return err
	}
	err := m.bring(ctx, t)
	var sealed bool
	if err != nil && !isOver(err) && m.sealable() {
		err, sealed = m.seal(ctx, t), true
	}
	m.failed = err != nil && !isOver(err)
	if err != nil {
		return err
	}
	now := m.s.now()
	r := result{path: models.PathMediated, outcome: o, issued: now}
	if o.ScopesChanged {
		r.detail = "other scopes"
	}
	if sealed {
		r.outcome.Reason = ReasonUndelivered
	} else {
		r.renewed = &renewal{creation: m.meta.creation, issued: &now, hasToken: true, scopes: t.Scopes}
		if !t.ExpiresAt.IsZero() {
			expires := models.Stamp(t.ExpiresAt)
			r.renewed.expires = &expires
		}
	}
	m.result = &r
	return nil
}

// isOver reports whether an error says that tokens are not wanted any more.
func isOver(err error) bool {
	return errors.Is(err, refresh.ErrLeaseLost) || errors.Is(err, refresh.ErrGone)
}

// bring hands tokens to the webhook. What comes too late is the same once more, when they
// are delivered.
func (m *mediation) bring(ctx context.Context, t refresh.Tokens) error {
	// What is left of the time is for the outbox. Tokens are safer there than in memory, and
	// a webhook that is away can be tried again from there.
	if deadline, ok := ctx.Deadline(); ok {
		limit := time.Until(deadline) * 2 / 3
		if m.sealable() {
			limit = min(limit, m.s.limits.BringTime)
		}
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	if m.failed && !m.a.can(wire.CapOutbox) {
		// Such a webhook compares nothing by itself, and much may have happened meanwhile.
		if there, err := m.compare(ctx, t); there || err != nil {
			return err
		}
	}
	update := webhooks.Update{Tokens: m.tokens(t)}
	if m.a.can(wire.CapOutbox) {
		update.CreationID, update.Sequence = m.meta.creation, m.meta.sequence+1
	}
	return m.update(ctx, update)
}

func (m *mediation) update(ctx context.Context, u webhooks.Update) error {
	var said wire.RefreshResponse
	err := m.s.call(m.a, func(t webhooks.Target) (err error) {
		said, err = m.s.deps.Webhooks.RefreshUpdate(ctx, t, m.a.service, u)
		return err
	})
	switch {
	case fault.CodeOf(err) == fault.Conflict:
		return refresh.ErrLeaseLost
	case err != nil:
		return err
	case said.Status == wire.NotifyNoToken:
		return refresh.ErrGone
	case said.Status == wire.NotifyNoRefreshToken:
		return refresh.ErrLeaseLost
	}
	return nil
}

// compare looks whether tokens are still to be brought: there says that they are there.
func (m *mediation) compare(ctx context.Context, t refresh.Tokens) (there bool, err error) {
	said, err := m.get(ctx)
	switch now := refresh.Secret(said.RefreshToken); {
	case err != nil:
		return false, err
	case now.Equal(m.read):
		return false, nil
	case now.Equal(t.RefreshToken):
		return true, nil
	}
	return false, refresh.ErrLeaseLost
}

// tokens are those that a webhook is given.
func (m *mediation) tokens(t refresh.Tokens) *wire.RefreshTokens {
	out := &wire.RefreshTokens{AccessToken: string(t.AccessToken), RefreshToken: string(t.RefreshToken)}
	if !t.ExpiresAt.IsZero() {
		out.ExpiryTime = t.ExpiresAt.UnixMilli()
	}
	// A list that the webhook would not take must not cost the tokens.
	if !slices.Equal(t.Scopes, m.meta.scopes) && len(t.Scopes) <= maxScopes && !strings.ContainsAny(strings.Join(t.Scopes, ""), `"\`) {
		out.Scopes = t.Scopes
	}
	return out
}

const maxScopes = 64 // that a webhook takes

// Note implements refresh.Lease.
func (m *mediation) Note(ctx context.Context, o refresh.Outcome) error {
	if _, err := m.own(ctx); err != nil {
		return err
	}
	r := result{path: models.PathMediated, outcome: o, issued: m.meta.issued}
	if o.Kind == refresh.StillValid {
		r.renewed = &renewal{creation: m.meta.creation, hasToken: true, scopes: m.meta.scopes}
		if !m.meta.expires.IsZero() {
			r.renewed.expires = &m.meta.expires
		}
		if !m.meta.issued.IsZero() {
			r.renewed.issued = &m.meta.issued
		}
	}
	m.result = &r
	return nil
}

// End implements refresh.Lease: it writes how the attempt ended.
func (m *mediation) End(ctx context.Context) error {
	if m.ended {
		return nil
	}
	m.ended = true
	if m.result == nil && m.failed { // for as long as it was worth
		m.s.counts.lost.Add(1)
		m.s.deps.Logger.ErrorContext(ctx, "refreshes: new tokens reached no webhook and are lost", "token", m.a.token)
		m.result = &result{
			path: models.PathMediated, outcome: m.s.again(refresh.ReasonNotStored, 1, 0), detail: "the webhook could not be given its new tokens: they are lost",
		}
	}
	switch {
	case m.result != nil:
		m.s.finish(ctx, m.a, m.held, *m.result)
		m.wrote(*m.result)
	case m.keeps(m.held):
	default:
		m.s.release(ctx, m.held)
	}
	return nil
}
