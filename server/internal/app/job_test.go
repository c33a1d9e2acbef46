package app_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tvzero/tokenvault/models/store/storetest"
	"github.com/tvzero/tokenvault/totp"
	"github.com/tvzero/tokenvault/webhook-sdk/agent"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"

	"github.com/tvzero/tokenvault/server/internal/app/apptest"
)

// The main job: what a customer, an owner and an agent do, one thing after the
// other, on each database.
func TestTheMainJobFromRegistrationToUnbinding(t *testing.T) {
	t.Parallel()
	storetest.EachURL(t, func(t *testing.T, database string) {
		samples, endpoint := apptest.Samples(t)
		s, wh := start(t, database, newKeys(t)), startWebhook(t, endpoint)
		owner := s.owner(t, "owner@example.com")
		owner.Bind(wh.URL, adminSecret)
		for _, sample := range samples {
			owner.Store(sample.Service, sample.Data)
		}
		wantListed(t, owner, samples)

		id, key := owner.Agent("deployer")
		for i, sample := range samples {
			owner.Grant(id, sample.Service, []int{1, 720, 0}[i%3])
		}
		client := newAgent(t, s.URL(), key)
		for _, sample := range samples {
			got, err := client.Credential(t.Context(), sample.Service)
			if err != nil {
				t.Fatalf("fetch %s: %v", sample.Service, err)
			}
			wantCredential(t, sample, got, endpoint)
		}
		wantReleases(t, owner, id, samples)
		wantGrants(t, client, samples)

		owner.Must(http.MethodPost, "/api/vault/lock", nil, nil)
		wantRefused(t, client, apptest.APIKey, http.StatusLocked, "VAULT_LOCKED")
		owner.Must(http.MethodPost, "/api/vault/lock/clear", nil, nil)
		wantFetched(t, client, samples[0])

		owner.Must(http.MethodDelete, "/api/agents/"+id+"/grants/"+apptest.OAuth, nil, nil)
		wantRefused(t, client, apptest.OAuth, http.StatusForbidden, "NO_GRANT")

		var rotated struct{ APIKey string }
		owner.Must(http.MethodPost, "/api/agents/"+id+"/rotate-key", nil, &rotated)
		wantRefused(t, client, apptest.APIKey, http.StatusUnauthorized, "INVALID_KEY")
		client = newAgent(t, s.URL(), rotated.APIKey)
		wantFetched(t, client, samples[0])

		owner.Must(http.MethodDelete, "/api/tokens/"+apptest.APIKey, nil, nil)
		wantRefused(t, client, apptest.APIKey, http.StatusNotFound, "TOKEN_NOT_FOUND")
		if n := wh.Storage.Count(wire.CollectionTokens); n != len(samples)-1 {
			t.Errorf("the webhook holds %d tokens after one of %d was deleted", n, len(samples))
		}

		owner.Must(http.MethodDelete, "/api/vault/webhook", nil, nil)
		wantRefused(t, client, apptest.SSHKey, http.StatusConflict, "WEBHOOK_NOT_CONFIGURED")
		var status struct{ VaultMode string }
		owner.Must(http.MethodGet, "/api/vault/status", nil, &status)
		if status.VaultMode != "platform" {
			t.Errorf("after unbinding the vault mode is %q, want platform", status.VaultMode)
		}
		owner.Must(http.MethodPost, "/api/auth/logout", nil, nil)
		if answer := owner.Do(http.MethodGet, "/api/vault/status", nil); answer.Status != http.StatusUnauthorized {
			t.Errorf("after signing out the session is answered %s, want 401", answer)
		}
		for _, sample := range samples {
			for _, secret := range sample.Secrets {
				if strings.Contains(s.log.String(), string(secret.Value)) {
					t.Errorf("the log holds %s", secret.Name)
				}
			}
		}
	})
}

// newAgent is an agent's client; what the server answers it is held against
// docs/openapi.yaml, too.
func newAgent(t testing.TB, server, key string) *agent.Client {
	t.Helper()
	c, err := agent.New(server, key, agent.Options{Timeout: time.Minute, Transport: newClient(t).Transport})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// wantListed holds the server's list of tokens against what was stored.
func wantListed(t *testing.T, owner *apptest.Owner, samples []apptest.Sample) {
	t.Helper()
	var listed []struct {
		ServiceName, TokenType, DisplayName, Trust                               string
		HasRefreshToken, HasCertificate, HasPrivateKey, HasSSHKey, HasTOTPSecret bool
	}
	owner.Must(http.MethodGet, "/api/tokens", nil, &listed)
	if len(listed) != len(samples) {
		t.Fatalf("%d tokens are listed, want %d", len(listed), len(samples))
	}
	for _, sample := range samples {
		found := false
		for _, got := range listed {
			if got.ServiceName != sample.Service {
				continue
			}
			found = true
			if got.TokenType != sample.Text("tokenType") || got.DisplayName != sample.Text("displayName") || got.Trust != "tv-zero" {
				t.Errorf("%s is listed as %+v, want type %s, its display name and tv-zero", sample.Service, got, sample.Text("tokenType"))
			}
			for field, has := range map[string]bool{
				wire.FieldRefreshToken: got.HasRefreshToken, wire.FieldCertificateData: got.HasCertificate, wire.FieldPrivateKeyData: got.HasPrivateKey,
				wire.FieldSSHPrivateKey: got.HasSSHKey, wire.FieldTOTPSecret: got.HasTOTPSecret,
			} {
				if has != (sample.Text(field) != "") {
					t.Errorf("%s is listed with %s: %t, but was stored with %t", sample.Service, field, has, !has)
				}
			}
		}
		if !found {
			t.Errorf("%s is not listed", sample.Service)
		}
	}
}

// wantCredential compares what an agent got with what was stored.
func wantCredential(t *testing.T, sample apptest.Sample, got agent.Credential, endpoint *apptest.TokenEndpoint) {
	t.Helper()
	switch sample.Service {
	case apptest.TOTP:
		key, err := totp.ParseSecret(sample.Text(wire.FieldTOTPSecret))
		if err != nil {
			t.Fatal(err)
		}
		if !key.Verify(got.AccessToken(), time.Now(), 2) || got.Remaining() <= 0 || got.Remaining() > 30*time.Second {
			t.Errorf("the agent got a code of %d digits that does not verify, or one with %s left; want a current code", len(got.AccessToken()), got.Remaining())
		}
		if got.Field(wire.FieldTOTPSecret) != "" {
			t.Error("the agent got the TOTP secret, want the code alone")
		}
	case apptest.ServiceAccount:
		minted := endpoint.Minted()
		if len(minted) == 0 || got.AccessToken() != minted[len(minted)-1] {
			t.Errorf("the agent did not get the token that the endpoint minted (%d were)", len(minted))
		}
		if ends, ok := got.ExpiresAt(); !ok || time.Until(ends) > time.Hour {
			t.Errorf("the minted token ends at %v (%t), want within the hour", ends, ok)
		}
	default:
		for _, field := range wire.SensitiveFields() {
			want := sample.Text(field)
			if field == wire.FieldRefreshToken {
				want = "" // for the owner alone
			}
			if got.Field(field) != want {
				t.Errorf("%s: the agent's %s has %d bytes, want the %d that were stored", sample.Service, field, len(got.Field(field)), len(want))
			}
		}
	}
}

// wantReleases finds each release in the record, with agent and address.
func wantReleases(t *testing.T, owner *apptest.Owner, agentID string, samples []apptest.Sample) {
	t.Helper()
	for _, sample := range samples {
		var log struct {
			Events []struct{ EventType, Source, Outcome, ServiceName, AgentID, Address string }
		}
		owner.Must(http.MethodGet, "/api/tokens/audit-log?eventType=release&serviceName="+strings.ReplaceAll(sample.Service, " ", "%20"), nil, &log)
		if len(log.Events) != 1 {
			t.Errorf("%s has %d releases on record, want 1", sample.Service, len(log.Events))
			continue
		}
		if e := log.Events[0]; e.AgentID != agentID || e.Outcome != "ok" || e.Source != "agent" || e.Address != "127.0.0.1" {
			t.Errorf("the release of %s is on record as %+v; want agent %s, ok, from 127.0.0.1", sample.Service, e, agentID)
		}
	}
}

// wantGrants holds the agent's own list against what was granted, a third of it
// without an end.
func wantGrants(t *testing.T, client *agent.Client, samples []apptest.Sample) {
	t.Helper()
	list, err := client.Grants(t.Context())
	if err != nil || len(list) != len(samples) {
		t.Fatalf("the agent sees %d grants (%v), want %d", len(list), err, len(samples))
	}
	endless := 0
	for _, g := range list {
		if g.GrantExpiresAt == nil {
			endless++
		} else if left := time.Until(*g.GrantExpiresAt); left < 50*time.Minute || left > 720*time.Hour {
			t.Errorf("the grant of %s ends in %s, want an hour or 30 days", g.ServiceName, left)
		}
	}
	if want := len(samples) / 3; endless != want {
		t.Errorf("%d grants have no end, want %d", endless, want)
	}
}

func wantFetched(t *testing.T, client *agent.Client, sample apptest.Sample) {
	t.Helper()
	got, err := client.Credential(t.Context(), sample.Service)
	if err != nil || got.AccessToken() != sample.Text(wire.FieldAccessToken) {
		t.Errorf("fetching %s: error %v, or another value than was stored", sample.Service, err)
	}
}

func wantRefused(t *testing.T, client *agent.Client, service string, status int, code string) {
	t.Helper()
	_, err := client.Credential(t.Context(), service)
	var refused *agent.Error
	if !errors.As(err, &refused) || refused.Status != status || refused.Code != code {
		t.Errorf("fetching %s: %v, want %d %s", service, err, status, code)
	}
}
