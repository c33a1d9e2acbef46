package dashboard

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/server/internal/accounts"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/server/internal/web"
)

const passkeySettings = "/settings/passkeys"

// Passkeys signs in with passkeys, and adds, names and ends them.
type Passkeys interface {
	BeginPasskeyLogin(ctx context.Context) (accounts.PasskeyRequest, error)
	LoginPasskey(ctx context.Context, answer accounts.PasskeyAnswer, client audit.Client) (accounts.SignIn, error)
	BeginPasskey(ctx context.Context, p grants.Principal, client audit.Client, name, password, code string) (accounts.PasskeyRequest, error)
	AddPasskey(ctx context.Context, p grants.Principal, client audit.Client, name string, answer accounts.PasskeyAnswer) error
	RenamePasskey(ctx context.Context, p grants.Principal, client audit.Client, id uuid.UUID, name string) error
	DeletePasskey(ctx context.Context, p grants.Principal, client audit.Client, id uuid.UUID) error
}

func (d *Dashboard) passkeyRoutes(r routes) {
	r.POST("/login/passkey/options", web.JSON(d.passkeyOptions))
	r.page("/login/passkey", d.page(d.loginAgain))
	r.POST("/login/passkey", d.page(d.loginPasskey))

	r.page(passkeySettings, d.user(d.toSecurity))
	r.POST(passkeySettings, d.user(d.addPasskey))
	r.page(passkeySettings+"/new", d.user(d.newPasskeyPage))
	r.POST(passkeySettings+"/new", d.user(d.askPasskey))
	r.page(passkeySettings+"/rename/:id", d.user(d.renamePasskeyPage))
	r.POST(passkeySettings+"/rename/:id", d.user(d.renamePasskey))
	r.page(passkeySettings+"/delete/:id", d.user(d.deletePasskeyPage))
	r.POST(passkeySettings+"/delete/:id", d.user(d.deletePasskey))
}

// writeOptions answers a script that is about to ask the browser for a passkey.
func writeOptions(c *gin.Context, r accounts.PasskeyRequest) error {
	return web.WriteJSON(c, http.StatusOK, struct {
		Options   json.RawMessage `json:"options"`
		Challenge string          `json:"challenge"`
	}{r.Options, r.Challenge})
}

func answerOf(form interface{ Get(string) string }) accounts.PasskeyAnswer {
	return accounts.PasskeyAnswer{Challenge: form.Get("challenge"), Credential: form.Get("credential")}
}

func (d *Dashboard) passkeyOptions(c *gin.Context) error {
	r, err := d.deps.Passkeys.BeginPasskeyLogin(c.Request.Context())
	if err != nil {
		return err
	}
	return writeOptions(c, r)
}

// withoutScript is said to who sent a form that a script has to fill in.
func withoutScript() *fault.Error {
	return fault.New(fault.InvalidRequest, "The browser has to ask for the passkey, and needs JavaScript for it. Switch it on for this site, or use your password.")
}

func (d *Dashboard) loginPasskey(c *gin.Context) error {
	form, err := readForm(c)
	if err != nil {
		return err
	}
	next, answer := safeNext(form.Get("next")), answerOf(form)
	if answer.Credential == "" {
		return d.showLogin(c, next, "", withoutScript())
	}
	signIn, err := d.deps.Passkeys.LoginPasskey(c.Request.Context(), answer, client(c))
	if err != nil {
		return mend(err, func(failure *fault.Error) error { return d.showLogin(c, next, "", failure) })
	}
	d.deps.Cookies.SetSession(c.Writer, signIn.Token.Reveal(), signIn.ExpiresAt)
	return seeOther(c, next)
}

func passkeyNameField(value string) field {
	return field{Name: "name", Label: "Name", Type: "text", Value: value, Hint: "Which device it is, or which password manager keeps it.", Required: true, MaxLength: 100, Autofocus: value == ""}
}

func (d *Dashboard) newPasskeyPage(c *gin.Context, v visitor) error {
	return d.showNewPasskey(c, v, "", nil)
}

func (d *Dashboard) showNewPasskey(c *gin.Context, v visitor, name string, failure *fault.Error) error {
	type page struct {
		Name     field
		Password field
		Code     field
		Factor   bool // a code is needed as well
		Why      string
	}
	security, err := d.deps.Guards.Security(c.Request.Context(), v.principal)
	if err != nil {
		return err
	}
	_, why := d.deps.Guards.PasskeyHost()
	p := page{passkeyNameField(name), passwordField(), codeField("The one that your app shows now, or a recovery code."), security.SecondFactor, why}
	return d.render(c, statusOf(failure), "passkey_new",
		view{Title: "Add a passkey", Section: "settings", Page: &p, Problem: mark(failure, &p.Name, &p.Password, &p.Code)}, &v)
}

// askPasskey answers the page whose script asks the browser for the new passkey.
func (d *Dashboard) askPasskey(c *gin.Context, v visitor) error {
	form, err := readForm(c)
	if err != nil {
		return err
	}
	name := form.Get("name")
	r, err := d.deps.Passkeys.BeginPasskey(c.Request.Context(), v.principal, client(c), name, form.Get("password"), form.Get("code"))
	if err != nil {
		return mend(err, func(failure *fault.Error) error { return d.showNewPasskey(c, v, name, failure) })
	}
	type page struct{ Name, Options, Challenge, Host string }
	host, _ := d.deps.Guards.PasskeyHost()
	return d.render(c, http.StatusOK, "passkey_ask",
		view{Title: "Add a passkey", Section: "settings", Page: page{name, string(r.Options), r.Challenge, host}}, &v)
}

func (d *Dashboard) addPasskey(c *gin.Context, v visitor) error {
	form, err := readForm(c)
	if err != nil {
		return err
	}
	name, answer := form.Get("name"), answerOf(form)
	if answer.Credential == "" {
		return d.showNewPasskey(c, v, name, withoutScript())
	}
	if err := d.deps.Passkeys.AddPasskey(c.Request.Context(), v.principal, client(c), name, answer); err != nil {
		return mend(err, func(failure *fault.Error) error { return d.showNewPasskey(c, v, name, failure) })
	}
	return d.done(c, securitySettings, flashPasskeyAdded)
}

// findPasskey is the one that a path names.
func (d *Dashboard) findPasskey(c *gin.Context, v visitor) (accounts.PasskeyView, error) {
	id, err := pathID(c, "passkey")
	if err != nil {
		return accounts.PasskeyView{}, err
	}
	security, err := d.deps.Guards.Security(c.Request.Context(), v.principal)
	if err != nil {
		return accounts.PasskeyView{}, err
	}
	for _, key := range security.Passkeys {
		if key.ID == id {
			return key, nil
		}
	}
	return accounts.PasskeyView{}, fault.New(fault.NotFound, "There is no passkey with this id. It may have been deleted already.")
}

func (d *Dashboard) renamePasskeyPage(c *gin.Context, v visitor) error {
	key, err := d.findPasskey(c, v)
	if err != nil {
		return err
	}
	return d.showRename(c, v, key, key.Name, nil)
}

func (d *Dashboard) showRename(c *gin.Context, v visitor, key accounts.PasskeyView, name string, failure *fault.Error) error {
	type page struct {
		Key  accounts.PasskeyView
		Name field
	}
	p := page{key, passkeyNameField(name)}
	p.Name.Autofocus = true
	return d.render(c, statusOf(failure), "passkey_rename", view{Title: "Rename the passkey", Section: "settings", Page: &p, Problem: mark(failure, &p.Name)}, &v)
}

func (d *Dashboard) renamePasskey(c *gin.Context, v visitor) error {
	key, err := d.findPasskey(c, v)
	if err != nil {
		return err
	}
	form, err := readForm(c)
	if err != nil {
		return err
	}
	name := form.Get("name")
	if err := d.deps.Passkeys.RenamePasskey(c.Request.Context(), v.principal, client(c), key.ID, name); err != nil {
		return mend(err, func(failure *fault.Error) error { return d.showRename(c, v, key, name, failure) })
	}
	return d.done(c, securitySettings, flashRenamed)
}

func (d *Dashboard) deletePasskeyPage(c *gin.Context, v visitor) error {
	key, err := d.findPasskey(c, v)
	if err != nil {
		return err
	}
	return d.confirm(c, v, "settings", confirmation{
		Question: "Delete the passkey " + key.Name + "?",
		Lost:     []string{"It signs in no longer. Your other ways of signing in stay.", "The device keeps its half, which is good for nothing then: delete it there as well."},
		Do:       "Delete it", Action: passkeySettings + "/delete/" + key.ID.String(), Back: securitySettings,
	})
}

func (d *Dashboard) deletePasskey(c *gin.Context, v visitor) error {
	id, err := pathID(c, "passkey")
	if err != nil {
		return err
	}
	// Another request may have deleted it meanwhile: what was wanted holds.
	err = d.deps.Passkeys.DeletePasskey(c.Request.Context(), v.principal, client(c), id)
	if err != nil && fault.CodeOf(err) != fault.NotFound {
		return err
	}
	return d.done(c, securitySettings, flashPasskeyDeleted)
}

// toSecurity is for who reloads an address that is posted to alone.
func (d *Dashboard) toSecurity(c *gin.Context, _ visitor) error { return seeOther(c, securitySettings) }
