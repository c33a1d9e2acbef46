package app_test

import (
	"bytes"
	"net"
	"net/url"
	"sync"
	"testing"
)

// A listenProxy stands between a replica and PostgreSQL. It can stop passing on
// anything on the connections over which LISTEN was sent, without closing them:
// what a firewall does that forgot a connection.
type listenProxy struct {
	url      string // of the database, through the proxy
	listener net.Listener
	target   string
	working  sync.WaitGroup

	mu     sync.Mutex
	conns  []net.Conn
	frozen chan struct{} // closed: listening connections are half-open from now on
	heard  int           // connections over which LISTEN was sent
}

func startListenProxy(t testing.TB, database string) *listenProxy {
	t.Helper()
	u, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &listenProxy{listener: l, target: u.Host, frozen: make(chan struct{})}
	u.Host = l.Addr().String()
	p.url = u.String()
	p.working.Go(p.run)
	t.Cleanup(func() {
		_ = l.Close()
		p.mu.Lock()
		for _, c := range p.conns {
			_ = c.Close()
		}
		p.mu.Unlock()
		p.working.Wait()
	})
	return p
}

// freeze makes what listens half-open, for ever, and returns how many
// connections had listened.
func (p *listenProxy) freeze() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.frozen)
	return p.heard
}

func (p *listenProxy) run() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.target)
		if err != nil {
			_ = client.Close()
			continue
		}
		p.mu.Lock()
		p.conns = append(p.conns, client, server)
		p.mu.Unlock()
		listens := make(chan struct{}) // closed when LISTEN was sent
		p.working.Go(func() { p.pass(client, server, listens, true) })
		p.working.Go(func() { p.pass(server, client, listens, false) })
	}
}

// pass copies one direction of a connection until it ends. What arrives on a
// frozen one is swallowed.
func (p *listenProxy) pass(from, to net.Conn, listens chan struct{}, requests bool) {
	defer func() { _ = to.Close() }()
	buffer := make([]byte, 64<<10)
	known := false
	for {
		n, err := from.Read(buffer)
		if err != nil {
			return
		}
		if requests && !known && bytes.Contains(buffer[:n], []byte("LISTEN ")) {
			known = true
			close(listens)
			p.mu.Lock()
			p.heard++
			p.mu.Unlock()
		}
		if p.swallows(listens) {
			continue
		}
		if _, err := to.Write(buffer[:n]); err != nil {
			return
		}
	}
}

func (p *listenProxy) swallows(listens chan struct{}) bool {
	select {
	case <-listens:
	default:
		return false
	}
	select {
	case <-p.frozen:
		return true
	default:
		return false
	}
}
