package dashboard

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
)

// Keys makes API keys.
type Keys interface {
	APIKeys(ctx context.Context, p grants.Principal) ([]grants.View, error)
	CreateKey(ctx context.Context, p grants.Principal, client audit.Client, in grants.CreateKeyInput) (grants.Issued, error)
	RotateKey(ctx context.Context, p grants.Principal, client audit.Client, id uuid.UUID) (grants.Issued, error)
}

func (d *Dashboard) keyRoutes(r routes) {
	r.page("/keys", d.user(d.keysPage))
	r.POST("/keys", d.user(d.createKey))
	r.page("/keys/:id/rotate", d.user(d.rotateAPIKeyPage))
	r.POST("/keys/:id/rotate", d.user(d.rotateAPIKey))
}

// A scopeRow is a scope as people choose it.
type scopeRow struct {
	Name  string
	Label string
	Given bool
}

// scopeRows are all scopes, in their order, with what a form has ticked.
func scopeRows(form url.Values) []scopeRow {
	labels := map[string]string{
		grants.TokensRead:  "read and reveal tokens",
		grants.TokensWrite: "store, change and delete tokens",
		grants.AgentsRead:  "see agents and what they are granted",
		grants.AgentsWrite: "make agents and grant them tokens, which is as good as reading every token",
		grants.GrantsRead:  "see sessions and keys",
		grants.GrantsWrite: "make API keys with the scopes of this one, and revoke sessions and keys",
		grants.AuditRead:   "read the audit record",
		grants.VaultManage: "lock the vault, link it, bind and unbind the webhook, which is as good as reading every token",
	}
	var rows []scopeRow
	for _, name := range grants.Scopes() {
		rows = append(rows, scopeRow{Name: name, Label: labels[name], Given: form.Get(name) != ""})
	}
	return rows
}

// keyLives is how long an API key may last, in days; 0 is until revoked.
func keyLives() []life {
	return []life{{30 * 24, "30 days"}, {90 * 24, "90 days"}, {365 * 24, "1 year"}, {0, "until revoked"}}
}

func (d *Dashboard) keysPage(c *gin.Context, v visitor) error {
	return d.showKeys(c, v, url.Values{"hours": {strconv.Itoa(90 * 24)}}, nil)
}

func (d *Dashboard) showKeys(c *gin.Context, v visitor, form url.Values, failure *fault.Error) error {
	type page struct {
		Keys   []signInRow
		Name   field
		Scopes []scopeRow
		Wrong  string // about the scopes
		Lives  []life
		Hours  string
	}
	list, err := d.deps.Keys.APIKeys(c.Request.Context(), v.principal)
	if err != nil {
		return err
	}
	p := page{
		Keys: showGrants(list), Scopes: scopeRows(form), Lives: keyLives(), Hours: form.Get("hours"),
		Name: field{Name: "name", Label: "Name", Type: "text", Value: form.Get("name"), Hint: "What uses it, e.g. backup-script.", Required: true, MaxLength: 100},
	}
	if failure != nil && failure.Field == "scopes" {
		p.Wrong = failure.Message
	}
	return d.render(c, statusOf(failure), "keys", view{Title: "API keys", Section: "keys", Page: &p, Problem: mark(failure, &p.Name)}, &v)
}

func (d *Dashboard) createKey(c *gin.Context, v visitor) error {
	form, err := readForm(c)
	if err != nil {
		return err
	}
	hours, err := strconv.Atoi(form.Get("hours"))
	if err != nil || hours < 0 || hours > 10*365*24 {
		return fault.Field("hours", "An API key lasts some hours, 10 years at most, or until it is revoked.")
	}
	in := grants.CreateKeyInput{Name: form.Get("name")}
	for _, s := range scopeRows(form) {
		if s.Given {
			in.Scopes = append(in.Scopes, s.Name)
		}
	}
	if hours > 0 {
		expires := d.deps.Now().Add(time.Duration(hours) * time.Hour)
		in.ExpiresAt = &expires
	}
	made, err := d.deps.Keys.CreateKey(c.Request.Context(), v.principal, client(c), in)
	if err != nil {
		if failure, ok := mendable(err); ok {
			return d.showKeys(c, v, form, failure)
		}
		return err
	}
	return d.showAPIKey(c, v, http.StatusCreated, made, false)
}

// showAPIKey is the one page that shows an API key, as showKey is for agents'.
func (d *Dashboard) showAPIKey(c *gin.Context, v visitor, status int, made grants.Issued, rotated bool) error {
	type page struct {
		Name      string
		Key       string
		Scopes    []string
		ExpiresAt *time.Time
		Rotated   bool
		Sealed    bool
		URL       string
	}
	u := url.URL{Scheme: d.deps.PublicURL.Scheme, Host: d.deps.PublicURL.Host, Path: "/api/tokens"}
	return d.render(c, status, "apikey", view{Title: "API key " + made.Grant.Label, Section: "keys", Page: page{
		Name: made.Grant.Label, Key: made.Token.Reveal(), Scopes: made.Grant.Scopes, ExpiresAt: made.Grant.ExpiresAt, Rotated: rotated,
		Sealed: made.Grant.VaultID != nil, URL: u.String(),
	}}, &v)
}

func (d *Dashboard) rotateAPIKeyPage(c *gin.Context, v visitor) error {
	g, err := d.findGrant(c, v, "API key")
	if err != nil {
		return err
	}
	return d.confirm(c, v, "keys", confirmation{
		Question: "Replace the API key " + g.Label + "?",
		Lost:     []string{"There is no overlap: the key that is used now is refused at once, here and within a second at every other replica. The new one is shown once.", "Its name, scopes and expiry stay."},
		Do:       "Replace the key", Action: "/keys/" + g.ID.String() + "/rotate", Back: "/keys",
	})
}

func (d *Dashboard) rotateAPIKey(c *gin.Context, v visitor) error {
	id, err := pathID(c, "API key")
	if err != nil {
		return err
	}
	made, err := d.deps.Keys.RotateKey(c.Request.Context(), v.principal, client(c), id)
	if err != nil {
		return err
	}
	return d.showAPIKey(c, v, http.StatusOK, made, true)
}
