package wire

import "net/http"

// ErrorCode is the "error" of a webhook's answer: a closed set.
type ErrorCode string

// The error codes of a webhook.
const (
	CodeInvalidRequest  ErrorCode = "invalid_request"
	CodeNotTOTP         ErrorCode = "not_totp"
	CodeTooLarge        ErrorCode = "too_large"
	CodeAuthFailed      ErrorCode = "auth_failed"
	CodeTicketInvalid   ErrorCode = "ticket_invalid"
	CodeTicketExpired   ErrorCode = "ticket_expired"
	CodeSetupRequired   ErrorCode = "setup_required"
	CodeForbidden       ErrorCode = "forbidden"
	CodeTokenNotFound   ErrorCode = "token_not_found"
	CodeAlreadyExists   ErrorCode = "already_exists"
	CodeStaleCreation   ErrorCode = "stale_creation"
	CodeCodeExpired     ErrorCode = "code_expired"
	CodeCodeUsed        ErrorCode = "code_used"
	CodeInternal        ErrorCode = "internal_error"
	CodeTOTPFailed      ErrorCode = "totp_failed"
	CodeGCPMintFailed   ErrorCode = "gcp_mint_failed"
	CodeMintFailed      ErrorCode = "mint_failed"
	CodeProviderError   ErrorCode = "provider_error"
	CodeUpstreamError   ErrorCode = "upstream_error"
	CodeProviderTimeout ErrorCode = "provider_timeout"
	CodeUpstreamTimeout ErrorCode = "upstream_timeout"
)

// Status is the HTTP status that goes with a code.
func (c ErrorCode) Status() int {
	switch c {
	case CodeInvalidRequest, CodeNotTOTP:
		return http.StatusBadRequest
	case CodeTooLarge:
		return http.StatusRequestEntityTooLarge
	case CodeAuthFailed, CodeTicketInvalid, CodeTicketExpired:
		return http.StatusUnauthorized
	case CodeSetupRequired, CodeForbidden:
		return http.StatusForbidden
	case CodeTokenNotFound:
		return http.StatusNotFound
	case CodeAlreadyExists, CodeStaleCreation:
		return http.StatusConflict
	case CodeCodeExpired, CodeCodeUsed:
		return http.StatusGone
	case CodeProviderError, CodeUpstreamError:
		return http.StatusBadGateway
	case CodeProviderTimeout, CodeUpstreamTimeout:
		return http.StatusGatewayTimeout
	}
	return http.StatusInternalServerError
}

// Error is the body of a refusal. Message never holds credential material.
type Error struct {
	Code    ErrorCode `json:"error"`
	Message string    `json:"message"`
}

func (e *Error) Error() string { return string(e.Code) + ": " + e.Message }
