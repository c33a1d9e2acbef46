package store

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/tvzero/tokenvault/models"
)

const probeKey = "account_id, binding_id"

// ClaimProbe takes the bound webhook that has been due the longest to be asked how it
// is. It is due again after ttl, should the caller not finish it. ErrNotFound: none is
// due. It must not run inside InTx.
func (s *Store) ClaimProbe(ctx context.Context, ttl time.Duration) (models.WebhookProbe, error) {
	var probe models.WebhookProbe
	claimed, err := s.claimOne(ctx, "webhook_probes", probeKey, ttl, &probe)
	if err == nil && !claimed {
		err = fmt.Errorf("store: webhooks to ask: %w", models.ErrNotFound)
	}
	return probe, err
}

// FinishProbe says after how much time a claimed webhook is to be asked again.
// ErrLeaseLost: it is another's turn, or the webhook is not bound any more.
func (s *Store) FinishProbe(ctx context.Context, probe models.WebhookProbe, again time.Duration) error {
	if probe.LeaseID == nil {
		return fmt.Errorf("store: a webhook that was not claimed: %w", models.ErrInvalid)
	}
	now, err := s.Clock(ctx)
	if err != nil {
		return err
	}
	return s.finishOne(ctx, "webhook_probes", probeKey, []any{probe.AccountID, probe.BindingID}, models.Lease{ID: *probe.LeaseID},
		map[string]any{"due_at": models.Stamp(now.Add(again))})
}

// firstProbe is how long after it was bound a webhook is asked first: binding has just
// asked it, and says more about what it found.
const firstProbe = time.Minute

// scheduleProbe makes a binding's webhook be asked from now on, or no more.
func scheduleProbe(db *gorm.DB, b *models.Binding, now time.Time) error {
	if b.State != models.BindingActive {
		err := db.Where("account_id = ? AND binding_id = ?", b.AccountID, b.ID).Delete(&models.WebhookProbe{}).Error
		return failed(err, "probe of binding %s", b.ID)
	}
	probe := models.WebhookProbe{AccountID: b.AccountID, BindingID: b.ID, DueAt: now.Add(firstProbe)}
	err := db.Clauses(clause.OnConflict{DoNothing: true}).Create(&probe).Error
	return failed(err, "probe of binding %s", b.ID)
}

// PutHealthSample keeps what a webhook answered, and lets go of what the account has of
// such that is too old. Of two of the same moment the first stays. It is no change of
// the account.
func (s *Store) PutHealthSample(ctx context.Context, sample models.HealthSample) error {
	if err := clean(&sample); err != nil {
		return err
	}
	return s.record(ctx, func(db *gorm.DB) error {
		old := models.Stamp(sample.At.Add(-models.HealthKept))
		if err := db.Where("account_id = ? AND at < ?", sample.AccountID, old).Delete(&models.HealthSample{}).Error; err != nil {
			return failed(err, "old health of account %s", sample.AccountID)
		}
		err := db.Clauses(clause.OnConflict{DoNothing: true}).Create(&sample).Error
		return failed(err, "health of binding %s", sample.BindingID)
	})
}

// HealthSeries counts the samples of a binding from since until until, in steps of
// whole seconds.
func (s *Store) HealthSeries(ctx context.Context, accountID, bindingID uuid.UUID, since, until time.Time, bucket time.Duration) ([]models.HealthCounts, error) {
	if bucket < time.Second || bucket%time.Second != 0 {
		return nil, fmt.Errorf("store: a bucket of %s: %w", bucket, models.ErrInvalid)
	}
	var counts []models.HealthCounts
	err := s.view(ctx).Table("webhook_health").Select(s.bucketOf("at")+` AS bucket, count(*) AS checks,
			count(*) FILTER (WHERE NOT ok) AS failures, avg(latency_ms) FILTER (WHERE ok) AS mean_ms, max(latency_ms) FILTER (WHERE ok) AS worst_ms`,
		models.Stamp(since).Unix(), int64(bucket/time.Second)).
		Where("account_id = ? AND at >= ? AND at < ? AND binding_id = ?", accountID, models.Stamp(since), models.Stamp(until), bindingID).
		Group("bucket").Order("bucket").Scan(&counts).Error
	return counts, failed(err, "health of binding %s", bindingID)
}

// bucketOf is SQL for the number of the step that a time is in: its arguments are the
// beginning and the length of a step, in seconds.
func (s *Store) bucketOf(column string) string {
	if s.dialect == SQLite {
		return "(unixepoch(" + column + ") - ?) / ?"
	}
	return "CAST(floor((extract(epoch FROM " + column + ") - ?) / ?) AS bigint)"
}
