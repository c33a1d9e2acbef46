package dashboard

import (
	"context"

	"github.com/gin-gonic/gin"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/accounts"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
)

const profileSettings = "/settings"

// Profiles changes what an account is known by, and its password.
type Profiles interface {
	UpdateProfile(ctx context.Context, p grants.Principal, client audit.Client, in accounts.ProfileInput) (models.Account, error)
	ChangePassword(ctx context.Context, p grants.Principal, client audit.Client, in accounts.PasswordInput) error
}

func (d *Dashboard) settingsRoutes(r routes) {
	r.page(profileSettings, d.user(d.profilePage))
	r.POST(profileSettings+"/name", d.user(d.changeName))
	r.POST(profileSettings+"/email", d.user(d.changeEmail))
}

func (d *Dashboard) profilePage(c *gin.Context, v visitor) error {
	return d.showProfile(c, v, v.account.DisplayName, v.account.Email, nil)
}

// showProfile shows the account, with what was typed in its forms.
func (d *Dashboard) showProfile(c *gin.Context, v visitor, name, email string, failure *fault.Error) error {
	type page struct {
		Account  models.Account
		Name     field
		Email    field
		Password field
	}
	p := page{
		Account: v.account,
		Name:    field{Name: "displayName", Label: "Name", Type: "text", Value: name, Autocomplete: "name", MaxLength: 100, Hint: "Shown at the top of each page. Without one, your e-mail address is."},
		Email:   field{Name: "email", Label: "Address", Type: "email", Value: email, Autocomplete: "email", Required: true, MaxLength: 254, Hint: "You sign in with it. Nothing is sent to it."},
		Password: field{
			Name: "currentPassword", Label: "Your password", Type: "password", Autocomplete: "current-password", Required: true, MaxLength: maxLine,
			Hint: "So that nobody who finds this page open can do it.",
		},
	}
	return d.render(c, statusOf(failure), "settings_profile",
		view{Title: "Profile", Section: "settings", Page: &p, Problem: mark(failure, &p.Name, &p.Email, &p.Password)}, &v)
}

func (d *Dashboard) changeName(c *gin.Context, v visitor) error {
	form, err := readForm(c)
	if err != nil {
		return err
	}
	name := form.Get("displayName")
	_, err = d.deps.Profiles.UpdateProfile(c.Request.Context(), v.principal, client(c), accounts.ProfileInput{DisplayName: &name})
	if err != nil {
		return mend(err, func(failure *fault.Error) error { return d.showProfile(c, v, name, v.account.Email, failure) })
	}
	return d.done(c, profileSettings, flashProfileSaved)
}

func (d *Dashboard) changeEmail(c *gin.Context, v visitor) error {
	form, err := readForm(c)
	if err != nil {
		return err
	}
	email := form.Get("email")
	in := accounts.ProfileInput{Email: &email, CurrentPassword: form.Get("currentPassword")}
	_, err = d.deps.Profiles.UpdateProfile(c.Request.Context(), v.principal, client(c), in)
	if err != nil {
		return mend(err, func(failure *fault.Error) error { return d.showProfile(c, v, v.account.DisplayName, email, failure) })
	}
	return d.done(c, profileSettings, flashProfileSaved)
}
