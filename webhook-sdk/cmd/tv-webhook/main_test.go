package main

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/tvzero/tokenvault/webhook-sdk/webhooktest"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"tv-webhook": main})
}

func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{Dir: "testdata/script", RequireExplicitExec: true})
}

// A process is a running tv-webhook.
type process struct {
	t      testing.TB
	cmd    *exec.Cmd
	url    string
	stdout string // until it was ready
	stderr lockedBuffer
	ended  chan error
}

type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

var addressLine = regexp.MustCompile(`listens on (\S+) `)

// start runs tv-webhook over a data folder, and returns when it listens.
func start(t testing.TB, data string, env ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command("tv-webhook"), ended: make(chan error, 1)}
	p.cmd.Env = append(os.Environ(), append([]string{"TV_WEBHOOK_LISTEN=127.0.0.1:0", "TV_WEBHOOK_DATA=" + data,
		"TV_WEBHOOK_TOKENVAULT_URL=http://127.0.0.1:8000"}, env...)...)
	p.cmd.Stderr = &p.stderr
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.end(syscall.SIGKILL) })
	lines := bufio.NewReader(stdout)
	for !strings.Contains(p.stdout, "To bind it") {
		line, err := lines.ReadString('\n')
		if err != nil {
			p.ended <- p.cmd.Wait()
			t.Fatalf("tv-webhook ended before it was ready: %v\n%s%s", err, p.stdout, p.stderr.String())
		}
		p.stdout += line
		if strings.HasSuffix(line, "has it:\n") {
			link, _ := lines.ReadString('\n')
			p.stdout += link
		}
	}
	p.url = "http://" + addressLine.FindStringSubmatch(p.stdout)[1]
	go func() {
		_, _ = io.Copy(io.Discard, lines)
		p.ended <- p.cmd.Wait()
	}()
	return p
}

// end sends a signal, once, and returns how the process ended.
func (p *process) end(signal syscall.Signal) error {
	if p.ended == nil {
		return nil
	}
	_ = p.cmd.Process.Signal(signal)
	err := <-p.ended
	p.ended = nil
	return err
}

// health runs tv-webhook health; what took too long for it is asked again.
func (p *process) health() (out []byte, err error) {
	for range 10 {
		began := time.Now()
		out, err = exec.Command("tv-webhook", "health", "--listen", strings.TrimPrefix(p.url, "http://")).CombinedOutput()
		if err == nil || time.Since(began) < healthTimeout {
			break
		}
	}
	return out, err
}

func TestAWebhookIsBoundUsedStoppedAndStartedAgain(t *testing.T) {
	t.Parallel()
	data := filepath.Join(t.TempDir(), "data")
	first := start(t, data, "TV_WEBHOOK_PURPOSES=store, user_reveal,agent_credential")
	tv := webhooktest.NewTV(t, first.url)
	tv.Bind()
	tv.Store("github", map[string]any{"tokenType": "PlainText", "accessToken": "ghp_canary"})
	if out, err := first.health(); err != nil || !strings.Contains(string(out), "healthy: protocol 2.4.0, 1 tokens, bound: true") {
		t.Errorf("health said %q, %v, want healthy", out, err)
	}
	var served wire.HealthResponse
	tv.Health().Decode(t, &served)
	if got := strings.Join(served.Capabilities, " "); got != "credential mint storage store ticketConstraints totp" {
		t.Errorf("without the purpose proxy the capabilities are %q", got)
	}
	second := exec.Command("tv-webhook", "--listen", "127.0.0.1:0", "--data", data)
	if out, err := second.CombinedOutput(); err == nil || !strings.Contains(string(out), data) {
		t.Errorf("a second process on the same folder: got %v, %q, want a refusal that names it", err, out)
	}
	if err := first.end(syscall.SIGTERM); err != nil {
		t.Errorf("after SIGTERM the process ended with %v, want success\n%s", err, first.stderr.String())
	}
	again := start(t, data)
	if !strings.Contains(again.stdout, "It is bound to a vault") {
		t.Errorf("the second start said %q, want that it is bound", again.stdout)
	}
	tv.URL = again.url
	if got := tv.Reveal("github")["accessToken"]; got != "ghp_canary" {
		t.Errorf("after a restart the token is %v, want ghp_canary", got)
	}
}

func TestTheDataFolderOpensWithItsSeedAlone(t *testing.T) {
	t.Parallel()
	data := filepath.Join(t.TempDir(), "data")
	const seed, other = "TV_WEBHOOK_SEED=uZ3yT0kqS1mWc8vXb5nR7dLpA2fGh4Jj", "TV_WEBHOOK_SEED=aaZ3yT0kqS1mWc8vXb5nR7dLpA2fGh4Jj"
	first := start(t, data, seed)
	tv := webhooktest.NewTV(t, first.url)
	tv.Bind()
	tv.Store("github", map[string]any{"tokenType": "PlainText", "accessToken": "ghp_canary"})
	if _, err := os.Stat(filepath.Join(data, keyFileName)); !os.IsNotExist(err) {
		t.Errorf("with a seed there is a key file: %v", err)
	}
	_ = first.end(syscall.SIGTERM)
	wrong := exec.Command("tv-webhook", "--listen", "127.0.0.1:0", "--data", data)
	wrong.Env = append(os.Environ(), other)
	if out, err := wrong.CombinedOutput(); err == nil || !strings.Contains(string(out), "other keys") {
		t.Errorf("another seed: got %v, %q, want a refusal that says so", err, out)
	}
	tv.URL = start(t, data, seed).url
	if got := tv.AgentCredential("github")["accessToken"]; got != "ghp_canary" {
		t.Errorf("with its seed the token is %v, want ghp_canary", got)
	}
}

func TestOffLoopbackTheFirstStartPrintsASetupLink(t *testing.T) {
	t.Parallel()
	data := filepath.Join(t.TempDir(), "data")
	p := start(t, data, "TV_WEBHOOK_EXTERNAL_URL=https://webhook.example.com", "TV_WEBHOOK_DENY=192.0.2.1", "TV_WEBHOOK_DENNY=192.0.2.2")
	link := regexp.MustCompile(`https://webhook\.example\.com/bind(\?setup=\S+)`).FindStringSubmatch(p.stdout)
	if link == nil {
		t.Fatalf("the start said %q, want a set-up link", p.stdout)
	}
	tv := webhooktest.NewTV(t, p.url)
	if got := tv.Do(tv.Request(http.MethodGet, wire.PathRegisterURL, nil)); got.Status != http.StatusForbidden || got.Code != wire.CodeForbidden {
		t.Errorf("without the link: got %d %s, want 403 forbidden", got.Status, got.Code)
	}
	var code wire.RegisterURL
	tv.Do(tv.Request(http.MethodGet, wire.PathRegisterURL+link[1], nil)).Decode(t, &code)
	tv.BindWith(code.Code, code.HMACHash)
	_ = p.end(syscall.SIGTERM) // all of its log is here now
	if strings.Contains(p.stderr.String(), link[1]) {
		t.Error("the set-up link stands in the log")
	}
	if !strings.Contains(p.stderr.String(), "TV_WEBHOOK_DENNY") {
		t.Errorf("the log does not speak of the mistyped variable: %s", p.stderr.String())
	}

	admin := start(t, filepath.Join(t.TempDir(), "data"), "TV_WEBHOOK_EXTERNAL_URL=https://webhook.example.com",
		"TV_WEBHOOK_ADMIN_SECRET=a long enough secret")
	if strings.Contains(admin.stdout, "setup=") || !strings.Contains(admin.stdout, "enter the admin secret") {
		t.Errorf("with an admin secret the start said %q, want no link", admin.stdout)
	}
}
