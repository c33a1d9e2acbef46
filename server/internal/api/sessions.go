package api

import (
	"time"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/server/internal/web"
)

// signInGrantJSON is something that can sign in.
type signInGrantJSON struct {
	ID         uuid.UUID        `json:"id"`
	Kind       models.GrantKind `json:"kind"`
	Label      string           `json:"label"`
	VaultID    *uuid.UUID       `json:"vaultId"` // null: it opens no platform vault
	Scopes     []string         `json:"scopes"`
	Current    bool             `json:"current"`
	CreatedAt  time.Time        `json:"createdAt"`
	ExpiresAt  *time.Time       `json:"expiresAt"`  // null: until revoked
	LastUsedAt *time.Time       `json:"lastUsedAt"` // coarse; null: never
}

func showSignInGrant(v grants.View) signInGrantJSON {
	return signInGrantJSON{
		ID: v.ID, Kind: v.Kind, Label: v.Label, VaultID: idOrNull(v.VaultID), Scopes: append([]string{}, v.Scopes...), Current: v.Current,
		CreatedAt: v.CreatedAt.UTC(), ExpiresAt: utc(v.ExpiresAt), LastUsedAt: utc(v.LastUsedAt),
	}
}

func (a *API) listGrants(c *gin.Context, p grants.Principal) error {
	pg, err := page(c)
	if err != nil {
		return err
	}
	list, err := a.deps.Sessions.List(c.Request.Context(), p)
	if err != nil {
		return err
	}
	part, next, err := cut(list, pg, func(v grants.View) uuid.UUID { return v.ID })
	if err != nil {
		return err
	}
	out := make([]signInGrantJSON, len(part))
	for i, v := range part {
		out[i] = showSignInGrant(v)
	}
	return ok(c, itemsJSON[signInGrantJSON]{out, next})
}

type labelBody struct {
	Label string `json:"label"`
}

func (a *API) labelGrant(c *gin.Context, p grants.Principal) error {
	id, err := pathID(c, "session or key")
	if err != nil {
		return err
	}
	var in labelBody
	if err := web.ReadJSON(c, &in, web.RefuseUnknown); err != nil {
		return err
	}
	if in.Label == "" {
		return fault.Field("label", "Say in label what it shall be called.")
	}
	if err := web.CheckText("label", in.Label, maxName); err != nil {
		return err
	}
	if err := a.deps.Sessions.SetLabel(c.Request.Context(), p, client(c), id, in.Label); err != nil {
		return err
	}
	return web.NoContent(c)
}

// revokeGrant ends a grant, whichever its kind. Whose own session it was is signed out
// of the browser, too.
func (a *API) revokeGrant(c *gin.Context, p grants.Principal) error {
	id, err := pathID(c, "session or key")
	if err != nil {
		return err
	}
	if err := a.deps.Sessions.Revoke(c.Request.Context(), p, client(c), id); err != nil {
		return err
	}
	if id == p.GrantID {
		a.deps.Cookies.EndSession(c.Writer)
	}
	return web.NoContent(c)
}
