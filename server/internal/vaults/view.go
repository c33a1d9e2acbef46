package vaults

import (
	"time"

	"github.com/tvzero/tokenvault/models"
)

// expiringWithin is how long before its expiry a token that cannot be refreshed
// counts as expiring.
const expiringWithin = 24 * time.Hour

// viewOf computes what is said of a token at now. "expired": its expiry has
// passed; whether the webhook can refresh it is seen when it does. "expiring": it
// ends within 24 hours and has no refresh token. Everything else is "active".
func viewOf(t models.Token, mode models.VaultMode, now time.Time) TokenView {
	v := TokenView{Token: t, Status: StatusActive}
	switch {
	case t.ExpiresAt == nil:
	case !now.Before(*t.ExpiresAt):
		v.Status = StatusExpired
	case !t.HasRefreshToken && t.ExpiresAt.Sub(now) < expiringWithin:
		v.Status = StatusExpiring
	}
	v.Trust, v.TrustReason = trustOf(t, mode)
	return v
}

// trustOf is the badge, computed from facts each time and stored nowhere.
func trustOf(t models.Token, mode models.VaultMode) (Trust, string) {
	if mode == models.ModePlatform {
		return Sealed, "This server stores this credential as ciphertext that opens only with a live session, API key or granted agent's key of yours: not with the database, " +
			"and not with the server's own key. While a request uses it, it passes through the server; its name, notes, tags and expiry are readable here."
	}
	if !t.SeenByServer() {
		return TVZero, "Your webhook keeps this credential and gives it to agents itself: by its code, this server never receives it on any path."
	}
	reason := "Your webhook keeps this credential, but this server saw it once, on " + t.SeenAt.UTC().Format(time.DateOnly)
	if t.SeenPath != "" {
		reason += " (" + t.SeenPath + ")"
	}
	return TVSeen, reason + ", and it has not been replaced since. Replace it at its provider and store the new one."
}
