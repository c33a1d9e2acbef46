package webhook_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/tvzero/tokenvault/refresh"
	webhook "github.com/tvzero/tokenvault/webhook-sdk"
	"github.com/tvzero/tokenvault/webhook-sdk/custody"
	"github.com/tvzero/tokenvault/webhook-sdk/mint"
	"github.com/tvzero/tokenvault/webhook-sdk/storage"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// A webhook under a path of a server that has TLS and other handlers of its own.
func Example() {
	dir, err := os.MkdirTemp("", "webhook")
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	keys, err := custody.LoadOrCreate(filepath.Join(dir, "keys.json"), rand.Reader)
	if err != nil {
		log.Fatal(err)
	}
	files, err := storage.OpenFile(filepath.Join(dir, "data"), storage.FileOptions{})
	if err != nil {
		log.Fatal(err)
	}
	defer files.Close()

	mux := http.NewServeMux()
	server := httptest.NewTLSServer(mux) // yours: webhook.Server(":443", mux).ListenAndServeTLS(…)
	defer server.Close()
	wh, err := webhook.New(webhook.Config{
		Keys:          keys,
		Storage:       files,
		ExternalURL:   server.URL + "/vault",
		TokenVaultURL: "https://tokenvault.example.com",
		AdminSecret:   "from a secret store of yours",
	})
	if err != nil {
		log.Fatal(err)
	}
	defer wh.Close()
	mux.Handle("/vault/", http.StripPrefix("/vault", wh))

	answer, err := server.Client().Get(server.URL + "/vault" + wire.PathHealth)
	if err != nil {
		log.Fatal(err)
	}
	defer answer.Body.Close()
	fmt.Println(answer.Status)
	// Output: 200 OK
}

// stationKey mints tokens from keys of a weather service that issues them itself.
type stationKey struct{}

func (stationKey) Kind() string { return "weather-station" }

func (stationKey) Recognizes(raw []byte) bool { return strings.HasPrefix(string(raw), "station:") }

func (stationKey) Mint(ctx context.Context, r mint.Request) (mint.Token, error) {
	// r.Client is the one to make calls with: it refuses private addresses, limits
	// time and size, and follows no redirect. This service needs no call.
	station := strings.TrimPrefix(string(r.Raw), "station:")
	if station == "" {
		return mint.Token{}, &mint.Error{Kind: "weather-station", Code: wire.CodeMintFailed, Problem: "the key names no station"}
	}
	return mint.Token{AccessToken: "for one hour", TokenType: "Bearer", ExpiresAt: r.Now.Add(time.Hour)}, nil
}

// A minter of one's own, beside those that come with the SDK. The raw credential
// never leaves the webhook: agents get what Mint returns.
func ExampleConfig_minters() {
	minters := append(mint.Default(), stationKey{})
	minter, found := minters.Find([]byte("station:oslo"))
	fmt.Println(found, minter.Kind())
	token, err := minter.Mint(context.Background(), mint.Request{Raw: []byte("station:oslo"), Now: time.Unix(0, 0).UTC()})
	fmt.Println(token, err)
	_ = webhook.Config{Minters: minters}
	// Output:
	// true weather-station
	// mint.Token{Bearer, [redacted], expires 1970-01-01T01:00:00Z} <nil>
}

// A webhook that is a client of two providers: it keeps their access tokens fresh and
// connects accounts there, with client secrets that Token Vault does not have.
func ExampleProvider() {
	config := webhook.Config{
		ExternalURL: "https://example.com/vault",
		Providers: []webhook.Provider{
			{
				// Google says where its endpoints are. Register
				// https://example.com/vault/connect/google/callback there.
				Provider: refresh.Provider{
					ID: "google", Issuer: "https://accounts.google.com",
					ClientID: "1234.apps.googleusercontent.com", ClientSecret: "from a secret store of yours",
					Scopes:              []string{"openid", "email"},
					AuthorizationParams: map[string]string{"access_type": "offline", "prompt": "consent"},
				},
				Name: "Google", AllowedHosts: []string{"https://www.googleapis.com"},
			},
			{
				Provider: refresh.Provider{
					ID:               "github",
					AuthorizationURL: "https://github.com/login/oauth/authorize",
					TokenURL:         "https://github.com/login/oauth/access_token",
					UserInfoURL:      "https://api.github.com/user",
					ClientID:         "Iv1.0123456789abcdef", ClientSecret: "from a secret store of yours",
				},
				Name: "GitHub", AllowedHosts: []string{"https://api.github.com"},
			},
		},
	}
	fmt.Println(config.Validate())
	fmt.Println(config.Providers[0].ClientSecret)
	// Output:
	// <nil>
	// [redacted]
}
