package netguard

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// nameServer answers every question for an A or AAAA record with the address that
// the policy under test is to be led to. It speaks just enough of RFC 1035.
func nameServer(t *testing.T, address netip.Addr) (resolver *net.Resolver, asked *atomic.Int64) {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { _ = conn.Close(); <-done })
	asked = new(atomic.Int64)
	go func() {
		defer close(done)
		question := make([]byte, 512)
		for {
			n, from, err := conn.ReadFrom(question)
			if err != nil {
				return
			}
			asked.Add(1)
			_, _ = conn.WriteTo(dnsAnswer(question[:n], address), from)
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", conn.LocalAddr().String())
	}}, asked
}

// dnsAnswer answers one question: with address if the type fits, else with nothing.
func dnsAnswer(question []byte, address netip.Addr) []byte {
	end := 12
	for question[end] != 0 {
		end += int(question[end]) + 1
	}
	end += 5 // root label, type, class
	kind := binary.BigEndian.Uint16(question[end-4:])
	answer := append([]byte{}, question[:end]...)
	copy(answer[2:12], []byte{0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0}) // a response without error
	if kind == 1 && address.Is4() || kind == 28 && address.Is6() {
		answer[7] = 1
		data := address.AsSlice()
		answer = append(answer, 0xc0, 12, 0, byte(kind), 0, 1, 0, 0, 0, 1, 0, byte(len(data)))
		answer = append(answer, data...)
	}
	return answer
}

// patient is the strictest policy, with time for a busy machine.
func patient(resolver *net.Resolver) Policy {
	return Policy{resolver: resolver, Timeout: time.Minute, dialTime: time.Minute}
}

func TestANameThatResolvesToAReservedAddressIsNotDialled(t *testing.T) {
	t.Parallel()
	for name, address := range map[string]string{
		"loopback": "127.0.0.1", "unspecified": "0.0.0.0", "private": "10.0.0.1", "metadata": "169.254.169.254",
		"carrier-grade NAT": "100.64.0.1", "multicast": "224.0.0.1",
		"v6 loopback": "::1", "v6 unique local": "fd00::1", "v4-mapped": "::ffff:127.0.0.1",
		"NAT64": "64:ff9b::7f00:1", "6to4": "2002:7f00:1::1", "Teredo": "2001:0:7f00:1::1",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			resolver, asked := nameServer(t, netip.MustParseAddr(address))
			client := patient(resolver).Client()
			answer, err := client.Get("https://innocent.example.com./")
			if err == nil {
				_ = answer.Body.Close()
			}
			if !errors.Is(err, ErrBlocked) {
				t.Errorf("a name that resolves to %s: got %v, want ErrBlocked", address, err)
			}
			if asked.Load() == 0 {
				t.Error("the name was not resolved by the test's name server: the test shows nothing")
			}
		})
	}
}

func TestABlockedCallReachesNobody(t *testing.T) {
	t.Parallel()
	var reached atomic.Int64
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			reached.Add(1)
		}
	}
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	defer server.Close()
	resolver, _ := nameServer(t, netip.MustParseAddr("127.0.0.1"))
	target := "https://innocent.example.com.:" + server.URL[strings.LastIndex(server.URL, ":")+1:]

	if _, err := patient(resolver).Client().Get(target); !errors.Is(err, ErrBlocked) {
		t.Errorf("strict: got %v, want ErrBlocked", err)
	}
	if got := reached.Load(); got != 0 {
		t.Errorf("strict: got %d connections, want 0", got)
	}
	// The same call with AllowPrivate gets as far as the certificate, so that the
	// target was there to be reached.
	lax := patient(resolver)
	lax.AllowPrivate = true
	if _, err := lax.Client().Get(target); err == nil || errors.Is(err, ErrBlocked) {
		t.Errorf("AllowPrivate: got %v, want an error about the certificate", err)
	}
	if got := reached.Load(); got != 1 {
		t.Errorf("AllowPrivate: got %d connections, want 1", got)
	}
}

func TestTheTransportAloneChecksTheAddressToo(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer server.Close()
	client := &http.Client{Transport: Policy{}.Transport()}
	if _, err := client.Get(server.URL); !errors.Is(err, ErrBlocked) {
		t.Errorf("got %v, want ErrBlocked", err)
	}
}

func TestOnlyTCPIsDialled(t *testing.T) {
	t.Parallel()
	if err := (Policy{}).control()("udp4", "93.184.215.14:443", nil); !errors.Is(err, ErrBlocked) {
		t.Errorf("udp: got %v, want ErrBlocked", err)
	}
	if err := (Policy{}).control()("tcp4", "93.184.215.14:8443", nil); err != nil {
		t.Errorf("tcp to a public address: got %v, want it allowed", err)
	}
	if err := (Policy{}).control()("tcp6", "[2606:2800:21f::1]:443", nil); err != nil {
		t.Errorf("tcp to a public IPv6 address: got %v, want it allowed", err)
	}
}

func TestProxiesOfTheEnvironmentAreNotUsed(t *testing.T) {
	var proxied atomic.Int64
	proxy := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { proxied.Add(1) }))
	defer proxy.Close()
	for _, name := range []string{"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"} {
		t.Setenv(name, proxy.URL)
	}
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }))
	defer target.Close()
	// The target has a name, since net/http never takes a proxy to loopback addresses.
	resolver, _ := nameServer(t, netip.MustParseAddr("127.0.0.1"))
	lax := patient(resolver)
	lax.AllowPrivate = true
	client := lax.Client()
	defer client.CloseIdleConnections()
	answer, err := client.Get("http://target.example.com.:" + target.URL[strings.LastIndex(target.URL, ":")+1:])
	if err != nil {
		t.Fatalf("got %v, want an answer of the target", err)
	}
	_ = answer.Body.Close()
	if answer.StatusCode != http.StatusTeapot || proxied.Load() != 0 {
		t.Errorf("got %d and %d calls at the proxy, want 418 of the target and 0", answer.StatusCode, proxied.Load())
	}
}
