package vaults

import (
	"time"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// trust is the badge, computed from facts each time and stored nowhere.
func (l lens) trust(t models.Token, r *models.Refresh) (Trust, string) {
	if l.mode == models.ModePlatform {
		return Sealed, "This server stores this credential as ciphertext that opens only with a live session, API key or granted agent's key of yours: not with the database, " +
			"and not with the server's own key. While a request uses it, it passes through the server; its name, notes, tags and expiry are readable here."
	}
	if t.TokenType == wire.TypeOAuth && l.can(wire.CapTVRefresh) && l.providers != nil && l.providers.HoldsSecret(t.Provider) {
		return TVRefresh, "Your webhook keeps this credential and gives it to agents itself. When it is refreshed, it passes through this server, which holds the client secret of its provider: " +
			"in memory, and never stored here in a form that this server could read. Turn that off at your webhook to end it."
	}
	at, path := t.SeenAt, t.SeenPath
	if !t.SeenByServer() {
		if at = mediated(t, r); at == nil {
			return TVZero, "Your webhook keeps this credential and gives it to agents itself: by its code, this server never receives it, unless you yourself move it back to platform mode."
		}
		path = seenRefreshed
	}
	reason := "Your webhook keeps this credential, but this server saw it once, on " + at.UTC().Format(time.DateOnly)
	if path != "" {
		reason += " (" + path + ")"
	}
	return TVSeen, reason + ", and it has not been replaced since. Replace it at its provider and store the new one."
}

// mediated is when this credential was last refreshed through this server, nil if never:
// what it got then may still be good, also where that is permitted no longer.
func mediated(t models.Token, r *models.Refresh) *time.Time {
	if r == nil || r.MediatedAt == nil || t.StoredAt != nil && r.MediatedAt.Before(*t.StoredAt) {
		return nil
	}
	return r.MediatedAt
}
