package store

import (
	"context"
	"strings"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
)

// AuditHistory lists the latest events of one service of an account, newest first: of
// each of the types given at most so many. Each type is one look into an index, however
// often the others happened.
func (s *Store) AuditHistory(ctx context.Context, accountID uuid.UUID, service string, types []string, each int) ([]models.AuditEvent, error) {
	if len(types) == 0 {
		return nil, nil
	}
	if _, err := s.ProjectAudit(ctx); err != nil {
		return nil, err
	}
	parts := make([]string, len(types))
	values := make([]any, 0, 4*len(types))
	for i, kind := range types {
		parts[i] = "SELECT * FROM (SELECT " + auditColumns + " FROM audit_events WHERE account_id = ? AND service_name = ? AND event_type = ?" +
			" ORDER BY id DESC LIMIT ?) AS latest"
		values = append(values, accountID, service, kind, each)
	}
	var events []models.AuditEvent
	err := s.view(ctx).Raw("SELECT * FROM ("+strings.Join(parts, " UNION ALL ")+") AS events ORDER BY id DESC", values...).Scan(&events).Error
	return events, failed(err, "audit history of account %s", accountID)
}
