package vaults_test

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/models/store/storetest"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/vaults"
	"github.com/tvzero/tokenvault/webhook-sdk/webhooktest"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

func TestBindingMovesAnAccountToWebhookMode(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.Store) {
		w := newWorld(t, db)
		if got, err := w.Status(t.Context(), w.user); err != nil || got.Mode != models.ModePlatform || got.Binding != nil {
			t.Fatalf("Status = %+v, %v; want platform mode without a binding", got, err)
		}
		wh := webhooktest.Start(t, t.TempDir())
		in := registration(t, wh.URL)
		got := w.bind(in)
		if got.State != models.BindingActive || got.URL != wh.URL || got.Fingerprint != in.Hash || got.HealthStatus != models.HealthHealthy {
			t.Errorf("Bind = %+v, want an active, healthy binding to %s", got, wh.URL)
		}
		if got.SealKey == "" || got.SignKey == "" || got.WebhookID == "" {
			t.Errorf("pinned %q, %q, %q; want the webhook's id and keys", got.WebhookID, got.SealKey, got.SignKey)
		}
		if got.SealedSecret != nil {
			t.Error("Bind hands the sealed secret out")
		}
		stored, ok := w.binding(models.BindingActive)
		if !ok || bytes.Contains(stored.SealedSecret, w.secret().Bytes()) || len(stored.SealedSecret) <= wire.SecretSize {
			t.Errorf("stored secret of %d bytes, want it sealed", len(stored.SealedSecret))
		}
		status, err := w.Status(t.Context(), w.user)
		if err != nil || status.Mode != models.ModeWebhook || status.Binding == nil || status.Binding.SealedSecret != nil {
			t.Errorf("Status = %+v, %v; want webhook mode, and no secret", status, err)
		}
		if _, pending := w.binding(models.BindingPending); pending {
			t.Error("a pending binding is left")
		}
		w.wantEvents(audit.Bind, "ok  bind url="+wh.URL+" fingerprint="+in.Hash)

		// The code was used up, and saying so changes nothing.
		_, err = w.Bind(t.Context(), w.user, w.client, in)
		wantCode(t, err, fault.BindCodeInvalid)
		if again, _ := w.binding(models.BindingActive); again.ID != stored.ID {
			t.Errorf("binding %s is in use, want still %s", again.ID, stored.ID)
		}
		w.wantEvents(audit.Bind, "ok", "ok", "BIND_CODE_INVALID")
	})
}

func TestBindingAgainReplacesTheBindingAndForgetsItsSecret(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.Store) {
		w, _, tv := bound(t, db)
		tv.Store("github", map[string]any{"tokenType": "PlainText", "accessToken": "ghp_x"})
		w.sync("")
		token, err := w.Find(t.Context(), w.user, "github")
		if err != nil {
			t.Fatal(err)
		}
		first := w.secret()
		other := webhooktest.Start(t, t.TempDir())
		preview, err := w.PreviewBind(t.Context(), w.user, registration(t, other.URL))
		if err != nil || preview.Replaces == nil || preview.Replaces.SealedSecret != nil || "http://"+preview.Host != other.URL {
			t.Errorf("PreviewBind = %+v, %v; want the binding that would be replaced", preview, err)
		}
		w.bind(registration(t, other.URL))
		if w.secret().Equal(first) {
			t.Error("the secret is still that of the first binding")
		}
		if ended, ok := w.binding(models.BindingEnded); !ok || ended.SealedSecret != nil || ended.EndedAt == nil {
			t.Errorf("ended binding %+v, want one without a secret", ended)
		}
		w.wantNames("") // the other webhook has no tokens
		if _, err := w.View(t.Context(), w.user.AccountID, token.ID); fault.CodeOf(err) != fault.TokenNotFound {
			t.Errorf("View of the first webhook's token: %v, want TOKEN_NOT_FOUND", err)
		}
	})
}

func TestBindRefusesBadInputWithoutACall(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.Store) {
		l := newLiar(t, canarySecret(t, 1))
		w := newWorld(t, db)
		strict := newWorldOf(t, db, "strict@example.com", func(d *vaults.Deps) { d.AllowPrivate, d.OwnHost = false, "tv.example.com" })
		good := l.input()
		cases := []struct {
			name, field string
			world       *world
			in          vaults.BindInput
		}{
			{"no code", "code", w, vaults.BindInput{WebhookURL: good.WebhookURL, Hash: good.Hash}},
			{"a code with a line break", "code", w, vaults.BindInput{Code: "a\nb", WebhookURL: good.WebhookURL, Hash: good.Hash}},
			{"a code like a book", "code", w, vaults.BindInput{Code: strings.Repeat("c", 257), WebhookURL: good.WebhookURL, Hash: good.Hash}},
			{"no URL", "webhookUrl", w, vaults.BindInput{Code: "c", Hash: good.Hash}},
			{"URL with a password", "webhookUrl", w, vaults.BindInput{Code: "c", WebhookURL: "https://u:p@x.example", Hash: good.Hash}},
			{"plain http", "webhookUrl", strict, good},
			{"private address", "webhookUrl", strict, vaults.BindInput{Code: "c", WebhookURL: "https://127.0.0.1", Hash: good.Hash}},
			{"own host", "webhookUrl", strict, vaults.BindInput{Code: "c", WebhookURL: "https://tv.example.com/hook", Hash: good.Hash}},
			{"no hash", "hmacSecretHash", w, vaults.BindInput{Code: "c", WebhookURL: good.WebhookURL}},
			{"short hash", "hmacSecretHash", w, vaults.BindInput{Code: "c", WebhookURL: good.WebhookURL, Hash: good.Hash[:62]}},
			{"hash that is no hex", "hmacSecretHash", w, vaults.BindInput{Code: "c", WebhookURL: good.WebhookURL, Hash: strings.Repeat("g", 64)}},
		}
		for _, c := range cases {
			_, err := c.world.Bind(t.Context(), c.world.user, w.client, c.in)
			_, previewed := c.world.PreviewBind(t.Context(), c.world.user, c.in)
			for _, err := range []error{err, previewed} {
				if refusal := fault.From(err); refusal == nil || refusal.Code != fault.InvalidRequest || refusal.Field != c.field {
					t.Errorf("%s: %v, want INVALID_REQUEST for %s", c.name, err, c.field)
				}
			}
		}
		if calls := l.seen(); len(calls) != 0 {
			t.Errorf("the webhook was called: %q", calls)
		}
		w.wantEvents(audit.Bind)
	})
}

func TestALyingWebhookIsNotBoundAndChangesNothing(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.Store) {
		w, _, _ := bound(t, db)
		before, _ := w.binding(models.BindingActive)
		cases := []struct {
			name    string
			code    fault.Code
			pending bool // the secret was handed over rightly, may hold yet, and is kept
			alter   func(*liar)
		}{
			{"another secret", fault.WebhookMismatch, false, func(l *liar) {
				l.exchange = func(w http.ResponseWriter) {
					says(w, 200, wire.ExchangeResponse{HMACSecret: canarySecret(t, 99).Encode()})
				}
			}},
			{"a page", fault.WebhookUnavailable, false, func(l *liar) {
				l.exchange = func(w http.ResponseWriter) { _, _ = io.WriteString(w, "<html>") }
			}},
			{"garbage", fault.WebhookUnavailable, false, func(l *liar) {
				l.exchange = func(w http.ResponseWriter) {
					w.Header().Set("Content-Type", "application/json")
					_, _ = io.WriteString(w, `{"hmacSecret":`)
				}
			}},
			{"a huge answer", fault.WebhookUnavailable, false, func(l *liar) {
				l.exchange = func(w http.ResponseWriter) {
					w.Header().Set("Content-Type", "application/json")
					_, _ = w.Write(bytes.Repeat([]byte(" "), 2<<20))
				}
			}},
			{"a redirect", fault.WebhookUnavailable, false, func(l *liar) {
				l.exchange = func(w http.ResponseWriter) {
					w.Header().Set("Location", l.URL+"/elsewhere")
					w.WriteHeader(http.StatusFound)
				}
			}},
			{"broken", fault.WebhookUnavailable, false, func(l *liar) {
				l.exchange = func(w http.ResponseWriter) { refuses(w, wire.CodeInternal) }
			}},
			{"code expired", fault.BindCodeInvalid, false, func(l *liar) {
				l.exchange = func(w http.ResponseWriter) { refuses(w, wire.CodeCodeExpired) }
			}},
			{"does not take the secret", fault.WebhookAuthFailed, true, func(l *liar) { l.accepts = []wire.Secret{canarySecret(t, 98)} }},
			{"falls ill", fault.WebhookUnavailable, true, func(l *liar) {
				l.health = func(w http.ResponseWriter, _ bool) { refuses(w, wire.CodeInternal) }
			}},
			{"changes its name", fault.WebhookMismatch, false, func(l *liar) {
				l.health = func(w http.ResponseWriter, _ bool) {
					says(w, 200, wire.HealthResponse{Status: wire.StatusHealthy, WebhookID: "another"})
				}
			}},
		}
		for i, c := range cases {
			l := newLiar(t, canarySecret(t, byte(10+i)))
			l.change(c.alter)
			_, err := w.Bind(t.Context(), w.user, w.client, l.input())
			if got := fault.CodeOf(err); got != c.code {
				t.Errorf("%s: code %q (%v), want %q", c.name, got, err, c.code)
			}
			after, ok := w.binding(models.BindingActive)
			if !ok || after.ID != before.ID || after.URL != before.URL || !bytes.Equal(after.SealedSecret, before.SealedSecret) {
				t.Errorf("%s: binding %s to %s is in use, want %s to %s", c.name, after.ID, after.URL, before.ID, before.URL)
			}
			pending, kept := w.binding(models.BindingPending)
			if got := kept && pending.URL == l.URL; got != c.pending {
				t.Errorf("%s: pending secret kept %v, want %v", c.name, got, c.pending)
			}
			events := w.events(audit.Bind)
			if last := events[len(events)-1]; !strings.HasPrefix(last, string(c.code)+" ") {
				t.Errorf("%s: the record ends with %q, want %s", c.name, last, c.code)
			}
		}
	})
}

func TestWithoutARecordNothingIsBound(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.Store) {
		w := newWorld(t, db)
		l := newLiar(t, canarySecret(t, 1))
		w.record.setAway(true)
		_, err := w.Bind(t.Context(), w.user, w.client, l.input())
		wantCode(t, err, fault.Unavailable)
		if calls := l.seen(); len(calls) != 0 {
			t.Errorf("the webhook was called: %q", calls)
		}
	})
}

func TestAnInterruptedBindIsSettledByTheNextUse(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.Store) {
		w, wh, _ := bound(t, db)
		old, _ := w.binding(models.BindingActive)
		// The webhook answers the signed call of a second bind, and the answer is lost:
		// for TV that bind failed, for the webhook its secret is the one in use.
		l := newLiar(t, canarySecret(t, 5))
		var lost atomic.Bool
		lost.Store(true)
		l.change(func(l *liar) {
			l.health = func(w http.ResponseWriter, signed bool) {
				if signed && lost.Load() {
					panic(http.ErrAbortHandler)
				}
				says(w, 200, wire.HealthResponse{Status: wire.StatusHealthy, KeyConfigured: true})
			}
			l.storage = func(w http.ResponseWriter, _ wire.StorageRequest) { lists(w, `{"serviceName":"github"}`) }
		})
		_, err := w.Bind(t.Context(), w.user, w.client, l.input())
		wantCode(t, err, fault.WebhookUnavailable)
		if now, _ := w.binding(models.BindingActive); now.ID != old.ID {
			t.Fatalf("binding %s is in use, want still %s", now.ID, old.ID)
		}
		// While the old webhook still takes its secret, nothing is tried.
		w.sync("")
		if now, _ := w.binding(models.BindingActive); now.ID != old.ID {
			t.Fatalf("binding %s is in use after a good sync, want still %s", now.ID, old.ID)
		}
		lost.Store(false)
		wh.Stop() // somebody binds the old webhook elsewhere: our secret ends
		gone := newLiarAt(t, wh.URL, canarySecret(t, 6))
		if n := w.sync(""); n != 1 {
			t.Errorf("synced %d tokens, want the 1 of the webhook that was bound last", n)
		}
		now, _ := w.binding(models.BindingActive)
		if now.URL != l.URL || !w.secret().Equal(l.secret) {
			t.Errorf("binding to %s is in use, want %s", now.URL, l.URL)
		}
		if calls := gone.seen(); len(calls) == 0 {
			t.Error("the old webhook was not asked first")
		}
		events := w.events(audit.Bind)
		if last := events[len(events)-1]; !strings.Contains(last, "settle a bind that was interrupted url="+l.URL) {
			t.Errorf("the record ends with %q, want the settling", last)
		}
	})
}

func TestStatusSettlesTheFirstBindOfAnAccount(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.Store) {
		var later time.Duration
		w := newWorld(t, db, func(d *vaults.Deps) { d.Now = func() time.Time { return time.Now().Add(later) } })
		l := newLiar(t, canarySecret(t, 5))
		l.change(func(l *liar) { l.health = func(w http.ResponseWriter, _ bool) { refuses(w, wire.CodeInternal) } })
		_, err := w.Bind(t.Context(), w.user, w.client, l.input())
		wantCode(t, err, fault.WebhookUnavailable)
		l.change(func(l *liar) { l.health = nil })
		const limit = 3 * time.Second // a page does not wait for longer: what takes that long is tried again
		var status vaults.Status
		for range 10 {
			began := time.Now()
			status, err = w.Status(t.Context(), w.user)
			if status.Mode == models.ModeWebhook || time.Since(began) < limit {
				break
			}
			later += time.Minute
		}
		if err != nil || status.Mode != models.ModeWebhook {
			t.Errorf("Status = %+v, %v; want the pending binding in use", status, err)
		}
	})
}

// The owner was told that it failed: what was agreed to then must not come to
// pass at any later time.
func TestAnInterruptedBindIsSettledForADayAndNoLonger(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.Store) {
		var later atomic.Int64
		w := newWorld(t, db, func(d *vaults.Deps) {
			d.Now = func() time.Time { return time.Now().Add(time.Duration(later.Load())) }
		})
		l := newLiar(t, canarySecret(t, 5))
		l.change(func(l *liar) { l.health = func(w http.ResponseWriter, _ bool) { refuses(w, wire.CodeInternal) } })
		_, err := w.Bind(t.Context(), w.user, w.client, l.input())
		wantCode(t, err, fault.WebhookUnavailable)
		l.change(func(l *liar) { l.health = nil })
		asked := len(l.seen())
		later.Store(int64(25 * time.Hour))
		status, err := w.Status(t.Context(), w.user)
		if err != nil || status.Mode != models.ModePlatform {
			t.Errorf("Status = %+v, %v; want platform mode", status, err)
		}
		if calls := l.seen(); len(calls) != asked {
			t.Errorf("the webhook was called again: %q", calls[asked:])
		}
		if _, kept := w.binding(models.BindingPending); kept {
			t.Error("the pending binding is still there")
		}
		events := w.events(audit.Bind)
		if last := events[len(events)-1]; !strings.HasPrefix(last, "ok  forget a bind that was interrupted url="+l.URL) {
			t.Errorf("the record ends with %q, want the forgetting", last)
		}
	})
}

func TestUnbindingForgetsAnInterruptedBindToo(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.Store) {
		w := newWorld(t, db)
		l := newLiar(t, canarySecret(t, 5))
		l.change(func(l *liar) { l.health = func(w http.ResponseWriter, _ bool) { refuses(w, wire.CodeInternal) } })
		_, err := w.Bind(t.Context(), w.user, w.client, l.input())
		wantCode(t, err, fault.WebhookUnavailable)
		l.change(func(l *liar) { l.health = nil })
		if err := w.Unbind(t.Context(), w.user, w.client); err != nil {
			t.Errorf("Unbind: %v", err)
		}
		status, err := w.Status(t.Context(), w.user)
		if err != nil || status.Mode != models.ModePlatform {
			t.Errorf("Status = %+v, %v; want platform mode", status, err)
		}
		wantCode(t, w.Unbind(t.Context(), w.user, w.client), fault.WebhookNotConfigured)
		w.wantEvents(audit.Bind, "ok  bind", "WEBHOOK_UNAVAILABLE  bind", "ok  unbind what was interrupted url="+l.URL)
	})
}

func TestOfTwoBindsAtOnceOneWinsCleanly(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.Store) {
		for round := range 5 {
			w := newWorldOf(t, db, strings.Repeat("a", round+1)+"@example.com")
			liars := []*liar{newLiar(t, canarySecret(t, 1)), newLiar(t, canarySecret(t, 2)), newLiar(t, canarySecret(t, 3))}
			errs := make([]error, len(liars))
			var wg sync.WaitGroup
			for i, l := range liars {
				wg.Go(func() { _, errs[i] = w.Bind(t.Context(), w.user, w.client, l.input()) })
			}
			wg.Wait()
			won := map[string]bool{}
			for i, err := range errs {
				if err == nil {
					won[liars[i].URL] = true
				} else if fault.CodeOf(err) != fault.Conflict {
					t.Errorf("round %d: %v, want success or CONFLICT", round, err)
				}
			}
			active, ok := w.binding(models.BindingActive)
			if !ok || !won[active.URL] {
				t.Errorf("round %d: the binding in use leads to %q, want one of the winners %v", round, active.URL, won)
			}
			if _, err := w.Sync(t.Context(), w.user, w.client, ""); err != nil {
				t.Errorf("round %d: the binding in use does not work: %v", round, err)
			}
		}
	})
}

func TestUnbindingForgetsTheSecretAndLeavesTheWebhookAlone(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.Store) {
		w, wh, tv := bound(t, db)
		tv.Store("github", map[string]any{"tokenType": "PlainText", "accessToken": "ghp_x"})
		w.sync("")
		if err := w.Unbind(t.Context(), w.user, w.client); err != nil {
			t.Fatal(err)
		}
		if ended, ok := w.binding(models.BindingEnded); !ok || ended.SealedSecret != nil {
			t.Errorf("ended binding %+v, want one without a secret", ended)
		}
		status, err := w.Status(t.Context(), w.user)
		if err != nil || status.Mode != models.ModePlatform {
			t.Errorf("Status = %+v, %v; want platform mode", status, err)
		}
		w.wantNames("")
		_, err = w.StoreTicket(t.Context(), w.user, w.client, vaults.StoreTicketInput{ServiceName: "github"})
		wantCode(t, err, fault.WrongVaultMode)
		_, err = w.Sync(t.Context(), w.user, w.client, "")
		wantCode(t, err, fault.WebhookNotConfigured)
		wantCode(t, w.Unbind(t.Context(), w.user, w.client), fault.WebhookNotConfigured)
		if got := tv.Reveal("github")["accessToken"]; got != "ghp_x" {
			t.Errorf("the webhook holds %v, want what was stored", got)
		}
		w.wantEvents(audit.Bind, "ok  bind", "ok  unbind url="+wh.URL)
	})
}
