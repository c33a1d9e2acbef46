package api

import (
	"time"

	"github.com/gin-gonic/gin"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/server/internal/vaults"
	"github.com/tvzero/tokenvault/server/internal/web"
)

type bindBody struct {
	Code           string `json:"code"`
	WebhookURL     string `json:"webhookUrl"`
	HMACSecretHash string `json:"hmacSecretHash"`
}

func (b bindBody) check() error {
	for _, f := range []struct{ name, value string }{
		{"code", b.Code}, {"webhookUrl", b.WebhookURL}, {"hmacSecretHash", b.HMACSecretHash},
	} {
		if f.value == "" {
			return fault.Field(f.name, "The field %q is missing: the webhook's registration link carries it.", f.name)
		}
		if err := web.CheckText(f.name, f.value, maxURL); err != nil {
			return err
		}
	}
	return nil
}

type boundJSON struct {
	Status              string           `json:"status"`
	VaultMode           models.VaultMode `json:"vaultMode"`
	WebhookRegistered   bool             `json:"webhookRegistered"`
	WebhookCapabilities []string         `json:"webhookCapabilities"`
}

func (a *API) bind(c *gin.Context, p grants.Principal) error {
	var in bindBody
	if err := web.ReadJSON(c, &in, web.IgnoreUnknown); err != nil {
		return err
	}
	if err := in.check(); err != nil {
		return err
	}
	b, err := a.deps.Webhook.Bind(c.Request.Context(), p, client(c),
		vaults.BindInput{Code: in.Code, WebhookURL: in.WebhookURL, Hash: in.HMACSecretHash})
	if err != nil {
		return err
	}
	return ok(c, boundJSON{
		Status: "bound", VaultMode: models.ModeWebhook, WebhookRegistered: b.State == models.BindingActive,
		WebhookCapabilities: append([]string{}, b.Capabilities...),
	})
}

func (a *API) unbind(c *gin.Context, p grants.Principal) error {
	if err := a.deps.Webhook.Unbind(c.Request.Context(), p, client(c)); err != nil {
		return err
	}
	return web.NoContent(c)
}

type syncBody struct {
	ServiceName string `json:"serviceName"`
}

func (a *API) sync(c *gin.Context, p grants.Principal) error {
	var in syncBody
	if err := web.ReadOptionalJSON(c, &in, web.RefuseUnknown); err != nil {
		return err
	}
	if err := web.CheckText("serviceName", in.ServiceName, maxService); err != nil {
		return err
	}
	synced, err := a.deps.Webhook.Sync(c.Request.Context(), p, client(c), in.ServiceName)
	if err != nil {
		return err
	}
	return ok(c, struct {
		Synced int `json:"synced"`
	}{synced})
}

type probeJSON struct {
	Name      string         `json:"name"`
	Title     string         `json:"title"`
	Verdict   vaults.Verdict `json:"verdict"`
	Status    *int           `json:"status"` // null: no answer came
	LatencyMS float64        `json:"latencyMs"`
	Advice    string         `json:"advice"`
}

func (a *API) checkWebhook(c *gin.Context, p grants.Principal) error {
	probes, err := a.deps.Webhook.CheckWebhook(c.Request.Context(), p, client(c))
	if err != nil {
		return err
	}
	out := make([]probeJSON, len(probes))
	for i, probe := range probes {
		out[i] = probeJSON{
			Name: probe.Name, Title: probe.Title, Verdict: probe.Verdict, Advice: probe.Advice,
			LatencyMS: float64(probe.Latency.Round(10*time.Microsecond)) / float64(time.Millisecond),
		}
		if probe.Status != 0 {
			out[i].Status = &probe.Status
		}
	}
	return ok(c, struct {
		Probes []probeJSON `json:"probes"`
	}{out})
}
