// Command bench measures the product's speed and memory against yardsticks
// measured in the same run: the real binaries, as processes of their own, on
// PostgreSQL with durable commits, beside a bare gin handler that answers the
// same bytes. It prints ratios with their spread and fails only when something
// could not be measured: figures are for people to judge.
//
// It speaks to the binaries over HTTP and knows nothing of their insides. Run
// it with: make bench
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"time"
)

// settings are what a run measures with.
type settings struct {
	runs        int           // interleaved runs a figure
	duration    time.Duration // of one run
	warm        time.Duration // before the first run at a number of connections
	agents      int
	tokens      int
	connections int    // the only rung that is measured; 0: all
	postgres    string // URL with the right to create databases
	folder      string // temporary
}

func main() {
	if len(os.Args) == 3 && os.Args[1] == bareCommand {
		serveBare(os.Args[2])
		return
	}
	if len(os.Args) == 5 && os.Args[1] == callsCommand {
		if err := makeCalls(os.Args[2], os.Args[3], os.Args[4]); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
		return
	}
	var s settings
	only := flag.String("only", "", "measure only this: release, revoke, platform, credential, refresh, pages or idle")
	flag.IntVar(&s.runs, "runs", 5, "interleaved runs of each side for each figure")
	flag.DurationVar(&s.duration, "duration", 3*time.Second, "length of one run")
	flag.DurationVar(&s.warm, "warm", 3*time.Second, "length of the unmeasured run before a series")
	flag.IntVar(&s.connections, "connections", 0, "measure releases at this number of connections only: 16, 64 or 256")
	flag.IntVar(&s.agents, "agents", 10_000, "agents, with 5 credential grants each")
	flag.IntVar(&s.tokens, "tokens", 10_000, "tokens at the webhook, and credentials in the platform vault")
	flag.Parse()
	if s.connections != 0 && s.connections != 16 && s.connections != 64 && s.connections != 256 {
		fmt.Fprintln(os.Stderr, "bench: -connections: releases are measured at 16, 64 and 256 connections")
		os.Exit(2)
	}
	if s.runs < 1 || s.duration <= 0 || s.warm <= 0 {
		fmt.Fprintln(os.Stderr, "bench: -runs, -duration, -warm: want more than none")
		os.Exit(2)
	}
	s.postgres = os.Getenv("TOKENVAULT_TEST_POSTGRES_URL")
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, s, *only); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, s settings, only string) (err error) {
	if s.postgres == "" {
		return fmt.Errorf("TOKENVAULT_TEST_POSTGRES_URL is not set; run: make bench")
	}
	if s.folder, err = os.MkdirTemp("", "tokenvault-bench-"); err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(s.folder) }()
	b, err := newBinaries(ctx, s.folder)
	if err != nil {
		return err
	}
	fmt.Printf("%s, %d CPUs, %s; %d runs of %s a side, interleaved by %s; medians, with the least and the greatest.\n"+
		"\"Stolen\" is processor time that the host of a virtual machine gave to others: rounds with %d %% of it or more are replaced by further ones,\n"+
		"and where it goes on, the least disturbed ones count.\n\n",
		runtime.Version(), runtime.NumCPU(), time.Now().Format(time.DateOnly), s.runs, s.duration, slice, disturbed)

	for _, part := range []struct {
		name    string
		measure func(context.Context, settings, binaries) error
	}{
		{"release", measureRelease},
		{"revoke", measureRevocation},
		{"platform", measurePlatform},
		{"credential", measureCredential},
		{"refresh", measureRefresh},
		{"pages", measurePages},
		{"idle", measureIdle},
	} {
		if only != "" && only != part.name {
			continue
		}
		if err := part.measure(ctx, s, b); err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
	}
	return nil
}
