package web

import (
	"net/http"
	"strings"
)

// HeaderAgentKey is the other header, besides Authorization, in which an agent
// may send its key.
const HeaderAgentKey = "X-Agent-Key"

// Bearer returns the token of an Authorization header (RFC 6750, section 2.1).
// Given reports whether there is such a header at all: with one that is
// malformed, doubled or of another scheme the token is empty, which is no
// good token anywhere.
func Bearer(r *http.Request) (token string, given bool) {
	values := r.Header["Authorization"]
	if len(values) == 0 {
		return "", false
	}
	if len(values) > 1 {
		return "", true
	}
	scheme, token, found := strings.Cut(values[0], " ")
	if !found || !strings.EqualFold(scheme, "Bearer") {
		return "", true
	}
	return strings.TrimLeft(token, " "), true
}

// AgentKey returns the agent key of a request, from either header, or "" if
// there is none or the two disagree. A query string is never looked at: it
// ends up in logs and histories.
func AgentKey(r *http.Request) string {
	bearer, given := Bearer(r)
	values := r.Header[HeaderAgentKey]
	switch {
	case len(values) == 0:
		return bearer
	case len(values) > 1, given && bearer != values[0]:
		return ""
	}
	return values[0]
}
