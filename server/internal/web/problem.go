package web

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/tvzero/tokenvault/server/internal/fault"
)

// ContentTypeProblem is the media type of an error (RFC 9457).
const ContentTypeProblem = "application/problem+json"

// A Handler answers a request, or returns why it could not; it does not write
// errors itself.
type Handler func(c *gin.Context) error

// JSON is the adapter of JSON doors: an error becomes a problem.
func JSON(h Handler) gin.HandlerFunc {
	return func(c *gin.Context) {
		if err := h(c); err != nil {
			Error(c, err)
		}
	}
}

// Error answers err as a problem and leaves its cause to the access log, which
// writes it down if it is our fault (5xx). When the answer has begun already
// the connection is cut, lest half an answer look whole.
func Error(c *gin.Context, err error) {
	_ = c.Error(err)
	if c.Writer.Written() {
		panic(http.ErrAbortHandler)
	}
	failure := fault.From(err)
	Problem(c, failure)
}

// ProblemBody is the body of every error under /api (RFC 9457, section 3).
type ProblemBody struct {
	Type      string     `json:"type"` // "about:blank": Code says what it is
	Title     string     `json:"title"`
	Status    int        `json:"status"`
	Detail    string     `json:"detail"`
	Code      fault.Code `json:"code"`
	Field     string     `json:"field,omitempty"`      // the input at fault
	Connect   string     `json:"connectUrl,omitempty"` // where the owner connects the account again
	RequestID string     `json:"requestId"`
}

// Problem writes a failure as problem+json. What was thrown is not shown:
// only code, message, field, and what to do next.
func Problem(c *gin.Context, failure *fault.Error) {
	status := Status(failure.Code)
	problem(c, status, failure)
}

func problem(c *gin.Context, status int, failure *fault.Error) {
	h := c.Writer.Header()
	body, err := json.Marshal(ProblemBody{
		Type: "about:blank", Title: http.StatusText(status), Status: status, Detail: failure.Message,
		Code: failure.Code, Field: failure.Field, Connect: failure.ConnectURL, RequestID: h.Get(HeaderRequestID),
	})
	if err != nil { // strings and an int: cannot happen
		body = []byte(`{}`)
	}
	if status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", challenge(failure.Code))
	}
	if failure.RetryAfter > 0 {
		seconds := (failure.RetryAfter + time.Second - 1) / time.Second // never too early
		h.Set("Retry-After", strconv.FormatInt(int64(seconds), 10))
	}
	write(c, status, problemType, body)
}

// challenge is the WWW-Authenticate of a 401 (RFC 6750, section 3).
func challenge(code fault.Code) string {
	if code == fault.InvalidKey {
		return `Bearer realm="tokenvault", error="invalid_token"`
	}
	return `Bearer realm="tokenvault"`
}

// ConflictWith answers like Error, but with 409: for the refusals whose code
// has another status elsewhere.
func ConflictWith(c *gin.Context, failure *fault.Error) {
	problem(c, http.StatusConflict, failure)
}

// WriteJSON answers with v. An error means that nothing was written.
func WriteJSON(c *gin.Context, status int, v any) error {
	body, err := json.Marshal(v)
	if err == nil {
		WriteBody(c, status, body)
	}
	return err
}

// WriteBody is WriteJSON for what is JSON already.
func WriteBody(c *gin.Context, status int, body []byte) {
	write(c, status, jsonType, body)
}

// Values of headers that many answers share: nobody changes them.
var (
	jsonType    = []string{"application/json"}
	problemType = []string{ContentTypeProblem}
	nothingRuns = []string{"default-src 'none'; frame-ancestors 'none'"}
)

// write answers with text that is no page: should a browser take it for one, nothing in
// it runs. That it cannot be written is for the log alone: nobody reads it.
func write(c *gin.Context, status int, contentType []string, body []byte) {
	h := c.Writer.Header()
	h["Content-Security-Policy"], h["Content-Type"] = nothingRuns, contentType
	c.Status(status)
	if _, err := c.Writer.Write(body); err != nil {
		_ = c.Error(err)
	}
}

// NoContent answers 204.
func NoContent(c *gin.Context) error {
	c.Status(http.StatusNoContent)
	c.Writer.WriteHeaderNow()
	return nil
}

// Status is the HTTP status of a code: the one table. An unknown code is 500.
func Status(code fault.Code) int {
	switch code {
	case fault.InvalidRequest, fault.WrongVaultMode, fault.BindCodeInvalid:
		return http.StatusBadRequest
	case fault.WebhookMismatch:
		return http.StatusUnprocessableEntity
	case fault.SignInRequired, fault.LoginFailed, fault.InvalidKey:
		return http.StatusUnauthorized
	case fault.NoGrant, fault.GrantExpired, fault.AgentInactive, fault.ScopeDenied, fault.RegistrationClosed, fault.CrossOrigin:
		return http.StatusForbidden
	case fault.NotFound, fault.TokenNotFound, fault.TokenEmpty:
		return http.StatusNotFound
	case fault.MethodNotAllowed:
		return http.StatusMethodNotAllowed
	case fault.Conflict, fault.WebhookNotConfigured, fault.ReauthorizationRequired:
		return http.StatusConflict
	case fault.TooLarge:
		return http.StatusRequestEntityTooLarge
	case fault.UnsupportedMediaType:
		return http.StatusUnsupportedMediaType
	case fault.VaultLocked:
		return http.StatusLocked
	case fault.RateLimited:
		return http.StatusTooManyRequests
	case fault.WebhookUnavailable, fault.WebhookAuthFailed, fault.RefreshFailed:
		return http.StatusBadGateway
	case fault.Unavailable:
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}
