package platform_test

import (
	"context"
	"encoding/json"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/server/internal/platform"
)

// ReleaseTo is the service's for who may cause a refresh, with its answer read.
func (w *world) ReleaseTo(ctx context.Context, p grants.Principal, tokenID uuid.UUID) (map[string]any, error) {
	return releaseTo(ctx, w.Service, p, tokenID, models.RefreshAuto)
}

func releaseTo(ctx context.Context, s *platform.Service, p grants.Principal, tokenID uuid.UUID, policy models.RefreshPolicy) (map[string]any, error) {
	body, _, err := s.ReleaseTo(ctx, p, tokenID, policy, nil)
	if err != nil || body == nil {
		return nil, err
	}
	var answer map[string]any
	return answer, json.Unmarshal(body, &answer)
}
