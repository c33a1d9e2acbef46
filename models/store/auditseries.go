package store

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
)

// AuditSeries counts an account's events by time, in order. It reads the range of the primary
// key that the times are in, and no more. A refresh is one that brought new tokens if its
// detail says so, as those who record refreshes write it.
func (s *Store) AuditSeries(ctx context.Context, accountID uuid.UUID, f models.AuditSeries) ([]models.AuditCounts, error) {
	if f.Bucket < time.Second || f.Bucket%time.Second != 0 {
		return nil, fmt.Errorf("store: a bucket of %s: %w", f.Bucket, models.ErrInvalid)
	}
	if _, err := s.ProjectAudit(ctx); err != nil {
		return nil, err
	}
	since, until := models.Stamp(f.Since), models.Stamp(f.Until)
	db := s.view(ctx).Table("audit_events").Select(s.bucketOf("at")+` AS bucket,
			count(*) FILTER (WHERE event_type = 'release' AND outcome = 'ok') AS releases,
			count(*) FILTER (WHERE event_type = 'refusal') AS refusals,
			count(*) FILTER (WHERE event_type = 'refresh' AND outcome = 'ok' AND detail LIKE '%outcome=rotated%') AS refreshed,
			count(*) FILTER (WHERE event_type = 'refresh' AND outcome NOT IN ('ok', 'REAUTHORIZATION_REQUIRED')) AS refresh_failed,
			count(*) FILTER (WHERE event_type = 'refresh' AND outcome = 'REAUTHORIZATION_REQUIRED') AS reauthorize`,
		since.Unix(), int64(f.Bucket/time.Second)).
		Where("account_id = ? AND id >= ? AND id < ?", accountID, models.FirstID(since.Add(-idSlack)), models.FirstID(until.Add(idSlack))).
		Where("at >= ? AND at < ? AND event_type IN ('release', 'refusal', 'refresh')", since, until)
	if f.ServiceName != "" {
		db = db.Where("service_name = ?", f.ServiceName)
	}
	if f.AgentID != nil {
		db = db.Where("agent_id = ?", *f.AgentID)
	}
	var counts []models.AuditCounts
	err := db.Group("bucket").Order("bucket").Scan(&counts).Error
	return counts, failed(err, "count of the events of account %s", accountID)
}
