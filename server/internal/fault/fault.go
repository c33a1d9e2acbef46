// Package fault is the server's one error type: a closed set of codes, a
// message for the user, and a cause for the log.
//
// It knows nothing of HTTP, OAuth or MCP: each door turns codes into its own
// protocol's shape. Anything that is not a *Error is "internal" to the outside.
package fault

import (
	"errors"
	"fmt"
	"time"
)

// Code names what went wrong: a closed set, stable, part of the API.
type Code string

// The codes. Their HTTP statuses are in package web.
const (
	InvalidRequest       Code = "INVALID_REQUEST"
	WrongVaultMode       Code = "WRONG_VAULT_MODE"
	BindCodeInvalid      Code = "BIND_CODE_INVALID"
	WebhookMismatch      Code = "WEBHOOK_MISMATCH"
	SignInRequired       Code = "SIGN_IN_REQUIRED"
	LoginFailed          Code = "LOGIN_FAILED"
	InvalidKey           Code = "INVALID_KEY"
	NoGrant              Code = "NO_GRANT"
	GrantExpired         Code = "GRANT_EXPIRED"
	AgentInactive        Code = "AGENT_INACTIVE"
	ScopeDenied          Code = "SCOPE_DENIED"
	RegistrationClosed   Code = "REGISTRATION_CLOSED"
	CrossOrigin          Code = "CROSS_ORIGIN"
	NotFound             Code = "NOT_FOUND"
	TokenNotFound        Code = "TOKEN_NOT_FOUND"
	TokenEmpty           Code = "TOKEN_EMPTY"
	MethodNotAllowed     Code = "METHOD_NOT_ALLOWED"
	Conflict             Code = "CONFLICT"
	WebhookNotConfigured Code = "WEBHOOK_NOT_CONFIGURED"
	TooLarge             Code = "TOO_LARGE"
	UnsupportedMediaType Code = "UNSUPPORTED_MEDIA_TYPE"
	VaultLocked          Code = "VAULT_LOCKED"
	RateLimited          Code = "RATE_LIMITED"
	Internal             Code = "INTERNAL"
	WebhookUnavailable   Code = "WEBHOOK_UNAVAILABLE"
	WebhookAuthFailed    Code = "WEBHOOK_AUTH_FAILED"
	Unavailable          Code = "UNAVAILABLE"

	// Of a token that has expired: its account is to be connected again; or it could not
	// be refreshed, which may work later.
	ReauthorizationRequired Code = "REAUTHORIZATION_REQUIRED"
	RefreshFailed           Code = "REFRESH_FAILED"
)

// An Error is a failure with a code. Message is a sentence for a person: what
// is wrong and what to do next; it never holds credential material. Field
// names the input at fault, if one is. The cause is for the log alone.
type Error struct {
	Code    Code
	Message string
	Field   string

	ConnectURL string        // where the owner connects an account again; empty: nowhere
	RetryAfter time.Duration // when to try again; 0: no use to say

	cause error
}

// New makes an error from a code and a sentence for the user.
func New(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// Field makes an INVALID_REQUEST that names the field at fault.
func Field(field, format string, args ...any) *Error {
	return &Error{Code: InvalidRequest, Field: field, Message: fmt.Sprintf(format, args...)}
}

// Wrap is New with a cause for the log.
func Wrap(cause error, code Code, format string, args ...any) *Error {
	e := New(code, format, args...)
	e.cause = cause
	return e
}

// Error is for the log: code, message and cause.
func (e *Error) Error() string {
	if e.cause != nil {
		return fmt.Sprintf("%s: %s (%v)", e.Code, e.Message, e.cause)
	}
	return fmt.Sprintf("%s: %s", e.Code, e.Message)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.cause }

// From finds the *Error in err; anything else is Internal with err as its
// cause. It returns nil for nil.
func From(err error) *Error {
	if err == nil {
		return nil
	}
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return Wrap(err, Internal, "Something went wrong on our side. Try again; if it stays, give the operator the request id.")
}

// CodeOf returns the code that From would.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	return From(err).Code
}
