package dashboard

import (
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/tvzero/tokenvault/models"
)

func (d *Dashboard) settingsRoutes(r routes) {
	r.page("/settings", d.user(d.settingsPage))
}

func (d *Dashboard) settingsPage(c *gin.Context, v visitor) error {
	type page struct{ Account models.Account }
	return d.render(c, http.StatusOK, "settings", view{Title: "Settings", Section: "settings", Page: page{v.account}}, &v)
}
