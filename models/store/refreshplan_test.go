package store_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/models/store/storetest"
)

// refreshable is an OAuth token as a webhook reports it.
func refreshable(creation string, expires *time.Time) models.Token {
	x := reported("github", creation)
	x.TokenType, x.HasRefreshToken, x.ExpiresAt = models.TypeOAuth, true, expires
	return x
}

// tenMinutesBefore is a RefreshDue.
func tenMinutesBefore(t models.Token) time.Time { return t.ExpiresAt.Add(-10 * time.Minute) }

func before(expires *time.Time) *time.Time { return models.StampPtr(expires.Add(-10 * time.Minute)) }

// A reportedVault is a webhook's vault with one token of which reports tell.
type reportedVault struct {
	models.Vault
	t *testing.T
	s *store.Store
}

func newReported(t *testing.T, s *store.Store) reportedVault {
	s.SetRefreshDue(tenMinutesBefore)
	return reportedVault{newVault(t, s, models.ModeWebhook), t, s}
}

// reports syncs what the webhook says and returns what is known of refreshing it.
func (v reportedVault) reports(found ...models.Token) models.Refresh {
	v.t.Helper()
	_, err := v.s.SyncTokens(v.t.Context(), v.AccountID, v.ID, found, true)
	ok(v.t, err)
	if len(found) == 0 {
		return models.Refresh{}
	}
	token, err := v.s.Token(v.t.Context(), v.AccountID, v.ID, found[0].ServiceName)
	ok(v.t, err)
	r, err := v.s.Refresh(v.t.Context(), v.AccountID, token.ID)
	if !errors.Is(err, models.ErrNotFound) {
		ok(v.t, err)
	}
	return r
}

// finishes ends a refresh of its token as r says.
func (v reportedVault) finishes(r models.Refresh) models.Refresh {
	v.t.Helper()
	token, err := v.s.Token(v.t.Context(), v.AccountID, v.ID, "github")
	ok(v.t, err)
	lease, err := v.s.TakeLease(v.t.Context(), v.AccountID, token.ID, time.Minute)
	ok(v.t, err)
	ok(v.t, v.s.FinishLease(v.t.Context(), lease, r))
	return refreshOf(v.t, v.s, token)
}

func TestOnlyReportedTokensThatCanBeRefreshedAreScheduled(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		for what, alter := range map[string]func(*models.Token){
			"another type": func(x *models.Token) { x.TokenType = "JWT" }, "no refresh token": func(x *models.Token) { x.HasRefreshToken = false },
			"no expiry": func(x *models.Token) { x.ExpiresAt = nil },
		} {
			v := newReported(t, s)
			can, cannot := refreshable("1", farAway()), refreshable("1", farAway())
			alter(&cannot)
			same(t, what, v.reports(cannot), models.Refresh{})
			r := v.reports(can)
			same(t, "it can be by now: due", r.DueAt, before(farAway()))
			r.DueAt = nil
			same(t, what+" by now", v.reports(cannot), r)
			r.DueAt = before(farAway())
			same(t, "it can be again", v.reports(can), r)
			v.reports()
			same(t, "rows when it is gone", s.Count(t, "refreshes"), int64(0))
		}
		v := newReported(t, s)
		s.SetRefreshDue(nil)
		same(t, "without a function", v.reports(refreshable("1", farAway())), models.Refresh{})
	})
}

func TestAReportOfNothingNewLeavesTheScheduleAlone(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		v := newReported(t, s)
		x := refreshable("1", farAway())
		v.reports(x)
		given := filled[models.Refresh](t)
		want := v.finishes(given)
		same(t, "the same report", v.reports(x), want)
		x.Notes = "other notes"
		same(t, "other notes", v.reports(x), want)
		given.DueAt = nil
		want = v.finishes(given)
		x.Notes = "and others"
		same(t, "of one that was given up", v.reports(x), want)
	})
}

func TestAReplacedTokenStartsAnew(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		v := newReported(t, s)
		x := refreshable("1", longAgo(20))
		v.reports(x)
		given := filled[models.Refresh](t)
		given.DueAt = nil // it was given up
		was := v.finishes(given)
		lease, err := s.TakeLease(t.Context(), v.AccountID, was.TokenID, time.Minute)
		ok(t, err)
		x.CreationID = "2" // and no other expiry
		got := v.reports(x)
		same(t, "replaced", got, models.Refresh{AccountID: v.AccountID, TokenID: was.TokenID, DueAt: before(longAgo(20)), LeaseGeneration: 3,
			PlatformAt: was.PlatformAt, MediatedAt: was.MediatedAt, NotifiedAt: was.NotifiedAt})
		wantErr(t, s.FinishLease(t.Context(), lease, models.Refresh{Outcome: "rotated"}), models.ErrLeaseLost)
		same(t, "due", services(claim(t, s, 10)), []string{"github"})

		x.CreationID, x.HasRefreshToken = "3", false
		got = v.reports(x)
		if got.DueAt != nil || got.LeaseID != nil {
			t.Fatalf("replaced by one that cannot be refreshed: got %s, want nothing due, and no lease", show(got))
		}
	})
}

// A webhook may have renewed a token on its own, or its owner may have.
func TestARenewedTokenIsScheduledAnewAndWhatFailedIsForgotten(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		for what, given := range map[string]models.Refresh{
			"given up": {Outcome: "needs_reauthorization", Reason: "invalid_grant", Attempts: 1, TriedAt: longAgo(3)},
			"failing":  {Outcome: "retry_at", Reason: "provider_timeout", Attempts: 7, TriedAt: longAgo(3), RetryAt: longAgo(4), DueAt: longAgo(4)},
			"well":     {Outcome: "rotated", TriedAt: longAgo(3), RefreshedAt: longAgo(3), DueAt: longAgo(4)},
		} {
			v := newReported(t, s)
			v.reports(refreshable("1", longAgo(20)))
			want := v.finishes(given)
			want.DueAt = before(farAway())
			if what != "well" {
				want.Attempts, want.Outcome, want.Reason, want.RetryAt = 0, "", "", nil
			}
			same(t, what, v.reports(refreshable("1", farAway())), want)

			// Who is at it meanwhile has the last word.
			lease, err := s.TakeLease(t.Context(), v.AccountID, want.TokenID, time.Minute)
			ok(t, err)
			v.reports(refreshable("1", longAgo(59)))
			ok(t, s.FinishLease(t.Context(), lease, models.Refresh{Outcome: "rotated", DueAt: longAgo(40)}))
			same(t, "due", v.reports(refreshable("1", longAgo(59))).DueAt, longAgo(40))
		}
	})
}

func TestTheScheduleIsWrittenWithTheIndexOrNotAtAll(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		v := newReported(t, s)
		no := errors.New("no")
		sync := func(expires *time.Time) error {
			return s.InTx(t.Context(), func(ctx context.Context) error {
				if _, err := s.SyncTokens(ctx, v.AccountID, v.ID, []models.Token{refreshable("1", expires)}, true); err != nil {
					return err
				}
				token, err := s.Token(ctx, v.AccountID, v.ID, "github")
				ok(t, err)
				r, err := s.Refresh(ctx, v.AccountID, token.ID)
				ok(t, err)
				same(t, "due, inside", r.DueAt, before(expires))
				return no
			})
		}
		wantErr(t, sync(farAway()), no)
		same(t, "rows", s.Count(t, "refreshes"), int64(0))
		want := v.reports(refreshable("1", farAway()))
		wantErr(t, sync(longAgo(30)), no)
		same(t, "row", v.reports(refreshable("1", farAway())), want)
	})
}

func TestWhatAWebhookDoesNotSayOfACredentialStaysKnown(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		v := newReported(t, s)
		sync := func(x models.Token) models.Token {
			t.Helper()
			v.reports(x)
			got, err := s.Token(t.Context(), v.AccountID, v.ID, "github")
			ok(t, err)
			return got
		}
		said := refreshable("1", farAway())
		said.Subject, said.Scope, said.IssuedAt = "user@example.com", "read write", longAgo(1)
		got := sync(said)
		same(t, "said", []string{got.Subject, got.Scope}, []string{"user@example.com", "read write"})
		same(t, "issued", got.IssuedAt, longAgo(1))
		same(t, "not said again", sync(refreshable("1", farAway())), got)

		start := models.Stamp(time.Now())
		other := models.StampPtr(farAway().Add(time.Hour))
		got = sync(refreshable("1", other))
		same(t, "subject and scope of a renewed one", []string{got.Subject, got.Scope}, []string{"user@example.com", "read write"})
		if got.IssuedAt == nil || got.IssuedAt.Before(start) || got.IssuedAt.After(time.Now()) {
			t.Fatalf("issued at: got %v, want when that was noticed, after %v", got.IssuedAt, start)
		}
		same(t, "noticed once", sync(refreshable("1", other)), got)
		same(t, "renewed, and expired already", sync(refreshable("1", longAgo(9))).IssuedAt, (*time.Time)(nil))
		said.ExpiresAt, said.IssuedAt, said.Scope = farAway(), longAgo(2), "read"
		got = sync(said)
		same(t, "said anew", []any{got.Scope, got.IssuedAt}, []any{"read", longAgo(2)})
		said.ExpiresAt, start = other, models.Stamp(time.Now())
		got = sync(said)
		if got.IssuedAt == nil || got.IssuedAt.Before(start) {
			t.Fatalf("renewed, and said to be as old as before: got %v, want when that was noticed, after %v", got.IssuedAt, start)
		}
		same(t, "said once more", sync(said), got)
		got = sync(refreshable("2", farAway()))
		same(t, "replaced", []any{got.Subject, got.Scope, got.IssuedAt}, []any{"", "", (*time.Time)(nil)})
	})
}
