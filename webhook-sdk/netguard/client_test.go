package netguard_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tvzero/tokenvault/webhook-sdk/netguard"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve starts a server on loopback, and returns its URL and a client of the policy
// that may go there.
func serve(t *testing.T, p netguard.Policy, h http.HandlerFunc) (string, *http.Client) {
	t.Helper()
	server := httptest.NewServer(h)
	p.AllowPrivate = true
	client := p.Client()
	t.Cleanup(func() { client.CloseIdleConnections(); server.Close() })
	return server.URL, client
}

// read makes the call and reads the answer.
func read(client *http.Client, url string) (status int, body []byte, err error) {
	answer, err := client.Get(url)
	if err != nil {
		return 0, nil, err
	}
	defer answer.Body.Close()
	body, err = io.ReadAll(answer.Body)
	return answer.StatusCode, body, err
}

func TestAnOrdinaryCallWorks(t *testing.T) {
	t.Parallel()
	url, client := serve(t, netguard.Policy{}, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") })
	status, body, err := read(client, url)
	if err != nil || status != 200 || string(body) != "hello" {
		t.Errorf("got %d %q, %v, want 200 hello", status, body, err)
	}
}

func TestPlainHTTPIsRefusedAndTheBodyIsClosed(t *testing.T) {
	t.Parallel()
	body := &closing{Reader: strings.NewReader("x")}
	_, err := (netguard.Policy{}).Client().Post("http://example.com/", "text/plain", body)
	if !errors.Is(err, netguard.ErrBadURL) {
		t.Errorf("got %v, want ErrBadURL", err)
	}
	if !body.closed.Load() {
		t.Error("the request's body was left open")
	}
}

type closing struct {
	io.Reader
	closed atomic.Bool
}

func (c *closing) Close() error { c.closed.Store(true); return nil }

func TestARedirectIsReturnedAndNotFollowed(t *testing.T) {
	t.Parallel()
	for _, status := range []int{301, 302, 303, 307, 308} {
		var calls atomic.Int64
		url, client := serve(t, netguard.Policy{}, func(w http.ResponseWriter, r *http.Request) {
			calls.Add(1)
			http.Redirect(w, r, "/elsewhere", status)
		})
		answer, err := client.Post(url, "text/plain", strings.NewReader("secret"))
		if err != nil {
			t.Fatalf("%d: got %v, want the redirect as an answer", status, err)
		}
		_ = answer.Body.Close()
		if answer.StatusCode != status || answer.Header.Get("Location") != "/elsewhere" || calls.Load() != 1 {
			t.Errorf("got %d to %q after %d calls, want %d to /elsewhere after 1", answer.StatusCode, answer.Header.Get("Location"), calls.Load(), status)
		}
	}
}

func TestAnAnswerIsReadUpToTheLimitAndNoFurther(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name            string
		size            int
		limit           int64
		declared, fails bool
	}{
		{"below", 99, 100, true, false},
		{"exactly", 100, 100, true, false},
		{"one more", 101, 100, true, true},
		{"exactly, chunked", 100, 100, false, false},
		{"one more, chunked", 101, 100, false, true},
		{"huge, chunked", 5 << 20, 100, false, true},
		{"the default exactly", 1 << 20, 0, false, false},
		{"one more than the default", 1<<20 + 1, 0, false, true},
		{"a negative limit is the default", 1<<20 + 1, -1, false, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			url, client := serve(t, netguard.Policy{MaxBody: c.limit}, func(w http.ResponseWriter, _ *http.Request) {
				if !c.declared {
					w.(http.Flusher).Flush()
				}
				_, _ = w.Write(bytes.Repeat([]byte("x"), c.size))
			})
			limit := int(c.limit)
			if c.limit <= 0 {
				limit = netguard.DefaultMaxBody
			}
			_, body, err := read(client, url)
			if errors.Is(err, netguard.ErrTooLarge) != c.fails || (!c.fails && err != nil) {
				t.Errorf("%d bytes: got %v, want ErrTooLarge: %v", c.size, err, c.fails)
			}
			if want := min(c.size, limit); len(body) != want {
				t.Errorf("%d bytes: got %d, want %d", c.size, len(body), want)
			}
		})
	}
}

func TestReadingOnAfterTooLargeKeepsFailing(t *testing.T) {
	t.Parallel()
	url, client := serve(t, netguard.Policy{MaxBody: 3}, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "12345") })
	answer, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	for range 3 {
		var one [1]byte
		if _, err := io.ReadFull(answer.Body, one[:]); err != nil {
			t.Fatalf("within the limit: got %v, want a byte", err)
		}
	}
	for range 3 {
		var one [1]byte
		if n, err := answer.Body.Read(one[:]); n != 0 || !errors.Is(err, netguard.ErrTooLarge) {
			t.Errorf("beyond the limit: got %d bytes, %v, want 0, ErrTooLarge", n, err)
		}
	}
}

func TestACompressedAnswerIsNotUnpacked(t *testing.T) {
	t.Parallel()
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	_, _ = z.Write(make([]byte, 10<<20))
	_ = z.Close()
	url, client := serve(t, netguard.Policy{}, func(w http.ResponseWriter, r *http.Request) {
		if got := r.Header.Get("Accept-Encoding"); got != "" {
			http.Error(w, "asked for "+got, http.StatusTeapot)
			return
		}
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(bomb.Bytes())
	})
	status, body, err := read(client, url)
	if err != nil || status != 200 || !bytes.Equal(body, bomb.Bytes()) {
		t.Errorf("got %d with %d bytes, %v, want 200 with the %d bytes as they were sent", status, len(body), err, bomb.Len())
	}
}

func TestHeadersThatAreTooLargeAreAnError(t *testing.T) {
	t.Parallel()
	url, client := serve(t, netguard.Policy{}, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Large", strings.Repeat("x", 128<<10))
	})
	if status, _, err := read(client, url); err == nil {
		t.Errorf("got %d, want an error", status)
	}
}

func TestASlowAnswerTimesOut(t *testing.T) {
	t.Parallel()
	const timeout = 100 * time.Millisecond
	for name, h := range map[string]http.HandlerFunc{
		"no headers": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"no body": func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(200)
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		},
		"a dripping body": func(w http.ResponseWriter, r *http.Request) {
			drip := time.NewTicker(time.Millisecond)
			defer drip.Stop()
			for {
				select {
				case <-r.Context().Done():
					return
				case <-drip.C:
					_, _ = io.WriteString(w, "x")
					w.(http.Flusher).Flush()
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url, client := serve(t, netguard.Policy{Timeout: timeout}, h)
			status, _, err := read(client, url)
			if !netguard.IsTimeout(err) {
				t.Errorf("got %d, %v, want a timeout", status, err)
			}
		})
	}
}

func TestAHostThatNeverSpeaksTLSTimesOut(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close() // accepted by the kernel, answered by nobody
	client := netguard.Policy{AllowPrivate: true, Timeout: 100 * time.Millisecond}.Client()
	if _, _, err := read(client, "https://"+listener.Addr().String()); !netguard.IsTimeout(err) {
		t.Errorf("got %v, want a timeout", err)
	}
}

func TestIsTimeoutTellsATimeoutFromOtherFailures(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	_ = listener.Close()
	client := netguard.Policy{AllowPrivate: true}.Client()
	_, _, err = read(client, "http://"+address)
	if err == nil || netguard.IsTimeout(err) {
		t.Errorf("a refused connection: got %v, timeout %v, want an error that is none", err, netguard.IsTimeout(err))
	}
	for err, want := range map[error]bool{
		nil: false, context.Canceled: false, netguard.ErrTooLarge: false, context.DeadlineExceeded: true,
	} {
		if got := netguard.IsTimeout(err); got != want {
			t.Errorf("IsTimeout(%v): got %v, want %v", err, got, want)
		}
	}
}

func TestOldTLSIsRefused(t *testing.T) {
	t.Parallel()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	server.TLS = &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	defer server.Close()
	transport := netguard.Policy{AllowPrivate: true}.Transport()
	defer transport.CloseIdleConnections()
	transport.TLSClientConfig.RootCAs = server.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	if status, _, err := read(&http.Client{Transport: transport}, server.URL); err == nil || !strings.Contains(err.Error(), "protocol version") {
		t.Errorf("TLS 1.1: got %d, %v, want an error about the protocol version", status, err)
	}
}

func TestHTTP2IsSpokenWithWhoeverOffersIt(t *testing.T) {
	t.Parallel()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Proto) }))
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	transport := netguard.Policy{AllowPrivate: true}.Transport()
	defer transport.CloseIdleConnections()
	transport.TLSClientConfig.RootCAs = server.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	if _, body, err := read(&http.Client{Transport: transport}, server.URL); err != nil || string(body) != "HTTP/2.0" {
		t.Errorf("got %q, %v, want HTTP/2.0", body, err)
	}
}
