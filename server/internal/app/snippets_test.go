package app_test

import (
	"encoding/json"
	"html"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/models/store/storetest"

	"github.com/tvzero/tokenvault/server/internal/app/apptest"
)

var snippetOnPage = regexp.MustCompile(`(?s)<div class="panel" id="snippet-([a-z]+)">\s*<pre[^>]*><code>(.*?)</code></pre>`)

// snippets are those of a page, as somebody copies them, by name.
func snippets(t *testing.T, page string) map[string]string {
	t.Helper()
	found := map[string]string{}
	for _, m := range snippetOnPage.FindAllStringSubmatch(page, -1) {
		found[m[1]] = html.UnescapeString(m[2])
	}
	return found
}

// execute runs a program in a folder and returns what it wrote to standard output.
func execute(t *testing.T, dir string, name string, args ...string) string {
	t.Helper()
	command := exec.CommandContext(t.Context(), name, args...)
	command.Dir = dir
	out, err := command.Output()
	if err != nil {
		said := ""
		if failed, ok := err.(*exec.ExitError); ok { //nolint:errorlint // exec returns it as it is
			said = string(failed.Stderr)
		}
		t.Fatalf("%s: %v\n%s%s", name, err, out, said)
	}
	return string(out)
}

// What the page of a new key offers to be copied works as it is, with the key from
// the file that it offers too: a snippet that does not is worse than none.
func TestTheSnippetsOfANewKeyWorkAsTheyAre(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"platform", "webhook"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			s := start(t, storetest.URL(t, store.SQLite), newKeys(t))
			owner := s.owner(t, "owner@example.com")
			const secret = "a-secret-of-22-letters"
			if mode == "webhook" {
				owner.Bind(startWebhook(t, nil).URL, "")
				owner.Store("my token", apiKeyData(secret))
			} else {
				keep(t, owner, "my token", apiKeyData(secret))
			}
			made := owner.Post("/agents", url.Values{"name": {"copier"}})
			if made.Status != http.StatusCreated {
				t.Fatalf("a new agent: %s, want 201", made)
			}
			id := regexp.MustCompile(`href="/agents/([0-9a-f-]{36})"`).FindStringSubmatch(string(made.Body))
			if id == nil {
				t.Fatalf("the page leads to no agent: %s", made)
			}
			owner.Grant(id[1], "my token", 1)
			ofKey, ofAgent := snippets(t, string(made.Body)), snippets(t, page(t, owner, "/agents/"+id[1]))
			if strings.Contains(ofAgent["env"], "tvagent_A") || !strings.Contains(ofKey["env"], "tvagent_") {
				t.Error("the key is on the agent's page, or missing on its own")
			}

			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "agent.env"), []byte(ofKey["env"]), 0o600); err != nil {
				t.Fatal(err)
			}
			const withKey = "set -eu; set -a; . ./agent.env; set +a\n"
			if got := execute(t, dir, "sh", "-c", withKey+ofAgent["curl"]); !strings.Contains(got, `"accessToken":"`+secret+`"`) {
				t.Errorf("curl got %s, want the credential", got)
			}
			root, err := filepath.Abs("../../..")
			if err != nil {
				t.Fatal(err)
			}
			program := filepath.Join(dir, "main.go")
			if err := os.WriteFile(program, []byte(ofAgent["go"]), 0o600); err != nil {
				t.Fatal(err)
			}
			if got := execute(t, root, "sh", "-c", "cd "+dir+"; "+withKey+"cd "+root+"; go run "+program); got != "a token of 22 characters\n" {
				t.Errorf("the Go program says %q, want the credential's length", got)
			}
			wantOverMCP(t, ofKey["mcp"], ofKey["env"], "my token", secret)
		})
	}
}

// page reads a page as its owner.
func page(t *testing.T, o *apptest.Owner, path string) string {
	t.Helper()
	answer := o.Do(http.MethodGet, path, nil)
	if answer.Status != http.StatusOK {
		t.Fatalf("%s answered %s, want 200", path, answer)
	}
	return string(answer.Body)
}

// wantOverMCP connects a client as its configuration says, and fetches a credential.
func wantOverMCP(t *testing.T, configuration, env, service, want string) {
	t.Helper()
	var clients struct {
		MCPServers map[string]struct {
			Type, URL string
			Headers   map[string]string
		}
	}
	if err := json.Unmarshal([]byte(configuration), &clients); err != nil {
		t.Fatalf("the configuration is no JSON: %v\n%s", err, configuration)
	}
	server := clients.MCPServers["tokenvault"]
	key := regexp.MustCompile(`TOKENVAULT_AGENT_KEY='([^']*)'`).FindStringSubmatch(env)
	if server.Type != "http" || key == nil {
		t.Fatalf("the configuration is %+v, the environment %q; want a server over HTTP, and a key", server, env)
	}
	header := strings.ReplaceAll(server.Headers["Authorization"], "${TOKENVAULT_AGENT_KEY}", key[1])
	session, err := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, nil).Connect(t.Context(), &mcp.StreamableClientTransport{
		Endpoint: server.URL, HTTPClient: &http.Client{Transport: authorized{newClient(t).Transport, header}}, DisableStandaloneSSE: true, MaxRetries: -1,
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = session.Close() }()
	got, err := session.CallTool(t.Context(), &mcp.CallToolParams{Name: "get_credential", Arguments: map[string]string{"service": service}})
	if err != nil || got.IsError {
		t.Fatalf("get_credential: %+v, %v", got, err)
	}
	said, _ := got.StructuredContent.(map[string]any)
	if at, ok := said["url"].(string); ok { // webhook mode
		answer, err := apptest.Call(t.Context(), newClient(t), http.MethodGet, at, nil)
		if err != nil {
			t.Fatal(err)
		}
		var wrapped struct{ Token map[string]any }
		answer.Decode(t, &wrapped)
		said = wrapped.Token
	}
	if said["accessToken"] != want {
		t.Errorf("over MCP it is %v, want the credential", said)
	}
}

// authorized adds a header to each request.
type authorized struct {
	next   http.RoundTripper
	header string
}

func (a authorized) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", a.header)
	return a.next.RoundTrip(r)
}
