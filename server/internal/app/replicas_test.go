package app_test

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/models/store/storetest"
	"github.com/tvzero/tokenvault/webhook-sdk/webhooktest"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"

	"github.com/tvzero/tokenvault/server/internal/app/apptest"
)

// Within what a change made on one replica must hold on the other: the promises
// are 1 s with the listener and 30 s without, the first with a margin for a busy
// machine.
const (
	heardWithin = 5 * time.Second
	deafWithin  = 30 * time.Second
)

// A pair is two replicas on one PostgreSQL, the second through a proxy, both
// under the load of an agent that nobody touches.
type pair struct {
	first, second *server
	proxy         *listenProxy
	database      string // directly
	keys          string
	calm          func() // ends the load
	owner         *apptest.Owner
	webhook       *webhooktest.Webhook
	plain         *http.Client
}

func newPair(t *testing.T) *pair {
	t.Helper()
	p := &pair{database: storetest.URL(t, store.Postgres), plain: apptest.NewClient(t, nil)}
	p.proxy = startListenProxy(t, p.database)
	p.keys = newKeys(t)
	p.first, p.second = start(t, p.database, p.keys), start(t, p.proxy.url, p.keys)
	p.webhook = startWebhook(t, nil)
	p.owner = p.first.owner(t, "owner@example.com")
	p.owner.Bind(p.webhook.URL, adminSecret)
	p.owner.Store("github", map[string]any{"tokenType": wire.TypePlainText, "accessToken": "ghp_value"})
	p.load(t)
	return p
}

// load asks both replicas for releases until the test ends; each must be given
// unless the whole vault is locked or unbound.
func (p *pair) load(t *testing.T) {
	t.Helper()
	id, key := p.owner.Agent("bystander")
	p.owner.Grant(id, "github", 0)
	ctx, stop := context.WithCancel(context.Background())
	var busy sync.WaitGroup
	for range 4 {
		for _, s := range []*server{p.first, p.second} {
			busy.Go(func() {
				for ctx.Err() == nil {
					answer, err := apptest.Call(ctx, p.plain, http.MethodGet, s.URL()+release, nil, bearer(key)...)
					vault := answer.Code == "VAULT_LOCKED" || answer.Code == "WEBHOOK_NOT_CONFIGURED"
					if err == nil && answer.Status != http.StatusTemporaryRedirect && !vault {
						t.Errorf("the bystander was answered %s, want 307", answer)
						return
					}
				}
			})
		}
	}
	p.calm = func() { stop(); busy.Wait() }
	t.Cleanup(p.calm)
}

func (p *pair) ask(t *testing.T, s *server, key string) apptest.Answer {
	t.Helper()
	answer, err := apptest.Call(t.Context(), p.plain, http.MethodGet, s.URL()+release, nil, bearer(key)...)
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

// agent makes one that both replicas release to and know of.
func (p *pair) agent(t *testing.T, name string) (id, key string) {
	t.Helper()
	id, key = p.owner.Agent(name)
	p.owner.Grant(id, "github", 0)
	for _, s := range []*server{p.first, p.second} {
		p.until(t, s, key, heardWithin, "its grant", func(a apptest.Answer) bool { return a.Status == http.StatusTemporaryRedirect })
	}
	return id, key
}

// until asks a replica without a pause until its answer is the one awaited. A machine
// that stalls has not asked often enough to say that news were late.
func (p *pair) until(t *testing.T, s *server, key string, limit time.Duration, what string, awaited func(apptest.Answer) bool) time.Duration {
	t.Helper()
	const often = 100
	began := time.Now()
	for asked := 1; ; asked++ {
		answer := p.ask(t, s, key)
		took := time.Since(began)
		if awaited(answer) {
			return took
		}
		if took > limit && asked > often || took > 10*limit {
			t.Fatalf("%s is not known to the other replica after %s: it answered %s", what, took, answer)
		}
	}
}

func refusal(status int, code string) func(apptest.Answer) bool {
	return func(a apptest.Answer) bool { return a.Status == status && a.Code == code }
}

func TestAChangeOnOneReplicaHoldsThereAtOnceAndSoonOnTheOther(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	for _, tt := range []struct {
		name   string
		change func(t *testing.T, id string)
		status int
		code   string
		undo   func(id string)
	}{
		{"revoked", func(t *testing.T, id string) {
			p.owner.In(t, p.first.URL()).Must(http.MethodDelete, "/api/agents/"+id+"/grants/github", nil, nil)
		}, 403, "NO_GRANT", nil},
		{"suspended", func(t *testing.T, id string) {
			p.owner.In(t, p.first.URL()).Must(http.MethodPatch, "/api/agents/"+id, map[string]string{"status": "suspended"}, nil)
		}, 403, "AGENT_INACTIVE", nil},
		{"deleted", func(t *testing.T, id string) {
			p.owner.In(t, p.first.URL()).Must(http.MethodDelete, "/api/agents/"+id, nil, nil)
		}, 401, "INVALID_KEY", nil},
		{"key rotated", func(t *testing.T, id string) {
			p.owner.In(t, p.first.URL()).Must(http.MethodPost, "/api/agents/"+id+"/rotate-key", nil, nil)
		}, 401, "INVALID_KEY", nil},
		{"vault locked", func(t *testing.T, _ string) {
			p.owner.In(t, p.first.URL()).Must(http.MethodPost, "/api/vault/lock", nil, nil)
		}, 423, "VAULT_LOCKED", func(string) { p.owner.Must(http.MethodPost, "/api/vault/lock/clear", nil, nil) }},
	} {
		id, key := p.agent(t, tt.name)
		tt.change(t, id)
		began := time.Now()
		if answer := p.ask(t, p.first, key); !refusal(tt.status, tt.code)(answer) {
			t.Errorf("%s: the replica that did it answered %s, want %d %s at once", tt.name, answer, tt.status, tt.code)
		}
		p.until(t, p.second, key, heardWithin, tt.name, refusal(tt.status, tt.code))
		t.Logf("%s: held on the other replica after %s", tt.name, time.Since(began).Round(time.Millisecond))
		if tt.undo != nil {
			tt.undo(id)
		}
	}
}

func TestABindOnOneReplicaIsSeenByTheOther(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	_, key := p.agent(t, "deployer")
	redirected := func(a apptest.Answer) bool {
		return a.Status == http.StatusTemporaryRedirect && strings.HasPrefix(a.Header.Get("Location"), p.webhook.URL+"/")
	}
	works := func(what string) {
		t.Helper()
		got, err := apptest.Call(t.Context(), p.plain, http.MethodGet, p.ask(t, p.second, key).Header.Get("Location"), nil)
		if err != nil || got.Status != http.StatusOK {
			t.Errorf("a ticket of the other replica %s: %v %s, want 200", what, err, got)
		}
	}
	p.owner.Bind(p.webhook.URL, adminSecret)
	works("right after the webhook was bound again")
	p.owner.Must(http.MethodDelete, "/api/vault/webhook", nil, nil)
	p.until(t, p.second, key, heardWithin, "unbinding", refusal(409, "WEBHOOK_NOT_CONFIGURED"))
	p.owner.Bind(p.webhook.URL, adminSecret)
	p.until(t, p.second, key, heardWithin, "binding", redirected)
	works("after the webhook was bound there")
}

// Without the listener a replica learns nothing of the others. It must notice.
func TestAReplicaThatHearsNothingRefusesWithinThirtySeconds(t *testing.T) {
	t.Parallel()
	for name, cut := range map[string]func(t *testing.T, p *pair){
		"its backend terminated": func(t *testing.T, p *pair) {
			// The application name is that of this test's schema alone. What has listened for a
			// while was asked since whether it is there; so may others have been.
			result, err := connect(t, p.database).ExecContext(t.Context(), `WITH listening AS MATERIALIZED (
					SELECT pid FROM pg_stat_activity WHERE application_name = current_setting('application_name')
					AND pid <> pg_backend_pid() AND query ~ '^(LISTEN |-- ping)'
				) SELECT pg_terminate_backend(pid) FROM listening`)
			if err != nil {
				t.Fatal(err)
			}
			if n, err := result.RowsAffected(); err != nil || n < 2 {
				t.Fatalf("%d listening backends (%v), want those of two replicas", n, err)
			}
		},
		"its connection half-open": func(t *testing.T, p *pair) {
			if p.proxy.freeze() < 1 {
				t.Fatal("no connection listened")
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPair(t)
			var ids, keys []string
			for _, agent := range []string{"one", "two", "three"} {
				id, key := p.agent(t, agent)
				ids, keys = append(ids, id), append(keys, key)
			}
			cut(t, p)
			began := time.Now()
			for i, id := range ids { // some at once, some while the replica may be connecting anew
				p.owner.Must(http.MethodDelete, "/api/agents/"+id, nil, nil)
				if answer := p.ask(t, p.first, keys[i]); !refusal(401, "INVALID_KEY")(answer) {
					t.Errorf("the replica that deleted the agent answered %s, want 401 at once", answer)
				}
			}
			for _, key := range keys {
				p.until(t, p.second, key, deafWithin, "the deletion", refusal(401, "INVALID_KEY"))
			}
			t.Logf("%s: refused after %s", name, time.Since(began).Round(time.Millisecond))
		})
	}
}
