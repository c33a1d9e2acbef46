package platform_test

import (
	"slices"
	"testing"
	"time"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/server/internal/platform"
)

func TestAcceptingOpensTheSharedVaultAndBringsTheOwnCredentials(t *testing.T) {
	t.Parallel()
	each(t, func(w *world) {
		a, b := w.session(), w.session()
		w.put(a, "github", "of-a")
		w.put(b, "gitlab", "of-b")
		left := w.vaultOf(b)
		w.audit.take()
		e := w.offers(a, b)
		if e.Wrapped != nil || e.State != models.EscrowPending || e.ExpiresAt.Sub(e.CreatedAt) != 24*time.Hour {
			t.Errorf("offered %+v, want it pending for a day, without a key", e)
		}
		w.wantOpens(b, "gitlab=of-b") // not before it has accepted
		for _, p := range []grants.Principal{a, b} {
			list, err := w.Escrows(t.Context(), p)
			w.must(err)
			if len(list) != 1 || list[0].ID != e.ID || list[0].Wrapped != nil || list[0].State != models.EscrowPending {
				t.Errorf("listed %+v, want the offer", list)
			}
		}

		preview, err := w.Preview(t.Context(), b, e.ID)
		w.must(err)
		if preview.From != "test" || preview.Shared != 1 || len(preview.Own) != 1 || preview.Own[0].ServiceName != "gitlab" ||
			preview.Copies || len(preview.Conflicts) != 0 || preview.Cancels != 0 {
			t.Errorf("the preview is %+v", preview)
		}
		b = w.accepts(b, e)
		w.stands(e, models.EscrowAccepted)
		if b.VaultID != a.VaultID {
			t.Errorf("it opens vault %s, want %s", b.VaultID, a.VaultID)
		}
		for _, p := range []grants.Principal{a, b} {
			w.wantOpens(p, "github=of-a", "gitlab=of-b")
			w.reveals(p, "github", "of-a")
			w.reveals(p, "gitlab", "of-b")
		}
		if _, err := w.store.Vault(t.Context(), w.account, left.ID); err == nil {
			t.Error("the vault that was left, and that nobody else opens, is still there")
		}
		var details []string
		for _, e := range w.audit.take() {
			if e.Type == audit.Link && e.AccountID == w.account && e.Outcome == "" {
				details = append(details, e.Detail)
			}
		}
		if want := []string{"offered the vault to test", "accepted the vault of test"}; !slices.Equal(details, want) {
			t.Errorf("recorded %q, want %q", details, want)
		}
		w.put(a, "npm", "later") // one vault from now on
		w.reveals(b, "npm", "later")
	})
}

func TestOfTwoOfOneNameTheLaterKeepsItAndTheOtherStaysBeside(t *testing.T) {
	t.Parallel()
	each(t, func(w *world) {
		a, b, agent := w.session(), w.session(), w.agent("agent")
		w.put(a, "old-here", "a1")
		bs := w.put(b, "old-there", "b1")
		w.soon()
		as := w.put(a, "old-there", "a2")
		w.put(b, "old-here", "b2")
		w.grant(b, agent, bs)
		w.releases(agent, bs, "b1")
		e := w.offers(a, b)

		preview, err := w.Preview(t.Context(), b, e.ID)
		w.must(err)
		want := []platform.Conflict{{Ref: ref("old-here"), KeepsOwn: true}, {Ref: ref("old-there")}}
		if !slices.Equal(preview.Conflicts, want) || preview.Agents != 1 {
			t.Errorf("the preview has conflicts %+v and %d agents, want %+v and one", preview.Conflicts, preview.Agents, want)
		}
		b = w.accepts(b, e)
		for _, p := range []grants.Principal{w.now(a), b} {
			w.wantOpens(p, "old-here=b2", "!old-here=a1", "old-there=a2", "!old-there=b1")
			w.reveals(p, "old-here", "b2")
			w.reveals(p, "old-there", "a2")
			list, err := w.Superseded(t.Context(), p)
			w.must(err)
			if len(list) != 2 {
				t.Errorf("%d are listed as superseded, want 2", len(list))
			}
		}
		w.releases(agent, bs, "b1") // what it was granted, never another of the name
		w.releaseRefused(agent, as, fault.NoGrant)
		restored, err := w.Restore(t.Context(), b, audit.Client{}, bs.ID, "restored")
		w.must(err)
		w.reveals(b, "restored", "b1")
		w.releases(agent, restored, "b1")
	})
}

func TestWhoLeavesAVaultThatOthersOpenTakesCopiesAlong(t *testing.T) {
	t.Parallel()
	each(t, func(w *world) {
		a, b, agent := w.session(), w.session(), w.agent("agent")
		key := w.apiKey(b)
		token := w.put(b, "github", "of-b")
		w.grant(b, agent, token)
		other := w.session()
		elsewhere := w.offers(b, other)
		byKey := w.offers(key, other)
		e := w.offers(a, b)
		preview, err := w.Preview(t.Context(), b, e.ID)
		w.must(err)
		if !preview.Copies || preview.Cancels != 2 || preview.Agents != 0 {
			t.Errorf("the preview is %+v, want copies and two offers that end", preview)
		}
		b = w.accepts(b, e)
		w.stands(elsewhere, models.EscrowCancelled)
		w.stands(byKey, models.EscrowCancelled)
		w.wantOpens(b, "github=of-b")
		w.wantOpens(key, "github=of-b")
		if b.VaultID == key.VaultID {
			t.Error("it still opens the vault that it left")
		}
		w.releases(agent, token, "of-b")
		v := w.vaultOf(key)
		if v.RotationDueAt == nil {
			t.Error("no new key is due for the vault that was left")
		}
		if keys, err := w.keysOfGrant(t.Context(), b.GrantID, v); err != nil || len(keys) != 0 {
			t.Errorf("who left has %d of its keys, %v, want none", len(keys), err)
		}
		w.put(key, "github", "changed") // settles, too
		if v := w.vaultOf(key); v.RotationDueAt != nil || v.Generation != 2 {
			t.Errorf("the vault that was left is of generation %d, due since %v", v.Generation, v.RotationDueAt)
		}
		w.reveals(b, "github", "of-b")
		w.reveals(key, "github", "changed")
		w.releases(agent, token, "changed")
	})
}

func TestAnAgentKeepsWhatMovesAlsoAfterItsFirstUse(t *testing.T) {
	t.Parallel()
	each(t, func(w *world) {
		a, b, used, fresh := w.session(), w.session(), w.agent("used"), w.agent("fresh")
		token := w.put(b, "github", "of-b")
		w.grant(b, used, token)
		w.grant(b, fresh, token)
		w.releases(used, token, "of-b")
		w.accepts(b, w.offers(a, b))
		for _, k := range w.keysOf(token) {
			if k.Form != models.FormShared || k.Epoch != w.credential(token).Epoch {
				t.Errorf("an agent has a key of form %s and epoch %d, want shared ones of epoch %d", k.Form, k.Epoch, w.credential(token).Epoch)
			}
		}
		for range 2 {
			w.releases(used, token, "of-b")
			w.releases(fresh, token, "of-b")
		}
		w.put(a, "github", "rotated by the other")
		w.releases(used, token, "rotated by the other")
	})
}

// The other slots of a session get the vault without their tokens being at hand.
func TestTheOtherSlotsOfASessionOpenTheVaultToo(t *testing.T) {
	t.Parallel()
	each(t, func(w *world) {
		a, b := w.session(), w.session()
		w.put(a, "github", "of-a")
		w.clock.pass(grants.SessionTokenLife / 3)
		b = w.now(b)
		next, _, err := w.grants.Rotate(t.Context(), b)
		w.must(err)
		second := w.principal(next.Reveal())
		if second.Slot == b.Slot {
			t.Fatal("the session was not rotated")
		}
		w.accepts(b, w.offers(w.now(a), b))
		w.wantOpens(second, "github=of-a")
		w.reveals(w.now(second), "github", "of-a") // and keeps it under its own token
		if keys, err := w.keysOfGrant(t.Context(), b.GrantID, w.vaultOf(w.now(a))); err != nil || len(keys) != 3 {
			t.Errorf("the session has %d keys of the vault, %v, want its two slots' and the one that was handed over", len(keys), err)
		}
	})
}

func TestAnApiKeyAndASessionWithoutAVaultAcceptToo(t *testing.T) {
	t.Parallel()
	each(t, func(w *world) {
		a, owner := w.session(), w.session()
		key := w.apiKey(owner)
		w.put(a, "github", "of-a")
		w.put(owner, "gitlab", "of-owner")
		key = w.accepts(key, w.offers(a, key))
		w.wantOpens(key, "github=of-a", "gitlab=of-owner")
		w.wantOpens(owner, "gitlab=of-owner")

		bare := w.differently(grants.IssueInput{Kind: models.GrantSession, Life: grants.SessionLife})
		bare = w.accepts(bare, w.offers(key, bare)) // an API key shares, as it has vault:manage
		w.wantOpens(bare, "github=of-a", "gitlab=of-owner")
	})
}

func TestSharingAgainReplacesTheOfferOfThePair(t *testing.T) {
	t.Parallel()
	each(t, func(w *world) {
		a, b, c := w.session(), w.session(), w.session()
		w.put(a, "github", "of-a")
		first, other, back := w.offers(a, b), w.offers(a, c), w.offers(b, a)
		second := w.offers(a, b)
		w.stands(first, models.EscrowCancelled)
		w.stands(other, models.EscrowPending)
		w.stands(back, models.EscrowPending)
		w.unchanged("the replaced offer", fault.Conflict, func() error { return w.Accept(t.Context(), b, audit.Client{}, first.ID) })
		b = w.accepts(b, second)
		w.wantOpens(b, "github=of-a")
		w.stands(back, models.EscrowCancelled) // of the vault that was left
	})
}

func TestDeclinedCancelledAndExpiredOffersForgetTheirKeyAndOpenNothing(t *testing.T) {
	t.Parallel()
	each(t, func(w *world) {
		a := w.session()
		w.put(a, "github", "of-a")
		end := map[models.EscrowState]func(b grants.Principal, e models.Escrow) error{
			models.EscrowDeclined: func(b grants.Principal, e models.Escrow) error {
				return w.Decline(t.Context(), b, audit.Client{}, e.ID)
			},
			models.EscrowCancelled: func(_ grants.Principal, e models.Escrow) error { return w.Cancel(t.Context(), a, audit.Client{}, e.ID) },
			models.EscrowExpired: func(b grants.Principal, e models.Escrow) error {
				w.clock.pass(models.EscrowLife)
				list, err := w.Escrows(t.Context(), b)
				w.must(err)
				if len(list) != 1 || list[0].State != models.EscrowExpired {
					t.Errorf("before it is noted, it is listed as %+v", list)
				}
				for _, do := range []func() error{
					func() error { return w.Accept(t.Context(), b, audit.Client{}, e.ID) },
					func() error { return w.Decline(t.Context(), b, audit.Client{}, e.ID) },
					func() error { return w.Cancel(t.Context(), a, audit.Client{}, e.ID) },
					func() error { _, err := w.Preview(t.Context(), b, e.ID); return err },
				} {
					w.unchanged("an offer whose time is over", fault.Conflict, do)
				}
				return w.ExpireEscrows(t.Context())
			},
		}
		for state, do := range end {
			b := w.session()
			e := w.offers(a, b)
			w.must(do(b, e))
			w.stands(e, state)
			for what, do := range map[string]func() error{
				"accept":  func() error { return w.Accept(t.Context(), b, audit.Client{}, e.ID) },
				"decline": func() error { return w.Decline(t.Context(), b, audit.Client{}, e.ID) },
				"cancel":  func() error { return w.Cancel(t.Context(), a, audit.Client{}, e.ID) },
				"preview": func() error { _, err := w.Preview(t.Context(), b, e.ID); return err },
			} {
				w.unchanged(what+" what is "+string(state), fault.Conflict, do)
			}
			w.wantOpens(b)
		}
		waits := w.offers(a, w.session())
		w.must(w.ExpireEscrows(t.Context()))
		w.stands(waits, models.EscrowPending)
	})
}
