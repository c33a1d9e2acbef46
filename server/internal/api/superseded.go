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

// supersededJSON is a token that linking kept beside another of its name.
type supersededJSON struct {
	ID           uuid.UUID  `json:"id"`
	ServiceName  string     `json:"serviceName"`
	TokenType    string     `json:"tokenType"`
	DisplayName  string     `json:"displayName"`
	Notes        string     `json:"notes"`
	Tags         []string   `json:"tags"`
	ExpiryTime   *int64     `json:"expiryTime"` // Unix milliseconds; null: none
	SupersededAt *time.Time `json:"supersededAt"`
	CreatedAt    time.Time  `json:"createdAt"`
	UpdatedAt    time.Time  `json:"updatedAt"`
}

func showSuperseded(t models.Token) supersededJSON {
	return supersededJSON{
		ID: t.ID, ServiceName: t.ServiceName, TokenType: t.TokenType, DisplayName: t.DisplayName, Notes: t.Notes,
		Tags: append([]string{}, t.Tags...), ExpiryTime: milliseconds(t.ExpiresAt), SupersededAt: utc(t.SupersededAt),
		CreatedAt: t.CreatedAt.UTC(), UpdatedAt: t.UpdatedAt.UTC(),
	}
}

func (a *API) listSuperseded(c *gin.Context, p grants.Principal) error {
	list, err := a.deps.Platform.Superseded(c.Request.Context(), p)
	if err != nil {
		return err
	}
	out := make([]supersededJSON, len(list))
	for i, t := range list {
		out[i] = showSuperseded(t)
	}
	return ok(c, out)
}

// tokenID is the id of a superseded token: its name is another's.
func tokenID(c *gin.Context) (uuid.UUID, error) {
	id, valid := parseID(c.Param("id"))
	if !valid {
		return uuid.Nil, fault.New(fault.TokenNotFound, "There is no superseded token with this id.")
	}
	return id, nil
}

type restoreBody struct {
	ServiceName string `json:"serviceName"`
}

func (a *API) restore(c *gin.Context, p grants.Principal) error {
	id, err := tokenID(c)
	if err != nil {
		return err
	}
	var in restoreBody
	if err := web.ReadJSON(c, &in, web.RefuseUnknown); err != nil {
		return err
	}
	if err := checkService(in.ServiceName); err != nil {
		return err
	}
	t, err := a.deps.Platform.Restore(c.Request.Context(), p, client(c), id, in.ServiceName)
	if err != nil {
		return err
	}
	return ok(c, struct {
		ID          uuid.UUID `json:"id"`
		ServiceName string    `json:"serviceName"`
	}{t.ID, t.ServiceName})
}

func (a *API) deleteSuperseded(c *gin.Context, p grants.Principal) error {
	id, err := tokenID(c)
	if err != nil {
		return err
	}
	if err := a.deps.Platform.Discard(c.Request.Context(), p, client(c), id); err != nil {
		return err
	}
	return web.NoContent(c)
}
