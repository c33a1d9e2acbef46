package api

import (
	"github.com/gin-gonic/gin"

	"github.com/tvzero/tokenvault/server/internal/grants"
)

type providerJSON struct {
	ID         string   `json:"id"`
	Name       string   `json:"name"`
	Scopes     []string `json:"scopes"` // that are asked for in any case
	SecretAt   string   `json:"clientSecretAt"`
	Available  bool     `json:"available"`
	ConnectURL string   `json:"connectUrl"`
	ManageURL  string   `json:"manageUrl,omitempty"`
}

// Who holds the client secret by which accounts are connected at a provider.
const (
	secretAtServer  = "server"
	secretAtWebhook = "webhook"
	secretNowhere   = "nowhere" // a public client
)

// listProviders answers at whom accounts can be connected through this server: few, so
// the list is whole. What a webhook has besides, it alone knows.
func (a *API) listProviders(c *gin.Context, p grants.Principal) error {
	status, err := a.deps.Vault.Status(c.Request.Context(), p)
	if err != nil {
		return err
	}
	out := itemsJSON[providerJSON]{Items: []providerJSON{}}
	for _, s := range a.deps.Known.List() {
		held := secretNowhere
		switch {
		case s.HoldsSecret:
			held = secretAtServer
		case status.ConnectsItself():
			held = secretAtWebhook
		}
		scopes := s.Scopes
		if scopes == nil {
			scopes = []string{}
		}
		out.Items = append(out.Items, providerJSON{
			ID: s.ID, Name: s.Name, Scopes: scopes, SecretAt: held, Available: s.Problem == "" || held == secretAtWebhook,
			ConnectURL: a.deps.PublicURL.JoinPath("connect", s.ID).String(), ManageURL: s.ManageURL,
		})
	}
	return ok(c, out)
}
