package platform_test

import (
	"context"
	"encoding/json"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/server/internal/grants"
)

// ReleaseTo is the service's, with its answer read.
func (w *world) ReleaseTo(ctx context.Context, p grants.Principal, tokenID uuid.UUID) (map[string]any, error) {
	body, err := w.Service.ReleaseTo(ctx, p, tokenID)
	if err != nil || body == nil {
		return nil, err
	}
	var answer map[string]any
	return answer, json.Unmarshal(body, &answer)
}
