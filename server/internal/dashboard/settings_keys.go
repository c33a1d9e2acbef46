package dashboard

import (
	"context"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/server/internal/platform"
)

// DueKeys says which new keys are due in platform vaults, and makes them.
type DueKeys interface {
	VaultStates(ctx context.Context, p grants.Principal) ([]platform.VaultState, error)
	MakeDueKeys(ctx context.Context, p grants.Principal, client audit.Client) error
}

// A vaultRow is a platform vault with the state of its keys.
type vaultRow struct {
	Vault   vaultMark
	Own     bool
	Tokens  int
	Grants  []string // labels of what opens it
	Pending bool
	Since   *time.Time // when its own key became due
	Rekey   int        // credentials that are due for a key of their own
}

func (d *Dashboard) vaultRows(c *gin.Context, v visitor) ([]vaultRow, error) {
	states, err := d.deps.DueKeys.VaultStates(c.Request.Context(), v.principal)
	if err != nil {
		return nil, err
	}
	rows := make([]vaultRow, len(states))
	for i, s := range states {
		rows[i] = vaultRow{
			Vault: markOf(s.VaultID), Own: s.Own, Tokens: s.Tokens, Pending: s.Pending(), Since: s.Due, Rekey: s.RekeyDue,
		}
		for _, g := range s.Grants {
			rows[i].Grants = append(rows[i].Grants, g.Label)
		}
	}
	return rows, nil
}

// pendingVaults are those that wait for new keys.
func (d *Dashboard) pendingVaults(ctx context.Context, v visitor) (map[uuid.UUID]bool, error) {
	states, err := d.deps.DueKeys.VaultStates(ctx, v.principal)
	due := map[uuid.UUID]bool{}
	for _, s := range states {
		if s.Pending() {
			due[s.VaultID] = true
		}
	}
	return due, err
}

// makeKeys makes the keys that are due in the visitor's vault.
func (d *Dashboard) makeKeys(c *gin.Context, v visitor) error {
	err := d.deps.DueKeys.MakeDueKeys(c.Request.Context(), v.principal, client(c))
	if err == nil {
		return d.done(c, vaultSettings, flashKeysMade)
	}
	failure, ok := mendable(err)
	if !ok && fault.CodeOf(err) != fault.Unavailable {
		return err
	}
	return d.showVault(c, v, nil, failure)
}
