package webhook

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strconv"

	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// refuse is an error that a caller gets to see: code and message are the answer.
// The message says what is wrong and what to do; it never quotes credential
// material.
func refuse(code wire.ErrorCode, format string, args ...any) error {
	return &wire.Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// invalid refuses what was sent.
func invalid(format string, args ...any) error {
	return refuse(wire.CodeInvalidRequest, format, args...)
}

// because adds to a refusal what only the log gets.
func because(refusal, cause error) error { return fmt.Errorf("%w (%w)", refusal, cause) }

// refusalOf turns any error into what a caller may see: an error that is no
// refusal is ours, and is hidden.
func refusalOf(err error) *wire.Error {
	var known *wire.Error
	if errors.As(err, &known) {
		return known
	}
	return &wire.Error{
		Code:    wire.CodeInternal,
		Message: "the webhook could not complete the request; its operator finds the cause in its log",
	}
}

// writeJSON answers with v. What is answered is encoded before the status is
// written, so that a half answer is never sent as 200.
func writeJSON(w http.ResponseWriter, status int, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encoding the answer: %w", err)
	}
	writeBody(w, status, body)
	return nil
}

// writeBody answers with JSON that was encoded before.
func writeBody(w http.ResponseWriter, status int, body []byte) {
	h := w.Header()
	h["Content-Type"] = jsonType
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	w.WriteHeader(status)
	_, _ = w.Write(body) // if the caller has gone, there is nobody to tell
}

// Header values that every answer has; shared, never changed.
var (
	jsonType = []string{"application/json"}
	noStore  = []string{"no-store"}
	noSniff  = []string{"nosniff"}
)

// fail answers an error and logs it: what is the caller's doing as a line
// without detail of the request, what is ours with its cause.
func (w *Webhook) fail(rw http.ResponseWriter, r *http.Request, err error) {
	refusal := refusalOf(err)
	level := slog.LevelInfo
	if refusal.Code.Status() == http.StatusInternalServerError {
		level = slog.LevelError
	}
	// The path is one of ours here. Query and headers are never logged.
	w.log.Log(r.Context(), level, "request refused",
		"method", r.Method, "path", r.URL.Path, "status", refusal.Code.Status(), "code", string(refusal.Code),
		"client", w.clients.describe(r), "error", err.Error())
	_ = writeJSON(rw, refusal.Code.Status(), refusal)
}

// recovered answers for a handler that panicked. The panic's value is not
// logged, for it may quote what the handler worked on; its type and place are.
func (w *Webhook) recovered(rw http.ResponseWriter, r *http.Request, value any) {
	stack := debug.Stack()
	// The stack begins with "panic(…)", which shows addresses, not values.
	if i := bytes.Index(stack, []byte("panic(")); i > 0 {
		stack = stack[i:]
	}
	w.log.ErrorContext(r.Context(), "a request handler panicked",
		"method", r.Method, "path", r.URL.Path, "type", fmt.Sprintf("%T", value), "stack", string(stack))
	_ = writeJSON(rw, http.StatusInternalServerError, refusalOf(errPanic))
}

var errPanic = errors.New("a request handler panicked")
