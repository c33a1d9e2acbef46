package refreshes_test

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/refresh"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/custody"
	"github.com/tvzero/tokenvault/server/internal/refreshes"
	"github.com/tvzero/tokenvault/server/internal/vaults"
	"github.com/tvzero/tokenvault/webhook-sdk/webhooktest"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// A line leads to a webhook and can be cut for updates: TV gets a refresh token and
// cannot bring back what it got for it.
type line struct {
	*httptest.Server
	mu      sync.Mutex
	cut     bool
	answers bool // what is cut arrives, and its answer is lost
	hangs   bool // what is cut is not answered, rather than refused
	tried   chan struct{}
}

func newLine(t testing.TB, wh *webhooktest.Webhook) *line {
	t.Helper()
	l := &line{tried: make(chan struct{}, 1000)}
	l.Server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		raw, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(raw))
		l.mu.Lock()
		cut, arrives := l.cut && bytes.Contains(raw, []byte(`"action":"update"`)), l.answers
		l.mu.Unlock()
		if !cut {
			wh.ServeHTTP(rw, r)
			return
		}
		if arrives {
			wh.ServeHTTP(httptest.NewRecorder(), r)
		}
		l.tried <- struct{}{}
		l.mu.Lock()
		hangs := l.hangs
		l.mu.Unlock()
		if hangs {
			<-r.Context().Done()
		}
		panic(http.ErrAbortHandler)
	}))
	t.Cleanup(l.Close)
	return l
}

func (l *line) set(cut, answerLost bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut, l.answers = cut, answerLost
}

// cutOff is an owner of a real webhook behind a line that is cut.
func (w *world) cutOff() (*owner, *line) {
	w.t.Helper()
	o, wh := w.real(tvRefresh)
	l := newLine(w.t, wh)
	l.set(true, false)
	o.custody(func(c *vaults.Custody) { c.Binding.URL = l.URL })
	return o, l
}

// without takes a capability from an owner's webhook.
func (o *owner) without(capability string) {
	o.custody(func(c *vaults.Custody) {
		c.Binding.Capabilities = slices.DeleteFunc(slices.Clone(c.Binding.Capabilities), func(one string) bool { return one == capability })
	})
}

func (o *owner) newest() bool {
	return o.provider.Newest(refresh.Secret(o.tv.AgentCredential("github")["accessToken"].(string)))
}

// entry is what waits for a token's webhook; ok is false when nothing does.
func (o *owner) entry(t models.Token) (e models.OutboxEntry, ok bool) {
	o.t.Helper()
	e, err := o.db.Outbox(o.t.Context(), t.AccountID, t.ID)
	if err != nil && !errors.Is(err, models.ErrNotFound) {
		o.t.Fatal(err)
	}
	return e, err == nil
}

// hurry makes an entry due.
func (o *owner) hurry(e models.OutboxEntry) {
	o.t.Helper()
	if err := o.db.PostponeOutbox(o.t.Context(), e, time.Now().Add(-time.Second)); err != nil && !errors.Is(err, models.ErrNotFound) {
		o.t.Fatal(err)
	}
}

func TestTokensForAWebhookThatIsAwayWaitSealedAndAreDelivered(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		o, l := w.cutOff()
		token, before := o.store("github")
		s := w.service()
		w.run(s)
		r := o.ended(token, refresh.Rotated)
		wantRow(t, r, models.PathMediated, refresh.Rotated, refreshes.ReasonUndelivered)
		e, ok := o.entry(token)
		if !ok || e.Sequence != 1 || e.CreationID != token.CreationID {
			t.Fatalf("what waits: %+v, %t; want the first change of the creation", e, ok)
		}
		w.wantNoCanary()
		if got := o.tv.AgentCredential("github")["accessToken"]; got != string(before.AccessToken) {
			t.Errorf("the webhook has %q already", got)
		}
		if got := o.token(token).ExpiresAt; !got.Equal(*token.ExpiresAt) {
			t.Errorf("the index says %v before the webhook has it, want %v", got, token.ExpiresAt)
		}
		l.set(false, false)
		o.hurry(e)
		w.until("it is delivered", func() bool { _, waits := o.entry(token); return !waits })
		if !o.newest() {
			t.Error("the webhook has not the provider's newest access token")
		}
		w.until("the index and the row know", func() bool {
			return o.token(token).ExpiresAt.After(time.Now().Add(50*time.Minute)) && o.row(token).Reason == ""
		})
		if got := s.Stats(); got.Sealed != 1 || got.Delivered != 1 || got.Lost != 0 {
			t.Errorf("counted %+v, want one sealed and delivered", got)
		}
		w.until("the record says both", func() bool {
			got := strings.Join(o.events(), "\n")
			return strings.Contains(got, "ok github path=tv-mediated outcome=rotated reason=undelivered") && strings.Contains(got, "path=tv-mediated delivered")
		})
		if n := w.provider.Reused(); n != 0 {
			t.Errorf("%d refresh tokens were used twice, want none", n)
		}
	})
}

// Nobody knows whether the first one arrived: the sequence does.
func TestAnUpdateWhoseAnswerIsLostIsNotAppliedTwice(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		o, l := w.cutOff()
		l.set(true, true)
		token, _ := o.store("github")
		s := w.service()
		w.run(s)
		o.ended(token, refresh.Rotated)
		if !o.newest() {
			t.Fatal("the update did not arrive")
		}
		l.set(false, false)
		if e, ok := o.entry(token); ok {
			o.hurry(e)
		}
		w.until("what waits is settled", func() bool { _, waits := o.entry(token); return !waits })
		if !o.newest() {
			t.Error("the webhook has not the provider's newest access token")
		}
		w.until("it is counted", func() bool { return s.Stats().Discarded != 0 })
		if got := s.Stats(); got.Sealed != 1 || got.Discarded != 1 || got.Lost != 0 {
			t.Errorf("counted %+v, want one sealed and discarded", got)
		}
	})
}

// Time that a webhook takes without an answer is not the outbox's.
func TestTokensForAWebhookThatHangsAreSealedInTime(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.limits.BringTime = time.Second
		o, l := w.cutOff()
		l.hangs = true
		token, _ := o.store("github")
		s := w.service()
		w.run(s)
		wantRow(t, o.ended(token, refresh.Rotated), models.PathMediated, refresh.Rotated, refreshes.ReasonUndelivered)
		if got := s.Stats(); got.Sealed != 1 || got.Engine.CommitRetries != 0 {
			t.Errorf("counted %+v, want one sealed at the first try", got)
		}
	})
}

func TestTokensThatWaitedAreDiscardedWhenTheCredentialWasReplaced(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		o, l := w.cutOff()
		token, _ := o.store("github")
		s := w.service()
		w.run(s)
		o.ended(token, refresh.Rotated)
		e, ok := o.entry(token)
		if !ok {
			t.Fatal("nothing waits")
		}
		replaced := o.provider.Issue()
		o.tv.Store("github", map[string]any{"tokenType": "OAuth", "provider": "test", "accessToken": string(replaced.AccessToken), "refreshToken": string(replaced.RefreshToken)})
		l.set(false, false)
		o.hurry(e)
		w.until("it is discarded", func() bool { _, waits := o.entry(token); return !waits })
		if got := o.tv.AgentCredential("github")["accessToken"]; got != string(replaced.AccessToken) {
			t.Errorf("the webhook has %q, want what its owner stored", got)
		}
		w.until("the record", func() bool { return strings.Contains(strings.Join(o.events(), "\n"), "discarded") })
		if got := s.Stats(); got.Discarded != 1 || got.Delivered != 0 {
			t.Errorf("counted %+v, want one discarded", got)
		}
	})
}

func TestASealedUpdateThatIsReplayedChangesNothing(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		o, l := w.cutOff()
		token, _ := o.store("github")
		s := w.service()
		stop := w.run(s)
		o.ended(token, refresh.Rotated)
		stop()
		e, _ := o.entry(token)
		l.set(false, false)
		o.hurry(e)
		w.check(s.DeliverDue(t.Context()))
		if _, err := s.RefreshNow(t.Context(), o.principal(), audit.Client{}, "github"); err != nil {
			t.Fatal(err)
		}
		newest := o.tv.Reveal("github")
		e.DueAt = time.Now().Add(-time.Second)
		w.check(w.db.PutOutbox(t.Context(), &e))
		w.check(s.DeliverDue(t.Context()))
		if _, waits := o.entry(token); waits {
			t.Error("the replay still waits")
		}
		if got := o.tv.Reveal("github"); got["accessToken"] != newest["accessToken"] || got["refreshToken"] != newest["refreshToken"] {
			t.Error("the replay changed the webhook's tokens")
		}
	})
}

// The webhook still has the refresh token that was used up: asking for it before what
// waits is delivered would end the account's connection.
func TestWhatWaitsIsDeliveredBeforeTheNextRefresh(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		o, l := w.cutOff()
		token, _ := o.store("github")
		s := w.service()
		stop := w.run(s)
		o.ended(token, refresh.Rotated)
		stop()
		w.check(w.db.ScheduleRefresh(t.Context(), o.account, token.ID, ptr(time.Now().Add(-time.Second))))
		calls := w.provider.Calls()
		stop = w.run(w.service())
		r := o.ended(token, refresh.RetryAt) // still away
		wantRow(t, r, models.PathMediated, refresh.RetryAt, refreshes.ReasonUnreachable)
		stop()
		if got := w.provider.Calls(); got != calls {
			t.Fatalf("the provider was called %d times while tokens waited, want none", got-calls)
		}
		l.set(false, false)
		w.check(w.db.ScheduleRefresh(t.Context(), o.account, token.ID, ptr(time.Now().Add(-time.Second))))
		w.run(w.service())
		r = o.ended(token, refresh.StillValid) // what was delivered is fresh
		if _, waits := o.entry(token); waits || !o.newest() || w.provider.Reused() != 0 {
			t.Errorf("waits %t, newest %t, %d reused; want it delivered, and nothing reused: %+v", waits, o.newest(), w.provider.Reused(), r)
		}
	})
}

func TestWithoutAnOutboxTokensAreRetriedFromMemory(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		o, l := w.cutOff()
		o.without(wire.CapOutbox)
		token, _ := o.store("github")
		s := w.service()
		w.run(s)
		<-l.tried
		if r := o.row(token); r.LeaseUntil == nil || r.LeaseUntil.Before(time.Now().Add(9*time.Minute)) {
			t.Errorf("the lease lives until %v: another replica could use up the old refresh token again", r.LeaseUntil)
		}
		if _, waits := o.entry(token); waits {
			t.Error("an entry waits for a webhook that has no outbox")
		}
		l.set(false, false)
		wantRow(t, o.ended(token, refresh.Rotated), models.PathMediated, refresh.Rotated, "")
		if !o.newest() || w.provider.Reused() != 0 {
			t.Errorf("newest %t, %d reused; want the newest and none", o.newest(), w.provider.Reused())
		}
	})
}

func TestTokensThatNoWebhookCouldBeGivenAreCountedAsLost(t *testing.T) {
	for name, spoil := range map[string]func(o *owner){
		"without an outbox": func(o *owner) { o.without(wire.CapOutbox) },
		"without a key":     func(o *owner) { o.custody(func(c *vaults.Custody) { c.Binding.SealKey = "" }) },
		"with a key that is none": func(o *owner) {
			o.custody(func(c *vaults.Custody) { c.Binding.SealKey = "k X25519 AAAA" })
		},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, w *world) {
				w.limits.CommitTime = 300 * time.Millisecond
				o, l := w.cutOff()
				spoil(o)
				token, _ := o.store("github")
				s := w.service()
				w.run(s)
				r := o.ended(token, refresh.RetryAt)
				wantRow(t, r, models.PathMediated, refresh.RetryAt, refresh.ReasonNotStored)
				w.until("the record", func() bool { return strings.Contains(strings.Join(o.events(), "\n"), "they are lost") })
				if got := s.Stats(); got.Lost != 1 {
					t.Errorf("counted %+v, want one lost", got)
				}
				if !strings.Contains(w.log.text(), "reached no webhook and are lost") {
					t.Errorf("the log does not say so: %s", w.log.text())
				}
				l.set(false, false)
				got, err := s.RefreshNow(t.Context(), o.principal(), audit.Client{}, "github")
				if err != nil || got.Outcome != refresh.NeedsReauthorization || got.Reason != refresh.ReasonInvalidGrant {
					t.Errorf("the next refresh = %+v, %v; want that its owner has to connect it again", got, err)
				}
			})
		})
	}
}

// An entry that was sealed to another webhook's key is of no use.
func TestWhatTheWebhookCannotOpenIsDroppedAndOnRecord(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		o, l := w.cutOff()
		l.set(false, false)
		token, _ := o.store("github")
		_, tv := webhooktest.New(t)
		sealed := tv.Seal("github", token.CreationID, 1, wire.RefreshTokens{AccessToken: "canary-of-nobody"})
		text, err := json.Marshal(sealed)
		w.check(err)
		s := w.service()
		for name, entry := range map[string]models.OutboxEntry{
			"another's": {CreationID: token.CreationID, Sequence: 1, KeyID: sealed.KeyID, Sealed: text},
			"garbage":   {CreationID: token.CreationID, Sequence: 2, KeyID: "k", Sealed: []byte("{")},
			"misplaced": {CreationID: token.CreationID, Sequence: 3, KeyID: sealed.KeyID, Sealed: text},
		} {
			entry.AccountID, entry.TokenID, entry.CreatedAt, entry.DueAt = o.account, token.ID, time.Now(), time.Now().Add(-time.Second)
			if name != "garbage" {
				entry, err = refreshes.Enclose(w.keys, entry, entry.Sealed)
				w.check(err)
			}
			lost := s.Stats().Lost
			w.check(w.db.PutOutbox(t.Context(), &entry))
			w.check(s.DeliverDue(t.Context()))
			if _, waits := o.entry(token); waits || s.Stats().Lost != lost+1 {
				t.Errorf("%s: waits %t, counted %+v; want it dropped and counted as lost", name, waits, s.Stats())
			}
		}
		w.until("the record", func() bool {
			return strings.Count(strings.Join(o.events(), "\n"), "REFRESH_FAILED github path=tv-mediated lost") == 3
		})
	})
}

// Whoever writes the database can seal to a webhook, whose key is public: tokens of
// their account would take the place of the owner's.
func TestWhatThisServerHasNotSealedIsHandedToNobody(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		o, l := w.cutOff()
		token, _ := o.store("github")
		other, _ := o.store("other")
		s := w.service()
		stop := w.run(s)
		o.ended(token, refresh.Rotated)
		o.ended(other, refresh.Rotated)
		stop()
		l.set(false, false)
		ours, waits := o.entry(token)
		others, too := o.entry(other)
		if !waits || !too {
			t.Fatal("nothing waits")
		}
		sealed, err := json.Marshal(o.tv.Seal("github", token.CreationID, ours.Sequence+1, wire.RefreshTokens{AccessToken: "canary-forged", RefreshToken: "canary-forged"}))
		w.check(err)
		forged := ours
		forged.Sequence++
		var mine struct {
			Sealed json.RawMessage `json:"sealed"`
			KeyID  int             `json:"keyId"`
			MAC    []byte          `json:"mac"`
		}
		w.check(json.Unmarshal(ours.Sealed, &mine))
		mine.Sealed = sealed
		swapped, err := json.Marshal(mine)
		w.check(err)
		before := o.tv.Reveal("github")
		for name, text := range map[string][]byte{"as it is": sealed, "beside the MAC of another": swapped, "another token's": others.Sealed} {
			entry := forged
			forged.Sequence++
			entry.Sealed, entry.DueAt = text, time.Now().Add(-time.Second)
			w.check(w.db.PutOutbox(t.Context(), &entry))
			lost := s.Stats().Lost
			w.check(s.DeliverDue(t.Context()))
			if got := o.tv.Reveal("github"); got["accessToken"] != before["accessToken"] || got["refreshToken"] != before["refreshToken"] {
				t.Errorf("%s: the webhook took it", name)
			}
			if _, waits := o.entry(token); waits || s.Stats().Lost != lost+1 {
				t.Errorf("%s: waits %t, counted %+v; want it dropped and counted as lost", name, waits, s.Stats())
			}
		}
	})
}

// A server key that is missing may come back.
func TestWhatAMissingServerKeyAuthenticatesWaits(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		o, l := w.cutOff()
		token, _ := o.store("github")
		stop := w.run(w.service())
		o.ended(token, refresh.Rotated)
		stop()
		l.set(false, false)
		e, _ := o.entry(token)
		text, err := custody.GenerateKeyring(rand.Reader)
		w.check(err)
		other, err := custody.ParseKeyring(strings.Replace(text, "0:", "7:", 1))
		w.check(err)
		o.hurry(e)
		w.check(w.service(func(d *refreshes.Deps) { d.Keyring = other }).DeliverDue(t.Context()))
		e, waits := o.entry(token)
		if !waits || e.Attempts == 0 {
			t.Fatalf("without the key: %+v, %t; want it to wait", e, waits)
		}
		o.hurry(e)
		w.check(w.service().DeliverDue(t.Context()))
		if _, waits := o.entry(token); waits || !o.newest() {
			t.Errorf("with the key: waits %t, newest %t; want it delivered", waits, o.newest())
		}
	})
}

func TestWhatNobodyTakesIsPutOff(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		o, _ := w.cutOff()
		token, _ := o.store("github")
		s := w.service()
		stop := w.run(s)
		o.ended(token, refresh.Rotated)
		stop()
		e, _ := o.entry(token)
		for name, change := range map[string]func(c *vaults.Custody){
			"away":    nil,
			"locked":  func(c *vaults.Custody) { c.Locked = true },
			"unbound": func(c *vaults.Custody) { *c = vaults.Custody{Mode: models.ModePlatform} },
		} {
			if change != nil {
				o.custody(change)
			}
			o.hurry(e)
			w.check(s.DeliverDue(t.Context()))
			later, waits := o.entry(token)
			if !waits || !later.DueAt.After(time.Now().Add(time.Second)) || later.Attempts <= e.Attempts {
				t.Errorf("%s: %+v, %t; want it to wait, due later", name, later, waits)
			}
			e = later
		}
	})
}

func ptr[T any](v T) *T { return &v }
