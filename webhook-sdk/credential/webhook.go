package credential

import (
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// TokenData is c as a webhook takes it from a caller: all fields by their names,
// without what whoever keeps it writes itself. The types that webhooks do not have
// become the nearest ones: Bearer and Basic PlainText, with a Basic's password both
// where it was and as accessToken, and OpenIDConnect OAuth. An *Error: a webhook
// would not keep c as the secret that it is.
func (c Credential) TokenData() (map[string]any, error) {
	if c.Secrets[FieldIDToken] != "" {
		return nil, invalid(FieldIDToken, "is a secret that webhooks do not know: they would show it in lists")
	}
	out := make(map[string]any, len(c.Meta)+len(c.Secrets)+1)
	for name, value := range c.Meta {
		if !describes(name) {
			out[name] = value
		}
	}
	for name, secret := range c.Secrets {
		out[name] = secret
	}
	out[MetaTokenType] = c.Type
	switch c.Type {
	case TypeBearer:
		out[MetaTokenType] = wire.TypePlainText
	case TypeBasic:
		out[MetaTokenType], out[wire.FieldAccessToken] = wire.TypePlainText, c.Secrets[wire.FieldPassword]
	case TypeOpenIDConnect:
		out[MetaTokenType] = wire.TypeOAuth
	}
	return out, nil
}

// describes reports whether a field is one of those that Describe writes.
func describes(name string) bool {
	switch name {
	case MetaServiceName, MetaTokenType, MetaCreatedAt, MetaCreationID, MetaHasRefreshToken, MetaHasCertificate,
		MetaHasPrivateKey, MetaHasSSHKey, MetaHasTOTPSecret:
		return true
	}
	return false
}
