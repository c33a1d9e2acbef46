package dashboard

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"time"

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
	r.page("/token/:service/delete", d.user(d.deleteTokenPage))
	r.POST("/token/:service/delete", d.user(d.deleteToken))
	r.POST("/token/:service/refresh", d.user(d.refreshNow))
}

// pageSize is how many rows a page of a list has.
const pageSize = 200

type tokenRow struct {
	Service     string
	DisplayName string
	Type        string
	Status      badge
	Trust       badge
	ExpiresAt   *time.Time
	Tags        []string
	Refresh     *refreshCard // nil: it is from no provider
}

// A badge is a word with a look and a reason. Looks do not carry meaning alone.
type badge struct {
	Look   string // class of the style sheet
	Text   string
	Reason string
}

func trustBadge(v vaults.TokenView) badge {
	b := badge{Text: string(v.Trust), Reason: v.TrustReason}
	switch v.Trust {
	case vaults.TVZero:
		b.Look = "zero"
	case vaults.TVRefresh:
		b.Look = "refresh"
	case vaults.TVSeen:
		b.Look = "seen"
	case vaults.Sealed:
		b.Look = "sealed"
	default:
		b.Look = "plain"
	}
	return b
}

func statusBadge(status string) badge {
	b := badge{Text: strings.ReplaceAll(status, "_", " ")}
	switch status {
	case vaults.StatusActive:
		b.Look = "good"
	case vaults.StatusExpiring:
		b.Look, b.Reason = "warn", "It expires within a day and has no refresh token."
	case vaults.StatusExpired:
		b.Look, b.Reason = "bad", "Its expiry has passed."
	case vaults.StatusNeedsReauthorization:
		b.Look, b.Text, b.Reason = "bad", "connect again", "Only its owner can renew it: connect the account again."
	case vaults.StatusNeedsAttention:
		b.Look, b.Reason = "warn", "Somebody has to set something right before it can be refreshed."
	case vaults.StatusEmpty:
		b.Look, b.Reason = "warn", "Your webhook says that it has nothing under this name."
	default:
		b.Look = "warn"
	}
	return b
}

func showToken(v vaults.TokenView) tokenRow {
	return tokenRow{
		Service: v.Token.ServiceName, DisplayName: v.Token.DisplayName, Type: typeName(v.Token.TokenType),
		Status: statusBadge(v.Status), Trust: trustBadge(v), ExpiresAt: v.Token.ExpiresAt, Tags: v.Token.Tags,
		Refresh: refreshOf(v),
	}
}

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

func (d *Dashboard) tokensPage(c *gin.Context, v visitor) error {
	type page struct {
		Bound      bool
		Host       string
		Tokens     []tokenRow
		Superseded []supersededRow
		Waiting    int // in platform vaults, to be moved to the webhook
		Providers  []providerButton
		ByWebhook  bool // the webhook connects accounts by itself
		Next       string
		First      bool
	}
	p := page{Bound: bound(v), First: c.Query("cursor") == "", Providers: d.providerButtons(v), ByWebhook: v.vault.ConnectsItself()}
	if p.Bound {
		p.Host = hostOf(v.vault.Binding.URL)
	}
	if err := web.CheckText("cursor", c.Query("cursor"), maxLine); err != nil {
		return err
	}
	list, next, err := d.deps.Tokens.Tokens(c.Request.Context(), v.principal, vaults.Page{Limit: pageSize, Cursor: c.Query("cursor")})
	if err != nil {
		return err
	}
	p.Next = next
	for _, token := range list {
		p.Tokens = append(p.Tokens, showToken(token))
	}
	if p.Superseded, err = d.findSuperseded(c, v); err != nil {
		return err
	}
	if p.Waiting, err = d.waiting(c, v); err != nil {
		return err
	}
	return d.render(c, http.StatusOK, "tokens", view{Title: "Tokens", Section: "tokens", Page: p}, &v)
}

func hostOf(text string) string {
	if u, err := url.Parse(text); err == nil {
		return u.Host
	}
	return ""
}

func (d *Dashboard) sync(c *gin.Context, v visitor) error {
	if _, err := d.deps.Webhook.Sync(c.Request.Context(), v.principal, client(c), ""); err != nil {
		return err
	}
	return d.done(c, "/", flashSynced)
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

type tokenPage struct {
	tokenRow
	Token      models.Token
	WebhookURL string
	Host       string
	IsTOTP     bool
	IsSealed   bool
	Facts      vaults.TokenView // that the badge follows from
	Shown      []secretRow      // revealed, by the POST that asked for it
	Code       *oneTimeCode
	Name       field
	Notes      field
	Tags       field
}

func (d *Dashboard) tokenPage(c *gin.Context, v visitor) error {
	service, err := pathService(c)
	if err != nil {
		return err
	}
	token, err := d.deps.Tokens.Token(c.Request.Context(), v.principal, service)
	if err != nil {
		return err
	}
	return d.showTokenPage(c, v, token, shown{}, nil)
}

func (d *Dashboard) showTokenPage(c *gin.Context, v visitor, token vaults.TokenView, s shown, failure *fault.Error) error {
	p := tokenPage{
		tokenRow: showToken(token), Token: token.Token, IsTOTP: token.Token.TokenType == "TOTP",
		IsSealed: token.Mode == models.ModePlatform, Facts: token, Shown: s.secrets, Code: s.code,
		Name:  field{Name: "displayName", Label: "Display name", Type: "text", Value: token.Token.DisplayName, MaxLength: 100},
		Notes: field{Name: "notes", Label: "Notes", Type: "area", Value: token.Token.Notes, MaxLength: 2000},
		Tags:  field{Name: "tags", Label: "Tags", Type: "text", Value: strings.Join(token.Token.Tags, ", "), Hint: "Separated by commas.", MaxLength: 900},
	}
	status := statusOf(failure)
	if s.refreshing != nil && p.Refresh == nil {
		failure = s.refreshing
	} else if s.refreshing != nil {
		p.Refresh.Problem, status = s.refreshing, statusOf(s.refreshing)
	}
	connect := ""
	if bound(v) && !p.IsSealed {
		p.WebhookURL, p.Host, connect = v.vault.Binding.URL, hostOf(v.vault.Binding.URL), origin(v.vault.Binding.URL)
	}
	return d.render(c, max(status, statusOf(failure)), "token", view{
		Title: token.Token.ServiceName, Section: "tokens", Connect: connect, Page: &p, Problem: mark(failure, &p.Name, &p.Notes, &p.Tags),
	}, &v)
}

func (d *Dashboard) updateToken(c *gin.Context, v visitor) error {
	service, err := pathService(c)
	if err != nil {
		return err
	}
	form, err := readForm(c)
	if err != nil {
		return err
	}
	name, notes, tags := form.Get("displayName"), unixLines(form.Get("notes")), splitTags(form.Get("tags"))
	saved, err := d.deps.Tokens.UpdateMetadata(c.Request.Context(), v.principal, client(c), service,
		vaults.MetadataInput{DisplayName: &name, Notes: &notes, Tags: &tags})
	if err == nil {
		word := flashTokenSaved
		if saved.Mode == models.ModePlatform {
			word = flashMetadataSaved
		}
		return d.done(c, tokenPath(service), word)
	}
	failure, ok := mendable(err)
	if !ok || failure.Code == fault.TokenNotFound {
		return err
	}
	token, err := d.deps.Tokens.Token(c.Request.Context(), v.principal, service)
	if err != nil {
		return err
	}
	token.Token.DisplayName, token.Token.Notes, token.Token.Tags = name, notes, tags
	return d.showTokenPage(c, v, token, shown{}, failure)
}

// unixLines undoes what browsers do to the lines of a text area.
func unixLines(s string) string { return strings.ReplaceAll(s, "\r\n", "\n") }

func splitTags(text string) []string {
	tags := []string{}
	for tag := range strings.SplitSeq(text, ",") {
		if tag = strings.TrimSpace(tag); tag != "" {
			tags = append(tags, tag)
		}
	}
	return tags
}

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

func (d *Dashboard) deleteTokenPage(c *gin.Context, v visitor) error {
	service, err := pathService(c)
	if err != nil {
		return err
	}
	token, err := d.deps.Tokens.Token(c.Request.Context(), v.principal, service)
	if err != nil {
		return err
	}
	gone := "The credential is deleted at your webhook. If you have it nowhere else, it is gone."
	if token.Mode == models.ModePlatform {
		gone = "The credential is deleted from this server's database. If you have it nowhere else, it is gone. A copy of the database that somebody made earlier still has it, sealed with the keys of its time."
	}
	return d.confirm(c, v, "tokens", confirmation{
		Question: "Delete the token " + service + "?",
		Lost: []string{
			gone,
			"Agents that were granted it can no longer fetch it.",
			"The credential itself stays valid at its provider: revoke it there if it may have leaked.",
		},
		Do: "Delete the token", Action: tokenPath(service) + "/delete", Back: tokenPath(service),
	})
}

func (d *Dashboard) deleteToken(c *gin.Context, v visitor) error {
	service, err := pathService(c)
	if err != nil {
		return err
	}
	if _, err := d.deps.Tokens.DeleteTokens(c.Request.Context(), v.principal, client(c), service); err != nil {
		return err
	}
	if bound(v) {
		return d.done(c, "/", flashTokenDeleted)
	}
	return d.done(c, "/", flashDeleted)
}
