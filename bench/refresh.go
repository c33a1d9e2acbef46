package main

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// Refreshing on schedule: so many tokens, so many of them with one webhook, all due
// within an hour.
const (
	scheduledTokens = 100_000
	scheduledEach   = 5000
	scheduledWithin = time.Hour
	refreshTarget   = 0.10 // of one core, besides the calls
	refreshWarm     = 20 * time.Second
	refreshWindow   = 60 * time.Second
	callsCommand    = "calls"
)

// measureRefresh: what the schedule takes of a core while 100,000 tokens fall due
// within an hour, looked at for a minute of it: the server's processes and PostgreSQL's,
// each by itself, and beside them a program that only makes the same calls.
func measureRefresh(ctx context.Context, s settings, b binaries) error {
	url, err := newDatabase(ctx, s.postgres, "refresh")
	if err != nil {
		return err
	}
	db, err := sql.Open("pgx", url)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	server, err := startServer(ctx, s, b, "refresh-server", url)
	if err != nil {
		return err
	}
	defer server.stop()

	began := time.Now()
	hooks, err := schedule(ctx, server.url, began)
	for _, h := range hooks {
		defer h.stop()
	}
	if err != nil {
		return err
	}
	var rows int
	if err := db.QueryRowContext(ctx, "SELECT count(*) FROM refreshes WHERE due_at IS NOT NULL").Scan(&rows); err != nil {
		return err
	}
	fmt.Printf("%d tokens of %d webhooks, all due within %s, read by the server in %.0f s; %d are scheduled.\n",
		scheduledTokens, len(hooks), scheduledWithin, time.Since(began).Seconds(), rows)
	if err := db.QueryRowContext(ctx, "SELECT pg_backend_pid()").Scan(&rows); err != nil {
		return err
	}
	postmaster, err := parentOf(rows)
	if err != nil {
		return err
	}
	time.Sleep(refreshWarm) // what fell due while they were read

	var ours, theirs, alone, rate series
	before := processorTime()
	for range min(3, s.runs) {
		o, p, n, err := window(ctx, server.command.Process.Pid, postmaster, hooks)
		if err != nil {
			return err
		}
		ours, theirs, rate = append(ours, o), append(theirs, p), append(rate, n)
		c, err := callsAlone(ctx, hooks[0], n)
		if err != nil {
			return err
		}
		alone = append(alone, c)
	}
	share := func(s series) string {
		return fmt.Sprintf("%.1f %% (%.1f–%.1f)", 100*s.median(), 100*slices.Min(s), 100*slices.Max(s))
	}
	fmt.Printf("%-44s %s of a core in the server, of which the calls by themselves are %s; besides them wanted %.0f %%. PostgreSQL %s. %.1f refreshes a second (%.1f–%.1f), %.1f would be all in an hour; %.0f %% stolen\n",
		"refreshing on schedule", share(ours), share(alone), 100*refreshTarget, share(theirs), rate.median(), slices.Min(rate), slices.Max(rate),
		float64(scheduledTokens)/scheduledWithin.Seconds(), processorTime().minus(before).stolenShare())
	return nil
}

// schedule binds webhooks and has the server read their tokens.
func schedule(ctx context.Context, server string, from time.Time) (hooks []*hook, err error) {
	const life, lead = 4 * time.Minute, time.Minute // due when a quarter of its life is left
	for i := range scheduledTokens / scheduledEach {
		h, err := startHook(scheduledEach, func(int) (issued, expires time.Time) {
			expires = from.Add(lead + time.Duration(rand.Int64N(int64(scheduledWithin)))) // #nosec G404 -- a load
			return expires.Add(-life), expires
		})
		if err != nil {
			return hooks, err
		}
		hooks = append(hooks, h)
		user, err := signUp(ctx, server, fmt.Sprintf("bench-%d@example.com", i))
		if err != nil {
			return hooks, err
		}
		if err := user.bind(ctx, h.url); err != nil {
			return hooks, err
		}
		var read struct{ Synced int }
		if err := user.call(ctx, http.MethodPost, "/api/vault/sync", map[string]string{}, &read); err != nil {
			return hooks, err
		}
		if read.Synced != scheduledEach {
			return hooks, fmt.Errorf("the server read %d tokens of a webhook, want %d", read.Synced, scheduledEach)
		}
	}
	return hooks, nil
}

// window is the share of a core that the server and PostgreSQL take, and how many
// refreshes a second are made.
func window(ctx context.Context, server, postmaster int, hooks []*hook) (ours, theirs, rate float64, err error) {
	calls := func() (n int64) {
		for _, h := range hooks {
			n += h.calls.Load()
		}
		return n
	}
	ticks := func() (server1, postgres float64, err error) {
		if server1, err = ticksOf(server, false); err != nil {
			return 0, 0, err
		}
		postgres, err = ticksOf(postmaster, true)
		return server1, postgres, err
	}
	o, p, err := ticks()
	if err != nil {
		return 0, 0, 0, err
	}
	n, began := calls(), time.Now()
	select {
	case <-time.After(refreshWindow):
	case <-ctx.Done():
		return 0, 0, 0, ctx.Err()
	}
	took := time.Since(began).Seconds()
	afterO, afterP, err := ticks()
	if err != nil {
		return 0, 0, 0, err
	}
	return (afterO - o) / tickRate / took, (afterP - p) / tickRate / took, float64(calls()-n) / took, nil
}

// tickRate is USER_HZ, which Linux fixes for programs on every platform of ours.
const tickRate = 100

// ticksOf is the processor time of a process in ticks; with children: that of those
// which live, and of those which have ended, as well.
func ticksOf(pid int, children bool) (float64, error) {
	fields, err := statOf(pid)
	if err != nil {
		return 0, err
	}
	sum := fields[11] + fields[12] // utime, stime
	if !children {
		return sum, nil
	}
	sum += fields[13] + fields[14] // of children that were waited for
	all, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return 0, err
	}
	for _, path := range all {
		child, err := strconv.Atoi(filepath.Base(path))
		if err != nil {
			continue
		}
		if fields, err := statOf(child); err == nil && int(fields[1]) == pid { // or it has ended
			sum += fields[11] + fields[12]
		}
	}
	return sum, nil
}

func parentOf(pid int) (int, error) {
	fields, err := statOf(pid)
	if err != nil {
		return 0, err
	}
	return int(fields[1]), nil
}

// statOf is what follows a process's name in /proc/PID/stat, as numbers: state (none),
// parent, …
func statOf(pid int) ([]float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil, err
	}
	_, rest, _ := strings.Cut(string(text[bytes.LastIndexByte(text, ')'):]), " ")
	words := strings.Fields(rest)
	if len(words) < 15 {
		return nil, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(words))
	}
	fields := make([]float64, len(words))
	for i, word := range words[1:] {
		if fields[i+1], err = strconv.ParseFloat(word, 64); err != nil {
			return nil, err
		}
	}
	return fields, nil
}

// callsAlone is the share of a core that a program takes which makes so many calls a
// second, signed, and nothing else.
func callsAlone(ctx context.Context, h *hook, rate float64) (float64, error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	command := exec.CommandContext(ctx, self, callsCommand, h.url, h.secret.Encode(), strconv.FormatFloat(rate, 'f', 3, 64)) // #nosec G204 -- ourselves
	command.Stderr = os.Stderr
	began := time.Now()
	if err := command.Run(); err != nil {
		return 0, err
	}
	used := command.ProcessState.UserTime() + command.ProcessState.SystemTime()
	return used.Seconds() / time.Since(began).Seconds(), nil
}

// makeCalls is that program: it tells a webhook that tokens expire, for half a window.
func makeCalls(address, encoded, rate string) error {
	secret, err := wire.ParseSecret(encoded)
	if err != nil {
		return err
	}
	perSecond, err := strconv.ParseFloat(rate, 64)
	if err != nil || perSecond <= 0 {
		return fmt.Errorf("%q calls a second: %w", rate, err)
	}
	pace := time.NewTicker(time.Duration(float64(time.Second) / perSecond))
	defer pace.Stop()
	end := time.After(refreshWindow / 2)
	for i := 0; ; i++ {
		select {
		case <-end:
			return nil
		case <-pace.C:
		}
		id := nonce()
		body, err := json.Marshal(wire.RefreshNotifyRequest{
			RequestID: id, Service: fmt.Sprintf("service-%06d", i%scheduledEach), Reason: wire.ReasonExpiring, RefreshHint: wire.RefreshHint{Provider: "example"},
		})
		if err != nil {
			return err
		}
		request, err := http.NewRequest(http.MethodPost, address+wire.PathRefreshNotify, bytes.NewReader(body))
		if err != nil {
			return err
		}
		request.Header.Set("Content-Type", "application/json")
		wire.Sign(request.Header, secret, body, id, time.Now())
		answer, err := browser.Do(request)
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, answer.Body)
		_ = answer.Body.Close()
		if err != nil {
			return err
		}
		if answer.StatusCode != http.StatusOK {
			return fmt.Errorf("a call answered %s", answer.Status)
		}
	}
}
