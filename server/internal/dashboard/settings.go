package dashboard

import (
	"context"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/server/internal/vaults"
)

// Vault is how an account keeps its tokens, and its kill switch.
type Vault interface {
	Status(ctx context.Context, p grants.Principal) (vaults.Status, error)
	Lock(ctx context.Context, p grants.Principal, client audit.Client) error
	Unlock(ctx context.Context, p grants.Principal, client audit.Client) error
}

func (d *Dashboard) settingsRoutes(r routes) {
	r.page("/settings", d.user(d.settingsPage))
	r.POST("/settings/check", d.user(d.check))
	r.POST("/settings/lock", d.user(d.lock))
	r.POST("/settings/unlock", d.user(d.unlock))
}

func (d *Dashboard) settingsPage(c *gin.Context, v visitor) error {
	return d.showSettings(c, v, nil, nil)
}

type probeRow struct {
	Title   string
	Verdict badge
	Status  int
	Latency string
	Advice  string
}

func (d *Dashboard) showSettings(c *gin.Context, v visitor, probes []probeRow, failure *fault.Error) error {
	type page struct {
		Account models.Account
		Vault   vaults.Status
		Bound   bool
		Sealed  bool
		Trust   badge
		Health  badge
		Probes  []probeRow
	}
	p := page{Account: v.account, Vault: v.vault, Bound: bound(v), Sealed: v.vault.Mode == models.ModePlatform, Trust: badge{Look: "sealed", Text: string(vaults.Sealed)}, Probes: probes}
	if p.Bound {
		p.Health = healthBadge(v.vault.Binding.HealthStatus)
	}
	return d.render(c, statusOf(failure), "settings", view{Title: "Settings", Section: "settings", Page: p, Problem: failure}, &v)
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
		return d.showSettings(c, v, nil, failure)
	}
	if v.vault, err = d.deps.Vault.Status(ctx, v.principal); err != nil { // the check has noted the webhook's health
		return err
	}
	rows := make([]probeRow, len(probes))
	for i, probe := range probes {
		rows[i] = probeRow{Title: probe.Title, Verdict: verdictBadge(probe.Verdict), Status: probe.Status, Latency: latency(probe), Advice: probe.Advice}
	}
	return d.showSettings(c, v, rows, nil)
}

func (d *Dashboard) lock(c *gin.Context, v visitor) error {
	if err := d.deps.Vault.Lock(c.Request.Context(), v.principal, client(c)); err != nil {
		return err
	}
	return seeOther(c, "/settings") // the banner of every page says it
}

func (d *Dashboard) unlock(c *gin.Context, v visitor) error {
	if err := d.deps.Vault.Unlock(c.Request.Context(), v.principal, client(c)); err != nil {
		return err
	}
	return d.done(c, "/settings", flashUnlocked)
}

func verdictBadge(v vaults.Verdict) badge {
	switch v {
	case vaults.Pass:
		return badge{Look: "good", Text: string(v)}
	case vaults.Warn:
		return badge{Look: "warn", Text: string(v)}
	default:
		return badge{Look: "bad", Text: string(v)}
	}
}

func latency(p vaults.Probe) string {
	return strconv.FormatFloat(float64(p.Latency)/float64(time.Millisecond), 'f', 1, 64) + " ms"
}
