package app

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base32"
	"encoding/json"
	"encoding/pem"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// A devSample is a made-up token.
type devSample struct {
	service, what string
	data          map[string]any
}

// devSamples makes tokens of the kinds that people have. Nothing in them opens
// anything.
func devSamples(google string, key *rsa.PrivateKey) ([]devSample, error) {
	seed := make([]byte, 20)
	_, _ = rand.Read(seed)
	account, err := devServiceAccount(google, key)
	if err != nil {
		return nil, err
	}
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	block, err := ssh.MarshalPrivateKey(private, "sample")
	if err != nil {
		return nil, err
	}
	return []devSample{
		{"stripe", "API key", map[string]any{
			"tokenType": wire.TypePlainText, wire.FieldAccessToken: "sk_sample_" + rand.Text(), "displayName": "Stripe (sample)"}},
		{"github-2fa", "one-time code", map[string]any{
			"tokenType": wire.TypeTOTP, wire.FieldTOTPSecret: base32.StdEncoding.EncodeToString(seed), "displayName": "GitHub 2FA (sample)"}},
		{"calendar", "OAuth access token", map[string]any{
			"tokenType": wire.TypeOAuth, wire.FieldAccessToken: "ya29.sample-" + rand.Text(), wire.FieldRefreshToken: "1//sample-" + rand.Text(),
			"expiresAt": time.Now().Add(time.Hour).UTC().Format(time.RFC3339), "displayName": "Calendar (sample)"}},
		{"gcp", "minted from a key file", map[string]any{
			"tokenType": wire.TypeRawCredential, wire.FieldAccessToken: account, "displayName": "Google service account (sample)"}},
		{"deploy", "SSH key", map[string]any{
			"tokenType": wire.TypeSSHKey, wire.FieldSSHPrivateKey: string(pem.EncodeToMemory(block)), "displayName": "Deploy key (sample)"}},
	}, nil
}

const devServiceAccountEmail = "sample@sample-project.iam.gserviceaccount.com"

// devServiceAccount makes a key file like Google's, for the bundled endpoint.
func devServiceAccount(google string, key *rsa.PrivateKey) (string, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return "", err
	}
	text, err := json.Marshal(map[string]string{
		"type": "service_account", "project_id": "sample-project", "private_key_id": "sample",
		"client_email": devServiceAccountEmail, "client_id": "1",
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
		"token_uri":   google + "/token",
	})
	return string(text), err
}
