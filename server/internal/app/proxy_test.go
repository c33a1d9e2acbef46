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
// what a firewall does that forgot a connection. And it can cut everything, as a
// database does that is started anew.
type listenProxy struct {
	url      string // of the database, through the proxy
	listener net.Listener
	target   string
	working  sync.WaitGroup

	mu     sync.Mutex
	conns  []net.Conn
	frozen chan struct{} // closed: listening connections are half-open from now on
	heard  int           // connections over which LISTEN was sent
	down   bool          // new connections are closed at once
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
		p.outage(true)
		p.working.Wait()
	})
	return p
}

// outage cuts all connections and takes no new ones, until it is over.
func (p *listenProxy) outage(down bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = down
	if down {
		for _, c := range p.conns {
			_ = c.Close()
		}
		p.conns = nil
	}
}

// keep remembers a connection, or reports that there is an outage.
func (p *listenProxy) keep(client, server net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.down {
		_, _ = client.Close(), server.Close()
		return false
	}
	p.conns = append(p.conns, client, server)
	return true
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
		if !p.keep(client, server) {
			continue
		}
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
