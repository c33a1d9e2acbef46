package grants_test

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/models/store/storetest"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
)

// listed are the grants that List shows to p, as their ids.
func (h *house) listed(p grants.Principal) (ids []uuid.UUID) {
	h.t.Helper()
	views, err := h.List(h.t.Context(), p)
	h.ok(err)
	for _, v := range views {
		if v.Current != (v.ID == p.GrantID) {
			h.t.Errorf("%s is shown as current: %v", v.ID, v.Current)
		}
		ids = append(ids, v.ID)
	}
	return ids
}

func TestWhatCanSignInIsListed(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		h := newHouse(t, s)
		p := h.session()
		key, agent, ended := h.key(p, grants.GrantsRead), h.agentKey(), h.session()
		h.ok(h.End(t.Context(), h.account, ended.GrantID))
		at := h.now()
		h.ok(s.TouchGrants(t.Context(), []models.GrantUse{{AccountID: h.account, GrantID: key.GrantID, At: at}}))

		views, err := h.List(t.Context(), key)
		h.ok(err)
		g := h.grant(key.GrantID)
		want := grants.View{
			ID: key.GrantID, Kind: models.GrantAPIKey, Label: "ci", Scopes: []string{grants.GrantsRead}, VaultID: p.VaultID,
			Client: client.UserAgent, Address: client.Address, CreatedAt: g.CreatedAt, LastUsedAt: g.LastUsedAt, Current: true,
		}
		if len(views) != 3 || !reflect.DeepEqual(views[1], want) || !views[1].LastUsedAt.Equal(at) {
			t.Fatalf("listed %+v, want the session, %+v and the agent's key", views, want)
		}
		if v := views[0]; v.ID != p.GrantID || v.Label != "Firefox on Linux" || v.Current || v.LastUsedAt != nil || !v.ExpiresAt.Equal(h.began.Add(180*day)) {
			t.Errorf("the session is listed as %+v", v)
		}
		if v := views[2]; v.ID != agent.GrantID || v.AgentID != agent.AgentID || v.VaultID != uuid.Nil {
			t.Errorf("the agent's key is listed as %+v", v)
		}
		keys, err := h.APIKeys(t.Context(), p)
		if err != nil || len(keys) != 1 || keys[0].ID != key.GrantID {
			t.Errorf("API keys %+v, %v; want the one", keys, err)
		}
		for what, other := range map[string]grants.Principal{"an agent": agent, "a key without grants:read": h.key(p, grants.GrantsWrite)} {
			h.refuses("listing by "+what, fault.ScopeDenied, "", func() error { _, err := h.List(t.Context(), other); return err })
			h.refuses("listing keys by "+what, fault.ScopeDenied, "", func() error { _, err := h.APIKeys(t.Context(), other); return err })
		}
		stranger := p
		stranger.AccountID = h.newAccount()
		if views, err := h.List(t.Context(), stranger); err != nil || views == nil || len(views) != 0 {
			t.Errorf("another account sees %+v, %v; want an empty list", views, err)
		}
	})
}

func TestASessionWithoutALivingTokenIsNotListed(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		h := newHouse(t, s)
		idle, used := h.session(), h.session()
		h.pass(20 * day)
		used = h.rotated(h.who(used.Token))
		h.pass(10 * day) // idle's token ends now; that used has another is not written yet
		if got := h.listed(used); !slices.Equal(got, []uuid.UUID{used.GrantID}) {
			t.Errorf("listed %v, want %s alone", got, used.GrantID)
		}
		last, n, err := h.LastOfVault(t.Context(), used, idle.GrantID)
		if err != nil || !last || n != 0 {
			t.Errorf("LastOfVault = %v, %d, %v", last, n, err)
		}
	})
}

func TestAGrantIsRenamed(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		h := newHouse(t, s)
		p := h.session()
		key, agent, ended := h.key(p, grants.GrantsWrite), h.agentKey(), h.session()
		h.ok(h.End(t.Context(), h.account, ended.GrantID))
		h.ok(h.SetLabel(t.Context(), key, client, p.GrantID, "  laptop "))
		if g := h.grant(p.GrantID); g.Label != "laptop" {
			t.Errorf("the label is %q, want laptop", g.Label)
		}
		h.opens(h.who(p.Token), p.VaultID)
		h.recorded("key_changed ok made the API key ci", "key_changed ok renamed the session Firefox on Linux to laptop")
		rename := func(by grants.Principal, id uuid.UUID, to string) func() error {
			return func() error { return h.SetLabel(t.Context(), by, client, id, to) }
		}
		for _, bad := range []string{"", "   ", "a\nb", "a\x00", "\xff", strings.Repeat("x", 101)} {
			h.refuses(fmt.Sprintf("the label %.10q", bad), fault.InvalidRequest, "label", rename(p, p.GrantID, bad))
		}
		h.refuses("an agent's key", fault.Conflict, "", rename(p, agent.GrantID, "x"))
		h.refuses("an ended session", fault.NotFound, "", rename(p, ended.GrantID, "x"))
		h.refuses("nothing", fault.NotFound, "", rename(p, models.NewID(), "x"))
		h.refuses("by a key that may not", fault.ScopeDenied, "", rename(h.key(p, grants.GrantsRead), p.GrantID, "x"))
		h.refuses("by an agent", fault.ScopeDenied, "", rename(agent, p.GrantID, "x"))
		stranger := p
		stranger.AccountID = h.newAccount()
		h.refuses("from another account", fault.NotFound, "", rename(stranger, p.GrantID, "x"))
	})
}

func TestRevocationEndsAllTokensAndTellsInOrder(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		h := newHouse(t, s)
		p, victim := h.session(), h.session()
		h.pass(8 * day)
		old := h.who(victim.Token)
		next := h.rotated(old)
		p = h.who(p.Token)
		h.vaults.calls()
		h.ok(h.Revoke(t.Context(), p, client, victim.GrantID))
		h.bad("the old token", old)
		h.bad("its successor", next)
		h.who(p.Token)
		if got := h.slots(victim.GrantID); len(got) != 0 {
			t.Errorf("slots %v are left", got)
		}
		if rows, err := s.VaultKeys(t.Context(), h.account, victim.GrantID, victim.VaultID, 1); err != nil || len(rows) != 0 {
			t.Errorf("%d keys of the vault are left, %v", len(rows), err)
		}
		want := []string{"ended " + victim.GrantID.String(), fmt.Sprintf("settle %s/0", p.GrantID)}
		if got := h.vaults.calls(); !slices.Equal(got, want) {
			t.Errorf("vaults were told %q, want %q", got, want)
		}
		h.recorded("key_changed ok revoked the session Firefox on Linux")
		h.refuses("again", fault.NotFound, "", func() error { return h.Revoke(t.Context(), p, client, victim.GrantID) })

		h.ok(h.Revoke(t.Context(), p, client, p.GrantID)) // itself: nobody is left to settle
		h.bad("who revoked itself", p)
		if got := h.vaults.calls(); !slices.Equal(got, []string{"ended " + p.GrantID.String()}) {
			t.Errorf("vaults were told %q, want the end alone", got)
		}
	})
}

func TestWhatMayNotBeRevokedIsNot(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		h := newHouse(t, s)
		p := h.session()
		agent, reader := h.agentKey(), h.key(p, grants.GrantsRead, grants.VaultManage)
		revoke := func(by grants.Principal, id uuid.UUID) func() error {
			return func() error { return h.Revoke(t.Context(), by, client, id) }
		}
		h.refuses("an agent's key", fault.Conflict, "", revoke(p, agent.GrantID))
		if err := revoke(p, agent.GrantID)(); !strings.Contains(err.Error(), "agents are managed") {
			t.Errorf("%q does not say where agents are managed", err)
		}
		h.refuses("nothing", fault.NotFound, "", revoke(p, models.NewID()))
		h.refuses("without grants:write", fault.ScopeDenied, "", revoke(reader, p.GrantID))
		h.refuses("by an agent", fault.ScopeDenied, "", revoke(agent, p.GrantID))
		stranger := p
		stranger.AccountID = h.newAccount()
		h.refuses("from another account", fault.NotFound, "", revoke(stranger, p.GrantID))
		h.who(agent.Token)
		h.ok(h.Revoke(t.Context(), h.key(p, grants.GrantsWrite), client, p.GrantID)) // a key that may, may
		h.bad("a session that a key revoked", p)
	})
}

func TestNothingIsHalfDoneWhenVaultsFail(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		h := newHouse(t, s)
		p, other := h.session(), h.session()
		broken := errors.New("broken")
		for _, call := range []string{"opened", "copied", "ended"} {
			h.vaults.failing(call, broken)
		}
		h.refuses("signing in", fault.Internal, "", func() error {
			i, err := h.Issue(t.Context(), grants.IssueInput{AccountID: h.account, Kind: models.GrantSession})
			if i.Token.Reveal() != "" {
				t.Error("a failed sign-in has a token")
			}
			return err
		})
		h.refuses("revoking", fault.Internal, "", func() error { return h.Revoke(t.Context(), p, client, other.GrantID) })
		h.refuses("signing out", fault.Internal, "", func() error { return h.End(t.Context(), h.account, p.GrantID) })
		h.opens(h.who(p.Token), p.VaultID)
		h.opens(h.who(other.Token), other.VaultID)

		h.vaults.failing("ended", nil)
		h.vaults.failing("settle", broken)
		h.ok(h.Revoke(t.Context(), p, client, other.GrantID)) // what comes after the revocation does not undo it
		h.bad("the revoked session", other)
	})
}

func TestOnlyTheLastGrantEndsAVault(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		h := newHouse(t, s)
		p, other, agent := h.session(), h.session(), h.agentKey()
		key := h.key(p, grants.TokensRead)
		for _, name := range []string{"github", "slack"} {
			h.credential(p.VaultID, name)
		}
		expect := func(what string, id uuid.UUID, last bool, credentials int) {
			t.Helper()
			if l, n, err := h.LastOfVault(t.Context(), p, id); err != nil || l != last || n != credentials {
				t.Errorf("%s: %v with %d credentials, %v; want %v with %d", what, l, n, err, last, credentials)
			}
		}
		expect("with an API key beside it", p.GrantID, false, 0)
		expect("an API key", key.GrantID, false, 0)
		expect("another's session", other.GrantID, true, 0)
		expect("an agent's key, which opens no vault", agent.GrantID, false, 0)
		h.ok(h.Revoke(t.Context(), p, client, key.GrantID))
		expect("alone", p.GrantID, true, 2)
		h.refuses("nothing", fault.NotFound, "", func() error { _, _, err := h.LastOfVault(t.Context(), p, key.GrantID); return err })
		h.refuses("by an agent", fault.ScopeDenied, "", func() error { _, _, err := h.LastOfVault(t.Context(), agent, p.GrantID); return err })
	})
}

// credential puts something into a vault.
func (h *house) credential(vault uuid.UUID, service string) {
	h.t.Helper()
	id := models.NewID()
	h.ok(h.store.CreateCredential(h.t.Context(),
		&models.Token{AccountID: h.account, ID: id, VaultID: vault, ServiceName: service, CreatedAt: h.began, UpdatedAt: h.began},
		&models.Credential{AccountID: h.account, ID: id, VaultID: vault, Generation: 1, Epoch: 1, Version: 1, Sealed: make([]byte, 40), UpdatedAt: h.began},
	))
}
