package platform_test

import (
	"context"
	"errors"
	"testing"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/fault"
)

func (w *world) tokenGone(token models.Token) {
	w.t.Helper()
	if _, err := w.store.TokenByID(w.t.Context(), w.account, token.ID); !errors.Is(err, models.ErrNotFound) {
		w.t.Errorf("the token %q is still there: %v", token.ServiceName, err)
	}
	if _, err := w.store.Credential(w.t.Context(), w.account, token.ID); !errors.Is(err, models.ErrNotFound) {
		w.t.Errorf("the credential %q is still there: %v", token.ServiceName, err)
	}
	if keys := w.keysOf(token); len(keys) != 0 {
		w.t.Errorf("%d keys of the credential %q are still there", len(keys), token.ServiceName)
	}
}

func (w *world) vaultGone(id [16]byte) {
	w.t.Helper()
	if _, err := w.store.Vault(w.t.Context(), w.account, id); !errors.Is(err, models.ErrNotFound) {
		w.t.Errorf("the vault is still there: %v", err)
	}
}

func TestAVaultGoesWithTheLastGrantThatOpensIt(t *testing.T) {
	t.Parallel()
	each(t, func(w *world) {
		p := w.session()
		key := w.apiKey(p)
		token := w.put(p, "github", "secret")
		w.must(w.grants.Revoke(t.Context(), p, audit.Client{}, p.GrantID))
		w.reveals(key, "github", "secret")
		w.must(w.grants.Revoke(t.Context(), key, audit.Client{}, key.GrantID))
		w.tokenGone(token)
		w.vaultGone(p.VaultID)
	})
}

func TestWhatAnAgentWasGrantedOutlivesTheVaultsGrantsUntilTheAgentLosesIt(t *testing.T) {
	t.Parallel()
	each(t, func(w *world) {
		p, a, b := w.session(), w.agent("a"), w.agent("b")
		granted, other := w.put(p, "granted", "for agents"), w.put(p, "other", "for nobody")
		w.grant(p, a, granted)
		w.grant(p, b, granted)
		w.must(w.grants.Revoke(t.Context(), p, audit.Client{}, p.GrantID))
		w.tokenGone(other)
		w.releases(a, granted, "for agents")
		w.releases(b, granted, "for agents")
		w.revoke(a, granted)
		w.releaseRefused(a, granted, fault.NoGrant)
		w.releases(b, granted, "for agents")
		w.must(w.grants.End(t.Context(), w.account, b.Agent.GrantID)) // with the agent's key, without a Withdraw
		w.tokenGone(granted)
		w.vaultGone(p.VaultID)
	})
}

func TestAnAgentsEndMarksWhatItCouldOpen(t *testing.T) {
	t.Parallel()
	each(t, func(w *world) {
		p, a := w.session(), w.agent("a")
		token := w.put(p, "github", "secret")
		w.grant(p, a, token)
		w.must(w.grants.End(t.Context(), w.account, a.Agent.GrantID))
		if c := w.credential(token); c.RekeyDueAt == nil {
			t.Error("the credential is not due for a new key")
		}
		w.reveals(p, "github", "secret")
		if c := w.credential(token); c.RekeyDueAt != nil || c.Epoch != 2 {
			t.Errorf("due %v at epoch %d, want done at 2", c.RekeyDueAt, c.Epoch)
		}
	})
}

func TestAnEndThatIsUndoneUndoesEverything(t *testing.T) {
	t.Parallel()
	each(t, func(w *world) {
		p := w.session()
		w.put(p, "github", "secret")
		stop := errors.New("stop")
		err := w.store.InTx(t.Context(), func(ctx context.Context) error {
			if err := w.grants.End(ctx, w.account, p.GrantID); err != nil {
				return err
			}
			return stop
		})
		if !errors.Is(err, stop) {
			t.Errorf("got %v, want %v", err, stop)
		}
		w.reveals(p, "github", "secret")
	})
}

func TestAGrantsEndCancelsItsEscrowsOnBothSides(t *testing.T) {
	t.Parallel()
	each(t, func(w *world) {
		from, to, other := w.session(), w.session(), w.session()
		given, taken, kept := w.offer(from, to), w.offer(to, other), w.offer(other, from)
		w.must(w.grants.Revoke(t.Context(), to, audit.Client{}, to.GrantID))
		for what, c := range map[string]struct {
			escrow models.Escrow
			want   models.EscrowState
		}{"for it": {given, models.EscrowCancelled}, "of it": {taken, models.EscrowCancelled}, "of others": {kept, models.EscrowPending}} {
			got, err := w.store.Escrow(t.Context(), w.account, c.escrow.ID)
			if err != nil || got.State != c.want || (got.Wrapped == nil) != (c.want != models.EscrowPending) {
				t.Errorf("the escrow %s is %s with %d bytes, %v, want %s", what, got.State, len(got.Wrapped), err, c.want)
			}
		}
	})
}

func TestANewTokenOfAKeyOpensTheSameVault(t *testing.T) {
	t.Parallel()
	each(t, func(w *world) {
		p := w.session()
		key := w.apiKey(p)
		w.put(p, "github", "secret")
		issued, err := w.grants.RotateKey(t.Context(), p, audit.Client{}, key.GrantID)
		w.must(err)
		next := w.principal(issued.Token.Reveal())
		w.reveals(next, "github", "secret")
		_, err = w.Reveal(t.Context(), key, audit.Client{}, ref("github"))
		w.refused(err, fault.InvalidKey)
		itself, err := w.grants.RotateKey(t.Context(), next, audit.Client{}, next.GrantID)
		w.must(err)
		w.reveals(w.principal(itself.Token.Reveal()), "github", "secret")
		w.reveals(p, "github", "secret")
	})
}
