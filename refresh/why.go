package refresh

// Why says in half a sentence, for a person, why a token was not refreshed. It goes
// after a colon, or between "because" and a full stop. Empty: the reason is none of
// this package's.
func (r Reason) Why() string {
	switch r {
	case ReasonInvalidGrant:
		return "its provider does not accept the refresh token any more"
	case ReasonInteractionRequired:
		return "its provider wants to see the owner"
	case ReasonNoRefreshToken:
		return "there is no refresh token"
	case ReasonRateLimited:
		return "its provider has asked for a pause"
	case ReasonProviderTimeout, ReasonProviderUnreachable:
		return "its provider cannot be reached"
	case ReasonProviderError:
		return "its provider answered with an error"
	case ReasonBrokenAnswer:
		return "its provider gave an answer that cannot be used"
	case ReasonBusy:
		return "another refresh of it takes its time"
	case ReasonNotStored:
		return "the new tokens could not be stored"
	case ReasonClientRejected:
		return "its provider rejects the client id or secret, which the operator has to put in order"
	case ReasonRequestRejected, ReasonScopeRejected:
		return "its provider rejects the request, which the operator has to look into"
	case ReasonMisconfigured:
		return "this server is no client of the provider that it is from, or knows that provider otherwise"
	}
	return ""
}
