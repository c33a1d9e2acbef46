package storage

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// filled is a folder with n tokens of a usual size.
func filled(b *testing.B, n int) *File {
	b.Helper()
	f := open(b, newDir(b), FileOptions{})
	for i := range n {
		if err := f.Put(b.Context(), CollectionTokens, benchItem(i), Condition{}); err != nil {
			b.Fatal(err)
		}
	}
	return f
}

func benchItem(i int) Item {
	meta := map[string]any{"serviceName": fmt.Sprint(i), "tokenType": "PlainText", "creationId": "c", "expiryTime": 1767323045000}
	data := `{"v":2,"alg":"AES-256-GCM","fields":{"accessToken":"` + strings.Repeat("A", 92) + `"},"meta":{}}`
	return Item{Key: fmt.Sprintf("service-%d", i), Meta: meta, Data: json.RawMessage(data)}
}

func BenchmarkStore(b *testing.B) {
	for _, n := range []int{10, 10_000} {
		b.Run(fmt.Sprintf("among=%d", n), func(b *testing.B) {
			f := filled(b, n)
			before := f.Stats()
			i := 0
			for b.Loop() {
				if err := f.Put(b.Context(), CollectionTokens, benchItem(i%n), Condition{}); err != nil {
					b.Fatal(err)
				}
				i++
			}
			after := f.Stats()
			b.ReportMetric(float64(after.Syncs-before.Syncs)/float64(i), "syncs/op")
			b.ReportMetric(float64(after.BytesWritten-before.BytesWritten)/float64(i), "written-B/op")
		})
	}
}

func BenchmarkGet(b *testing.B) {
	f := filled(b, 10_000)
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(p *testing.PB) {
		for i := 0; p.Next(); i++ {
			if _, err := f.Get(b.Context(), CollectionTokens, fmt.Sprintf("service-%d", i%10_000)); err != nil {
				b.Error(err)
			}
		}
	})
}

// BenchmarkRelease is what a release asks of the storage: a document, and a durable
// record.
func BenchmarkRelease(b *testing.B) {
	f := filled(b, 10_000)
	data := json.RawMessage(`{"timestamp":"2026-01-02T03:04:05.678Z","event":"release","purpose":"agent_credential","service":"service-1",` +
		`"aid":"0197c5a0-0000-7000-8000-000000000000","address":"192.0.2.1","outcome":"ok"}`)
	before := f.Stats()
	b.SetParallelism(32) // times the processors: some 64 connections
	b.ResetTimer()
	b.RunParallel(func(p *testing.PB) {
		for i := 0; p.Next(); i++ {
			if _, err := f.Get(b.Context(), CollectionTokens, fmt.Sprintf("service-%d", i%10_000)); err != nil {
				b.Error(err)
			}
			if err := f.AppendAudit(b.Context(), Audit{Time: day, Data: data}); err != nil {
				b.Error(err)
			}
		}
	})
	b.ReportMetric(float64(f.Stats().Syncs-before.Syncs)/float64(b.N), "syncs/op")
}

func BenchmarkListOneOf10000(b *testing.B) {
	f := filled(b, 10_000)
	for b.Loop() {
		page, err := f.List(b.Context(), CollectionTokens, Query{Filters: map[string]any{"serviceName": "77"}})
		if err != nil || len(page.Items) != 1 {
			b.Fatal(len(page.Items), err)
		}
	}
}

func BenchmarkOpen10000(b *testing.B) {
	dir := newDir(b)
	f := open(b, dir, FileOptions{})
	for i := range 10_000 {
		if err := f.Put(b.Context(), CollectionTokens, benchItem(i), Condition{}); err != nil {
			b.Fatal(err)
		}
	}
	shut(b, f)
	for b.Loop() {
		shut(b, open(b, dir, FileOptions{}))
	}
}
