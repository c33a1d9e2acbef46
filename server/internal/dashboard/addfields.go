package dashboard

import (
	"encoding/json"
	"net/url"
	"strings"
	"time"

	"github.com/tvzero/tokenvault/server/internal/fault"
)

// An addField is a field of a credential's form, and how what is typed into it becomes
// a field of the credential.
type addField struct {
	field
	Webhook bool   // it has no name: it is never sent here
	Check   string // what the page's script looks at: "token", "totp", "ssh", "certificate", "key", "chain"
	Rows    int

	secret bool
	types  string // that have it, separated by spaces; empty: all
	split  string // of a list: what separates its entries
	time   bool   // of the form of datetime-local, in UTC
}

const exactly = "passphrase password" // secrets in which white space counts

// Kind is how the page's script reads the field.
func (f addField) Kind() string {
	switch {
	case f.secret:
		return "secret"
	case f.split != "":
		return "list"
	case f.time:
		return "time"
	}
	return "text"
}

// Commas reports whether a list is separated by commas: else it is by spaces.
func (f addField) Commas() bool { return f.split == "," }

// Exact reports whether white space around it counts.
func (f addField) Exact() bool { return strings.Contains(exactly, f.Name) }

// addFields are the fields of credentials of all types, in their order.
func addFields() []addField {
	area := func(name, label, types, check string, rows int, required bool, hint string) addField {
		return addField{field: field{Name: name, Label: label, Type: "area", Hint: hint, Required: required}, secret: true, types: types, Check: check, Rows: rows}
	}
	line := func(name, label, types, hint string) addField {
		return addField{field: field{Name: name, Label: label, Type: "text", Hint: hint, MaxLength: 900}, types: types}
	}
	secretLine := func(name, label, types string, required bool) addField {
		return addField{field: field{Name: name, Label: label, Type: "password", Autocomplete: "off", Required: required}, secret: true, types: types}
	}
	username := line("username", "User name", "Basic", "")
	username.Required = true
	expires := line("expiresAt", "Expires", "OAuth JWT Bearer OpenIDConnect", "In UTC.")
	expires.Type, expires.MaxLength, expires.time = "datetime-local", 0, true
	scopes := line("scopes", "Scopes", "RawCredential", "For the tokens that are made from it, separated by spaces.")
	scopes.split = " "
	tags := line("tags", "Tags", "", "Separated by commas.")
	tags.split = ","
	hosts := line("allowedHosts", "Hosts that it may be sent to", "", "For calls that are made with it, e.g. https://api.github.com; separated by spaces. Without any, none are.")
	hosts.split = " "
	display := line("displayName", "Display name", "", "")
	display.MaxLength = 100
	return []addField{
		username,
		secretLine("password", "Password", "Basic", true),
		area("accessToken", "Token", "JWT Bearer", "token", 3, true, ""),
		area("accessToken", "Key or token", "PlainText", "token", 3, true, ""),
		area("accessToken", "Access token", "OAuth OpenIDConnect", "token", 3, true, ""),
		area("accessToken", "Credential", "RawCredential", "token", 7, true, "The whole key file. It never leaves its vault: of a Google service account's, agents get short-lived tokens that are made from it."),
		area("refreshToken", "Refresh token", "OAuth OpenIDConnect", "", 3, false, "Agents never get it."),
		area("idToken", "ID token", "OpenIDConnect", "", 3, false, ""),
		area("totpSecret", "Secret", "TOTP", "totp", 3, true, "The whole otpauth:// address, or the Base32 secret that the service shows beside its QR code; that alone means SHA-1, 6 digits and 30 seconds."),
		area("sshPrivateKey", "Private key", "SSHKey", "ssh", 7, true, "As in its file, e.g. ~/.ssh/id_ed25519."),
		area("certificateData", "Certificate", "Certificate", "certificate", 6, true, "In PEM. Its expiry is read from it."),
		area("privateKeyData", "Private key", "Certificate", "key", 6, false, "In PEM. It must be the certificate's own."),
		area("certificateChain", "Chain", "Certificate", "chain", 4, false, "Certificates of those who issued it, in PEM."),
		secretLine("passphrase", "Passphrase", "SSHKey Certificate", false),
		scopes,
		expires,
		line("provider", "Provider", "OAuth OpenIDConnect", "The id of the provider at which it can be refreshed, e.g. google."),
		display, tags, hosts,
	}
}

// fieldsOf are the fields of one type, with what the form that came back says, but
// for secrets: those are typed again.
func fieldsOf(kind string, form url.Values) []addField {
	var out []addField
	for _, f := range addFields() {
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

// sealedType is the type that a form is for: the first one unless it names another.
func sealedType(form url.Values) tokenType {
	for _, t := range sealedTypes() {
		if t.Value == form.Get("type") {
			return t
		}
	}
	return sealedTypes()[0]
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
		if !f.Exact() {
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
