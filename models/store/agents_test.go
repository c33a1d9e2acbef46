package store_test

import (
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/models/store/storetest"
)

func TestAgentComesBackWholeAndIsUpdated(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		c := watch(s)
		want := filled[models.Agent](t)
		want.AccountID = newAccount(t, s).ID
		tells(t, c, want.AccountID, "create", func() error { return s.CreateAgent(t.Context(), &want) })
		got, err := s.Agent(t.Context(), want.AccountID, want.ID)
		ok(t, err)
		same(t, "created", got, want)

		update := filled[models.Agent](t)
		update.AccountID, update.ID, update.Description = want.AccountID, want.ID, ""
		tells(t, c, want.AccountID, "update", func() error { return s.UpdateAgent(t.Context(), &update) })
		got, err = s.Agent(t.Context(), want.AccountID, want.ID)
		ok(t, err)
		update.CreatedAt, update.LastUsedAt = want.CreatedAt, want.LastUsedAt // not for an update to set
		same(t, "updated", got, update)

		_, err = s.Agent(t.Context(), want.AccountID, models.NewID())
		wantErr(t, err, models.ErrNotFound)
		update.ID = models.NewID()
		wantErr(t, s.UpdateAgent(t.Context(), &update), models.ErrNotFound)
	})
}

func TestAgentNameIsUniqueInItsAccountOnly(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		account, other := newAccount(t, s).ID, newAccount(t, s).ID
		named := func(account uuid.UUID) *models.Agent {
			return &models.Agent{AccountID: account, ID: models.NewID(), Name: "deploy", Status: models.AgentActive}
		}
		none, _ := count(t, together(10, func(int) error { return s.CreateAgent(t.Context(), named(account)) }), models.ErrConflict)
		same(t, "agents of one name", none, 1)
		ok(t, s.CreateAgent(t.Context(), named(other)))

		agent := newAgent(t, s, account)
		agent.Name = "deploy"
		wantErr(t, s.UpdateAgent(t.Context(), &agent), models.ErrConflict)
		got, err := s.Agent(t.Context(), account, agent.ID)
		ok(t, err)
		same(t, "name after the refusal", got.Name, agent.ID.String())
		wantErr(t, s.CreateAgent(t.Context(), named(models.NewID())), models.ErrNotFound)
	})
}

func TestAgentsAreListedById(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		account := newAccount(t, s).ID
		newAgent(t, s, newAccount(t, s).ID)
		var want []models.Agent
		for range 5 {
			want = append(want, newAgent(t, s, account))
		}
		got, err := s.Agents(t.Context(), account, uuid.Nil, 0)
		ok(t, err)
		same(t, "all", got, want)
		got, err = s.Agents(t.Context(), account, want[1].ID, 2)
		ok(t, err)
		same(t, "page", got, want[2:4])
		got, err = s.Agents(t.Context(), account, want[4].ID, 2)
		ok(t, err)
		same(t, "after the last", len(got), 0)
	})
}

func grantOf(t *testing.T, agent models.Agent, service string) models.CredentialGrant {
	t.Helper()
	g := filled[models.CredentialGrant](t)
	g.AccountID, g.AgentID, g.ServiceName = agent.AccountID, agent.ID, service
	return g
}

func TestCredentialGrantIsGivenReplacedAndTaken(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		agent := newAgent(t, s, newAccount(t, s).ID)
		c := watch(s)
		first, second := grantOf(t, agent, "github"), grantOf(t, agent, "Zulip")
		tells(t, c, agent.AccountID, "put", func() error { return s.PutCredentialGrant(t.Context(), &first) })
		ok(t, s.PutCredentialGrant(t.Context(), &second))
		got, err := s.CredentialGrants(t.Context(), agent.AccountID, agent.ID)
		ok(t, err)
		same(t, "grants by the bytes of their names", got, []models.CredentialGrant{second, first})

		replaced := models.CredentialGrant{
			AccountID: agent.AccountID, AgentID: agent.ID, ServiceName: "github", TokenID: models.NewID(),
			RefreshPolicy: models.RefreshNever, CreatedAt: models.Stamp(at.AddDate(1, 0, 0)), KeyID: 3, MAC: models.Opaque{9},
		}
		ok(t, s.PutCredentialGrant(t.Context(), &replaced))
		got, err = s.CredentialGrants(t.Context(), agent.AccountID, agent.ID)
		ok(t, err)
		same(t, "replaced wholly, since its MAC covers all of it", got, []models.CredentialGrant{second, replaced})

		tells(t, c, agent.AccountID, "delete", func() error {
			return s.DeleteCredentialGrant(t.Context(), agent.AccountID, agent.ID, "github")
		})
		wantErr(t, s.DeleteCredentialGrant(t.Context(), agent.AccountID, agent.ID, "github"), models.ErrNotFound)
		got, err = s.CredentialGrants(t.Context(), agent.AccountID, agent.ID)
		ok(t, err)
		same(t, "left", got, []models.CredentialGrant{second})

		orphan := first
		orphan.AgentID = models.NewID()
		wantErr(t, s.PutCredentialGrant(t.Context(), &orphan), models.ErrNotFound)
	})
}

func TestAgentWithGrantsSaysWhichTokensExist(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		vault := newVault(t, s, models.ModeWebhook)
		agent := newAgent(t, s, vault.AccountID)
		got, granted, err := s.AgentWithGrants(t.Context(), agent.AccountID, agent.ID)
		ok(t, err)
		same(t, "agent", got, agent)
		same(t, "grants of an agent without any", len(granted), 0)

		token := newToken(t, vault, "github")
		ok(t, s.PutToken(t.Context(), &token))
		there, gone := grantOf(t, agent, "github"), grantOf(t, agent, "gitlab")
		there.TokenID = token.ID
		gone.ExpiresAt, gone.MAC = nil, nil
		ok(t, s.PutCredentialGrant(t.Context(), &there))
		ok(t, s.PutCredentialGrant(t.Context(), &gone))
		got, granted, err = s.AgentWithGrants(t.Context(), agent.AccountID, agent.ID)
		ok(t, err)
		same(t, "agent", got, agent)
		same(t, "grants", granted, []models.GrantedToken{{Grant: there, TokenExists: true}, {Grant: gone}})

		linked := token // superseded, and in platform mode
		linked.ID, linked.SupersededAt = models.NewID(), models.StampPtr(at)
		c := filled[models.Credential](t)
		c.AccountID, c.ID, c.VaultID = linked.AccountID, linked.ID, linked.VaultID
		ok(t, s.CreateCredential(t.Context(), &linked, &c))
		gone.TokenID = linked.ID
		ok(t, s.PutCredentialGrant(t.Context(), &gone))
		_, granted, err = s.AgentWithGrants(t.Context(), agent.AccountID, agent.ID)
		ok(t, err)
		same(t, "grants, one of a superseded token of platform mode", granted,
			[]models.GrantedToken{{Grant: there, TokenExists: true}, {Grant: gone, TokenExists: true, Platform: true}})
		who, err := s.TokenGrants(t.Context(), agent.AccountID, linked.ID)
		ok(t, err)
		same(t, "who was granted the token", who, []models.CredentialGrant{gone})
		who, err = s.TokenGrants(t.Context(), models.NewID(), linked.ID)
		ok(t, err)
		same(t, "who was granted the token in another account", len(who), 0)

		_, _, err = s.AgentWithGrants(t.Context(), models.NewID(), agent.ID)
		wantErr(t, err, models.ErrNotFound)
	})
}

func TestDeletedAgentTakesItsCredentialGrantsAlong(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		account := newAccount(t, s).ID
		agent, other := newAgent(t, s, account), newAgent(t, s, account)
		for _, a := range []models.Agent{agent, other} {
			g := grantOf(t, a, "github")
			ok(t, s.PutCredentialGrant(t.Context(), &g))
		}
		tells(t, watch(s), account, "delete", func() error { return s.DeleteAgent(t.Context(), account, agent.ID) })
		wantErr(t, s.DeleteAgent(t.Context(), account, agent.ID), models.ErrNotFound)
		got, err := s.CredentialGrants(t.Context(), account, agent.ID)
		ok(t, err)
		same(t, "its grants", len(got), 0)
		got, err = s.CredentialGrants(t.Context(), account, other.ID)
		ok(t, err)
		same(t, "grants of the other", len(got), 1)
	})
}

func TestGrantingRacesWithDeletingWithoutALeftover(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		account := newAccount(t, s).ID
		for range 10 {
			agent := newAgent(t, s, account)
			count(t, together(4, func(i int) error {
				if i == 0 {
					return s.DeleteAgent(t.Context(), account, agent.ID)
				}
				g := grantOf(t, agent, "github")
				return s.PutCredentialGrant(t.Context(), &g)
			}), models.ErrNotFound)
			got, err := s.CredentialGrants(t.Context(), account, agent.ID)
			ok(t, err)
			same(t, "leftovers", len(got), 0)
		}
	})
}

func TestCredentialGrantsAreCountedByAgentWhileTheyAreInForce(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		account, other := newAccount(t, s).ID, newAccount(t, s).ID
		now := time.Now()
		before, after := now.Add(-time.Minute), now.Add(time.Minute)
		a, b, none, stranger := newAgent(t, s, account), newAgent(t, s, account), newAgent(t, s, account), newAgent(t, s, other)
		for _, g := range []models.CredentialGrant{
			{AccountID: account, AgentID: a.ID, ServiceName: "until revoked"}, {AccountID: account, AgentID: a.ID, ServiceName: "later", ExpiresAt: &after},
			{AccountID: account, AgentID: a.ID, ServiceName: "over", ExpiresAt: &before}, {AccountID: account, AgentID: b.ID, ServiceName: "now", ExpiresAt: models.StampPtr(now)},
			{AccountID: other, AgentID: stranger.ID, ServiceName: "until revoked"},
		} {
			g.TokenID, g.RefreshPolicy = models.NewID(), models.RefreshAuto
			ok(t, s.PutCredentialGrant(t.Context(), &g))
		}
		got, err := s.CredentialGrantCounts(t.Context(), account, now)
		ok(t, err)
		same(t, "counts", got, map[uuid.UUID]int{a.ID: 2})
		if _, counted := got[none.ID]; counted {
			t.Error("an agent without credential grants is counted, want it left out")
		}
	})
}
