package platform_test

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/custody"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/server/internal/platform"
)

func TestASessionThatExpiredEndsAndItsVaultWithIt(t *testing.T) {
	t.Parallel()
	each(t, func(w *world) {
		lost, kept := w.session(), w.session()
		token := w.put(lost, "github", "secret")
		w.put(kept, "gitlab", "another")
		key := w.apiKey(kept)
		w.must(w.Sweep(t.Context()))
		w.reveals(lost, "github", "secret")
		w.audit.take()
		w.clock.pass(grants.SessionTokenLife + time.Second)
		w.must(w.Sweep(t.Context()))
		events := w.audit.take()
		if len(events) != 2 || events[0].Source != audit.System || events[0].Type != audit.KeyChanged || events[0].AccountID != w.account {
			t.Errorf("recorded %+v, want the ends of two sessions", events)
		}
		w.tokenGone(token)
		w.vaultGone(lost.VaultID)
		g, err := w.store.Grant(t.Context(), w.account, lost.GrantID)
		if err != nil || g.EndedAt == nil {
			t.Errorf("the session's grant ended %v, %v", g.EndedAt, err)
		}
		if v := w.vaultOf(kept); v.RotationDueAt == nil {
			t.Error("the other vault, of which a session has gone, is not due for rotation")
		}
		w.reveals(key, "gitlab", "another")
		w.must(w.Sweep(t.Context()))
		if events := w.audit.take(); len(events) != 1 { // the reveal
			t.Errorf("swept twice: %+v", events)
		}
	})
}

// expiring is grant for a time.
func (w *world) expiring(p grants.Principal, a agent, token models.Token, life time.Duration) {
	w.t.Helper()
	w.grant(p, a, token)
	g := models.CredentialGrant{
		AccountID: w.account, AgentID: a.AgentID, ServiceName: token.ServiceName, TokenID: token.ID,
		RefreshPolicy: models.RefreshAuto, CreatedAt: models.Stamp(w.clock.now()), ExpiresAt: models.StampPtr(w.clock.now().Add(life)),
	}
	w.ring.SignCredentialGrant(&g)
	w.must(w.store.PutCredentialGrant(w.t.Context(), &g))
}

func TestAnAgentWhoseCredentialGrantExpiredLosesItsKeys(t *testing.T) {
	t.Parallel()
	each(t, func(w *world) {
		p, a, b, renewed := w.session(), w.agent("a"), w.agent("b"), w.agent("renewed")
		token := w.put(p, "github", "secret")
		w.expiring(p, a, token, time.Hour)
		w.grant(p, b, token)
		w.expiring(p, renewed, token, time.Hour)
		w.releases(a, token, "secret")
		w.must(w.Sweep(t.Context()))
		w.releases(a, token, "secret")
		w.clock.pass(2 * time.Hour)
		w.expiring(p, renewed, token, time.Hour)
		w.must(w.Sweep(t.Context()))
		w.releaseRefused(a, token, fault.NoGrant)
		w.releases(b, token, "secret")
		w.releases(renewed, token, "secret")
		if c := w.credential(token); c.RekeyDueAt == nil {
			t.Error("the credential is not due for a new key")
		}
		w.settle(p)
		w.releaseRefused(a, token, fault.NoGrant)
		w.releases(b, token, "secret")
		if granted, err := w.store.CredentialGrants(t.Context(), w.account, a.AgentID); err != nil || len(granted) != 1 {
			t.Errorf("%d credential grants, %v: the expired one is the agent's answer", len(granted), err)
		}
		before := w.credential(token)
		w.must(w.Sweep(t.Context()))
		if after := w.credential(token); after.RekeyDueAt != nil || after.Epoch != before.Epoch {
			t.Error("a second sweep has withdrawn once more")
		}
	})
}

func TestRunSweepsAndEndsWithItsContext(t *testing.T) {
	t.Parallel()
	each(t, func(w *world) {
		p := w.session()
		token := w.put(p, "github", "secret")
		w.clock.pass(grants.SessionTokenLife + time.Second)
		swept := make(chan struct{}, 8)
		w.audit.mu.Lock()
		w.audit.during = func() { swept <- struct{}{} }
		w.audit.mu.Unlock()
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- w.Run(ctx) }()
		select {
		case <-swept:
		case <-time.After(30 * time.Second):
			t.Error("nothing was swept")
		}
		// The event comes before the deed, and a pass is not broken off by the next.
		for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); {
			if _, err := w.store.TokenByID(t.Context(), w.account, token.ID); errors.Is(err, models.ErrNotFound) {
				break
			}
		}
		stop()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
		w.tokenGone(token)
	})
}

// rekeyed is the world's service with a new server key, and the old one beside it.
func (w *world) rekeyed() (*platform.Service, *custody.Keyring) {
	w.t.Helper()
	text, err := custody.GenerateKeyring(rand.Reader)
	w.must(err)
	ring := ringOf(w.t, "1"+strings.TrimPrefix(text, "0")+","+w.keys)
	deps := w.deps
	deps.Keyring = ring
	return platform.New(deps), ring
}

// guard gives the account a second factor and a passkey.
func (w *world) guard() {
	w.t.Helper()
	ring := ringOf(w.t, w.keys)
	f := models.SecondFactor{AccountID: w.account, ID: models.NewID(), CreatedAt: time.Now()}
	w.must(ring.SealSecondFactor(rand.Reader, &f, []byte("factor")))
	w.must(w.store.PutSecondFactor(w.t.Context(), &f))
	p := models.Passkey{AccountID: w.account, ID: models.NewID(), CredentialID: []byte{1}, PublicKey: []byte{2}, CreatedAt: models.Stamp(time.Now())}
	ring.SignPasskey(&p)
	w.must(w.store.CreatePasskey(w.t.Context(), &p))
}

func TestRowsUnderAnOldServerKeyAreSignedAnewAndCounted(t *testing.T) {
	t.Parallel()
	each(t, func(w *world) {
		mine := w.furnish()
		w.bind()
		w.guard()
		before := w.steal()
		service, ring := w.rekeyed()
		use, err := service.KeyUse(t.Context())
		w.must(err)
		if use[0].Rows == 0 || use[0].Tokens == 0 || use[0].Secrets != 2 || use[1] != (platform.KeyUse{}) {
			t.Errorf("before: %+v", use)
		}
		w.must(service.Resign(t.Context()))
		after, err := service.KeyUse(t.Context())
		w.must(err)
		if after[0] != (platform.KeyUse{Tokens: use[0].Tokens}) || after[1] != (platform.KeyUse{Rows: use[0].Rows, Secrets: 2}) {
			t.Errorf("after: %+v, before: %+v", after, use)
		}
		l := w.steal()
		if len(l.granted) != len(before.granted) || len(l.vaultKeys) != len(before.vaultKeys) || len(l.keys) != len(before.keys) {
			t.Error("rows have come or gone")
		}
		for i := range l.granted {
			if err := ring.CheckGrant(&l.granted[i]); err != nil || l.granted[i].KeyID != 1 {
				t.Errorf("grant %s under key %d: %v", l.granted[i].ID, l.granted[i].KeyID, err)
			}
		}
		for i := range l.slots {
			if err := ring.CheckGrantKey(&l.slots[i]); err != nil || l.slots[i].KeyID != 1 || l.slots[i].TokenKeyID != 0 {
				t.Errorf("slot %+v: %v", l.slots[i], err)
			}
		}
		for i := range l.vaultKeys {
			if err := ring.CheckVaultKey(&l.vaultKeys[i]); err != nil {
				t.Errorf("vault key %+v: %v", l.vaultKeys[i], err)
			}
		}
		for i := range l.keys {
			if err := ring.CheckCredentialKey(&l.keys[i]); err != nil {
				t.Errorf("credential key %+v: %v", l.keys[i], err)
			}
		}
		for i := range l.escrows {
			if err := ring.CheckEscrow(&l.escrows[i]); err != nil {
				t.Errorf("escrow %+v: %v", l.escrows[i], err)
			}
		}
		binding, err := w.store.BindingByState(t.Context(), w.account, models.BindingActive)
		w.must(err)
		if secret, err := ring.OpenWebhookSecret(&binding); err != nil || string(secret) != "secret" || binding.SecretKeyID != 1 {
			t.Errorf("the webhook's secret under key %d: %v", binding.SecretKeyID, err)
		}
		factor, err := w.store.SecondFactor(t.Context(), w.account)
		w.must(err)
		if secret, err := ring.OpenSecondFactor(&factor); err != nil || string(secret) != "factor" || factor.KeyID != 1 {
			t.Errorf("the second factor's secret under key %d: %v", factor.KeyID, err)
		}
		passkeys, err := w.store.Passkeys(t.Context(), w.account)
		if err != nil || len(passkeys) != 1 || ring.CheckPasskey(&passkeys[0]) != nil || passkeys[0].KeyID != 1 {
			t.Errorf("passkeys %+v, %v", passkeys, err)
		}
		granted, err := w.store.CredentialGrants(t.Context(), w.account, mine.AgentID)
		if err != nil || len(granted) != 1 || ring.CheckCredentialGrant(&granted[0]) != nil || granted[0].KeyID != 1 {
			t.Errorf("credential grants %+v, %v", granted, err)
		}
	})
}

func TestARowThatIsNotAuthenticIsNotSignedAnew(t *testing.T) {
	t.Parallel()
	each(t, func(w *world) {
		p := w.session()
		w.put(p, "github", "secret")
		g, err := w.store.Grant(t.Context(), w.account, p.GrantID)
		w.must(err)
		g.PublicKey[0] ^= 1
		w.must(w.store.UpdateGrant(t.Context(), &g))
		service, ring := w.rekeyed()
		w.must(service.Resign(t.Context()))
		now, err := w.store.Grant(t.Context(), w.account, p.GrantID)
		w.must(err)
		if now.KeyID != 0 || ring.CheckGrant(&now) == nil {
			t.Errorf("the changed row is under key %d, and authentic: %v", now.KeyID, ring.CheckGrant(&now) == nil)
		}
		if v := w.vaultOf(p); v.KeyID != 1 {
			t.Errorf("the vault's row is under key %d, want 1", v.KeyID)
		}
		if log := w.log.String(); !strings.Contains(log, "table=grants rows=1") {
			t.Errorf("the log does not say that a row is damaged: %s", log)
		}
	})
}

func TestWhatIsWrappedForAnExpiredTokenOfALivingSessionIsDeleted(t *testing.T) {
	t.Parallel()
	each(t, func(w *world) {
		p := w.session()
		w.put(p, "github", "secret")
		w.clock.pass(grants.SessionTokenLife / 2)
		next, _, err := w.grants.Rotate(t.Context(), w.now(p))
		w.must(err)
		left := func(slots, keys, successors int) {
			t.Helper()
			all, err := w.store.GrantKeys(t.Context(), w.account, p.GrantID)
			w.must(err)
			wrapped, err := w.store.VaultKeys(t.Context(), w.account, p.GrantID, p.VaultID, 1)
			w.must(err)
			ofTokens, follow := 0, 0
			for _, k := range wrapped {
				if k.Slot != models.WholeGrant {
					ofTokens++
				}
			}
			for slot := range uint32(3) {
				if _, err := w.store.Successor(t.Context(), w.account, p.GrantID, slot); err == nil {
					follow++
				}
			}
			if len(all) != slots || ofTokens != keys || follow != successors {
				t.Errorf("%d slots, %d keys of the vault, %d successors; want %d, %d, %d", len(all), ofTokens, follow, slots, keys, successors)
			}
		}
		w.must(w.Sweep(t.Context()))
		left(2, 2, 1)
		w.reveals(w.now(p), "github", "secret")
		w.clock.pass(grants.SessionTokenLife/2 + time.Second)
		w.must(w.Sweep(t.Context()))
		left(1, 1, 0)
		q := w.principal(next.Reveal())
		w.reveals(q, "github", "secret")
		last, _, err := w.grants.Rotate(t.Context(), q)
		w.must(err)
		w.reveals(w.principal(last.Reveal()), "github", "secret")
		w.clock.pass(grants.SessionTokenLife / 2)
		w.must(w.Sweep(t.Context()))
		left(1, 1, 0)
		w.reveals(w.principal(last.Reveal()), "github", "secret")
	})
}
