package api

import (
	"time"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/server/internal/platform"
	"github.com/tvzero/tokenvault/server/internal/vaults"
	"github.com/tvzero/tokenvault/server/internal/web"
)

// tokenJSON is a token's metadata. There is no field for a secret.
type tokenJSON struct {
	ID              uuid.UUID    `json:"id"`
	ServiceName     string       `json:"serviceName"`
	TokenType       string       `json:"tokenType"`
	Status          string       `json:"status"`
	DisplayName     string       `json:"displayName"`
	Notes           string       `json:"notes"`
	Tags            []string     `json:"tags"`
	Provider        string       `json:"provider,omitempty"`
	Subject         string       `json:"subject,omitempty"` // whose it is at its provider
	Scope           string       `json:"scope,omitempty"`   // what it may do there
	ConnectURL      string       `json:"connectUrl,omitempty"`
	Refresh         *refreshJSON `json:"refresh"`    // null: nothing is known of refreshing it
	ExpiryTime      *int64       `json:"expiryTime"` // Unix milliseconds; null: none
	HasRefreshToken bool         `json:"hasRefreshToken"`
	HasCertificate  bool         `json:"hasCertificate"`
	HasPrivateKey   bool         `json:"hasPrivateKey"`
	HasSSHKey       bool         `json:"hasSSHKey"`
	HasTOTPSecret   bool         `json:"hasTotpSecret"`
	Trust           vaults.Trust `json:"trust"`
	TrustReason     string       `json:"trustReason"`
	TrustFacts      factsJSON    `json:"trustFacts"`
	SeenByServer    *seenJSON    `json:"seenByServer"` // null: never
	CreationID      string       `json:"creationId,omitempty"`
	StoredAt        *time.Time   `json:"storedAt"`
	CreatedAt       time.Time    `json:"createdAt"`
	UpdatedAt       time.Time    `json:"updatedAt"`
}

type seenJSON struct {
	At   time.Time `json:"at"`
	Path string    `json:"path"`
}

func (a *API) showToken(v vaults.TokenView) tokenJSON {
	t := v.Token
	out := tokenJSON{
		ID: t.ID, ServiceName: t.ServiceName, TokenType: t.TokenType, Status: v.Status, DisplayName: t.DisplayName,
		Notes: t.Notes, Tags: t.Tags, Provider: t.Provider, Subject: t.Subject, Scope: t.Scope, Refresh: showRefresh(v.Refresh),
		HasRefreshToken: t.HasRefreshToken, HasCertificate: t.HasCertificate, HasPrivateKey: t.HasPrivateKey,
		HasSSHKey: t.HasSSHKey, HasTOTPSecret: t.HasTOTPSecret,
		Trust: v.Trust, TrustReason: v.TrustReason, TrustFacts: showFacts(v), CreationID: t.CreationID,
		StoredAt: utc(t.StoredAt), CreatedAt: t.CreatedAt.UTC(), UpdatedAt: t.UpdatedAt.UTC(),
	}
	if out.Tags == nil {
		out.Tags = []string{}
	}
	if v.Connectable && (v.Status == vaults.StatusNeedsReauthorization || v.Status == vaults.StatusExpired) {
		out.ConnectURL = a.deps.Connect.ConnectURL(t)
	}
	out.ExpiryTime = milliseconds(t.ExpiresAt)
	if t.SeenByServer() {
		out.SeenByServer = &seenJSON{At: t.SeenAt.UTC(), Path: t.SeenPath}
	}
	return out
}

func utc(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	u := t.UTC()
	return &u
}

func milliseconds(t *time.Time) *int64 {
	if t == nil {
		return nil
	}
	ms := t.UnixMilli()
	return &ms
}

func (a *API) listTokens(c *gin.Context, p grants.Principal) error {
	superseded, err := flag(c, "superseded")
	if err != nil {
		return err
	}
	if superseded {
		return a.listSuperseded(c, p)
	}
	pg, err := page(c)
	if err != nil {
		return err
	}
	list, next, err := a.deps.Tokens.Tokens(c.Request.Context(), p, pg)
	if err != nil {
		return err
	}
	linkNext(c, pg, next)
	out := make([]tokenJSON, len(list))
	for i, v := range list {
		out[i] = a.showToken(v)
	}
	return ok(c, out)
}

// getToken answers with metadata and, if asked, reveals what a platform vault holds.
// What a webhook keeps is not here to be revealed.
func (a *API) getToken(c *gin.Context, p grants.Principal) error {
	service, err := pathService(c)
	if err != nil {
		return err
	}
	reveal, err := flag(c, "reveal")
	if err != nil {
		return err
	}
	v, err := a.deps.Tokens.Token(c.Request.Context(), p, service)
	if err != nil {
		return err
	}
	if !reveal || v.Mode != models.ModePlatform {
		return ok(c, a.showToken(v))
	}
	secret, err := a.deps.Platform.Reveal(c.Request.Context(), p, client(c), platform.Ref{Service: service})
	if err != nil {
		return err
	}
	out, err := revealed(a.showToken(v), secret)
	if err != nil {
		return err
	}
	return ok(c, out)
}

type metadataBody struct {
	DisplayName *string   `json:"displayName"`
	Notes       *string   `json:"notes"`
	Tags        *[]string `json:"tags"`
}

func (b metadataBody) check() error {
	if b.DisplayName == nil && b.Notes == nil && b.Tags == nil {
		return fault.New(fault.InvalidRequest, "There is nothing to change: send displayName, notes or tags.")
	}
	if b.DisplayName != nil {
		if err := web.CheckText("displayName", *b.DisplayName, maxName); err != nil {
			return err
		}
	}
	if b.Notes != nil {
		if err := web.CheckLines("notes", *b.Notes, maxText); err != nil {
			return err
		}
	}
	if b.Tags == nil {
		return nil
	}
	if len(*b.Tags) > maxList {
		return fault.Field("tags", "There are more than %d tags.", maxList)
	}
	for _, tag := range *b.Tags {
		if err := web.CheckText("tags", tag, maxName); err != nil {
			return err
		}
	}
	return nil
}

func (a *API) updateMetadata(c *gin.Context, p grants.Principal) error {
	service, err := pathService(c)
	if err != nil {
		return err
	}
	var in metadataBody
	if err := web.ReadJSON(c, &in, web.IgnoreUnknown); err != nil {
		return err
	}
	if err := in.check(); err != nil {
		return err
	}
	v, err := a.deps.Tokens.UpdateMetadata(c.Request.Context(), p, client(c), service, vaults.MetadataInput(in))
	if err != nil {
		return err
	}
	return ok(c, a.showToken(v))
}

func (a *API) deleteToken(c *gin.Context, p grants.Principal) error {
	service, err := pathService(c)
	if err != nil {
		return err
	}
	if _, err := a.deps.Tokens.DeleteTokens(c.Request.Context(), p, client(c), service); err != nil {
		return err
	}
	return web.NoContent(c)
}

type bulkTokensBody struct {
	ServiceNames []string `json:"serviceNames"`
}

func (a *API) deleteTokens(c *gin.Context, p grants.Principal) error {
	var in bulkTokensBody
	if err := web.ReadJSON(c, &in, web.IgnoreUnknown); err != nil {
		return err
	}
	if len(in.ServiceNames) == 0 || len(in.ServiceNames) > maxList {
		return fault.Field("serviceNames", "Name 1 to %d tokens in serviceNames.", maxList)
	}
	for _, name := range in.ServiceNames {
		if err := web.CheckText("serviceNames", name, maxService); err != nil {
			return err
		}
	}
	deleted, err := a.deps.Tokens.DeleteTokens(c.Request.Context(), p, client(c), in.ServiceNames...)
	if err != nil && !(fault.CodeOf(err) == fault.TokenNotFound && len(in.ServiceNames) == 1) {
		return err
	}
	if deleted == nil {
		deleted = []string{}
	}
	return ok(c, struct {
		Deleted      int      `json:"deleted"`
		ServiceNames []string `json:"serviceNames"`
	}{len(deleted), deleted})
}
