package browser_test

import (
	"maps"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/tvzero/tokenvault/webhook-sdk/wire"

	"github.com/tvzero/tokenvault/server/internal/app/apptest"
	"github.com/tvzero/tokenvault/server/internal/browsertest"
)

// A scene is a world with believable things in it, so that no page is empty.
type scene struct {
	*browsertest.World
	t       *testing.T
	second  *apptest.Owner // another session of the owner's; nil in webhook mode
	offered string         // the id of the second session's offer of its vault
	agents  []string       // ids: in use, suspended
	keys    []string       // of the agents
	texts   texts
}

// texts are what people, agents and webhooks call things.
type texts struct {
	Person, Agent, AgentNote, Label, Key string
	Display, Notes                       string // of a token
	Tags                                 []string
	UserAgent                            string // of an agent's program
}

var believable = texts{
	Person: "Ada Lovelace", Agent: "release-bot", AgentNote: "Tags releases and uploads what the build made.", Label: "Laptop, Firefox",
	Key: "Nightly backup", Display: "GitHub, release bot", Notes: "Fine-grained, repository token-vault alone. Rotated each quarter.",
	Tags: []string{"ci", "production"}, UserAgent: "release-bot/2.1 (python-requests/2.32)",
}

// service returns the sample of a type under a name that a person would give it.
func (s *scene) service(sample, name string, more map[string]any) (string, map[string]any) {
	s.t.Helper()
	for _, one := range s.Samples {
		if one.Service == sample {
			data := maps.Clone(one.Data)
			maps.Copy(data, more)
			return name, data
		}
	}
	s.t.Fatalf("there is no sample %q", sample)
	return "", nil
}

// credentials calls put with one credential of every type.
func (s *scene) credentials(put func(service string, data map[string]any)) {
	in := func(d time.Duration) string { return time.Now().Add(d).UTC().Format(time.RFC3339) }
	put(s.service(apptest.APIKey, "github", map[string]any{"displayName": s.texts.Display, "notes": s.texts.Notes, "tags": s.texts.Tags}))
	put(s.service(apptest.APIKey, "stripe", map[string]any{"displayName": "Stripe, restricted key", "tags": []string{"payments"}}))
	put(s.service(apptest.TOTP, "aws-root-2fa", map[string]any{"displayName": "AWS root account"}))
	put(s.service(apptest.OAuth, "google-calendar", map[string]any{"displayName": "Calendar of the team", "expiresAt": in(26 * time.Minute)}))
	put(s.service(apptest.OAuth, "jira", map[string]any{"displayName": "Jira", "expiresAt": in(-3 * time.Hour), "refreshToken": ""}))
	put(s.service(apptest.JWT, "grafana", map[string]any{"displayName": "Grafana, service account"}))
	put(s.service(apptest.Certificate, "mtls-gateway", map[string]any{"displayName": "Payment gateway, mutual TLS"}))
	put(s.service(apptest.SSHKey, "deploy@web-1", map[string]any{"displayName": "Deployment to web-1"}))
	put(s.service(apptest.ServiceAccount, "gcp.billing", map[string]any{"displayName": "Billing export"}))
}

// people makes agents, of which one is suspended, and has the other fetch and be
// refused.
func (s *scene) people() {
	s.t.Helper()
	for _, agent := range []struct{ name, description string }{{s.texts.Agent, s.texts.AgentNote}, {"old-importer", ""}} {
		var made struct{ ID, APIKey string }
		s.Owner.Must(http.MethodPost, "/api/agents", map[string]string{"name": agent.name, "description": agent.description}, &made)
		s.agents, s.keys = append(s.agents, made.ID), append(s.keys, made.APIKey)
	}
	s.Owner.Grant(s.agents[0], "github", 0)
	s.Owner.Grant(s.agents[0], "aws-root-2fa", 12)
	s.Owner.Grant(s.agents[1], "stripe", 0)
	for _, service := range []string{"github", "github", "aws-root-2fa", "stripe"} {
		s.fetch(0, service)
	}
	s.Owner.Must(http.MethodPatch, "/api/agents/"+s.agents[1], map[string]string{"status": "suspended"}, nil)
	s.fetch(1, "stripe")
}

// fetch asks for a credential as an agent does, up to the webhook.
func (s *scene) fetch(agent int, service string) apptest.Answer {
	s.t.Helper()
	answer, err := apptest.Call(s.t.Context(), s.Owner.Client, http.MethodGet, s.URL+"/api/agents/credentials?service="+url.QueryEscape(service), nil,
		"Authorization", "Bearer "+s.keys[agent], "User-Agent", s.texts.UserAgent)
	if err != nil {
		s.t.Fatalf("fetch %s: %v", service, err)
	}
	return answer
}

// register makes the owner's account, with a name.
func (s *scene) register() {
	s.t.Helper()
	answer := s.Owner.Do(http.MethodPost, "/api/auth/register", map[string]string{"email": s.Owner.Email, "password": apptest.Password, "displayName": s.texts.Person})
	if answer.Status != http.StatusCreated {
		s.t.Fatalf("register: %s", answer)
	}
	s.Owner.Login()
}

// sealedScene is platform mode: two sessions, of which each offers its vault to the
// other, API keys, and a token that linking put aside.
func sealedScene(t *testing.T, w *browsertest.World, called texts) *scene {
	t.Helper()
	s := &scene{World: w, t: t, texts: called}
	s.register()
	keep := func(owner *apptest.Owner) func(service string, data map[string]any) {
		return func(service string, data map[string]any) {
			t.Helper()
			owner.Must(http.MethodPost, "/api/tokens", map[string]any{"serviceName": service, "tokenData": data}, nil)
		}
	}
	s.credentials(keep(s.Owner))

	linked := s.Owner.In(t, w.URL)
	linked.Login()
	name, data := s.service(apptest.APIKey, "github", map[string]any{"displayName": "GitHub, of the other laptop", "notes": s.texts.Notes, "tags": s.texts.Tags})
	keep(linked)(name, data)
	escrow := offer(t, s.Owner, linked)
	linked.Must(http.MethodPost, "/api/escrows/"+escrow+"/accept", nil, nil)

	s.second = s.Owner.In(t, w.URL)
	s.second.Login()
	s.second.Must(http.MethodPatch, "/api/grants/"+grantOf(t, s.second), map[string]string{"label": s.texts.Label}, nil)
	keep(s.second)(name, data)
	s.Owner.Must(http.MethodPost, "/api/keys", map[string]any{"name": s.texts.Key, "scopes": []string{"tokens:read", "audit:read"}}, nil)
	s.people()
	s.offered = offer(t, s.second, s.Owner)
	return s
}

// boundScene is webhook mode; one credential waits to be moved.
func boundScene(t *testing.T, w *browsertest.World, called texts) *scene {
	t.Helper()
	s := &scene{World: w, t: t, texts: called}
	s.register()
	s.Owner.Must(http.MethodPost, "/api/tokens", map[string]any{"serviceName": "weather", "tokenData": map[string]any{
		"tokenType": wire.TypePlainText, "accessToken": "wx-4711", "displayName": "Weather",
	}}, nil)
	s.Owner.Bind(w.Webhook.URL, browsertest.AdminSecret)
	s.credentials(s.Owner.Store)
	s.people()
	s.Owner.Must(http.MethodPost, "/api/vault/webhook/check", nil, nil)
	return s
}

// offer has one session share its vault with another.
func offer(t *testing.T, from, to *apptest.Owner) (escrow string) {
	t.Helper()
	var made struct{ ID string }
	from.Must(http.MethodPost, "/api/grants/"+grantOf(t, to)+"/share-vault", nil, &made)
	return made.ID
}

// grantOf is the id of a session's grant.
func grantOf(t *testing.T, o *apptest.Owner) string {
	t.Helper()
	var list struct {
		Items []struct {
			ID      string
			Current bool
		}
	}
	o.Must(http.MethodGet, "/api/grants", nil, &list)
	for _, g := range list.Items {
		if g.Current {
			return g.ID
		}
	}
	t.Fatal("no grant is the session's own")
	return ""
}
