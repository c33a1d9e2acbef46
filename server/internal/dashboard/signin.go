package dashboard

import (
	"context"
	"net/http"
	"net/url"
	"path"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/accounts"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/server/internal/web"
)

// Accounts registers people and signs them in and out.
type Accounts interface {
	Register(ctx context.Context, in accounts.RegisterInput, client audit.Client) (accounts.SignIn, error)
	Login(ctx context.Context, in accounts.LoginInput, client audit.Client) (accounts.SignIn, error)
	LoginCode(ctx context.Context, in accounts.CodeInput, client audit.Client) (accounts.SignIn, error)
	Logout(ctx context.Context, p grants.Principal, client audit.Client) error
	Account(ctx context.Context, p grants.Principal) (models.Account, error)
	RegistrationOpen(ctx context.Context) (bool, error)
}

func (d *Dashboard) signInRoutes(r routes) {
	r.page("/login", d.page(d.loginPage))
	r.POST("/login", d.page(d.login))
	r.page("/login/code", d.page(d.loginAgain))
	r.POST("/login/code", d.page(d.loginCode))
	r.page("/register", d.page(d.registerPage))
	r.POST("/register", d.page(d.register))
	r.POST("/logout", d.page(d.logout))
	r.POST("/logout/anyway", d.page(d.logoutAnyway))
}

// safeNext keeps a way back within this server: an absolute path of ours, or
// "/". What a browser could take for another host ("//evil", "/\evil") is none,
// and neither are the API, the sign-in pages themselves, and what a browser makes
// another path of ("/a/../b"). Connecting an account is not begun by it: whoever comes
// from signing in comes from here, whoever made the link (comeBackTo).
func safeNext(next string) string {
	odd := func(r rune) bool { return r <= ' ' || r > '~' || r == '\\' }
	if !strings.HasPrefix(next, "/") || strings.HasPrefix(next, "//") || strings.ContainsFunc(next, odd) || len(next) > 4<<10 {
		return "/"
	}
	u, err := url.Parse(next)
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil || web.IsAPI(u.Path) || path.Clean(u.Path) != u.Path {
		return "/"
	}
	switch u.Path {
	case "/login", "/login/code", "/login/passkey", "/register", "/logout":
		return "/"
	}
	return comeBackTo(u)
}

type signInPage struct {
	Next     string
	Email    field
	Name     field
	Password field
	Open     bool   // registration is
	Host     string // whose passkeys sign in here; empty: none
}

func emailField(value string) field {
	return field{Name: "email", Label: "E-mail address", Type: "email", Value: value, Autocomplete: "username", Required: true, MaxLength: 254}
}

// signedIn reports whether the browser bears a good session already.
func (d *Dashboard) signedIn(c *gin.Context) bool {
	token := d.deps.Cookies.Session(c.Request)
	if token == "" {
		return false
	}
	_, err := d.deps.Auth.Authenticate(c.Request.Context(), token, models.GrantSession)
	return err == nil
}

func (d *Dashboard) loginPage(c *gin.Context) error {
	next := safeNext(c.Query("next"))
	if d.signedIn(c) {
		return seeOther(c, next)
	}
	return d.showLogin(c, next, "", nil)
}

func (d *Dashboard) showLogin(c *gin.Context, next, email string, failure *fault.Error) error {
	open, err := d.deps.Accounts.RegistrationOpen(c.Request.Context())
	if err != nil {
		return err
	}
	p := signInPage{Next: next, Email: emailField(email), Open: open, Password: field{
		Name: "password", Label: "Password", Type: "password", Autocomplete: "current-password", Required: true, MaxLength: maxLine,
	}}
	p.Host, _ = d.deps.Guards.PasskeyHost()
	p.Email.Autofocus = email == ""
	p.Password.Autofocus = email != ""
	return d.render(c, statusOf(failure), "login", view{Title: "Sign in", Page: &p, Problem: mark(failure, &p.Email, &p.Password)}, nil)
}

func statusOf(failure *fault.Error) int {
	if failure == nil {
		return http.StatusOK
	}
	return web.Status(failure.Code)
}

func (d *Dashboard) login(c *gin.Context) error {
	form, err := readForm(c)
	if err != nil {
		return err
	}
	next := safeNext(form.Get("next"))
	in := accounts.LoginInput{Email: form.Get("email"), Password: form.Get("password")}
	signIn, err := d.deps.Accounts.Login(c.Request.Context(), in, client(c))
	if err != nil {
		if failure, ok := mendable(err); ok {
			return d.showLogin(c, next, in.Email, failure)
		}
		return err
	}
	if signIn.Challenge != "" {
		return d.showCode(c, next, signIn.Challenge, nil)
	}
	d.deps.Cookies.SetSession(c.Writer, signIn.Token.Reveal(), signIn.ExpiresAt)
	return seeOther(c, next)
}

// showCode asks for a code of the second factor. What proves that the password was
// right comes along, sealed: no page has the password twice.
func (d *Dashboard) showCode(c *gin.Context, next, challenge string, failure *fault.Error) error {
	type page struct {
		Next, Challenge string
		Code            field
	}
	p := page{next, challenge, codeField("Six digits, or a recovery code.")}
	p.Code.Autofocus = true
	return d.render(c, statusOf(failure), "login_code", view{Title: "Second factor", Page: &p, Problem: mark(failure, &p.Code)}, nil)
}

// loginAgain is for who reloads a step of signing in: nothing of it is kept.
func (d *Dashboard) loginAgain(c *gin.Context) error { return seeOther(c, "/login") }

func (d *Dashboard) loginCode(c *gin.Context) error {
	form, err := readForm(c)
	if err != nil {
		return err
	}
	next, challenge := safeNext(form.Get("next")), form.Get("challenge")
	signIn, err := d.deps.Accounts.LoginCode(c.Request.Context(), accounts.CodeInput{Challenge: challenge, Code: form.Get("code")}, client(c))
	if err != nil {
		failure, ok := mendable(err)
		switch {
		case !ok:
			return err
		case failure.Code == fault.LoginFailed && failure.Field == "": // the first step is over
			return d.showLogin(c, next, "", failure)
		}
		return d.showCode(c, next, challenge, failure)
	}
	d.deps.Cookies.SetSession(c.Writer, signIn.Token.Reveal(), signIn.ExpiresAt)
	return seeOther(c, next)
}

func (d *Dashboard) registerPage(c *gin.Context) error {
	next := safeNext(c.Query("next"))
	if d.signedIn(c) {
		return seeOther(c, next)
	}
	return d.showRegister(c, next, accounts.RegisterInput{}, nil)
}

func (d *Dashboard) showRegister(c *gin.Context, next string, in accounts.RegisterInput, failure *fault.Error) error {
	open, err := d.deps.Accounts.RegistrationOpen(c.Request.Context())
	if err != nil {
		return err
	}
	p := signInPage{
		Next: next, Email: emailField(in.Email), Open: open,
		Name: field{Name: "displayName", Label: "Your name", Type: "text", Value: in.DisplayName, Autocomplete: "name", MaxLength: 100},
		Password: field{
			Name: "password", Label: "Password", Type: "password", Hint: "At least 10 characters.", Autocomplete: "new-password", Required: true, MaxLength: maxLine,
		},
	}
	p.Email.Autofocus = failure == nil
	status := statusOf(failure)
	if !open && failure == nil {
		status = http.StatusForbidden
	}
	return d.render(c, status, "register", view{Title: "Create an account", Page: &p, Problem: mark(failure, &p.Email, &p.Name, &p.Password)}, nil)
}

func (d *Dashboard) register(c *gin.Context) error {
	form, err := readForm(c)
	if err != nil {
		return err
	}
	next := safeNext(form.Get("next"))
	in := accounts.RegisterInput{Email: form.Get("email"), Password: form.Get("password"), DisplayName: form.Get("displayName")}
	signIn, err := d.deps.Accounts.Register(c.Request.Context(), in, client(c))
	if err != nil {
		if failure, ok := mendable(err); ok {
			return d.showRegister(c, next, in, failure)
		}
		return err
	}
	d.deps.Cookies.SetSession(c.Writer, signIn.Token.Reveal(), signIn.ExpiresAt)
	if next == "/" { // a new account has nothing to show yet
		next = setupRoot
	}
	return seeOther(c, next)
}

// logout ends the session here and in the browser, also one that is over. When
// credentials would be lost with it, it asks first.
func (d *Dashboard) logout(c *gin.Context) error { return d.signOut(c, true) }

// logoutAnyway is logout for who was asked.
func (d *Dashboard) logoutAnyway(c *gin.Context) error { return d.signOut(c, false) }

func (d *Dashboard) signOut(c *gin.Context, ask bool) error {
	ctx := c.Request.Context()
	if token := d.deps.Cookies.Session(c.Request); token != "" {
		p, err := d.deps.Auth.Authenticate(ctx, token, models.GrantSession)
		if err == nil && ask {
			var lost []string
			if lost, err = d.lostWith(ctx, p, p.GrantID); err == nil && len(lost) > 0 {
				return d.askBeforeSignOut(c, lost)
			}
		}
		if err == nil {
			err = d.deps.Accounts.Logout(ctx, p, client(c))
		}
		if err != nil && fault.CodeOf(err) != fault.InvalidKey {
			return err
		}
	}
	d.deps.Cookies.EndSession(c.Writer)
	return d.done(c, "/login", flashSignedOut)
}

func (d *Dashboard) askBeforeSignOut(c *gin.Context, lost []string) error {
	return d.render(c, http.StatusOK, "confirm", view{Title: "Sign out and lose the vault?", Page: confirmation{
		Question: "Sign out and lose the vault?", Lost: append(lost, wayBackIn), Do: "Sign out and lose it", Action: "/logout/anyway", Back: "/keys",
	}}, nil)
}
