package refreshes

import (
	"github.com/tvzero/tokenvault/refresh"
	"github.com/tvzero/tokenvault/server/internal/fault"
)

// Reasons besides those of package refresh: a closed set, safe to show and to count.
const (
	ReasonUnreachable   refresh.Reason = "webhook_unreachable" // no answer of the webhook, or one of what stands before it
	ReasonRefused       refresh.Reason = "webhook_refused"     // it does not take the call: signature, version, permission
	ReasonWebhookError  refresh.Reason = "webhook_error"       // an error of its own, or an answer that is none
	ReasonRefreshFailed refresh.Reason = "refresh_failed"      // it tried, and does not say why that failed
	ReasonAcknowledged  refresh.Reason = "acknowledged"        // nobody has the client secret of the token's provider
	ReasonNoToken       refresh.Reason = "no_token"            // the webhook has no such token
	ReasonOtherProvider refresh.Reason = "other_provider"      // the webhook's token is of another provider than it last reported
	ReasonNotSupported  refresh.Reason = "not_supported"       // the webhook has no capability for it
	ReasonNotBound      refresh.Reason = "not_bound"           // no webhook is bound, or another than the token's
	ReasonLocked        refresh.Reason = "locked"              // the owner's kill switch is on
	ReasonUndelivered   refresh.Reason = "undelivered"         // of rotated: the new tokens wait, sealed, for the webhook
)

// Reasons lists the closed set of this package, without that of package refresh.
func Reasons() []refresh.Reason {
	return []refresh.Reason{
		ReasonUnreachable, ReasonRefused, ReasonWebhookError, ReasonRefreshFailed, ReasonAcknowledged, ReasonNoToken, ReasonOtherProvider,
		ReasonNotSupported, ReasonNotBound, ReasonLocked, ReasonUndelivered,
	}
}

// codeOf is how an outcome stands in the audit record; empty: it was done.
func codeOf(k refresh.Kind) fault.Code {
	switch k {
	case refresh.RetryAt:
		return fault.RefreshFailed
	case refresh.NeedsReauthorization:
		return fault.ReauthorizationRequired
	}
	return ""
}

// known is a reason that a webhook gave, if it is one of refresh's, or otherwise.
func known(given string, otherwise refresh.Reason) refresh.Reason {
	for _, r := range refresh.Reasons() {
		if string(r) == given {
			return r
		}
	}
	return otherwise
}
