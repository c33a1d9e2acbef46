package api

import (
	"encoding/json"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/server/internal/platform"
	"github.com/tvzero/tokenvault/server/internal/web"
)

// storeBody holds a credential; it is never printed.
type storeBody struct {
	ServiceName string                     `json:"serviceName"`
	TokenData   map[string]json.RawMessage `json:"tokenData"`
	Owner       string                     `json:"owner"`
	Bridge      string                     `json:"bridge"`
	Scheme      string                     `json:"scheme"`
}

func (b storeBody) check() error {
	if err := checkService(b.ServiceName); err != nil {
		return err
	}
	if len(b.TokenData) == 0 {
		return fault.Field("tokenData", "Put the credential into tokenData, with its tokenType.")
	}
	return first(
		web.CheckText("owner", b.Owner, maxService), web.CheckText("bridge", b.Bridge, maxService), web.CheckText("scheme", b.Scheme, maxService),
	)
}

type storedJSON struct {
	Status      string    `json:"status"`
	ID          uuid.UUID `json:"id"`
	ServiceName string    `json:"serviceName"`
	Owner       string    `json:"owner,omitempty"`
	Bridge      string    `json:"bridge,omitempty"`
	Scheme      string    `json:"scheme,omitempty"`
	TokenType   string    `json:"tokenType"`
	CreationID  string    `json:"creationId"`
	ExpiryTime  *int64    `json:"expiryTime"` // Unix milliseconds; null: none
}

// putToken stores a credential in a platform vault. When a webhook has custody the
// body, which may hold one, is not touched.
func (a *API) putToken(c *gin.Context, p grants.Principal) error {
	status, err := a.deps.Vault.Status(c.Request.Context(), p)
	if err != nil {
		return err
	}
	if status.Mode == models.ModeWebhook {
		web.ConflictWith(c, fault.New(fault.WrongVaultMode,
			"Your webhook has custody: this server takes no credentials. Ask POST /api/vault/store-ticket for a ticket and post the credential with it to the webhook's /v1/store; the body of this request was not read."))
		return nil
	}
	var in storeBody
	if err := web.ReadJSON(c, &in, web.IgnoreUnknown); err != nil {
		return err
	}
	if err := in.check(); err != nil {
		return err
	}
	ref := platform.Ref{Owner: in.Owner, Bridge: in.Bridge, Service: in.ServiceName, Scheme: in.Scheme}
	t, err := a.deps.Platform.Store(c.Request.Context(), p, client(c), ref, in.TokenData)
	if failure := fault.From(err); failure != nil && failure.Code == fault.WrongVaultMode { // a webhook was bound meanwhile
		web.ConflictWith(c, failure)
		return nil
	}
	if err != nil {
		return err
	}
	return created(c, storedJSON{
		Status: "stored", ID: t.ID, ServiceName: t.ServiceName, Owner: t.Owner, Bridge: t.Bridge, Scheme: t.Scheme,
		TokenType: t.TokenType, CreationID: t.CreationID, ExpiryTime: milliseconds(t.ExpiresAt),
	})
}

// revealed is a token's metadata with what its credential holds. What the metadata
// names already stays as it says.
func revealed(t tokenJSON, secret map[string]any) (map[string]any, error) {
	text, err := json.Marshal(t)
	if err != nil {
		return nil, err
	}
	var known map[string]json.RawMessage
	if err := json.Unmarshal(text, &known); err != nil {
		return nil, err
	}
	out := make(map[string]any, len(known)+len(secret)+1)
	for name, value := range secret {
		out[name] = value
	}
	for name, value := range known {
		out[name] = value
	}
	out["revealed"] = true
	return out, nil
}
