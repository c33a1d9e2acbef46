package refresh

import "net/http"

// codes says what an error code of a token endpoint means. Those of RFC 6749 §5.2 come
// first; the others are what providers use in their place or besides. A code that is not here is judged by its status,
// and is never permanent.
var codes = map[string]Reason{
	// RFC 6749 §5.2
	"invalid_grant":          ReasonInvalidGrant, // "invalid, expired, revoked, does not match the redirection URI …, or was issued to another client"
	"invalid_client":         ReasonClientRejected,
	"unauthorized_client":    ReasonClientRejected,
	"invalid_request":        ReasonRequestRejected,
	"unsupported_grant_type": ReasonRequestRejected,
	"invalid_scope":          ReasonScopeRejected,

	// RFC 6749 §4.1.2.1 has these for the authorization endpoint; token endpoints use them, too.
	"access_denied":           ReasonRequestRejected,
	"server_error":            ReasonProviderError,
	"temporarily_unavailable": ReasonProviderError,

	// OpenID Connect Core §3.1.2.6; some (Microsoft Entra ID) answer a refresh with them.
	"interaction_required":       ReasonInteractionRequired,
	"login_required":             ReasonInteractionRequired,
	"consent_required":           ReasonInteractionRequired,
	"account_selection_required": ReasonInteractionRequired,

	"invalid_target": ReasonRequestRejected, // RFC 8707 §2
	"slow_down":      ReasonRateLimited,     // RFC 8628 §3.5

	// GitHub, with status 200
	"bad_refresh_token":            ReasonInvalidGrant,
	"bad_verification_code":        ReasonInvalidGrant,
	"incorrect_client_credentials": ReasonClientRejected,
	"redirect_uri_mismatch":        ReasonRequestRejected,

	// Google
	"deleted_client":  ReasonClientRejected,
	"disabled_client": ReasonClientRejected,

	// Slack, with status 200
	"invalid_refresh_token": ReasonInvalidGrant,
	"token_revoked":         ReasonInvalidGrant,
	"token_expired":         ReasonInvalidGrant,
	"invalid_code":          ReasonInvalidGrant,
	"bad_client_secret":     ReasonClientRejected,
	"invalid_client_id":     ReasonClientRejected,
	"ratelimited":           ReasonRateLimited,

	// Gateways in front of providers
	"rate_limit_exceeded": ReasonRateLimited,
	"too_many_requests":   ReasonRateLimited,
}

// byStatus judges the statuses that mean the same whatever the body says, so that no
// gateway's page can make an outage look like a revocation.
func byStatus(status int) (Reason, bool) {
	switch {
	case status == http.StatusTooManyRequests:
		return ReasonRateLimited, true
	case status == http.StatusRequestTimeout:
		return ReasonProviderTimeout, true
	case status == http.StatusTooEarly || status >= 500:
		return ReasonProviderError, true
	case status < 200 || status >= 300 && status < 400:
		return ReasonBrokenAnswer, true
	}
	return "", false
}

// unexplained judges a refusal that names no code we know.
func unexplained(status int) Reason {
	if status == http.StatusUnauthorized {
		return ReasonClientRejected // RFC 6749 §5.2 has 401 for this alone
	}
	return ReasonProviderError
}

// refusal reads an answer that has an error, or none but should.
func (a answer) refusal(f fields) *Refusal {
	code := f["error"]
	reason, isKnown := codes[code.text]
	if code.kind != kindText || code.conflicting || !isKnown {
		reason = unexplained(a.status)
	}
	return a.refuse(reason, f)
}

// refuse adds what the answer says about why and when.
func (a answer) refuse(reason Reason, f fields) *Refusal {
	text := f["error_description"].text
	if _, isKnown := codes[f["error"].text]; !isKnown && f["error"].text != "" {
		text = f["error"].text + ": " + text
	}
	secrets := a.secrets
	for _, name := range []string{"access_token", "refresh_token", "id_token"} {
		secrets = append(secrets[:len(secrets):len(secrets)], Secret(f[name].text))
	}
	r := refuse(reason, a.status, describe(text, secrets...))
	r.RetryAfter = retryAfter(a.header, a.now)
	return r
}

// broken refuses an answer for what is wrong with it, in words of ours.
func (a answer) broken(problem string) *Refusal {
	r := refuse(ReasonBrokenAnswer, a.status, describe(problem, a.secrets...))
	r.RetryAfter = retryAfter(a.header, a.now)
	return r
}
