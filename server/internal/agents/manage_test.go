package agents_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/models/store/storetest"
	"github.com/tvzero/tokenvault/server/internal/agents"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/vaults"
)

func badField(t *testing.T, what string, err error, field string) {
	t.Helper()
	if f := fault.From(err); f == nil || f.Code != fault.InvalidRequest || f.Field != field {
		t.Errorf("%s: got %v, want INVALID_REQUEST of %s", what, err, field)
	}
}

func TestNamesAreUniqueInAnAccountAndWhatIsRefusedLeavesNothing(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		w := newWorld(t, s)
		id, key := w.agent("ci", "github")
		other, _ := w.agent("other")
		created, err := w.Create(t.Context(), w.owner, client, agents.CreateInput{Name: " ci "})
		mustBe(t, "a taken name", err, fault.Conflict)
		if created.Key.Reveal() != "" || created.Agent.ID != uuid.Nil {
			t.Error("a refused agent has a key or an id")
		}
		_, err = w.Update(t.Context(), w.owner, client, other, agents.UpdateInput{Name: ptr("ci"), Status: ptr(models.AgentSuspended)})
		mustBe(t, "renamed to a taken name", err, fault.Conflict)
		if a, err := w.Get(t.Context(), w.owner, other); err != nil || a.Agent.Name != "other" || a.Agent.Status != models.AgentActive {
			t.Errorf("after a refused change: %+v, %v", a.Agent, err)
		}
		if _, err := w.Update(t.Context(), w.owner, client, id, agents.UpdateInput{Name: ptr("ci")}); err != nil {
			t.Errorf("its own name: %v", err)
		}
		if _, err := w.Create(t.Context(), w.account(), client, agents.CreateInput{Name: "ci"}); err != nil {
			t.Errorf("the name in another account: %v", err)
		}
		w.audit.set(true)
		_, err = w.Create(t.Context(), w.owner, client, agents.CreateInput{Name: "unrecorded"})
		mustBe(t, "without a record", err, fault.Unavailable)
		_, err = w.RotateKey(t.Context(), w.owner, client, id)
		mustBe(t, "a rotation without a record", err, fault.Unavailable)
		_, err = w.Update(t.Context(), w.owner, client, id, agents.UpdateInput{Name: ptr("unrecorded")})
		mustBe(t, "a change without a record", err, fault.Unavailable)
		_, err = w.Delete(t.Context(), w.owner, client, id)
		mustBe(t, "a deletion without a record", err, fault.Unavailable)
		_, err = w.Grant(t.Context(), w.owner, client, other, agents.GrantInput{ServiceName: "github"})
		mustBe(t, "a grant without a record", err, fault.Unavailable)
		mustBe(t, "a revocation without a record", w.Revoke(t.Context(), w.owner, client, id, "github"), fault.Unavailable)
		w.audit.set(false)

		list, _, err := w.List(t.Context(), w.owner, vaults.Page{})
		if err != nil || len(list) != 2 || list[0].Name != "ci" || list[1].Name != "other" {
			t.Errorf("agents %+v, %v; want ci and other", list, err)
		}
		if got := w.liveKeys(); got != 2 {
			t.Errorf("%d live keys, want 2", got)
		}
		if d, err := w.Get(t.Context(), w.owner, other); err != nil || len(d.Grants) != 0 {
			t.Errorf("%+v, %v; want no credential grants", d.Grants, err)
		}
		w.released(key, "github")
		want := []string{
			"agent_changed ok  created ci", "grant_given ok github until revoked", "agent_changed ok  created other",
			"agent_changed ok  created ci", "agent_changed CONFLICT  created ci",
			"agent_changed ok  name ci, status suspended", "agent_changed CONFLICT  name ci, status suspended",
			"agent_changed ok  name ci", "release ok github",
		}
		if got := w.events(); !slices.Equal(got, want) {
			t.Errorf("on record is\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	})
}

func TestWhatOwnersTypeIsLimited(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		w := newWorld(t, s)
		id, _ := w.agent("ci")
		for _, c := range []struct{ what, name, description, field string }{
			{"the longest name", strings.Repeat("☂", 100), "", ""},
			{"a longer name", strings.Repeat("☂", 101), "", "name"},
			{"no name", "", "", "name"},
			{"spaces for a name", " \t ", "", "name"},
			{"a name with a line break", "a\nb", "", "name"},
			{"a name with a zero byte", "a\x00b", "", "name"},
			{"a name with broken UTF-8", "a\xffb", "", "name"},
			{"a name that turns the text around", "a\u202eb", "", "name"},
			{"the longest description", "a", strings.Repeat("☂", 500), ""},
			{"a longer description", "x", strings.Repeat("☂", 501), "description"},
			{"a description with a zero byte", "x", "a\x00b", "description"},
			{"a description with broken UTF-8", "x", "a\xff", "description"},
			{"a description with a tab", "x", "a\tb", "description"},
		} {
			_, err := w.Create(t.Context(), w.owner, client, agents.CreateInput{Name: c.name, Description: c.description})
			if c.field == "" {
				if err != nil {
					t.Errorf("%s: %v", c.what, err)
				}
				continue
			}
			_, errUpdate := w.Update(t.Context(), w.owner, client, id, agents.UpdateInput{Name: &c.name, Description: &c.description})
			badField(t, c.what, err, c.field)
			badField(t, c.what+", as a change", errUpdate, c.field)
		}
		a, err := w.Create(t.Context(), w.owner, client, agents.CreateInput{Name: "form", Description: " one\r\ntwo\nthree "})
		if err != nil || a.Agent.Description != "one\ntwo\nthree" {
			t.Errorf("a form's description is %q, %v", a.Agent.Description, err)
		}
		_, err = w.Update(t.Context(), w.owner, client, id, agents.UpdateInput{Status: ptr(models.AgentStatus("paused"))})
		badField(t, "an unknown status", err, "status")
		events := len(w.events())
		if a, err := w.Update(t.Context(), w.owner, client, id, agents.UpdateInput{}); err != nil || a.ID != id || len(w.events()) != events {
			t.Errorf("no change at all: %+v, %v, %d new events; want the agent and none", a, err, len(w.events())-events)
		}
		list, _, err := w.List(t.Context(), w.owner, vaults.Page{})
		if err != nil || len(list) != 4 {
			t.Errorf("%d agents, %v; want 4", len(list), err)
		}
	})
}

func TestAnotherAccountsAgentsDoNotExist(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		w := newWorld(t, s)
		id, key := w.agent("ci", "github")
		stranger := w.account()
		for _, target := range []uuid.UUID{id, models.NewID(), uuid.Nil} {
			p := w.owner
			if target == id {
				p = stranger
			}
			_, err := w.Get(t.Context(), p, target)
			mustBe(t, "Get", err, fault.NotFound)
			_, err = w.Update(t.Context(), p, client, target, agents.UpdateInput{Status: ptr(models.AgentSuspended)})
			mustBe(t, "Update", err, fault.NotFound)
			_, err = w.Delete(t.Context(), p, client, target)
			mustBe(t, "Delete", err, fault.NotFound)
			n, err := w.Delete(t.Context(), p, client, target, models.NewID())
			if n != 0 || err != nil {
				t.Errorf("bulk: %d deleted, %v; want none", n, err)
			}
			_, err = w.RotateKey(t.Context(), p, client, target)
			mustBe(t, "RotateKey", err, fault.NotFound)
			_, err = w.Grant(t.Context(), p, client, target, agents.GrantInput{ServiceName: "github"})
			mustBe(t, "Grant", err, fault.NotFound)
			mustBe(t, "Revoke", w.Revoke(t.Context(), p, client, target, "github"), fault.NotFound)
		}
		if list, next, err := w.List(t.Context(), stranger, vaults.Page{}); len(list) != 0 || next != "" || err != nil {
			t.Errorf("a stranger's list: %+v, %q, %v", list, next, err)
		}
		w.released(key, "github")
		if got := w.liveKeys(); got != 1 {
			t.Errorf("%d live keys, want 1", got)
		}
	})
}

func TestListsComeInPages(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		w := newWorld(t, s)
		var want []string
		for i := range 7 {
			name := fmt.Sprint("agent-", 9-i)
			w.agent(name)
			want = append(want, name)
		}
		for limit, pages := range map[int]int{0: 1, 1: 7, 3: 3, 7: 1, 1000: 1} {
			var got []string
			page, n := vaults.Page{Limit: limit}, 0
			for {
				list, next, err := w.List(t.Context(), w.owner, page)
				w.check(err)
				n++
				for _, a := range list {
					got = append(got, a.Name)
				}
				if next == "" {
					break
				}
				page.Cursor = next
			}
			if !slices.Equal(got, want) || n != pages {
				t.Errorf("limit %d: %q in %d pages, want %q in %d", limit, got, n, want, pages)
			}
		}
		_, _, err := w.List(t.Context(), w.owner, vaults.Page{Limit: -1})
		badField(t, "a negative limit", err, "limit")
		_, _, err = w.List(t.Context(), w.owner, vaults.Page{Limit: 1001})
		badField(t, "a limit beyond", err, "limit")
		for _, cursor := range []string{"x", "{" + models.NewID().String() + "}", strings.ToUpper(models.NewID().String())} {
			_, _, err = w.List(t.Context(), w.owner, vaults.Page{Cursor: cursor})
			badField(t, "cursor "+cursor, err, "cursor")
		}
	})
}

func TestACredentialGrantLastsAsLongAsItSays(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		w := newWorld(t, s)
		id, key := w.agent("ci")
		w.token("github")
		for _, bad := range []time.Duration{59 * time.Minute, time.Hour - 1, 1, -time.Hour, 721 * time.Hour, 720*time.Hour + 1, 1<<63 - 1} {
			_, err := w.Grant(t.Context(), w.owner, client, id, agents.GrantInput{ServiceName: "github", ExpiresIn: bad})
			badField(t, bad.String(), err, "expiresInHours")
		}
		_, err := w.Grant(t.Context(), w.owner, client, id, agents.GrantInput{ServiceName: "github", RefreshPolicy: "sometimes"})
		badField(t, "a refresh policy", err, "refreshPolicy")
		for _, name := range []string{"", "bulk", "a/b", strings.Repeat("a", 129)} {
			_, err := w.Grant(t.Context(), w.owner, client, id, agents.GrantInput{ServiceName: name})
			badField(t, "service "+name, err, "serviceName")
		}
		_, err = w.Grant(t.Context(), w.owner, client, id, agents.GrantInput{ServiceName: "no-such-token"})
		mustBe(t, "an unknown token", err, fault.TokenNotFound)
		w.refused("after refused grants", key, "github", fault.NoGrant)

		for _, life := range []time.Duration{time.Hour, 720 * time.Hour} {
			g, err := w.Grant(t.Context(), w.owner, client, id, agents.GrantInput{ServiceName: "github", ExpiresIn: life})
			if err != nil || g.ExpiresAt == nil || !g.ExpiresAt.Equal(g.CreatedAt.Add(life)) || g.RefreshPolicy != models.RefreshAuto {
				t.Fatalf("%v: %+v, %v", life, g, err)
			}
			if got, want := w.last(), "grant_given ok github for "+life.String(); got != want {
				t.Errorf("on record is %q, want %q", got, want)
			}
			w.clock.set(life - time.Minute)
			w.released(key, "github")
			w.clock.set(life)
			w.refused("at its end", key, "github", fault.GrantExpired)
			w.clock.set(0)
		}
		g, err := w.Grant(t.Context(), w.owner, client, id, agents.GrantInput{ServiceName: "github", RefreshPolicy: models.RefreshNever})
		if err != nil || g.ExpiresAt != nil || g.RefreshPolicy != models.RefreshNever {
			t.Fatalf("until revoked: %+v, %v", g, err)
		}
		w.clock.set(10 * 365 * 24 * time.Hour)
		w.released(key, "github")
		detail, err := w.Get(t.Context(), w.owner, id)
		if err != nil || len(detail.Grants) != 1 || detail.Grants[0].RefreshPolicy != models.RefreshNever || detail.Grants[0].ExpiresAt != nil {
			t.Errorf("%+v, %v; want the last of the grants alone", detail.Grants, err)
		}
		w.check(w.Revoke(t.Context(), w.owner, client, id, "github"))
		if got := w.last(); got != "grant_revoked ok github" {
			t.Errorf("on record is %q", got)
		}
		mustBe(t, "revoked twice", w.Revoke(t.Context(), w.owner, client, id, "github"), fault.NotFound)
	})
}

// A release reads all that its agent was granted.
func TestAnAgentIsGrantedSoManyTokensAndNoMore(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		w := newWorld(t, s)
		id, key := w.agent("ci")
		w.token("first")
		w.check(s.InTx(t.Context(), func(ctx context.Context) error {
			for i := range agents.MaxGrants - 1 {
				g := models.CredentialGrant{AccountID: w.owner.AccountID, AgentID: id, ServiceName: fmt.Sprint("t", i), TokenID: models.NewID()}
				if err := s.PutCredentialGrant(ctx, &g); err != nil {
					return err
				}
			}
			return nil
		}))
		w.grant(id, "first")
		w.token("one-more")
		_, err := w.Grant(t.Context(), w.owner, client, id, agents.GrantInput{ServiceName: "one-more"})
		mustBe(t, "one more", err, fault.Conflict)
		w.refused("what was not granted", key, "one-more", fault.NoGrant)
		w.grant(id, "first") // replaces
		w.released(key, "first")
		w.check(w.Revoke(t.Context(), w.owner, client, id, "t0"))
		w.grant(id, "one-more")
		w.released(key, "one-more")
	})
}

func TestManyAgentsAreDeletedAtOnce(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		w := newWorld(t, s)
		a, keyA := w.agent("a", "github")
		b, keyB := w.agent("b", "github")
		c, keyC := w.agent("c", "github")
		if n, err := w.Delete(t.Context(), w.owner, client, make([]uuid.UUID, 1001)...); n != 0 || err == nil {
			t.Errorf("1001 ids: %d deleted, %v", n, err)
		} else {
			badField(t, "1001 ids", err, "agentIds")
		}
		if n, err := w.Delete(t.Context(), w.owner, client); n != 0 || err != nil {
			t.Errorf("no ids: %d deleted, %v", n, err)
		}
		n, err := w.Delete(t.Context(), w.owner, client, b, models.NewID(), a, b, a)
		if n != 2 || err != nil {
			t.Fatalf("%d deleted, %v; want 2", n, err)
		}
		for _, key := range []string{keyA, keyB} {
			w.refused("of a deleted agent", key, "github", fault.InvalidKey)
		}
		w.released(keyC, "github")
		if got := w.liveKeys(); got != 1 {
			t.Errorf("%d live keys, want 1", got)
		}
		if rest, err := s.CredentialGrants(t.Context(), w.owner.AccountID, a); err != nil || len(rest) != 0 {
			t.Errorf("%+v, %v; want no credential grants of a deleted agent", rest, err)
		}
		_, err = w.Delete(t.Context(), w.owner, client, a)
		mustBe(t, "deleted twice", err, fault.NotFound)
		if n, err := w.Delete(t.Context(), w.owner, client, c); n != 1 || err != nil {
			t.Errorf("%d deleted, %v; want 1", n, err)
		}
	})
}

func TestOfRotationsAtOnceOneKeyIsGoodAfterwards(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		w := newWorld(t, s)
		id, old := w.agent("ci", "github")
		keys := make([]string, 8)
		var wg sync.WaitGroup
		for i := range keys {
			wg.Go(func() {
				created, err := w.RotateKey(t.Context(), w.owner, client, id)
				if err != nil {
					t.Errorf("RotateKey: %v", err)
				}
				keys[i] = created.Key.Reveal()
			})
		}
		wg.Wait()
		good := 0
		for _, key := range slices.Concat(keys, []string{old}) {
			r, err := w.Release(t.Context(), key, client, "github", nil)
			if err == nil && r.Location != "" {
				good++
			} else if fault.CodeOf(err) != fault.InvalidKey {
				t.Errorf("a rotated key: %v", err)
			}
		}
		if live := w.liveKeys(); good != 1 || live != 1 {
			t.Errorf("%d good keys and %d live ones, want 1", good, live)
		}
	})
}

func TestChangesAtOnceLoseNothing(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		w := newWorld(t, s)
		for round := range 5 {
			id, old := w.agent(fmt.Sprint("ci-", round), "github")
			var key string
			var wg sync.WaitGroup
			for _, change := range []agents.UpdateInput{
				{Name: ptr(fmt.Sprint("renamed-", round))}, {Status: ptr(models.AgentSuspended)}, {Description: ptr("described")},
			} {
				wg.Go(func() {
					if _, err := w.Update(t.Context(), w.owner, client, id, change); err != nil {
						t.Errorf("Update: %v", err)
					}
				})
			}
			wg.Go(func() {
				created, err := w.RotateKey(t.Context(), w.owner, client, id)
				if err != nil {
					t.Errorf("RotateKey: %v", err)
				}
				key = created.Key.Reveal()
			})
			wg.Wait()
			d, err := w.Get(t.Context(), w.owner, id)
			w.check(err)
			if a := d.Agent; a.Name != fmt.Sprint("renamed-", round) || a.Status != models.AgentSuspended || a.Description != "described" {
				t.Errorf("round %d left %+v: a change was lost", round, a)
			}
			w.refused("the old key", old, "github", fault.InvalidKey)
			w.refused("the new key", key, "github", fault.AgentInactive)
			if _, err := w.Delete(t.Context(), w.owner, client, id); err != nil {
				t.Fatal(err)
			}
			w.refused("the new key of a deleted agent", key, "github", fault.InvalidKey)
			if live := w.liveKeys(); live != 0 {
				t.Fatalf("round %d: %d live keys, want none", round, live)
			}
		}
	})
}

func TestADeletionAndARotationAtOnceLeaveNoKey(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		w := newWorld(t, s)
		w.token("github")
		for round := range 5 {
			id, _ := w.agent(fmt.Sprint("ci-", round))
			var wg sync.WaitGroup
			wg.Go(func() {
				if _, err := w.Delete(t.Context(), w.owner, client, id); err != nil {
					t.Errorf("Delete: %v", err)
				}
			})
			wg.Go(func() {
				_, err := w.RotateKey(t.Context(), w.owner, client, id)
				if err != nil && fault.CodeOf(err) != fault.NotFound {
					t.Errorf("RotateKey: %v", err)
				}
			})
			wg.Go(func() {
				_, err := w.Grant(t.Context(), w.owner, client, id, agents.GrantInput{ServiceName: "github"})
				if err != nil && fault.CodeOf(err) != fault.NotFound {
					t.Errorf("Grant: %v", err)
				}
			})
			wg.Wait()
			if _, err := s.Agent(t.Context(), w.owner.AccountID, id); !errors.Is(err, models.ErrNotFound) {
				t.Errorf("the deleted agent: %v", err)
			}
			rest, err := s.CredentialGrants(t.Context(), w.owner.AccountID, id)
			if live := w.liveKeys(); live != 0 || len(rest) != 0 || err != nil {
				t.Fatalf("round %d: %d live keys, %d credential grants, %v; want none", round, live, len(rest), err)
			}
		}
	})
}
