package webhook_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"maps"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	webhook "github.com/tvzero/tokenvault/webhook-sdk"
	"github.com/tvzero/tokenvault/webhook-sdk/storage"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

const totpSecret = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ" // RFC 6238, Appendix B

// certificate makes a self-signed certificate and its key, in PEM.
func certificate(t *testing.T, end time.Time) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
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

func sshKey(t *testing.T, passphrase string) string {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	var block *pem.Block
	if passphrase == "" {
		block, err = ssh.MarshalPrivateKey(private, "test")
	} else {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(private, "test", []byte(passphrase))
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(block))
}

func TestEveryTokenTypeIsStoredAndSealed(t *testing.T) {
	t.Parallel()
	wh, tv, _ := bound(t)
	end := time.Date(2031, 5, 6, 7, 8, 9, 0, time.UTC)
	cert, key := certificate(t, end)
	for kind, data := range map[string]map[string]any{
		"OAuth":         {"accessToken": "canary-a", "refreshToken": "canary-r", "expiresAt": "2001-02-03T04:05:06Z", "provider": "github"},
		"JWT":           {"accessToken": "canary.a.b"},
		"PlainText":     {"accessToken": "canary-p"},
		"RawCredential": {"accessToken": `{"canary":1}`},
		"TOTP":          {"totpSecret": totpSecret},
		"SSHKey":        {"sshPrivateKey": sshKey(t, ""), "passphrase": ""},
		"Certificate":   {"certificateData": cert, "privateKeyData": key, "certificateChain": cert},
	} {
		t.Run(kind, func(t *testing.T) {
			data["tokenType"] = kind
			meta := tv.Store(kind, maps.Clone(data))
			for name, want := range map[string]any{
				"serviceName": kind, "tokenType": kind, "createdAt": "2030-01-02T03:04:05.000Z",
				"hasRefreshToken": kind == "OAuth", "hasCertificate": kind == "Certificate", "hasPrivateKey": kind == "Certificate",
				"hasSSHKey": kind == "SSHKey", "hasTotpSecret": kind == "TOTP",
			} {
				if meta[name] != want {
					t.Errorf("%s is %v, want %v", name, meta[name], want)
				}
			}
			if id, _ := meta["creationId"].(string); len(id) != 32 {
				t.Errorf("creationId is %q, want 128 bits in hex", id)
			}
			item, err := wh.Storage.Get(t.Context(), storage.CollectionTokens, kind)
			if err != nil {
				t.Fatal(err)
			}
			for name, value := range data {
				secret, _ := value.(string)
				if !wire.IsSensitive(name) || secret == "" {
					continue
				}
				if _, shown := meta[name]; shown || strings.Contains(string(item.Data), secret[:min(len(secret), 30)]) {
					t.Errorf("%s stands in the metadata or in the clear", name)
				}
			}
		})
	}
	expiry := func(service string) string {
		got := tv.Operate(op("list", "tokens", map[string]any{"options": map[string]any{"filters": map[string]any{"serviceName": service}}}))
		meta := string(got.Items[0].Meta)
		_, rest, _ := strings.Cut(meta, `"expiryTime":`)
		return rest[:strings.IndexAny(rest+",", ",}")]
	}
	if got := expiry("OAuth"); got != "981173106000" {
		t.Errorf("the OAuth token's expiryTime is %s, want 981173106000: an expired one may be stored", got)
	}
	if got := expiry("Certificate"); got != fmt.Sprint(end.UnixMilli()) {
		t.Errorf("the certificate's expiryTime is %s, want its end, %d", got, end.UnixMilli())
	}
}

func TestATokenThatCannotBeIsRefused(t *testing.T) {
	t.Parallel()
	wh, tv, _ := bound(t)
	cert, key := certificate(t, time.Now())
	_, otherKey := certificate(t, time.Now())
	check := unchanged(t, wh)
	fields := map[string]any{"tokenType": "PlainText", "accessToken": "x"}
	for i := range 70 {
		fields[fmt.Sprint("f", i)] = 1
	}
	for name, data := range map[string]map[string]any{
		"nothing":                    nil,
		"no type":                    {"accessToken": "x"},
		"unknown type":               {"tokenType": "Cookie", "accessToken": "x"},
		"type of a wrong kind":       {"tokenType": 7, "accessToken": "x"},
		"no secret":                  {"tokenType": "OAuth", "refreshToken": "x"},
		"empty secret":               {"tokenType": "PlainText", "accessToken": ""},
		"blank secret":               {"tokenType": "PlainText", "accessToken": " \n"},
		"null secret":                {"tokenType": "PlainText", "accessToken": nil},
		"secret of a wrong kind":     {"tokenType": "PlainText", "accessToken": map[string]any{"a": 1}},
		"other secret of wrong kind": {"tokenType": "PlainText", "accessToken": "x", "password": 7},
		"secret too long":            {"tokenType": "PlainText", "accessToken": strings.Repeat("x", 300<<10)},
		"secret in the wrong field":  {"tokenType": "TOTP", "accessToken": totpSecret},
		"too many fields":            fields,
		"metadata too long":          {"tokenType": "PlainText", "accessToken": "x", "notess": strings.Repeat("x", 40<<10)},
		"name too long":              {"tokenType": "PlainText", "accessToken": "x", strings.Repeat("n", 65): 1},
		"name not printable":         {"tokenType": "PlainText", "accessToken": "x", "a\nb": 1},
		"empty name":                 {"tokenType": "PlainText", "accessToken": "x", "": 1},
		"expiresAt not a time":       {"tokenType": "OAuth", "accessToken": "x", "expiresAt": "soon"},
		"expiresAt a number":         {"tokenType": "OAuth", "accessToken": "x", "expiresAt": 7},
		"expiresAt out of range":     {"tokenType": "OAuth", "accessToken": "x", "expiresAt": "1960-01-01T00:00:00Z"},
		"expiryTime not a number":    {"tokenType": "OAuth", "accessToken": "x", "expiryTime": "soon"},
		"expiryTime negative":        {"tokenType": "OAuth", "accessToken": "x", "expiryTime": -1},
		"displayName too long":       {"tokenType": "PlainText", "accessToken": "x", "displayName": strings.Repeat("x", 300)},
		"tags not a list":            {"tokenType": "PlainText", "accessToken": "x", "tags": "a"},
		"TOTP too short":             {"tokenType": "TOTP", "totpSecret": "GEZDGNBV"},
		"TOTP not Base32":            {"tokenType": "TOTP", "totpSecret": "01890189018901890189"},
		"TOTP by counter":            {"tokenType": "TOTP", "totpSecret": "otpauth://hotp/x?secret=" + totpSecret},
		"TOTP with 12 digits":        {"tokenType": "TOTP", "totpSecret": totpSecret, "digits": 12},
		"TOTP with digits as text":   {"tokenType": "TOTP", "totpSecret": totpSecret, "digits": "8"},
		"TOTP algorithm a number":    {"tokenType": "TOTP", "totpSecret": totpSecret, "algorithm": 256},
		"TOTP algorithm unknown":     {"tokenType": "TOTP", "totpSecret": totpSecret, "algorithm": "MD5"},
		"TOTP algorithm empty":       {"tokenType": "TOTP", "totpSecret": totpSecret, "algorithm": ""},
		"TOTP that says two lengths": {"tokenType": "TOTP", "totpSecret": "otpauth://totp/x?digits=6&secret=" + totpSecret, "digits": 8},
		"TOTP of two periods":        {"tokenType": "TOTP", "totpSecret": "otpauth://totp/x?secret=" + totpSecret, "period": 60},
		"TOTP of two algorithms":     {"tokenType": "TOTP", "totpSecret": "otpauth://totp/x?algorithm=SHA1&secret=" + totpSecret, "algorithm": "SHA-256"},
		"TOTP with a period of 0.5":  {"tokenType": "TOTP", "totpSecret": totpSecret, "period": 0.5},
		"no certificate":             {"tokenType": "Certificate", "certificateData": "MIIB"},
		"half a certificate":         {"tokenType": "Certificate", "certificateData": cert[:100]},
		"key for a certificate":      {"tokenType": "Certificate", "certificateData": key},
		"certificate and key in one": {"tokenType": "Certificate", "certificateData": cert + key},
		"garbage after certificate":  {"tokenType": "Certificate", "certificateData": cert + "x"},
		"another's key":              {"tokenType": "Certificate", "certificateData": cert, "privateKeyData": otherKey},
		"no key":                     {"tokenType": "Certificate", "certificateData": cert, "privateKeyData": cert},
		"no chain":                   {"tokenType": "Certificate", "certificateData": cert, "certificateChain": key},
		"no SSH key":                 {"tokenType": "SSHKey", "sshPrivateKey": "ssh-ed25519 AAAA"},
		"certificate as SSH key":     {"tokenType": "SSHKey", "sshPrivateKey": cert},
	} {
		t.Run(name, func(t *testing.T) {
			got := tv.TryStore(tv.Ticket(wire.PurposeStore, "github"), data)
			refused(t, got, http.StatusBadRequest, wire.CodeInvalidRequest)
			for _, part := range []string{totpSecret, "GEZDGNBV", "0189", "MIIB"} {
				if strings.Contains(string(got.Body), part) {
					t.Errorf("the refusal quotes the secret: %s", got.Body)
				}
			}
		})
	}
	for name, data := range map[string]string{
		"a list": `[]`, "a string": `"x"`, "null": `null`,
	} {
		t.Run("tokenData is "+name, func(t *testing.T) {
			body := fmt.Sprintf(`{"ticket":%q,"service":"github","tokenData":%s}`, tv.Sign(tv.Ticket(wire.PurposeStore, "github")), data)
			refused(t, tv.Do(tv.Request(http.MethodPost, wire.PathStore, []byte(body))), http.StatusBadRequest, wire.CodeInvalidRequest)
		})
	}
	check()
}

func TestAStoreThatIsNotSentAsJSONIsRefused(t *testing.T) {
	t.Parallel()
	wh, tv, _ := bound(t)
	check := unchanged(t, wh)
	ticket := tv.Ticket(wire.PurposeStore, "github")
	body := map[string]any{"ticket": tv.Sign(ticket), "service": "github", "tokenData": plain("second")}
	for _, kind := range []string{"", "text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin1"} {
		r := tv.Request(http.MethodPost, wire.PathStore, body)
		r.Header.Set("Content-Type", kind)
		refused(t, tv.Do(r), http.StatusBadRequest, wire.CodeInvalidRequest)
	}
	for _, text := range []string{"", "{", "[]", "7", `{"ticket":7}`, `{"service":{}}`, "{} {}", "\xff"} {
		refused(t, tv.Do(tv.Request(http.MethodPost, wire.PathStore, []byte(text))), http.StatusBadRequest, wire.CodeInvalidRequest)
	}
	check()
	body["unknown"] = []int{1}
	accepted(t, tv.Do(tv.Request(http.MethodPost, wire.PathStore, body))) // none of it used the ticket up
}

func TestTOTPParametersBesideAURIMayRepeatIt(t *testing.T) {
	t.Parallel()
	_, tv, _ := bound(t)
	tv.Store("totp", map[string]any{
		"tokenType": "TOTP", "totpSecret": "otpauth://totp/x?digits=8&algorithm=SHA256&secret=" + totpSecret,
		"digits": 8, "period": 30, "algorithm": "sha-256",
	})
	if got := tv.TOTPCode("totp"); got.Digits != 8 || len(got.Code) != 8 {
		t.Errorf("the code is %+v, want one of 8 digits", got)
	}
}

func TestAServiceNameThatCannotBeIsRefused(t *testing.T) {
	t.Parallel()
	wh, tv, _ := bound(t)
	check := unchanged(t, wh)
	for _, name := range []string{"", "audit-log", "bulk", ".hidden", "a/b", "../x", "ü", strings.Repeat("a", 129), "a\x00b"} {
		refused(t, tv.TryStore(tv.Ticket(wire.PurposeStore, name), plain("x")), http.StatusUnauthorized, wire.CodeTicketInvalid)
	}
	check()
	tv.Store(strings.Repeat("a", 128), plain("x"))
	tv.Store("My Service_1:x@y-z.w", plain("x"))
}

func TestACallerCannotWriteWhatTheWebhookSaysOfAToken(t *testing.T) {
	t.Parallel()
	_, tv, _ := bound(t)
	meta := tv.Store("s", map[string]any{
		"tokenType": "PlainText", "accessToken": "x", "serviceName": "other", "createdAt": "1999", "creationId": "mine",
		"hasRefreshToken": true, "hasCertificate": true, "hasPrivateKey": "yes", "hasSSHKey": 1, "hasTotpSecret": true,
	})
	want := map[string]any{
		"serviceName": "s", "createdAt": "2030-01-02T03:04:05.000Z", "hasRefreshToken": false, "hasCertificate": false,
		"hasPrivateKey": false, "hasSSHKey": false, "hasTotpSecret": false, "tokenType": "PlainText", "creationId": meta["creationId"],
	}
	if !maps.Equal(meta, want) || meta["creationId"] == "mine" {
		t.Errorf("metadata is %v, want %v", meta, want)
	}
	again := tv.Store("s", plain("y"))
	if again["creationId"] == meta["creationId"] {
		t.Error("a token that was replaced keeps its creationId, want a new one")
	}
}

func TestAllowedHostsAreCanonical(t *testing.T) {
	t.Parallel()
	wh, tv, _ := bound(t, config(func(c *webhook.Config) { c.Outbound.AllowPrivate = false }))
	store := func(hosts any) (map[string]any, int) {
		answer := tv.TryStore(tv.Ticket(wire.PurposeStore, "s"), map[string]any{"tokenType": "PlainText", "accessToken": "x", "allowedHosts": hosts})
		var stored wire.StoreResponse
		answer.Decode(t, &stored)
		return stored.Meta, answer.Status
	}
	meta, status := store([]string{"HTTPS://API.Example.com:443/", "api.example.com", "b.example.com:8443", "[2001:DB8::1]:443", "192.0.2.1"})
	hosts, _ := meta["allowedHosts"].([]any)
	want := []any{"https://192.0.2.1", "https://[2001:db8::1]", "https://api.example.com", "https://b.example.com:8443"}
	if status != http.StatusOK || !slices.Equal(hosts, want) {
		t.Errorf("allowedHosts are %v (%d), want %v", hosts, status, want)
	}
	check := unchanged(t, wh)
	many := make([]string, 33)
	for i := range many {
		many[i] = fmt.Sprintf("h%d.example.com", i)
	}
	for _, bad := range []any{
		"api.example.com", []int{7}, []string{""}, []string{"http://api.example.com"}, []string{"ftp://api.example.com"}, []string{"https://u@api.example.com"},
		[]string{"https://api.example.com/path"}, []string{"https://api.example.com?q"}, []string{"*.example.com"}, []string{"api.example.com:0"},
		[]string{"api.example.com:65536"}, []string{"api..example.com"}, []string{"-a.example.com"}, []string{"ex ample.com"}, []string{"bücher.example"}, many,
	} {
		if _, status := store(bad); status != http.StatusBadRequest {
			t.Errorf("allowedHosts %v: got %d, want 400", bad, status)
		}
	}
	check()
}

func TestKeysWithAPassphraseAndBase64OfDERAreTaken(t *testing.T) {
	t.Parallel()
	_, tv, _ := bound(t)
	tv.Store("ssh", map[string]any{"tokenType": "SSHKey", "sshPrivateKey": sshKey(t, "secret"), "passphrase": "secret"})
	cert, _ := certificate(t, time.Date(2031, 1, 1, 0, 0, 0, 0, time.UTC))
	block, _ := pem.Decode([]byte(cert))
	meta := tv.Store("der", map[string]any{"tokenType": "Certificate", "certificateData": base64.StdEncoding.EncodeToString(block.Bytes)})
	if meta["expiresAt"] != "2031-01-01T00:00:00.000Z" {
		t.Errorf("expiresAt is %v, want the certificate's end", meta["expiresAt"])
	}
}
