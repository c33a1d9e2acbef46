package main_test

import (
	"bytes"
	"net"
	"net/url"
	"sync"
	"testing"
)

// A tap stands on a way over TCP. It passes on everything, and can keep it; and it can hold
// everything back, as a network does that has gone silent. The other end may
// change.
type tap struct {
	listener net.Listener
	keeps    bool
	working  sync.WaitGroup

	mu       sync.Mutex
	target   string
	conns    []net.Conn
	kept     []*bytes.Buffer // each direction of each connection
	posts    int             // pieces that begin with a POST request
	posted   chan struct{}   // holds a value when one came
	silent   bool
	ended    bool
	silenced chan struct{} // closed when something was held back
}

// startTap taps the way to target, HOST:PORT, until the test ends. keeps: what passes.
func startTap(t testing.TB, target string, keeps bool) *tap {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &tap{listener: l, target: target, keeps: keeps, posted: make(chan struct{}, 1), silenced: make(chan struct{})}
	p.working.Go(p.run)
	t.Cleanup(func() {
		_ = l.Close()
		p.mu.Lock()
		p.ended = true
		for _, c := range p.conns {
			_ = c.Close()
		}
		p.mu.Unlock()
		p.working.Wait()
	})
	return p
}

// tapped is a URL whose host is reached through a tap of its own.
func tapped(t testing.TB, address string, keeps bool) (*tap, string) {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	p := startTap(t, u.Host, keeps)
	u.Host = p.address()
	return p, u.String()
}

func (p *tap) address() string { return p.listener.Addr().String() }

// lead sends new connections elsewhere.
func (p *tap) lead(target string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.target = target
}

// silence holds back whatever comes from now on, for ever. It returns what is closed
// when something did.
func (p *tap) silence() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.silent = true
	return p.silenced
}

// requests counts those that were sent with POST.
func (p *tap) requests() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.posts
}

// connections counts those that were made so far.
func (p *tap) connections() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.conns) / 2
}

// record is all that has passed, each direction of each connection by itself.
func (p *tap) record() [][]byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make([][]byte, len(p.kept))
	for i, b := range p.kept {
		all[i] = bytes.Clone(b.Bytes())
	}
	return all
}

func (p *tap) run() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		target := p.target
		p.mu.Unlock()
		server, err := net.Dial("tcp", target)
		if err != nil {
			_ = client.Close()
			continue
		}
		p.mu.Lock()
		if p.ended {
			_, _ = client.Close(), server.Close()
		}
		p.conns = append(p.conns, client, server)
		there, back := &bytes.Buffer{}, &bytes.Buffer{}
		if p.keeps {
			p.kept = append(p.kept, there, back)
		}
		p.mu.Unlock()
		p.working.Go(func() { p.pass(client, server, there, true) })
		p.working.Go(func() { p.pass(server, client, back, false) })
	}
}

// pass copies one direction of a connection until it ends.
func (p *tap) pass(from, to net.Conn, kept *bytes.Buffer, requests bool) {
	defer func() { _, _ = to.Close(), from.Close() }()
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if err != nil {
			return
		}
		if p.note(buffer[:n], kept, requests) {
			continue
		}
		if _, err := to.Write(buffer[:n]); err != nil {
			return
		}
	}
}

// note looks at a piece, and reports whether it is held back.
func (p *tap) note(piece []byte, kept *bytes.Buffer, request bool) (held bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.keeps {
		kept.Write(piece)
	}
	if request && bytes.HasPrefix(piece, []byte("POST ")) {
		p.posts++
		select {
		case p.posted <- struct{}{}:
		default:
		}
	}
	if p.silent {
		select {
		case <-p.silenced:
		default:
			close(p.silenced)
		}
	}
	return p.silent
}
