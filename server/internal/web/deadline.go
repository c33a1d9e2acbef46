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

// watchAfter is how long a request is served before anybody looks whether its client is
// still there.
const watchAfter = 100 * time.Millisecond

// LazyDeadlines makes a listener's connections set few deadlines, and watch few
// clients. net/http moves a connection's deadlines seven times a request, each time with a
// timer of the runtime, and reads beside every handler, to break the read off when the
// handler is done; at high rates that is eight percent of the server. Here a read deadline is
// set some seconds ahead and moved when it comes and was not meant; what is asked for holds
// to the instant. A write deadline may come up to deadlineStep early. A read of one byte,
// by which net/http watches, begins watchAfter later; only a deadline that is over already
// ends the wait. Who takes a connection over must not read it byte by byte, nor in two
// places at once: nobody here takes one over. Listeners of other kinds stay as they are.
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
	return &lazyConn{TCPConn: conn, woken: make(chan bool, 1)}, nil
}

// A lazyConn's deadlines may be set while others read and write.
type lazyConn struct {
	*net.TCPConn
	mu     sync.Mutex
	wanted time.Time // for reading, as asked for; zero: none
	set    time.Time // for reading, not after wanted; zero: none
	write  time.Time // zero: none

	watching bool        // somebody waits for woken
	woken    chan bool   // whether to read; one element for each watch
	patience *time.Timer // wakes whoever watches
}

func (c *lazyConn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

func (c *lazyConn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wanted = t
	if c.watching && !t.IsZero() && !time.Now().Before(t) {
		c.wake(false)
		return nil
	}
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
	if len(p) == 1 && !c.watch() {
		return 0, os.ErrDeadlineExceeded
	}
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

// watch waits for watchAfter, or until the deadline is moved to a time that is over:
// then it returns false.
func (c *lazyConn) watch() bool {
	c.mu.Lock()
	wait := watchAfter
	if !c.wanted.IsZero() {
		wait = min(wait, time.Until(c.wanted))
	}
	if wait <= 0 || c.watching {
		c.mu.Unlock()
		return wait > 0 // somebody watches already: read
	}
	c.watching = true
	if c.patience == nil {
		c.patience = time.AfterFunc(wait, c.watched)
	} else {
		c.patience.Reset(wait)
	}
	c.mu.Unlock()
	return <-c.woken
}

// watched is patience's end. It may come late, in the next watch: that one reads sooner.
func (c *lazyConn) watched() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.watching {
		c.wake(true)
	}
}

// wake ends the watch that is under way. The lock is held.
func (c *lazyConn) wake(read bool) {
	c.watching = false
	c.patience.Stop()
	c.woken <- read
}
