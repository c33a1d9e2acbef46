package config_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/tvzero/tokenvault/server/internal/config"
)

func TestProvidersComeFromVariablesAndTheList(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte("gh-secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f := flags(t)
	f.GoogleClientID, f.GoogleClientSecret = "g-id", "g-secret"
	f.GitHubClientID, f.GitHubClientSecretFile = "gh-id", file
	f.Auth0Domain, f.Auth0ClientID, f.Auth0ClientSecret, f.Auth0Audience = "tenant.eu.auth0.com", "a-id", "a-secret", "https://api.example.com"
	f.Providers = `[
		{"id": "okta", "name": "Okta", "issuer": "https://id.example.com/x", "clientId": "o", "clientSecret": "o-secret", "scopes": ["openid", "a:b/c"],
		 "tokenEndpointAuthMethod": "client_secret_post", "authorizationParams": {"prompt": "login"}, "defaultLifetimeSeconds": 3600, "allowedHosts": ["https://api.example.com"]},
		{"id": "pair", "authorizationUrl": "https://p.example.com/authorize?x=1", "tokenUrl": "https://p.example.com/token",
		 "revocationUrl": "https://p.example.com/revoke", "userInfoUrl": "https://p.example.com/me", "clientId": "p", "clientSecretFile": "` + file + `"},
		{"id": "public", "issuer": "https://public.example.com", "clientId": "x", "tokenEndpointAuthMethod": "none"}
	]`
	c, err := f.Check(makeKeys)
	if err != nil {
		t.Fatal(err)
	}
	want := []config.Provider{
		{ID: "google", ClientID: "g-id", ClientSecret: "g-secret"},
		{ID: "github", ClientID: "gh-id", ClientSecret: "gh-secret"},
		{
			ID: "auth0", Issuer: "https://tenant.eu.auth0.com/", ClientID: "a-id", ClientSecret: "a-secret",
			AuthorizationParams: map[string]string{"audience": "https://api.example.com"},
		},
		{
			ID: "okta", Name: "Okta", Issuer: "https://id.example.com/x", ClientID: "o", ClientSecret: "o-secret", Scopes: []string{"openid", "a:b/c"},
			AuthMethod: "client_secret_post", AuthorizationParams: map[string]string{"prompt": "login"}, DefaultLifetime: time.Hour,
			AllowedHosts: []string{"https://api.example.com"},
		},
		{
			ID: "pair", AuthorizationURL: "https://p.example.com/authorize?x=1", TokenURL: "https://p.example.com/token",
			RevocationURL: "https://p.example.com/revoke", UserInfoURL: "https://p.example.com/me", ClientID: "p", ClientSecret: "gh-secret",
		},
		{ID: "public", Issuer: "https://public.example.com", ClientID: "x", AuthMethod: "none"},
	}
	if len(c.Providers) != len(want) {
		t.Fatalf("got %d providers, want %d", len(c.Providers), len(want))
	}
	for i := range want {
		if !reflect.DeepEqual(c.Providers[i], want[i]) {
			t.Errorf("provider %d: got %+v (secret %q), want %+v", i, c.Providers[i], string(c.Providers[i].ClientSecret), want[i])
		}
	}
}

func TestWithoutSettingsThereIsNoProvider(t *testing.T) {
	t.Parallel()
	if c, err := flags(t).Check(makeKeys); err != nil || len(c.Providers) != 0 {
		t.Errorf("got %v, %v; want none", c.Providers, err)
	}
}

func TestAllProblemsOfProvidersAreReportedAtOnce(t *testing.T) {
	t.Parallel()
	f := flags(t)
	f.GoogleClientID = "g"
	f.GitHubClientSecret = "s3cr3t-a"
	f.Auth0ClientID, f.Auth0Domain, f.Auth0ClientSecret = "a", "https://tenant.auth0.com", "s3cr3t-b"
	f.Providers = `[
		{"id": "No Id", "clientId": "c", "issuer": "https://a.example"},
		{"id": "half", "clientId": "c", "tokenUrl": "https://a.example"},
		{"id": "plain", "clientId": "c", "issuer": "http://a.example"},
		{"id": "query", "clientId": "c", "issuer": "https://a.example?x=1"},
		{"id": "user", "clientId": "c", "authorizationUrl": "https://a.example", "tokenUrl": "https://u:s3cr3t-c@a.example"},
		{"id": "nobody", "issuer": "https://a.example"},
		{"id": "method", "clientId": "c", "issuer": "https://a.example", "tokenEndpointAuthMethod": "private_key_jwt"},
		{"id": "none", "clientId": "c", "issuer": "https://a.example", "tokenEndpointAuthMethod": "none", "clientSecret": "s3cr3t-d"},
		{"id": "keyless", "clientId": "c", "issuer": "https://a.example", "tokenEndpointAuthMethod": "client_secret_basic"},
		{"id": "scopes", "clientId": "c", "issuer": "https://a.example", "scopes": ["a b"]},
		{"id": "params", "clientId": "c", "issuer": "https://a.example", "authorizationParams": {"state": "x", "prompt": ""}},
		{"id": "hosts", "clientId": "c", "issuer": "https://a.example", "allowedHosts": ["api.example.com"]},
		{"id": "path", "clientId": "c", "issuer": "https://a.example", "allowedHosts": ["https://api.example.com/v1"]},
		{"id": "life", "clientId": "c", "issuer": "https://a.example", "defaultLifetimeSeconds": -1},
		{"id": "twice", "clientId": "c", "issuer": "https://a.example", "clientSecret": "s3cr3t-e", "clientSecretFile": "/nowhere"},
		{"id": "file", "clientId": "c", "issuer": "https://a.example", "clientSecretFile": "/nowhere"},
		{"id": "github", "clientId": "c"},
		{"id": "same", "clientId": "c", "issuer": "https://a.example"}, {"id": "same", "clientId": "c", "issuer": "https://a.example"}
	]`
	_, err := f.Check(makeKeys)
	if err == nil {
		t.Fatal("got no error")
	}
	said := err.Error()
	for _, want := range []string{
		"TOKENVAULT_GOOGLE_CLIENT_SECRET: required", "TOKENVAULT_GITHUB_CLIENT_ID: required", "TOKENVAULT_AUTH0_DOMAIN: want the tenant's domain",
		`("No Id"): id:`, `("half"): give an issuer`, `("plain"): issuer: must begin with https://`, `("query"): issuer: an issuer has no query`,
		`("user"): tokenUrl: must have neither`, `("nobody"): clientId:`, `("method"): tokenEndpointAuthMethod: want one of`,
		`("none"): tokenEndpointAuthMethod: none goes without`, `("keyless"): clientSecret: required`, `("scopes"): scopes: "a b"`,
		`("params"): authorizationParams: state is the server's`, `("params"): authorizationParams: "prompt"`, `("hosts"): allowedHosts: "api.example.com"`, `("path"): allowedHosts:`, `("life"): defaultLifetimeSeconds`,
		`("twice"): clientSecret: set either`, `("file"): clientSecret: the file cannot be read`, `("github"): clientSecret: github has no clients without one`,
		`entry 19: the id "same" stands twice`, `entry 17: the id "github" stands twice, or has variables of its own`,
	} {
		if !strings.Contains(said, want) {
			t.Errorf("the error does not say %q:\n%s", want, said)
		}
	}
	if strings.Contains(said, "s3cr3t") {
		t.Errorf("the error has a secret in it:\n%s", said)
	}
}

func TestAListThatIsNoneIsRefusedWithoutQuotingIt(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"an object":       `{"id": "s3cr3t"}`,
		"not JSON":        `[{"id": s3cr3t}]`,
		"a wrong type":    `[{"id": "a", "clientSecret": ["s3cr3t"]}]`,
		"a number":        `[{"id": "a", "defaultLifetimeSeconds": "s3cr3t"}]`,
		"unknown field":   `[{"id": "a", "tokenURI": "s3cr3t"}]`,
		"two lists":       `[] ["s3cr3t"]`,
		"too many":        "[" + strings.TrimSuffix(strings.Repeat("{},", 65), ",") + "]",
		"only half of it": `[{"clientSecret": "s3cr3t"`,
	} {
		f := flags(t)
		f.Providers = text
		_, err := f.Check(makeKeys)
		if err == nil || !strings.Contains(err.Error(), "TOKENVAULT_PROVIDERS: ") || strings.Contains(err.Error(), "s3cr3t") {
			t.Errorf("%s: got %v, want an error that names the variable and quotes no value", name, err)
		}
	}
}

func TestPlainHTTPProvidersNeedPrivateNetworks(t *testing.T) {
	t.Parallel()
	f := flags(t)
	f.Providers = `[{"id": "local", "clientId": "c", "issuer": "http://127.0.0.1:9000"}]`
	if _, err := f.Check(makeKeys); err == nil || !strings.Contains(err.Error(), "TOKENVAULT_ALLOW_PRIVATE_NETWORKS") {
		t.Errorf("without: got %v, want a refusal that names the switch", err)
	}
	f.AllowPrivateNetworks = true
	if c, err := f.Check(makeKeys); err != nil || len(c.Providers) != 1 {
		t.Errorf("with: got %v, %v; want the provider", c.Providers, err)
	}
}

func TestASecretPrintsNowhere(t *testing.T) {
	t.Parallel()
	p := config.Provider{ID: "x", ClientSecret: "s3cr3t"}
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "p", p, "s", p.ClientSecret)
	for _, text := range []string{fmt.Sprintf("%v %+v %#v %s", p, p, p, p), fmt.Sprintf("%x %q %d", p.ClientSecret, p.ClientSecret, p.ClientSecret), log.String()} {
		if strings.Contains(text, "s3cr3t") || strings.Contains(text, fmt.Sprintf("%x", "s3cr3t")) || !strings.Contains(text, "[redacted]") {
			t.Errorf("it prints as %s", text)
		}
	}
	if out, err := json.Marshal(p); err == nil {
		t.Errorf("it marshals as %s", out)
	}
}

func FuzzProviders(f *testing.F) {
	f.Add(`[{"id": "okta", "issuer": "https://id.example.com", "clientId": "o", "scopes": ["openid"]}]`, false)
	f.Add(`[{"id": "p", "authorizationUrl": "http://a/b?c", "tokenUrl": "http://a", "clientId": "\u0000", "authorizationParams": {"a": "b"}}]`, true)
	f.Fuzz(func(t *testing.T, text string, plain bool) {
		c, err := config.Flags{
			Listen: "127.0.0.1:8000", PublicURL: "http://127.0.0.1:8000", Registration: "closed", DatabaseURL: "postgres://x", ServerKeys: "0:x",
			Providers: text, AllowPrivateNetworks: plain,
		}.Check(makeKeys)
		if err != nil {
			return
		}
		for _, p := range c.Providers {
			if p.ID == "" || p.ClientID == "" || !plain && strings.Contains(p.Issuer+p.TokenURL+p.AuthorizationURL, "http:") && !strings.Contains(p.Issuer+p.TokenURL+p.AuthorizationURL, "https:") {
				t.Errorf("%q was accepted: %+v", text, p)
			}
		}
	})
}
