package app_test

import (
	"crypto/rand"
	"encoding/json"
	"net/http"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/tvzero/tokenvault/models/store/storetest"
	"github.com/tvzero/tokenvault/webhook-sdk/agent"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"

	"github.com/tvzero/tokenvault/server/internal/app/apptest"
)

type object = map[string]any

// keep stores a token in the owner's platform vault.
func keep(t *testing.T, o *apptest.Owner, service string, data object) {
	t.Helper()
	if answer := o.Do("POST", "/api/tokens", object{"serviceName": service, "tokenData": data}); answer.Status != http.StatusCreated {
		t.Fatalf("store %s: %s, want 201", service, answer)
	}
}

func apiKeyData(value string) object {
	return object{"tokenType": wire.TypePlainText, "accessToken": value}
}

// reveal is a token's accessToken as its owner sees it, or the status.
func reveal(t *testing.T, o *apptest.Owner, service string) (value string, status int) {
	t.Helper()
	answer := o.Do("GET", "/api/tokens/"+service+"?reveal=true", nil)
	var shown struct{ AccessToken string }
	if answer.Status == http.StatusOK {
		answer.Decode(t, &shown)
	}
	return shown.AccessToken, answer.Status
}

func wantRevealed(t *testing.T, o *apptest.Owner, service, want string) {
	t.Helper()
	if got, status := reveal(t, o, service); got != want {
		t.Errorf("%s shows %q with status %d, want %q", service, got, status, want)
	}
}

// another is a second session of the same person.
func (s *server) another(t *testing.T, o *apptest.Owner) *apptest.Owner {
	t.Helper()
	second := apptest.NewOwner(t, s.URL(), o.Email, newClient(t))
	second.Login()
	return second
}

var sixDigits = regexp.MustCompile(`^\d{6}$`)

// Platform mode's main job: without a webhook, the same agents and the same API.
func TestWithoutAWebhookAgentsGetWhatTheyWereGranted(t *testing.T) {
	t.Parallel()
	storetest.EachURL(t, func(t *testing.T, database string) {
		samples, endpoint := apptest.Samples(t)
		s := start(t, database, newKeys(t), func(c *setup) { c.GCPTokenHosts = []string{endpoint.Host} })
		owner := s.owner(t, "owner@example.com")
		id, key := owner.Agent("deployer")
		client, err := agent.New(s.URL(), key, agent.Options{Timeout: time.Minute, Transport: newClient(t).Transport})
		if err != nil {
			t.Fatal(err)
		}
		for _, sample := range samples {
			keep(t, owner, sample.Service, sample.Data)
			if _, err := client.Credential(t.Context(), sample.Service); !isCode(err, "NO_GRANT") {
				t.Errorf("%s before it is granted: %v, want NO_GRANT", sample.Service, err)
			}
			owner.Grant(id, sample.Service, 24)
			for range 2 {
				got, err := client.Credential(t.Context(), sample.Service)
				if err != nil {
					t.Fatalf("%s: %v", sample.Service, err)
				}
				switch sample.Service {
				case apptest.TOTP:
					if !sixDigits.MatchString(got.AccessToken()) || got.Field(wire.FieldTOTPSecret) != "" || got.Remaining() <= 0 {
						t.Errorf("a one-time code is %q with %s left, and its secret %q", got.AccessToken(), got.Remaining(), got.Field(wire.FieldTOTPSecret))
					}
				case apptest.ServiceAccount:
					if !slices.Contains(endpoint.Minted(), got.AccessToken()) {
						t.Error("the service account was not minted from")
					}
				default:
					for field, value := range sample.Data {
						if text, ok := value.(string); ok && wire.IsSensitive(field) && field != wire.FieldRefreshToken && got.Field(field) != text {
							t.Errorf("%s: %s is not what was stored", sample.Service, field)
						}
					}
				}
				if got.Field(wire.FieldRefreshToken) != "" {
					t.Errorf("%s: an agent got the refresh token", sample.Service)
				}
			}
		}
		var list []struct{ ServiceName, Trust, TokenType string }
		owner.Must("GET", "/api/tokens", nil, &list)
		for _, token := range list {
			if token.Trust != "sealed" {
				t.Errorf("%s is %q, want sealed", token.ServiceName, token.Trust)
			}
		}
		if len(list) != len(samples) {
			t.Errorf("%d tokens are listed, want %d", len(list), len(samples))
		}
		owner.Must("DELETE", "/api/agents/"+id+"/grants/"+apptest.APIKey, nil, nil)
		if _, err := client.Credential(t.Context(), apptest.APIKey); !isCode(err, "NO_GRANT") {
			t.Errorf("after the revocation: %v, want NO_GRANT", err)
		}
		owner.Must("POST", "/api/vault/lock", nil, nil)
		if _, err := client.Credential(t.Context(), apptest.OAuth); !isCode(err, "VAULT_LOCKED") {
			t.Errorf("while locked: %v, want VAULT_LOCKED", err)
		}
		if _, status := reveal(t, owner, apptest.APIKey); status != http.StatusLocked {
			t.Errorf("a reveal while locked: %d, want 423", status)
		}
	})
}

func isCode(err error, code string) bool {
	refused, ok := err.(*agent.Error) //nolint:errorlint // as it is returned
	return ok && refused.Code == code
}

// Each login has a vault of its own; linking brings two together, and revoking one
// leaves the other all.
func TestTwoSessionsLinkTheirVaults(t *testing.T) {
	t.Parallel()
	storetest.EachURL(t, func(t *testing.T, database string) {
		s := start(t, database, newKeys(t))
		first := s.owner(t, "owner@example.com")
		second := s.another(t, first)
		keep(t, first, "github", apiKeyData("of the first"))
		keep(t, second, "gitlab", apiKeyData("of the second"))
		keep(t, second, "github", apiKeyData("of the second, later"))
		if _, status := reveal(t, second, "gitlab"); status != http.StatusOK {
			t.Errorf("the second session cannot read its own: %d", status)
		}
		if _, status := reveal(t, first, "gitlab"); status != http.StatusNotFound {
			t.Errorf("the first session reads the second's vault: %d, want 404", status)
		}
		var escrow struct{ ID string }
		first.Must("POST", "/api/grants/"+s.grantOf(t, second)+"/share-vault", nil, &escrow)
		if answer := first.Do("POST", "/api/escrows/"+escrow.ID+"/accept", nil); answer.Status < 400 {
			t.Errorf("the initiator accepted its own offer: %s", answer)
		}
		second.Must("POST", "/api/escrows/"+escrow.ID+"/accept", nil, nil)
		for name, o := range map[string]*apptest.Owner{"first": first, "second": second} {
			t.Log(name)
			wantRevealed(t, o, "gitlab", "of the second")
			wantRevealed(t, o, "github", "of the second, later")
		}
		first.Must("DELETE", "/api/grants/"+s.grantOf(t, second), nil, nil)
		if _, status := reveal(t, second, "github"); status != http.StatusUnauthorized {
			t.Errorf("a revoked session: %d, want 401", status)
		}
		wantRevealed(t, first, "gitlab", "of the second")
	})
}

// grantOf is the id of a session's own grant.
func (s *server) grantOf(t *testing.T, o *apptest.Owner) string {
	t.Helper()
	var list struct {
		Items []struct {
			ID      string
			Current bool
		}
	}
	o.Must("GET", "/api/grants", nil, &list)
	for _, g := range list.Items {
		if g.Current {
			return g.ID
		}
	}
	t.Fatal("the list of grants has no current one")
	return ""
}

func TestAnAPIKeyOpensTheVaultOfTheSessionThatMadeItAndDoesWhatItsScopesSay(t *testing.T) {
	t.Parallel()
	storetest.EachURL(t, func(t *testing.T, database string) {
		s := start(t, database, newKeys(t))
		owner := s.owner(t, "owner@example.com")
		keep(t, owner, "github", apiKeyData("a secret"))
		var made struct{ ID, Key string }
		owner.Must("POST", "/api/keys", object{"name": "backup", "scopes": []string{"tokens:read"}}, &made)
		key := apptest.NewOwner(t, s.URL(), "", newClient(t))
		with := func(k string) []string { return []string{"Authorization", "Bearer " + k} }
		ask := func(k string) apptest.Answer {
			return key.Do("GET", "/api/tokens/github?reveal=true", nil, with(k)...)
		}
		var shown struct{ AccessToken string }
		if answer := ask(made.Key); answer.Status != http.StatusOK || json.Unmarshal(answer.Body, &shown) != nil || shown.AccessToken != "a secret" {
			t.Errorf("an API key reads %s", answer)
		}
		answer := key.Do("POST", "/api/tokens", object{"serviceName": "x", "tokenData": apiKeyData("y")}, with(made.Key)...)
		if !refusal(403, "SCOPE_DENIED")(answer) {
			t.Errorf("storing without the scope: %s, want 403 SCOPE_DENIED", answer)
		}
		var again struct{ ID, Key string }
		owner.Must("POST", "/api/keys/"+made.ID+"/rotate", nil, &again)
		if answer := ask(made.Key); !refusal(401, "INVALID_KEY")(answer) {
			t.Errorf("the key before the rotation: %s, want 401", answer)
		}
		if answer := ask(again.Key); answer.Status != http.StatusOK {
			t.Errorf("the key after the rotation: %s, want 200", answer)
		}
		owner.Must("POST", "/api/auth/logout", nil, nil)
		if answer := ask(again.Key); answer.Status != http.StatusOK {
			t.Errorf("the key after its session ended: %s, want 200: it is the way back in", answer)
		}
		keyed := key.Do("DELETE", "/api/keys/"+made.ID, nil, with(again.Key)...)
		if !refusal(403, "SCOPE_DENIED")(keyed) {
			t.Errorf("a key without grants:write revokes itself: %s, want 403", keyed)
		}
	})
}

// Two replicas: what is stored by one is released by the other, revocations
// included; and a server that lost its keys releases nothing.
func TestReplicasShareVaultsAndAServerWithoutItsKeysOpensNothing(t *testing.T) {
	t.Parallel()
	database := storetest.Blank(t, "postgres")
	keys := newKeys(t)
	one, two := start(t, database, keys), start(t, database, keys)
	owner := one.owner(t, "owner@example.com")
	value := rand.Text()
	keep(t, owner, "github", apiKeyData(value))
	id, key := owner.Agent("deployer")
	owner.Grant(id, "github", 0)
	for _, s := range []*server{one, two, one, two} {
		client, err := agent.New(s.URL(), key, agent.Options{Timeout: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := client.Credential(t.Context(), "github"); err != nil || got.AccessToken() != value {
			t.Errorf("at a replica: %v, want what was stored at the other", err)
		}
	}
	stranger := start(t, database, newKeys(t))
	client, err := agent.New(stranger.URL(), key, agent.Options{Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Credential(t.Context(), "github"); !isCode(err, "INVALID_KEY") {
		t.Errorf("at a server with other keys: %v, want INVALID_KEY", err)
	}
}
