package wire_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

func TestServiceNames(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]bool{
		"github": true, "GitHub": true, "0": true, "a": true, "my service": true, "a.b_c:d@e-f g": true, "trailing ": true,
		"audit-log2": true, "Bulk": true, "AUDIT-LOG": true, strings.Repeat("a", 128): true,
		"": false, strings.Repeat("a", 129): false, "audit-log": false, "bulk": false,
		" github": false, "-github": false, ".github": false, "_github": false, ":github": false, "@github": false, "..": false,
		"a/b": false, `a\b`: false, "a%2Fb": false, "a\tb": false, "a\nb": false, "a\x00b": false, "a\x7f": false, "ä": false, "aä": false,
		"a\xff": false, "a?b": false, "a#b": false, "a&b": false, "a,b": false, "a\"b": false, "a<b": false, "a+b": false, "a\u00a0b": false,
	} {
		if got := wire.ValidServiceName(name); got != want {
			t.Errorf("ValidServiceName(%q): got %v, want %v", name, got, want)
		}
	}
}

func TestServiceNamesAreThoseOfTheExpression(t *testing.T) {
	t.Parallel()
	expression := regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:@ -]{0,127}$`)
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.OneOf(
			rapid.String(),
			rapid.StringMatching(`[A-Za-z0-9._:@ -]{0,130}`),
			rapid.StringMatching(`[A-Za-z0-9][A-Za-z0-9._:@ -]{0,129}`),
			rapid.StringMatching(`[a-z][\x00-\x7f]{0,3}`),
			rapid.SampledFrom([]string{"bulk", "audit-log"}),
		).Draw(t, "name")
		want := expression.MatchString(name) && !strings.HasSuffix(name, "\n") && name != "bulk" && name != "audit-log"
		if got := wire.ValidServiceName(name); got != want {
			t.Fatalf("ValidServiceName(%q): got %v, want %v", name, got, want)
		}
	})
}

func TestSensitiveFieldsAreThoseOfTheProtocol(t *testing.T) {
	t.Parallel()
	want := []string{
		"accessToken", "refreshToken", "certificateData", "privateKeyData", "certificateChain", "sshPrivateKey", "totpSecret",
		"clientSecret", "password", "passphrase",
	}
	if got := wire.SensitiveFields(); !slices.Equal(got, want) {
		t.Errorf("SensitiveFields: got %v, want %v", got, want)
	}
	for _, field := range want {
		if !wire.IsSensitive(field) {
			t.Errorf("IsSensitive(%q): got false, want true", field)
		}
	}
	for _, field := range []string{"", "serviceName", "tokenType", "displayName", "notes", "expiryTime", "creationId", "clientId", "allowedHosts"} {
		if wire.IsSensitive(field) {
			t.Errorf("IsSensitive(%q): got true, want false", field)
		}
	}
}

func TestTokenTypesAreThoseOfTheProtocol(t *testing.T) {
	t.Parallel()
	got := slices.Sorted(slices.Values(wire.TokenTypes()))
	if want := []string{"Certificate", "JWT", "OAuth", "PlainText", "RawCredential", "SSHKey", "TOTP"}; !slices.Equal(got, want) {
		t.Errorf("TokenTypes: got %v, want %v", got, want)
	}
}
