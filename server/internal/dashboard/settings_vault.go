package dashboard

import (
	"context"
	"slices"

	"github.com/gin-gonic/gin"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/server/internal/vaults"
)

const vaultSettings = "/settings/vault"

// Vault is how an account keeps its tokens, and its kill switch.
type Vault interface {
	Status(ctx context.Context, p grants.Principal) (vaults.Status, error)
	Lock(ctx context.Context, p grants.Principal, client audit.Client) error
	Unlock(ctx context.Context, p grants.Principal, client audit.Client) error
}

func (d *Dashboard) vaultRoutes(r routes) {
	r.page(vaultSettings, d.user(d.vaultPage))
	r.POST("/settings/check", d.user(d.check))
	r.page("/settings/lock", d.user(d.lockPage))
	r.POST("/settings/lock", d.user(d.lock))
	r.POST("/settings/unlock", d.user(d.unlock))
	r.POST("/settings/make-keys", d.user(d.makeKeys))
}

func (d *Dashboard) vaultPage(c *gin.Context, v visitor) error {
	return d.showVault(c, v, nil, nil)
}

func (d *Dashboard) showVault(c *gin.Context, v visitor, probes []vaults.Probe, failure *fault.Error) error {
	type page struct {
		Vault   vaults.Status
		Bound   bool
		Sealed  bool
		Host    string
		Health  badge
		Probes  []probeRow
		Summary summary
		Waiting int // tokens that platform vaults still hold
		Vaults  []vaultRow
		Pending bool // new keys are due in one of them
		History *healthHistory
	}
	p := page{
		Vault: v.vault, Bound: bound(v), Sealed: v.vault.Mode == models.ModePlatform, Probes: showProbes(probes), Summary: summarize(probes),
	}
	var err error
	if p.Vaults, err = d.vaultRows(c, v); err != nil {
		return err
	}
	p.Pending = slices.ContainsFunc(p.Vaults, func(row vaultRow) bool { return row.Pending })
	if p.History, err = d.healthHistory(c, v, c.Query("range")); err != nil {
		return err
	}
	if p.Bound {
		p.Host, p.Health = hostOf(v.vault.Binding.URL), healthBadge(v.vault.Binding.HealthStatus)
		for _, row := range p.Vaults {
			p.Waiting += row.Tokens
		}
	}
	return d.render(c, statusOf(failure), "settings_vault", view{Title: "Vault", Section: "settings", Page: p, Problem: failure}, &v)
}

func healthBadge(status string) badge {
	switch status {
	case models.HealthHealthy:
		return badge{Look: "good", Text: status}
	case models.HealthUnhealthy:
		return badge{Look: "bad", Text: status}
	}
	return badge{Look: "plain", Text: "not checked yet"}
}

// check runs the probes and answers the POST itself: the results are kept
// nowhere, and to run them again does no harm.
func (d *Dashboard) check(c *gin.Context, v visitor) error {
	ctx := c.Request.Context()
	probes, err := d.deps.Webhook.CheckWebhook(ctx, v.principal, client(c))
	if err != nil {
		failure, ok := mendable(err)
		if !ok {
			return err
		}
		return d.showVault(c, v, nil, failure)
	}
	if v.vault, err = d.deps.Vault.Status(ctx, v.principal); err != nil { // the check has noted the webhook's health
		return err
	}
	return d.showVault(c, v, probes, nil)
}

// lockPage says what the kill switch stops, and what it does not.
func (d *Dashboard) lockPage(c *gin.Context, v visitor) error {
	if v.vault.Locked {
		return seeOther(c, vaultSettings)
	}
	return d.confirm(c, v, "settings", confirmation{
		Question: "Lock the vault?",
		Lost: []string{
			"It stops every agent, every reveal and one-time code, storing, refreshing by this server, moving and connecting accounts: here at once, and within a second at every other replica. Nobody gets a credential or a ticket, you included.",
			"It does not stop who holds a credential already, a ticket that is out, which works for a minute at most, and what your webhook does by itself: a refresh, or an account that is just being connected there.",
			"Nothing is deleted, and no key or grant ends. Any session of yours can unlock it, and an API key with the scope vault:manage.",
		},
		Do: "Lock the vault", Action: "/settings/lock", Back: vaultSettings,
	})
}

func (d *Dashboard) lock(c *gin.Context, v visitor) error {
	if err := d.deps.Vault.Lock(c.Request.Context(), v.principal, client(c)); err != nil {
		return err
	}
	return seeOther(c, vaultSettings) // the banner of every page says it
}

func (d *Dashboard) unlock(c *gin.Context, v visitor) error {
	if err := d.deps.Vault.Unlock(c.Request.Context(), v.principal, client(c)); err != nil {
		return err
	}
	return d.done(c, vaultSettings, flashUnlocked)
}
