package grants_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/models/store/storetest"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
)

func TestAnAPIKeyOpensTheVaultOfWhoMadeIt(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		h := newHouse(t, s)
		p := h.session()
		h.vaults.calls()
		end := h.now().Add(90*day + 400*time.Millisecond)
		i, err := h.CreateKey(t.Context(), p, client, grants.CreateKeyInput{
			Name: "  night build ", Scopes: []string{grants.AuditRead, grants.TokensRead, grants.AuditRead}, ExpiresAt: &end,
		})
		h.ok(err)
		whole := end.Truncate(time.Second)
		if g := i.Grant; !strings.HasPrefix(i.Token.Reveal(), "tck_") || g.Label != "night build" || *g.VaultID != p.VaultID ||
			!g.ExpiresAt.Equal(whole) || !i.ExpiresAt.Equal(whole) || g.Client != client.UserAgent || g.Address != client.Address {
			t.Errorf("issued %+v", i)
		}
		key := h.who(i.Token)
		want := grants.Principal{
			AccountID: h.account, GrantID: i.Grant.ID, Kind: models.GrantAPIKey, Scopes: []string{grants.TokensRead, grants.AuditRead},
			VaultID: p.VaultID, IssuedAt: h.now(), ExpiresAt: whole.UTC(),
		}
		want.IssuedAt = key.IssuedAt // whole seconds
		if !reflect.DeepEqual(named(key), want) {
			t.Errorf("the key is %+v, want %+v", key, want)
		}
		h.opens(key, p.VaultID)
		if got := h.vaults.calls(); !slices.Equal(got, []string{fmt.Sprintf("copied %s/0 to %s/0", p.GrantID, key.GrantID)}) {
			t.Errorf("vaults were told %q, want one copy", got)
		}
		h.recorded("key_changed ok made the API key night build")
		h.pass(whole.Sub(h.now()) - time.Nanosecond)
		h.who(i.Token)
		h.pass(time.Nanosecond)
		h.bad("an expired key", key)
	})
}

func TestABadAPIKeyIsNotMade(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		h := newHouse(t, s)
		p := h.session()
		one := []string{grants.TokensRead}
		at := func(d time.Duration) *time.Time { end := h.now().Add(d); return &end }
		tenYears := h.now().AddDate(10, 0, 0)
		tooFar := tenYears.Add(time.Second)
		for what, bad := range map[string]struct {
			in    grants.CreateKeyInput
			field string
		}{
			"no name":               {grants.CreateKeyInput{Scopes: one}, "name"},
			"a name of spaces":      {grants.CreateKeyInput{Name: " \t ", Scopes: one}, "name"},
			"a name too long":       {grants.CreateKeyInput{Name: strings.Repeat("ä", 101), Scopes: one}, "name"},
			"a line break":          {grants.CreateKeyInput{Name: "a\nb", Scopes: one}, "name"},
			"a NUL":                 {grants.CreateKeyInput{Name: "a\x00b", Scopes: one}, "name"},
			"broken UTF-8":          {grants.CreateKeyInput{Name: "a\xff", Scopes: one}, "name"},
			"no scope":              {grants.CreateKeyInput{Name: "a"}, "scopes"},
			"an unknown scope":      {grants.CreateKeyInput{Name: "a", Scopes: []string{grants.TokensRead, "tokens:*"}}, "scopes"},
			"an empty scope":        {grants.CreateKeyInput{Name: "a", Scopes: []string{""}}, "scopes"},
			"a scope in capitals":   {grants.CreateKeyInput{Name: "a", Scopes: []string{"TOKENS:READ"}}, "scopes"},
			"expired":               {grants.CreateKeyInput{Name: "a", Scopes: one, ExpiresAt: at(-time.Hour)}, "expiresAt"},
			"expires now":           {grants.CreateKeyInput{Name: "a", Scopes: one, ExpiresAt: at(0)}, "expiresAt"},
			"expires this second":   {grants.CreateKeyInput{Name: "a", Scopes: one, ExpiresAt: at(999 * time.Millisecond)}, "expiresAt"},
			"expires after 10 year": {grants.CreateKeyInput{Name: "a", Scopes: one, ExpiresAt: &tooFar}, "expiresAt"},
			"expires at no time":    {grants.CreateKeyInput{Name: "a", Scopes: one, ExpiresAt: &time.Time{}}, "expiresAt"},
		} {
			h.refuses(what, fault.InvalidRequest, bad.field, func() error { _, err := h.CreateKey(t.Context(), p, client, bad.in); return err })
		}
		h.recorded()
		for what, good := range map[string]grants.CreateKeyInput{
			"the longest name": {Name: strings.Repeat("ä", 100), Scopes: one},
			"all scopes":       {Name: "all", Scopes: grants.Scopes()},
			"ten years":        {Name: "long", Scopes: one, ExpiresAt: &tenYears},
		} {
			if _, err := h.CreateKey(t.Context(), p, client, good); err != nil {
				t.Errorf("%s: %v", what, err)
			}
		}
	})
}

func TestAnAPIKeyMakesNoneThatOutlivesIt(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		h := newHouse(t, s)
		p := h.session()
		end := time.Now().Add(24 * time.Hour).Truncate(time.Second)
		issued, err := h.CreateKey(t.Context(), p, client, grants.CreateKeyInput{Name: "maker", Scopes: []string{grants.GrantsWrite}, ExpiresAt: &end})
		if err != nil {
			t.Fatal(err)
		}
		maker, err := h.Authenticate(t.Context(), issued.Token.Reveal(), models.GrantAPIKey)
		if err != nil {
			t.Fatal(err)
		}
		create := func(by grants.Principal, end *time.Time) error {
			_, err := h.CreateKey(t.Context(), by, client, grants.CreateKeyInput{Name: "n", Scopes: []string{grants.GrantsWrite}, ExpiresAt: end})
			return err
		}
		later, sooner := end.Add(time.Second), end.Add(-time.Hour)
		h.refuses("until revoked", fault.ScopeDenied, "", func() error { return create(maker, nil) })
		h.refuses("a second longer", fault.ScopeDenied, "", func() error { return create(maker, &later) })
		lasting := h.key(p, grants.GrantsWrite)
		h.refuses("rotating one that lasts longer", fault.ScopeDenied, "", func() error {
			_, err := h.RotateKey(t.Context(), maker, client, lasting.GrantID)
			return err
		})
		for what, good := range map[string]func() error{
			"as long":                 func() error { return create(maker, &end) },
			"shorter":                 func() error { return create(maker, &sooner) },
			"by a key without an end": func() error { return create(lasting, nil) },
		} {
			if err := good(); err != nil {
				t.Errorf("%s: %v", what, err)
			}
		}
		if _, err := h.RotateKey(t.Context(), maker, client, maker.GrantID); err != nil {
			t.Errorf("rotating itself: %v", err)
		}
	})
}

func TestAnAPIKeyGivesNoScopeThatItLacks(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		h := newHouse(t, s)
		p := h.session()
		maker, reader, agent := h.key(p, grants.GrantsWrite, grants.TokensRead), h.key(p, grants.GrantsRead), h.agentKey()
		target := h.key(p, grants.TokensRead, grants.VaultManage)
		create := func(by grants.Principal, scopes ...string) func() error {
			return func() error {
				_, err := h.CreateKey(t.Context(), by, client, grants.CreateKeyInput{Name: "n", Scopes: scopes})
				return err
			}
		}
		rotate := func(by grants.Principal) func() error {
			return func() error { _, err := h.RotateKey(t.Context(), by, client, target.GrantID); return err }
		}
		before := len(h.events())
		h.refuses("more than it has", fault.ScopeDenied, "", create(maker, grants.TokensRead, grants.TokensWrite))
		h.refuses("without grants:write", fault.ScopeDenied, "", create(reader, grants.GrantsRead))
		h.refuses("by an agent", fault.ScopeDenied, "", create(agent, grants.TokensRead))
		h.refuses("rotating a key with more", fault.ScopeDenied, "", rotate(maker))
		h.refuses("rotating without grants:write", fault.ScopeDenied, "", rotate(reader))
		h.refuses("rotating by an agent", fault.ScopeDenied, "", rotate(agent))
		if err := create(maker, grants.TokensWrite)(); !strings.Contains(err.Error(), grants.TokensWrite) {
			t.Errorf("the refusal %q does not name the scope", err)
		}
		if got := len(h.events()); got != before {
			t.Errorf("refusals for lack of a scope recorded %d changes, want none", got-before)
		}
		h.opens(h.key(maker, grants.TokensRead), p.VaultID)
	})
}

func TestAnAccountHasABoundedNumberOfAPIKeys(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		h := newHouse(t, s)
		p := h.session()
		last := h.key(p, grants.TokensRead)
		for range grants.MaxKeys - 1 {
			_, err := h.Issue(t.Context(), grants.IssueInput{AccountID: h.account, Kind: models.GrantAPIKey, Label: "one of many"})
			h.ok(err)
		}
		create := func() error {
			_, err := h.CreateKey(t.Context(), p, client, grants.CreateKeyInput{Name: "one more", Scopes: []string{grants.TokensRead}})
			return err
		}
		h.refuses("one too many", fault.Conflict, "", create)
		h.ok(h.Revoke(t.Context(), p, client, last.GrantID))
		if err := create(); err != nil {
			t.Errorf("after one was revoked: %v", err)
		}
	})
}

func TestAKeyWhoseVaultFailsIsNotMade(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		h := newHouse(t, s)
		p := h.session()
		h.vaults.failing("copied", fault.New(fault.VaultLocked, "locked"))
		h.refuses("a key", fault.VaultLocked, "", func() error {
			_, err := h.CreateKey(t.Context(), p, client, grants.CreateKeyInput{Name: "n", Scopes: []string{grants.TokensRead}})
			return err
		})
		h.recorded("key_changed ok made the API key n", "key_changed VAULT_LOCKED made the API key n")
	})
}

func TestARotatedAPIKeyHasANewPairAndItsOldTokenOpensNothing(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		h := newHouse(t, s)
		p := h.session()
		old := h.key(p, grants.TokensRead)
		before := h.grant(old.GrantID)
		h.vaults.calls()
		i, err := h.RotateKey(t.Context(), p, client, old.GrantID)
		h.ok(err)
		h.bad("the old token", old)
		key := h.who(i.Token)
		if key.GrantID != old.GrantID || key.Slot != 1 || !slices.Equal(key.Scopes, old.Scopes) || key.VaultID != p.VaultID {
			t.Errorf("the new key is %+v, want slot 1 of the same grant as %+v", key, old)
		}
		h.opens(key, p.VaultID)
		after := h.grant(old.GrantID)
		if slices.Equal(after.PublicKey, before.PublicKey) || h.keys.CheckGrant(&after) != nil {
			t.Error("the key pair is the old one, or its row is not authentic")
		}
		if got := h.slots(old.GrantID); !slices.Equal(got, []int64{1}) {
			t.Errorf("slots %v, want 1 alone", got)
		}
		rows, err := s.VaultKeys(t.Context(), h.account, old.GrantID, p.VaultID, 1)
		if err != nil || len(rows) != 1 || rows[0].Slot != 1 {
			t.Errorf("the vault's key is there for %d slots, %v; want the new one alone", len(rows), err)
		}
		if h.vault(p.VaultID).RotationDueAt == nil {
			t.Error("the vault's own key is not due to be replaced, and the old token opened it")
		}
		want := []string{
			fmt.Sprintf("new pair %s by %s/0", key.GrantID, p.GrantID),
			fmt.Sprintf("copied %s/0 to %s/1", p.GrantID, key.GrantID),
			fmt.Sprintf("settle %s/0", p.GrantID),
		}
		if got := h.vaults.calls(); !slices.Equal(got, want) {
			t.Errorf("vaults were told %q, want %q", got, want)
		}
		h.recorded("key_changed ok made the API key ci", "key_changed ok rotated the API key ci")
	})
}

func TestAnAPIKeyThatRotatesItselfKeepsItsPair(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		h := newHouse(t, s)
		p := h.session()
		key := h.key(p, grants.GrantsWrite)
		h.ok(h.End(t.Context(), h.account, p.GrantID)) // the key alone opens the vault
		before := h.grant(key.GrantID)
		h.vaults.calls()
		for n := range 3 {
			i, err := h.RotateKey(t.Context(), key, client, key.GrantID)
			h.ok(err)
			h.bad("the old token", key)
			key = h.who(i.Token)
			h.opens(key, p.VaultID)
			want := []string{fmt.Sprintf("copied %[1]s/%[2]d to %[1]s/%[3]d", key.GrantID, n, n+1), fmt.Sprintf("settle %s/%d", key.GrantID, n+1)}
			if got := h.vaults.calls(); !slices.Equal(got, want) {
				t.Errorf("vaults were told %q, want %q", got, want)
			}
		}
		if after := h.grant(key.GrantID); !slices.Equal(after.PublicKey, before.PublicKey) {
			t.Error("the key pair is another")
		}
	})
}

func TestOnlyAPIKeysOfOnesOwnVaultRotate(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		h := newHouse(t, s)
		p, other := h.session(), h.session()
		mine, theirs, agent := h.key(p, grants.TokensRead), h.key(other, grants.TokensRead), h.agentKey()
		gone := h.key(p, grants.TokensRead)
		h.ok(h.Revoke(t.Context(), p, client, gone.GrantID))
		rotate := func(id uuid.UUID) func() error {
			return func() error { _, err := h.RotateKey(t.Context(), p, client, id); return err }
		}
		h.refuses("a key of another vault", fault.Conflict, "", rotate(theirs.GrantID))
		h.refuses("a session", fault.Conflict, "", rotate(other.GrantID))
		h.refuses("an agent's key", fault.Conflict, "", rotate(agent.GrantID))
		h.refuses("a revoked key", fault.NotFound, "", rotate(gone.GrantID))
		h.refuses("no key", fault.NotFound, "", rotate(models.NewID()))
		mallory := h.session()
		mallory.AccountID = h.newAccount()
		h.refuses("from another account", fault.NotFound, "", func() error {
			_, err := h.RotateKey(t.Context(), mallory, client, mine.GrantID)
			return err
		})
		h.who(mine.Token)
		h.who(theirs.Token)
	})
}

func TestAKeyRotationThatFailsLeavesTheOldKeyGood(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		h := newHouse(t, s)
		p := h.session()
		key := h.key(p, grants.TokensRead)
		for _, call := range []string{"new pair", "copied"} {
			h.vaults.failing(call, errors.New("broken"))
			h.refuses("rotating", fault.Internal, "", func() error { _, err := h.RotateKey(t.Context(), p, client, key.GrantID); return err })
			h.opens(h.who(key.Token), p.VaultID)
			h.vaults.failing(call, nil)
		}
		h.vaults.failing("settle", errors.New("the provider is away")) // what comes after is left for later
		i, err := h.RotateKey(t.Context(), p, client, key.GrantID)
		h.ok(err)
		h.opens(h.who(i.Token), p.VaultID)
		if !strings.Contains(h.log.String(), "left to a later request") {
			t.Errorf("the log does not say so: %q", h.log)
		}
	})
}

func TestWhoEndedMeanwhileMakesAndChangesNothing(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		h := newHouse(t, s)
		p, other := h.session(), h.session()
		key := h.key(other, grants.TokensRead)
		h.ok(h.End(t.Context(), h.account, p.GrantID)) // p was authenticated before that
		for what, do := range map[string]func(ctx context.Context) error{
			"making a key": func(ctx context.Context) error {
				_, err := h.CreateKey(ctx, p, client, grants.CreateKeyInput{Name: "n", Scopes: []string{grants.TokensRead}})
				return err
			},
			"rotating a key": func(ctx context.Context) error { _, err := h.RotateKey(ctx, p, client, key.GrantID); return err },
			"revoking":       func(ctx context.Context) error { return h.Revoke(ctx, p, client, other.GrantID) },
			"renaming":       func(ctx context.Context) error { return h.SetLabel(ctx, p, client, other.GrantID, "new") },
		} {
			h.refuses(what, fault.InvalidKey, "", func() error { return do(t.Context()) })
		}
	})
}
