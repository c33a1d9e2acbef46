package app_test

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/tvzero/tokenvault/models/store/storetest"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"

	"github.com/tvzero/tokenvault/server/internal/app/apptest"
)

// Two secrets are valid at once while a webhook is bound again, so agents that
// fetch without a pause notice nothing.
func TestBindingTheSameWebhookAgainLosesNoFetch(t *testing.T) {
	t.Parallel()
	storetest.EachURL(t, func(t *testing.T, database string) {
		const agents, rebinds = 4, 5
		s, wh := start(t, database, newKeys(t)), startWebhook(t, nil)
		owner := s.owner(t, "owner@example.com")
		owner.Bind(wh.URL, adminSecret)
		owner.Store("github", map[string]any{"tokenType": wire.TypePlainText, "accessToken": "ghp_value"})

		busy, stop := context.WithCancel(t.Context())
		defer stop()
		var fetched [agents]atomic.Int64
		var fetchers sync.WaitGroup
		for i := range agents {
			id, key := owner.Agent("agent " + string(rune('a'+i)))
			owner.Grant(id, "github", 0)
			client := newAgent(t, s.URL(), key)
			fetchers.Go(func() {
				for busy.Err() == nil {
					got, err := client.Credential(t.Context(), "github")
					if err != nil || got.AccessToken() != "ghp_value" {
						t.Errorf("a fetch failed while the webhook was bound again: %v", err)
						return
					}
					fetched[i].Add(1)
				}
			})
		}
		var fingerprints []string
		for range rebinds {
			owner.Bind(wh.URL, adminSecret)
			var before [agents]int64
			for i := range fetched {
				before[i] = fetched[i].Load()
			}
			var status struct{ Webhook struct{ Fingerprint string } }
			owner.Must(http.MethodGet, "/api/vault/status", nil, &status)
			fingerprints = append(fingerprints, status.Webhook.Fingerprint)
			for i := range fetched { // each agent fetches with the new secret before the next
				for fetched[i].Load() < before[i]+2 && !t.Failed() {
					wantAlive(t, owner)
				}
			}
		}
		stop()
		fetchers.Wait()
		for i, a := range fingerprints {
			for _, b := range fingerprints[:i] {
				if a == b {
					t.Errorf("two bindings have the fingerprint %s, want a new secret for each", a)
				}
			}
		}
		total := int64(0)
		for i := range fetched {
			total += fetched[i].Load()
		}
		t.Logf("%d fetches around %d re-binds", total, rebinds)
	})
}

// wantAlive asks the server whether it is alive: a pause that tests something.
func wantAlive(t *testing.T, owner *apptest.Owner) {
	t.Helper()
	if answer := owner.Do(http.MethodGet, "/healthz", nil); answer.Status != http.StatusOK {
		t.Errorf("healthz answered %s, want 200", answer)
	}
}
