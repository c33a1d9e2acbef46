package grants_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
)

func TestWhoMayDoWhat(t *testing.T) {
	t.Parallel()
	all := []string{"tokens:read", "tokens:write", "agents:read", "agents:write", "grants:read", "grants:write", "audit:read", "vault:manage"}
	if got := grants.Scopes(); !slices.Equal(got, all) {
		t.Fatalf("the scopes are %q, want %q: they are part of the API", got, all)
	}
	for kind, may := range map[models.GrantKind]func(has []string, scope string) bool{
		models.GrantSession:      func([]string, string) bool { return true },
		models.GrantAPIKey:       slices.Contains[[]string],
		models.GrantOAuthAccess:  slices.Contains[[]string],
		models.GrantAgentKey:     func([]string, string) bool { return false },
		models.GrantOAuthRefresh: func([]string, string) bool { return false },
		models.GrantAuthCode:     func([]string, string) bool { return false },
		"":                       func([]string, string) bool { return false },
	} {
		for n := range len(all) + 1 {
			p := grants.Principal{Kind: kind, Scopes: all[:n]}
			for _, scope := range all {
				want := may(p.Scopes, scope)
				if got := p.May(scope); got != want {
					t.Errorf("%q with %q may %s: %v, want %v", kind, p.Scopes, scope, got, want)
				}
				err := grants.Require(p, scope)
				if (err == nil) != want || err != nil && (fault.CodeOf(err) != fault.ScopeDenied || !strings.Contains(fault.From(err).Message, scope)) {
					t.Errorf("%q with %q, required %s: %v", kind, p.Scopes, scope, err)
				}
			}
		}
	}
}
