// Package credential is what a credential is: its types, what a valid one looks
// like, and what of it may be released. A webhook and the server's platform mode
// share it, so that the same input is accepted, and the same answer given, wherever
// a credential is kept.
//
// It knows nothing of how a credential is kept: no keys, no storage, no tickets, no
// HTTP handlers. Only minting makes calls, with the client that it is given. It
// holds no state, and every function in it may be called concurrently.
package credential

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// Token types that platform mode has besides those of the wire protocol, which a
// webhook does not take.
const (
	TypeBasic         = "Basic"         // RFC 7617: username, and password as the secret
	TypeBearer        = "Bearer"        // RFC 6750: accessToken
	TypeOpenIDConnect = "OpenIDConnect" // accessToken, refreshToken, idToken
)

// FieldIDToken is a secret field of platform mode alone: a webhook would list it.
const FieldIDToken = "idToken"

// Names of metadata that whoever keeps a credential writes itself, whatever a caller
// sent.
const (
	MetaServiceName     = "serviceName"
	MetaTokenType       = "tokenType"
	MetaCreatedAt       = "createdAt"
	MetaCreationID      = "creationId"
	MetaExpiryTime      = "expiryTime" // Unix ms
	MetaHasRefreshToken = "hasRefreshToken"
	MetaHasCertificate  = "hasCertificate"
	MetaHasPrivateKey   = "hasPrivateKey"
	MetaHasSSHKey       = "hasSSHKey"
	MetaHasTOTPSecret   = "hasTotpSecret"
)

// Names of metadata that a caller may write and that is looked into.
const (
	MetaExpiresAt    = "expiresAt" // ISO 8601
	MetaAllowedHosts = "allowedHosts"
	MetaProvider     = "provider"
	MetaIssuer       = "issuer"
	MetaTokenURL     = "tokenUrl"
	MetaUsername     = "username"
	MetaDisplayName  = "displayName"
	MetaNotes        = "notes"
	MetaTags         = "tags"
)

// ErrRedacted is returned by every attempt to marshal a Credential.
var ErrRedacted = errors.New("credential: a credential is not marshalled; use Encode")

// A Credential is one in the clear: its secret fields apart from what may be
// listed. It prints without either and refuses to be marshalled.
//
// Metadata values are as json decodes them, numbers as json.Number. It decides where
// a secret may be sent (provider, issuer, tokenUrl, allowedHosts), so that whoever
// keeps a credential binds the metadata to the secrets, or seals both as one with Encode.
type Credential struct {
	Type    string // one of wire.TokenTypes, or of the three above
	Secrets map[string]string
	Meta    map[string]any
}

// Expiry is the time of expiryTime; not ok: the credential does not say when it ends.
func (c Credential) Expiry() (time.Time, bool) {
	switch ms := c.Meta[MetaExpiryTime].(type) {
	case int64:
		return time.UnixMilli(ms).UTC(), true
	case interface{ Int64() (int64, error) }:
		if n, err := ms.Int64(); err == nil {
			return time.UnixMilli(n).UTC(), true
		}
	}
	return time.Time{}, false
}

// Describe adds to the metadata what whoever keeps the credential says of it, in
// place of what a caller may have sent under these names.
func (c Credential) Describe(service, creationID string, now time.Time) {
	c.Meta[MetaServiceName] = service
	c.Meta[MetaTokenType] = c.Type
	c.Meta[MetaCreatedAt] = FormatTime(now)
	c.Meta[MetaCreationID] = creationID
	for name, field := range map[string]string{
		MetaHasRefreshToken: wire.FieldRefreshToken,
		MetaHasCertificate:  wire.FieldCertificateData,
		MetaHasPrivateKey:   wire.FieldPrivateKeyData,
		MetaHasSSHKey:       wire.FieldSSHPrivateKey,
		MetaHasTOTPSecret:   wire.FieldTOTPSecret,
	} {
		c.Meta[name] = c.Secrets[field] != ""
	}
}

// FormatTime is RFC 3339 in UTC, to the millisecond, as times stand in metadata.
func FormatTime(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z07:00") }

const redacted = "credential.Credential{[redacted]}"

func (Credential) String() string { return redacted }

// GoString is String.
func (Credential) GoString() string { return redacted }

// Format is String under every verb.
func (Credential) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue is String.
func (Credential) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalJSON returns ErrRedacted.
func (Credential) MarshalJSON() ([]byte, error) { return nil, ErrRedacted }

// MarshalText returns ErrRedacted.
func (Credential) MarshalText() ([]byte, error) { return nil, ErrRedacted }
