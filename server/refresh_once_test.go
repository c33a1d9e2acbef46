package main_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/models/store/storetest"
	"github.com/tvzero/tokenvault/refresh/refreshtest/oidc"
	"github.com/tvzero/tokenvault/server/internal/app/apptest"
)

const (
	readers      = 1000
	readerAgents = 10
	onceRounds   = 3  // of `make test`
	onceFull     = 50 // of `make soak`

	heardWithin = 30 * time.Second // a change at one server, on the others: 1 s, or 30 s where the news was lost
)

// oneRefresh: however many read an expired token at the same moment, and over however many
// servers, its provider is called once, and each of them gets the new one.
func oneRefresh(t *testing.T, p programs, dialect string) {
	c := newCrowd(t, p.server, dialect, replicas(dialect, 3))
	random := seeded(t)
	var took []time.Duration
	for round := range rounds(t, onceRounds, onceFull) {
		// Every other time the provider keeps its answer until all have asked; otherwise
		// the last of them find it done.
		took = append(took, c.round(t, round, round%2 == 1, random.Perm(readers)))
	}
	t.Logf("%d rounds of %d readers over %d servers, each with one call at the provider; from the first request to the last answer: %s",
		len(took), readers, len(c.servers), spread(took))
}

// replicas is how many servers a database may have.
func replicas(dialect string, most int) int {
	if dialect == store.SQLite {
		return 1
	}
	return most
}

// A crowdOfReaders is many readers of one token.
type crowdOfReaders struct {
	provider *oidc.Provider
	owner    *apptest.Owner
	servers  []string
	keys     []string // of agents
	watcher  string   // the key of an agent that may have nothing refreshed
	client   *http.Client
	now      stored // the tokens as they are, the access token being called expired
}

const crowded = "calendar"

func newCrowd(t *testing.T, program, dialect string, servers int) *crowdOfReaders {
	t.Helper()
	c := &crowdOfReaders{provider: oidc.Start(t, oidc.Options{}), client: crowd(t, readers)}
	s := newSite(t, program, storetest.Blank(t, dialect), known(t, c.provider, c.provider.Issuer))
	for range servers {
		_, url := s.start(t)
		c.servers = append(c.servers, url)
	}
	c.owner = apptest.NewOwner(t, c.servers[0], "owner@example.com", c.client)
	c.owner.Register()
	data, tokens := connected(t, c.provider, "ada", time.Now().Add(-time.Minute))
	keep(t, c.owner, crowded, data)
	c.now = stored{tokens.AccessToken, tokens.RefreshToken}
	for i := range readerAgents {
		id, key := c.owner.Agent(fmt.Sprintf("reader %d", i))
		c.owner.Grant(id, crowded, 0)
		c.keys = append(c.keys, key)
	}
	id, key := c.owner.Agent("watcher")
	c.owner.Must(http.MethodPost, "/api/agents/"+id+"/grants", map[string]any{"serviceName": crowded, "refreshPolicy": "never"}, nil)
	c.watcher = key
	c.wantExpired(t)
	return c
}

// wantExpired waits until every server knows that the token has expired: what the owner
// stores at one of them may reach the others later.
func (c *crowdOfReaders) wantExpired(t *testing.T) {
	t.Helper()
	limit := time.Now().Add(heardWithin)
	for _, server := range c.servers {
		for {
			r, err := ask(t.Context(), c.client, server, c.watcher, crowded)
			if err != nil {
				t.Fatal(err)
			}
			if r.Status == http.StatusBadGateway && r.Code == "REFRESH_FAILED" {
				break
			}
			if time.Now().After(limit) {
				t.Fatalf("%s after an expired token was stored, an agent that may have nothing refreshed got %s, want 502 REFRESH_FAILED", heardWithin, r.Answer)
			}
		}
	}
}

// round has everybody read at once, and looks at what came of it. order says who asks
// where, and as which agent.
func (c *crowdOfReaders) round(t *testing.T, n int, held bool, order []int) time.Duration {
	t.Helper()
	before := c.provider.CallsByGrantType()["refresh_token"]
	var hold *oidc.Hold
	if held {
		hold = c.provider.Hold()
	}
	began := time.Now()
	readings := c.readAll(t, order, func() {
		if !held {
			return
		}
		if err := hold.Wait(t.Context(), 1); err != nil {
			t.Errorf("round %d: nobody called the provider: %v", n, err)
		}
		hold.Answer()
	})
	took := time.Since(began).Round(time.Millisecond)

	fresh := readings[0].AccessToken
	wrong := 0
	for i, r := range readings {
		ok := r.Status == http.StatusOK && r.AccessToken == fresh && fresh != c.now.AccessToken && r.ExpiresAt.After(began.Add(time.Minute))
		if wrong++; ok {
			wrong--
		} else if wrong <= 3 {
			t.Errorf("round %d: reader %d got %s; want the token that the others got, a new one (%t), with its expiry", n, i, r.Answer, fresh != c.now.AccessToken)
		}
	}
	if got := c.provider.CallsByGrantType()["refresh_token"] - before; got != 1 {
		t.Errorf("round %d: %d calls at the provider, want 1", n, got)
	}
	if got := c.provider.Refreshes(c.now.RefreshToken); got != 1 {
		t.Errorf("round %d: %d calls with the token's refresh token, want 1", n, got)
	}
	next := revealed(c.owner, crowded)
	if state := c.provider.State(next.RefreshToken); next.AccessToken != fresh || state != oidc.Current {
		t.Errorf("round %d: what is stored is what readers got: %t; its refresh token is %q at the provider, want %q", n, next.AccessToken == fresh, state, oidc.Current)
	}
	if t.Failed() {
		t.FailNow()
	}
	// The same tokens again, as they will be in an hour.
	keep(t, c.owner, crowded, oauthData(next.AccessToken, next.RefreshToken, time.Now().Add(-time.Second)))
	c.now = next
	c.wantExpired(t)
	return took
}

// enoughHeld is how long an answer is held back for requests that have not left: a call
// at a provider ends after 20 s.
const enoughHeld = 8 * time.Second

// readAll returns what each reader got. asked is called once all requests have left, or
// as many as could in the time that a provider's answer may be held.
func (c *crowdOfReaders) readAll(t *testing.T, order []int, asked func()) []reading {
	t.Helper()
	readings := make([]reading, readers)
	start, sent := make(chan struct{}), make(chan struct{})
	var written atomic.Int64
	traced := func() context.Context { // a request that is sent again on another connection counts once
		var once sync.Once
		return httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{WroteRequest: func(httptrace.WroteRequestInfo) {
			once.Do(func() {
				if written.Add(1) == readers {
					close(sent)
				}
			})
		}})
	}
	var all sync.WaitGroup
	for i, place := range order {
		all.Go(func() {
			ctx := traced()
			<-start
			r, err := ask(ctx, c.client, c.servers[place%len(c.servers)], c.keys[place/len(c.servers)%len(c.keys)], crowded)
			if err != nil {
				t.Errorf("reader %d: %v", i, err)
			}
			readings[i] = r
		})
	}
	close(start)
	ended := make(chan struct{})
	go func() { all.Wait(); close(ended) }()
	limit := time.NewTimer(enoughHeld)
	defer limit.Stop()
	select {
	case <-sent:
	case <-ended:
	case <-limit.C:
	}
	asked()
	<-ended
	return readings
}
