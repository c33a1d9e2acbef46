//go:build unix

package webhook_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tvzero/tokenvault/webhook-sdk/storage"
	"github.com/tvzero/tokenvault/webhook-sdk/webhooktest"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

const (
	benchTokens      = 10_000
	benchConnections = 64
)

// BenchmarkCredential releases one PlainText token among 10,000 over 64
// connections, its record on disk before each answer; and, to compare, has a bare
// net/http handler answer the same bytes. The figure that counts is the ratio of
// the two.
func BenchmarkCredential(b *testing.B) {
	wh, tv := webhooktest.New(b)
	fill(b, wh, benchTokens)
	tv.Store("github", plain("ghp_0123456789abcdefghijklmnopqrstuvwxyz"))
	body := tv.Redeem(wire.PathCredential, tv.Ticket(wire.PurposeAgentCredential, "github")).Body

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	bare := &http.Server{Handler: http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "application/json")
		rw.Header().Set("Cache-Control", "no-store")
		_, _ = rw.Write(body)
	})}
	go func() { _ = bare.Serve(listener) }()
	b.Cleanup(func() { _ = bare.Close() })

	b.Run("bare", func(b *testing.B) { load(b, listener.Addr().String(), tv.In(b)) })
	b.Run("webhook", func(b *testing.B) { load(b, strings.TrimPrefix(wh.URL, "http://"), tv.In(b)) })
}

// load sends b.N requests, each with a ticket of its own, over persistent
// connections. Tickets are signed before the clock runs, and answers are read with
// as little work as possible, since client and server share the machine.
func load(b *testing.B, address string, tv *webhooktest.TV) {
	requests := make([]string, b.N)
	for i := range requests {
		ticket := tv.Ticket(wire.PurposeUserReveal, "github") // lives longest
		query := url.Values{"ticket": {tv.Sign(ticket)}, "service": {"github"}}
		requests[i] = "GET " + wire.PathCredential + "?" + query.Encode() + " HTTP/1.1\r\nHost: " + address + "\r\n\r\n"
	}
	connections := make([]net.Conn, benchConnections)
	for i := range connections {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = conn.Close() })
		connections[i] = conn
	}
	var next atomic.Int64
	var group sync.WaitGroup
	failures := make(chan error, len(connections))
	spent := cpuTime(b)
	b.ResetTimer()
	for _, conn := range connections {
		group.Go(func() {
			reader := bufio.NewReader(conn)
			for i := int(next.Add(1)) - 1; i < len(requests); i = int(next.Add(1)) - 1 {
				if err := exchange(conn, reader, requests[i]); err != nil {
					failures <- err
					return
				}
			}
		})
	}
	group.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "req/s")
	// What the machine's other work does not distort: client and server together.
	b.ReportMetric(float64((cpuTime(b)-spent).Nanoseconds())/float64(b.N), "cpu-ns/op")
	select {
	case err := <-failures:
		b.Fatal(err)
	default:
	}
}

// cpuTime is what this process has used, in user and kernel mode.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// exchange sends a request and skips its answer, which must be 200.
func exchange(conn net.Conn, reader *bufio.Reader, request string) error {
	if _, err := io.WriteString(conn, request); err != nil {
		return err
	}
	length := -1
	for line := 0; ; line++ {
		text, err := reader.ReadSlice('\n')
		if err != nil {
			return err
		}
		if line == 0 && string(text[9:12]) != "200" {
			return fmt.Errorf("answered %s", text)
		}
		if len(text) == 2 {
			break
		}
		const name = "Content-Length: "
		if len(text) > len(name) && string(text[:len(name)]) == name {
			length = 0
			for _, c := range text[len(name) : len(text)-2] {
				length = length*10 + int(c-'0')
			}
		}
	}
	if length < 0 {
		return fmt.Errorf("an answer without a length")
	}
	_, err := reader.Discard(length)
	return err
}

// fill puts tokens into the storage past HTTP.
func fill(b *testing.B, wh *webhooktest.Webhook, count int) {
	b.Helper()
	keys := keysOf(b, wh.Dir)
	var next atomic.Int64
	var group sync.WaitGroup
	for range 16 {
		group.Go(func() {
			for i := next.Add(1); i <= int64(count); i = next.Add(1) {
				service := fmt.Sprintf("service-%d", i)
				meta := map[string]any{"serviceName": service, "tokenType": "PlainText", "creationId": service, "createdAt": "2030-01-01T00:00:00.000Z"}
				document, err := keys.SealToken(service, map[string]string{"accessToken": "secret"}, meta)
				if err != nil {
					b.Error(err)
					return
				}
				data, err := json.Marshal(document)
				if err != nil {
					b.Error(err)
					return
				}
				item := storage.Item{Key: service, Meta: document.Meta, Data: data}
				if err := wh.Storage.Put(context.Background(), storage.CollectionTokens, item, storage.Condition{}); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
}
