package store

import (
	"context"

	"github.com/google/uuid"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/tvzero/tokenvault/models"
)

// PutCheckpoint adds a checkpoint to a stream. ErrConflict: there is one at this
// place, and it is the stream's final one if this is.
func (s *Store) PutCheckpoint(ctx context.Context, c *models.AuditCheckpoint) error {
	if err := clean(c); err != nil {
		return err
	}
	return s.record(ctx, func(db *gorm.DB) error {
		result := db.Clauses(clause.OnConflict{DoNothing: true}).Create(c)
		if result.Error == nil && result.RowsAffected == 0 {
			return conflict("checkpoint %d of stream %s", c.Seq, c.StreamID)
		}
		return failed(result.Error, "checkpoint %d of stream %s", c.Seq, c.StreamID)
	})
}

// Checkpoints lists a stream's checkpoints in order.
func (s *Store) Checkpoints(ctx context.Context, streamID uuid.UUID) ([]models.AuditCheckpoint, error) {
	var checkpoints []models.AuditCheckpoint
	err := s.view(ctx).Where("stream_id = ?", streamID).Order("seq, final").Find(&checkpoints).Error
	return checkpoints, failed(err, "checkpoints of stream %s", streamID)
}
