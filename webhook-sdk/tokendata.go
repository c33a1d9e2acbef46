package webhook

import (
	"bytes"
	"encoding/json"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// Limits of a token, in bytes but for counts.
const (
	maxSecretField = 256 << 10
	maxMetaFields  = 64
	maxMetaName    = 64
	maxMetaSize    = 32 << 10
	maxDisplayName = 256
	maxNotes       = 4 << 10
	maxTags        = 32
	maxTag         = 64
)

// Names of metadata that the webhook writes itself, whatever a caller sent.
const (
	metaServiceName     = "serviceName"
	metaTokenType       = "tokenType"
	metaCreatedAt       = "createdAt"
	metaCreationID      = "creationId"
	metaExpiryTime      = "expiryTime" // Unix ms
	metaHasRefreshToken = "hasRefreshToken"
	metaHasCertificate  = "hasCertificate"
	metaHasPrivateKey   = "hasPrivateKey"
	metaHasSSHKey       = "hasSSHKey"
	metaHasTOTPSecret   = "hasTotpSecret"
)

// Names of metadata that a caller may write and that the webhook looks into.
const (
	metaExpiresAt    = "expiresAt" // ISO 8601
	metaAllowedHosts = "allowedHosts"
	metaDisplayName  = "displayName"
	metaNotes        = "notes"
	metaTags         = "tags"
)

// tokenData is what a caller stores, validated: secret fields apart from what is
// listed.
type tokenData struct {
	kind    string
	secrets map[string]string
	meta    map[string]any
}

// readTokenData validates the fields of a store request. Plain http in
// allowedHosts needs the operator's permission.
func readTokenData(fields map[string]json.RawMessage, plainHTTP bool) (tokenData, error) {
	t := tokenData{secrets: map[string]string{}, meta: map[string]any{}}
	if len(fields) == 0 {
		return t, invalid("tokenData is missing or empty")
	}
	if err := t.split(fields); err != nil {
		return t, err
	}
	if err := t.checkSecrets(); err != nil {
		return t, err
	}
	if err := t.checkExpiry(); err != nil {
		return t, err
	}
	if err := t.checkHosts(plainHTTP); err != nil {
		return t, err
	}
	for _, name := range []string{metaDisplayName, metaNotes, metaTags} {
		if err := checkNote(name, t.meta[name]); err != nil {
			return t, err
		}
	}
	text, err := json.Marshal(t.meta)
	if err != nil || len(text) > maxMetaSize {
		return t, invalid("the fields that are not secret are longer than %d bytes together", maxMetaSize)
	}
	return t, nil
}

func invalid(format string, args ...any) error {
	return refuse(wire.CodeInvalidRequest, format, args...)
}

// split puts the secret fields apart from the others. Null is as if it were not
// there.
func (t *tokenData) split(fields map[string]json.RawMessage) error {
	if len(fields) > maxMetaFields {
		return invalid("tokenData has more than %d fields", maxMetaFields)
	}
	for name, raw := range fields {
		if len(name) > maxMetaName || name == "" || strings.ContainsFunc(name, unprintable) {
			return invalid("tokenData has a field whose name is empty, too long or not printable")
		}
		var value any
		d := json.NewDecoder(bytes.NewReader(raw))
		d.UseNumber()
		if err := d.Decode(&value); err != nil {
			return invalid("tokenData.%s is not JSON", name)
		}
		switch {
		case value == nil:
		case !wire.IsSensitive(name):
			t.meta[name] = value
		default:
			text, ok := value.(string)
			if !ok {
				return invalid("tokenData.%s is not a string", name)
			}
			if len(text) > maxSecretField {
				return invalid("tokenData.%s is longer than %d bytes", name, maxSecretField)
			}
			if text != "" {
				t.secrets[name] = text
			}
		}
	}
	t.kind, _ = t.meta[metaTokenType].(string)
	return nil
}

func unprintable(r rune) bool { return !unicode.IsPrint(r) || r == utf8.RuneError }

// secretField is where the secret of a token type stands; "" is an unknown type.
func secretField(kind string) string {
	switch kind {
	case wire.TypeOAuth, wire.TypeJWT, wire.TypePlainText, wire.TypeRawCredential:
		return wire.FieldAccessToken
	case wire.TypeCertificate:
		return wire.FieldCertificateData
	case wire.TypeSSHKey:
		return wire.FieldSSHPrivateKey
	case wire.TypeTOTP:
		return wire.FieldTOTPSecret
	}
	return ""
}

// checkSecrets holds the secret fields against the token's type.
func (t *tokenData) checkSecrets() error {
	field := secretField(t.kind)
	if field == "" {
		return invalid("tokenData.tokenType is missing or none of %s", strings.Join(wire.TokenTypes(), ", "))
	}
	if strings.TrimSpace(t.secrets[field]) == "" {
		return invalid("tokenData.%s is missing or empty: it holds the secret of a token of type %s", field, t.kind)
	}
	switch t.kind {
	case wire.TypeTOTP:
		return t.checkTOTP()
	case wire.TypeSSHKey:
		return checkSSHKey(t.secrets[field])
	case wire.TypeCertificate:
		return t.checkCertificate()
	}
	return nil
}

// checkTOTP replaces the secret by the canonical otpauth URI of its key, so that
// the parameters are sealed with it.
func (t *tokenData) checkTOTP() error {
	key, err := totpKey(t.secrets[wire.FieldTOTPSecret], t.meta)
	if err == nil {
		err = agree(t.meta, key)
	}
	if err != nil {
		return invalid("tokenData.totpSecret: %s", err) // names the field, never the secret
	}
	t.secrets[wire.FieldTOTPSecret] = key.URI()
	return nil
}

// checkExpiry derives expiryTime from expiresAt, unless the certificate gave it. A
// caller's own expiryTime counts when there is no expiresAt.
func (t *tokenData) checkExpiry() error {
	if t.kind == wire.TypeCertificate {
		return nil // checkCertificate has set it
	}
	if given, ok := t.meta[metaExpiresAt]; ok && given != "" {
		text, _ := given.(string)
		at, ok := parseISO8601(text)
		if !ok {
			return invalid("tokenData.expiresAt is not an ISO 8601 time such as 2030-01-31T12:00:00Z")
		}
		t.meta[metaExpiryTime] = at.UnixMilli()
		return nil
	}
	delete(t.meta, metaExpiresAt)
	if given, ok := t.meta[metaExpiryTime]; ok {
		number, _ := given.(json.Number)
		ms, err := number.Int64()
		if err != nil || ms < 0 || ms > maxTime.UnixMilli() {
			return invalid("tokenData.expiryTime is not a time in whole milliseconds since 1970")
		}
	}
	return nil
}

var maxTime = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)

// parseISO8601 reads a time with a zone, or in UTC without, or a date.
func parseISO8601(text string) (time.Time, bool) {
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", time.DateOnly} {
		if at, err := time.Parse(layout, text); err == nil && at.Unix() >= 0 && !at.After(maxTime) {
			return at.UTC(), true
		}
	}
	return time.Time{}, false
}

func (t *tokenData) checkHosts(plainHTTP bool) error {
	given, ok := t.meta[metaAllowedHosts]
	if !ok {
		return nil
	}
	hosts, err := parseAllowedHosts(given, plainHTTP)
	if err != nil {
		return err
	}
	t.meta[metaAllowedHosts] = hosts
	return nil
}

// checkNote validates displayName, notes and tags; nil is none.
func checkNote(name string, value any) error {
	if value == nil {
		return nil
	}
	if name == metaTags {
		list, ok := value.([]any)
		if !ok || len(list) > maxTags {
			return invalid("tags is not a list of at most %d strings", maxTags)
		}
		for _, tag := range list {
			text, ok := tag.(string)
			if !ok || text == "" || len(text) > maxTag || strings.ContainsFunc(text, unprintable) {
				return invalid("tags has an entry that is not a printable string of 1 to %d bytes", maxTag)
			}
		}
		return nil
	}
	limit := maxDisplayName
	if name == metaNotes {
		limit = maxNotes
	}
	if text, ok := value.(string); !ok || len(text) > limit {
		return invalid("%s is not a string of at most %d bytes", name, limit)
	}
	return nil
}

// finish adds what the webhook itself says of a token.
func (t *tokenData) finish(service, creationID string, now time.Time) {
	t.meta[metaServiceName] = service
	t.meta[metaTokenType] = t.kind
	t.meta[metaCreatedAt] = formatTime(now)
	t.meta[metaCreationID] = creationID
	for name, field := range map[string]string{
		metaHasRefreshToken: wire.FieldRefreshToken,
		metaHasCertificate:  wire.FieldCertificateData,
		metaHasPrivateKey:   wire.FieldPrivateKeyData,
		metaHasSSHKey:       wire.FieldSSHPrivateKey,
		metaHasTOTPSecret:   wire.FieldTOTPSecret,
	} {
		t.meta[name] = t.secrets[field] != ""
	}
}

// formatTime is RFC 3339 in UTC, to the millisecond.
func formatTime(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z07:00") }
