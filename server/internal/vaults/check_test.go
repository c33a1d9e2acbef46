package vaults_test

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"

	webhook "github.com/tvzero/tokenvault/webhook-sdk"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/models/store/storetest"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/vaults"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// check runs the probes and returns their verdicts by name.
func (w *world) check() map[string]vaults.Probe {
	w.t.Helper()
	probes, err := w.CheckWebhook(w.t.Context(), w.user, w.client)
	if err != nil {
		w.t.Fatalf("CheckWebhook: %v", err)
	}
	var names []string
	byName := map[string]vaults.Probe{}
	for _, p := range probes {
		names, byName[p.Name] = append(names, p.Name), p
		if p.Title == "" || p.Advice == "" {
			w.t.Errorf("probe %+v, want words for a person", p)
		}
	}
	want := []string{"health", "signed_health", "wrong_signature", "forged_ticket", "storage_round_trip", "deny_list"}
	if !slices.Equal(names, want) {
		w.t.Fatalf("probes %q, want %q", names, want)
	}
	return byName
}

func (w *world) wantVerdict(probes map[string]vaults.Probe, name string, verdict vaults.Verdict, status int) {
	w.t.Helper()
	if got := probes[name]; got.Verdict != verdict || got.Status != status {
		w.t.Errorf("%s: %s with status %d (%s), want %s with %d", name, got.Verdict, got.Status, got.Advice, verdict, status)
	}
}

func TestOurWebhookPassesEveryProbe(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.Store) {
		w, _, tv := bound(t, db, func(c *webhook.Config) { c.Deny = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} })
		probes := w.check()
		for name, status := range map[string]int{
			"health": 200, "signed_health": 200, "wrong_signature": 401, "forged_ticket": 403, "storage_round_trip": 200, "deny_list": 403,
		} {
			w.wantVerdict(probes, name, vaults.Pass, status)
		}
		var list wire.StorageResponse
		tv.Signed(wire.PathStorage, map[string]any{"operation": "list", "collection": "vault_config"}).Decode(t, &list)
		if len(list.Items) != 0 {
			t.Errorf("the probe left %v at the webhook, want nothing", list.Items)
		}
		w.wantEvents(audit.TicketIssued, "ok  purpose=agent_credential probe=deny_list")
		binding, _ := w.binding(models.BindingActive)
		if binding.HealthStatus != models.HealthHealthy || binding.HealthCheckedAt == nil {
			t.Errorf("health %s at %v, want healthy now", binding.HealthStatus, binding.HealthCheckedAt)
		}
	})
}

func TestADenyListWithoutThisServerIsAWarning(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.Store) {
		w, _, _ := bound(t, db)
		probes := w.check()
		w.wantVerdict(probes, "forged_ticket", vaults.Pass, 401)
		w.wantVerdict(probes, "deny_list", vaults.Warn, 404)
		if err := w.Lock(t.Context(), w.user, w.client); err != nil {
			t.Fatal(err)
		}
		w.wantVerdict(w.check(), "deny_list", vaults.Warn, 0) // no ticket is signed while locked
		w.wantEvents(audit.TicketIssued, "ok")
	})
}

func TestAWebhookThatTrustsEverybodyFails(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.Store) {
		w, l := boundLiar(t, db)
		l.change(func(l *liar) {
			l.accepts = nil
			l.storage = func(w http.ResponseWriter, r wire.StorageRequest) {
				if r.Operation == wire.OpGet {
					says(w, 200, map[string]any{"data": map[string]string{"probe": "something else"}})
					return
				}
				says(w, 200, wire.StorageResponse{Status: "ok"})
			}
			l.release = func(w http.ResponseWriter, r wire.TicketRequest) {
				if !strings.HasPrefix(r.Service, "tokenvault-probe-") {
					t.Errorf("the probe names %q, want a name of its own", r.Service)
				}
				says(w, 200, wire.CredentialResponse{Token: map[string]any{"accessToken": "x"}})
			}
		})
		probes := w.check()
		w.wantVerdict(probes, "wrong_signature", vaults.Fail, 200)
		w.wantVerdict(probes, "forged_ticket", vaults.Fail, 200)
		w.wantVerdict(probes, "deny_list", vaults.Fail, 200)
		w.wantVerdict(probes, "storage_round_trip", vaults.Fail, 0)
	})
}

func TestAWebhookWithoutDocumentsIsAskedForAList(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.Store) {
		w, l := boundLiar(t, db)
		l.change(func(l *liar) {
			l.storage = func(w http.ResponseWriter, r wire.StorageRequest) {
				if r.Operation == wire.OpList {
					lists(w, `{"serviceName":"github"}`)
					return
				}
				refuses(w, wire.CodeInvalidRequest)
			}
		})
		w.wantVerdict(w.check(), "storage_round_trip", vaults.Warn, 200)
	})
}

func TestChangedKeysMakeAWebhookUnhealthyAndCallsGoOn(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.Store) {
		w, l := boundLiar(t, db)
		l.change(func(l *liar) {
			l.health = func(w http.ResponseWriter, _ bool) {
				says(w, 200, wire.HealthResponse{Status: wire.StatusHealthy, KeyConfigured: true, WebhookID: "another"})
			}
			l.storage = func(w http.ResponseWriter, r wire.StorageRequest) {
				if r.Operation == wire.OpList {
					lists(w, `{"serviceName":"github"}`)
					return
				}
				refuses(w, wire.CodeInvalidRequest)
			}
		})
		probes := w.check()
		w.wantVerdict(probes, "signed_health", vaults.Fail, 200)
		binding, _ := w.binding(models.BindingActive)
		if binding.HealthStatus != models.HealthUnhealthy || !strings.Contains(binding.HealthDetail, "webhookId") {
			t.Errorf("health %s (%s), want unhealthy for the webhookId", binding.HealthStatus, binding.HealthDetail)
		}
		if binding.WebhookID != "liar" {
			t.Errorf("pinned %q, want still the one of the bind", binding.WebhookID)
		}
		if n := w.sync(""); n != 1 {
			t.Errorf("synced %d, want 1: calls go on", n)
		}
	})
}

func TestAWebhookThatIsAwayIsUnhealthy(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.Store) {
		w, l := boundLiar(t, db)
		l.Close()
		probes := w.check()
		for _, name := range []string{"health", "signed_health", "wrong_signature", "forged_ticket", "storage_round_trip", "deny_list"} {
			w.wantVerdict(probes, name, vaults.Fail, 0)
		}
		status, err := w.Status(t.Context(), w.user)
		if err != nil || status.Binding.HealthStatus != models.HealthUnhealthy || !strings.Contains(status.Binding.HealthDetail, "could not be reached") {
			t.Errorf("status %+v, %v; want unhealthy and why", status.Binding, err)
		}
		_, err = w.CheckWebhook(t.Context(), w.newUser("platform@example.com"), w.client)
		wantCode(t, err, fault.WebhookNotConfigured)
	})
}

// sampled keeps samples in memory.
type sampled struct {
	list []models.HealthSample
	err  error
}

func (s *sampled) PutHealthSample(_ context.Context, sample models.HealthSample) error {
	s.list = append(s.list, sample)
	return s.err
}

func TestEachHealthCallIsKeptAsASampleWithoutTheWebhooksWords(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.Store) {
		kept := &sampled{}
		w, l := boundLiar(t, db, func(d *vaults.Deps) { d.Samples = kept })
		probe := func(want models.HealthSample, health string) {
			t.Helper()
			got, err := w.CheckHealth(t.Context(), w.user.AccountID)
			if err != nil {
				t.Fatalf("CheckHealth: %v", err)
			}
			binding, _ := w.binding(models.BindingActive)
			want.AccountID, want.BindingID, want.At, want.LatencyMS = w.user.AccountID, binding.ID, got.At, got.LatencyMS
			if last := kept.list[len(kept.list)-1]; got != want || last != want {
				t.Errorf("got %+v, kept %+v, want %+v", got, last, want)
			}
			if binding.HealthStatus != health || binding.HealthCheckedAt == nil {
				t.Errorf("the binding is %s, want %s", binding.HealthStatus, health)
			}
		}
		probe(models.HealthSample{OK: true, Status: 200}, models.HealthHealthy)
		w.check()
		if len(kept.list) != 2 || !kept.list[1].OK {
			t.Errorf("a check kept %+v, want a second healthy sample", kept.list)
		}
		l.change(func(l *liar) {
			l.health = func(w http.ResponseWriter, _ bool) {
				says(w, 200, wire.HealthResponse{Status: wire.StatusHealthy, KeyConfigured: true, WebhookID: "canary-in-an-id"})
			}
		})
		probe(models.HealthSample{Status: 200, Code: "WEBHOOK_MISMATCH"}, models.HealthUnhealthy)
		l.change(func(l *liar) {
			l.health = func(w http.ResponseWriter, _ bool) { says(w, 500, map[string]string{"error": "canary"}) }
		})
		kept.err = errors.New("the database is away") // which is no reason to fail
		probe(models.HealthSample{Status: 500, Code: "WEBHOOK_UNAVAILABLE"}, models.HealthUnhealthy)
		l.Close()
		probe(models.HealthSample{Code: "WEBHOOK_UNAVAILABLE"}, models.HealthUnhealthy)
		if err := w.Lock(t.Context(), w.user, w.client); err != nil {
			t.Fatal(err)
		}
		probe(models.HealthSample{Code: "WEBHOOK_UNAVAILABLE"}, models.HealthUnhealthy)

		before := len(kept.list)
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := w.CheckHealth(gone, w.user.AccountID); err == nil || len(kept.list) != before {
			t.Errorf("a call that was cut off: %v, and %d samples more, want an error and none", err, len(kept.list)-before)
		}
		_, err := w.CheckHealth(t.Context(), w.newUser("platform@example.com").AccountID)
		wantCode(t, err, fault.WebhookNotConfigured)
	})
}
