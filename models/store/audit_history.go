package store

import (
	"context"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
)

// frequent are the types of events that no index by service has. (models/migrations, 00010.)
var frequent = []string{"release", "refusal"}

// auditHistoryDepth is among how many of an account's latest events those are looked for.
const auditHistoryDepth = 10_000

// AuditHistory lists the latest events of one service of an account, newest first: of
// each of the types given at most so many. Each type is one look into an index, however
// often the others happened; but for releases and refusals, which are found among the
// latest 10,000 events of the account alone.
func (s *Store) AuditHistory(ctx context.Context, accountID uuid.UUID, service string, types []string, each int) ([]models.AuditEvent, error) {
	if len(types) == 0 {
		return nil, nil
	}
	if _, err := s.ProjectAudit(ctx); err != nil {
		return nil, err
	}
	parts, table := make([]string, len(types)), "audit_events"
	if s.dialect == SQLite { // which would rather walk through all of them in their order
		table += " INDEXED BY audit_events_service"
	}
	values := make([]any, 0, 7*len(types))
	for i, kind := range types {
		from, among := table, "event_type NOT IN ('release', 'refusal')" // the condition of the index, in its words
		if slices.Contains(frequent, kind) {
			from, among = "audit_events", "id >= COALESCE((SELECT id FROM audit_events WHERE account_id = ? ORDER BY id DESC LIMIT 1 OFFSET ?), ?)"
			values = append(values, accountID, auditHistoryDepth-1, uuid.Nil)
		}
		parts[i] = "SELECT * FROM (SELECT " + auditColumns + " FROM " + from + " WHERE " + among +
			" AND account_id = ? AND service_name = ? AND event_type = ? ORDER BY id DESC LIMIT ?) AS latest"
		values = append(values, accountID, service, kind, each)
	}
	var events []models.AuditEvent
	err := s.view(ctx).Raw(strings.Join(parts, " UNION ALL "), values...).Scan(&events).Error
	slices.SortFunc(events, func(a, b models.AuditEvent) int { return slices.Compare(b.ID[:], a.ID[:]) })
	return events, failed(err, "audit history of account %s", accountID)
}
