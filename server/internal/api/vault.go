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

type statusJSON struct {
	VaultMode           models.VaultMode `json:"vaultMode"`
	IsLocked            bool             `json:"isLocked"`
	LockedAt            *time.Time       `json:"lockedAt"`
	Webhook             *webhookJSON     `json:"webhook"` // null: none is bound
	WebhookCapabilities []string         `json:"webhookCapabilities"`
}

type webhookJSON struct {
	URL              string              `json:"url"`
	Status           models.BindingState `json:"status"`
	LastHealthCheck  *time.Time          `json:"lastHealthCheck"`
	LastHealthStatus string              `json:"lastHealthStatus"`
	LastHealthDetail string              `json:"lastHealthDetail"`
	WebhookID        string              `json:"webhookId"`
	Fingerprint      string              `json:"fingerprint"`
	Version          string              `json:"version"`
	BoundAt          *time.Time          `json:"boundAt"`
}

func (a *API) status(c *gin.Context, p grants.Principal) error {
	s, err := a.deps.Vault.Status(c.Request.Context(), p)
	if err != nil {
		return err
	}
	out := statusJSON{VaultMode: s.Mode, IsLocked: s.Locked, LockedAt: utc(s.LockedAt), WebhookCapabilities: []string{}}
	if b := s.Binding; b != nil {
		out.Webhook = &webhookJSON{
			URL: b.URL, Status: b.State, LastHealthCheck: utc(b.HealthCheckedAt), LastHealthStatus: health(b.HealthStatus),
			LastHealthDetail: b.HealthDetail, WebhookID: b.WebhookID, Fingerprint: b.Fingerprint, Version: b.Version,
			BoundAt: utc(b.ActivatedAt),
		}
		out.WebhookCapabilities = append(out.WebhookCapabilities, b.Capabilities...)
	}
	return ok(c, out)
}

func health(status string) string {
	if status == "" {
		return models.HealthUnknown
	}
	return status
}

type lockJSON struct {
	IsLocked bool `json:"isLocked"`
}

func (a *API) lock(c *gin.Context, p grants.Principal) error {
	if err := a.deps.Vault.Lock(c.Request.Context(), p, client(c)); err != nil {
		return err
	}
	return ok(c, lockJSON{true})
}

func (a *API) unlock(c *gin.Context, p grants.Principal) error {
	if err := a.deps.Vault.Unlock(c.Request.Context(), p, client(c)); err != nil {
		return err
	}
	return ok(c, lockJSON{false})
}

type ticketJSON struct {
	Ticket     string `json:"ticket"`
	WebhookURL string `json:"webhookUrl"`
	ExpiresIn  int    `json:"expiresIn"` // seconds
}

func showTicket(t vaults.Ticket) ticketJSON {
	return ticketJSON{Ticket: t.Ticket, WebhookURL: t.WebhookURL, ExpiresIn: int(t.ExpiresIn / time.Second)}
}

type storeTicketBody struct {
	ServiceName string `json:"serviceName"`
	Mode        string `json:"mode"`
}

func (a *API) storeTicket(c *gin.Context, p grants.Principal) error {
	var in storeTicketBody
	if err := web.ReadJSON(c, &in, web.IgnoreUnknown); err != nil {
		return err
	}
	if err := checkService(in.ServiceName); err != nil {
		return err
	}
	switch in.Mode {
	case "", "create", "overwrite":
	default:
		return fault.Field("mode", `The mode is "create" or "overwrite"; leave it out to do whichever is needed.`)
	}
	t, err := a.deps.Vault.StoreTicket(c.Request.Context(), p, client(c), vaults.StoreTicketInput(in))
	if err != nil {
		return err
	}
	return ok(c, showTicket(t))
}

type credentialTicketBody struct {
	ServiceName string `json:"serviceName"`
	Purpose     string `json:"purpose"`
}

func (a *API) credentialTicket(c *gin.Context, p grants.Principal) error {
	var body credentialTicketBody
	if err := web.ReadJSON(c, &body, web.IgnoreUnknown); err != nil {
		return err
	}
	if err := checkService(body.ServiceName); err != nil {
		return err
	}
	in := vaults.CredentialTicketInput{ServiceName: body.ServiceName}
	switch body.Purpose {
	case "user_reveal":
		in.Purpose = "user_reveal"
	case "totp_code":
		in.Purpose = "totp_code"
	default:
		return fault.Field("purpose", `The purpose is "user_reveal" or "totp_code".`)
	}
	t, err := a.deps.Vault.CredentialTicket(c.Request.Context(), p, client(c), in)
	if err != nil {
		return err
	}
	return ok(c, showTicket(t))
}

func checkService(name string) error {
	if name == "" {
		return fault.Field("serviceName", "Name the token in serviceName.")
	}
	return web.CheckText("serviceName", name, maxService)
}
