package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Platform mode: each of these agents was granted its own share of the credentials.
const (
	platformShare  = 10  // credentials an agent
	platformSecret = 840 // bytes, so that an answer has about 1 KB
	platformFirsts = 4   // first releases at once: of more, the server does not keep every key, and the next release is like a first
)

// measurePlatform: a valid agent key → 200 with a credential of 1 KB, opened with
// the agent's own key, its audit row durable. Each agent has opened each of its
// credentials once before, as first releases cost more (X25519, and a row).
func measurePlatform(ctx context.Context, s settings, b binaries) error {
	database, err := newDatabase(ctx, s.postgres, "platform")
	if err != nil {
		return err
	}
	server, err := startServer(ctx, s, b, "platform-server", database)
	if err != nil {
		return err
	}
	defer server.stop()
	user, err := signUp(ctx, server.url, "bench@example.com")
	if err != nil {
		return err
	}
	began := time.Now()
	agents := (s.tokens + platformShare - 1) / platformShare
	keys, err := user.seedPlatform(ctx, agents)
	if err != nil {
		return err
	}
	requests := make([][]byte, 0, len(keys)*platformShare)
	for i := range platformShare {
		for agent, key := range keys {
			requests = append(requests, rawGet(server.url, "/api/agents/credentials?service="+platformService(agent, i), "Authorization: Bearer "+key+"\r\n"))
		}
	}
	if err := each(len(requests), platformFirsts, func(i int) error {
		return firstRelease(ctx, server.url, keys[i%len(keys)], platformService(i%len(keys), i/len(keys)))
	}); err != nil {
		return err
	}
	fmt.Printf("%d credentials in a platform vault, %d agents granted %d each, each released once, %d at a time so that each key is kept, in %.0f s.\n",
		agents*platformShare, agents, platformShare, platformFirsts, time.Since(began).Seconds())

	seen, err := get(ctx, server.url+"/api/agents/credentials?service="+platformService(0, 0), map[string]string{"Authorization": "Bearer " + keys[0]})
	if err != nil {
		return err
	}
	if seen.Status != http.StatusOK || len(seen.Body) < 1000 {
		return fmt.Errorf("a release answered %d with %d bytes", seen.Status, len(seen.Body))
	}
	bare, err := startBare(ctx, s, "bare-platform", seen)
	if err != nil {
		return err
	}
	defer bare.stop()
	return climb(ctx, s, "platform release", []rung{{16, 0.20}, {64, 0.30}, {256, 0.40}}, requests, http.StatusOK, bare, server)
}

func platformService(agent, i int) string { return fmt.Sprintf("service-%d-%d", agent, i) }

// seedPlatform stores credentials in the session's platform vault, and makes the
// agents that were granted them; it returns the agents' keys.
func (s *session) seedPlatform(ctx context.Context, agents int) ([]string, error) {
	keys := make([]string, agents)
	err := each(agents, 32, func(i int) error {
		var agent struct{ ID, APIKey string }
		if err := s.call(ctx, http.MethodPost, "/api/agents", map[string]string{"name": fmt.Sprintf("agent %d", i)}, &agent); err != nil {
			return err
		}
		keys[i] = agent.APIKey
		for n := range platformShare {
			service := platformService(i, n)
			data := map[string]string{"tokenType": "PlainText", "accessToken": strings.Repeat("x", platformSecret)}
			if err := s.call(ctx, http.MethodPost, "/api/tokens", map[string]any{"serviceName": service, "tokenData": data}, nil); err != nil {
				return err
			}
			if err := s.call(ctx, http.MethodPost, "/api/agents/"+agent.ID+"/grants", map[string]any{"agentId": agent.ID, "serviceName": service}, nil); err != nil {
				return err
			}
		}
		return nil
	})
	return keys, err
}

func firstRelease(ctx context.Context, server, key, service string) error {
	got, err := get(ctx, server+"/api/agents/credentials?service="+service, map[string]string{"Authorization": "Bearer " + key})
	if err == nil && got.Status != http.StatusOK {
		err = fmt.Errorf("a first release answered %d: %s", got.Status, got.Body)
	}
	return err
}

// each calls do for 0 to n-1, so many at a time, until one fails.
func each(n, atOnce int, do func(i int) error) error {
	work := make(chan int)
	errs := make(chan error, 1)
	var workers sync.WaitGroup
	for range atOnce {
		workers.Go(func() {
			for i := range work {
				if err := do(i); err != nil {
					select {
					case errs <- err:
					default:
					}
				}
			}
		})
	}
	for i := range n {
		if len(errs) > 0 {
			break
		}
		work <- i
	}
	close(work)
	workers.Wait()
	select {
	case err := <-errs:
		return err
	default:
		return nil
	}
}
