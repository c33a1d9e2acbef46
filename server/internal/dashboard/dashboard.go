// Package dashboard is the door for people: plain pages, rendered here, that
// turn forms into calls of the services.
//
// In webhook mode it never sees a credential either. The pages that store or
// show one hold a small script that asks this server for a ticket and speaks to
// the webhook itself; their form fields have no names, so that not even a
// broken browser could send what was typed here. In platform mode a form posts a
// credential here; what was typed as a secret is shown by no answer but the one that
// somebody asked to reveal it. It knows no storage, no keys, and no other door.
package dashboard

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/server/internal/vaults"
	"github.com/tvzero/tokenvault/server/internal/web"
)

// Authenticator tells who a session speaks for.
type Authenticator interface {
	Authenticate(ctx context.Context, token string, kinds ...models.GrantKind) (grants.Principal, error)
}

// Deps is what the door needs; all of it is required but Now.
type Deps struct {
	Auth      Authenticator
	Accounts  Accounts
	Profiles  Profiles
	Guards    Guards
	Factors   Factors
	Passkeys  Passkeys
	Deletion  Deletion
	Together  SessionsTogether
	Tokens    Tokens
	Vault     Vault
	Webhook   Webhook
	Agents    Agents
	Grants    CredentialGrants
	Platform  Platform
	Keys      Keys
	Sessions  Sessions
	Linking   Linking
	Moves     Moves
	DueKeys   DueKeys
	Refresh   Refreshing
	Connect   Connections
	Known     Providers
	Audit     Record
	Chain     Chain
	Health    Health
	Cookies   web.Cookies
	PublicURL *url.URL         // what the command lines on the pages use
	Now       func() time.Time // nil: time.Now
}

// Dashboard is the door. Safe for concurrent use.
type Dashboard struct {
	deps   Deps
	assets *assets
	pages  *pages
}

// New makes the door. It fails when a template or asset that was compiled in is
// broken, which a test rules out.
func New(d Deps) (*Dashboard, error) {
	if d.Now == nil {
		d.Now = time.Now
	}
	a, err := loadAssets()
	if err != nil {
		return nil, err
	}
	p, err := loadPages(a, d.Now)
	if err != nil {
		return nil, err
	}
	return &Dashboard{deps: d, assets: a, pages: p}, nil
}

// Routes mounts the door: each area of pages brings its own.
func (d *Dashboard) Routes(r gin.IRoutes) {
	routes := routes{r}
	routes.page("/assets/:name", d.serveAsset)
	d.signInRoutes(routes)
	d.tokenRoutes(routes)
	d.addTokenRoutes(routes)
	d.supersededRoutes(routes)
	d.connectRoutes(routes)
	d.agentRoutes(routes)
	d.keyRoutes(routes)
	d.grantRoutes(routes)
	d.linkingRoutes(routes)
	d.moveRoutes(routes)
	d.setupRoutes(routes)
	d.bindRoutes(routes)
	d.auditRoutes(routes)
	d.settingsRoutes(routes)
	d.securityRoutes(routes)
	d.factorRoutes(routes)
	d.passkeyRoutes(routes)
	d.dangerRoutes(routes)
	d.vaultRoutes(routes)
}

// routes are where an area mounts its pages.
type routes struct{ gin.IRoutes }

// page mounts what can be read: GET, and HEAD, for which net/http leaves the body out.
func (r routes) page(path string, h gin.HandlerFunc) {
	r.GET(path, h)
	r.HEAD(path, h)
}

// A visitor is who is signed in, with what every page shows of them.
type visitor struct {
	principal grants.Principal
	account   models.Account
	vault     vaults.Status
	offers    []offer // vaults that others share with this session
	ending    *ending // nil: nothing is about to be lost
}

type pageHandler func(c *gin.Context) error

type userHandler func(c *gin.Context, v visitor) error

// page is the adapter of pages: an error becomes a page of its own. Handlers
// that can show it beside the form do so themselves.
func (d *Dashboard) page(h pageHandler) gin.HandlerFunc {
	return func(c *gin.Context) {
		if err := h(c); err != nil {
			d.fail(c, err)
		}
	}
}

// user is the adapter of pages for those who are signed in. Others are sent to
// sign in, and come back to what they wanted to read.
func (d *Dashboard) user(h userHandler) gin.HandlerFunc {
	return d.page(func(c *gin.Context) error { return d.signedInAs(c, h) })
}

func (d *Dashboard) signedInAs(c *gin.Context, h userHandler) error {
	token := d.deps.Cookies.Session(c.Request)
	if token == "" {
		return d.sendToLogin(c)
	}
	ctx := c.Request.Context()
	p, err := d.deps.Auth.Authenticate(ctx, token, models.GrantSession)
	if fault.CodeOf(err) == fault.InvalidKey {
		d.deps.Cookies.EndSession(c.Writer)
		return d.sendToLogin(c)
	}
	if err != nil {
		return err
	}
	if p.RotateDue {
		web.FollowSession(c, d.deps.Cookies, func(ctx context.Context) (string, time.Time, error) {
			next, expires, err := d.deps.Sessions.Rotate(ctx, p)
			if err == nil {
				p.ExpiresAt = expires
			}
			return next.Reveal(), expires, err
		})
	}
	v := visitor{principal: p}
	if v.account, err = d.deps.Accounts.Account(ctx, p); err != nil {
		return err
	}
	if v.vault, err = d.deps.Vault.Status(ctx, p); err != nil {
		return err
	}
	if err := d.lookOut(ctx, &v); err != nil {
		return err
	}
	return h(c, v)
}

// sendToLogin has who is not signed in do so. What they wanted to read is remembered,
// and a form that they sent is kept.
func (d *Dashboard) sendToLogin(c *gin.Context) error {
	if c.Request.Method == http.MethodPost {
		return d.resume(c)
	}
	to := "/login"
	if c.Request.URL.Path != "/" {
		to += "?" + url.Values{"next": {comeBackTo(c.Request.URL)}}.Encode()
	}
	return seeOther(c, to)
}

// seeOther answers 303: what was posted is done, and reading it again is safe.
func seeOther(c *gin.Context, to string) error {
	c.Header("Location", to)
	c.Status(http.StatusSeeOther)
	c.Writer.WriteHeaderNow()
	return nil
}

// done answers 303 and leaves a word about what was done for the next page.
func (d *Dashboard) done(c *gin.Context, to string, word flash) error {
	d.deps.Cookies.SetFlash(c.Writer, string(word))
	return seeOther(c, to)
}

func client(c *gin.Context) audit.Client { return audit.Client(web.ClientOf(c)) }
