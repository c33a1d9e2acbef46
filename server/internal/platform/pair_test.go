package platform_test

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"testing"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/custody"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/server/internal/platform"
)

// unsettled is a service that cannot make new keys after a revocation, as when it is
// killed between the two.
type unsettled struct{ *platform.Service }

func (unsettled) Settle(context.Context, *custody.Holder) error { return errors.New("killed") }

func TestWhatAKeyWrappedForOthersOpensAfterItGotANewPairBeforeTheVaultRotates(t *testing.T) {
	t.Parallel()
	each(t, func(w *world) {
		p := w.session()
		token := w.put(p, "github", "s3cret")
		other, key, gone := w.apiKey(p), w.apiKey(p), w.apiKey(p)
		a := w.agent("robot")
		w.grant(p, a, token)
		killed := grants.New(grants.Deps{
			Store: w.store, Rows: w.store, Slots: w.store, VaultRows: w.store, Vaults: unsettled{w.Service}, Audit: w.audit,
			Keys: w.ring, Gate: w.gate, Now: w.clock.now, Random: rand.Reader, Logger: slog.New(slog.DiscardHandler),
		})

		// A revocation that the key settles: it wraps what is new for all others.
		w.must(killed.Revoke(w.t.Context(), p, audit.Client{}, gone.GrantID))
		w.settle(key)
		for who, grant := range map[string]grants.Principal{"the session": p, "the other key": other} {
			rows, err := w.store.VaultKeys(w.t.Context(), w.account, grant.GrantID, p.VaultID, 2)
			w.must(err)
			if len(rows) != 1 || rows[0].Form != models.FormShared || *rows[0].SenderID != key.GrantID {
				w.t.Fatalf("%s has %+v of generation 2, want one key, wrapped by the key that settled", who, rows)
			}
		}
		offer := w.offer(key, w.session())

		issued, err := killed.RotateKey(w.t.Context(), p, audit.Client{}, key.GrantID)
		w.must(err)
		if v, err := w.store.Vault(w.t.Context(), w.account, p.VaultID); err != nil || v.RotationDueAt == nil || v.Generation != 2 {
			w.t.Fatalf("the vault is %+v, %v; want generation 2, and rotation due", v, err)
		}
		if e, err := w.store.Escrow(w.t.Context(), w.account, offer.ID); err != nil || e.State != models.EscrowCancelled || e.Wrapped != nil {
			w.t.Errorf("an offer of the key is %s, %v; want it cancelled", e.State, err)
		}
		w.releases(a, token, "s3cret")
		w.reveals(other, "github", "s3cret")
		w.reveals(p, "github", "s3cret")
		w.reveals(w.principal(issued.Token.Reveal()), "github", "s3cret")
		w.releases(a, token, "s3cret")
		if got := w.log.String(); got != "" {
			w.t.Errorf("the log says %s", got)
		}
	})
}

func TestASessionWhoseVaultKeyTheRotatedKeyWrappedRotatesIt(t *testing.T) {
	t.Parallel()
	each(t, func(w *world) {
		p := w.session()
		w.put(p, "github", "s3cret")
		key, gone := w.apiKey(p), w.apiKey(p)
		w.must(w.grants.Revoke(w.t.Context(), key, audit.Client{}, gone.GrantID)) // the session has its key from the other one now
		for range 3 {
			issued, err := w.grants.RotateKey(w.t.Context(), p, audit.Client{}, key.GrantID)
			w.must(err)
			key = w.principal(issued.Token.Reveal())
			w.settle(key)
			w.reveals(key, "github", "s3cret")
		}
		w.reveals(p, "github", "s3cret")
		issued, err := w.grants.RotateKey(w.t.Context(), key, audit.Client{}, key.GrantID) // by itself
		w.must(err)
		w.reveals(w.principal(issued.Token.Reveal()), "github", "s3cret")
		w.reveals(p, "github", "s3cret")
		if got := w.log.String(); got != "" {
			w.t.Errorf("the log says %s", got)
		}
	})
}

func TestAKeyThatLeftAVaultGetsNoNewPairWhileOthersNeedItsFormerOne(t *testing.T) {
	t.Parallel()
	each(t, func(w *world) {
		p, q := w.session(), w.session()
		token := w.put(p, "github", "s3cret")
		w.put(q, "gitlab", "another")
		key, gone, a := w.apiKey(p), w.apiKey(p), w.agent("robot")
		w.grant(p, a, token)
		w.must(w.grants.Revoke(t.Context(), key, audit.Client{}, gone.GrantID)) // all others have their keys from this one now
		key = w.accepts(key, w.offers(q, key))
		_, err := w.grants.RotateKey(t.Context(), q, audit.Client{}, key.GrantID)
		w.refused(err, fault.Conflict)
		w.reveals(key, "gitlab", "another")
		w.releases(a, token, "s3cret")
		w.reveals(w.now(p), "github", "s3cret") // and gets the vault it left a new key

		issued, err := w.grants.RotateKey(t.Context(), q, audit.Client{}, key.GrantID)
		w.must(err)
		w.reveals(w.principal(issued.Token.Reveal()), "gitlab", "another")
		w.reveals(w.now(p), "github", "s3cret")
		w.releases(a, token, "s3cret")
	})
}
