package main

import (
	"context"
	"database/sql"
	"fmt"
	"net/http"
	"net/url"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // PostgreSQL
)

// grantsEach is how many tokens each agent is granted.
const grantsEach = 5

// measureRelease: a valid agent key → 307 with a ticket, its audit row durable.
func measureRelease(ctx context.Context, s settings, b binaries) error {
	database, err := newDatabase(ctx, s.postgres, "release")
	if err != nil {
		return err
	}
	server, err := startServer(ctx, s, b, "server", database)
	if err != nil {
		return err
	}
	defer server.stop()
	webhook, err := startWebhook(ctx, s, b, "webhook", server.url)
	if err != nil {
		return err
	}
	defer webhook.stop()
	user, err := signUp(ctx, server.url, "bench@example.com")
	if err != nil {
		return err
	}
	if err := user.bind(ctx, webhook.url); err != nil {
		return err
	}
	began := time.Now()
	keys, err := user.seed(ctx, s.agents)
	if err != nil {
		return err
	}
	fmt.Printf("%d agents with %d credential grants each, made through the API in %.0f s.\n", s.agents, grantsEach, time.Since(began).Seconds())

	seen, err := get(ctx, server.url+"/api/agents/credentials?service=service-0", map[string]string{"Authorization": "Bearer " + keys[0]})
	if err != nil {
		return err
	}
	if seen.Status != http.StatusTemporaryRedirect {
		return fmt.Errorf("a release answered %d: %s", seen.Status, seen.Body)
	}
	bare, err := startBare(ctx, s, "bare-release", seen)
	if err != nil {
		return err
	}
	defer bare.stop()

	requests := make([][]byte, len(keys))
	for i, key := range keys {
		requests[i] = rawGet(server.url, fmt.Sprintf("/api/agents/credentials?service=service-%d", i%grantsEach), "Authorization: Bearer "+key+"\r\n")
	}
	return climb(ctx, s, "agent release", []rung{{16, 0.20}, {64, 0.35}, {256, 0.45}}, requests, http.StatusTemporaryRedirect, bare, server)
}

// seed stores tokens and makes agents that were granted all of them; it returns
// the agents' keys.
func (s *session) seed(ctx context.Context, agents int) ([]string, error) {
	for i := range grantsEach {
		if err := s.store(ctx, fmt.Sprintf("service-%d", i), fmt.Sprintf("secret-%d", i)); err != nil {
			return nil, err
		}
	}
	if err := s.call(ctx, http.MethodPost, "/api/vault/sync", map[string]string{}, nil); err != nil {
		return nil, err
	}
	keys := make([]string, agents)
	return keys, each(agents, 32, func(i int) error {
		var agent struct{ ID, APIKey string }
		err := s.call(ctx, http.MethodPost, "/api/agents", map[string]string{"name": fmt.Sprintf("agent %d", i)}, &agent)
		for g := 0; err == nil && g < grantsEach; g++ {
			err = s.call(ctx, http.MethodPost, "/api/agents/"+agent.ID+"/grants",
				map[string]any{"agentId": agent.ID, "serviceName": fmt.Sprintf("service-%d", g)}, nil)
		}
		keys[i] = agent.APIKey
		return err
	})
}

// newDatabase makes an empty database and returns its URL.
func newDatabase(ctx context.Context, base, name string) (string, error) {
	db, err := sql.Open("pgx", base)
	if err != nil {
		return "", err
	}
	defer func() { _ = db.Close() }()
	name = fmt.Sprintf("bench_%s_%d", name, time.Now().UnixNano())
	if _, err := db.ExecContext(ctx, "CREATE DATABASE "+name); err != nil {
		return "", err
	}
	var durable string
	if err := db.QueryRowContext(ctx, "SELECT current_setting('fsync') || ' ' || current_setting('synchronous_commit')").Scan(&durable); err != nil {
		return "", err
	}
	if durable != "on on" {
		return "", fmt.Errorf("fsync and synchronous_commit are %q: figures would mean nothing", durable)
	}
	u, err := url.Parse(base)
	if err != nil {
		return "", err
	}
	u.Path = "/" + name
	return u.String(), nil
}
