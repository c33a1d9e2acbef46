package web

import (
	"errors"
	"net"
	"os"
	"sync"
	"time"
)

// deadlineStep is how far ahead a read deadline is set, and how much earlier than
// asked for a write deadline may come.
const deadlineStep = 10 * time.Second

// LazyDeadlines makes a listener's connections set few deadlines. net/http moves a
// connection's deadlines seven times a request, each time with a timer of the
// runtime; at high rates that is a few percent of the server. Here a read deadline is
// set some seconds ahead and moved when it comes and was not meant; what is
// asked for holds to the instant. A write deadline may come up to deadlineStep early.
// Listeners of other kinds stay as they are.
func LazyDeadlines(l net.Listener) net.Listener {
	if tcp, ok := l.(*net.TCPListener); ok {
		return lazyListener{tcp}
	}
	return l
}

type lazyListener struct{ *net.TCPListener }

func (l lazyListener) Accept() (net.Conn, error) {
	conn, err := l.AcceptTCP()
	if err != nil {
		return nil, err
	}
	return &lazyConn{TCPConn: conn}, nil
}

// A lazyConn's deadlines may be set while others read and write.
type lazyConn struct {
	*net.TCPConn
	mu     sync.Mutex
	wanted time.Time // for reading, as asked for; zero: none
	set    time.Time // for reading, not after wanted; zero: none
	write  time.Time // zero: none
}

func (c *lazyConn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

func (c *lazyConn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wanted = t
	if t.IsZero() || !c.set.IsZero() && !t.Before(c.set) {
		return nil // what is set comes first, and is looked at then
	}
	c.set = t
	return c.TCPConn.SetReadDeadline(t)
}

func (c *lazyConn) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.write.IsZero() && !t.IsZero() && !t.Before(c.write) && t.Sub(c.write) < deadlineStep {
		return nil
	}
	c.write = t
	return c.TCPConn.SetWriteDeadline(t)
}

// Read goes on when the deadline that came was not the one asked for.
func (c *lazyConn) Read(p []byte) (int, error) {
	for {
		n, err := c.TCPConn.Read(p)
		if n > 0 || err == nil || !errors.Is(err, os.ErrDeadlineExceeded) || !c.extend() {
			return n, err
		}
	}
}

func (c *lazyConn) extend() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	next := now.Add(deadlineStep)
	if !c.wanted.IsZero() {
		if !now.Before(c.wanted) {
			return false
		}
		if c.wanted.Before(next) {
			next = c.wanted
		}
	}
	c.set = next
	return c.TCPConn.SetReadDeadline(next) == nil
}
