package agent

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"time"

	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

const redacted = "[redacted]"

// A Credential is what was released. It prints as "[redacted]" in every format
// and refuses to be marshalled; its secrets come out by name.
type Credential struct {
	service string
	fields  func() map[string]any // a function, so that no printer looks inside
}

func newCredential(service string, fields map[string]any) Credential {
	return Credential{service: service, fields: func() map[string]any { return fields }}
}

// Service is the name under which it was asked for.
func (c Credential) Service() string { return c.service }

// Type is the token type: wire.TypePlainText and its like. A minted token bears
// the type that its provider gave it, such as "Bearer".
func (c Credential) Type() string { return c.Field("tokenType") }

// AccessToken is the API key, access token, one-time code or minted token; it is
// empty for certificates and SSH keys.
func (c Credential) AccessToken() string { return c.Field(wire.FieldAccessToken) }

// Field is any other field that is text, by its name on the wire, such as
// wire.FieldSSHPrivateKey; it is empty when there is none.
func (c Credential) Field(name string) string {
	text, _ := c.value(name).(string)
	return text
}

func (c Credential) value(name string) any {
	if c.fields == nil {
		return nil
	}
	return c.fields()[name]
}

// ExpiresAt is when the credential ends; ok is false when it does not say.
func (c Credential) ExpiresAt() (at time.Time, ok bool) {
	if at, err := time.Parse(time.RFC3339, c.Field("expiresAt")); err == nil {
		return at, true
	}
	if ms, isNumber := c.value("expiryTime").(float64); isNumber && ms > 0 && ms < math.MaxInt64 {
		return time.UnixMilli(int64(ms)), true
	}
	return time.Time{}, false
}

// Remaining is how long a one-time code is valid still, as of the answer; zero
// for everything else.
func (c Credential) Remaining() time.Duration {
	seconds, _ := c.value("remainingSeconds").(float64)
	return time.Duration(seconds) * time.Second
}

func (Credential) String() string             { return redacted }
func (Credential) GoString() string           { return redacted }
func (Credential) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }
func (Credential) LogValue() slog.Value       { return slog.StringValue(redacted) }

// MarshalJSON refuses: say which field you mean.
func (Credential) MarshalJSON() ([]byte, error) {
	return nil, errors.New("agent: a credential is not marshalled; take its fields by name")
}
