package dashboard_test

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/server/internal/platform"
	"github.com/tvzero/tokenvault/server/internal/vaults"
)

func (s *services) Preflight(_ context.Context, _ grants.Principal, _ audit.Client, address string) (vaults.Preflighted, error) {
	found := vaults.Preflighted{WebhookURL: hook, Host: "hook.example:8443", Ready: true, Probes: []vaults.Probe{
		{Name: "reach", Title: "This server reaches it", Verdict: vaults.Pass, Latency: time.Millisecond, Advice: "A connection was made."},
		{Name: "health", Title: "A webhook answers there", Verdict: vaults.Pass, Status: 200, Advice: "It is healthy."},
	}}
	if s.notReady {
		found.Ready = false
		found.Probes[1] = vaults.Probe{Name: "health", Title: "A webhook answers there", Verdict: vaults.Untried, Advice: "Not tried yet."}
	}
	return found, s.called("Preflight %s", address)
}

func (s *services) VaultStates(context.Context, grants.Principal) ([]platform.VaultState, error) {
	return []platform.VaultState{
		{VaultID: vaultID, Own: true, Tokens: 2, Grants: []models.Grant{{Label: "this laptop"}}, Due: s.keysDue, RekeyDue: s.rekeyDue},
		{VaultID: otherVault, Tokens: 1, RekeyDue: s.rekeyDue},
	}, s.read
}

func (s *services) MakeDueKeys(context.Context, grants.Principal, audit.Client) error {
	return s.called("MakeDueKeys")
}

func (s *services) GrantCounts(context.Context, grants.Principal) (map[uuid.UUID]int, error) {
	return map[uuid.UUID]int{agentID: 3}, s.read
}
