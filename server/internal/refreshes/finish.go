package refreshes

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/refresh"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/grants"
)

// A result is how an attempt ended.
type result struct {
	path    string // models.PathNotify or models.PathMediated
	outcome refresh.Outcome
	issued  time.Time // of tokens that are still valid; zero: unknown
	detail  string    // for the record, besides path, outcome and reason

	renewed *renewal // what the index is to say; nil: as before
	resync  bool     // the webhook's list is to be asked what the token is now
}

// A renewal is what refreshing changes of a token's metadata.
type renewal struct {
	creation string // of the credential that it is true of
	expires  *time.Time
	issued   *time.Time // nil: as before
	hasToken bool       // a refresh token
	scopes   []string   // nil: as before
}

// finish writes down how an attempt ended: index, lease and next due time, record,
// counts. It is done although ctx may have ended.
func (s *Service) finish(ctx context.Context, a *attempt, h held, r result) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishTime)
	defer cancel()
	if r.renewed != nil {
		current, err := s.renew(ctx, a, *r.renewed)
		if err != nil {
			s.deps.Logger.ErrorContext(ctx, "refreshes: the index could not be brought up to date", "token", a.token, "error", err)
		}
		r.resync = r.resync || err != nil || !current
	}
	now := s.now()
	row := models.Refresh{
		DueAt: s.nextDue(r.outcome, r.issued), Attempts: r.outcome.Attempts, Outcome: string(r.outcome.Kind), Reason: string(r.outcome.Reason),
		Path: r.path, TriedAt: &now,
	}
	switch r.path {
	case models.PathMediated:
		row.MediatedAt = &now
	case models.PathNotify:
		row.NotifiedAt = &now
	}
	switch r.outcome.Kind {
	case refresh.Rotated:
		row.RefreshedAt = &now
	case refresh.RetryAt:
		row.RetryAt = &r.outcome.At
	}
	s.end(ctx, h, row, minPause)
	s.counts.end(Ended{Path: r.path, Provider: s.label(a.provider), Kind: r.outcome.Kind, Reason: r.outcome.Reason})
	s.record(ctx, a, r)
	if r.resync {
		s.resync(ctx, a)
	}
}

// finishTime is for what follows an attempt, in all.
const finishTime = 15 * time.Second

// end writes what came of a lease's work, to be due again after a pause at least, and gives it back. A lease that was lost is
// no failure: whoever has it now, or replaced the token, knows better.
func (s *Service) end(ctx context.Context, h held, row models.Refresh, pause time.Duration) {
	// Not in the database's past, whatever this replica's clock says: it would be due at once, for ever.
	if row.DueAt != nil {
		if soonest := h.databaseNow(s.now()).Add(pause); row.DueAt.Before(soonest) {
			row.DueAt = &soonest
		}
	}
	err := s.deps.Leases.FinishLease(ctx, h.lease, row)
	if err != nil && !errors.Is(err, models.ErrLeaseLost) && !errors.Is(err, models.ErrNotFound) {
		s.deps.Logger.ErrorContext(ctx, "refreshes: how a refresh ended could not be stored", "token", h.lease.TokenID, "error", err)
	}
}

// postpone gives a row back that was not worked on, to be due again later. With a
// reason it is an outcome; without, all that is known stays.
func (s *Service) postpone(ctx context.Context, h held, known models.Refresh, reason refresh.Reason, at time.Time) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishTime)
	defer cancel()
	row := models.Refresh{
		DueAt: &at, Attempts: known.Attempts, Outcome: known.Outcome, Reason: known.Reason, Path: known.Path,
		TriedAt: known.TriedAt, RetryAt: known.RetryAt,
	}
	pause := turnPause
	if reason != "" {
		row.Outcome, row.Reason, row.RetryAt = string(refresh.RetryAt), string(reason), &at
		pause = minPause
	}
	s.end(ctx, h, row, pause)
}

// renew brings the index up to date, if it still speaks of the same credential:
// current says so. Caches are told by the store.
func (s *Service) renew(ctx context.Context, a *attempt, r renewal) (current bool, err error) {
	err = s.deps.Index.InTx(ctx, func(ctx context.Context) error {
		// Who writes the index of a webhook's vault holds its lock.
		if _, err := s.deps.Index.LockVaults(ctx, a.account, a.vault); err != nil {
			return err
		}
		t, err := s.deps.Index.TokenByID(ctx, a.account, a.token)
		if errors.Is(err, models.ErrNotFound) || err == nil && t.CreationID != r.creation {
			return nil
		}
		if err != nil {
			return err
		}
		current = true
		t.ExpiresAt, t.HasRefreshToken = r.expires, r.hasToken
		if r.issued != nil {
			t.IssuedAt = r.issued
		}
		if r.scopes != nil {
			t.Scope = strings.Join(r.scopes, " ")
		}
		_, err = s.deps.Index.SyncTokens(ctx, a.account, a.vault, []models.Token{t}, false)
		return err
	})
	return current && err == nil, err
}

// record puts an attempt on record. What was refreshed stays refreshed should that
// fail: the log says so.
func (s *Service) record(ctx context.Context, a *attempt, r result) {
	e := a.event
	e.Outcome = codeOf(r.outcome.Kind)
	e.Detail = fmt.Sprintf("path=%s outcome=%s", r.path, r.outcome.Kind)
	if r.outcome.Reason != "" {
		e.Detail += " reason=" + string(r.outcome.Reason)
	}
	if r.detail != "" {
		e.Detail += " " + r.detail
	}
	s.note(ctx, e)
}

func (s *Service) note(ctx context.Context, e audit.Event) {
	if err := s.deps.Audit.Record(ctx, e); err != nil {
		s.deps.Logger.ErrorContext(ctx, "refreshes: a refresh is not on record", "account", e.AccountID, "detail", e.Detail, "error", err)
	}
}

// resync asks the webhook's list what a token is now.
func (s *Service) resync(ctx context.Context, a *attempt) {
	system := grants.Principal{AccountID: a.account, Kind: models.GrantSession}
	if _, err := s.deps.Vaults.Sync(ctx, system, audit.Client{}, a.service); err != nil {
		s.deps.Logger.WarnContext(ctx, "refreshes: a token could not be looked up again", "token", a.token, "error", err)
	}
}

// label is a provider's id where it is one of the registry's.
func (s *Service) label(provider string) string {
	if s.deps.Providers.Has(provider) {
		return provider
	}
	return "other"
}
