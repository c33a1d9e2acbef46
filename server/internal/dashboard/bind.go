package dashboard

import (
	"context"
	"encoding/base64"
	"net/url"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/server/internal/vaults"
	"github.com/tvzero/tokenvault/server/internal/web"
)

// Webhook binds a webhook, reads its list of tokens and checks it.
type Webhook interface {
	PreviewBind(ctx context.Context, p grants.Principal, in vaults.BindInput) (vaults.BindPreview, error)
	Bind(ctx context.Context, p grants.Principal, client audit.Client, in vaults.BindInput) (models.Binding, error)
	Unbind(ctx context.Context, p grants.Principal, client audit.Client) error
	Sync(ctx context.Context, p grants.Principal, client audit.Client, service string) (int, error)
	CheckWebhook(ctx context.Context, p grants.Principal, client audit.Client) ([]vaults.Probe, error)
	Preflight(ctx context.Context, p grants.Principal, client audit.Client, address string) (vaults.Preflighted, error)
}

func (d *Dashboard) bindRoutes(r routes) {
	r.page("/vault/webhook-bind", d.user(d.bindPage))
	r.POST("/vault/webhook-bind", d.user(d.bind))
	r.page("/settings/unbind", d.user(d.unbindPage))
	r.POST("/settings/unbind", d.user(d.unbind))
}

// decodeWebhookURL reads the webhook_url of a registration link: the URL in
// standard base64 (protocol section 2). Webhooks of others may have left the
// padding out, used the URL alphabet, or not escaped "+", which a query turns
// into a space.
func decodeWebhookURL(text string) (string, error) {
	text = strings.TrimRight(strings.NewReplacer(" ", "+", "-", "+", "_", "/").Replace(text), "=")
	raw, err := base64.RawStdEncoding.DecodeString(text)
	if err != nil || len(raw) == 0 {
		return "", fault.Field("webhook_url", "The link's webhook_url is not an address in base64.")
	}
	return string(raw), web.CheckText("webhook_url", string(raw), 2<<10)
}

// linkInput reads what a registration link carries.
func linkInput(rawQuery string) (vaults.BindInput, error) {
	values, err := url.ParseQuery(rawQuery)
	if err != nil {
		return vaults.BindInput{}, fault.New(fault.InvalidRequest, "The link is not encoded as it should be.")
	}
	for _, name := range []string{"code", "webhook_url", "hmac_hash"} {
		if len(values[name]) != 1 || values.Get(name) == "" {
			return vaults.BindInput{}, fault.Field(name, "The link should carry %s once.", name)
		}
		if err := web.CheckText(name, values.Get(name), 4<<10); err != nil {
			return vaults.BindInput{}, err
		}
	}
	address, err := decodeWebhookURL(values.Get("webhook_url"))
	return vaults.BindInput{Code: values.Get("code"), WebhookURL: address, Hash: values.Get("hmac_hash")}, err
}

// bindPage asks for consent. It calls nobody: only the form does.
func (d *Dashboard) bindPage(c *gin.Context, v visitor) error {
	in, err := linkInput(c.Request.URL.RawQuery)
	if err != nil {
		return d.badLink(c, v, err)
	}
	return d.showBind(c, v, in, nil)
}

func (d *Dashboard) showBind(c *gin.Context, v visitor, in vaults.BindInput, failure *fault.Error) error {
	type page struct {
		vaults.BindPreview
		Code, Hash string
		Same       bool // the webhook in use is bound again
		Current    string
	}
	preview, err := d.deps.Webhook.PreviewBind(c.Request.Context(), v.principal, in)
	if err != nil {
		return d.badLink(c, v, err)
	}
	p := page{BindPreview: preview, Code: in.Code, Hash: in.Hash}
	if preview.Replaces != nil {
		p.Current, p.Same = hostOf(preview.Replaces.URL), preview.Replaces.URL == preview.WebhookURL
	}
	return d.render(c, statusOf(failure), "bind", view{Title: "Bind a webhook", Section: "settings", Page: p, Problem: failure}, &v)
}

// badLink says what is wrong with a link that cannot be used.
func (d *Dashboard) badLink(c *gin.Context, v visitor, err error) error {
	failure, ok := mendable(err)
	if !ok {
		return err
	}
	return d.render(c, statusOf(failure), "badlink", view{Title: "This link cannot be used", Section: "settings", Problem: failure}, &v)
}

func (d *Dashboard) bind(c *gin.Context, v visitor) error {
	form, err := readForm(c)
	if err != nil {
		return err
	}
	in := vaults.BindInput{Code: form.Get("code"), WebhookURL: form.Get("webhookUrl"), Hash: form.Get("hash")}
	_, err = d.deps.Webhook.Bind(c.Request.Context(), v.principal, client(c), in)
	if err == nil {
		return d.done(c, setupBound, flashBound)
	}
	failure, ok := mendable(err)
	if !ok {
		return err
	}
	type page struct{ Host string }
	return d.render(c, statusOf(failure), "bindfailed", view{
		Title: "The webhook was not bound", Section: "settings", Page: page{hostOf(in.WebhookURL)}, Problem: failure,
	}, &v)
}

func (d *Dashboard) unbindPage(c *gin.Context, v visitor) error {
	if !bound(v) {
		return seeOther(c, vaultSettings)
	}
	return d.confirm(c, v, "settings", confirmation{
		Question: "Unbind " + hostOf(v.vault.Binding.URL) + "?",
		Lost: []string{
			"No agent can fetch what the webhook keeps, until it is bound again.",
			"This server deletes the secret that it shares with the webhook. The list of names it keeps, out of sight: when it saw a credential is not forgotten by unbinding.",
			"What the webhook keeps stays there. When it is bound again, its tokens are listed again.",
			"This server takes credentials itself from then on, sealed. To have those of the webhook here too, move them back first: the settings say how.",
		},
		Do: "Unbind the webhook", Action: "/settings/unbind", Back: vaultSettings,
	})
}

func (d *Dashboard) unbind(c *gin.Context, v visitor) error {
	err := d.deps.Webhook.Unbind(c.Request.Context(), v.principal, client(c))
	if err != nil && fault.CodeOf(err) != fault.WebhookNotConfigured {
		return err
	}
	return d.done(c, vaultSettings, flashUnbound)
}
