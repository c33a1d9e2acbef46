package vaults_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	webhook "github.com/tvzero/tokenvault/webhook-sdk"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/models/store/storetest"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/server/internal/platform"
	"github.com/tvzero/tokenvault/server/internal/vaults"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

func eachMover(t *testing.T, body func(t *testing.T, m *mover)) {
	t.Helper()
	storetest.Each(t, func(t *testing.T, db *store.Store) { body(t, newMover(t, db)) })
}

func TestAVaultMovesToTheWebhookWithAllThatAgentsWereGranted(t *testing.T) {
	t.Parallel()
	eachMover(t, func(t *testing.T, m *mover) {
		oauth := m.keep("github", `{"tokenType":"OAuth","accessToken":"a","refreshToken":"r","provider":"github","allowedHosts":["api.github.com"],
			"expiresAt":"2040-01-02T03:04:05Z","scopes":["repo",1.50],"displayName":"Git","notes":"n","tags":["x","y"]}`)
		m.keep("basic", `{"tokenType":"Basic","username":"u","password":"p"}`)
		m.keep("bearer", `{"tokenType":"Bearer","accessToken":"b"}`)
		m.keep("oidc", `{"tokenType":"OpenIDConnect","accessToken":"o","refreshToken":"or","issuer":"https://id.example.com"}`)
		m.keep("totp", `{"tokenType":"TOTP","totpSecret":"GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ","digits":8}`)
		agent, _ := m.agent(oauth)
		key, err := m.grants.CreateKey(t.Context(), m.user, m.client, grants.CreateKeyInput{Name: "ci", Scopes: grants.Scopes()})
		m.must(err)
		m.webhook()
		waits, err := m.Waiting(t.Context(), m.user)
		m.must(err)
		if len(waits) != 1 || len(waits[0].Tokens) != 5 || len(waits[0].Grants) != 2 || waits[0].Grants[0].Label != "ci" {
			t.Errorf("what waits is %+v, want five tokens for the key and the session", waits)
		}

		done := m.move()
		slices.Sort(done.Moved)
		if got := strings.Join(done.Moved, " "); got != "basic bearer github oidc totp" || len(done.Left) != 0 {
			t.Fatalf("moved %q and left %v, want all", got, done.Left)
		}
		if got := m.held(); len(got) != 0 {
			t.Errorf("the platform vault still holds %q", got)
		}
		got := m.tv.Reveal("github")
		for name, want := range map[string]any{
			"accessToken": "a", "refreshToken": "r", "tokenType": "OAuth", "provider": "github", "displayName": "Git", "notes": "n", "expiresAt": "2040-01-02T03:04:05Z",
		} {
			if got[name] != want {
				t.Errorf("the webhook's %s is %v, want %v", name, got[name], want)
			}
		}
		if hosts := fmt.Sprint(got["allowedHosts"], got["tags"]); hosts != "[https://api.github.com] [x y]" {
			t.Errorf("the webhook's lists are %s", hosts)
		}
		if got := m.tv.Reveal("basic"); got["accessToken"] != "p" || got["password"] != "p" || got["username"] != "u" || got["tokenType"] != "PlainText" {
			t.Errorf("a Basic became %v", got)
		}
		if got := m.tv.Reveal("oidc"); got["tokenType"] != "OAuth" || got["refreshToken"] != "or" {
			t.Errorf("an OpenIDConnect became %v", got)
		}
		if got := m.tv.TOTPCode("totp"); got.Digits != 8 {
			t.Errorf("the webhook's code is %+v, want one of 8 digits", got)
		}
		m.granted(agent, m.there("github"))
		m.gone(oauth, waits[0].VaultID, m.principal(key.Token.Reveal()))
		m.allSeen(5)
		m.wantEvents(audit.Store, slices.Repeat([]string{"ok "}, 10)...)
		for _, e := range m.events(audit.Store)[5:] {
			if !strings.Contains(e, "moved from platform mode to the webhook url="+m.wh.URL) {
				t.Errorf("the record says %q, want it to say where to it moved", e)
			}
		}
		// Replaced by its owner, past the server, it is tv-zero again.
		m.tv.Store("bearer", map[string]any{"tokenType": "PlainText", "accessToken": "new"})
		m.sync("bearer")
		if v, err := m.Token(t.Context(), m.user, "bearer"); err != nil || v.Trust != vaults.TVZero {
			t.Errorf("after it was replaced: %v, %v, want %s", v.Trust, err, vaults.TVZero)
		}
	})
}

// gone checks that nothing is left of a vault and of one of its credentials.
func (m *mover) gone(old models.Token, vaultID uuid.UUID, others ...grants.Principal) {
	m.t.Helper()
	ctx := m.t.Context()
	if _, err := m.db.Credential(ctx, old.AccountID, old.ID); !errors.Is(err, models.ErrNotFound) {
		m.t.Errorf("the old ciphertext: %v, want it gone", err)
	}
	if keys, err := m.db.CredentialKeys(ctx, old.AccountID, old.ID); err != nil || len(keys) != 0 {
		m.t.Errorf("agents' keys of it: %d, %v, want none", len(keys), err)
	}
	if _, err := m.db.Vault(ctx, old.AccountID, vaultID); !errors.Is(err, models.ErrNotFound) {
		m.t.Errorf("the empty vault: %v, want it gone", err)
	}
	for _, p := range append(others, m.again()) {
		if p.VaultID != uuid.Nil {
			m.t.Errorf("a %s still opens vault %s", p.Kind, p.VaultID)
		}
	}
}

// allSeen checks that the index has so many tokens, none of which claims that the
// server never saw it.
func (m *mover) allSeen(want int) {
	m.t.Helper()
	m.sync("")
	list, _, err := m.Tokens(m.t.Context(), m.user, vaults.Page{})
	m.must(err)
	if want >= 0 && len(list) != want {
		m.t.Errorf("the index has %d tokens, want %d", len(list), want)
	}
	for _, v := range list {
		if v.Trust != vaults.TVSeen || !strings.Contains(v.TrustReason, "moved from platform mode") {
			m.t.Errorf("%s is %s (%s), want %s for having been moved", v.Token.ServiceName, v.Trust, v.TrustReason, vaults.TVSeen)
		}
	}
}

// Killed before or after any step, a move has lost nothing, no token claims that the
// server never saw it, and moving again finishes.
func TestAMoveThatIsKilledAnywhereLosesNothingAndGoesOn(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.Store) {
		for step := 1; ; step++ {
			m := newMover(t, db)
			first := m.keep("one", plain("1"))
			m.keep("two", `{"tokenType":"OAuth","accessToken":"2","refreshToken":"r","scopes":["a"]}`)
			agent, _ := m.agent(first)
			m.webhook()
			vaultID := m.user.VaultID
			m.patient()
			m.breaks.arm(step)
			_, err := m.Move(t.Context(), m.user, m.client, uuid.Nil)
			killed := m.breaks.killed()
			m.breaks.arm(0)
			if killed != errors.Is(err, errBroken) {
				t.Fatalf("step %d: killed %v, and Move says %v", step, killed, err)
			}
			held := m.held()
			m.allSeen(-1)
			for _, service := range []string{"one", "two"} {
				if !slices.Contains(held, service) && !slices.Contains(strings.Fields(m.names()), service) {
					t.Fatalf("step %d: %s is in neither place", step, service)
				}
			}
			m.move()
			if one, two := m.tv.Reveal("one"), m.tv.Reveal("two"); one["accessToken"] != "1" || two["accessToken"] != "2" || two["refreshToken"] != "r" {
				t.Fatalf("step %d: the webhook has %v and %v", step, one["accessToken"], two["accessToken"])
			}
			m.granted(agent, m.there("one"))
			m.gone(first, vaultID)
			m.allSeen(2)
			m.wh.Stop()
			if !killed {
				if step < 20 {
					t.Errorf("a move of two has %d steps, want at least 20", step-1)
				}
				return
			}
		}
	})
}

func TestAMoveNeverGoesOverAnExistingName(t *testing.T) {
	t.Parallel()
	eachMover(t, func(t *testing.T, m *mover) {
		m.keep("github", plain("mine"))
		m.keep("gitlab", plain("other"))
		m.webhook()
		m.tv.Store("github", map[string]any{"tokenType": "PlainText", "accessToken": "theirs", "displayName": "Keep me"})
		done := m.move()
		if fmt.Sprint(done.Moved) != "[gitlab]" || len(done.Left) != 1 || done.Left[0].Token.ServiceName != "github" || !strings.Contains(done.Left[0].Reason, "another token") {
			t.Errorf("moved %v, left %+v, want github left for its name", done.Moved, done.Left)
		}
		if got := m.tv.Reveal("github"); got["accessToken"] != "theirs" || got["displayName"] != "Keep me" {
			t.Errorf("the webhook's token became %v", got)
		}
		// What stays can be dropped here, by its id.
		m.must(m.DropWaiting(t.Context(), m.user, m.client, done.Left[0].Token.ID))
		wantCode(t, m.DropWaiting(t.Context(), m.user, m.client, done.Left[0].Token.ID), fault.TokenNotFound)
		if got := m.held(); len(got) != 0 {
			t.Errorf("the vault holds %v, want nothing", got)
		}
	})
}

func TestANameThatIsTakenWhileItIsLookedAtStaysTheirs(t *testing.T) {
	t.Parallel()
	eachMover(t, func(t *testing.T, m *mover) {
		m.keep("github", plain("mine"))
		m.webhook()
		m.hooks.onStore = func() { m.tv.Store("github", map[string]any{"tokenType": "PlainText", "accessToken": "theirs"}) }
		if done := m.move(); len(done.Moved) != 0 || len(done.Left) != 1 {
			t.Errorf("moved %v over a name that was just taken", done.Moved)
		}
		if got := m.tv.Reveal("github"); got["accessToken"] != "theirs" {
			t.Errorf("the webhook's token is %v, want theirs", got["accessToken"])
		}
		if got := m.held(); fmt.Sprint(got) != "[github]" {
			t.Errorf("the vault holds %v, want github", got)
		}
	})
}

func TestWhatNoWebhookKeepsIsLeftWithTheReason(t *testing.T) {
	t.Parallel()
	eachMover(t, func(t *testing.T, m *mover) {
		ctx := t.Context()
		m.keep("id", `{"tokenType":"OpenIDConnect","accessToken":"a","idToken":"canary"}`)
		_, err := m.platform.Store(ctx, m.user, m.client, platform.Ref{Owner: "o", Bridge: "b", Service: "bridged", Scheme: "s"}, fieldsOf(t, plain("x")))
		m.must(err)
		old := m.keep("old", plain("x"))
		old.SupersededAt = models.StampPtr(time.Now())
		m.must(m.db.UpdateToken(ctx, &old))
		m.keep("many", manyFields())
		m.webhook()
		done := m.move()
		reasons := map[string]string{}
		for _, left := range done.Left {
			reasons[left.Token.ServiceName] = left.Reason
		}
		for service, want := range map[string]string{"id": "idToken", "bridged": "bridge", "old": "restore", "many": "does not take"} {
			if !strings.Contains(reasons[service], want) {
				t.Errorf("%s stays because %q, want something of %q", service, reasons[service], want)
			}
		}
		if len(done.Moved) != 0 || m.sync("") != 0 || len(m.held()) != 4 {
			t.Errorf("moved %v, and the webhook lists %d, want nothing moved", done.Moved, m.sync(""))
		}
		if text := fmt.Sprint(done.Left); strings.Contains(text, "canary") {
			t.Errorf("a reason quotes a secret: %s", text)
		}
	})
}

// manyFields is a credential of as many fields as one may have: with the mark of a
// move they are too many.
func manyFields() string {
	fields := map[string]any{"tokenType": "PlainText", "accessToken": "x"}
	for i := len(fields); i < 64; i++ {
		fields[fmt.Sprint("f", i)] = i
	}
	text, _ := json.Marshal(fields)
	return string(text)
}

// A webhook that keeps something else than it was sent gets no second credential,
// and the first one stays.
func TestWhatTheWebhookKeepsOtherwiseIsNotDeletedHere(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(meta map[string]any){
		"it drops the mark":        func(meta map[string]any) { delete(meta, "movedFrom") },
		"it changes a host":        func(meta map[string]any) { meta["allowedHosts"] = []any{"https://evil.example.com"} },
		"it lists no refresh":      func(meta map[string]any) { meta["hasRefreshToken"] = false },
		"it lists a certificate":   func(meta map[string]any) { meta["hasCertificate"] = true },
		"it changes the type":      func(meta map[string]any) { meta["tokenType"] = "PlainText" },
		"it names no creation":     func(meta map[string]any) { delete(meta, "creationId") },
		"it changes a number":      func(meta map[string]any) { meta["n"] = 2 },
		"it drops what it was for": func(meta map[string]any) { delete(meta, "scopes") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			eachMover(t, func(t *testing.T, m *mover) {
				m.keep("github", `{"tokenType":"OAuth","accessToken":"a","refreshToken":"r","allowedHosts":["x.example.com"],"scopes":["a"],"n":1}`)
				m.webhook()
				m.hooks.alter = func(item wire.StorageItem) wire.StorageItem {
					var meta map[string]any
					m.must(json.Unmarshal(item.Meta, &meta))
					change(meta)
					text, err := json.Marshal(meta)
					m.must(err)
					return wire.StorageItem{Key: item.Key, Meta: text}
				}
				if done := m.move(); len(done.Moved) != 0 || len(done.Left) != 1 {
					t.Errorf("moved %v and left %v, want it left", done.Moved, done.Left)
				}
				if got := m.held(); fmt.Sprint(got) != "[github]" {
					t.Errorf("the vault holds %v, want github", got)
				}
				m.allSeen(1)
			})
		})
	}
}

// Whatever raises a credential's version while it is at the webhook already, the
// move goes on with the new one, over its own copy and nothing else.
func TestACredentialThatIsSealedAnewMeanwhileMovesAll(t *testing.T) {
	t.Parallel()
	eachMover(t, func(t *testing.T, m *mover) {
		token := m.keep("github", plain("x"))
		agent, _ := m.agent(token)
		other, _ := m.agent(token)
		m.webhook()
		once := sync.OnceFunc(func() {
			m.must(m.db.InTx(t.Context(), func(ctx context.Context) error {
				return errors.Join(m.db.DeleteCredentialGrant(ctx, other.AccountID, other.ID, "github"),
					m.platform.Withdraw(ctx, token.AccountID, token.ID, other.GrantID))
			}))
			h, err := m.grants.Keys(t.Context(), m.user)
			m.must(err)
			defer h.Clear()
			m.must(m.platform.Settle(t.Context(), h))
		})
		m.hooks.onStore = once
		if done := m.move(); fmt.Sprint(done.Moved) != "[github]" {
			t.Errorf("moved %v, left %v, want github moved", done.Moved, done.Left)
		}
		m.granted(agent, m.there("github"))
		if rows, err := m.db.CredentialGrants(t.Context(), other.AccountID, other.ID); err != nil || len(rows) != 0 {
			t.Errorf("who lost it has %v, %v, want nothing", rows, err)
		}
	})
}

func TestMovesAtOnceMoveEachCredentialOnce(t *testing.T) {
	t.Parallel()
	eachMover(t, func(t *testing.T, m *mover) {
		const count = 6
		for i := range count {
			m.keep(fmt.Sprint("s", i), plain(fmt.Sprint(i)))
		}
		m.webhook()
		m.patient()
		var all sync.WaitGroup
		errs := make([]error, 3)
		for i := range errs {
			all.Go(func() { _, errs[i] = m.Move(t.Context(), m.user, m.client, uuid.Nil) })
		}
		all.Wait()
		for _, err := range errs {
			if err != nil {
				t.Errorf("a move: %v", err)
			}
		}
		if got := len(m.held()); got != 0 {
			t.Errorf("%d are left, want none", got)
		}
		for i := range count {
			if got := m.tv.Reveal(fmt.Sprint("s", i)); got["accessToken"] != fmt.Sprint(i) {
				t.Errorf("s%d is %v", i, got["accessToken"])
			}
		}
		m.allSeen(count)
	})
}

func TestALongMoveSaysWhereToGoOn(t *testing.T) {
	t.Parallel()
	eachMover(t, func(t *testing.T, m *mover) {
		for i := range 3 {
			m.keep(fmt.Sprint("s", i), plain("x"))
		}
		m.webhook(func(c *webhook.Config) { c.Now = time.Now })
		m.patient()
		m.hooks.refuse = func(string, map[string]any) error {
			m.ahead += time.Minute
			return fault.New(fault.InvalidRequest, "No.")
		}
		first, err := m.Move(t.Context(), m.user, m.client, uuid.Nil)
		if err != nil || len(first.Left) != 1 || first.Next == uuid.Nil {
			t.Fatalf("the first call left %v, next %v, %v, want one tried and more to do", first.Left, first.Next, err)
		}
		m.hooks.refuse = nil
		m.ahead = 0
		second, err := m.Move(t.Context(), m.user, m.client, first.Next)
		if err != nil || fmt.Sprint(second.Moved) != "[s1 s2]" || second.Next != uuid.Nil {
			t.Errorf("the second moved %v, next %v, %v, want the other two", second.Moved, second.Next, err)
		}
		if got := m.held(); fmt.Sprint(got) != "[s0]" {
			t.Errorf("the vault holds %v, want s0", got)
		}
	})
}

func TestAMoveThatMayNotBeChangesNothing(t *testing.T) {
	t.Parallel()
	eachMover(t, func(t *testing.T, m *mover) {
		ctx := t.Context()
		token := m.keep("github", plain("x"))
		_, agent := m.agent(token)
		key, err := m.grants.CreateKey(ctx, m.user, m.client, grants.CreateKeyInput{Name: "k", Scopes: []string{grants.TokensWrite}})
		m.must(err)
		small := m.principal(key.Token.Reveal())
		refused := func(p grants.Principal, want fault.Code) {
			t.Helper()
			done, err := m.Move(ctx, p, m.client, uuid.Nil)
			if len(done.Moved)+len(done.Left) != 0 {
				t.Errorf("it moved %v and left %v", done.Moved, done.Left)
			}
			wantCode(t, err, want)
			if got := m.held(); fmt.Sprint(got) != "[github]" {
				t.Errorf("the vault holds %v, want github", got)
			}
		}
		refused(m.user, fault.WebhookNotConfigured)
		m.webhook()
		refused(small, fault.ScopeDenied)
		refused(agent, fault.ScopeDenied)
		wantCode(t, m.DropWaiting(ctx, small, m.client, token.ID), fault.ScopeDenied)
		wantCode(t, m.DropWaiting(ctx, m.session(), m.client, token.ID), fault.TokenNotFound)
		_, err = m.Waiting(ctx, agent)
		wantCode(t, err, fault.ScopeDenied)
		m.must(m.Lock(ctx, m.user, m.client))
		refused(m.user, fault.VaultLocked)
		m.must(m.Unlock(ctx, m.user, m.client))
		m.record.setAway(true)
		refused(m.user, fault.Unavailable)
		m.record.setAway(false)
		m.hooks.onStore = func() { m.must(m.Lock(ctx, m.user, m.client)) }
		m.wh.Stop()
		refused(m.user, fault.WebhookUnavailable)
	})
}

func TestAWebhookThatKnowsNoConstraintsIsMovedToAsWell(t *testing.T) {
	t.Parallel()
	eachMover(t, func(t *testing.T, m *mover) {
		m.keep("github", plain("mine"))
		m.keep("gitlab", plain("other"))
		m.webhook()
		b, ok := m.binding(models.BindingActive)
		if !ok {
			t.Fatal("no binding")
		}
		b.Capabilities = slices.DeleteFunc(b.Capabilities, func(c string) bool { return c == wire.CapTicketConstraints })
		m.must(m.db.PutBinding(t.Context(), &b))
		m.tv.Store("github", map[string]any{"tokenType": "PlainText", "accessToken": "theirs"})
		if done := m.move(); fmt.Sprint(done.Moved) != "[gitlab]" || len(done.Left) != 1 {
			t.Errorf("moved %v, left %v, want gitlab moved", done.Moved, done.Left)
		}
		if got := m.tv.Reveal("github"); got["accessToken"] != "theirs" {
			t.Errorf("the webhook's token is %v, want theirs", got["accessToken"])
		}
	})
}
