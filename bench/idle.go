package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"time"
)

func bytesReader(b []byte) io.Reader { return bytes.NewReader(b) }

// measureIdle: how soon a server is ready on an existing database, and how much
// memory it holds when nothing happens.
func measureIdle(ctx context.Context, s settings, b binaries) error {
	postgres, err := newDatabase(ctx, s.postgres, "idle")
	if err != nil {
		return err
	}
	for name, database := range map[string]string{
		"PostgreSQL": postgres,
		"SQLite":     "sqlite:" + filepath.Join(s.folder, "idle.db"),
	} {
		first, err := startServer(ctx, s, b, "idle", database) // migrates
		if err != nil {
			return err
		}
		first.stop()
		var ready series
		var resident int64
		for range s.runs {
			began := time.Now()
			p, err := startServer(ctx, s, b, "idle", database)
			if err != nil {
				return err
			}
			ready = append(ready, float64(time.Since(began).Microseconds())/1000)
			if _, err := signUp(ctx, p.url, fmt.Sprintf("idle-%d@example.com", time.Now().UnixNano())); err != nil {
				p.stop()
				return err
			}
			time.Sleep(2 * time.Second) // idle is the absence of work
			size, err := p.resident()
			p.stop()
			if err != nil {
				return err
			}
			resident = max(resident, size)
		}
		fmt.Printf("%-44s ready in %.0f ms (%.0f–%.0f), wanted 1000; %.1f MiB resident after a sign-up, wanted 64\n",
			"server at idle on "+name, ready.median(), slices.Min(ready), slices.Max(ready), float64(resident)/(1<<20))
	}
	return nil
}
