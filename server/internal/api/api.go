// Package api is the JSON door: it turns HTTP under /api into calls of the
// services, and what they answer into the shapes that docs/openapi.yaml
// describes.
//
// It decides nothing that a service decides, stores nothing, and never sees a
// key. In webhook mode no credential passes through it in either direction: it
// hands out addresses and tickets, and reads no body that could hold one. In
// platform mode credentials pass through, and are kept nowhere here.
package api

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/accounts"
	"github.com/tvzero/tokenvault/server/internal/agents"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/connect"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/server/internal/platform"
	"github.com/tvzero/tokenvault/server/internal/providers"
	"github.com/tvzero/tokenvault/server/internal/renew"
	"github.com/tvzero/tokenvault/server/internal/vaults"
	"github.com/tvzero/tokenvault/server/internal/web"
)

// Authenticator tells who a token speaks for.
type Authenticator interface {
	Authenticate(ctx context.Context, token string, kinds ...models.GrantKind) (grants.Principal, error)
}

// Accounts registers people, signs them in and out, and changes what they are known by.
type Accounts interface {
	UpdateProfile(ctx context.Context, p grants.Principal, client audit.Client, in accounts.ProfileInput) (models.Account, error)
	ChangePassword(ctx context.Context, p grants.Principal, client audit.Client, in accounts.PasswordInput) error
	Register(ctx context.Context, in accounts.RegisterInput, client audit.Client) (accounts.SignIn, error)
	Login(ctx context.Context, in accounts.LoginInput, client audit.Client) (accounts.SignIn, error)
	Logout(ctx context.Context, p grants.Principal, client audit.Client) error
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
	StoreTicket(ctx context.Context, p grants.Principal, client audit.Client, in vaults.StoreTicketInput) (vaults.Ticket, error)
	CredentialTicket(ctx context.Context, p grants.Principal, client audit.Client, in vaults.CredentialTicketInput) (vaults.Ticket, error)
}

// Webhook binds a webhook, reads its list of tokens and checks it.
type Webhook interface {
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

// Releases answers agents.
type Releases interface {
	Release(ctx context.Context, key string, client audit.Client, service string, room []byte) (agents.Released, error)
	Granted(ctx context.Context, key string) ([]agents.GrantView, error)
	Whoami(ctx context.Context, key string) (agents.Identity, error)
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

// Sessions is what can sign in: it lists, names and ends grants, and follows a
// session with its next token.
type Sessions interface {
	List(ctx context.Context, p grants.Principal) ([]grants.View, error)
	SetLabel(ctx context.Context, p grants.Principal, client audit.Client, id uuid.UUID, label string) error
	Revoke(ctx context.Context, p grants.Principal, client audit.Client, id uuid.UUID) error
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

// Moves brings credentials from platform vaults to the webhook, and back.
type Moves interface {
	Move(ctx context.Context, p grants.Principal, client audit.Client, after uuid.UUID) (vaults.Moving, error)
	Waiting(ctx context.Context, p grants.Principal) ([]platform.Waiting, error)
	DropWaiting(ctx context.Context, p grants.Principal, client audit.Client, tokenID uuid.UUID) error
	MoveBackPlan(ctx context.Context, p grants.Principal) ([]vaults.Back, error)
	MoveBack(ctx context.Context, p grants.Principal, client audit.Client, service string, tokenData map[string]json.RawMessage) (models.Token, error)
}

// Refreshing refreshes tokens because somebody asks for it.
type Refreshing interface {
	Refresh(ctx context.Context, p grants.Principal, client audit.Client, service string) (renew.Result, error)
}

// Connections ends what was connected at providers, and says where to connect it.
type Connections interface {
	ConnectURL(t models.Token) string
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

// Deps is what the door needs; all of it is required.
type Deps struct {
	Auth     Authenticator
	Accounts Accounts
	Tokens   Tokens
	Vault    Vault
	Webhook  Webhook
	Agents   Agents
	Grants   CredentialGrants
	Releases Releases
	Platform Platform
	Keys     Keys
	Sessions Sessions
	Linking  Linking
	Moves    Moves
	Refresh  Refreshing
	Connect  Connections
	Known    Providers
	Audit    Record
	Cookies  web.Cookies
	// PublicURL is where people reach the server.
	PublicURL *url.URL
	// Ready reports why the server cannot serve: database, migrations, keys.
	Ready func(ctx context.Context) error
}

// API is the JSON door. Safe for concurrent use.
type API struct {
	deps  Deps
	rooms sync.Pool // of *[]byte: cleared room for released credentials, which net/http has copied (HTTP/1) when a write returns
}

// New makes the door.
func New(d Deps) *API {
	return &API{deps: d, rooms: sync.Pool{New: func() any { room := make([]byte, 0, roomForCredential); return &room }}}
}

// Quiet lists the route templates whose successes the access log need not show:
// probes of the process, and releases, which the audit record holds.
func Quiet() []string { return []string{"/api/agents/credentials", "/healthz", "/readyz"} }

// Routes mounts the door.
func (a *API) Routes(r gin.IRoutes) {
	get := func(path string, h gin.HandlerFunc) {
		r.GET(path, h)
		r.HEAD(path, h) // net/http leaves the body out
	}
	get("/healthz", web.JSON(a.healthz))
	get("/readyz", web.JSON(a.readyz))

	r.GET("/api/agents/credentials", web.JSON(a.release))
	r.HEAD("/api/agents/credentials", web.JSON(a.releaseHead))
	get("/api/agents/whoami", web.JSON(a.whoami))

	r.POST("/api/auth/register", web.JSON(a.register))
	r.POST("/api/auth/login", web.JSON(a.login))
	r.POST("/api/auth/logout", web.JSON(a.logout))

	r.PATCH("/api/account", a.owner(a.updateProfile))
	r.POST("/api/account/password", a.owner(a.changePassword))

	get("/api/tokens", a.user(grants.TokensRead, a.listTokens))
	r.POST("/api/tokens", a.user(grants.TokensWrite, a.putToken))
	r.DELETE("/api/tokens/bulk", a.user(grants.TokensWrite, a.deleteTokens))
	get("/api/tokens/audit-log", a.user(grants.AuditRead, a.auditLog))
	r.POST("/api/tokens/superseded/:id/restore", a.user(grants.TokensWrite, a.restore))
	r.DELETE("/api/tokens/superseded/:id", a.user(grants.TokensWrite, a.deleteSuperseded))
	get("/api/tokens/:service", a.user(grants.TokensRead, a.getToken))
	r.DELETE("/api/tokens/:service", a.user(grants.TokensWrite, a.deleteToken))
	r.PATCH("/api/tokens/:service/metadata", a.user(grants.TokensWrite, a.updateMetadata))
	r.POST("/api/tokens/:service/refresh", a.user(grants.TokensWrite, a.refresh))
	r.POST("/api/tokens/:service/disconnect", a.user(grants.TokensWrite, a.disconnect))
	get("/api/providers", a.user(grants.TokensRead, a.listProviders))

	get("/api/agents", a.user(grants.AgentsRead, a.listAgents))
	r.POST("/api/agents", a.user(grants.AgentsWrite, a.createAgent))
	r.DELETE("/api/agents/bulk", a.user(grants.AgentsWrite, a.deleteAgents))
	get("/api/agents/:id", a.user(grants.AgentsRead, a.getAgent))
	r.PATCH("/api/agents/:id", a.user(grants.AgentsWrite, a.updateAgent))
	r.DELETE("/api/agents/:id", a.user(grants.AgentsWrite, a.deleteAgent))
	r.POST("/api/agents/:id/rotate-key", a.user(grants.AgentsWrite, a.rotateKey))
	r.POST("/api/agents/:id/grants", a.user(grants.AgentsWrite, a.grant))
	r.DELETE("/api/agents/:id/grants/:service", a.user(grants.AgentsWrite, a.revoke))

	get("/api/keys", a.user(grants.GrantsRead, a.listKeys))
	r.POST("/api/keys", a.user(grants.GrantsWrite, a.createKey))
	r.POST("/api/keys/:id/rotate", a.user(grants.GrantsWrite, a.rotateAPIKey))
	r.DELETE("/api/keys/:id", a.user(grants.GrantsWrite, a.revokeGrant))

	get("/api/grants", a.user(grants.GrantsRead, a.listGrants))
	r.PATCH("/api/grants/:id", a.user(grants.GrantsWrite, a.labelGrant))
	r.DELETE("/api/grants/:id", a.user(grants.GrantsWrite, a.revokeGrant))
	r.POST("/api/grants/:id/share-vault", a.user(grants.VaultManage, a.shareVault))
	get("/api/escrows", a.user(grants.VaultManage, a.listEscrows))
	get("/api/escrows/:id/preview", a.user(grants.VaultManage, a.previewEscrow))
	r.POST("/api/escrows/:id/accept", a.user(grants.VaultManage, a.endEscrow(Linking.Accept, models.EscrowAccepted)))
	r.POST("/api/escrows/:id/decline", a.user(grants.VaultManage, a.endEscrow(Linking.Decline, models.EscrowDeclined)))
	r.POST("/api/escrows/:id/cancel", a.user(grants.VaultManage, a.endEscrow(Linking.Cancel, models.EscrowCancelled)))

	get("/api/vault/status", a.user(grants.TokensRead, a.status))
	r.POST("/api/vault/lock", a.user(grants.VaultManage, a.lock))
	r.POST("/api/vault/lock/clear", a.user(grants.VaultManage, a.unlock))
	r.POST("/api/vault/webhook-bind", a.user(grants.VaultManage, a.bind))
	r.DELETE("/api/vault/webhook", a.user(grants.VaultManage, a.unbind))
	r.POST("/api/vault/store-ticket", a.user(grants.TokensWrite, a.storeTicket))
	r.POST("/api/vault/credential-ticket", a.user(grants.TokensRead, a.credentialTicket))
	r.POST("/api/vault/sync", a.user(grants.TokensWrite, a.sync))
	get("/api/vault/move", a.user(grants.VaultManage, a.waiting))
	r.POST("/api/vault/move", a.user(grants.VaultManage, a.move))
	r.DELETE("/api/vault/move/:id", a.user(grants.VaultManage, a.dropWaiting))
	get("/api/vault/move-back", a.user(grants.VaultManage, a.moveBackPlan))
	r.POST("/api/vault/move-back", a.user(grants.VaultManage, a.moveBack))
	r.POST("/api/vault/webhook/check", a.user(grants.VaultManage, a.checkWebhook))
}

// client tells the audit record who asked.
func client(c *gin.Context) audit.Client { return audit.Client(web.ClientOf(c)) }

// ok answers 200 with v.
func ok(c *gin.Context, v any) error { return web.WriteJSON(c, http.StatusOK, v) }

// created answers 201 with v.
func created(c *gin.Context, v any) error { return web.WriteJSON(c, http.StatusCreated, v) }
