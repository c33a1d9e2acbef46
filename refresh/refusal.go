package refresh

import (
	"fmt"
	"time"
)

// A Reason says why a refresh did not give new tokens. It is one of a closed set and
// safe to show and to count.
type Reason string

// Permanent: the owner has to connect the account again.
const (
	ReasonInvalidGrant        Reason = "invalid_grant"        // RFC 6749 §5.2 and kin: expired, revoked, used before, another client's
	ReasonInteractionRequired Reason = "interaction_required" // the provider wants to see the owner (sign in, consent, second factor)
	ReasonNoRefreshToken      Reason = "no_refresh_token"     // there is none to refresh with
)

// Transient: tried again, sooner or later.
const (
	ReasonRateLimited         Reason = "rate_limited"         // 429, slow_down
	ReasonProviderTimeout     Reason = "provider_timeout"     // no answer, or half of one, in time; 408
	ReasonProviderUnreachable Reason = "provider_unreachable" // no connection, name or TLS
	ReasonProviderError       Reason = "provider_error"       // 5xx, 425, server_error, and what nobody has a name for
	ReasonBrokenAnswer        Reason = "broken_answer"        // not what RFC 6749 §5 says: garbage, too large, a redirect
	ReasonBusy                Reason = "busy"                 // another process refreshes it, and takes its time
	ReasonNotStored           Reason = "not_stored"           // new tokens could not be committed
)

// Transient, but nothing that waiting alone will cure: an operator has to. Tried again after a
// long time, because it is not the owner's fault.
const (
	ReasonClientRejected  Reason = "client_rejected"  // invalid_client, unauthorized_client: our id or secret
	ReasonRequestRejected Reason = "request_rejected" // invalid_request, unsupported_grant_type, invalid_target, access_denied
	ReasonScopeRejected   Reason = "scope_rejected"   // invalid_scope
	ReasonMisconfigured   Reason = "misconfigured"    // the provider lacks an endpoint, or has a wrong one
)

// Reasons lists the closed set.
func Reasons() []Reason {
	return []Reason{
		ReasonInvalidGrant, ReasonInteractionRequired, ReasonNoRefreshToken,
		ReasonRateLimited, ReasonProviderTimeout, ReasonProviderUnreachable, ReasonProviderError, ReasonBrokenAnswer, ReasonBusy, ReasonNotStored,
		ReasonClientRejected, ReasonRequestRejected, ReasonScopeRejected, ReasonMisconfigured,
	}
}

// Permanent reports whether only the owner can help, by connecting again.
func (r Reason) Permanent() bool {
	return r == ReasonInvalidGrant || r == ReasonInteractionRequired || r == ReasonNoRefreshToken
}

// ForOperator reports whether an operator has to repair the configuration.
func (r Reason) ForOperator() bool {
	switch r {
	case ReasonClientRejected, ReasonRequestRejected, ReasonScopeRejected, ReasonMisconfigured:
		return true
	}
	return false
}

// Holds reports whether who asks for a refresh at once waits as well for the retry that was set for this reason: the
// provider was asked, and another call at once would be too many. All else may be in order again by now.
func (r Reason) Holds() bool {
	switch r {
	case ReasonRateLimited, ReasonProviderTimeout, ReasonProviderUnreachable, ReasonProviderError, ReasonBrokenAnswer:
		return true
	}
	return false
}

// A Refusal is the error of a Client: the provider gave no tokens.
type Refusal struct {
	Reason     Reason
	Permanent  bool          // Reason.Permanent()
	RetryAfter time.Duration // as the provider wishes, at most MaxRetryAfter; 0: it did not say
	Status     int           // of HTTP; 0: there was no answer

	// Description is for an operator: at most 200 characters, printable, without any
	// secret that was sent or received. It comes from the provider and is not to be trusted.
	Description string
}

func (r *Refusal) Error() string {
	text := "refresh: " + string(r.Reason)
	if r.Status != 0 {
		text += fmt.Sprintf(" (status %d)", r.Status)
	}
	if r.Description != "" {
		text += ": " + r.Description
	}
	return text
}

func refuse(reason Reason, status int, description string) *Refusal {
	return &Refusal{Reason: reason, Permanent: reason.Permanent(), Status: status, Description: description}
}
