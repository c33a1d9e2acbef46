package dashboard

import (
	"context"
	"net/http"
	"strconv"

	"github.com/gin-gonic/gin"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/accounts"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/server/internal/web"
)

const dangerSettings = "/settings/danger"

// Deletion deletes accounts.
type Deletion interface {
	BeginDeletion(ctx context.Context, p grants.Principal) (accounts.PasskeyRequest, error)
	DeleteAccount(ctx context.Context, p grants.Principal, client audit.Client, in accounts.DeletionInput) error
}

func (d *Dashboard) dangerRoutes(r routes) {
	r.page(dangerSettings, d.user(d.dangerPage))
	r.page("/settings/sessions/end-all", d.user(d.endAllPage))
	r.POST("/settings/sessions/end-all", d.user(d.endAll))
	r.page(dangerSettings+"/delete", d.user(d.deleteAccountPage))
	r.POST(dangerSettings+"/delete", d.user(d.deleteAccount))
	r.POST(dangerSettings+"/passkey", d.user(d.deletionOptions))
}

func (d *Dashboard) dangerPage(c *gin.Context, v visitor) error {
	return d.render(c, http.StatusOK, "settings_danger", view{Title: "Danger zone", Section: "settings"}, &v)
}

func (d *Dashboard) endAllPage(c *gin.Context, v visitor) error {
	loss, err := d.deps.Together.LossOfSessions(c.Request.Context(), v.principal, true)
	if err != nil {
		return err
	}
	said := "This session is signed out. There is no other."
	if loss.Sessions > 1 {
		said = "All " + strconv.Itoa(loss.Sessions) + " sessions are signed out at once, this one included."
	}
	return d.confirm(c, v, "settings", confirmation{
		Question: "Sign out everywhere?", Lost: append([]string{said, "API keys and agents stay as they are."}, lostTogether(loss)...),
		Do: "Sign out everywhere", Action: "/settings/sessions/end-all", Back: dangerSettings,
	})
}

func (d *Dashboard) endAll(c *gin.Context, v visitor) error {
	ctx := c.Request.Context()
	if _, err := d.deps.Together.RevokeOthers(ctx, v.principal, client(c)); err != nil {
		return err
	}
	if err := d.deps.Accounts.Logout(ctx, v.principal, client(c)); err != nil {
		return err
	}
	d.deps.Cookies.EndSession(c.Writer)
	return d.done(c, "/login", flashSignedOut)
}

func (d *Dashboard) deleteAccountPage(c *gin.Context, v visitor) error {
	return d.showDeletion(c, v, "", nil)
}

// showDeletion says what is lost with the account, and what stays.
func (d *Dashboard) showDeletion(c *gin.Context, v visitor, typed string, failure *fault.Error) error {
	type page struct {
		Account                models.Account
		Sealed, Bound          bool
		Sessions, Keys, Agents int
		Passkeys               int
		Host                   string
		Email, Password        field
	}
	ctx := c.Request.Context()
	list, err := d.deps.Sessions.List(ctx, v.principal)
	if err != nil {
		return err
	}
	security, err := d.deps.Guards.Security(ctx, v.principal)
	if err != nil {
		return err
	}
	p := page{
		Account: v.account, Sealed: v.vault.Mode == models.ModePlatform, Bound: bound(v),
		Email:    field{Name: "email", Label: "Type the e-mail address of this account", Type: "email", Value: typed, Autocomplete: "off", Required: true, MaxLength: 254},
		Password: passwordField(),
	}
	if host, why := d.deps.Guards.PasskeyHost(); why == "" && len(security.Passkeys) > 0 {
		p.Passkeys, p.Host = len(security.Passkeys), host
	}
	for _, g := range list {
		switch g.Kind {
		case models.GrantSession:
			p.Sessions++
		case models.GrantAgentKey:
			p.Agents++
		default:
			p.Keys++
		}
	}
	return d.render(c, statusOf(failure), "delete_account",
		view{Title: "Delete the account", Section: "settings", Page: &p, Problem: mark(failure, &p.Email, &p.Password)}, &v)
}

// deletionOptions answers the script that asks for a passkey in place of the password.
func (d *Dashboard) deletionOptions(c *gin.Context, v visitor) error {
	r, err := d.deps.Deletion.BeginDeletion(c.Request.Context(), v.principal)
	if err != nil {
		web.Error(c, err)
		return nil
	}
	return writeOptions(c, r)
}

func (d *Dashboard) deleteAccount(c *gin.Context, v visitor) error {
	form, err := readForm(c)
	if err != nil {
		return err
	}
	in := accounts.DeletionInput{Email: form.Get("email"), Password: form.Get("password"), Passkey: answerOf(form)}
	if err := d.deps.Deletion.DeleteAccount(c.Request.Context(), v.principal, client(c), in); err != nil {
		return mend(err, func(failure *fault.Error) error { return d.showDeletion(c, v, in.Email, failure) })
	}
	d.deps.Cookies.EndSession(c.Writer)
	return d.done(c, "/login", flashAccountDeleted)
}
