package credential_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/tvzero/tokenvault/webhook-sdk/credential"
)

const totpSecret = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ" // RFC 6238, Appendix B

var platform = credential.Options{Platform: true}

// fields is what a caller sends, as it comes out of JSON.
func fields(t *testing.T, values map[string]any) map[string]json.RawMessage {
	t.Helper()
	text, err := json.Marshal(values)
	if err != nil {
		t.Fatal(err)
	}
	var out map[string]json.RawMessage
	if err := json.Unmarshal(text, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// parsed is a credential that must be valid.
func parsed(t *testing.T, o credential.Options, values map[string]any) credential.Credential {
	t.Helper()
	c, err := credential.Parse(fields(t, values), o)
	if err != nil {
		t.Fatalf("Parse: got %v, want a credential", err)
	}
	return c
}

// certificate makes a self-signed certificate of a key, and the key, in PEM.
func certificate(t *testing.T, private crypto.Signer, end time.Time) (cert, key string) {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: end.Add(-time.Hour), NotAfter: end}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pemOf("CERTIFICATE", der), pemOf("PRIVATE KEY", pkcs8)
}

func pemOf(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func ecKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func sshKey(t *testing.T) string {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "test")
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(block))
}

func TestEveryTypeKeepsItsSecretsApartFromItsMetadata(t *testing.T) {
	t.Parallel()
	cert, key := certificate(t, ecKey(t), time.Date(2031, 5, 6, 7, 8, 9, 0, time.UTC))
	for kind, c := range map[string]struct {
		platform bool
		secrets  map[string]any
		meta     map[string]any
	}{
		"OAuth":         {secrets: map[string]any{"accessToken": "a", "refreshToken": "r", "clientSecret": "s"}, meta: map[string]any{"provider": "github"}},
		"JWT":           {secrets: map[string]any{"accessToken": "a.b.c"}},
		"PlainText":     {secrets: map[string]any{"accessToken": "a"}, meta: map[string]any{"displayName": "A key"}},
		"RawCredential": {secrets: map[string]any{"accessToken": "{}"}},
		"TOTP":          {secrets: map[string]any{"totpSecret": totpSecret}},
		"SSHKey":        {secrets: map[string]any{"sshPrivateKey": sshKey(t), "passphrase": "p"}},
		"Certificate":   {secrets: map[string]any{"certificateData": cert, "privateKeyData": key, "certificateChain": cert}},
		"Basic":         {platform: true, secrets: map[string]any{"password": "p:ä"}, meta: map[string]any{"username": "u"}},
		"Bearer":        {platform: true, secrets: map[string]any{"accessToken": "a"}},
		"OpenIDConnect": {platform: true, secrets: map[string]any{"accessToken": "a", "refreshToken": "r", "idToken": "i.d.t"}, meta: map[string]any{"issuer": "https://id.example.com/tenant"}},
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			input := map[string]any{"tokenType": kind}
			for name, value := range c.secrets {
				input[name] = value
			}
			for name, value := range c.meta {
				input[name] = value
			}
			got := parsed(t, platform, input)
			if got.Type != kind || len(got.Secrets) != len(c.secrets) {
				t.Errorf("got type %s with %d secrets, want %s with %d", got.Type, len(got.Secrets), kind, len(c.secrets))
			}
			for name, want := range c.secrets {
				if _, listed := got.Meta[name]; listed {
					t.Errorf("%s stands in the metadata", name)
				}
				if kind != "TOTP" && got.Secrets[name] != want {
					t.Errorf("%s was changed", name)
				}
			}
			for name, want := range c.meta {
				if got.Meta[name] != want {
					t.Errorf("metadata %s: got %v, want %v", name, got.Meta[name], want)
				}
			}
			_, err := credential.Parse(fields(t, input), credential.Options{})
			if (err == nil) == c.platform {
				t.Errorf("at a webhook: got %v, want it refused: %v", err, c.platform)
			}
		})
	}
}

func TestATOTPSecretBecomesAURIWithItsParameters(t *testing.T) {
	t.Parallel()
	c := parsed(t, credential.Options{}, map[string]any{"tokenType": "TOTP", "totpSecret": strings.ToLower(totpSecret), "digits": 8, "algorithm": "sha-256"})
	uri := c.Secrets["totpSecret"]
	for _, part := range []string{"otpauth://totp/", "secret=" + totpSecret, "digits=8", "algorithm=SHA256"} {
		if !strings.Contains(uri, part) {
			t.Errorf("the secret has no %q, want a whole otpauth URI", part)
		}
	}
}

func TestExpiryComesFromTheCertificateOrTheInput(t *testing.T) {
	t.Parallel()
	end := time.Date(2031, 5, 6, 7, 8, 9, 0, time.UTC)
	cert, _ := certificate(t, ecKey(t), end)
	for name, c := range map[string]struct {
		input map[string]any
		want  string
	}{
		"certificate, whatever the input says": {map[string]any{"tokenType": "Certificate", "certificateData": cert, "expiresAt": "2099-01-01"}, "2031-05-06T07:08:09Z"},
		"expiresAt":                            {map[string]any{"tokenType": "PlainText", "accessToken": "a", "expiresAt": "2030-01-31T13:00:00+01:00", "expiryTime": 1}, "2030-01-31T12:00:00Z"},
		"a date":                               {map[string]any{"tokenType": "PlainText", "accessToken": "a", "expiresAt": "2030-01-31"}, "2030-01-31T00:00:00Z"},
		"expiryTime":                           {map[string]any{"tokenType": "PlainText", "accessToken": "a", "expiryTime": 981173106000}, "2001-02-03T04:05:06Z"},
		"empty":                                {map[string]any{"tokenType": "PlainText", "accessToken": "a", "expiresAt": ""}, ""},
		"none":                                 {map[string]any{"tokenType": "PlainText", "accessToken": "a"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			parsed := parsed(t, credential.Options{}, c.input)
			text, err := parsed.Encode()
			if err != nil {
				t.Fatal(err)
			}
			stored, err := credential.Decode(text)
			if err != nil {
				t.Fatal(err)
			}
			for _, from := range []credential.Credential{parsed, stored} {
				got := ""
				if at, ok := from.Expiry(); ok {
					got = at.Format(time.RFC3339)
				}
				if got != c.want {
					t.Errorf("it ends %q, want %q", got, c.want)
				}
			}
		})
	}
}

func TestAPrivateKeyMustBeThatOfItsCertificate(t *testing.T) {
	t.Parallel()
	ec := ecKey(t)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	end := time.Date(2031, 5, 6, 7, 8, 9, 0, time.UTC)
	cert, key := certificate(t, ec, end)
	rsaCert, rsaPEM := certificate(t, rsaKey, end)
	_, otherKey := certificate(t, ecKey(t), end)
	sec1, err := x509.MarshalECPrivateKey(ec)
	if err != nil {
		t.Fatal(err)
	}
	parameters := pemOf("EC PARAMETERS", []byte{6, 8, 42, 134, 72, 206, 61, 3, 1, 7})
	for name, c := range map[string]struct {
		cert, key string
		ok        bool
	}{
		"PKCS #8":                   {cert, key, true},
		"SEC 1":                     {cert, pemOf("EC PRIVATE KEY", sec1), true},
		"SEC 1 with its parameters": {cert, parameters + pemOf("EC PRIVATE KEY", sec1), true},
		"PKCS #1":                   {rsaCert, pemOf("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey)), true},
		"RSA in PKCS #8":            {rsaCert, rsaPEM, true},
		"encrypted, unread":         {cert, pemOf("ENCRYPTED PRIVATE KEY", []byte{1}), true},
		"another's":                 {cert, otherKey, false},
		"of another kind":           {cert, rsaPEM, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := credential.Parse(fields(t, map[string]any{"tokenType": "Certificate", "certificateData": c.cert, "privateKeyData": c.key}), platform)
			if c.ok {
				if err != nil {
					t.Errorf("got %v, want it taken", err)
				}
				return
			}
			want := "privateKeyData is not the private key of the certificate in certificateData: store the two that belong together"
			if err == nil || err.Error() != want {
				t.Errorf("got %v, want %q", err, want)
			}
		})
	}
}

func TestDescribeOverwritesWhatACallerSays(t *testing.T) {
	t.Parallel()
	c := parsed(t, platform, map[string]any{
		"tokenType": "OAuth", "accessToken": "a", "refreshToken": "r", "serviceName": "other", "createdAt": "1999", "creationId": "mine",
		"hasRefreshToken": false, "hasCertificate": true, "hasPrivateKey": "yes", "hasSSHKey": 1, "hasTotpSecret": true,
	})
	c.Describe("github", "id", time.Date(2030, 1, 2, 3, 4, 5, 6e6, time.UTC))
	for name, want := range map[string]any{
		"serviceName": "github", "tokenType": "OAuth", "createdAt": "2030-01-02T03:04:05.006Z", "creationId": "id", "hasRefreshToken": true,
		"hasCertificate": false, "hasPrivateKey": false, "hasSSHKey": false, "hasTotpSecret": false,
	} {
		if c.Meta[name] != want {
			t.Errorf("%s is %v, want %v", name, c.Meta[name], want)
		}
	}
}

func TestACredentialDoesNotPrint(t *testing.T) {
	t.Parallel()
	c := parsed(t, platform, map[string]any{"tokenType": "Basic", "username": "canary", "password": "canary"})
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "credential", c, "pointer", &c)
	texts := []string{log.String()}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		texts = append(texts, fmt.Sprintf(verb, c), fmt.Sprintf(verb, &c), fmt.Sprintf(verb, []credential.Credential{c}))
	}
	for _, text := range texts {
		if strings.Contains(text, "canary") || strings.Contains(text, "63616e617279") {
			t.Errorf("it prints as %s", text)
		}
	}
	if text, err := json.Marshal(c); err == nil {
		t.Errorf("json.Marshal: got %s, want an error", text)
	}
}
