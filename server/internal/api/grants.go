package api

import (
	"time"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/agents"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/server/internal/web"
)

// maxGrantHours is 30 days.
const maxGrantHours = 30 * 24

type grantBody struct {
	AgentID        string `json:"agentId"`
	ServiceName    string `json:"serviceName"`
	ExpiresInHours *int   `json:"expiresInHours"`
	RefreshPolicy  string `json:"refreshPolicy"`
}

func (b grantBody) input(id uuid.UUID) (agents.GrantInput, error) {
	in := agents.GrantInput{ServiceName: b.ServiceName, RefreshPolicy: models.RefreshAuto}
	if other, valid := parseID(b.AgentID); b.AgentID != "" && (!valid || other != id) {
		return in, fault.Field("agentId", "The agentId in the body is not the one in the address.")
	}
	if b.ServiceName == "" {
		return in, fault.Field("serviceName", "Name the token to grant in serviceName.")
	}
	if err := web.CheckText("serviceName", b.ServiceName, maxService); err != nil {
		return in, err
	}
	if b.ExpiresInHours != nil {
		if hours := *b.ExpiresInHours; hours < 1 || hours > maxGrantHours {
			return in, fault.Field("expiresInHours", "A credential grant lasts 1 to %d hours; leave expiresInHours out for one until revoked.", maxGrantHours)
		}
		in.ExpiresIn = time.Duration(*b.ExpiresInHours) * time.Hour
	}
	switch policy := models.RefreshPolicy(b.RefreshPolicy); policy {
	case "":
	case models.RefreshAuto, models.RefreshNever:
		in.RefreshPolicy = policy
	default:
		return in, fault.Field("refreshPolicy", "The refreshPolicy is %q or %q.", models.RefreshAuto, models.RefreshNever)
	}
	return in, nil
}

func (a *API) grant(c *gin.Context, p grants.Principal) error {
	id, err := pathID(c, "agent")
	if err != nil {
		return err
	}
	var body grantBody
	if err := web.ReadJSON(c, &body, web.IgnoreUnknown); err != nil {
		return err
	}
	in, err := body.input(id)
	if err != nil {
		return err
	}
	g, err := a.deps.Grants.Grant(c.Request.Context(), p, client(c), id, in)
	if err != nil {
		return err
	}
	return created(c, struct {
		AgentID uuid.UUID `json:"agentId"`
		grantJSON
	}{id, showGrant(g)})
}

func (a *API) revoke(c *gin.Context, p grants.Principal) error {
	id, err := pathID(c, "agent")
	if err != nil {
		return err
	}
	service, err := pathService(c)
	if err != nil {
		return err
	}
	if err := a.deps.Grants.Revoke(c.Request.Context(), p, client(c), id, service); err != nil {
		return err
	}
	return web.NoContent(c)
}
