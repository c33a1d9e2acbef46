package dashboard

import (
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/vaults"
)

// An explanation is the page that says why a token's badge is what it is.
type explanation struct {
	tokenCard
	Host    string
	Binding *models.Binding // nil: kept here
	Health  badge
	Holder  string
	SeenAt  *time.Time // this very credential, by this server
	SeenBy  string
	Paths   []pathRow
	Limits  []string
	Latest  []eventRow
}

// A pathRow is a way that a credential can go.
type pathRow struct {
	vaults.Path
	Sees badge
	Icon string
}

func (d *Dashboard) trustPage(c *gin.Context, v visitor) error {
	service, err := pathService(c)
	if err != nil {
		return err
	}
	e, err := d.deps.Tokens.Explain(c.Request.Context(), v.principal, service)
	if err != nil {
		return err
	}
	p := explanation{tokenCard: d.card(e.TokenView), Binding: e.Binding, Holder: e.Holder, Limits: e.Limits, Latest: rowsOf(e.Latest, nil, nil)}
	if e.Binding != nil {
		p.Host, p.Health = hostOf(e.Binding.URL), healthBadge(e.Binding.HealthStatus)
	}
	if e.Token.SeenByServer() && e.Mode == models.ModeWebhook {
		p.SeenAt, p.SeenBy = e.Token.SeenAt, e.Token.SeenPath
	}
	for _, path := range e.Paths {
		sees, icon := sightBadge(path.Sight)
		p.Paths = append(p.Paths, pathRow{path, sees, icon})
	}
	return d.render(c, http.StatusOK, "trust", view{Title: "Trust of " + e.Token.ServiceName, Section: "tokens", Page: &p}, &v)
}

// sightBadge says what the server sees on a path, and with which symbol.
func sightBadge(s vaults.Sight) (badge, string) {
	switch s {
	case vaults.SeesNothing:
		return badge{Look: "good", Text: "never"}, "unseen"
	case vaults.SeesKey:
		return badge{Look: "warn", Text: "its key, in memory"}, "key"
	case vaults.SeesPassing:
		return badge{Look: "warn", Text: "yes, in transit"}, "eye"
	}
	return badge{Look: "warn", Text: "yes, in memory while it is used"}, "eye"
}
