package agent

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// An Error is a refusal by the server (code like "NO_GRANT") or by the webhook
// (code like "token_not_found").
type Error struct {
	Host       string        // who refused
	Status     int           // HTTP status
	Code       string        // empty when the answer did not say
	Message    string        // a sentence for a person
	RequestID  string        // of the server, for its operator
	RetryAfter time.Duration // zero: the answer did not say
}

func (e *Error) Error() string {
	code := e.Code
	if code == "" {
		code = http.StatusText(e.Status)
	}
	return fmt.Sprintf("agent: %s refused (%d %s): %s", e.Host, e.Status, code, e.Message)
}

const maxMessage = 500 // bytes of somebody else's words

// refusal reads either wire's error shape.
func (a answer) refusal(host string) error {
	e := &Error{Host: host, Status: a.status, RequestID: a.header.Get("X-Request-Id")}
	var body struct {
		Code, Detail, Title string // the server's problem+json
		Error, Message      string // the webhook's
	}
	if json.Unmarshal(a.body, &body) == nil {
		e.Code, e.Message = body.Code, body.Detail
		if e.Code == "" {
			e.Code, e.Message = body.Error, body.Message
		}
		if e.Message == "" {
			e.Message = body.Title
		}
	}
	e.Message = e.Message[:min(len(e.Message), maxMessage)]
	if seconds, err := strconv.Atoi(a.header.Get("Retry-After")); err == nil && seconds > 0 {
		e.RetryAfter = time.Duration(seconds) * time.Second
	}
	return e
}
