package main

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"
)

// measureRevocation: an agent deleted on one of two replicas under load; how
// long the other one goes on releasing to it.
func measureRevocation(ctx context.Context, s settings, b binaries) error {
	database, err := newDatabase(ctx, s.postgres, "revoke")
	if err != nil {
		return err
	}
	first, err := startServer(ctx, s, b, "replica-1", database)
	if err != nil {
		return err
	}
	defer first.stop()
	second, err := startServer(ctx, s, b, "replica-2", database)
	if err != nil {
		return err
	}
	defer second.stop()
	webhook, err := startWebhook(ctx, s, b, "webhook-revoke", first.url)
	if err != nil {
		return err
	}
	defer webhook.stop()
	user, err := signUp(ctx, first.url, "bench@example.com")
	if err != nil {
		return err
	}
	if err := user.bind(ctx, webhook.url); err != nil {
		return err
	}
	const rounds = 20
	keys, err := user.seed(ctx, 200+rounds)
	if err != nil {
		return err
	}
	var agents []struct{ ID string }
	if err := user.call(ctx, http.MethodGet, "/api/agents", nil, &agents); err != nil {
		return err
	}
	byKey := map[string]string{}
	for _, key := range keys {
		var me struct{ Principal struct{ ID string } }
		if err := (&session{base: first.url, cookie: ""}).withKey(ctx, key, &me); err != nil {
			return err
		}
		byKey[key] = me.Principal.ID
	}
	busy, stop := context.WithCancel(ctx)
	defer stop()
	done := make(chan struct{})
	go func() { // load on both replicas, from agents that stay
		defer close(done)
		stay := keys[rounds:]
		finished := make(chan struct{})
		for _, p := range []*process{first, second} {
			go func() {
				_, _ = load(busy, p.url, 32, time.Hour, http.StatusTemporaryRedirect, func(worker, i int) []byte {
					return rawGet(p.url, "/api/agents/credentials?service=service-0", "Authorization: Bearer "+stay[(i*32+worker)%len(stay)]+"\r\n")
				})
				finished <- struct{}{}
			}()
		}
		<-finished
		<-finished
	}()
	var delays []time.Duration
	for _, key := range keys[:rounds] {
		ask := func(p *process) (int, error) {
			seen, err := get(ctx, p.url+"/api/agents/credentials?service=service-1", map[string]string{"Authorization": "Bearer " + key})
			return seen.Status, err
		}
		status, err := ask(second)
		if err != nil {
			return err
		}
		if status != http.StatusTemporaryRedirect {
			return fmt.Errorf("before the revocation: status %d", status)
		}
		if err := user.call(ctx, http.MethodDelete, "/api/agents/"+byKey[key], nil, nil); err != nil {
			return err
		}
		at := time.Now()
		if status, err = ask(first); err != nil {
			return err
		}
		if status != http.StatusUnauthorized {
			return fmt.Errorf("on the replica that revoked: status %d, want 401 at once", status)
		}
		for {
			status, err := ask(second)
			if err != nil {
				return err
			}
			if status == http.StatusUnauthorized {
				break
			}
		}
		delays = append(delays, time.Since(at))
	}
	stop()
	<-done
	slices.Sort(delays)
	fmt.Printf("%-44s median %s, greatest %s of %d, under load on both; wanted 1s\n",
		"revocation seen by the other replica", delays[len(delays)/2].Round(time.Microsecond), delays[len(delays)-1].Round(time.Microsecond), len(delays))
	return nil
}

// withKey asks who an agent's key is.
func (s *session) withKey(ctx context.Context, key string, out any) error {
	seen, err := get(ctx, s.base+"/api/agents/whoami", map[string]string{"Authorization": "Bearer " + key})
	if err != nil {
		return err
	}
	return decode(seen, out)
}
