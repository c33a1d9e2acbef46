package grants

import (
	"time"

	"github.com/tvzero/tokenvault/models"
)

// rotates is when a session's token is due to be followed: after a quarter of its
// life. One that lasts as long as its session is not: a successor would not
// last longer. Zero: never.
func rotates(g *models.Grant, k *models.GrantKey) time.Time {
	if g.Kind != models.GrantSession || k.ExpiresAt == nil || g.ExpiresAt != nil && !k.ExpiresAt.Before(*g.ExpiresAt) {
		return time.Time{}
	}
	return k.IssuedAt.Add(k.ExpiresAt.Sub(k.IssuedAt) / 4)
}

func (g *good) due(now time.Time) bool { return !g.rotates.IsZero() && !now.Before(g.rotates) }
