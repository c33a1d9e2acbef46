package app

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/tvzero/tokenvault/models/store/storetest"
	"github.com/tvzero/tokenvault/server/internal/config"
	"github.com/tvzero/tokenvault/webhook-sdk/webhooktest"
)

func BenchmarkProf(b *testing.B) {
	wh := webhooktest.Start(b, b.TempDir())
	u, _ := url.Parse("http://127.0.0.1:0")
	keys, _ := makeKeys()
	a, err := New(context.Background(), config.Config{Listen: "127.0.0.1:0", PublicURL: u, DatabaseURL: storetest.URL(b, "postgres"), ServerKeys: keys, AllowPrivateNetworks: true}, slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})))
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- a.Run(ctx) }()
	defer func() { cancel(); <-done }()
	o := &devOwner{server: a.URL(), email: "a@example.com", password: "long enough password"}
	must := func(err error) {
		if err != nil {
			b.Fatal(err)
		}
	}
	must(o.register(ctx))
	_, err = o.bind(ctx, wh.URL)
	must(err)
	must(o.store(ctx, "github", map[string]any{"tokenType": "PlainText", "accessToken": "x"}))
	var reqs [][]byte
	for i := range 64 {
		k, err := o.createAgent(ctx, fmt.Sprint("agent", i))
		must(err)
		must(o.grant(ctx, "github"))
		reqs = append(reqs, []byte("GET /api/agents/credentials?service=github HTTP/1.1\r\nHost: x\r\nUser-Agent: bench\r\nAuthorization: Bearer "+k+"\r\n\r\n"))
	}
	conns := 64
	var wg sync.WaitGroup
	per := b.N/conns + 1
	b.ResetTimer()
	st := time.Now()
	for w := range conns {
		wg.Go(func() {
			c, err := net.Dial("tcp", a.Address())
			if err != nil {
				panic(err)
			}
			r := bufio.NewReader(c)
			for i := range per {
				_, _ = c.Write(reqs[(w+i)%64])
				n := 0
				for {
					l, err := r.ReadSlice('\n')
					if err != nil {
						panic(err)
					}
					if n == 0 && string(l[9:12]) != "307" {
						panic(string(l))
					}
					n++
					if len(l) <= 2 {
						break
					}
				}
			}
			c.Close()
		})
	}
	wg.Wait()
	s := a.audit.Stats()
	b.ReportMetric(float64(per*conns)/time.Since(st).Seconds(), "req/s")
	b.ReportMetric(float64(s.Rows)/float64(s.Batches), "rows/batch")
	_ = io.Discard
}
