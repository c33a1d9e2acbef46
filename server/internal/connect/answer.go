package connect

import (
	"context"
	"errors"
	"regexp"

	"github.com/tvzero/tokenvault/refresh"
	"github.com/tvzero/tokenvault/server/internal/fault"
)

var errorCode = regexp.MustCompile(`^[a-z][a-z0-9_.-]{0,63}$`)

// providerError is an error that a provider sent the browser back with (RFC 6749
// section 4.1.2.1, OpenID Connect Core section 3.1.2.6), as a sentence. What the
// provider says of it is not shown: anybody can put text into such an address.
func providerError(code, name string) error {
	switch code {
	case "access_denied":
		return fault.Field("error", "You did not allow it at %s. Nothing was connected.", name)
	case "login_required", "consent_required", "interaction_required", "account_selection_required":
		return fault.Field("error", "%s wants you to sign in or to agree first. Start again.", name)
	case "invalid_scope":
		return fault.Field("error", "%s does not know one of the scopes that were asked for. Ask for others.", name)
	case "unauthorized_client", "invalid_client", "invalid_request", "unsupported_response_type", "redirect_uri_mismatch":
		return fault.New(fault.Unavailable, "%s does not accept this server's request (%s). Tell the operator: client id and callback address must be as they are registered there.", name, code)
	case "server_error", "temporarily_unavailable":
		return fault.New(fault.Unavailable, "%s has a problem of its own at the moment. Try again later.", name)
	}
	if len(code) > maxError || !errorCode.MatchString(code) {
		code = "an error without a proper name"
	}
	return fault.Field("error", "%s refused: %s. Nothing was connected.", name, code)
}

// exchangeFailed is why a code was not exchanged, as a sentence; what the provider
// says of it goes into the log.
func (s *Service) exchangeFailed(ctx context.Context, id, name string, err error) error {
	var refused *refresh.Refusal
	if !errors.As(err, &refused) {
		return fault.Wrap(err, fault.Unavailable, "%s did not answer in time. Nothing was connected; try again.", name)
	}
	s.deps.Logger.WarnContext(ctx, "connect: a provider gave no tokens for a code", "provider", id, "reason", refused.Reason, "status", refused.Status, "description", refused.Description)
	switch {
	case refused.Reason == refresh.ReasonInvalidGrant:
		return fault.Wrap(err, fault.InvalidRequest, "%s does not take its own code any more: it was used already, or is too old. Start again.", name)
	case refused.Reason.ForOperator():
		return fault.Wrap(err, fault.Unavailable, "%s does not accept this server as its client. Tell the operator: client id, secret and callback address must be as they are registered there.", name)
	case refused.Reason == refresh.ReasonRateLimited:
		return fault.Wrap(err, fault.Unavailable, "%s asks for fewer requests at the moment. Try again in some minutes.", name)
	case refused.Reason == refresh.ReasonBrokenAnswer:
		return fault.Wrap(err, fault.Unavailable, "%s gave an answer that cannot be used. Nothing was connected; tell the operator if it stays.", name)
	case refused.Reason == refresh.ReasonProviderTimeout || refused.Reason == refresh.ReasonProviderUnreachable:
		return fault.Wrap(err, fault.Unavailable, "%s could not be reached, or did not answer in time. Nothing was connected; try again.", name)
	}
	return fault.Wrap(err, fault.Unavailable, "%s answered with an error. Nothing was connected; try again.", name)
}
