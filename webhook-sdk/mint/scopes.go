package mint

import (
	"errors"
	"slices"
	"strings"
)

// Limits of the scopes that one token asks for.
const (
	maxScopes      = 64
	maxScopeLength = 256 // bytes
)

// readScopes reads the scopes of a token's metadata: a list of strings, or one
// string with spaces between (RFC 6749 §3.3). Absent or empty, they are fallback.
// Errors do not quote them.
func readScopes(setting any, fallback string) ([]string, error) {
	var scopes []string
	switch s := setting.(type) {
	case nil:
	case string:
		if len(s) > maxScopes*(maxScopeLength+1) {
			return nil, errors.New("the scopes in the token's metadata are too long")
		}
		scopes = strings.Fields(s)
	case []string:
		scopes = slices.Clone(s)
	case []any:
		for _, item := range s {
			scope, ok := item.(string)
			if !ok {
				return nil, errors.New("the scopes in the token's metadata are not all strings")
			}
			scopes = append(scopes, scope)
		}
	default:
		return nil, errors.New("the scopes in the token's metadata are neither a list nor a string")
	}
	if len(scopes) == 0 {
		return []string{fallback}, nil
	}
	if len(scopes) > maxScopes {
		return nil, errors.New("the token's metadata has too many scopes")
	}
	if slices.ContainsFunc(scopes, func(scope string) bool { return !validScope(scope) }) {
		return nil, errors.New("a scope in the token's metadata is not one")
	}
	return scopes, nil
}

// validScope is scope-token of RFC 6749 §3.3.
func validScope(scope string) bool {
	return scope != "" && len(scope) <= maxScopeLength && !strings.ContainsFunc(scope, notVisible) && !strings.ContainsAny(scope, `"\`)
}
