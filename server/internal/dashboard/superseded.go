package dashboard

import (
	"time"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
)

func (d *Dashboard) supersededRoutes(r routes) {
	r.POST("/tokens/superseded/:id/restore", d.user(d.restore))
	r.page("/tokens/superseded/:id/delete", d.user(d.deleteSupersededPage))
	r.POST("/tokens/superseded/:id/delete", d.user(d.deleteSuperseded))
}

// A supersededRow is a token that linking kept beside another of its name.
type supersededRow struct {
	ID           uuid.UUID
	Service      string
	DisplayName  string
	Type         string
	SupersededAt *time.Time
	Suggestion   string // a name that is probably free
}

func (d *Dashboard) findSuperseded(c *gin.Context, v visitor) ([]supersededRow, error) {
	if v.principal.VaultID == uuid.Nil {
		return nil, nil
	}
	list, err := d.deps.Platform.Superseded(c.Request.Context(), v.principal)
	if err != nil {
		return nil, err
	}
	rows := make([]supersededRow, len(list))
	for i, t := range list {
		rows[i] = showSuperseded(t)
	}
	return rows, nil
}

func showSuperseded(t models.Token) supersededRow {
	return supersededRow{
		ID: t.ID, Service: t.ServiceName, DisplayName: t.DisplayName, Type: typeName(t.TokenType), SupersededAt: t.SupersededAt,
		Suggestion: t.ServiceName[:min(len(t.ServiceName), 120)] + " older",
	}
}

func (d *Dashboard) restore(c *gin.Context, v visitor) error {
	id, err := pathID(c, "superseded token")
	if err != nil {
		return err
	}
	form, err := readForm(c)
	if err != nil {
		return err
	}
	t, err := d.deps.Platform.Restore(c.Request.Context(), v.principal, client(c), id, form.Get("serviceName"))
	if err != nil {
		return err
	}
	return d.done(c, tokenPath(t.ServiceName), flashRestored)
}

func (d *Dashboard) deleteSupersededPage(c *gin.Context, v visitor) error {
	id, err := pathID(c, "superseded token")
	if err != nil {
		return err
	}
	return d.confirm(c, v, "tokens", confirmation{
		Question: "Delete this superseded token for good?",
		Lost: []string{
			"If you have the credential nowhere else, it is gone.",
			"Agents that were granted it can no longer fetch it. They are not given the token that has its name now.",
			"The credential itself stays valid at its provider: revoke it there if it may have leaked.",
		},
		Do: "Delete it", Action: "/tokens/superseded/" + id.String() + "/delete", Back: "/",
	})
}

func (d *Dashboard) deleteSuperseded(c *gin.Context, v visitor) error {
	id, err := pathID(c, "superseded token")
	if err != nil {
		return err
	}
	if err := d.deps.Platform.Discard(c.Request.Context(), v.principal, client(c), id); err != nil {
		return err
	}
	return d.done(c, "/", flashDeleted)
}
