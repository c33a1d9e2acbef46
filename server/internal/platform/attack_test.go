package platform_test

import (
	"crypto/rand"
	"testing"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/custody"
	"github.com/tvzero/tokenvault/server/internal/grants"
)

// A loot is what a thief of the whole database finds in it about an account.
type loot struct {
	granted    []models.Grant
	slots      []models.GrantKey
	vaultKeys  []models.VaultKey
	keys       []models.CredentialKey
	escrows    []models.Escrow
	successors []models.Successor
	tokens     []models.Token
	sealed     []models.Credential
}

func (w *world) steal() loot {
	w.t.Helper()
	ctx := w.t.Context()
	var l loot
	var err error
	l.granted, err = w.store.Grants(ctx, w.account)
	w.must(err)
	vaults, err := w.store.PlatformVaults(ctx, w.account)
	w.must(err)
	for _, g := range l.granted {
		slots, err := w.store.GrantKeys(ctx, w.account, g.ID)
		w.must(err)
		l.slots = append(l.slots, slots...)
		for _, slot := range slots {
			if n, err := w.store.Successor(ctx, w.account, g.ID, uint32(slot.Slot)); err == nil { // #nosec G115 -- a slot
				l.successors = append(l.successors, n)
			}
		}
		for _, v := range vaults {
			keys, err := w.store.VaultKeys(ctx, w.account, g.ID, v.ID, v.Generation)
			w.must(err)
			l.vaultKeys = append(l.vaultKeys, keys...)
		}
		keys, err := w.store.AgentKeys(ctx, w.account, g.ID)
		w.must(err)
		l.keys = append(l.keys, keys...)
	}
	l.escrows, err = w.store.Escrows(ctx, w.account)
	w.must(err)
	for _, v := range vaults {
		tokens, err := w.store.VaultTokens(ctx, w.account, v.ID)
		w.must(err)
		l.tokens = append(l.tokens, tokens...)
		sealed, err := w.store.Credentials(ctx, w.account, v.ID)
		w.must(err)
		l.sealed = append(l.sealed, sealed...)
	}
	if len(l.vaultKeys) < 3 || len(l.keys) < 3 || len(l.escrows) < 1 || len(l.successors) < 1 || len(l.sealed) < 3 {
		w.t.Fatalf("the test is empty: %d vault keys, %d credential keys, %d escrows, %d successors, %d credentials",
			len(l.vaultKeys), len(l.keys), len(l.escrows), len(l.successors), len(l.sealed))
	}
	return l
}

// senders are all that a thief may say about who wrapped a key.
func (l loot) senders() []*models.Grant {
	all := []*models.Grant{nil}
	for i := range l.granted {
		all = append(all, &l.granted[i])
	}
	return all
}

// An attack is a holder that a thief has, and the server's keys to sign rows with.
type attack struct {
	loot
	ring *custody.Keyring
	h    *custody.Holder
}

// vaultKeysOpened counts the keys of vaults that open, as they are stored, and
// rewritten for the holder in every form and signed anew.
func (a attack) vaultKeysOpened() (opened int) {
	own := a.h.Grant()
	for _, row := range a.vaultKeys {
		rows := []models.VaultKey{row}
		for _, form := range []models.KeyForm{models.FormSlot, models.FormShared, models.FormHandOver} {
			for _, sender := range a.granted {
				forged := row
				forged.GrantID, forged.Form, forged.SenderID, forged.Slot = own.ID, form, &sender.ID, models.WholeGrant
				if form == models.FormSlot {
					forged.Slot, forged.SenderID = int64(a.h.Slot()), nil
				}
				a.ring.SignVaultKey(&forged)
				rows = append(rows, forged)
			}
		}
		for i := range rows {
			for _, sender := range a.senders() {
				if dek, err := a.h.OpenVaultKey(&rows[i], sender); err == nil {
					dek.Clear()
					opened++
				}
			}
		}
	}
	return opened
}

// credentialKeys are the keys of credentials that open, as they are stored and
// rewritten: also for another credential than they were made for.
func (a attack) credentialKeys() (found []custody.CEK) {
	own := a.h.Grant()
	for _, row := range a.keys {
		rows := []models.CredentialKey{row}
		for _, target := range a.sealed {
			for _, form := range []models.KeyForm{models.FormSlot, models.FormShared} {
				for _, sender := range a.granted {
					forged := row
					forged.GrantID, forged.CredentialID, forged.Epoch, forged.Form = own.ID, target.ID, target.Epoch, form
					forged.SenderID, forged.Slot = &sender.ID, models.WholeGrant
					if form == models.FormSlot {
						forged.Slot, forged.SenderID = int64(a.h.Slot()), nil
					}
					a.ring.SignCredentialKey(&forged)
					rows = append(rows, forged)
				}
			}
		}
		// A vault's key in the place of a credential's.
		for _, v := range a.vaultKeys {
			forged := row
			forged.GrantID, forged.Slot, forged.Form, forged.Wrapped, forged.SenderID = own.ID, int64(a.h.Slot()), v.Form, v.Wrapped, v.SenderID
			a.ring.SignCredentialKey(&forged)
			rows = append(rows, forged)
		}
		for i := range rows {
			for _, sender := range a.senders() {
				if cek, err := a.h.OpenCredentialKey(&rows[i], sender); err == nil {
					found = append(found, cek)
				}
			}
		}
	}
	return found
}

// opened are the names of the credentials that keys open, with their rows as they
// are stored and rewritten to fit each other.
func (a attack) opened(keys []custody.CEK) map[string]bool {
	names := map[string]bool{}
	for _, cek := range keys {
		for i := range a.sealed {
			for j := range a.tokens {
				for _, as := range a.sealed { // under the id and epoch of each
					sealed, token := a.sealed[i], a.tokens[j]
					sealed.ID, sealed.Epoch, token.ID = as.ID, as.Epoch, as.ID
					if _, err := cek.Open(&token, &sealed); err == nil {
						names[token.ServiceName] = true
					}
				}
			}
		}
	}
	return names
}

func (a attack) escrowsOpened() (opened int) {
	for _, e := range a.escrows {
		forged := e
		forged.ToID = a.h.Grant().ID
		a.ring.SignEscrow(&forged)
		for _, row := range []models.Escrow{e, forged} {
			for i := range a.granted {
				if dek, err := a.h.OpenEscrow(&row, &a.granted[i]); err == nil {
					dek.Clear()
					opened++
				}
			}
		}
	}
	return opened
}

func (a attack) successorsOpened() (opened int) {
	for _, n := range a.successors {
		forged := n
		forged.GrantID, forged.Slot = a.h.Grant().ID, int64(a.h.Slot())
		for _, row := range []models.Successor{n, forged} {
			if text, err := a.h.OpenSuccessor(&row); err == nil || text != "" {
				opened++
			}
		}
	}
	return opened
}

// furnish makes an account with something of every kind in it.
func (w *world) furnish() (mine agent) {
	w.t.Helper()
	p, second := w.session(), w.session()
	mine = w.agent("mine")
	others := w.agent("others")
	granted := w.put(p, "granted", "mine to see")
	secret, third := w.put(p, "secret", "not mine"), w.put(second, "second", "of another vault")
	w.grant(p, mine, granted)
	w.grant(p, others, granted)
	w.grant(p, others, secret)
	w.grant(second, others, third)
	w.releases(mine, granted, "mine to see")
	w.releases(others, secret, "not mine")
	key := w.apiKey(p)
	w.must(w.grants.Revoke(w.t.Context(), p, audit.Client{}, w.apiKey(p).GrantID)) // shared keys, a hand-over
	w.reveals(key, "secret", "not mine")
	w.releases(mine, granted, "mine to see")
	w.offer(p, second)
	w.clock.pass(grants.SessionTokenLife / 2)
	_, _, err := w.grants.Rotate(w.t.Context(), w.principal(second.Token.Reveal()))
	w.must(err)
	return mine
}

func TestAnAgentsTokenWithDatabaseAndServerKeyOpensNothingThatWasNotGranted(t *testing.T) {
	t.Parallel()
	each(t, func(w *world) {
		mine := w.furnish()
		l := w.steal()

		claims, err := w.ring.OpenToken(mine.token)
		w.must(err)
		held := 0
		for i := range l.granted {
			for j := range l.slots {
				if _, err := w.ring.Hold(claims, &l.granted[i], &l.slots[j], w.clock.now); err == nil {
					held++
				}
			}
		}
		if held != 1 {
			t.Errorf("the agent's token is good for %d pairs of rows, want its own alone", held)
		}
		h, err := w.grants.Keys(t.Context(), mine.Principal)
		w.must(err)
		a := attack{l, w.ring, h}
		if n := a.vaultKeysOpened(); n != 0 {
			t.Errorf("%d keys of vaults open", n)
		}
		if n := a.escrowsOpened() + a.successorsOpened(); n != 0 {
			t.Errorf("%d escrows and successors open", n)
		}
		keys := a.credentialKeys()
		if len(keys) == 0 {
			t.Error("not even what was granted opens: the test is empty")
		}
		if got := a.opened(keys); len(got) != 1 || !got["granted"] {
			t.Errorf("opened %v, want what was granted alone", got)
		}
	})
}

func TestTheDatabaseWithTheServerKeyOpensNothing(t *testing.T) {
	t.Parallel()
	each(t, func(w *world) {
		w.furnish()
		l := w.steal()
		held := 0
		for _, g := range l.granted {
			if g.EndedAt != nil {
				continue
			}
			// A token of the thief's own making does not unlock the grant's key.
			claims := custody.Claims{Kind: g.Kind, AccountID: g.AccountID, GrantID: g.ID}
			text, kid, err := w.ring.SealToken(rand.Reader, &claims)
			w.must(err)
			for i := range l.slots {
				if _, err := w.ring.Hold(claims, &g, &l.slots[i], w.clock.now); err == nil {
					t.Errorf("a forged token is good for slot %d of %s", l.slots[i].Slot, g.Kind)
				}
			}
			// With a key pair of the thief's own it is good, and opens nothing.
			forged, slot := g, models.GrantKey{AccountID: g.AccountID, GrantID: g.ID, TokenKeyID: kid, IssuedAt: g.CreatedAt}
			forged.PublicKey, slot.WrappedPrivateKey, err = claims.NewGrantKey(rand.Reader)
			w.must(err)
			w.ring.SignGrant(&forged)
			w.ring.SignGrantKey(&slot)
			if claims, err = w.ring.OpenToken(text); err != nil {
				t.Fatal(err)
			}
			h, err := w.ring.Hold(claims, &forged, &slot, w.clock.now)
			w.must(err)
			held++
			a := attack{l, w.ring, h}
			if n := a.vaultKeysOpened() + a.escrowsOpened() + a.successorsOpened(); n != 0 {
				t.Errorf("%s: %d keys open", g.Kind, n)
			}
			if keys := a.credentialKeys(); len(keys) != 0 {
				t.Errorf("%s: %d keys of credentials open, for %v", g.Kind, len(keys), a.opened(keys))
			}
		}
		if held < 4 {
			t.Errorf("only %d grants were tried", held)
		}
		// Keys of the thief's own: of no vault, and of each.
		for _, id := range append(idsOf(l.sealed), uuid.Nil) {
			dek, err := custody.NewDEK(rand.Reader, id, 1)
			w.must(err)
			for _, c := range l.sealed {
				cek, err := dek.CEK(c.ID, c.Epoch)
				w.must(err)
				if got := (attack{l, w.ring, nil}).opened([]custody.CEK{cek}); len(got) != 0 {
					t.Errorf("opened %v", got)
				}
			}
		}
	})
}

func idsOf(sealed []models.Credential) (ids []uuid.UUID) {
	for _, c := range sealed {
		ids = append(ids, c.VaultID)
	}
	return ids
}
