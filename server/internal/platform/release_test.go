package platform_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"golang.org/x/crypto/ssh"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/models/store/storetest"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/cache"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/platform"
	"github.com/tvzero/tokenvault/webhook-sdk/mint"
)

func TestAnAgentOpensWhatItWasGrantedAndKeepsItUnderItsSlot(t *testing.T) {
	t.Parallel()
	each(t, func(w *world) {
		p, a, other := w.session(), w.agent("a"), w.agent("other")
		token := w.put(p, "github", "secret")
		w.releaseRefused(a, token, fault.NoGrant)
		w.grant(p, a, token)
		if keys := w.keysOf(token); len(keys) != 1 || keys[0].Form != models.FormShared || keys[0].GrantID != a.Agent.GrantID {
			t.Errorf("granted: keys %+v, want one shared with the agent", keys)
		}
		w.releases(a, token, "secret")
		keys := w.keysOf(token)
		if len(keys) != 2 || keys[0].Form != models.FormShared || keys[1].Form != models.FormSlot || keys[1].Slot != int64(a.Slot) {
			t.Errorf("used once: keys %+v, want a shared one and one of the slot", keys)
		}
		w.releases(a, token, "secret")
		w.releaseRefused(other, token, fault.NoGrant)
		w.releaseRefused(a, w.put(p, "gitlab", "not for agents"), fault.NoGrant)
		w.releaseRefused(a, models.Token{ID: models.NewID()}, fault.TokenNotFound)

		w.put(p, "github", "replaced")
		w.releases(a, token, "replaced")
		w.must(w.Delete(t.Context(), p, audit.Client{}, ref("github")))
		w.releaseRefused(a, token, fault.TokenNotFound)
	})
}

// counting counts what is asked of the store at a release.
type counting struct {
	*store.Store
	mu    sync.Mutex
	asked int
}

func (c *counting) CredentialForAgent(ctx context.Context, accountID, grantID, id uuid.UUID) (models.Token, models.Credential, []models.CredentialKey, error) {
	c.mu.Lock()
	c.asked++
	c.mu.Unlock()
	return c.Store.CredentialForAgent(ctx, accountID, grantID, id)
}

func TestCiphertextIsRememberedUntilTheAccountChangesOrThirtySecondsPass(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		counted := &counting{Store: s}
		w := newWorldWith(t, s, func(d *platform.Deps) { d.Credentials = counted })
		p, a, b := w.session(), w.agent("a"), w.agent("b")
		token := w.put(p, "github", "secret")
		w.grant(p, a, token)
		w.grant(p, b, token)
		w.releases(a, token, "secret") // keeps the key, which is read by the next
		for _, step := range []struct {
			what string
			do   func()
			want int
		}{
			{"the next", func() {}, 1},
			{"one more", func() {}, 0},
			{"after the account has changed", func() { w.session() }, 1},
			{"again", func() {}, 0},
			{"after another agent's first release", func() { w.releases(b, token, "secret") }, 0},
			{"half a minute later", func() { w.clock.pass(30 * time.Second) }, 1},
			{"while the gate is closed", func() { w.gate.Close() }, 1},
		} {
			step.do()
			before := counted.asked
			w.releases(a, token, "secret")
			if got := counted.asked - before; got != step.want {
				t.Errorf("%s: the store was asked %d times, want %d", step.what, got, step.want)
			}
		}
	})
}

// Room for opened secrets is used again: by one release at a time, and empty.
func TestReleasesAtOnceGetTheirOwnSecretAndLeaveNoneBehind(t *testing.T) {
	t.Parallel()
	each(t, func(w *world) {
		p, rooms := w.session(), w.WatchRooms()
		var releases sync.WaitGroup
		for i := range 6 {
			a, secret := w.agent(fmt.Sprint("agent ", i)), strings.Repeat(strconv.Itoa(i), 10+i*1500) // on both sides of a room's size
			token := w.put(p, fmt.Sprint("service-", i), secret)
			w.grant(p, a, token)
			w.releases(a, token, secret)
			for range 2 {
				releases.Go(func() {
					for range 100 {
						w.releases(a, token, secret)
					}
				})
			}
		}
		releases.Wait()
		if len(rooms()) == 0 {
			t.Error("no room was made")
		}
		for _, room := range rooms() {
			if i := slices.IndexFunc(room, func(c byte) bool { return c != 0 }); i >= 0 {
				t.Errorf("a room has %q in it", room[i:min(i+20, len(room))])
			}
		}
	})
}

// unkept keeps no keys until it is told to.
type unkept struct {
	*store.Store
	keeps bool
}

func (u *unkept) KeepCredentialKey(ctx context.Context, k *models.CredentialKey) error {
	if !u.keeps {
		return errors.New("not now")
	}
	return u.Store.KeepCredentialKey(ctx, k)
}

func TestAKeptKeyThatIsDamagedIsKeptAnewByWhoNeedsItNot(t *testing.T) {
	t.Parallel()
	each(t, func(w *world) {
		p, a := w.session(), w.agent("a")
		token := w.put(p, "github", "secret")
		w.grant(p, a, token)
		rows, deps := &unkept{Store: w.store}, w.deps
		deps.Wraps, deps.Gate = rows, cache.NewGate(w.clock.now)
		deps.Gate.Open() // and told of nothing
		other := platform.New(deps)
		if _, err := releaseTo(t.Context(), other, a.Principal, token.ID, models.RefreshAuto); err == nil {
			t.Fatal("a release whose key cannot be kept was made")
		}
		w.releases(a, token, "secret")
		for _, k := range w.keysOf(token) {
			if k.Form == models.FormSlot {
				k.MAC[0] ^= 1
				w.must(w.store.PutCredentialKey(t.Context(), &k))
			}
		}
		w.releaseRefused(a, token, fault.Internal)
		rows.keeps = true
		for _, what := range []string{"by the shared key, which it remembers", "by the kept one"} {
			if got, err := releaseTo(t.Context(), other, a.Principal, token.ID, models.RefreshAuto); err != nil || got["accessToken"] != "secret" {
				t.Errorf("%s: got %v, %v", what, got, err)
			}
		}
		w.releases(a, token, "secret")
	})
}

func TestARevokedAgentOpensNothingAndTheOthersGoOn(t *testing.T) {
	t.Parallel()
	each(t, func(w *world) {
		p, gone, stays := w.session(), w.agent("gone"), w.agent("stays")
		token := w.put(p, "github", "secret")
		w.grant(p, gone, token)
		w.grant(p, stays, token)
		w.releases(gone, token, "secret")
		w.releases(stays, token, "secret")
		before := w.credential(token)
		w.revoke(gone, token)
		w.releaseRefused(gone, token, fault.NoGrant)
		for _, k := range w.keysOf(token) {
			if k.GrantID == gone.Agent.GrantID {
				t.Errorf("the revoked agent keeps a key of form %s", k.Form)
			}
		}
		marked := w.credential(token)
		if marked.RekeyDueAt == nil || marked.Epoch != before.Epoch {
			t.Errorf("re-key due %v at epoch %d, want due at epoch %d", marked.RekeyDueAt, marked.Epoch, before.Epoch)
		}
		w.releases(stays, token, "secret")

		w.reveals(p, "github", "secret") // a request that holds the key: it does what is due
		after := w.credential(token)
		if after.RekeyDueAt != nil || after.Epoch != before.Epoch+1 || after.Version != before.Version+1 || bytes.Equal(after.Sealed, before.Sealed) {
			t.Errorf("after the owner was here: due %v, epoch %d, version %d", after.RekeyDueAt, after.Epoch, after.Version)
		}
		w.releases(stays, token, "secret")
		w.releaseRefused(gone, token, fault.NoGrant)
		w.grant(p, gone, token)
		w.releases(gone, token, "secret")
	})
}

func TestAWithdrawalWhileAnAgentUsesItForTheFirstTimeIsNotUndone(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		var w *world
		var between func()
		w = newWorldWith(t, s, func(d *platform.Deps) {
			d.GrantRows = &interrupted{GrantRows: d.GrantRows, run: func() {
				if do := between; do != nil {
					between = nil
					do()
				}
			}}
		})
		p, a := w.session(), w.agent("a")
		token := w.put(p, "github", "secret")
		w.grant(p, a, token)
		between = func() { w.revoke(a, token) } // after the ciphertext was read, before the key is kept
		w.releaseRefused(a, token, fault.NoGrant)
		if keys := w.keysOf(token); len(keys) != 0 {
			t.Errorf("the agent has %d keys of what was withdrawn", len(keys))
		}
	})
}

// interrupted runs something whenever a grant is read outside of a transaction.
type interrupted struct {
	platform.GrantRows
	run func()
}

func (i *interrupted) Grant(ctx context.Context, accountID, id uuid.UUID) (models.Grant, error) {
	g, err := i.GrantRows.Grant(ctx, accountID, id)
	i.run()
	return g, err
}

func TestAnAgentWithANewKeyIsGivenWhatTheSessionOpens(t *testing.T) {
	t.Parallel()
	each(t, func(w *world) {
		p, stranger, a := w.session(), w.session(), w.agent("a")
		token := w.put(p, "github", "secret")
		w.refused(w.tryGrant(stranger, a, token), fault.TokenNotFound)
		if keys := w.keysOf(token); len(keys) != 0 {
			t.Errorf("a session of another vault has granted: %+v", keys)
		}
		to, err := w.store.Grant(t.Context(), w.account, p.GrantID)
		w.must(err)
		h, err := w.grants.Keys(t.Context(), p)
		w.must(err)
		defer h.Clear()
		if err := w.store.InTx(t.Context(), func(ctx context.Context) error { return w.Entrust(ctx, h, token.ID, &to) }); !errors.Is(err, models.ErrInvalid) {
			t.Errorf("entrusted to a session: %v, want ErrInvalid", err)
		}
		w.refused(w.store.InTx(t.Context(), func(ctx context.Context) error {
			agent, err := w.store.Grant(ctx, w.account, a.Agent.GrantID)
			w.must(err)
			return w.Entrust(ctx, h, models.NewID(), &agent)
		}), fault.TokenNotFound)
	})
}

func TestWithdrawingWhatIsAWebhooksDoesNothing(t *testing.T) {
	t.Parallel()
	each(t, func(w *world) {
		a := w.agent("a")
		w.must(w.store.InTx(t.Context(), func(ctx context.Context) error { return w.Withdraw(ctx, w.account, models.NewID(), a.Agent.GrantID) }))
	})
}

func TestAnAgentIsGivenCodesAndMintedTokensAndNeverTheRefreshToken(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		w := newWorldWith(t, s, func(d *platform.Deps) { d.Minters, d.Client = mint.Set{minter{}}, http.DefaultClient })
		p, a := w.session(), w.agent("a")
		private := sshKey(t)
		for name, c := range map[string]struct {
			text string
			want map[string]any // nil: must not be there
			not  string         // must stand nowhere in the answer
		}{
			"oauth": {`{"tokenType": "OAuth", "accessToken": "acc", "refreshToken": "ref-secret", "scope": "x"}`,
				map[string]any{"accessToken": "acc", "scope": "x", "tokenType": "OAuth", "serviceName": "oauth", "refreshToken": nil}, "ref-secret"},
			"totp": {`{"tokenType": "TOTP", "totpSecret": "JBSWY3DPEHPK3PXP"}`,
				map[string]any{"tokenType": "TOTP", "totpGenerated": true, "digits": 6.0, "period": 30.0, "totpSecret": nil}, "JBSWY3DPEHPK3PXP"},
			"raw": {`{"tokenType": "RawCredential", "accessToken": "raw-secret"}`,
				map[string]any{"accessToken": "minted", "tokenType": "Bearer", "serviceName": "raw"}, "raw-secret"},
			"basic":  {`{"tokenType": "Basic", "username": "u", "password": "pw"}`, map[string]any{"username": "u", "password": "pw"}, ""},
			"bearer": {`{"tokenType": "Bearer", "accessToken": "b"}`, map[string]any{"accessToken": "b"}, ""},
			"oidc": {`{"tokenType": "OpenIDConnect", "accessToken": "o", "refreshToken": "ref-oidc", "idToken": "i"}`,
				map[string]any{"accessToken": "o", "idToken": "i", "refreshToken": nil}, "ref-oidc"},
			"ssh": {`{"tokenType": "SSHKey", "sshPrivateKey": ` + private + `}`, map[string]any{"tokenType": "SSHKey", "hasSSHKey": true}, ""},
		} {
			token, err := w.Store(t.Context(), p, audit.Client{}, ref(name), fieldsOf(t, c.text))
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			w.grant(p, a, token)
			for range 2 { // by the shared key, and by the slot's
				got, err := w.ReleaseTo(t.Context(), a.Principal, token.ID)
				if err != nil {
					t.Errorf("%s: %v", name, err)
					continue
				}
				for field, want := range c.want {
					if got[field] != want {
						t.Errorf("%s: %s = %v, want %v", name, field, got[field], want)
					}
				}
				text, err := json.Marshal(got)
				if err != nil || c.not != "" && strings.Contains(string(text), c.not) {
					t.Errorf("%s: %v, the answer has what must not leave: %s", name, err, text)
				}
			}
		}
		code, err := w.TOTPCode(t.Context(), p, audit.Client{}, ref("totp"))
		if err != nil || len(code.Value) != 6 {
			t.Errorf("code %v, %v", code, err)
		}
		_, err = w.TOTPCode(t.Context(), p, audit.Client{}, ref("oauth"))
		w.refused(err, fault.InvalidRequest)
	})
}

func TestARawCredentialThatCannotBeMintedIsNotReleased(t *testing.T) {
	t.Parallel()
	each(t, func(w *world) {
		p, a := w.session(), w.agent("a")
		token, err := w.Store(t.Context(), p, audit.Client{}, ref("raw"), fieldsOf(t, `{"tokenType": "RawCredential", "accessToken": "raw-secret"}`))
		w.must(err)
		w.grant(p, a, token)
		w.releaseRefused(a, token, fault.Unavailable)
		_, err = w.Reveal(t.Context(), p, audit.Client{}, ref("raw"))
		w.refused(err, fault.Unavailable)
		if strings.Contains(fmt.Sprint(err), "raw-secret") {
			t.Errorf("the refusal quotes the credential: %v", err)
		}
	})
}

func sshKey(t *testing.T) string {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		t.Fatal(err)
	}
	quoted, err := json.Marshal(string(pem.EncodeToMemory(block)))
	if err != nil {
		t.Fatal(err)
	}
	return string(quoted)
}

// minter knows every raw credential.
type minter struct{}

func (minter) Kind() string             { return "test" }
func (minter) Recognizes(_ []byte) bool { return true }
func (minter) Mint(_ context.Context, r mint.Request) (mint.Token, error) {
	return mint.Token{AccessToken: "minted", TokenType: "Bearer", ExpiresAt: r.Now.Add(time.Hour)}, nil
}
