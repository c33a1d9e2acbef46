package apptest

import (
	"bytes"
	"os"
	"os/exec"
	"regexp"
	"sync"
	"syscall"
	"testing"
	"time"
)

// startLimit is how long a program may take to say that it is ready, on a busy
// machine and built with the race detector.
const startLimit = 2 * time.Minute

// A Process is a program that a test started. It does not outlive the test.
type Process struct {
	Ready []string // what the awaited line said: the whole match and its groups

	t     testing.TB
	cmd   *exec.Cmd
	ended chan struct{} // closed when exit is final
	exit  int           // status; -1: killed

	mu    sync.Mutex
	log   bytes.Buffer
	line  *regexp.Regexp // nil: nobody waits any more
	ready chan []string
}

// Start runs a program with exactly this environment besides PATH, and returns
// once its output, of both kinds, has something that matches ready.
func Start(t testing.TB, ready *regexp.Regexp, environment []string, name string, args ...string) *Process {
	t.Helper()
	p := &Process{t: t, ended: make(chan struct{}), exit: -1, line: ready, ready: make(chan []string, 1)}
	p.cmd = exec.Command(name, args...) // #nosec G204 -- the test's own choice
	p.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH")}, environment...)
	p.cmd.Dir = t.TempDir()
	p.cmd.Stdout, p.cmd.Stderr = p, p
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	go func() {
		_ = p.cmd.Wait()
		p.exit = p.cmd.ProcessState.ExitCode()
		close(p.ended)
	}()
	t.Cleanup(p.Kill)
	select {
	case p.Ready = <-p.ready:
	case <-p.ended:
		t.Fatalf("%s %v ended with status %d before it was ready:\n%s", name, args, p.exit, p.Log())
	case <-time.After(startLimit):
		t.Fatalf("%s %v was not ready after %s:\n%s", name, args, startLimit, p.Log())
	}
	return p
}

// Write takes the program's output.
func (p *Process) Write(text []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.log.Write(text)
	if p.line != nil {
		if found := p.line.FindStringSubmatch(p.log.String()); found != nil {
			p.line = nil
			p.ready <- found
		}
	}
	return len(text), nil
}

// Log is what the program has said so far.
func (p *Process) Log() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

// PID is the program's process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Dir is its working folder.
func (p *Process) Dir() string { return p.cmd.Dir }

// Signal sends it a signal.
func (p *Process) Signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatalf("signal %s: %v", s, err)
	}
}

// Kill ends it at once, as a crash would, and waits until it is gone. A second
// call does nothing.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill()
	<-p.ended
}

// Wait waits for its end and returns the exit status, -1 if a signal ended it.
func (p *Process) Wait(limit time.Duration) int {
	p.t.Helper()
	select {
	case <-p.ended:
	case <-time.After(limit):
		p.t.Fatalf("the process did not end within %s; it said:\n%s", limit, p.Log())
	}
	return p.exit
}

// Stop asks it to end in order and fails the test unless it does.
func (p *Process) Stop() {
	p.t.Helper()
	p.Signal(syscall.SIGTERM)
	if status := p.Wait(time.Minute); status != 0 {
		p.t.Errorf("after SIGTERM the status is %d, want 0; it said:\n%s", status, p.Log())
	}
}
