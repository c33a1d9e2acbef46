package dashboard

import (
	"strconv"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/agents"
	"github.com/tvzero/tokenvault/server/internal/fault"
)

func (d *Dashboard) grant(c *gin.Context, v visitor) error {
	id, err := pathID(c, "agent")
	if err != nil {
		return err
	}
	form, err := readForm(c)
	if err != nil {
		return err
	}
	hours, err := strconv.Atoi(form.Get("hours"))
	if err != nil || hours < 0 || hours > 30*24 {
		return fault.Field("hours", "A credential grant lasts 1 to %d hours, or until it is revoked.", 30*24)
	}
	in := agents.GrantInput{ServiceName: form.Get("serviceName"), ExpiresIn: time.Duration(hours) * time.Hour, RefreshPolicy: models.RefreshAuto}
	switch models.RefreshPolicy(form.Get("refreshPolicy")) {
	case "", models.RefreshAuto:
	case models.RefreshNever:
		in.RefreshPolicy = models.RefreshNever
	default:
		return fault.Field("refreshPolicy", "The refresh policy is %q or %q.", models.RefreshAuto, models.RefreshNever)
	}
	_, err = d.deps.Grants.Grant(c.Request.Context(), v.principal, client(c), id, in)
	if err == nil {
		return d.done(c, agentPath(id), flashGranted)
	}
	failure, ok := mendable(err)
	if !ok {
		return err
	}
	if failure.Code == fault.TokenNotFound || failure.Field == "service" { // say it beside the field
		failure = &fault.Error{Code: failure.Code, Field: "serviceName", Message: failure.Message}
	}
	detail, err := d.deps.Agents.Get(c.Request.Context(), v.principal, id)
	if err != nil {
		return err
	}
	return d.showAgentPage(c, v, detail, grantForm{in.ServiceName, hours, in.RefreshPolicy == models.RefreshNever}, failure)
}

func (d *Dashboard) revoke(c *gin.Context, v visitor) error {
	id, err := pathID(c, "agent")
	if err != nil {
		return err
	}
	form, err := readForm(c)
	if err != nil {
		return err
	}
	// Somebody else may have revoked it meanwhile: what was wanted holds.
	err = d.deps.Grants.Revoke(c.Request.Context(), v.principal, client(c), id, form.Get("serviceName"))
	if err != nil && fault.CodeOf(err) != fault.NotFound {
		return err
	}
	return d.done(c, agentPath(id), flashRevoked)
}
