package dashboard

import (
	"context"
	"net/http"
	"net/url"

	"github.com/gin-gonic/gin"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/server/internal/vaults"
	"github.com/tvzero/tokenvault/server/internal/web"
)

// Tokens reads and changes the metadata of tokens.
type Tokens interface {
	Tokens(ctx context.Context, p grants.Principal, page vaults.Page) ([]vaults.TokenView, string, error)
	Search(ctx context.Context, p grants.Principal, in vaults.SearchInput) (vaults.SearchResult, error)
	Explain(ctx context.Context, p grants.Principal, service string) (vaults.Explanation, error)
	Token(ctx context.Context, p grants.Principal, service string) (vaults.TokenView, error)
	UpdateMetadata(ctx context.Context, p grants.Principal, client audit.Client, service string, in vaults.MetadataInput) (vaults.TokenView, error)
	DeleteTokens(ctx context.Context, p grants.Principal, client audit.Client, services ...string) ([]string, error)
}

func (d *Dashboard) tokenRoutes(r routes) {
	r.page("/", d.user(d.tokensPage))
	r.POST("/tokens/sync", d.user(d.sync))
	r.page("/token/:service", d.user(d.tokenPage))
	r.POST("/token/:service", d.user(d.updateToken))
	r.POST("/token/:service/reveal", d.user(d.reveal))
	r.POST("/token/:service/code", d.user(d.code))
	r.page("/token/:service/trust", d.user(d.trustPage))
	r.page("/token/:service/delete", d.user(d.deleteTokenPage))
	r.POST("/token/:service/delete", d.user(d.deleteToken))
	r.POST("/token/:service/refresh", d.user(d.refreshNow))
}

// pageSize is how many rows a page of a list has.
const pageSize = 200

// A tokenType is how people are told of a token type.
type tokenType struct{ Value, Label string }

// tokenTypes are in the order in which people are offered them.
func tokenTypes() []tokenType {
	return []tokenType{
		{"PlainText", "API key or access token"},
		{"OAuth", "OAuth token"},
		{"JWT", "JWT"},
		{"TOTP", "One-time codes (TOTP)"},
		{"SSHKey", "SSH key"},
		{"Certificate", "Certificate"},
		{"RawCredential", "Service account or other raw credential"},
	}
}

// sealedTypes are those of a platform vault, which takes some that webhooks do not.
func sealedTypes() []tokenType {
	return append(tokenTypes(), tokenType{"Basic", "User name and password"}, tokenType{"Bearer", "Bearer token"}, tokenType{"OpenIDConnect", "OpenID Connect tokens"})
}

func typeName(value string) string {
	for _, t := range sealedTypes() {
		if t.Value == value {
			return t.Label
		}
	}
	return value
}

func bound(v visitor) bool { return v.vault.Mode == models.ModeWebhook && v.vault.Binding != nil }

func hostOf(text string) string {
	if u, err := url.Parse(text); err == nil {
		return u.Host
	}
	return ""
}

// pathService is the service name of a path; one that cannot be names nothing.
func pathService(c *gin.Context) (string, error) {
	service := c.Param("service")
	if web.CheckText("service", service, 128) != nil {
		return "", fault.New(fault.TokenNotFound, "There is no token of this name.")
	}
	return service, nil
}

func tokenPath(service string) string { return "/token/" + url.PathEscape(service) }

// A confirmation asks before what cannot be undone, and says what will be lost.
type confirmation struct {
	Question string
	Lost     []string
	Do       string // label of the button
	Action   string
	Back     string
}

func (d *Dashboard) confirm(c *gin.Context, v visitor, section string, p confirmation) error {
	return d.render(c, http.StatusOK, "confirm", view{Title: p.Question, Section: section, Page: p}, &v)
}
