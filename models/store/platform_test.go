package store_test

import (
	"bytes"
	"context"
	"slices"
	"testing"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/models/store/storetest"
)

// A platformVault is a vault of mode platform with a grant that uses it, whose one
// slot has the vault's key.
type platformVault struct {
	models.Vault
	grant models.Grant
	slot  models.GrantKey
	key   models.VaultKey
}

func newPlatformVault(t *testing.T, s *store.Store) platformVault {
	t.Helper()
	v := filled[models.Vault](t)
	v.AccountID, v.Mode = newAccount(t, s).ID, models.ModePlatform
	return addPlatformVault(t, s, v)
}

// addPlatformVault makes another one in an account.
func addPlatformVault(t *testing.T, s *store.Store, v models.Vault) platformVault {
	t.Helper()
	ok(t, s.CreateVault(t.Context(), &v))
	p := platformVault{Vault: v, grant: filled[models.Grant](t), slot: filled[models.GrantKey](t), key: filled[models.VaultKey](t)}
	p.grant.AccountID, p.grant.EndedAt, p.grant.VaultID = v.AccountID, nil, &v.ID
	p.slot.AccountID, p.slot.GrantID = v.AccountID, p.grant.ID
	ok(t, s.CreateGrant(t.Context(), &p.grant, &p.slot))
	p.key.AccountID, p.key.GrantID, p.key.VaultID, p.key.Generation, p.key.Slot = v.AccountID, p.grant.ID, v.ID, v.Generation, p.slot.Slot
	ok(t, s.PutVaultKey(t.Context(), &p.key))
	return p
}

// pair is a token of the vault and its credential, not stored yet.
func (v platformVault) pair(t *testing.T, service string) (models.Token, models.Credential) {
	t.Helper()
	token, c := newToken(t, v.Vault, service), filled[models.Credential](t)
	c.AccountID, c.ID, c.VaultID = v.AccountID, token.ID, v.ID
	return token, c
}

// credential stores one whose token is as change leaves it.
func (v platformVault) credential(t *testing.T, s *store.Store, service string, change func(*models.Token)) models.Credential {
	t.Helper()
	token, c := v.pair(t, service)
	if change != nil {
		change(&token)
	}
	ok(t, s.CreateCredential(t.Context(), &token, &c))
	return c
}

// agentKey gives a credential's key to the vault's own grant: to the store one
// grant is like another.
func (v platformVault) agentKey(t *testing.T, s *store.Store, c models.Credential, slot int64) models.CredentialKey {
	t.Helper()
	k := filled[models.CredentialKey](t)
	k.AccountID, k.CredentialID, k.GrantID, k.Slot = v.AccountID, c.ID, v.grant.ID, slot
	ok(t, s.PutCredentialKey(t.Context(), &k))
	return k
}

func inTx(t *testing.T, s *store.Store, fn func(ctx context.Context) error) {
	t.Helper()
	ok(t, s.InTx(t.Context(), fn))
}

func TestPlatformVaultComesBackWholeAndIsUpdated(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		v, c := newPlatformVault(t, s), watch(s)
		got, err := s.Vault(t.Context(), v.AccountID, v.ID)
		ok(t, err)
		same(t, "vault", got, v.Vault)

		want := v.Vault
		want.Generation, want.RotationDueAt, want.KeyID, want.MAC = 9, nil, 2, models.Opaque{1}
		tells(t, c, v.AccountID, "update", func() error { return s.UpdateVault(t.Context(), &want) })
		got, err = s.Vault(t.Context(), v.AccountID, v.ID)
		ok(t, err)
		same(t, "updated", got, want)

		webhook := models.Vault{AccountID: v.AccountID, ID: models.NewID(), Mode: models.ModeWebhook}
		ok(t, s.CreateVault(t.Context(), &webhook))
		second := filled[models.Vault](t)
		second.AccountID, second.Mode = v.AccountID, models.ModePlatform
		ok(t, s.CreateVault(t.Context(), &second))
		newPlatformVault(t, s)
		list, err := s.PlatformVaults(t.Context(), v.AccountID)
		ok(t, err)
		same(t, "platform vaults", list, []models.Vault{want, second})

		for _, other := range []models.Vault{{AccountID: newAccount(t, s).ID, ID: v.ID}, {AccountID: v.AccountID, ID: models.NewID()}} {
			_, err = s.Vault(t.Context(), other.AccountID, other.ID)
			wantErr(t, err, models.ErrNotFound)
			wantErr(t, s.UpdateVault(t.Context(), &other), models.ErrNotFound)
			wantErr(t, s.DeleteVault(t.Context(), other.AccountID, other.ID), models.ErrNotFound)
		}
	})
}

func TestVaultsAndGrantsAreLockedInTheOrderOfTheirIds(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		a := newPlatformVault(t, s)
		next := filled[models.Vault](t)
		next.AccountID, next.Mode = a.AccountID, models.ModePlatform
		b := addPlatformVault(t, s, next)
		foreign := newPlatformVault(t, s)

		if _, err := s.LockVaults(t.Context(), a.AccountID, a.ID); err == nil {
			t.Error("vaults were locked outside a transaction")
		}
		if _, err := s.LockGrants(t.Context(), a.AccountID, a.grant.ID); err == nil {
			t.Error("grants were locked outside a transaction")
		}
		inTx(t, s, func(ctx context.Context) error {
			vaults, err := s.LockVaults(ctx, a.AccountID, b.ID, a.ID, foreign.ID, models.NewID(), b.ID)
			ok(t, err)
			same(t, "vaults", vaults, []models.Vault{a.Vault, b.Vault})
			grants, err := s.LockGrants(ctx, a.AccountID, b.grant.ID, a.grant.ID, foreign.grant.ID, models.NewID())
			ok(t, err)
			same(t, "grants", grants, []models.Grant{a.grant, b.grant})
			vaults, err = s.LockVaults(ctx, a.AccountID)
			ok(t, err)
			same(t, "no vaults", len(vaults), 0)
			grants, err = s.LockGrants(ctx, a.AccountID)
			ok(t, err)
			same(t, "no grants", len(grants), 0)
			return nil
		})
	})
}

func TestLockedVaultsAreChangedByOneAtATime(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		a := newPlatformVault(t, s)
		next := filled[models.Vault](t)
		next.AccountID, next.Mode = a.AccountID, models.ModePlatform
		b := addPlatformVault(t, s, next)
		const writers = 8
		errs := together(writers, func(i int) error {
			ids := []uuid.UUID{a.ID, b.ID}
			if i%2 == 1 { // named in either order, they never wait for each other for ever
				ids[0], ids[1] = ids[1], ids[0]
			}
			return s.InTx(t.Context(), func(ctx context.Context) error {
				vaults, err := s.LockVaults(ctx, a.AccountID, ids...)
				if err != nil {
					return err
				}
				for _, v := range vaults {
					v.Generation++ // lost, if another's write came between
					if err := s.UpdateVault(ctx, &v); err != nil {
						return err
					}
				}
				return nil
			})
		})
		for _, err := range errs {
			ok(t, err)
		}
		for _, v := range []models.Vault{a.Vault, b.Vault} {
			got, err := s.Vault(t.Context(), v.AccountID, v.ID)
			ok(t, err)
			same(t, "generation", got.Generation, v.Generation+writers)
		}
	})
}

func TestVaultKeysArePutReplacedAndDeleted(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		v, c := newPlatformVault(t, s), watch(s)
		whole := v.key
		whole.Slot, whole.Form = models.WholeGrant, models.FormShared
		tells(t, c, v.AccountID, "put", func() error { return s.PutVaultKey(t.Context(), &whole) })
		replaced := v.key
		replaced.Wrapped, replaced.SenderID, replaced.MAC = models.Opaque{9, 9}, nil, models.Opaque{8}
		ok(t, s.PutVaultKey(t.Context(), &replaced))
		older := v.key
		older.Generation--
		ok(t, s.PutVaultKey(t.Context(), &older))
		other, _ := newGrant(t, s, v.AccountID)
		others := whole
		others.GrantID = other.ID
		ok(t, s.PutVaultKey(t.Context(), &others))

		keys := func(grant uuid.UUID, generation int64) []models.VaultKey {
			list, err := s.VaultKeys(t.Context(), v.AccountID, grant, v.ID, generation)
			ok(t, err)
			return list
		}
		same(t, "keys of the generation", keys(v.grant.ID, v.Generation), []models.VaultKey{whole, replaced})
		tells(t, c, v.AccountID, "old", func() error { return s.DeleteOldVaultKeys(t.Context(), v.AccountID, v.ID, v.Generation) })
		same(t, "keys of the generation before", len(keys(v.grant.ID, older.Generation)), 0)
		same(t, "keys of the generation", len(keys(v.grant.ID, v.Generation)), 2)
		tells(t, c, v.AccountID, "delete", func() error { return s.DeleteVaultKeys(t.Context(), v.AccountID, v.grant.ID, v.ID) })
		same(t, "keys of the grant that lost them", len(keys(v.grant.ID, v.Generation)), 0)
		same(t, "keys of the other grant", keys(other.ID, v.Generation), []models.VaultKey{others})

		ok(t, s.EndGrant(t.Context(), v.AccountID, other.ID, at))
		same(t, "keys of an ended grant", len(keys(other.ID, v.Generation)), 0)
		wantErr(t, s.PutVaultKey(t.Context(), &others), models.ErrNotFound)
		for _, change := range []func(*models.VaultKey){
			func(k *models.VaultKey) { k.AccountID = models.NewID() }, func(k *models.VaultKey) { k.GrantID = models.NewID() },
			func(k *models.VaultKey) { k.VaultID = models.NewID() },
		} {
			k := v.key
			change(&k)
			wantErr(t, s.PutVaultKey(t.Context(), &k), models.ErrNotFound)
		}
	})
}

func TestDeletedVaultTakesAllThatItHeldAlong(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		v, c := newPlatformVault(t, s), watch(s)
		next := filled[models.Vault](t)
		next.AccountID, next.Mode = v.AccountID, models.ModePlatform
		kept := addPlatformVault(t, s, next)
		keptCredential := kept.credential(t, s, "github", nil)
		keptKey := kept.agentKey(t, s, keptCredential, 1)
		for _, change := range []func(*models.Token){nil, func(x *models.Token) { x.SupersededAt = models.StampPtr(at) }} {
			v.agentKey(t, s, v.credential(t, s, "github", change), 1)
		}
		tells(t, c, v.AccountID, "delete", func() error { return s.DeleteVault(t.Context(), v.AccountID, v.ID) })
		wantErr(t, s.DeleteVault(t.Context(), v.AccountID, v.ID), models.ErrNotFound)
		tokens, err := s.VaultTokens(t.Context(), v.AccountID, v.ID)
		ok(t, err)
		credentials, err := s.Credentials(t.Context(), v.AccountID, v.ID)
		ok(t, err)
		keys, err := s.AgentKeys(t.Context(), v.AccountID, v.grant.ID)
		ok(t, err)
		vaultKeys, err := s.VaultKeys(t.Context(), v.AccountID, v.grant.ID, v.ID, v.Generation)
		ok(t, err)
		same(t, "what is left of it", len(tokens)+len(credentials)+len(keys)+len(vaultKeys), 0)

		got, err := s.Credential(t.Context(), kept.AccountID, keptCredential.ID)
		ok(t, err)
		same(t, "the other vault's credential", got, keptCredential)
		keys, err = s.AgentKeys(t.Context(), kept.AccountID, kept.grant.ID)
		ok(t, err)
		same(t, "its agent's key", keys, []models.CredentialKey{keptKey})
	})
}

func TestNothingIsLeftWhenAddingRacesWithDeletingTheVault(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		for range 10 {
			v := newPlatformVault(t, s)
			c := v.credential(t, s, "github", nil)
			key := filled[models.CredentialKey](t)
			key.AccountID, key.CredentialID, key.GrantID = v.AccountID, c.ID, v.grant.ID
			token, added := v.pair(t, "gitlab")
			vaultKey := v.key
			vaultKey.Slot = models.WholeGrant
			errs := together(4, func(i int) error {
				return []func() error{
					func() error { return s.DeleteVault(t.Context(), v.AccountID, v.ID) },
					func() error { return s.PutCredentialKey(t.Context(), &key) },
					func() error { return s.CreateCredential(t.Context(), &token, &added) },
					func() error { return s.PutVaultKey(t.Context(), &vaultKey) },
				}[i]()
			})
			ok(t, errs[0])
			count(t, errs, models.ErrNotFound)
			keys, err := s.CredentialKeys(t.Context(), v.AccountID, c.ID)
			ok(t, err)
			_, err = s.TokenByID(t.Context(), v.AccountID, token.ID)
			wantErr(t, err, models.ErrNotFound)
			same(t, "keys left", len(keys), 0)
		}
	})
}

func TestWhatAGrantWrappedOfOtherVaultsIsFound(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		v := newPlatformVault(t, s)
		sender := models.NewID()
		sent := func(vaultID uuid.UUID, want bool) {
			t.Helper()
			got, err := s.SentElsewhere(t.Context(), v.AccountID, sender, vaultID)
			ok(t, err)
			same(t, "sent elsewhere", got, want)
		}
		sent(v.ID, false)
		sent(uuid.Nil, false)
		k := v.agentKey(t, s, v.credential(t, s, "github", nil), 0)
		k.SenderID = &sender
		ok(t, s.PutCredentialKey(t.Context(), &k))
		sent(v.ID, false)
		sent(uuid.Nil, true)
		sent(models.NewID(), true)
		ok(t, s.DeleteCredentialKeys(t.Context(), v.AccountID, k.CredentialID, k.GrantID))
		sent(uuid.Nil, false)
		v.key.SenderID = &sender
		ok(t, s.PutVaultKey(t.Context(), &v.key))
		sent(v.ID, false)
		sent(uuid.Nil, true)
		if got, err := s.SentElsewhere(t.Context(), newAccount(t, s).ID, sender, uuid.Nil); err != nil || got {
			t.Errorf("another account: %v, %v", got, err)
		}
	})
}

func TestGrantedTokensAreThoseThatAgentsHaveToDoWith(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		v, other := newPlatformVault(t, s), newPlatformVault(t, s)
		v.credential(t, s, "nobody's", nil)
		held, granted := v.credential(t, s, "held", nil), v.credential(t, s, "granted", nil)
		v.agentKey(t, s, held, 0)
		v.agentKey(t, s, held, 1)
		a := filled[models.Agent](t)
		a.AccountID = v.AccountID
		ok(t, s.CreateAgent(t.Context(), &a))
		g := filled[models.CredentialGrant](t)
		g.AccountID, g.AgentID, g.TokenID = v.AccountID, a.ID, granted.ID
		ok(t, s.PutCredentialGrant(t.Context(), &g))
		other.agentKey(t, s, other.credential(t, s, "another's", nil), 0)

		got, err := s.GrantedTokens(t.Context(), v.AccountID, v.ID)
		ok(t, err)
		want := []uuid.UUID{held.ID, granted.ID}
		slices.SortFunc(want, func(a, b uuid.UUID) int { return bytes.Compare(a[:], b[:]) })
		same(t, "granted tokens", got, want)
		got, err = s.GrantedTokens(t.Context(), other.AccountID, v.ID)
		ok(t, err)
		same(t, "of another account", len(got), 0)
	})
}
