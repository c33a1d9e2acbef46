package dashboard

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/web"
)

const addPath = "/tokens/new"

func (d *Dashboard) addTokenRoutes(r routes) {
	r.page(addPath, d.user(d.newTokenPage))
	r.POST(addPath, d.user(d.storeToken))
}

// An addPage is where tokens are added: at first the choice of what it is, then the
// form of that type. In webhook mode the browser sends the form to the webhook itself,
// and no control of it has a name, so that it cannot be sent here.
type addPage struct {
	Bound      bool
	WebhookURL string
	Host       string // of the webhook
	Choices    []typeChoice
	Type       *typeChoice // nil: nothing chosen yet
	Replacing  string      // the token to replace, if one
	Service    addField
	Secrets    []addField // and what else the type has
	Others     []addField // that all types have
	Replace    bool
	Again      bool // secrets are to be typed again
	Providers  []providerChoice
	ByWebhook  bool // the webhook connects accounts by itself
}

// A typeChoice is a token type as somebody who has one recognizes it.
type typeChoice struct {
	tokenType
	What string
	To   string // its form
}

func describeType(value string) string {
	switch value {
	case "PlainText":
		return "A secret text out of a service's settings: an API key, a personal access token."
	case "OAuth":
		return "The access token of an account, with its refresh token if there is one."
	case "JWT":
		return "A signed token that says by itself when it ends."
	case "TOTP":
		return "The secret behind six-digit codes, also from a QR code. Agents get codes, never the secret."
	case "SSHKey":
		return "A private key for machines and Git servers."
	case "Certificate":
		return "A client certificate with its private key, in PEM."
	case "RawCredential":
		return "A Google service account's key file, for example. It never leaves its vault: agents get short-lived tokens made from it."
	case "Basic":
		return "What HTTP Basic authentication asks for."
	case "Bearer":
		return "A token for the Authorization header."
	case "OpenIDConnect":
		return "Access, refresh and ID token of a sign-in."
	}
	return ""
}

// typeChoices are the types that there are in a mode. Their links keep the token to
// replace.
func typeChoices(webhook bool, replacing string) []typeChoice {
	types := tokenTypes()
	if !webhook {
		types = sealedTypes()
	}
	choices := make([]typeChoice, 0, len(types))
	for _, t := range types {
		query := url.Values{"type": {t.Value}}
		if replacing != "" {
			query.Set("service", replacing)
		}
		choices = append(choices, typeChoice{tokenType: t, What: describeType(t.Value), To: addPath + "?" + strings.ReplaceAll(query.Encode(), "+", "%20")})
	}
	return choices
}

// A providerChoice is a provider at which an account can be connected, with what that
// does to the trust of the token.
type providerChoice struct {
	providerButton
	Effect string
	Trust  badge
}

func (d *Dashboard) providerChoices(v visitor) []providerChoice {
	buttons := d.providerButtons(v)
	choices := make([]providerChoice, 0, len(buttons))
	for _, b := range buttons {
		c := providerChoice{providerButton: b}
		switch {
		case !bound(v):
			c.Trust, c.Effect = badge{Look: "sealed", Text: "Sealed"}, "This server is issued the token, and seals it at once."
		case !b.Seen:
			c.Trust, c.Effect = badge{Look: "zero", Text: "TV Zero"}, "Your webhook is issued the token by itself, and this server sees nothing of it."
		case slices.Contains(v.vault.Binding.Capabilities, "tv-refresh"):
			c.Trust, c.Effect = badge{Look: "refresh", Text: "TV Refresh"}, "This server is issued the token and hands it to your webhook: it sees it then, and at each refresh."
		default:
			c.Trust, c.Effect = badge{Look: "seen", Text: "TV Seen"}, "This server is issued the token and hands it to your webhook: it sees it once. Your webhook does not let it refresh the token: when that ends, connect again."
		}
		choices = append(choices, c)
	}
	return choices
}

// newTokenPage is the form for a new token, or to replace one.
func (d *Dashboard) newTokenPage(c *gin.Context, v visitor) error {
	form := url.Values{"serviceName": {c.Query("service")}, "type": {c.Query("type")}}
	for _, name := range []string{"serviceName", "type"} {
		if err := web.CheckText(name, form.Get(name), 128); err != nil {
			return err
		}
	}
	replacing := form.Get("serviceName")
	if replacing != "" {
		token, err := d.deps.Tokens.Token(c.Request.Context(), v.principal, replacing)
		if err != nil {
			return err
		}
		form.Set("replace", "on")
		form.Set("displayName", token.Token.DisplayName)
		form.Set("tags", strings.Join(token.Token.Tags, ", "))
		if _, asked := c.GetQuery("type"); !asked {
			form.Set("type", token.Token.TokenType)
		}
	}
	return d.showAdd(c, v, form, replacing, nil)
}

// showAdd shows the page with what a form says, but for its secrets. Without a type it
// asks for one.
func (d *Dashboard) showAdd(c *gin.Context, v visitor, form url.Values, replacing string, failure *fault.Error) error {
	p := addPage{
		Bound: bound(v), Replacing: replacing, Replace: form.Get("replace") != "", Again: failure != nil,
		Choices: typeChoices(bound(v), replacing), Providers: d.providerChoices(v), ByWebhook: v.vault.ConnectsItself(),
	}
	show := view{Title: "Add a token", Section: "tokens", Page: &p}
	if p.Bound {
		p.WebhookURL, p.Host, show.Connect = v.vault.Binding.URL, hostOf(v.vault.Binding.URL), origin(v.vault.Binding.URL)
	}
	if replacing != "" {
		show.Title = "Replace " + replacing
	}
	for i := range p.Choices {
		if p.Choices[i].Value == form.Get("type") {
			p.Type = &p.Choices[i]
		}
	}
	if p.Type == nil && form.Get("type") == "" && failure == nil {
		return d.render(c, http.StatusOK, "addtoken", show, &v)
	}
	if p.Type == nil {
		p.Type = &p.Choices[0]
	}
	show.Camera = p.Type.Value == "TOTP"
	show.Problem = mark(failure, p.fill(form)...)
	return d.render(c, statusOf(failure), "addtoken", show, &v)
}

// fill makes the fields of the page's type, and returns those that a failure can name.
func (p *addPage) fill(form url.Values) []*field {
	p.Service = addField{Webhook: p.Bound, field: field{
		Name: "serviceName", Label: "Service name", Type: "text", Value: form.Get("serviceName"), Required: true, MaxLength: 128,
		Hint: "How agents ask for it, e.g. github. Letters, digits, spaces and . _ : @ - are fine.",
	}}
	for _, f := range fieldsOf(p.Type.Value, form) {
		f.Webhook = p.Bound
		if f.types == "" {
			p.Others = append(p.Others, f)
		} else {
			p.Secrets = append(p.Secrets, f)
		}
	}
	marked := []*field{&p.Service.field}
	for _, list := range [][]addField{p.Secrets, p.Others} {
		for i := range list {
			marked = append(marked, &list[i].field)
		}
	}
	return marked
}
