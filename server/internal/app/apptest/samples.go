package apptest

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base32"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// A Secret is a part of a credential that must not leak, in one form in which it
// exists.
type Secret struct {
	Name    string // service and field
	Value   []byte
	Derived bool // not sent as it is, but hidden in what is sent
}

// A Sample is a credential as a client stores it.
type Sample struct {
	Service string
	Data    map[string]any
	Secrets []Secret
}

// Text is a field of the credential.
func (s Sample) Text(field string) string {
	text, _ := s.Data[field].(string)
	return text
}

// Names of the services of Samples.
const (
	APIKey         = "api-key"
	TOTP           = "two-factor"
	OAuth          = "calendar"
	JWT            = "id token"
	Certificate    = "client-certificate"
	SSHKey         = "deploy@host"
	ServiceAccount = "gcp.project"
)

// Samples makes a credential of every type, with a value in every sensitive
// field of the protocol, none of which was ever used before, and the token
// endpoint of its service account.
func Samples(t testing.TB) ([]Sample, *TokenEndpoint) {
	t.Helper()
	account, endpoint := serviceAccount(t)
	return []Sample{apiKey(), totpSecret(), oauth(), jsonWebToken(), certificate(t), sshKey(t), account}, endpoint
}

// sample notes each text as a secret under its field's name.
func sample(service, kind string, secrets map[string]string) Sample {
	s := Sample{Service: service, Data: map[string]any{"tokenType": kind, "displayName": "A " + kind}}
	for field, value := range secrets {
		s.Data[field] = value
		name := service + " " + field
		if strings.Contains(value, "-----BEGIN") {
			s.Secrets = append(s.Secrets, pemSecrets(name, value)...)
		} else {
			s.Secrets = append(s.Secrets, Secret{Name: name, Value: []byte(value)})
		}
	}
	return s
}

func apiKey() Sample {
	return sample(APIKey, wire.TypePlainText, map[string]string{wire.FieldAccessToken: "sk_live_" + rand.Text()})
}

func totpSecret() Sample {
	raw := make([]byte, 20)
	_, _ = rand.Read(raw)
	s := sample(TOTP, wire.TypeTOTP, map[string]string{wire.FieldTOTPSecret: base32.StdEncoding.EncodeToString(raw)})
	s.Secrets = append(s.Secrets, Secret{TOTP + " raw key", raw, true})
	return s
}

func oauth() Sample {
	s := sample(OAuth, wire.TypeOAuth, map[string]string{
		wire.FieldAccessToken: "ya29." + rand.Text(), wire.FieldRefreshToken: "1//" + rand.Text(), wire.FieldClientSecret: "GOCSPX-" + rand.Text(),
		wire.FieldPassword: "pw-" + rand.Text(), wire.FieldPassphrase: "phrase " + rand.Text(),
	})
	s.Data["expiresAt"] = time.Now().Add(2 * time.Hour).UTC().Format(time.RFC3339)
	return s
}

func jsonWebToken() Sample {
	part := func(v string) string { return base64.RawURLEncoding.EncodeToString([]byte(v)) }
	token := part(`{"alg":"HS256"}`) + "." + part(`{"sub":"`+rand.Text()+`"}`) + "." + part(rand.Text())
	s := sample(JWT, wire.TypeJWT, map[string]string{wire.FieldAccessToken: token})
	return s
}

// certificate is a leaf with its key, and its issuer as the chain.
func certificate(t testing.TB) Sample {
	t.Helper()
	issuerKey, issuer := issue(t, nil, nil)
	leafKey, leaf := issue(t, issuerKey, issuer)
	der, err := x509.MarshalPKCS8PrivateKey(leafKey)
	if err != nil {
		t.Fatal(err)
	}
	s := sample(Certificate, wire.TypeCertificate, map[string]string{
		wire.FieldCertificateData:  encode("CERTIFICATE", leaf.Raw),
		wire.FieldPrivateKeyData:   encode("PRIVATE KEY", der),
		wire.FieldCertificateChain: encode("CERTIFICATE", issuer.Raw),
	})
	s.Secrets = append(s.Secrets, Secret{Certificate + " private scalar", leafKey.D.FillBytes(make([]byte, 32)), true})
	return s
}

func issue(t testing.TB, by *ecdsa.PrivateKey, issuer *x509.Certificate) (*ecdsa.PrivateKey, *x509.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "cn-" + rand.Text()},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(90 * 24 * time.Hour), IsCA: by == nil, BasicConstraintsValid: true,
	}
	if by == nil {
		by, issuer = key, template
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, issuer, key.Public(), by)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(raw)
	if err != nil {
		t.Fatal(err)
	}
	return key, parsed
}

func sshKey(t testing.TB) Sample {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "deploy")
	if err != nil {
		t.Fatal(err)
	}
	s := sample(SSHKey, wire.TypeSSHKey, map[string]string{wire.FieldSSHPrivateKey: string(pem.EncodeToMemory(block))})
	s.Secrets = append(s.Secrets, Secret{SSHKey + " seed", private.Seed(), true})
	return s
}

// serviceAccount is a key file like Google's, with a token endpoint on loopback.
func serviceAccount(t testing.TB) (Sample, *TokenEndpoint) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	const email = "robot@project.iam.gserviceaccount.com"
	endpoint := startTokenEndpoint(t, email, &key.PublicKey)
	private := encode("PRIVATE KEY", der)
	id := "key-" + rand.Text()
	text, err := json.Marshal(map[string]string{
		"type": "service_account", "project_id": "project", "private_key_id": id, "client_email": email, "client_id": "1",
		"private_key": private, "token_uri": endpoint.URL,
	})
	if err != nil {
		t.Fatal(err)
	}
	s := Sample{Service: ServiceAccount, Data: map[string]any{
		"tokenType": wire.TypeRawCredential, wire.FieldAccessToken: string(text), "displayName": "A service account",
	}}
	s.Secrets = append(pemSecrets(ServiceAccount+" private_key", private), Secret{ServiceAccount + " private_key_id", []byte(id), false},
		Secret{ServiceAccount + " prime", key.Primes[0].Bytes(), true})
	return s, endpoint
}

func encode(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

// pemSecrets are a line of a PEM block's middle, as text and as the bytes that it
// stands for: the whole block is never on one line.
func pemSecrets(name, text string) []Secret {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	line := lines[len(lines)/2]
	raw, err := base64.StdEncoding.DecodeString(line)
	if err != nil {
		panic(err) // encoding/pem wrote it
	}
	return []Secret{{name + " (text)", []byte(line), false}, {name + " (bytes)", raw, true}}
}
