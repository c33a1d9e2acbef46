package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
)

// auditColumns are in the order in which both writers give them.
const auditColumns = "account_id, id, stream_id, seq, at, event_type, source, outcome, service_name, " +
	"agent_id, grant_id, client, address, request_id, detail, hash"

// errAuditInTx: see AppendAudit.
var errAuditInTx = errors.New("store: audit events are not part of a transaction; append them outside InTx")

// AppendAudit writes events, all or none, and returns when they are durable. It
// is the hot path of the product: one round trip and one commit a call, so the
// caller gathers events of concurrent requests. Calls queue up behind each
// other. It is never part of a transaction, and refuses a context that carries
// one: on SQLite it would wait for itself.
//
// A connection that breaks is replaced once, and the batch is written again
// unless it turns out to be there. ErrConflict: an id, or a place in a stream, is
// taken; of a batch that is written as a block, only its own place is looked at.
// ErrInvalid: text that no database keeps. After any other error, also
// the end of ctx, the result is unknown.
func (s *Store) AppendAudit(ctx context.Context, events []models.AuditEvent) error {
	if s.txOf(ctx) != nil {
		return errAuditInTx
	}
	if len(events) == 0 {
		return nil
	}
	for i := range events {
		if err := cleanEvent(&events[i]); err != nil {
			return err
		}
	}
	return failed(s.audit.append(ctx, events), "append %d audit events", len(events))
}

// cleanEvent is clean without reflection.
func cleanEvent(e *models.AuditEvent) error {
	e.At = models.Stamp(e.At)
	for _, text := range [...]string{e.EventType, e.Source, e.Outcome, e.ServiceName, e.Client, e.Address, e.RequestID, e.Detail} {
		if !keepable(text) {
			return fmt.Errorf("store: audit event %s: %w", e.ID, errText)
		}
	}
	return nil
}

// AuditEvents lists events of one account, newest first, as the filter says;
// Limit 0 is no limit. Events without an account are those of the nil account.
func (s *Store) AuditEvents(ctx context.Context, accountID uuid.UUID, f models.AuditFilter) ([]models.AuditEvent, error) {
	db := s.view(ctx).Where("account_id = ?", accountID)
	if f.Done != nil {
		db = db.Where(map[bool]string{true: "outcome = 'ok'", false: "outcome <> 'ok'"}[*f.Done])
	}
	if f.Before != nil {
		db = db.Where("id < ?", *f.Before)
	}
	if f.AgentID != nil {
		db = db.Where("agent_id = ?", *f.AgentID)
	}
	if f.Since != nil {
		db = db.Where("at >= ? AND id >= ?", models.Stamp(*f.Since), models.FirstID(f.Since.Add(-idSlack)))
	}
	if f.Until != nil {
		db = db.Where("at < ? AND id < ?", models.Stamp(*f.Until), models.FirstID(f.Until.Add(idSlack)))
	}
	for _, match := range [...]struct{ condition, value string }{
		{"service_name = ?", f.ServiceName}, {"event_type = ?", f.EventType}, {"source = ?", f.Source},
	} {
		if match.value != "" {
			db = db.Where(match.condition, match.value)
		}
	}
	var events []models.AuditEvent
	if _, err := s.ProjectAudit(ctx); err != nil {
		return nil, err
	}
	err := atMost(db.Order("id DESC"), f.Limit).Find(&events).Error
	return events, failed(err, "audit events of account %s", accountID)
}

// idSlack is how far the time in an event's id may be from the event's own: it waits for its batch in
// between, and clocks are set. A range of times is a range of ids, give or take this, and so
// a range of the primary key.
const idSlack = time.Hour

// StreamEvents lists a stream in order, from the event after a sequence number;
// limit 0 is no limit.
func (s *Store) StreamEvents(ctx context.Context, streamID uuid.UUID, afterSeq int64, limit int) ([]models.AuditEvent, error) {
	if _, err := s.ProjectAudit(ctx); err != nil {
		return nil, err
	}
	var events []models.AuditEvent
	db := s.view(ctx).Where("stream_id = ? AND seq > ?", streamID, afterSeq).Order("seq")
	err := atMost(db, limit).Find(&events).Error
	return events, failed(err, "audit stream %s", streamID)
}

// RefusedBlocks lists the batches of a stream that could not be made readable, in
// order.
func (s *Store) RefusedBlocks(ctx context.Context, streamID uuid.UUID) ([]models.AuditBlock, error) {
	var blocks []models.AuditBlock
	err := s.view(ctx).Select("stream_id", "seq", "events").Where("stream_id = ? AND refused_at IS NOT NULL", streamID).Order("seq").Find(&blocks).Error
	return blocks, failed(err, "refused batches of audit stream %s", streamID)
}

// AuditStreams lists the streams that have events or checkpoints, by id: a
// stream whose events were all removed still shows.
func (s *Store) AuditStreams(ctx context.Context) ([]uuid.UUID, error) {
	if _, err := s.ProjectAudit(ctx); err != nil {
		return nil, err
	}
	var streams []uuid.UUID
	for _, table := range []string{"audit_events", "audit_checkpoints", "audit_blocks"} {
		ids, err := s.streamsIn(ctx, table)
		if err != nil {
			return nil, failed(err, "audit streams")
		}
		streams = append(streams, ids...)
	}
	slices.SortFunc(streams, func(a, b uuid.UUID) int { return slices.Compare(a[:], b[:]) })
	return slices.Compact(streams), nil
}

// streamsIn hops through the index from stream to stream, one look-up for each:
// streams are as many as server starts, events are millions.
func (s *Store) streamsIn(ctx context.Context, table string) ([]uuid.UUID, error) {
	var ids []uuid.UUID
	var last uuid.UUID
	for {
		var next struct{ StreamID uuid.UUID }
		result := s.view(ctx).Table(table).Select("stream_id").Where("stream_id > ?", last).
			Order("stream_id").Limit(1).Scan(&next)
		if result.Error != nil || result.RowsAffected == 0 {
			return ids, result.Error
		}
		last = next.StreamID
		ids = append(ids, last)
	}
}
