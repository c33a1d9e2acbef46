package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// binaries are the programs under test, built for this run.
type binaries struct {
	server, webhook string
	keys            string // TOKENVAULT_SERVER_KEYS
}

func newBinaries(ctx context.Context, folder string) (binaries, error) {
	b := binaries{server: filepath.Join(folder, "tokenvault"), webhook: filepath.Join(folder, "tv-webhook")}
	for path, source := range map[string]string{b.server: "./server", b.webhook: "./webhook-sdk/cmd/tv-webhook"} {
		build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", path, source) // #nosec G204 -- our own
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if path == b.server && runtime.GOOS == "linux" && (runtime.GOARCH == "amd64" || runtime.GOARCH == "arm64") {
			build.Env = append(build.Env, "GOEXPERIMENT=runtimesecret") // as it is released (Makefile)
		}
		build.Stderr = os.Stderr
		if err := build.Run(); err != nil {
			return b, fmt.Errorf("build %s: %w", source, err)
		}
	}
	key := make([]byte, 32)
	_, _ = rand.Read(key)
	b.keys = "0:" + base64.StdEncoding.EncodeToString(key)
	return b, nil
}

// A process is one that this run started, and only it stops.
type process struct {
	command *exec.Cmd
	log     *os.File
	url     string
}

// start runs a program that will answer at url+ready, and returns when it does.
func start(ctx context.Context, folder, name, url, ready string, environment []string, program string, args ...string) (*process, error) {
	logFile, err := os.Create(filepath.Join(folder, name+".log"))
	if err != nil {
		return nil, err
	}
	command := exec.Command(program, args...) // #nosec G204 -- our own
	command.Dir = folder
	command.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + folder}, environment...)
	command.Stdout, command.Stderr = logFile, logFile
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := command.Start(); err != nil {
		return nil, err
	}
	p := &process{command: command, log: logFile, url: url}
	deadline := time.Now().Add(30 * time.Second)
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url+ready, nil)
		if err != nil {
			return nil, err
		}
		if answer, err := http.DefaultClient.Do(request); err == nil {
			_, _ = io.Copy(io.Discard, answer.Body)
			_ = answer.Body.Close()
			if answer.StatusCode < 500 {
				return p, nil
			}
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			p.stop()
			text, _ := os.ReadFile(logFile.Name())
			return nil, fmt.Errorf("%s did not come up:\n%s", name, text)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func (p *process) stop() {
	if p == nil {
		return
	}
	_ = p.command.Process.Signal(syscall.SIGTERM)
	_ = p.command.Wait()
	_ = p.log.Close()
}

// resident is the process's resident memory in bytes.
func (p *process) resident() (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.command.Process.Pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("no VmRSS")
}

// freeAddress is a loopback address that nobody listened on a moment ago.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String(), nil
}

// startServer runs the server on a database.
func startServer(ctx context.Context, s settings, b binaries, name, database string) (*process, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	return start(ctx, s.folder, name, "http://"+address, "/readyz", []string{
		"TOKENVAULT_LISTEN=" + address, "TOKENVAULT_PUBLIC_URL=http://" + address, "TOKENVAULT_DATABASE_URL=" + database,
		"TOKENVAULT_SERVER_KEYS=" + b.keys, "TOKENVAULT_ALLOW_PRIVATE_NETWORKS=true", "TOKENVAULT_REGISTRATION=open",
	}, b.server, "serve")
}

// startWebhook runs a webhook in a new folder.
func startWebhook(ctx context.Context, s settings, b binaries, name, tokenVault string) (*process, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	return start(ctx, s.folder, name, "http://"+address, "/v1/health", []string{
		"TV_WEBHOOK_LISTEN=" + address, "TV_WEBHOOK_EXTERNAL_URL=http://" + address, "TV_WEBHOOK_TOKENVAULT_URL=" + tokenVault,
		"TV_WEBHOOK_DATA=" + filepath.Join(s.folder, name), "TV_WEBHOOK_ALLOW_PRIVATE_NETWORKS=true",
	}, b.webhook)
}

// startBare runs the yardstick, which answers what is in answer.
func startBare(ctx context.Context, s settings, name string, answer exchange) (*process, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	path := filepath.Join(s.folder, name+".answer")
	if err := os.WriteFile(path, answer.encode(), 0o600); err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return start(ctx, s.folder, name, "http://"+address, "/", []string{"BARE_LISTEN=" + address}, self, bareCommand, path)
}
