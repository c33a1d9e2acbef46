package app_test

import (
	"context"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"sync"
	"testing"

	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/models/store/storetest"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"

	"github.com/tvzero/tokenvault/server/internal/app/apptest"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/custody"
)

const (
	roundsEnv = "TOKENVAULT_SOAK_ROUNDS" // rounds of a crash test; 20 without it
	seedEnv   = "TOKENVAULT_TEST_SEED"   // repeats a run
)

func rounds(t *testing.T) int {
	t.Helper()
	n := 20
	if text := os.Getenv(roundsEnv); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil {
			t.Fatalf("%s = %q, want a number", roundsEnv, text)
		}
	}
	return n
}

func seeded(t *testing.T) *rand.Rand {
	t.Helper()
	seed := rand.Uint64()
	if text := os.Getenv(seedEnv); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("%s = %q, want a number", seedEnv, text)
		}
	}
	t.Logf("seed: %s=%d", seedEnv, seed)
	return rand.New(rand.NewPCG(seed, 0)) // #nosec G404 -- repeatable on purpose
}

// No row, no release: whatever a killed server had answered with a ticket is on
// record, the chain holds, and the database opens again.
func TestEveryReleaseThatAKilledServerAnsweredIsOnRecord(t *testing.T) {
	t.Parallel()
	storetest.EachURL(t, func(t *testing.T, database string) {
		random, keys, answered := seeded(t), newKeys(t), map[string]bool{}
		p, url := startProcess(t, database, keys)
		key := releasable(t, url)
		for round := range rounds(t) {
			for _, id := range releaseUntil(t, p, url, key, 1+random.IntN(120)) {
				answered[id] = true
			}
			recorded := releasesOnRecord(t, database)
			for id := range answered {
				if !recorded[id] {
					t.Fatalf("round %d: the release of request %s was answered and is not on record (%d are)", round, id, len(recorded))
				}
			}
			wantVerified(t, database, keys)
			p, url = startProcess(t, database, keys)
		}
		p.Stop()
		t.Logf("%d releases answered in %d lives: %s", len(answered), rounds(t)+1, verify(t, database, keys))
	})
}

// releasable prepares a server so that an agent is released a credential, and
// returns the agent's key. The webhook is gone before the first release, which
// does not need it.
func releasable(t *testing.T, server string) string {
	t.Helper()
	owner := apptest.NewOwner(t, server, "owner@example.com", apptest.NewClient(t, nil))
	owner.Register()
	owner.Bind(startWebhook(t, nil).URL, adminSecret)
	owner.Store("github", map[string]any{"tokenType": wire.TypePlainText, "accessToken": "ghp_value"})
	id, key := owner.Agent("deployer")
	owner.Grant(id, "github", 0)
	return key
}

// releaseUntil loads a server with releases, kills it amid them once that many
// were answered, and returns the request ids of all answers.
func releaseUntil(t *testing.T, p *apptest.Process, server, key string, enough int) []string {
	t.Helper()
	const connections = 8
	client := apptest.NewClient(t, nil)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var mu sync.Mutex
	var ids []string
	reached := make(chan struct{})
	var callers sync.WaitGroup
	for range connections {
		callers.Go(func() {
			for ctx.Err() == nil {
				answer, err := apptest.Call(ctx, client, http.MethodGet, server+release, nil, bearer(key)...)
				if err != nil {
					return // killed
				}
				if answer.Status != http.StatusTemporaryRedirect {
					t.Errorf("a release was answered %s, want 307", answer)
					return
				}
				mu.Lock()
				if ids = append(ids, answer.Header.Get("X-Request-Id")); len(ids) == enough {
					close(reached)
				}
				mu.Unlock()
			}
		})
	}
	ended := make(chan struct{})
	go func() { callers.Wait(); close(ended) }()
	select {
	case <-reached:
	case <-ended:
		t.Fatalf("the load ended by itself; the server said:\n%s", p.Log())
	}
	p.Kill()
	<-ended
	return ids
}

// releasesOnRecord are the request ids of all releases in the database.
func releasesOnRecord(t *testing.T, database string) map[string]bool {
	t.Helper()
	s := storetest.Open(t, database)
	if _, err := s.ProjectAudit(t.Context()); err != nil {
		t.Fatal(err)
	}
	db := connect(t, database)
	defer func() { _ = db.Close() }()
	rows, err := db.QueryContext(t.Context(), "SELECT request_id FROM audit_events WHERE event_type = 'release' AND outcome = 'ok'")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	found := map[string]bool{}
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			t.Fatal(err)
		}
		found[id] = true
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return found
}

// wantVerified checks the record's chains and checkpoints. A killed server
// leaves rows that no checkpoint signed, and nothing worse.
func wantVerified(t *testing.T, database, keys string) {
	t.Helper()
	ring, err := custody.ParseKeyring(keys)
	if err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(t.Context(), store.Options{URL: database, MaxConns: 2})
	if err != nil {
		t.Fatalf("the database does not open: %v", err)
	}
	defer func() { _ = s.Close() }()
	if err := audit.Verify(t.Context(), s, ring, func(r audit.StreamReport) {
		for _, problem := range r.Problems {
			t.Errorf("stream %s: %s", r.StreamID, problem)
		}
	}); err != nil {
		t.Fatal(err)
	}
}
