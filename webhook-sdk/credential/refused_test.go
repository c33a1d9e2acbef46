package credential_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tvzero/tokenvault/webhook-sdk/credential"
)

func TestABadInputNamesItsFieldAndQuotesNothing(t *testing.T) {
	t.Parallel()
	cert, key := certificate(t, ecKey(t), time.Now())
	many := map[string]any{"tokenType": "PlainText", "accessToken": "x"}
	for i := range 70 {
		many[fmt.Sprint("f", i)] = 1
	}
	plain := func(name string, value any) map[string]any {
		return map[string]any{"tokenType": "PlainText", "accessToken": "canary", name: value}
	}
	oidc := func(name string, value any) map[string]any {
		return map[string]any{"tokenType": "OpenIDConnect", "accessToken": "canary", name: value}
	}
	totp := func(secret string, name string, value any) map[string]any {
		return map[string]any{"tokenType": "TOTP", "totpSecret": secret, name: value}
	}
	for name, c := range map[string]struct {
		field string
		input map[string]any
	}{
		"nothing":                     {"", nil},
		"too many fields":             {"", many},
		"name too long":               {"", plain(strings.Repeat("n", 65), 1)},
		"name not printable":          {"", plain("a\nb", 1)},
		"empty name":                  {"", plain("", 1)},
		"metadata too long":           {"", plain("other", strings.Repeat("x", 40<<10))},
		"no type":                     {"tokenType", map[string]any{"accessToken": "canary"}},
		"unknown type":                {"tokenType", map[string]any{"tokenType": "Cookie", "accessToken": "canary"}},
		"type of a wrong kind":        {"tokenType", map[string]any{"tokenType": 7, "accessToken": "canary"}},
		"no secret":                   {"accessToken", map[string]any{"tokenType": "OAuth", "refreshToken": "canary"}},
		"blank secret":                {"accessToken", map[string]any{"tokenType": "Bearer", "accessToken": " \n"}},
		"null secret":                 {"accessToken", map[string]any{"tokenType": "JWT", "accessToken": nil}},
		"secret of a wrong kind":      {"accessToken", map[string]any{"tokenType": "JWT", "accessToken": []string{"canary"}}},
		"another secret of one":       {"password", plain("password", 7)},
		"an ID token of one":          {"idToken", oidc("idToken", map[string]any{"canary": 1})},
		"secret too long":             {"accessToken", map[string]any{"tokenType": "JWT", "accessToken": strings.Repeat("canary", 50<<10)}},
		"no OpenID access token":      {"accessToken", map[string]any{"tokenType": "OpenIDConnect", "idToken": "canary"}},
		"no password":                 {"password", map[string]any{"tokenType": "Basic", "username": "u"}},
		"no username":                 {"username", map[string]any{"tokenType": "Basic", "password": "canary"}},
		"username with a colon":       {"username", map[string]any{"tokenType": "Basic", "password": "canary", "username": "canary:x"}},
		"username with a line break":  {"username", map[string]any{"tokenType": "Basic", "password": "canary", "username": "canary\r\n"}},
		"username too long":           {"username", map[string]any{"tokenType": "Basic", "password": "canary", "username": strings.Repeat("u", 1025)}},
		"expiresAt not a time":        {"expiresAt", plain("expiresAt", "canary")},
		"expiresAt a number":          {"expiresAt", plain("expiresAt", 7)},
		"expiresAt before 1970":       {"expiresAt", plain("expiresAt", "1960-01-01T00:00:00Z")},
		"expiryTime not a number":     {"expiryTime", plain("expiryTime", "canary")},
		"expiryTime with a fraction":  {"expiryTime", plain("expiryTime", 1.5)},
		"expiryTime negative":         {"expiryTime", plain("expiryTime", -1)},
		"displayName too long":        {"displayName", plain("displayName", strings.Repeat("canary", 50))},
		"notes a number":              {"notes", plain("notes", 7)},
		"tags not a list":             {"tags", plain("tags", "canary")},
		"tags with an empty one":      {"tags", plain("tags", []string{"a", ""})},
		"too many tags":               {"tags", plain("tags", make([]string, 33))},
		"allowedHosts not a list":     {"allowedHosts", plain("allowedHosts", "canary.example.com")},
		"allowedHosts with a path":    {"allowedHosts", plain("allowedHosts", []string{"https://canary.example.com/x"})},
		"allowedHosts in plain http":  {"allowedHosts", plain("allowedHosts", []string{"http://canary.example.com"})},
		"allowedHosts with a star":    {"allowedHosts", plain("allowedHosts", []string{"*.canary.example.com"})},
		"provider of a wrong kind":    {"provider", oidc("provider", 7)},
		"provider too long":           {"provider", oidc("provider", strings.Repeat("c", 65))},
		"issuer not a URL":            {"issuer", oidc("issuer", "canary")},
		"issuer in plain http":        {"issuer", oidc("issuer", "http://canary.example.com")},
		"issuer of a wrong kind":      {"issuer", oidc("issuer", 7)},
		"tokenUrl with a user":        {"tokenUrl", oidc("tokenUrl", "https://canary@id.example.com/token")},
		"tokenUrl with a fragment":    {"tokenUrl", oidc("tokenUrl", "https://id.example.com/token#canary")},
		"tokenUrl without a host":     {"tokenUrl", oidc("tokenUrl", "https:///token")},
		"tokenUrl with a bad port":    {"tokenUrl", oidc("tokenUrl", "https://id.example.com:99999/token")},
		"TOTP not Base32":             {"totpSecret", totp("canary01890189", "x", 1)},
		"TOTP by counter":             {"totpSecret", totp("otpauth://hotp/canary?secret="+totpSecret, "x", 1)},
		"TOTP with 12 digits":         {"totpSecret", totp(totpSecret, "digits", 12)},
		"TOTP that says two lengths":  {"totpSecret", totp("otpauth://totp/x?digits=6&secret="+totpSecret, "digits", 8)},
		"half a certificate":          {"certificateData", map[string]any{"tokenType": "Certificate", "certificateData": cert[:100]}},
		"a key for a certificate":     {"certificateData", map[string]any{"tokenType": "Certificate", "certificateData": key}},
		"certificate and key in one":  {"certificateData", map[string]any{"tokenType": "Certificate", "certificateData": cert + key}},
		"certificate too long":        {"certificateData", map[string]any{"tokenType": "Certificate", "certificateData": strings.Repeat(cert, 200)}},
		"a certificate for a key":     {"privateKeyData", map[string]any{"tokenType": "Certificate", "certificateData": cert, "privateKeyData": cert}},
		"a key for a chain":           {"certificateChain", map[string]any{"tokenType": "Certificate", "certificateData": cert, "certificateChain": key}},
		"a public SSH key":            {"sshPrivateKey", map[string]any{"tokenType": "SSHKey", "sshPrivateKey": "ssh-ed25519 canary"}},
		"a certificate as an SSH key": {"sshPrivateKey", map[string]any{"tokenType": "SSHKey", "sshPrivateKey": cert}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := credential.Parse(fields(t, c.input), platform)
			var bad *credential.Error
			if !errors.As(err, &bad) || bad.Field != c.field {
				t.Fatalf("got %v, want an error of field %q", err, c.field)
			}
			if got.Type != "" || got.Secrets != nil || got.Meta != nil {
				t.Error("got a credential beside the error")
			}
			for _, part := range []string{"canary", totpSecret, "MII"} {
				if strings.Contains(err.Error(), part) {
					t.Errorf("the error quotes the input: %v", err)
				}
			}
		})
	}
}

func TestAFieldThatIsNoJSONIsRefused(t *testing.T) {
	t.Parallel()
	_, err := credential.Parse(map[string]json.RawMessage{"tokenType": json.RawMessage(`{`)}, platform)
	var bad *credential.Error
	if !errors.As(err, &bad) || bad.Field != "tokenType" {
		t.Errorf("got %v, want an error of field tokenType", err)
	}
}

func TestPlainHTTPNeedsPermission(t *testing.T) {
	t.Parallel()
	c := parsed(t, credential.Options{Platform: true, PlainHTTP: true}, map[string]any{
		"tokenType": "OAuth", "accessToken": "a", "tokenUrl": "http://127.0.0.1:8000/token", "allowedHosts": []string{"http://LOCALHOST:80"},
	})
	hosts, _ := c.Meta["allowedHosts"].([]string)
	if len(hosts) != 1 || hosts[0] != "http://localhost" {
		t.Errorf("allowedHosts are %v, want http://localhost", hosts)
	}
}

// What Parse takes can be kept and read again; what it does not take is an *Error.
func FuzzParse(f *testing.F) {
	for _, text := range []string{
		`{}`, `{"tokenType":"PlainText","accessToken":"a","allowedHosts":["x.example.com"],"expiresAt":"2030-01-31"}`,
		`{"tokenType":"Basic","username":"u","password":"p"}`, `{"tokenType":"TOTP","totpSecret":"` + totpSecret + `","digits":8}`,
		`{"tokenType":"OpenIDConnect","accessToken":"a","issuer":"https://id.example.com"}`,
		`{"tokenType":"Certificate","certificateData":"-----BEGIN CERTIFICATE-----"}`, `{"tokenType":"SSHKey","sshPrivateKey":"-----BEGIN"}`,
	} {
		f.Add([]byte(text), true)
		f.Add([]byte(text), false)
	}
	f.Fuzz(func(t *testing.T, text []byte, inPlatform bool) {
		var input map[string]json.RawMessage
		if json.Unmarshal(text, &input) != nil {
			return
		}
		c, err := credential.Parse(input, credential.Options{Platform: inPlatform})
		if err != nil {
			var bad *credential.Error
			if !errors.As(err, &bad) {
				t.Fatalf("got %v, want an *Error", err)
			}
			return
		}
		encoded, err := c.Encode()
		if err != nil {
			t.Fatalf("Encode: got %v, want it encoded", err)
		}
		delete(c.Meta, "serviceName")
		again, err := credential.Decode(encoded)
		if err != nil || again.Type != c.Type || len(again.Secrets) != len(c.Secrets) || len(again.Meta) != len(c.Meta) {
			t.Fatalf("Decode: got %v, want what was encoded", err)
		}
	})
}
