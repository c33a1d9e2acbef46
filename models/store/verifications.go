package store

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/tvzero/tokenvault/models"
)

// SettledEvents lists a stream in order, from the event after a sequence number, as far
// as its events are rows: up to the first batch that still waits to become rows. Unlike
// StreamEvents it makes none, so that it costs writers nothing.
func (s *Store) SettledEvents(ctx context.Context, streamID uuid.UUID, afterSeq int64, limit int) ([]models.AuditEvent, error) {
	var events []models.AuditEvent
	db := s.view(ctx).Where("stream_id = ? AND seq > ?", streamID, afterSeq).
		Where("seq < COALESCE((SELECT min(seq) FROM audit_blocks WHERE stream_id = ? AND refused_at IS NULL), ?)", streamID, int64(1)<<62).Order("seq")
	err := atMost(db, limit).Find(&events).Error
	return events, failed(err, "audit stream %s", streamID)
}

// StreamEnd is the sequence number of a stream's last event that is a row; 0: there is none.
// waiting: batches of it still wait to become rows.
func (s *Store) StreamEnd(ctx context.Context, streamID uuid.UUID) (seq int64, waiting bool, err error) {
	var end struct {
		Seq     int64
		Waiting bool
	}
	err = s.view(ctx).Raw(`SELECT COALESCE((SELECT seq FROM audit_events WHERE stream_id = ? ORDER BY seq DESC LIMIT 1), 0) AS seq,
		EXISTS (SELECT 1 FROM audit_blocks WHERE stream_id = ? AND refused_at IS NULL) AS waiting`, streamID, streamID).Scan(&end).Error
	return end.Seq, end.Waiting, failed(err, "end of audit stream %s", streamID)
}

// CheckpointsFrom lists a stream's checkpoints at a sequence number and after it, in
// order, at most limit of them.
func (s *Store) CheckpointsFrom(ctx context.Context, streamID uuid.UUID, seq int64, limit int) ([]models.AuditCheckpoint, error) {
	var checkpoints []models.AuditCheckpoint
	err := atMost(s.view(ctx).Where("stream_id = ? AND seq >= ?", streamID, seq).Order("seq, final"), limit).Find(&checkpoints).Error
	return checkpoints, failed(err, "checkpoints of stream %s", streamID)
}

// FindStreams makes all streams of the audit log ones that are verified, from now on,
// if they are not; among them that of the nil id, in which no row should be.
func (s *Store) FindStreams(ctx context.Context) error {
	found := []uuid.UUID{uuid.Nil}
	for _, table := range []string{"audit_events", "audit_checkpoints", "audit_blocks"} {
		ids, err := s.streamsIn(ctx, table)
		if err != nil {
			return failed(err, "audit streams")
		}
		found = append(found, ids...)
	}
	var known []uuid.UUID
	if err := s.view(ctx).Model(&models.AuditVerification{}).Pluck("stream_id", &known).Error; err != nil {
		return failed(err, "audit verifications")
	}
	isKnown := make(map[uuid.UUID]bool, len(known))
	for _, id := range known {
		isKnown[id] = true
	}
	found = slices.DeleteFunc(byID(found), func(id uuid.UUID) bool { return isKnown[id] })
	if len(found) == 0 {
		return nil
	}
	now, err := s.Clock(ctx)
	if err != nil {
		return err
	}
	rows := make([]models.AuditVerification, len(found))
	for i, id := range found {
		rows[i] = models.AuditVerification{StreamID: id, DueAt: now}
	}
	return s.record(ctx, func(db *gorm.DB) error {
		err := db.Clauses(clause.OnConflict{DoNothing: true}).CreateInBatches(rows, 500).Error
		return failed(err, "audit verifications")
	})
}

// Verifications lists how far each stream was verified.
func (s *Store) Verifications(ctx context.Context) ([]models.AuditVerification, error) {
	var all []models.AuditVerification
	err := s.view(ctx).Order("stream_id").Find(&all).Error
	return all, failed(err, "audit verifications")
}

// ClaimVerification takes the stream that has been due the longest to be verified. It
// is due again after ttl, should the caller not finish it. ErrNotFound: none is due. It
// must not run inside InTx.
func (s *Store) ClaimVerification(ctx context.Context, ttl time.Duration) (models.AuditVerification, error) {
	var v models.AuditVerification
	claimed, err := s.claimOne(ctx, "audit_verifications", "stream_id", ttl, &v)
	if err == nil && !claimed {
		err = fmt.Errorf("store: streams to verify: %w", models.ErrNotFound)
	}
	return v, err
}

// FinishVerification writes how far a claimed stream was verified, and after how much
// time it is due again. ErrLeaseLost: another is at it by now.
func (s *Store) FinishVerification(ctx context.Context, v models.AuditVerification, again time.Duration) error {
	if v.LeaseID == nil {
		return fmt.Errorf("store: a stream that was not claimed: %w", models.ErrInvalid)
	}
	if err := clean(&v); err != nil {
		return err
	}
	now, err := s.Clock(ctx)
	if err != nil {
		return err
	}
	return s.finishOne(ctx, "audit_verifications", "stream_id", []any{v.StreamID}, models.Lease{ID: *v.LeaseID}, map[string]any{
		"due_at": models.Stamp(now.Add(again)), "began_at": v.BeganAt, "seq": v.Seq, "hash": v.Hash, "through": v.Through, "final": v.Final,
		"checked_at": v.CheckedAt, "found": v.Found, "problem": v.Problem,
	})
}
