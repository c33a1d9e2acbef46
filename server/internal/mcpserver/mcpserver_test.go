package mcpserver_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/agents"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/mcpserver"
	"github.com/tvzero/tokenvault/server/internal/vaults"
	"github.com/tvzero/tokenvault/server/internal/web"
)

var _ mcpserver.Releases = (*agents.Service)(nil)

const goodKey = "tvagent_good"

// releases stands for the service: it writes down what is asked of it.
type releases struct {
	mu       sync.Mutex
	asked    []string
	clients  []audit.Client
	released agents.Released
	err      error
	panics   bool
}

func (r *releases) Release(_ context.Context, key string, c audit.Client, service string, _ []byte) (agents.Released, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked, r.clients = append(r.asked, key+" "+service), append(r.clients, c)
	if r.panics {
		panic("secret detail")
	}
	return r.released, r.err
}

func (r *releases) Granted(context.Context, string) ([]agents.GrantView, error) {
	until := time.Date(2026, 1, 2, 3, 4, 5, 0, time.FixedZone("", 3600))
	return []agents.GrantView{{
		Grant: models.CredentialGrant{ServiceName: "my token", ExpiresAt: &until, RefreshPolicy: models.RefreshAuto},
		Token: vaults.TokenView{Token: models.Token{TokenType: "PlainText"}, Trust: vaults.Sealed},
	}}, r.err
}

func (r *releases) Whoami(_ context.Context, key string) (agents.Identity, error) {
	if key != goodKey {
		return agents.Identity{}, fault.New(fault.InvalidKey, "This key is not good.")
	}
	return agents.Identity{}, nil
}

func (r *releases) take() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	asked := r.asked
	r.asked = nil
	return asked
}

// open starts the door over fake services. What it logs is in the buffer.
func open(t *testing.T) (*releases, string, *bytes.Buffer) {
	t.Helper()
	r, log := &releases{}, &bytes.Buffer{}
	engine := web.NewEngine(web.Options{Logger: slog.New(slog.DiscardHandler), PublicURL: &url.URL{Scheme: "https", Host: "vault.example"}})
	mcpserver.New(mcpserver.Deps{Releases: r, Logger: slog.New(slog.NewTextHandler(log, nil))}).Routes(engine)
	server := httptest.NewServer(engine)
	t.Cleanup(server.Close)
	return r, server.URL + mcpserver.Path, log
}

// bearer adds an agent's key to each request.
type bearer string

func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+string(b))
	return http.DefaultTransport.RoundTrip(r)
}

// connect is a client of the SDK, as agents use it.
func connect(t *testing.T, address, key string) (*mcp.ClientSession, error) {
	t.Helper()
	client := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, nil)
	session, err := client.Connect(t.Context(), &mcp.StreamableClientTransport{
		Endpoint: address, HTTPClient: &http.Client{Transport: bearer(key)}, DisableStandaloneSSE: true, MaxRetries: -1,
	}, nil)
	if err == nil {
		t.Cleanup(func() { _ = session.Close() })
	}
	return session, err
}

// call calls a tool and decodes what it answers into out.
func call(t *testing.T, s *mcp.ClientSession, tool string, arguments, out any) *mcp.CallToolResult {
	t.Helper()
	got, err := s.CallTool(t.Context(), &mcp.CallToolParams{Name: tool, Arguments: arguments})
	if err != nil {
		t.Fatalf("%s: %v", tool, err)
	}
	raw, err := json.Marshal(got.StructuredContent)
	if err == nil {
		err = json.Unmarshal(raw, out)
	}
	if err != nil {
		t.Fatalf("%s answered %s: %v", tool, raw, err)
	}
	return got
}

func text(t *testing.T, r *mcp.CallToolResult) string {
	t.Helper()
	if len(r.Content) != 1 {
		t.Fatalf("%d contents, want one", len(r.Content))
	}
	content, ok := r.Content[0].(*mcp.TextContent)
	if !ok {
		t.Fatalf("the content is %T, want text", r.Content[0])
	}
	return content.Text
}

func TestAnAgentListsAndFetchesWhatItWasGranted(t *testing.T) {
	t.Parallel()
	r, address, _ := open(t)
	s, err := connect(t, address, goodKey)
	if err != nil {
		t.Fatal(err)
	}
	tools, err := s.ListTools(t.Context(), nil)
	if err != nil || len(tools.Tools) != 2 || tools.Tools[0].Name != mcpserver.GetCredential || tools.Tools[1].Name != mcpserver.ListCredentials {
		t.Fatalf("tools %+v, %v; want the two", tools, err)
	}
	var list struct{ Grants []map[string]any }
	call(t, s, mcpserver.ListCredentials, nil, &list)
	if len(list.Grants) != 1 || list.Grants[0]["serviceName"] != "my token" || list.Grants[0]["grantExpiresAt"] != "2026-01-02T02:04:05Z" || list.Grants[0]["trust"] != "sealed" {
		t.Errorf("granted %v, want my token until then, sealed", list.Grants)
	}

	r.released = agents.Released{Credential: json.RawMessage(`{"serviceName":"my token","accessToken":"s3cret"}`)}
	var credential map[string]string
	got := call(t, s, mcpserver.GetCredential, map[string]string{"service": "my token"}, &credential)
	if got.IsError || credential["accessToken"] != "s3cret" || !strings.Contains(text(t, got), `"accessToken":"s3cret"`) {
		t.Errorf("platform mode: %v, %q; want the credential in both forms", credential, text(t, got))
	}
	if asked := r.take(); len(asked) != 1 || asked[0] != goodKey+" my token" {
		t.Errorf("asked %q, want one release with the agent's key", asked)
	}
	if c := r.clients[0]; c.Address != "127.0.0.1" || c.RequestID == "" {
		t.Errorf("the record is told of %+v, want the client's address and the request's id", c)
	}

	const location = "https://hook.example/v1/credential?ticket=t&service=my+token"
	r.released = agents.Released{Location: location}
	var ticket struct {
		URL, Method, HowTo string
		ExpiresInSeconds   int
	}
	got = call(t, s, mcpserver.GetCredential, map[string]string{"service": "my token"}, &ticket)
	if got.IsError || ticket.URL != location || ticket.Method != "GET" || ticket.ExpiresInSeconds != 15 || !strings.Contains(ticket.HowTo, "without the agent's key") {
		t.Errorf("webhook mode: %+v, want the address, and how to use it", ticket)
	}
}

func TestRefusalsAreToolErrorsInTheWordsOfTheAPI(t *testing.T) {
	t.Parallel()
	r, address, log := open(t)
	s, err := connect(t, address, goodKey)
	if err != nil {
		t.Fatal(err)
	}
	again := fault.New(fault.ReauthorizationRequired, "Connect it again.")
	again.ConnectURL, again.RetryAfter = "https://vault.example/connect/x", 90*time.Second
	for _, tt := range []struct {
		name      string
		err       error
		arguments any
		want      string
		asks      int
	}{
		{"not granted", fault.New(fault.NoGrant, "It was not granted."), map[string]any{"service": "x"}, "NO_GRANT: It was not granted.", 1},
		{"locked", fault.New(fault.VaultLocked, "It is locked."), map[string]any{"service": "x"}, "VAULT_LOCKED: It is locked.", 1},
		{"to be connected again", again, map[string]any{"service": "x"}, "REAUTHORIZATION_REQUIRED: Connect it again.", 1},
		{"ours", errors.New("secret detail"), map[string]any{"service": "x"}, "INTERNAL: Something went wrong on our side.", 1},
		{"no name", nil, map[string]any{}, "INVALID_REQUEST: Name the credential", 0},
		{"no arguments", nil, nil, "INVALID_REQUEST: Name the credential", 0},
		{"another argument", nil, map[string]any{"service": "x", "key": "y"}, "INVALID_REQUEST: The arguments", 0},
		{"a name that is none", nil, map[string]any{"service": 7}, "INVALID_REQUEST: The arguments", 0},
		{"a control character", nil, map[string]any{"service": "a\x00b"}, "INVALID_REQUEST:", 0},
		{"too long", nil, map[string]any{"service": strings.Repeat("a", 2000)}, "INVALID_REQUEST:", 0},
	} {
		r.err = tt.err
		var said struct {
			Code, ConnectURL  string
			RetryAfterSeconds int
		}
		got := call(t, s, mcpserver.GetCredential, tt.arguments, &said)
		if !got.IsError || !strings.HasPrefix(text(t, got), tt.want) || !strings.HasPrefix(tt.want, said.Code+":") {
			t.Errorf("%s: error %v, %q, code %s; want %q", tt.name, got.IsError, text(t, got), said.Code, tt.want)
		}
		if strings.Contains(text(t, got), "secret detail") {
			t.Errorf("%s: the cause is told: %q", tt.name, text(t, got))
		}
		if errors.Is(tt.err, again) && (said.ConnectURL != again.ConnectURL || said.RetryAfterSeconds != 90) {
			t.Errorf("%s: %+v, want where and when", tt.name, said)
		}
		if asked := r.take(); len(asked) != tt.asks {
			t.Errorf("%s: asked %q, want %d releases", tt.name, asked, tt.asks)
		}
	}
	if n := strings.Count(log.String(), "a tool failed"); n != 1 || !strings.Contains(log.String(), "secret detail") {
		t.Errorf("logged %q, want what is our fault, with its cause", log)
	}
	r.err, r.panics = nil, true
	var said struct{ Code string }
	if got := call(t, s, mcpserver.GetCredential, map[string]string{"service": "x"}, &said); !got.IsError || said.Code != "INTERNAL" || strings.Contains(text(t, got), "secret detail") {
		t.Errorf("a panic: %q, want it hidden", text(t, got))
	}
}

const listing = `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`

// post sends a request as it is; headers are pairs.
func post(t *testing.T, method, address, body string, headers ...string) (int, http.Header, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, address, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Accept", "application/json, text/event-stream")
	for i := 0; i+1 < len(headers); i += 2 {
		if headers[i] == "Host" {
			request.Host = headers[i+1]
		}
		request.Header.Set(headers[i], headers[i+1])
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	said, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, answer.Header, string(said)
}

func TestNothingIsAnsweredWithoutAGoodKey(t *testing.T) {
	t.Parallel()
	r, address, _ := open(t)
	for name, headers := range map[string][]string{
		"none": nil, "another": {"Authorization", "Bearer tvagent_bad"}, "a session": {"Cookie", "tv_session=tcs_x"}, "two": {"Authorization", "Bearer " + goodKey, "X-Agent-Key", "tvagent_bad"},
	} {
		status, header, body := post(t, http.MethodPost, address, listing, headers...)
		if status != http.StatusUnauthorized || !strings.HasPrefix(header.Get("WWW-Authenticate"), "Bearer") || !strings.Contains(body, `"INVALID_KEY"`) || strings.Contains(body, "get_credential") {
			t.Errorf("%s: %d %s; want 401 INVALID_KEY", name, status, body)
		}
	}
	if status, _, body := post(t, http.MethodPost, address+"?key="+goodKey, listing); status != http.StatusUnauthorized {
		t.Errorf("a key in the URL: %d %s, want 401", status, body)
	}
	if _, err := connect(t, address, "tvagent_bad"); err == nil {
		t.Error("a client with a bad key is connected")
	}
	if status, _, body := post(t, http.MethodPost, address, listing, "Origin", "https://evil.example"); status != http.StatusForbidden || !strings.Contains(body, "CROSS_ORIGIN") {
		t.Errorf("a page of another site without a key: %d %s, want 403", status, body)
	}
	if asked := r.take(); len(asked) != 0 {
		t.Errorf("asked %q, want nothing", asked)
	}
}

// No request stays open: the key of a stream that does would count for as long as its
// holder likes.
func TestASubscriptionEndsAtOnce(t *testing.T) {
	t.Parallel()
	_, address, _ := open(t)
	const (
		old = `{"jsonrpc":"2.0","id":1,"method":"subscriptions/listen","params":{"notifications":{"toolsListChanged":true,"promptsListChanged":true,"resourcesListChanged":true,"resourceSubscriptions":["x:y"]}}}`
		now = `{"jsonrpc":"2.0","id":1,"method":"subscriptions/listen","params":{"notifications":{"toolsListChanged":true},"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28",` +
			`"io.modelcontextprotocol/clientInfo":{"name":"x","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}}}}`
	)
	for _, tt := range [][]string{{old}, {now, "Mcp-Protocol-Version", "2026-07-28", "Mcp-Method", "subscriptions/listen"}} {
		// It returns when the answer has ended.
		status, _, body := post(t, http.MethodPost, address, tt[0], append(tt[1:], "Authorization", "Bearer "+goodKey)...)
		if status != http.StatusOK || strings.Contains(body, `"toolsListChanged":true`) || !strings.Contains(body, `"result"`) {
			t.Errorf("%d %s, want an answer that grants no subscription", status, body)
		}
	}
}

func TestRequestsAreBoundedAndAnswersAreNotKept(t *testing.T) {
	t.Parallel()
	_, address, _ := open(t)
	key := []string{"Authorization", "Bearer " + goodKey}
	status, header, body := post(t, http.MethodPost, address, listing, key...)
	if status != http.StatusOK || header.Get("Cache-Control") != "no-store" || header.Get("Mcp-Session-Id") != "" || !strings.Contains(body, "get_credential") {
		t.Errorf("%d, Cache-Control %q, session %q, %s; want the tools, kept by nobody", status, header.Get("Cache-Control"), header.Get("Mcp-Session-Id"), body)
	}
	if status, _, body := post(t, http.MethodPost, address, listing, append(key, "Host", "vault.example")...); status != http.StatusOK {
		t.Errorf("behind a reverse proxy: %d %s, want 200", status, body)
	}
	if status, _, body := post(t, http.MethodPost, address, `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"x":"`+strings.Repeat("a", 100<<10)+`"}}`, key...); status != http.StatusRequestEntityTooLarge {
		t.Errorf("100 KiB: %d %s, want 413", status, body)
	}
	for _, method := range []string{http.MethodGet, http.MethodDelete} {
		if status, _, _ := post(t, method, address, "", key...); status != http.StatusMethodNotAllowed {
			t.Errorf("%s: %d, want 405: there are no sessions", method, status)
		}
	}
	for _, text := range []string{"", "{", `[]`, `{"jsonrpc":"1.0"}`} {
		if status, _, body := post(t, http.MethodPost, address, text, key...); status < 400 || status >= 500 {
			t.Errorf("%q: %d %s, want a refusal", text, status, body)
		}
	}
}
