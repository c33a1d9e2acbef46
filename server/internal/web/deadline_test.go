package web_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/tvzero/tokenvault/server/internal/web"
)

func listenLazily(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return web.LazyDeadlines(l)
}

// lazyPair are the two ends of a connection; the first has lazy deadlines.
func lazyPair(t *testing.T) (ours, theirs net.Conn) {
	t.Helper()
	l := listenLazily(t)
	theirs, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if ours, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = ours.Close(), theirs.Close() })
	return ours, theirs
}

// past is how net/http breaks off a read.
var past = time.Unix(1, 0)

// watchLonger is longer than a client is left unwatched.
const watchLonger = 150 * time.Millisecond

// sizes are of reads: of one byte, by which net/http watches a client, and of others.
var sizes = []int{1, 100}

func TestADeadlineThatIsMetEndsARead(t *testing.T) {
	t.Parallel()
	for what, deadline := range map[string]func() time.Time{
		"soon": func() time.Time { return time.Now().Add(20 * time.Millisecond) }, "past": func() time.Time { return past },
		"after a watch": func() time.Time { return time.Now().Add(watchLonger) },
	} {
		for _, size := range sizes {
			t.Run(fmt.Sprintf("%s, %d bytes", what, size), func(t *testing.T) {
				t.Parallel()
				ours, _ := lazyPair(t)
				for _, before := range []time.Time{{}, time.Now().Add(time.Hour), past} {
					end := deadline()
					if err := errors.Join(ours.SetReadDeadline(before), ours.SetReadDeadline(end)); err != nil {
						t.Fatal(err)
					}
					if _, err := ours.Read(make([]byte, size)); !errors.Is(err, os.ErrDeadlineExceeded) || time.Now().Before(end) {
						t.Errorf("after %v: read ended with %v %v early, want that the deadline was exceeded", before, err, time.Until(end))
					}
				}
			})
		}
	}
}

func TestADeadlineThatWasMovedDoesNotEndARead(t *testing.T) {
	t.Parallel()
	for _, size := range sizes {
		movedDeadlines(t, size)
	}
}

func movedDeadlines(t *testing.T, size int) {
	t.Helper()
	ours, theirs := lazyPair(t)
	for i, later := range []time.Time{{}, time.Now().Add(time.Hour)} {
		if err := errors.Join(ours.SetReadDeadline(time.Now().Add(10*time.Millisecond)), ours.SetReadDeadline(later)); err != nil {
			t.Fatal(err)
		}
		got := make(chan error, 1)
		go func() {
			_, err := ours.Read(make([]byte, size))
			got <- err
		}()
		select {
		case err := <-got:
			t.Fatalf("deadline %d: the read ended by itself: %v", i, err)
		case <-time.After(50 * time.Millisecond): // the deadline of before is over
		}
		if _, err := theirs.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if err := <-got; err != nil {
			t.Errorf("deadline %d: read: %v", i, err)
		}
	}
}

func TestAReadUnderWayIsBrokenOff(t *testing.T) {
	t.Parallel()
	for _, size := range sizes {
		for _, after := range []time.Duration{0, time.Millisecond, 99 * time.Millisecond, 120 * time.Millisecond} { // before, in and after a watch
			t.Run(fmt.Sprintf("%d bytes, after %s", size, after), func(t *testing.T) {
				t.Parallel()
				breakOff(t, size, after)
			})
		}
	}
}

func breakOff(t *testing.T, size int, after time.Duration) {
	t.Helper()
	ours, theirs := lazyPair(t)
	for range 10 {
		if err := ours.SetReadDeadline(time.Time{}); err != nil {
			t.Fatal(err)
		}
		got := make(chan error, 1)
		go func() {
			_, err := ours.Read(make([]byte, size))
			got <- err
		}()
		select {
		case err := <-got:
			t.Fatalf("the read ended by itself: %v", err)
		case <-time.After(after):
		}
		if err := ours.SetReadDeadline(past); err != nil {
			t.Fatal(err)
		}
		if err := <-got; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("read ended with %v, want that the deadline was exceeded", err)
		}
	}
	if err := ours.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	if _, err := theirs.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := ours.Read(make([]byte, size)); err != nil {
		t.Errorf("read after that: %v", err)
	}
}

func TestAWriteDeadlineEndsAWriteThatNobodyReads(t *testing.T) {
	t.Parallel()
	ours, _ := lazyPair(t)
	if err := errors.Join(ours.SetWriteDeadline(time.Now().Add(time.Hour)), ours.SetDeadline(time.Now().Add(50*time.Millisecond))); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(ours, neverEnding{}); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("write ended with %v, want that the deadline was exceeded", err)
	}
	if err := ours.SetWriteDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
}

type neverEnding struct{}

func (neverEnding) Read(p []byte) (int, error) { return len(p), nil }

// A server that waits for whoever sends nothing gives up, on a fresh connection as
// after a request.
func TestASilentClientIsCutOff(t *testing.T) {
	t.Parallel()
	for _, requests := range []int{0, 1, 3} {
		// On a machine that stalls, a client that talks may seem silent.
		short := 50 * time.Millisecond
		for !cutOff(t, requests, short) {
			if short *= 4; short > 15*time.Second {
				t.Fatalf("%d requests, and the half of another, were not served before the server gave up", requests)
			}
		}
	}
}

// cutOff sends so many requests and half of another to a server that waits for so long,
// until the server ends the connection. It reports whether it did so then, and not before.
func cutOff(t *testing.T, requests int, patience time.Duration) bool {
	t.Helper()
	l := listenLazily(t)
	server := &http.Server{
		Handler:     http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }),
		ReadTimeout: patience, ReadHeaderTimeout: patience, IdleTimeout: patience,
	}
	go func() { _ = server.Serve(l) }()
	defer func() { _ = server.Close() }()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetReadDeadline(time.Now().Add(2 * time.Minute))
	r := bufio.NewReader(conn)
	for range requests {
		if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			return false
		}
		answer, err := http.ReadResponse(r, nil)
		if err != nil {
			return false
		}
		if body, err := io.ReadAll(answer.Body); err != nil || string(body) != "hello" {
			t.Fatalf("answer %q, %v", body, err)
		}
	}
	if _, err := io.WriteString(conn, "GET / HT"); err != nil {
		return false
	}
	if _, err := io.ReadAll(r); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("after %d requests and half of another the server still waits", requests)
	}
	return true
}

// A server notices that a client has gone while its request is served, and answers
// requests that were sent before they were asked for.
func TestClientsAreWatchedWhileTheyAreServed(t *testing.T) {
	t.Parallel()
	l := listenLazily(t)
	gone := make(chan error, 1)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/wait":
			select {
			case <-r.Context().Done():
			case <-time.After(time.Minute):
			}
			gone <- r.Context().Err()
		case "/slow":
			<-time.After(watchLonger)
		}
		_, _ = io.WriteString(w, r.URL.Path)
	}), ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	paths := []string{"/quick", "/slow", "/slow", "/quick", "/slow"}
	for _, path := range append(paths, "/wait") {
		if _, err := io.WriteString(conn, "GET "+path+" HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
	}
	r := bufio.NewReader(conn)
	for i, path := range paths {
		answer, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatalf("answer %d: %v", i, err)
		}
		if body, err := io.ReadAll(answer.Body); err != nil || string(body) != path {
			t.Errorf("answer %d: %q, %v, want %q", i, body, err, path)
		}
	}
	_ = conn.Close()
	if err := <-gone; err == nil {
		t.Error("a client that has gone was not noticed")
	}
}
