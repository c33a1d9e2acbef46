package refresh

import (
	"slices"
	"strings"
	"time"
)

// Tokens are what a provider issued.
type Tokens struct {
	AccessToken  Secret
	RefreshToken Secret // from a Client: empty when the answer has none, and then the old one stays
	IDToken      Secret // OpenID Connect; empty when the answer has none. Its signature was not checked

	TokenType string    // RFC 6749 §7.1; "Bearer" when the answer does not say
	Scopes    []string  // from a Client: nil when the answer does not say, and then they are as before
	ExpiresAt time.Time // of the access token; zero: it does not expire, or nobody knows when
}

// over returns t with what the answer left out taken from the tokens before it, and
// whether the scopes are others than before.
func (t Tokens) over(before Tokens) (merged Tokens, scopesChanged bool) {
	if t.RefreshToken == "" {
		t.RefreshToken = before.RefreshToken
	}
	if t.IDToken == "" {
		t.IDToken = before.IDToken
	}
	if t.Scopes == nil {
		t.Scopes = slices.Clone(before.Scopes)
		return t, false
	}
	// Of a credential whose scopes were never known, nothing is known to have changed.
	return t, len(before.Scopes) > 0 && !sameSet(t.Scopes, before.Scopes)
}

func sameSet(a, b []string) bool {
	a, b = slices.Clone(a), slices.Clone(b)
	slices.Sort(a)
	slices.Sort(b)
	return slices.Equal(slices.Compact(a), slices.Compact(b))
}

// Limits of the scopes that are kept of an answer.
const (
	maxScopes = 256
	maxScope  = 512 // bytes
)

// SplitScopes reads a scope parameter: its scopes are separated by spaces (RFC 6749
// §3.3) or, where there are none, by commas as GitHub writes them. What no scope can
// hold is left out, and so is what came before.
func SplitScopes(text string) []string {
	fields := strings.Fields(text)
	if len(fields) <= 1 {
		fields = strings.Split(text, ",")
	}
	return cleanScopes(fields)
}

func cleanScopes(fields []string) []string {
	scopes := []string{}
	for _, field := range fields {
		scope := strings.Trim(field, ", \t\r\n")
		if scope == "" || len(scope) > maxScope || !isVisible(scope) || slices.Contains(scopes, scope) {
			continue
		}
		if scopes = append(scopes, scope); len(scopes) == maxScopes {
			break
		}
	}
	return scopes
}

// isVisible reports whether text is printable ASCII without spaces.
func isVisible(text string) bool {
	for i := range len(text) {
		if text[i] <= ' ' || text[i] > '~' {
			return false
		}
	}
	return true
}
