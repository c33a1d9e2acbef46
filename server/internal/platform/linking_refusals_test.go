package platform_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/models/store/storetest"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/server/internal/platform"
)

func TestWhatCannotBeSharedIsRefused(t *testing.T) {
	t.Parallel()
	each(t, func(w *world) {
		a, b, agent := w.session(), w.session(), w.agent("agent")
		key, weak, ended := w.apiKey(a), w.keyWith(b, grants.TokensRead), w.session()
		w.must(w.grants.Revoke(t.Context(), a, audit.Client{}, ended.GrantID))
		foreign := newWorld(t, w.store)
		stranger := foreign.session()
		bare := w.differently(grants.IssueInput{Kind: models.GrantSession, Life: grants.SessionLife})
		for what, c := range map[string]struct {
			from grants.Principal
			to   uuid.UUID
			want fault.Code
		}{
			"by an agent":                    {agent.Principal, b.GrantID, fault.ScopeDenied},
			"by a key without vault:manage":  {weak, a.GrantID, fault.ScopeDenied},
			"by a session without a vault":   {bare, a.GrantID, fault.Conflict},
			"by a session that has ended":    {ended, a.GrantID, fault.InvalidKey},
			"to oneself":                     {a, a.GrantID, fault.Conflict},
			"to whom opens it already":       {a, key.GrantID, fault.Conflict},
			"to an agent":                    {a, agent.Principal.GrantID, fault.InvalidRequest},
			"to a key that could not accept": {a, weak.GrantID, fault.Conflict},
			"to nobody":                      {a, models.NewID(), fault.NotFound},
			"to a session that has ended":    {a, ended.GrantID, fault.NotFound},
			"to another account's session":   {a, stranger.GrantID, fault.NotFound},
		} {
			w.unchanged(what, c.want, func() error { _, err := w.Share(t.Context(), c.from, audit.Client{}, c.to); return err })
		}
	})
}

// keyWith makes an API key of p's vault with some scopes.
func (w *world) keyWith(p grants.Principal, scopes ...string) grants.Principal {
	w.t.Helper()
	issued, err := w.grants.CreateKey(w.t.Context(), p, audit.Client{}, grants.CreateKeyInput{Name: "weak", Scopes: scopes})
	w.must(err)
	return w.principal(issued.Token.Reveal())
}

func TestOnlyWhoMadeAnOfferCancelsAndOnlyWhomItWasMadeAnswers(t *testing.T) {
	t.Parallel()
	each(t, func(w *world) {
		a, b, third, agent := w.session(), w.session(), w.session(), w.agent("agent")
		w.put(a, "github", "of-a")
		sibling, weak := w.apiKey(b), w.keyWith(b, grants.TokensRead)
		e := w.offers(a, b)
		foreign := newWorld(t, w.store).session()
		answer := map[string]func(p grants.Principal, id uuid.UUID) error{
			"accept":  func(p grants.Principal, id uuid.UUID) error { return w.Accept(t.Context(), p, audit.Client{}, id) },
			"decline": func(p grants.Principal, id uuid.UUID) error { return w.Decline(t.Context(), p, audit.Client{}, id) },
			"preview": func(p grants.Principal, id uuid.UUID) error { _, err := w.Preview(t.Context(), p, id); return err },
		}
		cancel := func(p grants.Principal, id uuid.UUID) error { return w.Cancel(t.Context(), p, audit.Client{}, id) }
		for what, do := range answer {
			w.unchanged(what+" by who made it", fault.ScopeDenied, func() error { return do(a, e.ID) })
			w.unchanged(what+" of no offer", fault.NotFound, func() error { return do(b, models.NewID()) })
		}
		w.unchanged("cancel by whom it was made", fault.ScopeDenied, func() error { return cancel(b, e.ID) })
		answer["cancel"] = cancel
		for what, do := range answer {
			w.unchanged(what+" by a third", fault.NotFound, func() error { return do(third, e.ID) })
			w.unchanged(what+" by a key of the same vault", fault.NotFound, func() error { return do(sibling, e.ID) })
			w.unchanged(what+" by a key without vault:manage", fault.ScopeDenied, func() error { return do(weak, e.ID) })
			w.unchanged(what+" by an agent", fault.ScopeDenied, func() error { return do(agent.Principal, e.ID) })
			w.unchanged(what+" in another account", fault.NotFound, func() error { return do(foreign, e.ID) })
		}
		for p, want := range map[*grants.Principal]int{&a: 1, &b: 1, &third: 0, &sibling: 0} {
			if list, err := w.Escrows(t.Context(), *p); err != nil || len(list) != want {
				t.Errorf("listed %d offers, %v, want %d", len(list), err, want)
			}
		}
		for _, p := range []grants.Principal{weak, agent.Principal} {
			_, err := w.Escrows(t.Context(), p)
			w.refused(err, fault.ScopeDenied)
		}
	})
}

func TestAnOfferEndsWithWhatItsInitiatorCouldOffer(t *testing.T) {
	t.Parallel()
	for what, loses := range map[string]func(w *world, a, key grants.Principal){
		"its session has ended": func(w *world, a, key grants.Principal) {
			w.must(w.grants.Revoke(w.t.Context(), key, audit.Client{}, a.GrantID))
		},
		"it opens another vault": func(w *world, a, _ grants.Principal) { w.accepts(a, w.offers(w.session(), a)) },
		"the vault has a new key": func(w *world, a, key grants.Principal) {
			w.must(w.grants.Revoke(w.t.Context(), a, audit.Client{}, key.GrantID))
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			each(t, func(w *world) {
				a, b := w.session(), w.session()
				w.put(a, "github", "of-a")
				e := w.offers(a, b)
				loses(w, a, w.apiKey(a))
				w.stands(e, models.EscrowCancelled)
				w.unchanged("accept", fault.Conflict, func() error { return w.Accept(t.Context(), b, audit.Client{}, e.ID) })
				w.wantOpens(b)
			})
		})
	}
}

// Should the hooks ever miss it, accepting itself sees that the initiator does not
// share any more.
func TestAcceptingReadsAnewWhatTheInitiatorOpens(t *testing.T) {
	t.Parallel()
	each(t, func(w *world) {
		ctx := t.Context()
		a, b := w.session(), w.session()
		w.apiKey(a)
		w.put(a, "github", "of-a")
		e := w.offers(a, b)
		pending, err := w.store.Escrow(ctx, w.account, e.ID)
		w.must(err)
		accept := func(what string, want fault.Code) {
			t.Helper()
			w.unchanged(what, want, func() error { return w.Accept(ctx, b, audit.Client{}, e.ID) })
		}
		g, err := w.store.Grant(ctx, w.account, a.GrantID)
		w.must(err)
		moved := g
		elsewhere := models.NewID()
		moved.VaultID = &elsewhere
		w.ring.SignGrant(&moved)
		w.must(w.store.UpdateGrant(ctx, &moved))
		accept("the initiator opens another vault", fault.Conflict)
		forged := g
		forged.PublicKey = make([]byte, 32)
		w.must(w.store.UpdateGrant(ctx, &forged))
		accept("the initiator's row is not authentic", fault.Internal)
		w.must(w.store.UpdateGrant(ctx, &g))

		v := w.vaultOf(a)
		newer := v
		newer.Generation++
		w.ring.SignVault(&newer)
		w.must(w.store.UpdateVault(ctx, &newer))
		accept("the vault has a new key", fault.Conflict)
		w.must(w.store.UpdateVault(ctx, &v))

		for i, change := range []func(e *models.Escrow){
			func(e *models.Escrow) { e.Wrapped = append(models.Opaque{e.Wrapped[0] ^ 1}, e.Wrapped[1:]...) },
			func(e *models.Escrow) { e.MAC = append(models.Opaque{e.MAC[0] ^ 1}, e.MAC[1:]...) },
			func(e *models.Escrow) { e.VaultID = b.VaultID }, func(e *models.Escrow) { e.Generation++ },
			func(e *models.Escrow) { e.FromID = b.GrantID }, func(e *models.Escrow) { e.ExpiresAt = e.ExpiresAt.Add(time.Hour) },
			func(e *models.Escrow) { e.KeyID++ },
		} {
			tampered := pending
			change(&tampered)
			w.must(w.store.PutEscrow(ctx, &tampered))
			accept(fmt.Sprintf("a changed escrow (%d)", i), fault.Internal)
		}
		w.must(w.store.PutEscrow(ctx, &pending))
		w.must(w.store.EndGrant(ctx, w.account, a.GrantID, w.clock.now()))
		accept("the initiator has ended", fault.Conflict)
		w.wantOpens(b)
	})
}

func TestWhoHasEndedAnswersNothing(t *testing.T) {
	t.Parallel()
	each(t, func(w *world) {
		a, b := w.session(), w.session()
		w.put(a, "github", "of-a")
		e := w.offers(a, b)
		w.must(w.grants.Revoke(t.Context(), a, audit.Client{}, b.GrantID))
		w.stands(e, models.EscrowCancelled)
		other := w.offers(a, w.session())
		w.must(w.store.EndGrant(t.Context(), w.account, other.ToID, w.clock.now()))
		w.must(w.store.EndGrant(t.Context(), w.account, a.GrantID, w.clock.now()))
		to := b
		to.GrantID = other.ToID
		w.unchanged("accept", fault.InvalidKey, func() error { return w.Accept(t.Context(), to, audit.Client{}, other.ID) })
		w.unchanged("decline", fault.InvalidKey, func() error { return w.Decline(t.Context(), to, audit.Client{}, other.ID) })
		w.unchanged("cancel", fault.InvalidKey, func() error { return w.Cancel(t.Context(), a, audit.Client{}, other.ID) })
	})
}

func TestWhileTheOwnerHasLockedTheVaultNothingIsLinked(t *testing.T) {
	t.Parallel()
	each(t, func(w *world) {
		a, b := w.session(), w.session()
		e := w.offers(a, b)
		w.must(w.store.SetAccountLock(t.Context(), w.account, models.StampPtr(time.Now())))
		w.unchanged("share", fault.VaultLocked, func() error { _, err := w.Share(t.Context(), b, audit.Client{}, a.GrantID); return err })
		w.unchanged("accept", fault.VaultLocked, func() error { return w.Accept(t.Context(), b, audit.Client{}, e.ID) })
		w.must(w.Decline(t.Context(), b, audit.Client{}, e.ID))
		w.stands(e, models.EscrowDeclined)
	})
}

func TestVaultsThatTogetherAreTooLargeAreNotLinked(t *testing.T) {
	t.Parallel()
	each(t, func(w *world) {
		a, b := w.session(), w.session()
		w.put(b, "github", "of-b")
		e := w.offers(a, b)
		many := make([]models.Token, platform.MaxTokens)
		for i := range many {
			many[i].ServiceName = fmt.Sprint("filler-", i)
		}
		_, err := w.store.SyncTokens(t.Context(), w.account, a.VaultID, many, false)
		w.must(err)
		if err := w.Accept(t.Context(), b, audit.Client{}, e.ID); fault.CodeOf(err) != fault.Conflict {
			t.Errorf("got %v, want CONFLICT", err)
		}
		w.stands(e, models.EscrowPending)
		w.wantOpens(b, "github=of-b")
	})
}

// Replicas whose clocks are wrong let an offer expire all the same.
func TestTheDatabasesClockDecidesWhetherAnOfferHasExpired(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		late := time.Duration(0)
		w := newWorldWith(t, s, func(d *platform.Deps) {
			d.Random = rand.Reader
			d.Clock = func(context.Context) (time.Time, error) { return models.Stamp(time.Now().Add(late)), nil }
		})
		a, b := w.session(), w.session()
		e := w.offers(a, b)
		late = models.EscrowLife + time.Minute
		w.unchanged("accept", fault.Conflict, func() error { return w.Accept(t.Context(), b, audit.Client{}, e.ID) })
		w.must(w.ExpireEscrows(t.Context()))
		w.stands(e, models.EscrowExpired)
	})
}
