package credential

import (
	"bytes"
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// Limits of a credential, in bytes but for counts.
const (
	maxSecretField = 256 << 10
	maxMetaFields  = 64
	maxMetaName    = 64
	maxMetaSize    = 32 << 10
	maxUsername    = 1 << 10
	maxURL         = 2 << 10
)

// Options say what is valid where.
type Options struct {
	PlainHTTP bool // http:// may stand in allowedHosts and, in platform mode, URLs; false: https alone
	Platform  bool // the types and fields of platform mode as well; false: those of the wire protocol
}

// Types lists the token types in the order in which people are offered them.
func (o Options) Types() []string {
	types := wire.TokenTypes()
	if o.Platform {
		types = append(types, TypeBasic, TypeBearer, TypeOpenIDConnect)
	}
	return types
}

// secret reports whether a field holds credential material.
func (o Options) secret(field string) bool {
	return wire.IsSensitive(field) || o.Platform && field == FieldIDToken
}

// Parse validates the fields that a caller wants stored. A TOTP secret becomes an
// otpauth URI, allowedHosts become canonical, expiryTime is derived from expiresAt
// or from the certificate. What is wrong with the input is an *Error.
func Parse(fields map[string]json.RawMessage, o Options) (Credential, error) {
	if len(fields) == 0 {
		return Credential{}, invalid("", "tokenData is missing or empty")
	}
	c := Credential{Secrets: map[string]string{}, Meta: map[string]any{}}
	if err := c.split(fields, o); err != nil {
		return Credential{}, err
	}
	for _, check := range []func(Options) error{c.checkSecrets, c.checkExpiry, c.checkHosts, c.checkPlatform, c.checkNotes} {
		if err := check(o); err != nil {
			return Credential{}, err
		}
	}
	text, err := json.Marshal(c.Meta)
	if err != nil || len(text) > maxMetaSize {
		return Credential{}, invalid("", "the fields that are not secret are longer than %d bytes together", maxMetaSize)
	}
	return c, nil
}

// split puts the secret fields apart from the others. Null is as if it were not
// there.
func (c *Credential) split(fields map[string]json.RawMessage, o Options) error {
	if len(fields) > maxMetaFields {
		return invalid("", "tokenData has more than %d fields", maxMetaFields)
	}
	for name, raw := range fields {
		if len(name) > maxMetaName || name == "" || strings.ContainsFunc(name, unprintable) {
			return invalid("", "tokenData has a field whose name is empty, too long or not printable")
		}
		var value any
		d := json.NewDecoder(bytes.NewReader(raw))
		d.UseNumber()
		if err := d.Decode(&value); err != nil {
			return invalid(name, "is not JSON")
		}
		switch {
		case value == nil:
		case !o.secret(name):
			c.Meta[name] = value
		default:
			text, ok := value.(string)
			if !ok {
				return invalid(name, "is not a string")
			}
			if len(text) > maxSecretField {
				return invalid(name, "is longer than %d bytes", maxSecretField)
			}
			if text != "" {
				c.Secrets[name] = text
			}
		}
	}
	c.Type, _ = c.Meta[MetaTokenType].(string)
	return nil
}

func unprintable(r rune) bool { return !unicode.IsPrint(r) || r == utf8.RuneError }

// SecretField is where the secret of a token type stands; "" is an unknown type.
func SecretField(kind string) string {
	switch kind {
	case wire.TypeOAuth, wire.TypeJWT, wire.TypePlainText, wire.TypeRawCredential, TypeBearer, TypeOpenIDConnect:
		return wire.FieldAccessToken
	case wire.TypeCertificate:
		return wire.FieldCertificateData
	case wire.TypeSSHKey:
		return wire.FieldSSHPrivateKey
	case wire.TypeTOTP:
		return wire.FieldTOTPSecret
	case TypeBasic:
		return wire.FieldPassword
	}
	return ""
}

// checkSecrets holds the secret fields against the credential's type.
func (c *Credential) checkSecrets(o Options) error {
	if !slices.Contains(o.Types(), c.Type) {
		return invalid(MetaTokenType, "is missing or none of %s", strings.Join(o.Types(), ", "))
	}
	field := SecretField(c.Type)
	if strings.TrimSpace(c.Secrets[field]) == "" {
		return invalid(field, "is missing or empty: it holds the secret of a token of type %s", c.Type)
	}
	switch c.Type {
	case wire.TypeTOTP:
		return c.checkTOTP()
	case wire.TypeSSHKey:
		return checkSSHKey(c.Secrets[field])
	case wire.TypeCertificate:
		return c.checkCertificate()
	case TypeBasic:
		return checkUsername(c.Meta[MetaUsername])
	}
	return nil
}

// checkUsername holds a user name against RFC 7617 §2: no colon, which ends it, and
// no control characters.
func checkUsername(value any) error {
	name, _ := value.(string)
	if name == "" || len(name) > maxUsername || strings.ContainsFunc(name, func(r rune) bool { return r == ':' || unicode.IsControl(r) }) {
		return invalid(MetaUsername, "is not a string of 1 to %d bytes without colons and control characters", maxUsername)
	}
	return nil
}

func (c *Credential) checkHosts(o Options) error {
	given, ok := c.Meta[MetaAllowedHosts]
	if !ok {
		return nil
	}
	hosts, err := parseAllowedHosts(given, o.PlainHTTP)
	if err != nil {
		return err
	}
	c.Meta[MetaAllowedHosts] = hosts
	return nil
}

// checkPlatform holds what says where platform mode sends a secret to its form. A
// webhook takes endpoints from its own configuration, and leaves these alone.
func (c *Credential) checkPlatform(o Options) error {
	if !o.Platform {
		return nil
	}
	if given, ok := c.Meta[MetaProvider]; ok {
		if name, ok := given.(string); !ok || len(name) > maxMetaName || strings.ContainsFunc(name, unprintable) {
			return invalid(MetaProvider, "is not a printable string of at most %d bytes", maxMetaName)
		}
	}
	for _, field := range []string{MetaIssuer, MetaTokenURL} {
		given, ok := c.Meta[field]
		if !ok {
			continue
		}
		text, _ := given.(string)
		u, err := url.Parse(text)
		if err != nil || len(text) > maxURL || u.Host == "" || u.User != nil || u.Fragment != "" ||
			u.Scheme != "https" && (u.Scheme != "http" || !o.PlainHTTP) {
			return invalid(field, "is not a URL that begins with https:// and has neither user information nor fragment")
		}
		if _, err := Origin(u); err != nil {
			return invalid(field, "has no valid host or port")
		}
	}
	return nil
}
