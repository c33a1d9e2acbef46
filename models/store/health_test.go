package store_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/models/store/storetest"
)

func TestABoundWebhookIsAskedUntilItIsUnbound(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		b := newBinding(t, newVault(t, s, models.ModeWebhook), models.BindingPending)
		ok(t, s.PutBinding(t.Context(), &b))
		_, err := s.ClaimProbe(t.Context(), time.Hour)
		wantErr(t, err, models.ErrNotFound)

		ok(t, b.Activate(at))
		ok(t, s.PutBinding(t.Context(), &b))
		_, err = s.ClaimProbe(t.Context(), time.Hour) // binding has just asked it
		wantErr(t, err, models.ErrNotFound)
		s.PassProbe(t, b.AccountID)
		first, err := s.ClaimProbe(t.Context(), time.Hour)
		ok(t, err)
		same(t, "claimed", []any{first.AccountID, first.BindingID}, []any{b.AccountID, b.ID})
		_, err = s.ClaimProbe(t.Context(), time.Hour)
		wantErr(t, err, models.ErrNotFound)

		ok(t, s.FinishProbe(t.Context(), first, -time.Minute))
		second, err := s.ClaimProbe(t.Context(), -time.Minute) // and whoever has it is gone
		ok(t, err)
		wantErr(t, s.FinishProbe(t.Context(), first, time.Hour), models.ErrLeaseLost)
		third, err := s.ClaimProbe(t.Context(), time.Hour)
		ok(t, err)
		wantErr(t, s.FinishProbe(t.Context(), second, time.Hour), models.ErrLeaseLost)

		b.End(at)
		ok(t, s.PutBinding(t.Context(), &b))
		wantErr(t, s.FinishProbe(t.Context(), third, -time.Minute), models.ErrLeaseLost)
		_, err = s.ClaimProbe(t.Context(), time.Hour)
		wantErr(t, err, models.ErrNotFound)
		wantErr(t, s.FinishProbe(t.Context(), models.WebhookProbe{}, 0), models.ErrInvalid)
		inTx(t, s, func(ctx context.Context) error {
			if _, err := s.ClaimProbe(ctx, time.Hour); err == nil {
				return errors.New("a webhook was claimed inside a transaction")
			}
			return nil
		})
	})
}

func TestHealthIsCountedAndKeptForThirtyDays(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		b := newBinding(t, newVault(t, s, models.ModeWebhook), models.BindingActive)
		other := newBinding(t, newVault(t, s, models.ModeWebhook), models.BindingActive)
		sample := func(after time.Duration, latency int64, code string) {
			t.Helper()
			silent(t, watch(s), "health", func() error {
				return s.PutHealthSample(t.Context(), models.HealthSample{
					AccountID: b.AccountID, BindingID: b.ID, At: at.Add(after), OK: code == "", LatencyMS: latency, Code: code,
				})
			})
		}
		sample(0, 10, "")
		sample(0, 999, "") // of the same moment
		sample(5*time.Minute, 30, "")
		sample(10*time.Minute, 5000, "WEBHOOK_UNAVAILABLE")
		sample(2*time.Hour, 5000, "WEBHOOK_AUTH_FAILED")
		ok(t, s.PutHealthSample(t.Context(), models.HealthSample{AccountID: b.AccountID, BindingID: other.ID, At: at, OK: true, LatencyMS: 7}))
		ok(t, s.PutHealthSample(t.Context(), models.HealthSample{AccountID: other.AccountID, BindingID: b.ID, At: at, OK: true, LatencyMS: 7}))

		mean, worst := 20.0, int64(30)
		got, err := s.HealthSeries(t.Context(), b.AccountID, b.ID, at, at.Add(3*time.Hour), time.Hour)
		ok(t, err)
		same(t, "series", got, []models.HealthCounts{
			{Bucket: 0, Checks: 3, Failures: 1, MeanMS: &mean, WorstMS: &worst}, {Bucket: 2, Checks: 1, Failures: 1},
		})
		got, err = s.HealthSeries(t.Context(), b.AccountID, b.ID, at.Add(time.Hour), at.Add(2*time.Hour), time.Hour)
		ok(t, err)
		same(t, "an hour without any", len(got), 0)
		_, err = s.HealthSeries(t.Context(), b.AccountID, b.ID, at, at.Add(time.Hour), time.Millisecond)
		wantErr(t, err, models.ErrInvalid)

		sample(models.HealthKept+time.Hour, 10, "")
		same(t, "samples that are left", s.Count(t, "webhook_health"), int64(3)) // the last two of this webhook, and the other account's
		wantErr(t, s.PutHealthSample(t.Context(), models.HealthSample{AccountID: b.AccountID, BindingID: b.ID, At: at, Code: "a\x00"}), models.ErrInvalid)
	})
}

func TestHealthStatementsUseTheirIndexes(t *testing.T) {
	t.Parallel()
	storetest.EachURL(t, func(t *testing.T, url string) {
		s := storetest.Open(t, url)
		db := rawDB(t, s.Dialect(), url)
		b := newBinding(t, newVault(t, s, models.ModeWebhook), models.BindingActive)
		ok(t, s.PutBinding(t.Context(), &b))
		for i := range 600 {
			ok(t, s.PutHealthSample(t.Context(), models.HealthSample{AccountID: b.AccountID, BindingID: b.ID, At: at.Add(time.Duration(i) * time.Hour)}))
		}
		if s.Dialect() == store.Postgres {
			_, err := db.ExecContext(t.Context(), "ANALYZE webhook_health")
			ok(t, err)
		}
		statements := s.CaptureStatements()
		inTx(t, s, func(ctx context.Context) error {
			_, err := s.HealthSeries(ctx, b.AccountID, b.ID, at, at.Add(24*time.Hour), time.Hour)
			ok(t, err)
			return s.PutHealthSample(ctx, models.HealthSample{AccountID: b.AccountID, BindingID: b.ID, At: at})
		})
		checked := 0
		for _, statement := range statements() {
			if strings.HasPrefix(statement.SQL, "INSERT") {
				continue
			}
			checked++
			if plan := planOf(t, s.Dialect(), db, statement); !strings.Contains(plan, "Index Cond: ") && !strings.Contains(plan, "(account_id=? AND at") {
				t.Errorf("%s\nuses no index:\n%s", statement.SQL, plan)
			}
		}
		if checked != 2 {
			t.Fatalf("got %d statements, want 2", checked)
		}
	})
}
