package oidc

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"
)

const (
	startTime = 60 * time.Second // a cold disk and a busy machine
	stopTime  = 5 * time.Second
)

// settings are what provider.mjs reads from its standard input.
type settings struct {
	AccessTokenSeconds   int              `json:"accessTokenSeconds"`
	RequireOfflineAccess bool             `json:"requireOfflineAccess"`
	Clients              []clientSettings `json:"clients"`
	AdminSecret          string           `json:"adminSecret"`
}

// clientSettings is a Client as JSON.
type clientSettings struct {
	ID           string   `json:"id"`
	Secret       string   `json:"secret"`
	AuthMethod   string   `json:"authMethod"`
	RedirectURIs []string `json:"redirectUris"`
}

// addresses are what provider.mjs writes to its standard output.
type addresses struct {
	Issuer   string `json:"issuer"`
	AdminURL string `json:"adminUrl"`
}

// process is a running provider.mjs. It ends when its standard input does: when the test process dies, whatever killed
// it, the kernel closes the pipe, and no provider stays behind.
type process struct {
	stdin  io.Closer
	stderr *tail
	ended  chan struct{}
	kill   func() error
	once   sync.Once
}

// startProcess starts provider.mjs in a folder of its own and waits until it says where it listens.
func startProcess(in installation, folder string, s settings) (*process, addresses, error) {
	script := filepath.Join(folder, "provider.mjs")
	if err := os.WriteFile(script, program, 0o600); err != nil {
		return nil, addresses{}, err
	}
	// Node looks for modules beside the file that imports them.
	if err := os.Symlink(in.modules, filepath.Join(folder, "node_modules")); err != nil {
		return nil, addresses{}, err
	}
	p := &process{stderr: &tail{}, ended: make(chan struct{})}
	cmd := exec.Command(in.node, script) // without a context: it lives until stop
	cmd.Dir = folder
	cmd.Env = []string{"NODE_ENV=production"} // nothing of ours: neither NODE_OPTIONS nor proxies
	cmd.Stderr = p.stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, addresses{}, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, addresses{}, err
	}
	if err := cmd.Start(); err != nil {
		return nil, addresses{}, err
	}
	p.stdin, p.kill = stdin, cmd.Process.Kill
	first := make(chan []byte, 1)
	go func() {
		defer close(p.ended)
		out := bufio.NewReader(io.LimitReader(stdout, 1<<20))
		line, _ := out.ReadBytes('\n') // what is missing is missed below
		first <- line
		_, _ = io.Copy(p.stderr, out) // nothing more is expected; if it comes, it is worth seeing
		_ = cmd.Wait()                // how it ended says less than what it wrote
	}()
	if err := json.NewEncoder(stdin).Encode(s); err != nil {
		p.stop()
		return nil, addresses{}, fmt.Errorf("%w; it wrote:\n%s", err, p.stderr)
	}
	var where addresses
	select {
	case line := <-first:
		if err := json.Unmarshal(line, &where); err != nil {
			p.stop()
			return nil, addresses{}, fmt.Errorf("it said %q, want its addresses; it wrote:\n%s", line, p.stderr)
		}
	case <-time.After(startTime):
		p.stop()
		return nil, addresses{}, fmt.Errorf("it did not start within %v; it wrote:\n%s", startTime, p.stderr)
	}
	return p, where, nil
}

// stop ends the process and returns when it has ended.
func (p *process) stop() {
	p.once.Do(func() {
		_ = p.stdin.Close() // it may have ended already
		select {
		case <-p.ended:
			return
		case <-time.After(stopTime):
			_ = p.kill() // as above
		}
		<-p.ended
	})
}

// tail keeps the last of what is written to it.
type tail struct {
	mu   sync.Mutex
	kept bytes.Buffer
}

const tailSize = 16 << 10

func (w *tail) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.kept.Write(b)
	if extra := w.kept.Len() - tailSize; extra > 0 {
		w.kept.Next(extra)
	}
	return len(b), nil
}

func (w *tail) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.kept.String()
}

func (w *tail) Len() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.kept.Len()
}
