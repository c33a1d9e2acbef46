package grants

import (
	"slices"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/fault"
)

// The scopes of API keys and OAuth clients: a closed set, part of the API. They
// are policy, not cryptography: whoever has one opens its whole vault.
const (
	TokensRead  = "tokens:read"
	TokensWrite = "tokens:write"
	AgentsRead  = "agents:read"
	AgentsWrite = "agents:write"
	GrantsRead  = "grants:read"
	GrantsWrite = "grants:write"
	AuditRead   = "audit:read"
	VaultManage = "vault:manage"
)

// Scopes lists all scopes in their order.
func Scopes() []string {
	return []string{TokensRead, TokensWrite, AgentsRead, AgentsWrite, GrantsRead, GrantsWrite, AuditRead, VaultManage}
}

// May reports whether the principal may do what the scope stands for: a session
// may do everything, an API key or OAuth client what it was given, an agent none.
func (p Principal) May(scope string) bool {
	switch p.Kind {
	case models.GrantSession:
		return true
	case models.GrantAPIKey, models.GrantOAuthAccess:
		return slices.Contains(p.Scopes, scope)
	default:
		return false
	}
}

// Require is nil when p May, and SCOPE_DENIED, which names the scope, otherwise.
func Require(p Principal, scope string) error {
	if p.May(scope) {
		return nil
	}
	return fault.New(fault.ScopeDenied, "This key lacks the scope %s. Use a key that has it, or sign in.", scope)
}
