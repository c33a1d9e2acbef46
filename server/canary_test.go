package main_test

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tvzero/tokenvault/models/store/storetest"
	"github.com/tvzero/tokenvault/refresh/refreshtest"
	"github.com/tvzero/tokenvault/webhook-sdk/agent"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"

	"github.com/tvzero/tokenvault/server/internal/api/apitest"
	"github.com/tvzero/tokenvault/server/internal/app/apptest"
)

// The product's promise, held against the real binaries: secrets of every type
// are stored at a webhook, every operation of the server is done, and then none
// of them is in the server's database, files, log, answers or memory. The same
// search finds them in the webhook's memory, and finds in the server's what is
// meant to pass through it.
func TestNoCredentialIsEverInTheServer(t *testing.T) {
	t.Parallel()
	server, webhook := build(t)
	for _, dialect := range storetest.Dialects {
		t.Run(dialect, func(t *testing.T) {
			t.Parallel()
			c := newCage(t, server, webhook, dialect)
			c.store(t)
			c.everyOperation(t)

			mistaken := c.mistake(t)
			secrets := append(c.secrets(), mistaken)
			sealed := c.sealed()
			where := c.look(t, newSearch(append(append(secrets, sealed...), c.control)))
			for place, f := range where {
				for _, secret := range sealed {
					if place != "memory" && len(f[secret.Name]) > 0 { // they pass through it
						t.Errorf("%s is in the server's %s, as %v", secret.Name, place, f[secret.Name])
					}
				}
				for _, secret := range secrets {
					if secret.Name == mistaken.Name && place == "memory" {
						// It was sent to the server itself, which does not read it; but the
						// network layer had it in a buffer. docs/threat-model.md says so.
						t.Logf("what was posted by mistake is in the server's memory as %v", f[secret.Name])
						continue
					}
					if len(f[secret.Name]) > 0 {
						t.Errorf("%s is in the server's %s, as %v", secret.Name, place, f[secret.Name])
					}
				}
				if place != "log" && len(f[c.control.Name]) == 0 {
					t.Errorf("the search does not find the display name in the server's %s, where it is: what it does not find says nothing", place)
				}
			}
			c.wantInWebhook(t)
			limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", c.server.PID()))
			if err != nil || !regexp.MustCompile(`(?m)^Max core file size +0 +0 `).Match(limits) {
				t.Errorf("the server may write core dumps (%v):\n%s", err, limits)
			}
			c.server.Stop()
			f := found{}
			newSearch(secrets).in(f, []byte(c.server.Log()))
			newSearch(secrets).folder(t, f, c.server.Dir())
			if len(f) > 0 {
				t.Errorf("the server left %v behind", f)
			}
		})
	}
}

// build makes both binaries as they are released.
func build(t *testing.T) (server, webhook string) {
	t.Helper()
	folder := t.TempDir()
	server, webhook = filepath.Join(folder, "tokenvault"), filepath.Join(folder, "tv-webhook")
	for path, source := range map[string]string{server: ".", webhook: "../webhook-sdk/cmd/tv-webhook"} {
		command := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-o", path, source) // #nosec G204 -- our own
		command.Env = append(os.Environ(), "CGO_ENABLED=0")
		if path == server {
			command.Env = append(command.Env, "GOEXPERIMENT="+officialExperiments())
		}
		if said, err := command.CombinedOutput(); err != nil {
			t.Fatalf("build %s: %v\n%s", source, err, said)
		}
	}
	return server, webhook
}

// officialExperiments are what `make build` and the images build with.
func officialExperiments() string {
	if runtime.GOOS == "linux" && (runtime.GOARCH == "amd64" || runtime.GOARCH == "arm64") {
		return "runtimesecret"
	}
	return ""
}

// A cage is a server and a webhook, processes of their own, with everything that
// the server answers kept.
type cage struct {
	server, webhook *apptest.Process
	serverURL       string
	webhookURL      string
	database        string
	samples         []apptest.Sample
	endpoint        *apptest.TokenEndpoint
	control         apptest.Secret // passes through the server, as it is meant to
	owner           *apptest.Owner
	client          *http.Client
	spec            *apitest.Spec
	answers         *recorder
	ours            *refreshtest.Provider // whose client this server is
	theirs          *refreshtest.Provider // whose client the webhook is
}

const adminSecret = "the operator's own admin secret"

func newCage(t *testing.T, server, webhook, dialect string) *cage {
	t.Helper()
	c := &cage{database: storetest.Blank(t, dialect), spec: apitest.Load(t)}
	c.samples, c.endpoint = apptest.Samples(t)
	c.control = apptest.Secret{Name: "display name", Value: []byte("control-" + rand.Text())}
	c.samples[0].Data["displayName"] = string(c.control.Value)

	c.providers(t)

	key := make([]byte, 32)
	_, _ = rand.Read(key)
	c.server = apptest.Start(t, regexp.MustCompile(`msg=serving address=(\S+)`), []string{
		"TOKENVAULT_LISTEN=127.0.0.1:0", "TOKENVAULT_PUBLIC_URL=http://127.0.0.1:0", "TOKENVAULT_DATABASE_URL=" + c.database,
		"TOKENVAULT_SERVER_KEYS=0:" + base64.StdEncoding.EncodeToString(key), "TOKENVAULT_ALLOW_PRIVATE_NETWORKS=true", "TOKENVAULT_REGISTRATION=open",
		"TOKENVAULT_PROVIDERS=" + provider("ours", c.ours),
	}, server)
	c.serverURL = "http://" + c.server.Ready[1]
	c.webhook = apptest.Start(t, regexp.MustCompile(`is reached at (\S+)`), []string{
		"TV_WEBHOOK_LISTEN=127.0.0.1:0", "TV_WEBHOOK_DATA=" + t.TempDir(), "TV_WEBHOOK_TOKENVAULT_URL=" + c.serverURL,
		"TV_WEBHOOK_ADMIN_SECRET=" + adminSecret, "TV_WEBHOOK_ALLOW_PRIVATE_NETWORKS=true", "TV_WEBHOOK_GCP_TOKEN_HOSTS=" + c.endpoint.Host,
		"TV_WEBHOOK_OAUTH_PROVIDERS=" + provider("theirs", c.theirs),
	}, webhook)
	c.webhookURL = c.webhook.Ready[1]
	c.answers = &recorder{host: c.server.Ready[1]}
	c.client = apptest.NewClient(t, func(next http.RoundTripper) http.RoundTripper {
		c.answers.next = next
		return c.spec.Transport(t, c.answers)
	})
	c.owner = apptest.NewOwner(t, c.serverURL, "owner@example.com", c.client)
	return c
}

// store registers, binds and stores one token of every type.
func (c *cage) store(t *testing.T) {
	t.Helper()
	c.owner.Register()
	c.platformOperations(t)
	c.owner.Bind(c.webhookURL, adminSecret)
	c.moves(t)
	c.connectAtWebhook(t)
	for _, sample := range c.samples {
		c.owner.Store(sample.Service, sample.Data)
	}
}

// secrets are all that must not be in the server, minted tokens included.
func (c *cage) secrets() []apptest.Secret {
	var all []apptest.Secret
	for _, sample := range c.samples {
		all = append(all, sample.Secrets...)
	}
	for i, token := range c.endpoint.Minted() {
		all = append(all, apptest.Secret{Name: fmt.Sprintf("minted token %d", i), Value: []byte(token), Derived: true})
	}
	return append(all, c.connected()...)
}

// release has an agent fetch every credential that it was granted.
func (c *cage) release(t *testing.T, key string) {
	t.Helper()
	client, err := agent.New(c.serverURL, key, agent.Options{Timeout: time.Minute, Transport: c.client.Transport})
	if err != nil {
		t.Fatal(err)
	}
	for _, sample := range c.samples {
		if _, err := client.Credential(t.Context(), sample.Service); err != nil {
			t.Errorf("fetch %s: %v", sample.Service, err)
		}
	}
	if list, err := client.Grants(t.Context()); err != nil || len(list) != len(c.samples) {
		t.Errorf("the agent sees %d grants (%v), want %d", len(list), err, len(c.samples))
	}
	if _, err := client.Whoami(t.Context()); err != nil {
		t.Error(err)
	}
}

// everyOperation does all that the server can do; the document says what that is.
func (c *cage) everyOperation(t *testing.T) {
	t.Helper()
	type object = map[string]any
	must := func(method, path string, body any) { t.Helper(); c.owner.Must(method, path, body, nil) }
	id, key := c.owner.Agent("deployer")
	for _, sample := range c.samples {
		service := url.PathEscape(sample.Service)
		c.owner.Grant(id, sample.Service, 24)
		c.owner.Reveal(sample.Service)
		must("GET", "/api/tokens/"+service, nil)
		must("PATCH", "/api/tokens/"+service+"/metadata", object{"notes": "used by the deployer", "tags": []string{"ci"}})
	}
	code := c.owner.CredentialTicket(apptest.TOTP, wire.PurposeTOTPCode)
	answer, err := apptest.Call(t.Context(), c.client, "POST", code.WebhookURL+wire.PathTOTPCode, object{"ticket": code.Ticket, "service": apptest.TOTP})
	if err != nil || answer.Status != http.StatusOK {
		t.Errorf("a one-time code: %v %s, want 200", err, answer)
	}
	c.release(t, key)
	c.spare(t, "spare-1", "spare-2", "spare-3")
	must("DELETE", "/api/tokens/spare-1", nil)
	must("DELETE", "/api/tokens/bulk", object{"serviceNames": []string{"spare-2", "spare-3"}})

	second, _ := c.owner.Agent("second")
	third, _ := c.owner.Agent("third")
	c.owner.Grant(second, apptest.APIKey, 0)
	must("GET", "/api/agents", nil)
	must("GET", "/api/agents/"+id, nil)
	must("PATCH", "/api/agents/"+second, object{"status": "suspended"})
	must("POST", "/api/agents/"+second+"/rotate-key", nil)
	must("DELETE", "/api/agents/"+second+"/grants/"+apptest.APIKey, nil)
	must("DELETE", "/api/agents/"+second, nil)
	must("DELETE", "/api/agents/bulk", object{"agentIds": []string{third}})

	must("PATCH", "/api/account", object{"displayName": "The owner"})
	must("POST", "/api/account/password", object{"currentPassword": apptest.Password, "newPassword": apptest.Password + " anew"})
	must("POST", "/api/account/password", object{"currentPassword": apptest.Password + " anew", "newPassword": apptest.Password})

	must("POST", "/api/vault/webhook/check", nil)
	must("POST", "/api/vault/lock", nil)
	if got := c.owner.Do("POST", "/api/vault/store-ticket", object{"serviceName": "x"}); got.Status != http.StatusLocked {
		t.Errorf("a ticket while locked: %s, want 423", got)
	}
	must("POST", "/api/vault/lock/clear", nil)
	must("DELETE", "/api/vault/webhook", nil)
	c.owner.Bind(c.webhookURL, adminSecret)
	must("POST", "/api/vault/sync", nil)
	must("GET", "/api/vault/status", nil)
	must("POST", "/api/auth/logout", nil)
	c.owner.Login()
	for _, path := range []string{"/healthz", "/readyz", "/api/tokens", "/api/tokens/audit-log?limit=1000", "/api/tokens/audit-log?format=csv"} {
		must("GET", path, nil)
	}
	c.release(t, key)
	c.everyPage(t)
	c.release(t, key)
	if unseen := c.spec.Unseen(); len(unseen) > 0 {
		t.Errorf("not every operation of docs/openapi.yaml was done: %v", unseen)
	}
}

// spare stores tokens that are there to be deleted; their secret must not leak
// either.
func (c *cage) spare(t *testing.T, services ...string) {
	t.Helper()
	for _, service := range services {
		value := "sk_spare_" + rand.Text()
		c.owner.Store(service, map[string]any{"tokenType": wire.TypePlainText, wire.FieldAccessToken: value})
		c.samples[0].Secrets = append(c.samples[0].Secrets, apptest.Secret{Name: service, Value: []byte(value), Derived: true})
	}
}

// mistake posts a credential to the server instead of the webhook, in each of
// the ways in which a client of platform mode would.
func (c *cage) mistake(t *testing.T) apptest.Secret {
	t.Helper()
	value := "sk_mistaken_" + rand.Text()
	data := map[string]any{"tokenType": wire.TypePlainText, wire.FieldAccessToken: value}
	got := c.owner.Do("POST", "/api/tokens", map[string]any{"serviceName": "github", "tokenData": data})
	if got.Status != http.StatusConflict || got.Code != "WRONG_VAULT_MODE" {
		t.Errorf("storing at the server itself: %s, want 409 WRONG_VAULT_MODE", got)
	}
	return apptest.Secret{Name: "a credential posted by mistake", Value: []byte(value), Derived: true}
}

// look searches every place where the server could keep or show something.
func (c *cage) look(t *testing.T, s *search) map[string]found {
	t.Helper()
	where := map[string]found{"memory": {}, "database": {}, "log": {}, "answers": {}}
	for range 20 { // the display name lies where the last list was, until that is used again
		c.owner.Must("GET", "/api/tokens", nil, nil)
		n := s.memory(t, where["memory"], c.server)
		if len(where["memory"][c.control.Name]) > 0 {
			t.Logf("searched %d MiB of the server's memory for %d forms", n>>20, len(s.needles))
			break
		}
	}
	s.in(where["answers"], c.answers.text())
	s.in(where["log"], []byte(c.server.Log()))
	if path, isSQLite := strings.CutPrefix(c.database, "sqlite:"); isSQLite {
		s.folder(t, where["database"], filepath.Dir(path)) // the file, its log, and what lies beside them
	} else {
		s.in(where["database"], pgDump(t, c.database))
	}
	return where
}

// wantInWebhook finds every stored secret in the memory of the process that is
// meant to have it. What was released moments ago may have been overwritten, so
// it is released again until each was seen.
func (c *cage) wantInWebhook(t *testing.T) {
	t.Helper()
	id, key := c.owner.Agent("control")
	for _, sample := range c.samples {
		c.owner.Grant(id, sample.Service, 0)
	}
	var missing []string
	f := found{}
	for range 20 {
		c.release(t, key)
		for _, sample := range c.samples {
			c.owner.Reveal(sample.Service)
		}
		c.owner.Reveal(atWebhook)
		newSearch(c.secrets()).memory(t, f, c.webhook)
		missing = nil
		if !slices.ContainsFunc(c.connected(), func(s apptest.Secret) bool { return len(f[s.Name]) > 0 }) {
			missing = append(missing, "a token that was connected there")
		}
		for _, secret := range c.secrets() {
			if !secret.Derived && len(f[secret.Name]) == 0 {
				missing = append(missing, secret.Name)
			}
		}
		if len(missing) == 0 {
			t.Logf("found %d secrets in the webhook's memory", len(f))
			return
		}
	}
	t.Errorf("the search does not find %v in the webhook's memory, where they are: what it does not find says nothing", missing)
}

// pgDump is the whole database of a test, as an operator would back it up.
func pgDump(t *testing.T, database string) []byte {
	t.Helper()
	program, err := exec.LookPath("pg_dump")
	if err != nil {
		installed, _ := filepath.Glob("/usr/lib/postgresql/*/bin/pg_dump")
		if bin := os.Getenv("TOKENVAULT_PG_BIN"); bin != "" {
			installed = append(installed, filepath.Join(bin, "pg_dump"))
		}
		if len(installed) == 0 {
			t.Fatal("pg_dump was not found; scripts/install-test-deps installs it")
		}
		program = installed[len(installed)-1]
	}
	u, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	schema := u.Query().Get("application_name") // as storetest names them
	var complaint bytes.Buffer
	command := exec.CommandContext(t.Context(), program, "--schema="+schema, "--dbname="+database) // #nosec G204 -- PostgreSQL's own
	command.Stderr = &complaint
	text, err := command.Output()
	if err != nil || !bytes.Contains(text, []byte("audit_events")) {
		t.Fatalf("pg_dump: %v (%d bytes)\n%s", err, len(text), complaint.Bytes())
	}
	return text
}

// A recorder keeps all that one host answers.
type recorder struct {
	host string
	next http.RoundTripper
	mu   sync.Mutex
	kept bytes.Buffer
}

func (r *recorder) text() []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return bytes.Clone(r.kept.Bytes())
}

// RoundTrip implements http.RoundTripper.
func (r *recorder) RoundTrip(request *http.Request) (*http.Response, error) {
	answer, err := r.next.RoundTrip(request)
	if err != nil || request.URL.Host != r.host {
		return answer, err
	}
	body, err := io.ReadAll(answer.Body)
	_ = answer.Body.Close()
	answer.Body = io.NopCloser(bytes.NewReader(body))
	r.mu.Lock()
	defer r.mu.Unlock()
	_ = answer.Header.Write(&r.kept)
	r.kept.Write(body)
	return answer, err
}
