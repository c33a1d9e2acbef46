package main

import (
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tvzero/tokenvault/refresh"
	"github.com/tvzero/tokenvault/refresh/refreshtest"
	"github.com/tvzero/tokenvault/webhook-sdk/webhooktest"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// An operator configures a provider with its secret in a file; an account is connected
// there with a browser, refreshed, and still there after a restart.
func TestAConfiguredProviderConnectsAndRefreshes(t *testing.T) {
	t.Parallel()
	provider := refreshtest.StartProvider(t, nil)
	folder := t.TempDir()
	data, secretFile, listFile := filepath.Join(folder, "data"), filepath.Join(folder, "secret"), filepath.Join(folder, "providers.json")
	list := fmt.Sprintf(`[{"id":"example","name":"Example","issuer":%q,"clientId":%q,"clientSecretFile":%q,"scopes":["repo"],"allowedHosts":["api.example.com"]}]`,
		provider.Issuer(), refreshtest.ClientID, secretFile)
	for path, text := range map[string]string{secretFile: string(refreshtest.ClientSecret) + "\n", listFile: list} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	env := []string{"TV_WEBHOOK_OAUTH_PROVIDERS_FILE=" + listFile, "TV_WEBHOOK_ALLOW_PRIVATE_NETWORKS=true", "TV_WEBHOOK_TV_REFRESH=true"}
	p := start(t, data, env...)
	tv := webhooktest.NewTV(t, p.url)
	tv.Bind()
	var health wire.HealthResponse
	tv.Health().Decode(t, &health)
	for _, want := range []string{wire.CapRefresh, wire.CapConnect, wire.CapTVRefresh, wire.CapOutbox} {
		if !strings.Contains(strings.Join(health.Capabilities, " ")+" ", want+" ") {
			t.Errorf("capabilities are %q, want %s among them", health.Capabilities, want)
		}
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := (&http.Client{Jar: jar}).Get(tv.ConnectURL("example", tv.Ticket(wire.PurposeConnect, "mine")))
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	if answer.StatusCode != http.StatusOK || answer.Request.URL.Path != "/connect/example/done" {
		t.Fatalf("connecting ended with %d at %s, want 200 at the last page", answer.StatusCode, answer.Request.URL.Path)
	}
	old := provider.Issue("repo")
	tv.Store("pasted", map[string]any{
		"tokenType": "OAuth", "provider": "example", "accessToken": string(old.AccessToken), "refreshToken": string(old.RefreshToken),
		"expiresAt": time.Now().Add(-time.Minute).UTC().Format(time.RFC3339),
	})
	if got := tv.RefreshNotify("pasted"); got.Status != "refreshed" || provider.Calls() != 1 {
		t.Errorf("a notification: %+v after %d calls, want refreshed after 1", got, provider.Calls())
	}
	if err := p.end(syscall.SIGTERM); err != nil {
		t.Errorf("the process ended with %v\n%s", err, p.stderr.String())
	}
	if log := p.stderr.String(); strings.Contains(log, "canary") || !strings.Contains(log, "Token Vault may get refresh tokens") {
		t.Errorf("the log holds a secret, or does not warn of tv-refresh: %s", log)
	}
	tv.URL = start(t, data, env...).url
	for _, service := range []string{"mine", "pasted"} {
		if got, _ := tv.AgentCredential(service)["accessToken"].(string); !provider.Newest(refresh.Secret(got)) || provider.Reused() != 0 {
			t.Errorf("after a restart the agent does not get the newest access token of %s", service)
		}
	}
}
