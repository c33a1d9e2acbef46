package webhooktest_test

import (
	"net/http"
	"testing"

	"github.com/tvzero/tokenvault/webhook-sdk/webhooktest"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

func TestAStoredCredentialReachesTheAgent(t *testing.T) {
	t.Parallel()
	_, tv := webhooktest.New(t)
	meta := tv.Store("github", map[string]any{"tokenType": "PlainText", "accessToken": "ghp_canary", "displayName": "GitHub"})
	if meta["serviceName"] != "github" || meta["displayName"] != "GitHub" {
		t.Errorf("metadata is %v, want serviceName github and displayName GitHub", meta)
	}
	if got := tv.AgentCredential("github")["accessToken"]; got != "ghp_canary" {
		t.Errorf("the agent got %v, want ghp_canary", got)
	}
}

func TestAWebhookStartedAgainStillKnowsItsTokensAndItsTV(t *testing.T) {
	t.Parallel()
	first, tv := webhooktest.New(t)
	tv.Store("github", map[string]any{"tokenType": "PlainText", "accessToken": "ghp_canary"})
	first.Stop()
	second := webhooktest.Start(t, first.Dir)
	tv.URL = second.URL
	if got := tv.Reveal("github")["accessToken"]; got != "ghp_canary" {
		t.Errorf("after a restart the owner got %v, want ghp_canary", got)
	}
}

func TestATVWithAnotherSecretIsRefused(t *testing.T) {
	t.Parallel()
	_, tv := webhooktest.New(t)
	secret, err := wire.NewSecret(make([]byte, wire.SecretSize))
	if err != nil {
		t.Fatal(err)
	}
	tv.Secret = secret
	if got := tv.Health(); got.Status != http.StatusUnauthorized || got.Code != wire.CodeAuthFailed {
		t.Errorf("a wrong secret was answered %d %s, want 401 auth_failed", got.Status, got.Code)
	}
}
