package store_test

import (
	"net"
	"net/url"
	"sync"
	"testing"

	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/models/store/storetest"
)

// A netFault is what a proxy does to the next piece of data that passes.
type netFault int

const (
	noFault       netFault = iota
	cutRequest             // lose what the client sends, and the connection
	loseAnswer             // deliver what the client sends, but lose the answer and the connection
	freezeRequest          // pass nothing on any more, and keep the connection: half-open
)

// A proxy stands between a store and PostgreSQL and does what networks do.
type proxy struct {
	listener net.Listener
	target   string
	mu       sync.Mutex
	fault    netFault
	skip     int           // requests that pass before the fault
	passed   chan struct{} // closed at the next request, if somebody waits
	conns    []net.Conn
	frozen   chan struct{} // closed when nothing may pass on the connections of its time
	thawed   chan struct{}
	working  sync.WaitGroup
}

// viaProxy returns the URL of a new PostgreSQL database through a proxy, and
// directly.
func viaProxy(t *testing.T) (p *proxy, through, direct string) {
	t.Helper()
	direct = storetest.URL(t, store.Postgres)
	u, err := url.Parse(direct)
	ok(t, err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	ok(t, err)
	p = &proxy{listener: listener, target: u.Host, frozen: make(chan struct{}), thawed: make(chan struct{})}
	p.working.Go(p.run)
	t.Cleanup(p.stop)
	u.Host = listener.Addr().String()
	return p, u.String(), direct
}

func (p *proxy) run() {
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
		frozen := p.frozen
		p.mu.Unlock()
		lost := make(chan struct{}) // closed when the answer shall be lost
		p.working.Go(func() { p.requests(client, server, lost, frozen) })
		p.working.Go(func() { p.answers(client, server, lost, frozen) })
	}
}

func (p *proxy) requests(client, server net.Conn, lost, frozen chan struct{}) {
	defer func() { _ = server.Close() }()
	buf := make([]byte, 1<<20)
	for {
		n, err := client.Read(buf)
		if err != nil {
			return
		}
		if p.isFrozen(frozen) {
			return
		}
		switch p.take() {
		case cutRequest:
			_ = client.Close()
			return
		case freezeRequest:
			<-p.thawed
			return
		case loseAnswer:
			close(lost)
		case noFault:
		}
		if _, err := server.Write(buf[:n]); err != nil {
			return
		}
	}
}

func (p *proxy) answers(client, server net.Conn, lost, frozen chan struct{}) {
	defer func() { _ = client.Close() }()
	buf := make([]byte, 1<<20)
	for {
		n, err := server.Read(buf)
		if err != nil {
			return
		}
		if p.isFrozen(frozen) {
			return
		}
		select {
		case <-lost:
			return
		default:
		}
		if _, err := client.Write(buf[:n]); err != nil {
			return
		}
	}
}

// freeze makes the connections that there are half-open: they stay, and nothing
// passes on them any more.
func (p *proxy) freeze() {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.frozen)
	p.frozen = make(chan struct{})
}

// isFrozen holds a frozen connection's data back until the proxy ends.
func (p *proxy) isFrozen(frozen chan struct{}) bool {
	select {
	case <-frozen:
		<-p.thawed
		return true
	default:
		return false
	}
}

// next sets what happens to the next request.
func (p *proxy) next(f netFault) { p.nextAfter(0, f) }

// nextAfter sets what happens to the request after some others.
func (p *proxy) nextAfter(skip int, f netFault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.skip, p.fault = skip, f
}

func (p *proxy) take() netFault {
	p.mu.Lock()
	defer p.mu.Unlock()
	f := p.fault
	if f != noFault && p.skip > 0 {
		p.skip--
		return noFault
	}
	p.fault = noFault
	if p.passed != nil {
		close(p.passed)
		p.passed = nil
	}
	return f
}

// nextRequest is closed when a client next sends something.
func (p *proxy) nextRequest() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.passed = make(chan struct{})
	return p.passed
}

func (p *proxy) stop() {
	_ = p.listener.Close()
	close(p.thawed)
	p.mu.Lock()
	for _, c := range p.conns {
		_ = c.Close()
	}
	p.mu.Unlock()
	p.working.Wait()
}
