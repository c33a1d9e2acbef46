package refreshtest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// A Fault answers a call of the token endpoint otherwise than it should be.
type Fault func(*Call)

// A Call is a call of the token endpoint in a Fault's hands.
type Call struct {
	w      http.ResponseWriter
	r      *http.Request
	closed <-chan struct{}
	p      *Provider
}

// Answer grants what is asked for, and rotates, and answers so; change may alter the answer's fields before.
func (c *Call) Answer(change func(fields map[string]any)) {
	status, body := c.p.grant(c.r)
	if change != nil && status == http.StatusOK {
		change(body)
	}
	writeJSON(c.w, status, body)
}

// hang waits until the client has gone.
func (c *Call) hang() {
	select {
	case <-c.r.Context().Done():
	case <-c.closed:
	}
}

// Healthy is no fault: it keeps its place in Next.
func Healthy(c *Call) { c.Answer(nil) }

// With grants, with fields of the answer replaced; nil leaves one out.
func With(fields map[string]any) Fault {
	return func(c *Call) {
		c.Answer(func(answer map[string]any) {
			for name, value := range fields {
				if answer[name] = value; value == nil {
					delete(answer, name)
				}
			}
		})
	}
}

// FormEncoded grants, and answers as GitHub does to who does not ask for JSON.
func FormEncoded(c *Call) {
	status, body := c.p.grant(c.r)
	form := url.Values{}
	for name, value := range body {
		form.Set(name, fmt.Sprint(value))
	}
	c.w.Header().Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	c.w.WriteHeader(status)
	_, _ = c.w.Write([]byte(form.Encode()))
}

// Slow grants once release is closed or has a value. Without the client, it grants nevertheless.
func Slow(release <-chan struct{}) Fault {
	return func(c *Call) {
		if err := c.r.ParseForm(); err != nil {
			return // while it is there to be read
		}
		select {
		case <-release:
		case <-c.closed:
			return
		}
		c.Answer(nil)
	}
}

// Silent grants nothing and does not answer.
func Silent(c *Call) { c.hang() }

// RotatedAndGone grants, and drops the connection without an answer.
func RotatedAndGone(c *Call) {
	c.p.grant(c.r)
	panic(http.ErrAbortHandler)
}

// HalfThenHang grants, sends half of the answer, and no more.
func HalfThenHang(c *Call) {
	c.half()
	c.hang()
}

// HalfThenGone grants, sends half of the answer, and drops the connection.
func HalfThenGone(c *Call) {
	c.half()
	panic(http.ErrAbortHandler)
}

func (c *Call) half() {
	status, body := c.p.grant(c.r)
	text, _ := json.Marshal(body)
	c.w.Header().Set("Content-Type", "application/json")
	c.w.Header().Set("Content-Length", fmt.Sprint(len(text)))
	c.w.WriteHeader(status)
	_, _ = c.w.Write(text[:len(text)/2])
	_ = http.NewResponseController(c.w).Flush()
}

// Status grants nothing and answers with this status, headers in pairs, and body.
func Status(status int, body string, headers ...string) Fault {
	return func(c *Call) {
		for i := 0; i+1 < len(headers); i += 2 {
			c.w.Header().Set(headers[i], headers[i+1])
		}
		c.w.WriteHeader(status)
		_, _ = c.w.Write([]byte(body))
	}
}

// Refused grants nothing and answers with an error of RFC 6749 §5.2.
func Refused(status int, code, description string) Fault {
	return func(c *Call) {
		writeJSON(c.w, status, map[string]any{"error": code, "error_description": description})
	}
}

// OKWithError grants nothing and answers an error with status 200, as GitHub does.
func OKWithError(code, description string) Fault {
	return Refused(http.StatusOK, code, description)
}

// RateLimited grants nothing; retryAfter is seconds or an HTTP date, or empty.
func RateLimited(retryAfter string) Fault {
	if retryAfter == "" {
		return Status(http.StatusTooManyRequests, "slow down")
	}
	return Status(http.StatusTooManyRequests, "slow down", "Retry-After", retryAfter)
}

// Redirected grants nothing and points elsewhere.
func Redirected(to string) Fault { return Status(http.StatusTemporaryRedirect, "", "Location", to) }

// Garbage grants nothing and answers with what is not an answer.
func Garbage(c *Call) {
	Status(http.StatusOK, "\x00\x01<html>{]", "Content-Type", "application/json")(c)
}

// Huge grants nothing and answers with 3 MiB of well-formed JSON.
func Huge(c *Call) {
	Status(http.StatusOK, `{"access_token":"`+strings.Repeat("a", 3<<20)+`"}`, "Content-Type", "application/json")(c)
}

// Flapping alternates between 503 and health, beginning with 503. One is for one Provider.
func Flapping() Fault {
	turns := make(chan bool, 1)
	turns <- true
	return func(c *Call) {
		down := <-turns
		turns <- !down
		if down {
			Status(http.StatusServiceUnavailable, "<html>down</html>", "Content-Type", "text/html")(c)
			return
		}
		c.Answer(nil)
	}
}
