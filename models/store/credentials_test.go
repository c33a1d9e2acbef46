package store_test

import (
	"context"
	"testing"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/models/store/storetest"
)

func TestCredentialComesBackWholeWithItsToken(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		v := newPlatformVault(t, s)
		token, c := v.pair(t, "github")
		token.Owner, token.Bridge, token.Scheme = "acme", "weather", "bearer"
		tells(t, watch(s), v.AccountID, "create", func() error { return s.CreateCredential(t.Context(), &token, &c) })
		got, err := s.Credential(t.Context(), v.AccountID, c.ID)
		ok(t, err)
		same(t, "credential", got, c)
		gotToken, err := s.TokenByRef(t.Context(), v.AccountID, v.ID, "acme", "weather", "github", "bearer")
		ok(t, err)
		same(t, "token", gotToken, token)
		list, err := s.Credentials(t.Context(), v.AccountID, v.ID)
		ok(t, err)
		same(t, "list", list, []models.Credential{c})

		_, err = s.Credential(t.Context(), models.NewID(), c.ID)
		wantErr(t, err, models.ErrNotFound)
		_, err = s.Credential(t.Context(), v.AccountID, models.NewID())
		wantErr(t, err, models.ErrNotFound)
		for _, ref := range [][4]string{{"", "weather", "github", "bearer"}, {"acme", "", "github", "bearer"},
			{"acme", "weather", "gitlab", "bearer"}, {"acme", "weather", "github", ""}} {
			_, err = s.TokenByRef(t.Context(), v.AccountID, v.ID, ref[0], ref[1], ref[2], ref[3])
			wantErr(t, err, models.ErrNotFound)
		}
	})
}

func TestOneOfManyStoresTheCredentialOfAName(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		v := newPlatformVault(t, s)
		errs := together(8, func(int) error {
			token, c := v.pair(t, "github")
			return s.CreateCredential(t.Context(), &token, &c)
		})
		none, _ := count(t, errs, models.ErrConflict)
		same(t, "credentials of one name", none, 1)
		list, err := s.Credentials(t.Context(), v.AccountID, v.ID)
		ok(t, err)
		same(t, "ciphertexts", len(list), 1)

		// A refusal leaves the transaction usable.
		inTx(t, s, func(ctx context.Context) error {
			token, c := v.pair(t, "github")
			wantErr(t, s.CreateCredential(ctx, &token, &c), models.ErrConflict)
			token.Scheme = "basic"
			return s.CreateCredential(ctx, &token, &c)
		})
		token, c := v.pair(t, "gitlab")
		token.VaultID = models.NewID()
		wantErr(t, s.CreateCredential(t.Context(), &token, &c), models.ErrNotFound)
		token, c = v.pair(t, "gitlab")
		c.VaultID = models.NewID()
		wantErr(t, s.CreateCredential(t.Context(), &token, &c), models.ErrNotFound)
		_, err = s.TokenByID(t.Context(), v.AccountID, token.ID)
		wantErr(t, err, models.ErrNotFound)
	})
}

func TestCredentialIsReplacedOnlyWhereAndWhatItWas(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		v := newPlatformVault(t, s)
		was := v.credential(t, s, "github", nil)
		next := filled[models.Vault](t)
		next.AccountID, next.Mode = v.AccountID, models.ModePlatform
		other := addPlatformVault(t, s, next)

		want := was
		want.VaultID, want.RekeyDueAt, want.Sealed = other.ID, nil, models.Opaque{7}
		want.Generation, want.Epoch, want.Version, want.UpdatedAt = 5, 6, 7, models.Stamp(at.AddDate(1, 0, 0))
		for what, stale := range map[string]func(*models.Credential){
			"vault": func(c *models.Credential) { c.VaultID = other.ID }, "generation": func(c *models.Credential) { c.Generation++ },
			"epoch": func(c *models.Credential) { c.Epoch++ }, "version": func(c *models.Credential) { c.Version-- },
		} {
			old := was
			stale(&old)
			inTx(t, s, func(ctx context.Context) error { // a refusal leaves the transaction usable
				if err := s.UpdateCredential(ctx, &want, old); err == nil {
					t.Errorf("another %s: got no error, want a conflict", what)
				} else {
					wantErr(t, err, models.ErrConflict)
				}
				return nil
			})
		}
		for _, gone := range []models.Credential{{AccountID: v.AccountID, ID: models.NewID()}, {AccountID: models.NewID(), ID: was.ID}} {
			wantErr(t, s.UpdateCredential(t.Context(), &gone, was), models.ErrConflict)
		}
		got, err := s.Credential(t.Context(), v.AccountID, was.ID)
		ok(t, err)
		same(t, "after refusals", got, was)
		tells(t, watch(s), v.AccountID, "update", func() error { return s.UpdateCredential(t.Context(), &want, was) })
		got, err = s.Credential(t.Context(), v.AccountID, was.ID)
		ok(t, err)
		same(t, "replaced", got, want)

		errs := together(8, func(i int) error {
			mine := want
			mine.Version, mine.Sealed = want.Version+1, models.Opaque{byte(i)}
			return s.UpdateCredential(t.Context(), &mine, want)
		})
		none, _ := count(t, errs, models.ErrConflict)
		same(t, "of parallel writes of one version", none, 1)
	})
}

func TestDeletedCredentialTakesItsKeysAndTokenAlong(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		v := newPlatformVault(t, s)
		gone, kept := v.credential(t, s, "github", nil), v.credential(t, s, "gitlab", nil)
		v.agentKey(t, s, gone, models.WholeGrant)
		key := v.agentKey(t, s, kept, models.WholeGrant)
		wantErr(t, s.DeleteCredential(t.Context(), models.NewID(), gone.ID), models.ErrNotFound)
		tells(t, watch(s), v.AccountID, "delete", func() error { return s.DeleteCredential(t.Context(), v.AccountID, gone.ID) })
		wantErr(t, s.DeleteCredential(t.Context(), v.AccountID, gone.ID), models.ErrNotFound)
		_, err := s.TokenByID(t.Context(), v.AccountID, gone.ID)
		wantErr(t, err, models.ErrNotFound)
		keys, err := s.AgentKeys(t.Context(), v.AccountID, v.grant.ID)
		ok(t, err)
		same(t, "keys left", keys, []models.CredentialKey{key})
		_, err = s.TokenByID(t.Context(), v.AccountID, kept.ID)
		ok(t, err)
	})
}

func TestATextThatNoDatabaseTakesLeavesTheTransactionUsable(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		v := newPlatformVault(t, s)
		c := v.credential(t, s, "github", nil)
		key := v.agentKey(t, s, c, 3)
		key.Form = "a\x00b"
		inTx(t, s, func(ctx context.Context) error {
			wantErr(t, s.PutCredentialKey(ctx, &key), models.ErrInvalid)
			wantErr(t, s.KeepCredentialKey(ctx, &key), models.ErrInvalid)
			return nil
		})
	})
}

func TestCredentialKeysArePutReplacedAndTaken(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		v, c := newPlatformVault(t, s), watch(s)
		first, second := v.credential(t, s, "github", nil), v.credential(t, s, "gitlab", nil)
		whole := v.agentKey(t, s, first, models.WholeGrant)
		slot := v.agentKey(t, s, first, 3)
		other := v.agentKey(t, s, second, 3)
		slot.Epoch, slot.SenderID, slot.MAC = 44, nil, models.Opaque{4}
		tells(t, c, v.AccountID, "put", func() error { return s.PutCredentialKey(t.Context(), &slot) })
		slot.Epoch = 45
		silent(t, c, "keep", func() error { return s.KeepCredentialKey(t.Context(), &slot) })
		keys, err := s.CredentialKeys(t.Context(), v.AccountID, first.ID)
		ok(t, err)
		same(t, "keys of the credential", keys, []models.CredentialKey{whole, slot})
		keys, err = s.AgentKeys(t.Context(), v.AccountID, v.grant.ID)
		ok(t, err)
		same(t, "keys of the agent", keys, []models.CredentialKey{whole, slot, other})
		keys, err = s.AgentKeys(t.Context(), models.NewID(), v.grant.ID)
		ok(t, err)
		same(t, "keys in another account", len(keys), 0)

		tells(t, c, v.AccountID, "take", func() error {
			return s.DeleteCredentialKeys(t.Context(), v.AccountID, first.ID, v.grant.ID)
		})
		keys, err = s.AgentKeys(t.Context(), v.AccountID, v.grant.ID)
		ok(t, err)
		same(t, "keys left", keys, []models.CredentialKey{other})

		for _, change := range []func(*models.CredentialKey){
			func(k *models.CredentialKey) { k.AccountID = models.NewID() }, func(k *models.CredentialKey) { k.GrantID = models.NewID() },
			func(k *models.CredentialKey) { k.CredentialID = models.NewID() },
		} {
			k := whole
			change(&k)
			wantErr(t, s.PutCredentialKey(t.Context(), &k), models.ErrNotFound)
			wantErr(t, s.KeepCredentialKey(t.Context(), &k), models.ErrNotFound)
		}
		ok(t, s.EndGrant(t.Context(), v.AccountID, v.grant.ID, at))
		wantErr(t, s.PutCredentialKey(t.Context(), &whole), models.ErrNotFound)
		wantErr(t, s.KeepCredentialKey(t.Context(), &whole), models.ErrNotFound)
		keys, err = s.AgentKeys(t.Context(), v.AccountID, v.grant.ID)
		ok(t, err)
		same(t, "keys of an ended grant", len(keys), 0)
	})
}

func TestCredentialForAgentHasTheAgentsKeysOnly(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		v := newPlatformVault(t, s)
		token, c := v.pair(t, "github")
		token.SupersededAt = models.StampPtr(at) // agents keep what they were granted
		ok(t, s.CreateCredential(t.Context(), &token, &c))
		v.agentKey(t, s, v.credential(t, s, "gitlab", nil), 1)
		other, _ := newGrant(t, s, v.AccountID)
		slot := v.agentKey(t, s, c, 1)
		whole := v.agentKey(t, s, c, models.WholeGrant)
		whole.SenderID = nil
		ok(t, s.PutCredentialKey(t.Context(), &whole))
		bare, bareCredential := models.Token{AccountID: v.AccountID, ID: models.NewID(), VaultID: v.ID, ServiceName: "bare",
			CreatedAt: models.Stamp(at), UpdatedAt: models.Stamp(at)}, c
		bareCredential.ID, bareCredential.RekeyDueAt = bare.ID, nil
		ok(t, s.CreateCredential(t.Context(), &bare, &bareCredential))

		token.Subject, token.IssuedAt, token.Scope = "", nil, "" // are not read
		ask := func(ctx context.Context, grant, id uuid.UUID, token models.Token, credential models.Credential, keys []models.CredentialKey) {
			t.Helper()
			gotToken, gotCredential, gotKeys, err := s.CredentialForAgent(ctx, v.AccountID, grant, id)
			ok(t, err)
			same(t, "token", gotToken, token)
			same(t, "credential", gotCredential, credential)
			same(t, "keys", gotKeys, keys)
		}
		all := func(ctx context.Context) error {
			ask(ctx, v.grant.ID, c.ID, token, c, []models.CredentialKey{whole, slot})
			ask(ctx, other.ID, c.ID, token, c, nil)
			ask(ctx, v.grant.ID, bare.ID, bare, bareCredential, nil)
			for _, key := range [][3]uuid.UUID{{models.NewID(), v.grant.ID, c.ID}, {v.AccountID, v.grant.ID, models.NewID()}} {
				err := fourth(s.CredentialForAgent(ctx, key[0], key[1], key[2]))
				wantErr(t, err, models.ErrNotFound)
			}
			return nil
		}
		ok(t, all(t.Context()))
		inTx(t, s, all)
	})
}

func TestAgentsOfAVaultHaveAKeyOrWereGrantedATokenThere(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		v := newPlatformVault(t, s)
		next := filled[models.Vault](t)
		next.AccountID, next.Mode = v.AccountID, models.ModePlatform
		elsewhere := addPlatformVault(t, s, next)
		var agents []models.Agent
		for range 4 {
			g, _ := newGrant(t, s, v.AccountID)
			a := filled[models.Agent](t)
			a.AccountID, a.Name, a.GrantID = v.AccountID, a.ID.String(), g.ID
			ok(t, s.CreateAgent(t.Context(), &a))
			agents = append(agents, a)
		}
		c, other := v.credential(t, s, "github", func(x *models.Token) { x.SupersededAt = models.StampPtr(at) }), elsewhere.credential(t, s, "github", nil)
		key := func(a models.Agent, c models.Credential, slot int64) {
			k := filled[models.CredentialKey](t)
			k.AccountID, k.CredentialID, k.GrantID, k.Slot = a.AccountID, c.ID, a.GrantID, slot
			ok(t, s.PutCredentialKey(t.Context(), &k))
		}
		granted := func(a models.Agent, c models.Credential) {
			g := grantOf(t, a, "github")
			g.TokenID = c.ID
			ok(t, s.PutCredentialGrant(t.Context(), &g))
		}
		key(agents[1], c, 1)
		key(agents[1], c, 2)
		granted(agents[1], c)
		granted(agents[0], c)
		key(agents[2], c, 1)
		key(agents[3], other, 1)
		granted(agents[3], other)
		got, err := s.VaultAgentGrants(t.Context(), v.AccountID, v.ID)
		ok(t, err)
		same(t, "agents' grants", got, []uuid.UUID{agents[0].GrantID, agents[1].GrantID, agents[2].GrantID})
		got, err = s.VaultAgentGrants(t.Context(), models.NewID(), v.ID)
		ok(t, err)
		same(t, "agents' grants in another account", len(got), 0)
	})
}

func TestSupersededTokensAreFoundOnlyByThoseWhoAskForThem(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		v := newPlatformVault(t, s)
		old := v.credential(t, s, "github", func(x *models.Token) { x.SupersededAt = models.StampPtr(at) })
		_, err := s.Token(t.Context(), v.AccountID, v.ID, "github")
		wantErr(t, err, models.ErrNotFound)
		_, err = s.TokenByRef(t.Context(), v.AccountID, v.ID, "", "", "github", "")
		wantErr(t, err, models.ErrNotFound)
		wantErr(t, s.DeleteToken(t.Context(), v.AccountID, v.ID, "github"), models.ErrNotFound)
		list, err := s.Tokens(t.Context(), v.AccountID, v.ID, "", 0)
		ok(t, err)
		same(t, "listed", len(list), 0)

		ofBridge := v.credential(t, s, "github", func(x *models.Token) { x.Bridge = "weather" })
		list, err = s.Tokens(t.Context(), v.AccountID, v.ID, "", 0)
		ok(t, err)
		same(t, "listed by names alone", len(list), 0)
		current := v.credential(t, s, "github", nil)
		got, err := s.Token(t.Context(), v.AccountID, v.ID, "github")
		ok(t, err)
		same(t, "of the name", got.ID, current.ID)
		list, err = s.VaultTokens(t.Context(), v.AccountID, v.ID)
		ok(t, err)
		var ids []uuid.UUID
		for _, token := range list {
			ids = append(ids, token.ID)
		}
		same(t, "all of the vault", ids, []uuid.UUID{old.ID, current.ID, ofBridge.ID})
		n, err := s.CountTokens(t.Context(), v.AccountID, v.ID)
		ok(t, err)
		same(t, "how many", n, int64(3))
		n, err = s.CountTokens(t.Context(), models.NewID(), v.ID)
		ok(t, err)
		same(t, "how many in another account", n, int64(0))
	})
}

func TestTokenIsUpdatedWholeUnlessTheNameIsTaken(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		v := newPlatformVault(t, s)
		v.credential(t, s, "github", nil)
		second, c := v.pair(t, "gitlab")
		ok(t, s.CreateCredential(t.Context(), &second, &c))

		want := filled[models.Token](t)
		want.AccountID, want.ID, want.VaultID = v.AccountID, second.ID, v.ID
		tells(t, watch(s), v.AccountID, "update", func() error { return s.UpdateToken(t.Context(), &want) })
		got, err := s.TokenByID(t.Context(), v.AccountID, second.ID)
		ok(t, err)
		same(t, "updated", got, want)

		taken := newToken(t, v.Vault, "github")
		taken.ID = second.ID
		wantErr(t, s.UpdateToken(t.Context(), &taken), models.ErrConflict)
		taken.SupersededAt = models.StampPtr(at)
		ok(t, s.UpdateToken(t.Context(), &taken))
		taken.VaultID = models.NewID()
		wantErr(t, s.UpdateToken(t.Context(), &taken), models.ErrNotFound)
		taken.VaultID, taken.ID = v.ID, models.NewID()
		wantErr(t, s.UpdateToken(t.Context(), &taken), models.ErrNotFound)
	})
}

func TestSyncLeavesTokensOfOtherNamesAlone(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		v := newPlatformVault(t, s)
		old := v.credential(t, s, "github", func(x *models.Token) { x.SupersededAt = models.StampPtr(at) })
		ofBridge := v.credential(t, s, "github", func(x *models.Token) { x.Bridge = "weather" })
		for range 2 {
			_, err := s.SyncTokens(t.Context(), v.AccountID, v.ID, []models.Token{reported("github", "1")}, true)
			ok(t, err)
		}
		list, err := s.VaultTokens(t.Context(), v.AccountID, v.ID)
		ok(t, err)
		same(t, "tokens", len(list), 3)
		for _, c := range []models.Credential{old, ofBridge} {
			token, err := s.TokenByID(t.Context(), v.AccountID, c.ID)
			ok(t, err)
			same(t, "creation of "+token.Bridge, token.CreationID, "CreationID é")
		}
	})
}
