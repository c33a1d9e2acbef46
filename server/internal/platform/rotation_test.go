package platform_test

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/models/store/storetest"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/server/internal/platform"
)

func TestRevokingAKeyGivesTheVaultANewGenerationAndEverybodyElseGoesOn(t *testing.T) {
	t.Parallel()
	each(t, func(w *world) {
		p, a := w.session(), w.agent("a")
		stays, gone := w.apiKey(p), w.apiKey(p)
		tokens := make([]models.Token, 5)
		for i := range tokens {
			tokens[i] = w.put(p, fmt.Sprint("s", i), fmt.Sprint("secret-", i))
		}
		w.grant(p, a, tokens[0])
		w.releases(a, tokens[0], "secret-0")
		w.reveals(gone, "s1", "secret-1")
		before, old := w.vaultOf(p), w.credential(tokens[1])

		w.must(w.grants.Revoke(t.Context(), p, audit.Client{}, gone.GrantID)) // settles
		after := w.vaultOf(p)
		if after.Generation != before.Generation+1 || after.RotationDueAt != nil {
			t.Errorf("generation %d, due %v after a revocation, want %d and none", after.Generation, after.RotationDueAt, before.Generation+1)
		}
		if err := w.ring.CheckVault(&after); err != nil {
			t.Errorf("the vault's row: %v", err)
		}
		c := w.credential(tokens[1])
		if c.Generation != after.Generation || c.Epoch != old.Epoch+1 || bytes.Equal(c.Sealed, old.Sealed) {
			t.Errorf("a credential is of generation %d and epoch %d", c.Generation, c.Epoch)
		}
		if keys, err := w.store.VaultKeys(t.Context(), w.account, p.GrantID, p.VaultID, before.Generation); err != nil || len(keys) != 0 {
			t.Errorf("%d keys of the old generation are left, %v", len(keys), err)
		}
		for i := range tokens {
			w.reveals(p, fmt.Sprint("s", i), fmt.Sprint("secret-", i))
			w.reveals(stays, fmt.Sprint("s", i), fmt.Sprint("secret-", i))
		}
		w.releases(a, tokens[0], "secret-0")
		if keys, err := w.store.VaultKeys(t.Context(), w.account, stays.GrantID, p.VaultID, after.Generation); err != nil || len(keys) != 2 || keys[1].Form != models.FormSlot {
			t.Errorf("the other key has %+v, %v, want the shared key and one under its slot", keys, err)
		}
		_, err := w.Reveal(t.Context(), gone, audit.Client{}, ref("s1"))
		w.refused(err, fault.InvalidKey)
	})
}

func TestARotationThatNobodyCouldMakeIsMadeByTheNextWhoOpensTheVault(t *testing.T) {
	t.Parallel()
	each(t, func(w *world) {
		p := w.session()
		key, other := w.apiKey(p), w.apiKey(p)
		w.put(p, "github", "secret")
		w.must(w.grants.Revoke(t.Context(), other, audit.Client{}, other.GrantID)) // itself: nobody is left to settle
		if v := w.vaultOf(p); v.RotationDueAt == nil || v.Generation != 1 {
			t.Errorf("due %v at generation %d, want due at 1", v.RotationDueAt, v.Generation)
		}
		w.reveals(key, "github", "secret")
		if v := w.vaultOf(p); v.RotationDueAt != nil || v.Generation != 2 {
			t.Errorf("due %v at generation %d, want done at 2", v.RotationDueAt, v.Generation)
		}
		w.reveals(p, "github", "secret")
	})
}

func TestARotatedSessionsOlderTokenOpensANewGenerationByHandOver(t *testing.T) {
	t.Parallel()
	each(t, func(w *world) {
		p := w.session()
		w.put(p, "github", "secret")
		w.clock.pass(grants.SessionTokenLife / 2)
		old := w.principal(p.Token.Reveal())
		next, _, err := w.grants.Rotate(t.Context(), old)
		w.must(err)
		now := w.principal(next.Reveal())
		if now.Slot == old.Slot || now.GrantID != old.GrantID {
			t.Fatalf("rotated from slot %d to %d", old.Slot, now.Slot)
		}
		w.reveals(now, "github", "secret")
		key := w.apiKey(now)
		w.must(w.grants.Revoke(t.Context(), now, audit.Client{}, key.GrantID))
		if v := w.vaultOf(now); v.Generation != 2 {
			t.Errorf("generation %d, want 2", v.Generation)
		}
		rows, err := w.store.VaultKeys(t.Context(), w.account, now.GrantID, now.VaultID, 2)
		if err != nil || len(rows) != 2 || rows[0].Form != models.FormHandOver || rows[1].Slot != int64(now.Slot) {
			t.Errorf("the session has %+v, %v, want a hand-over and its new slot's", rows, err)
		}
		w.reveals(old, "github", "secret")
		w.reveals(now, "github", "secret")
	})
}

func TestACredentialThatDoesNotOpenStaysBehindAndDoesNotHoldUpTheRotation(t *testing.T) {
	t.Parallel()
	each(t, func(w *world) {
		p := w.session()
		broken, sound := w.put(p, "broken", "lost"), w.put(p, "sound", "secret")
		c := w.credential(broken)
		spoiled := c
		spoiled.Sealed = bytes.Clone(c.Sealed)
		spoiled.Sealed[20] ^= 1
		w.must(w.store.UpdateCredential(t.Context(), &spoiled, c))
		key := w.apiKey(p)
		w.must(w.grants.Revoke(t.Context(), p, audit.Client{}, key.GrantID))
		if v := w.vaultOf(p); v.Generation != 2 || v.RotationDueAt != nil {
			t.Errorf("generation %d, due %v, want 2 and done", v.Generation, v.RotationDueAt)
		}
		if got := w.credential(sound).Generation; got != 2 {
			t.Errorf("the sound one is of generation %d, want 2", got)
		}
		w.reveals(p, "sound", "secret")
		_, err := w.Reveal(t.Context(), p, audit.Client{}, ref("broken"))
		w.refused(err, fault.Internal)
		if !strings.Contains(w.log.String(), broken.ID.String()) {
			t.Errorf("the log does not say which one is broken: %s", w.log)
		}
		w.put(p, "broken", "stored anew")
		w.reveals(p, "broken", "stored anew")
	})
}

// failing makes the nth write of a credential fail.
type failing struct {
	*store.Store
	mu   sync.Mutex
	left int
}

func (f *failing) UpdateCredential(ctx context.Context, c *models.Credential, was models.Credential) error {
	f.mu.Lock()
	f.left--
	now := f.left == 0
	f.mu.Unlock()
	if now {
		return context.DeadlineExceeded
	}
	return f.Store.UpdateCredential(ctx, c, was)
}

func TestARotationThatFailsHalfWayHasDoneNothing(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		fails := &failing{Store: s}
		w := newWorldWith(t, s, func(d *platform.Deps) { d.Credentials = fails })
		p := w.session()
		for i := range 4 {
			w.put(p, fmt.Sprint("s", i), fmt.Sprint("secret-", i))
		}
		key := w.apiKey(p)
		w.must(w.grants.Revoke(t.Context(), key, audit.Client{}, key.GrantID))
		fails.left = 3
		h, err := w.grants.Keys(t.Context(), p)
		w.must(err)
		if err := w.Settle(t.Context(), h); err == nil {
			t.Error("the rotation succeeded with a write that failed")
		}
		h.Clear()
		if v := w.vaultOf(p); v.Generation != 1 || v.RotationDueAt == nil {
			t.Errorf("generation %d, due %v, want 1 and due", v.Generation, v.RotationDueAt)
		}
		for i := range 4 {
			w.reveals(p, fmt.Sprint("s", i), fmt.Sprint("secret-", i)) // the first one settles
		}
		if v := w.vaultOf(p); v.Generation != 2 || v.RotationDueAt != nil {
			t.Errorf("generation %d, due %v, want 2 and done", v.Generation, v.RotationDueAt)
		}
	})
}

func TestWhoActsWhileTheVaultRotatesLosesNothing(t *testing.T) {
	t.Parallel()
	each(t, func(w *world) {
		p := w.session()
		a := w.agent("a")
		shared := w.put(p, "shared", "secret")
		w.grant(p, a, shared)
		keys := make([]grants.Principal, 4)
		for i := range keys {
			keys[i] = w.apiKey(p)
		}
		var all sync.WaitGroup
		for i, key := range keys {
			all.Go(func() {
				name := fmt.Sprint("s", i)
				for n := range 3 {
					_, err := w.Store(t.Context(), key, audit.Client{}, ref(name), fieldsOf(t, plain(fmt.Sprint(name, "-", n))))
					if err != nil {
						t.Errorf("store %s for the %dth time: %v", name, n, err)
					}
				}
			})
		}
		all.Go(func() {
			for range 6 {
				if got, err := w.ReleaseTo(t.Context(), a.Principal, shared.ID); err != nil || got["accessToken"] != "secret" {
					t.Errorf("released %v, %v", got, err)
				}
			}
		})
		all.Go(func() {
			for range 3 {
				extra := w.apiKey(p)
				if err := w.grants.Revoke(t.Context(), p, audit.Client{}, extra.GrantID); err != nil {
					t.Errorf("revoke: %v", err)
				}
			}
		})
		all.Wait()
		w.settle(p)
		for i := range keys {
			w.reveals(p, fmt.Sprint("s", i), fmt.Sprint("s", i, "-", 2))
			w.reveals(keys[i], "shared", "secret")
		}
		w.releases(a, shared, "secret")
	})
}

func TestAVaultsEscrowsAreCancelledWhenItsKeyChanges(t *testing.T) {
	t.Parallel()
	each(t, func(w *world) {
		p, other := w.session(), w.session()
		key := w.apiKey(p)
		w.put(p, "github", "secret")
		escrow := w.offer(p, other)
		w.must(w.grants.Revoke(t.Context(), p, audit.Client{}, key.GrantID))
		got, err := w.store.Escrow(t.Context(), w.account, escrow.ID)
		w.must(err)
		if got.State != models.EscrowCancelled || got.Wrapped != nil || w.ring.CheckEscrow(&got) != nil {
			t.Errorf("the escrow is %s with a key of %d bytes, want cancelled, erased and signed", got.State, len(got.Wrapped))
		}
	})
}

// offer makes a pending escrow of p's vault for another session.
func (w *world) offer(p, to grants.Principal) models.Escrow {
	w.t.Helper()
	ctx := w.t.Context()
	h, err := w.grants.Keys(ctx, p)
	w.must(err)
	defer h.Clear()
	target, err := w.store.Grant(ctx, w.account, to.GrantID)
	w.must(err)
	v := w.vaultOf(p)
	rows, err := w.store.VaultKeys(ctx, w.account, p.GrantID, v.ID, v.Generation)
	w.must(err)
	dek, err := h.OpenVaultKey(&rows[len(rows)-1], nil)
	w.must(err)
	defer dek.Clear()
	now := models.Stamp(w.clock.now())
	e := models.Escrow{
		AccountID: w.account, ID: models.NewID(), VaultID: v.ID, Generation: v.Generation, FromID: p.GrantID, ToID: to.GrantID,
		State: models.EscrowPending, CreatedAt: now, ExpiresAt: now.Add(models.EscrowLife),
	}
	w.must(h.Offer(w.deps.Random, &e, dek, &target))
	w.must(w.store.PutEscrow(ctx, &e))
	return e
}

func TestASupersededCredentialIsListedRestoredUnderAnotherNameAndDiscarded(t *testing.T) {
	t.Parallel()
	each(t, func(w *world) {
		p, a := w.session(), w.agent("a")
		one, two := w.put(p, "github", "older"), w.put(p, "gitlab", "another")
		w.grant(p, a, one)
		for _, token := range []models.Token{one, two} {
			stored, err := w.store.TokenByID(t.Context(), w.account, token.ID)
			w.must(err)
			stored.SupersededAt = models.StampPtr(w.clock.now())
			w.must(w.store.UpdateToken(t.Context(), &stored))
		}
		w.put(p, "github", "newer")
		if list, err := w.Superseded(t.Context(), p); err != nil || len(list) != 2 {
			t.Errorf("superseded: %d, %v, want 2", len(list), err)
		}
		w.releases(a, one, "older")
		_, err := w.Restore(t.Context(), p, audit.Client{}, one.ID, "")
		w.refused(err, fault.Conflict)
		_, err = w.Restore(t.Context(), p, audit.Client{}, one.ID, "a/b")
		w.refused(err, fault.InvalidRequest)
		_, err = w.Restore(t.Context(), w.session(), audit.Client{}, one.ID, "github-old")
		w.refused(err, fault.TokenNotFound)
		got, err := w.Restore(t.Context(), p, audit.Client{}, one.ID, "github-old")
		if err != nil || got.ServiceName != "github-old" || got.SupersededAt != nil || got.ID != one.ID {
			t.Errorf("restored %+v, %v", got, err)
		}
		w.reveals(p, "github-old", "older")
		w.reveals(p, "github", "newer")
		w.releases(a, one, "older")
		w.refused(w.Discard(t.Context(), p, audit.Client{}, one.ID), fault.TokenNotFound)
		w.must(w.Discard(t.Context(), p, audit.Client{}, two.ID))
		if list, err := w.Superseded(t.Context(), p); err != nil || len(list) != 0 {
			t.Errorf("superseded: %d, %v, want none", len(list), err)
		}
	})
}

func TestAHolderThatWasClearedMakesNoNewKeys(t *testing.T) {
	t.Parallel()
	each(t, func(w *world) {
		p := w.session()
		key := w.apiKey(p)
		w.put(p, "github", "secret")
		h, err := w.grants.Keys(t.Context(), p)
		w.must(err)
		h.Clear()
		w.must(w.grants.Revoke(t.Context(), key, audit.Client{}, key.GrantID))
		if err := w.Settle(t.Context(), h); err == nil {
			t.Error("a vault was rotated without keys")
		}
		w.reveals(p, "github", "secret")
	})
}
