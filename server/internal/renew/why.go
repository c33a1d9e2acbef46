package renew

import (
	"github.com/tvzero/tokenvault/refresh"
	"github.com/tvzero/tokenvault/server/internal/refreshes"
)

// Why says in half a sentence why a token was not refreshed, by any path. It goes after
// a colon, or between "because" and a full stop.
func Why(reason refresh.Reason) string {
	if words := reason.Why(); words != "" {
		return words
	}
	return whyNotAtWebhook(reason)
}

func whyNotAtWebhook(reason refresh.Reason) string {
	switch reason {
	case refreshes.ReasonUnreachable:
		return "the webhook cannot be reached"
	case refreshes.ReasonRefused:
		return "the webhook refuses the request, which its operator has to look into"
	case refreshes.ReasonWebhookError:
		return "the webhook answered with an error"
	case refreshes.ReasonRefreshFailed:
		return "the webhook has tried, and does not say why that failed"
	case refreshes.ReasonAcknowledged:
		return "nobody has the client secret of its provider: neither the webhook nor this server"
	case refreshes.ReasonNoToken:
		return "the webhook has no such token"
	case refreshes.ReasonOtherProvider:
		return "the webhook's token is of another provider than it reported"
	case refreshes.ReasonNotSupported:
		return "the webhook does not refresh tokens"
	case refreshes.ReasonNotBound:
		return "the token is of a webhook that is not bound any more"
	case refreshes.ReasonLocked:
		return "the vault is locked"
	case refreshes.ReasonUndelivered:
		return "the new tokens wait, sealed, for the webhook"
	}
	return "that has failed"
}
