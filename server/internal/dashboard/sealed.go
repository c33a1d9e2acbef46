package dashboard

import (
	"context"
	"encoding/json"
	"net/url"
	"strings"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/server/internal/platform"
	"github.com/tvzero/tokenvault/server/internal/web"
)

// Platform keeps the credentials of platform vaults.
type Platform interface {
	Store(ctx context.Context, p grants.Principal, client audit.Client, ref platform.Ref, fields map[string]json.RawMessage) (models.Token, error)
	Reveal(ctx context.Context, p grants.Principal, client audit.Client, ref platform.Ref) (map[string]any, error)
	Superseded(ctx context.Context, p grants.Principal) ([]models.Token, error)
	Restore(ctx context.Context, p grants.Principal, client audit.Client, tokenID uuid.UUID, newName string) (models.Token, error)
	Discard(ctx context.Context, p grants.Principal, client audit.Client, tokenID uuid.UUID) error
}

func (d *Dashboard) addTokenRoutes(r routes) {
	r.page("/tokens/new", d.user(d.newTokenPage))
	r.POST("/tokens/new", d.user(d.storeToken))
}

// A sealedField is a field of a credential's form, and how what is typed into it
// becomes a field of the credential.
type sealedField struct {
	field
	secret bool
	types  string // that have it, separated by spaces; empty: all
	split  string // of a list: what separates its entries
	time   bool   // of the form of datetime-local
}

const exactly = "passphrase password" // secrets in which white space counts

// sealedFields are the fields of credentials of all types, in their order.
func sealedFields() []sealedField {
	area := func(name, label, types string, required bool, hint string) sealedField {
		return sealedField{field: field{Name: name, Label: label, Type: "area", Hint: hint, Required: required}, secret: true, types: types}
	}
	line := func(name, label, types, hint string) sealedField {
		return sealedField{field: field{Name: name, Label: label, Type: "text", Hint: hint, MaxLength: 900}, types: types}
	}
	secretLine := func(name, label, types string, required bool) sealedField {
		return sealedField{field: field{Name: name, Label: label, Type: "password", Autocomplete: "off", Required: required}, secret: true, types: types}
	}
	username := line("username", "User name", "Basic", "")
	username.Required = true
	expires := line("expiresAt", "Expires", "OAuth JWT Bearer OpenIDConnect", "In UTC.")
	expires.Type, expires.MaxLength, expires.time = "datetime-local", 0, true
	scopes := line("scopes", "Scopes", "RawCredential", "For minted tokens, separated by spaces.")
	scopes.split = " "
	tags := line("tags", "Tags", "", "Separated by commas.")
	tags.split = ","
	hosts := line("allowedHosts", "Hosts that it may be sent to", "", "For calls that are made with it, e.g. https://api.github.com; separated by spaces. Without any, none are.")
	hosts.split = " "
	display := line("displayName", "Display name", "", "")
	display.MaxLength = 100
	return []sealedField{
		username,
		secretLine("password", "Password", "Basic", true),
		area("accessToken", "Token", "PlainText OAuth JWT Bearer OpenIDConnect", true, ""),
		area("accessToken", "Credential", "RawCredential", true, "For a Google service account: the whole JSON key. Agents get short-lived tokens made from it, never the key."),
		area("refreshToken", "Refresh token", "OAuth OpenIDConnect", false, "Agents never get it."),
		area("idToken", "ID token", "OpenIDConnect", false, ""),
		area("totpSecret", "Secret", "TOTP", true, "The Base32 secret or the whole otpauth:// address that the service shows beside its QR code. Agents get codes, never the secret."),
		area("sshPrivateKey", "Private key", "SSHKey", true, ""),
		area("certificateData", "Certificate", "Certificate", true, "In PEM. Its expiry is read from it."),
		area("privateKeyData", "Private key", "Certificate", false, "In PEM. It must be the certificate's own."),
		area("certificateChain", "Chain", "Certificate", false, ""),
		secretLine("passphrase", "Passphrase", "SSHKey Certificate", false),
		scopes,
		expires,
		line("provider", "Provider", "OAuth OpenIDConnect", ""),
		display, tags, hosts,
	}
}

// fieldsOf are the fields of one type, with what the form that came back says, but
// for secrets: those are typed again.
func fieldsOf(kind string, form url.Values) []sealedField {
	var out []sealedField
	for _, f := range sealedFields() {
		if f.types != "" && !strings.Contains(" "+f.types+" ", " "+kind+" ") {
			continue
		}
		if !f.secret {
			f.Value = form.Get(f.Name)
		}
		out = append(out, f)
	}
	return out
}

// A sealedPage is the form for a credential of a platform vault.
type sealedPage struct {
	Service field
	Type    tokenType
	Types   []tokenType
	Secrets []field // and what else the type has
	Others  []field // that all types have
	Replace bool
	Again   bool // secrets are to be typed again
}

// newSealedPage is the form for a new credential, or to replace one.
func (d *Dashboard) newSealedPage(c *gin.Context, v visitor) error {
	form := url.Values{"serviceName": {c.Query("service")}, "type": {c.Query("type")}}
	for _, name := range []string{"serviceName", "type"} {
		if err := web.CheckText(name, form.Get(name), 128); err != nil {
			return err
		}
	}
	if service := form.Get("serviceName"); service != "" {
		token, err := d.deps.Tokens.Token(c.Request.Context(), v.principal, service)
		if err != nil {
			return err
		}
		form.Set("replace", "on")
		form.Set("displayName", token.Token.DisplayName)
		form.Set("tags", strings.Join(token.Token.Tags, ", "))
		if form.Get("type") == "" {
			form.Set("type", token.Token.TokenType)
		}
	}
	return d.showSealed(c, v, form, nil)
}

// sealedType is the type that a form is for: the first one unless it names another.
func sealedType(form url.Values) tokenType {
	for _, t := range sealedTypes() {
		if t.Value == form.Get("type") {
			return t
		}
	}
	return sealedTypes()[0]
}

func (d *Dashboard) showSealed(c *gin.Context, v visitor, form url.Values, failure *fault.Error) error {
	p := sealedPage{Type: sealedType(form), Types: sealedTypes(), Replace: form.Get("replace") != "", Again: failure != nil, Service: field{
		Name: "serviceName", Label: "Service name", Type: "text", Value: form.Get("serviceName"), Required: true, MaxLength: 128,
		Hint: "How agents ask for it, e.g. github. Letters, digits, spaces and . _ : @ - are fine.",
	}}
	marked := []*field{&p.Service}
	for _, f := range fieldsOf(p.Type.Value, form) {
		if f.types == "" {
			p.Others = append(p.Others, f.field)
		} else {
			p.Secrets = append(p.Secrets, f.field)
		}
	}
	for _, list := range [][]field{p.Secrets, p.Others} {
		for i := range list {
			marked = append(marked, &list[i])
		}
	}
	title := "Add a token"
	if p.Replace && p.Service.Value != "" && failure == nil {
		title = "Replace " + p.Service.Value
	}
	return d.render(c, statusOf(failure), "sealed", view{Title: title, Section: "tokens", Page: &p, Problem: mark(failure, marked...)}, &v)
}

// storeToken seals what the form holds into the session's vault.
func (d *Dashboard) storeToken(c *gin.Context, v visitor) error {
	if bound(v) {
		return fault.New(fault.WrongVaultMode, "Your webhook has custody: this server takes no credentials. Add the token on the page for new tokens, which sends it to your webhook.")
	}
	form, err := readForm(c)
	if err != nil {
		return err
	}
	ctx, service := c.Request.Context(), form.Get("serviceName")
	fields, err := sealedData(form)
	if err == nil && form.Get("replace") == "" {
		err = d.absent(c, v, service)
	}
	if err == nil {
		_, err = d.deps.Platform.Store(ctx, v.principal, client(c), platform.Ref{Service: service}, fields)
	}
	if err == nil {
		return d.done(c, tokenPath(service), flashStored)
	}
	failure, ok := mendable(err)
	if !ok {
		return err
	}
	return d.showSealed(c, v, form, beside(failure, form))
}

// beside names the field of the form that a failure is about, and in its message
// calls it as the form does.
func beside(failure *fault.Error, form url.Values) *fault.Error {
	name, found := strings.CutPrefix(failure.Field, "tokenData.")
	if !found {
		return failure
	}
	message := failure.Message
	for _, f := range fieldsOf(sealedType(form).Value, form) {
		if f.Name == name {
			message = strings.ReplaceAll(message, failure.Field, "“"+f.Label+"”")
		}
	}
	return &fault.Error{Code: failure.Code, Field: name, Message: message}
}

// absent keeps who forgot that there is a token of a name from replacing it.
func (d *Dashboard) absent(c *gin.Context, v visitor, service string) error {
	_, err := d.deps.Tokens.Token(c.Request.Context(), v.principal, service)
	switch {
	case err == nil:
		return &fault.Error{Code: fault.Conflict, Field: "serviceName", Message: "There is a token of this name already. Tick the box to replace it, or choose another name."}
	case fault.CodeOf(err) == fault.TokenNotFound, fault.CodeOf(err) == fault.InvalidRequest: // storing says what is wrong with a name
		return nil
	}
	return err
}

// sealedData is a form's credential, as the services take it.
func sealedData(form url.Values) (map[string]json.RawMessage, error) {
	kind := sealedType(form)
	if form.Get("type") != kind.Value {
		return nil, fault.Field("type", "Say what it is: choose one of the types.")
	}
	values := map[string]any{"tokenType": kind.Value}
	for _, f := range fieldsOf(kind.Value, form) {
		text := unixLines(form.Get(f.Name))
		if !strings.Contains(exactly, f.Name) {
			text = strings.TrimSpace(text) // white space around what was pasted is no part of it
		}
		switch {
		case text == "":
		case f.split == " ":
			values[f.Name] = strings.Fields(text)
		case f.split != "":
			values[f.Name] = splitTags(text)
		case f.time:
			at, err := time.Parse("2006-01-02T15:04", text)
			if err != nil {
				return nil, fault.Field(f.Name, "This is no date and time.")
			}
			values[f.Name] = at.UTC().Format(time.RFC3339)
		default:
			values[f.Name] = text
		}
	}
	out := make(map[string]json.RawMessage, len(values))
	for name, value := range values {
		text, err := json.Marshal(value)
		if err != nil {
			return nil, err
		}
		out[name] = text
	}
	return out, nil
}
