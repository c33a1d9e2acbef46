package mint

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const typeServiceAccount = "service_account"

// Limits of a service account's key file.
const (
	maxServiceAccount = 32 << 10 // bytes
	maxAccountField   = 512      // bytes; all fields but the private key
	minKeyBits        = 2048
	maxKeyBits        = 8192
)

// An assertion is valid for the hour that is the most Google accepts, counted from
// a little earlier, since this machine's clock may be ahead of Google's.
const (
	assertionLife = time.Hour
	assertionSkew = 10 * time.Second
)

// serviceAccount is what of a key file is used.
type serviceAccount struct {
	Type         string `json:"type"`
	ProjectID    string `json:"project_id"`
	ClientEmail  string `json:"client_email"`
	PrivateKeyID string `json:"private_key_id"`
	PrivateKey   string `json:"private_key"` // PEM
	TokenURI     string `json:"token_uri"`

	key *rsa.PrivateKey
}

// decodeServiceAccount reads the JSON and checks nothing of it.
func decodeServiceAccount(raw []byte) (serviceAccount, error) {
	var a serviceAccount
	if len(raw) > maxServiceAccount {
		return a, errors.New("the service account's key file is too large")
	}
	if err := json.Unmarshal(raw, &a); err != nil {
		return serviceAccount{}, errors.New("the service account's key file is not JSON of the expected form")
	}
	return a, nil
}

// parseServiceAccount reads and validates a key file. Errors name the field and do
// not quote it.
func parseServiceAccount(raw []byte) (serviceAccount, error) {
	a, err := decodeServiceAccount(raw)
	if err != nil {
		return a, err
	}
	if a.Type != typeServiceAccount {
		return serviceAccount{}, errors.New("type is not service_account")
	}
	for _, field := range []struct{ name, value string }{
		{"client_email", a.ClientEmail}, {"private_key_id", a.PrivateKeyID},
		{"token_uri", a.TokenURI}, {"project_id", a.ProjectID},
	} {
		if len(field.value) > maxAccountField || strings.ContainsFunc(field.value, notVisible) {
			return serviceAccount{}, errors.New(field.name + " is too long or has characters that it cannot have")
		}
		if field.value == "" && field.name != "project_id" {
			return serviceAccount{}, errors.New(field.name + " is missing")
		}
	}
	if a.key, err = parseRSAKey(a.PrivateKey); err != nil {
		return serviceAccount{}, err
	}
	return a, nil
}

// parseRSAKey reads one RSA private key in PEM, PKCS #8 or PKCS #1.
func parseRSAKey(text string) (*rsa.PrivateKey, error) {
	if text == "" {
		return nil, errors.New("private_key is missing")
	}
	block, rest := pem.Decode([]byte(text))
	if block == nil || strings.TrimSpace(string(rest)) != "" {
		return nil, errors.New("private_key is not one block of PEM")
	}
	var (
		parsed any
		err    error
	)
	switch block.Type {
	case "PRIVATE KEY":
		parsed, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		parsed, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	default:
		return nil, errors.New("private_key is neither PKCS #8 nor PKCS #1, unencrypted")
	}
	if err != nil {
		return nil, errors.New("private_key cannot be read")
	}
	key, ok := parsed.(*rsa.PrivateKey)
	if !ok {
		return nil, errors.New("private_key is not an RSA key")
	}
	if bits := key.N.BitLen(); bits < minKeyBits || bits > maxKeyBits {
		return nil, errors.New("private_key is shorter than 2048 or longer than 8192 bits")
	}
	return key, nil
}

// assertion signs the JWT of RFC 7523 §3 that asks for the scopes.
func (a serviceAccount) assertion(scopes []string, now time.Time) (string, error) {
	issued := now.Add(-assertionSkew)
	token := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.MapClaims{
		"iss":   a.ClientEmail,
		"aud":   a.TokenURI,
		"scope": strings.Join(scopes, " "),
		"iat":   issued.Unix(),
		"exp":   issued.Add(assertionLife).Unix(),
	})
	token.Header["kid"] = a.PrivateKeyID
	text, err := token.SignedString(a.key)
	if err != nil {
		return "", errors.New("the assertion could not be signed with private_key")
	}
	return text, nil
}
