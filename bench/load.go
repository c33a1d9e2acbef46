package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// A tally is how many requests were answered in how long.
type tally struct {
	answered int64
	took     time.Duration
}

func (t tally) plus(u tally) tally { return tally{t.answered + u.answered, t.took + u.took} }

func (t tally) rate() float64 { return float64(t.answered) / t.took.Seconds() }

// load drives a server over n connections with one request in flight on each. next
// returns the bytes of the next request of a connection: its first is answered before the
// clock runs, so that what a connection costs is not measured. Every answer must have the
// status wanted: a fast refusal is no result. The generator is small on purpose, since it
// shares the machine with what it measures.
func load(ctx context.Context, server string, n int, d time.Duration, status int, next func(worker, i int) []byte) (tally, error) {
	u, err := url.Parse(server)
	if err != nil {
		return tally{}, err
	}
	var answered atomic.Int64
	var stop atomic.Bool
	errs := make(chan error, n)
	var workers, connecting sync.WaitGroup
	connecting.Add(n)
	begin := make(chan struct{})
	for worker := range n {
		workers.Go(func() {
			conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", u.Host)
			if err != nil {
				connecting.Done()
				errs <- err
				return
			}
			defer func() { _ = conn.Close() }()
			reader := bufio.NewReaderSize(conn, 8<<10)
			err = ask(conn, reader, next(worker, 0), status)
			connecting.Done()
			<-begin
			done := int64(0)
			defer func() { answered.Add(done) }()
			for i := 1; err == nil && !stop.Load(); i++ {
				if err = ask(conn, reader, next(worker, i), status); err == nil {
					done++
				}
			}
			if err != nil {
				errs <- err
			}
		})
	}
	connecting.Wait()
	began := time.Now()
	close(begin)
	timer := time.NewTimer(d)
	defer timer.Stop()
	var failure error
	select {
	case <-timer.C:
	case failure = <-errs:
	case <-ctx.Done():
		failure = ctx.Err()
	}
	stop.Store(true)
	workers.Wait()
	got := tally{answered.Load(), time.Since(began)}
	select {
	case late := <-errs:
		failure = cmp.Or(failure, late)
	default:
	}
	return got, failure
}

// ask makes one request, and wants an answer with a status.
func ask(conn net.Conn, reader *bufio.Reader, request []byte, status int) error {
	if _, err := conn.Write(request); err != nil {
		return err
	}
	got, err := readAnswer(reader)
	if err == nil && got != status {
		err = fmt.Errorf("an answer had status %d, want %d", got, status)
	}
	return err
}

var contentLength = []byte("Content-Length: ")

// readAnswer reads one HTTP/1.1 answer with a Content-Length and returns its
// status.
func readAnswer(r *bufio.Reader) (int, error) {
	line, err := r.ReadSlice('\n')
	if err != nil {
		return 0, err
	}
	if len(line) < 12 {
		return 0, errors.New("an answer has no status line")
	}
	status, err := strconv.Atoi(string(line[9:12]))
	if err != nil {
		return 0, err
	}
	length := int64(0)
	for {
		if line, err = r.ReadSlice('\n'); err != nil {
			return 0, err
		}
		if len(line) <= 2 {
			break
		}
		if rest, ok := bytes.CutPrefix(line, contentLength); ok {
			if length, err = strconv.ParseInt(string(bytes.TrimSpace(rest)), 10, 64); err != nil {
				return 0, err
			}
		}
	}
	_, err = io.CopyN(io.Discard, r, length)
	return status, err
}

// A series is the figures of interleaved runs of one side.
type series []float64

func (s series) median() float64 {
	sorted := slices.Sorted(slices.Values(s))
	if len(sorted) == 0 {
		return 0
	}
	return (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2
}

func (s series) String() string {
	return fmt.Sprintf("%8.0f/s (%.0f–%.0f)", s.median(), slices.Min(s), slices.Max(s))
}

// A round is one run of each side, one right after the other.
type round struct {
	bare, ours float64 // answers a second
	stolen     float64 // percent of the machine's time, of the side that lost more
}

// disturbed is from how many percent of stolen time on a round says more about the
// host's other guests than about us, and disturbedRounds how many times the wanted number
// of rounds are tried for the sake of undisturbed ones.
const (
	disturbed       = 5
	disturbedRounds = 5
)

// slice is how long one side runs before it is the other's turn. What the host lets us
// have changes within seconds, by half and more: both sides should meet the same. What a
// server does by itself, and its database, falls to both sides alike, whoever's it is.
const slice = 500 * time.Millisecond

// A measure makes requests for some time.
type measure func(context.Context, time.Duration) (tally, error)

// compare interleaves runs of both sides, slice by slice, and prints the ratio of their
// medians with the spread of the ratios of runs. Rounds during which the host gave time to
// others are replaced by further ones; if there are too many of them, the least
// disturbed ones count. What a run yielded decides nothing.
func compare(ctx context.Context, s settings, what string, target float64, bare, ours measure) error {
	for _, side := range []measure{bare, ours} {
		if _, err := side(ctx, s.warm); err != nil {
			return err
		}
	}
	var rounds []round
	for quiet := 0; quiet < s.runs && len(rounds) < disturbedRounds*s.runs; {
		r, err := interleave(ctx, s.duration, bare, ours)
		if err != nil {
			return err
		}
		if r.stolen < disturbed {
			quiet++
		}
		rounds = append(rounds, r)
	}
	slices.SortStableFunc(rounds, func(a, b round) int { return cmp.Compare(a.stolen, b.stolen) })
	report(what, target, rounds[:s.runs], len(rounds))
	return nil
}

// interleave is one round: each side runs for d, and each is as often the first.
func interleave(ctx context.Context, d time.Duration, bare, ours measure) (round, error) {
	sides := [2]measure{bare, ours}
	var lost [2]usage
	var got [2]tally
	for n := 0; time.Duration(n)*slice < d; n++ {
		for turn := range sides {
			i := (n + turn) % 2
			before := processorTime()
			t, err := sides[i](ctx, min(slice, d-time.Duration(n)*slice))
			if err != nil {
				return round{}, fmt.Errorf("%s: %w", [...]string{"bare", "ours"}[i], err)
			}
			lost[i], got[i] = lost[i].plus(processorTime().minus(before)), got[i].plus(t)
		}
	}
	return round{got[0].rate(), got[1].rate(), max(lost[0].stolenShare(), lost[1].stolenShare())}, nil
}

// A rung is a number of connections with the ratio that is wanted there.
type rung struct {
	connections int
	target      float64
}

// climb compares both sides at each rung that the settings ask for, with the requests
// in turn.
func climb(ctx context.Context, s settings, what string, rungs []rung, requests [][]byte, status int, bare, ours *process) error {
	for _, r := range rungs {
		if s.connections != 0 && s.connections != r.connections {
			continue
		}
		side := func(p *process) measure {
			begun := 0
			return func(ctx context.Context, d time.Duration) (tally, error) {
				got, err := load(ctx, p.url, r.connections, d, status, func(worker, i int) []byte {
					return requests[(begun+i*r.connections+worker)%len(requests)]
				})
				begun += int(got.answered) + r.connections
				return got, err
			}
		}
		if err := compare(ctx, s, fmt.Sprintf("%s, %d connections", what, r.connections), r.target, side(bare), side(ours)); err != nil {
			return err
		}
	}
	return nil
}

func report(what string, target float64, rounds []round, tried int) {
	var b, o, ratios, stolen series
	for _, p := range rounds {
		b, o, ratios, stolen = append(b, p.bare), append(o, p.ours), append(ratios, p.ours/p.bare), append(stolen, p.stolen)
	}
	fmt.Printf("%-44s %s   bare %s   ratio %.2f (%.2f–%.2f), wanted %.2f; at most %.0f %% stolen, %d of %d rounds\n",
		what, o, b, o.median()/b.median(), slices.Min(ratios), slices.Max(ratios), target, slices.Max(stolen), len(rounds), tried)
}
