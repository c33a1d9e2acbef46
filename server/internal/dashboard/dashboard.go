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
	"encoding/json"
	"net/http"
	"net/url"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/accounts"
	"github.com/tvzero/tokenvault/server/internal/agents"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/connect"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/server/internal/platform"
	"github.com/tvzero/tokenvault/server/internal/providers"
	"github.com/tvzero/tokenvault/server/internal/renew"
	"github.com/tvzero/tokenvault/server/internal/vaults"
	"github.com/tvzero/tokenvault/server/internal/web"
)

// Authenticator tells who a session speaks for.
type Authenticator interface {
	Authenticate(ctx context.Context, token string, kinds ...models.GrantKind) (grants.Principal, error)
}

// Accounts registers people and signs them in and out.
type Accounts interface {
	Register(ctx context.Context, in accounts.RegisterInput, client audit.Client) (accounts.SignIn, error)
	Login(ctx context.Context, in accounts.LoginInput, client audit.Client) (accounts.SignIn, error)
	Logout(ctx context.Context, p grants.Principal, client audit.Client) error
	Account(ctx context.Context, p grants.Principal) (models.Account, error)
	RegistrationOpen(ctx context.Context) (bool, error)
}

// Tokens reads and changes the metadata of tokens.
type Tokens interface {
	Tokens(ctx context.Context, p grants.Principal, page vaults.Page) ([]vaults.TokenView, string, error)
	Token(ctx context.Context, p grants.Principal, service string) (vaults.TokenView, error)
	UpdateMetadata(ctx context.Context, p grants.Principal, client audit.Client, service string, in vaults.MetadataInput) (vaults.TokenView, error)
	DeleteTokens(ctx context.Context, p grants.Principal, client audit.Client, services ...string) ([]string, error)
}

// Vault is how an account keeps its tokens, and its kill switch.
type Vault interface {
	Status(ctx context.Context, p grants.Principal) (vaults.Status, error)
	Lock(ctx context.Context, p grants.Principal, client audit.Client) error
	Unlock(ctx context.Context, p grants.Principal, client audit.Client) error
}

// Webhook binds a webhook, reads its list of tokens and checks it.
type Webhook interface {
	PreviewBind(ctx context.Context, p grants.Principal, in vaults.BindInput) (vaults.BindPreview, error)
	Bind(ctx context.Context, p grants.Principal, client audit.Client, in vaults.BindInput) (models.Binding, error)
	Unbind(ctx context.Context, p grants.Principal, client audit.Client) error
	Sync(ctx context.Context, p grants.Principal, client audit.Client, service string) (int, error)
	CheckWebhook(ctx context.Context, p grants.Principal, client audit.Client) ([]vaults.Probe, error)
}

// Agents makes, changes and ends agents.
type Agents interface {
	Create(ctx context.Context, p grants.Principal, client audit.Client, in agents.CreateInput) (agents.Created, error)
	List(ctx context.Context, p grants.Principal, page vaults.Page) ([]models.Agent, string, error)
	Get(ctx context.Context, p grants.Principal, id uuid.UUID) (agents.Detail, error)
	Update(ctx context.Context, p grants.Principal, client audit.Client, id uuid.UUID, in agents.UpdateInput) (models.Agent, error)
	Delete(ctx context.Context, p grants.Principal, client audit.Client, ids ...uuid.UUID) (int, error)
	RotateKey(ctx context.Context, p grants.Principal, client audit.Client, id uuid.UUID) (agents.Created, error)
}

// CredentialGrants permits agents to use tokens.
type CredentialGrants interface {
	Grant(ctx context.Context, p grants.Principal, client audit.Client, id uuid.UUID, in agents.GrantInput) (models.CredentialGrant, error)
	Revoke(ctx context.Context, p grants.Principal, client audit.Client, id uuid.UUID, service string) error
}

// Platform keeps the credentials of platform vaults.
type Platform interface {
	Store(ctx context.Context, p grants.Principal, client audit.Client, ref platform.Ref, fields map[string]json.RawMessage) (models.Token, error)
	Reveal(ctx context.Context, p grants.Principal, client audit.Client, ref platform.Ref) (map[string]any, error)
	Superseded(ctx context.Context, p grants.Principal) ([]models.Token, error)
	Restore(ctx context.Context, p grants.Principal, client audit.Client, tokenID uuid.UUID, newName string) (models.Token, error)
	Discard(ctx context.Context, p grants.Principal, client audit.Client, tokenID uuid.UUID) error
}

// Keys makes API keys.
type Keys interface {
	APIKeys(ctx context.Context, p grants.Principal) ([]grants.View, error)
	CreateKey(ctx context.Context, p grants.Principal, client audit.Client, in grants.CreateKeyInput) (grants.Issued, error)
	RotateKey(ctx context.Context, p grants.Principal, client audit.Client, id uuid.UUID) (grants.Issued, error)
}

// Sessions is what can sign in. LastOfVault tells whether a platform vault ends
// with a grant, and how many credentials would be lost with it.
type Sessions interface {
	List(ctx context.Context, p grants.Principal) ([]grants.View, error)
	SetLabel(ctx context.Context, p grants.Principal, client audit.Client, id uuid.UUID, label string) error
	Revoke(ctx context.Context, p grants.Principal, client audit.Client, id uuid.UUID) error
	LastOfVault(ctx context.Context, p grants.Principal, id uuid.UUID) (last bool, credentials int, err error)
	Rotate(ctx context.Context, p grants.Principal) (grants.Token, time.Time, error)
}

// Linking shares a vault between grants.
type Linking interface {
	Share(ctx context.Context, p grants.Principal, client audit.Client, to uuid.UUID) (models.Escrow, error)
	Escrows(ctx context.Context, p grants.Principal) ([]models.Escrow, error)
	Preview(ctx context.Context, p grants.Principal, id uuid.UUID) (platform.Preview, error)
	Accept(ctx context.Context, p grants.Principal, client audit.Client, id uuid.UUID) error
	Decline(ctx context.Context, p grants.Principal, client audit.Client, id uuid.UUID) error
	Cancel(ctx context.Context, p grants.Principal, client audit.Client, id uuid.UUID) error
}

// Moves brings credentials from platform vaults to the webhook, and says what can
// come back.
type Moves interface {
	Move(ctx context.Context, p grants.Principal, client audit.Client, after uuid.UUID) (vaults.Moving, error)
	Waiting(ctx context.Context, p grants.Principal) ([]platform.Waiting, error)
	DropWaiting(ctx context.Context, p grants.Principal, client audit.Client, tokenID uuid.UUID) error
	MoveBackPlan(ctx context.Context, p grants.Principal) ([]vaults.Back, error)
}

// Refreshing refreshes tokens because somebody asks for it.
type Refreshing interface {
	Refresh(ctx context.Context, p grants.Principal, client audit.Client, service string) (renew.Result, error)
}

// Connections connects accounts at providers, and ends that.
type Connections interface {
	Start(ctx context.Context, p grants.Principal, client audit.Client, in connect.StartInput) (connect.Redirect, error)
	Finish(ctx context.Context, p grants.Principal, client audit.Client, in connect.Callback) (connect.Connected, error)
	Disconnect(ctx context.Context, p grants.Principal, client audit.Client, service string) (connect.Disconnected, error)
}

// Providers are those that this server is a client of.
type Providers interface {
	List() []providers.Summary
}

// Record reads the audit record.
type Record interface {
	List(ctx context.Context, accountID uuid.UUID, filter audit.Filter) (audit.Page, error)
}

// Deps is what the door needs; all of it is required but Now.
type Deps struct {
	Auth      Authenticator
	Accounts  Accounts
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
	Refresh   Refreshing
	Connect   Connections
	Known     Providers
	Audit     Record
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
	p, err := loadPages(a)
	if err != nil {
		return nil, err
	}
	return &Dashboard{deps: d, assets: a, pages: p}, nil
}

// Routes mounts the door.
func (d *Dashboard) Routes(r gin.IRoutes) {
	get := func(path string, h gin.HandlerFunc) {
		r.GET(path, h)
		r.HEAD(path, h) // net/http leaves the body out
	}
	get("/assets/:name", d.serveAsset)

	get("/login", d.page(d.loginPage))
	r.POST("/login", d.page(d.login))
	get("/register", d.page(d.registerPage))
	r.POST("/register", d.page(d.register))
	r.POST("/logout", d.page(d.logout))
	r.POST("/logout/anyway", d.page(d.logoutAnyway))

	get("/", d.user(d.tokensPage))
	get("/tokens/new", d.user(d.newTokenPage))
	r.POST("/tokens/new", d.user(d.storeToken))
	r.POST("/tokens/sync", d.user(d.sync))
	r.POST("/tokens/superseded/:id/restore", d.user(d.restore))
	get("/tokens/superseded/:id/delete", d.user(d.deleteSupersededPage))
	r.POST("/tokens/superseded/:id/delete", d.user(d.deleteSuperseded))
	get("/token/:service", d.user(d.tokenPage))
	r.POST("/token/:service", d.user(d.updateToken))
	r.POST("/token/:service/reveal", d.user(d.reveal))
	get("/token/:service/delete", d.user(d.deleteTokenPage))
	r.POST("/token/:service/delete", d.user(d.deleteToken))
	r.POST("/token/:service/refresh", d.user(d.refreshNow))
	get("/token/:service/disconnect", d.user(d.disconnectPage))
	r.POST("/token/:service/disconnect", d.user(d.disconnect))
	get("/token/:service/connected", d.user(d.connected))

	get(connectForm, d.user(d.connectPage))
	// Without HEAD: each GET begins or ends something.
	r.GET(connectRoot, d.user(d.startConnecting))
	r.GET(connectRoot+"/:provider", d.user(d.startConnecting))
	r.GET(callbackPath, d.page(d.finishConnecting))

	get("/agents", d.user(d.agentsPage))
	r.POST("/agents", d.user(d.createAgent))
	get("/agents/:id", d.user(d.agentPage))
	r.POST("/agents/:id", d.user(d.updateAgent))
	r.POST("/agents/:id/status", d.user(d.setAgentStatus))
	get("/agents/:id/rotate-key", d.user(d.rotateKeyPage))
	r.POST("/agents/:id/rotate-key", d.user(d.rotateKey))
	get("/agents/:id/delete", d.user(d.deleteAgentPage))
	r.POST("/agents/:id/delete", d.user(d.deleteAgent))
	r.POST("/agents/:id/grants", d.user(d.grant))
	r.POST("/agents/:id/revoke", d.user(d.revoke))

	get("/keys", d.user(d.keysPage))
	r.POST("/keys", d.user(d.createKey))
	get("/keys/:id/rotate", d.user(d.rotateAPIKeyPage))
	r.POST("/keys/:id/rotate", d.user(d.rotateAPIKey))

	get("/grants", d.user(d.grantsPage))
	r.POST("/grants/:id", d.user(d.labelGrant))
	get("/grants/:id/revoke", d.user(d.revokeGrantPage))
	r.POST("/grants/:id/revoke", d.user(d.revokeGrant))
	get("/grants/:id/share-vault", d.user(d.shareVaultPage))
	r.POST("/grants/:id/share-vault", d.user(d.shareVault))
	get("/escrows/:id", d.user(d.escrowPage))
	r.POST("/escrows/:id/accept", d.user(d.accept))
	r.POST("/escrows/:id/decline", d.user(d.decline))
	r.POST("/escrows/:id/cancel", d.user(d.cancel))

	get("/vault/move", d.user(d.movePage))
	r.POST("/vault/move", d.user(d.move))
	get("/vault/move/:id/delete", d.user(d.dropWaitingPage))
	r.POST("/vault/move/:id/delete", d.user(d.dropWaiting))
	get("/vault/move-back", d.user(d.moveBackPage))
	get("/vault/webhook-bind", d.user(d.bindPage))
	r.POST("/vault/webhook-bind", d.user(d.bind))

	get("/audit", d.user(d.auditPage))

	get("/settings", d.user(d.settingsPage))
	r.POST("/settings/check", d.user(d.check))
	r.POST("/settings/lock", d.user(d.lock))
	r.POST("/settings/unlock", d.user(d.unlock))
	get("/settings/unbind", d.user(d.unbindPage))
	r.POST("/settings/unbind", d.user(d.unbind))
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

// sendToLogin remembers only what can be read again: a form that was posted
// without a session is not sent twice.
func (d *Dashboard) sendToLogin(c *gin.Context) error {
	to := "/login"
	if c.Request.Method == http.MethodGet && c.Request.URL.Path != "/" {
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
