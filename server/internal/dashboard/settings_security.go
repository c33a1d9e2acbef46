package dashboard

import (
	"context"
	"strconv"

	"github.com/gin-gonic/gin"

	"github.com/tvzero/tokenvault/server/internal/accounts"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
)

const securitySettings = "/settings/security"

// Guards says how an account is guarded. PasskeyHost is the host whose passkeys count
// here, or why there are none.
type Guards interface {
	PasskeyHost() (host, why string)
	Security(ctx context.Context, p grants.Principal) (accounts.SecurityView, error)
}

// SessionsTogether are those of an account that end at once.
type SessionsTogether interface {
	LossOfSessions(ctx context.Context, p grants.Principal, ownToo bool) (grants.Loss, error)
	RevokeOthers(ctx context.Context, p grants.Principal, client audit.Client) (int, error)
}

func (d *Dashboard) securityRoutes(r routes) {
	r.page(securitySettings, d.user(d.securityPage))
	r.POST("/settings/password", d.user(d.changePassword))
	r.page("/settings/sessions/end-others", d.user(d.endOthersPage))
	r.POST("/settings/sessions/end-others", d.user(d.endOthers))
}

func (d *Dashboard) securityPage(c *gin.Context, v visitor) error { return d.showSecurity(c, v, nil) }

func (d *Dashboard) showSecurity(c *gin.Context, v visitor, failure *fault.Error) error {
	type page struct {
		Security accounts.SecurityView
		Current  field
		New      field
		Others   int    // sessions besides this one
		Why      string // passkeys are not possible here; empty: they are
	}
	ctx := c.Request.Context()
	security, err := d.deps.Guards.Security(ctx, v.principal)
	if err != nil {
		return err
	}
	loss, err := d.deps.Together.LossOfSessions(ctx, v.principal, false)
	if err != nil {
		return err
	}
	_, why := d.deps.Guards.PasskeyHost()
	p := page{
		Security: security, Others: loss.Sessions, Why: why,
		Current: field{Name: "currentPassword", Label: "Current password", Type: "password", Autocomplete: "current-password", Required: true, MaxLength: maxLine},
		New: field{
			Name: "newPassword", Label: "New password", Type: "password", Hint: "At least 10 characters.", Autocomplete: "new-password", Required: true, MaxLength: maxLine,
		},
	}
	return d.render(c, statusOf(failure), "settings_security",
		view{Title: "Security", Section: "settings", Page: &p, Problem: mark(failure, &p.Current, &p.New)}, &v)
}

func (d *Dashboard) changePassword(c *gin.Context, v visitor) error {
	form, err := readForm(c)
	if err != nil {
		return err
	}
	in := accounts.PasswordInput{CurrentPassword: form.Get("currentPassword"), NewPassword: form.Get("newPassword")}
	err = d.deps.Profiles.ChangePassword(c.Request.Context(), v.principal, client(c), in)
	if err != nil {
		return mend(err, func(failure *fault.Error) error { return d.showSecurity(c, v, failure) })
	}
	return d.done(c, securitySettings, flashPasswordChanged)
}

// lostTogether says what ends with several sessions.
func lostTogether(loss grants.Loss) []string {
	if loss.Credentials == 0 {
		return nil
	}
	vaults := "a vault that nothing else opens ends"
	if loss.Vaults > 1 {
		vaults = strconv.Itoa(loss.Vaults) + " vaults that nothing else opens end"
	}
	return []string{
		"With them " + vaults + ", and credentials (" + strconv.Itoa(loss.Credentials) + ") are deleted. This server cannot bring them back: only a backup of it could, with a session or key that was good in it.",
		"What an agent was granted stays, for that agent alone.",
		"To keep such a vault, share it with this session first, there where it is open; or make an API key there and keep it offline.",
	}
}

func (d *Dashboard) endOthersPage(c *gin.Context, v visitor) error {
	loss, err := d.deps.Together.LossOfSessions(c.Request.Context(), v.principal, false)
	if err != nil {
		return err
	}
	if loss.Sessions == 0 {
		return seeOther(c, securitySettings)
	}
	said := "One other session is signed out, at once."
	if loss.Sessions > 1 {
		said = strconv.Itoa(loss.Sessions) + " other sessions are signed out, at once."
	}
	return d.confirm(c, v, "settings", confirmation{
		Question: "Sign out all other sessions?", Lost: append([]string{said, "This session, API keys and agents stay as they are."}, lostTogether(loss)...),
		Do: "Sign them out", Action: "/settings/sessions/end-others", Back: securitySettings,
	})
}

func (d *Dashboard) endOthers(c *gin.Context, v visitor) error {
	if _, err := d.deps.Together.RevokeOthers(c.Request.Context(), v.principal, client(c)); err != nil {
		return err
	}
	return d.done(c, securitySettings, flashOthersEnded)
}
