package platform_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/models/store/storetest"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/grants"
)

// What is below is an account as it should be: who opens which vault, what is in
// it, which agents hold what.
type (
	household struct {
		*world
		brittle  *brittle
		sessions []*member // and API keys, live
		over     []*member
		vaults   []*vault // those that somebody or some agent opens
		agents   []agent
		offers   []*offered
		secrets  int
		tries    int
	}
	member struct {
		grants.Principal
		vault *vault
	}
	vault struct{ held []*kept }
	kept  struct {
		token      models.Token
		secret     string
		superseded bool
		agents     map[uuid.UUID]bool
	}
	offered struct {
		models.Escrow
		from, to *member
		vault    *vault
	}
)

func (v *vault) named(service string) *kept {
	for _, k := range v.held {
		if k.token.ServiceName == service && !k.superseded {
			return k
		}
	}
	return nil
}

func (v *vault) drop(k *kept) {
	v.held = slices.DeleteFunc(v.held, func(other *kept) bool { return other == k })
}

func (k *kept) text() string {
	if k.superseded {
		return "!" + k.token.ServiceName + "=" + k.secret
	}
	return k.token.ServiceName + "=" + k.secret
}

// members are who opens a vault.
func (h *household) members(v *vault) (list []*member) {
	for _, m := range h.sessions {
		if m.vault == v {
			list = append(list, m)
		}
	}
	return list
}

// bury forgets what nobody opens.
func (h *household) bury() {
	for _, v := range h.vaults {
		if len(h.members(v)) == 0 {
			v.held = slices.DeleteFunc(v.held, func(k *kept) bool { return len(k.agents) == 0 })
		}
	}
	h.vaults = slices.DeleteFunc(h.vaults, func(v *vault) bool { return len(h.members(v)) == 0 && len(v.held) == 0 })
}

// try does something with a store that may break off. done says what it changes,
// when it has succeeded; otherwise, nothing has changed.
func (h *household) try(r *rapid.T, what string, do func() error, done func()) {
	h.soon()
	h.brittle.arm(rapid.SampledFrom([]int{0, 0, 0, 1, 2, 3, 4, 5, 7, 9, 12, 16}).Draw(r, "breaks at"))
	err := do()
	broke := h.brittle.broke
	h.brittle.arm(0)
	switch {
	case err == nil:
		done()
		h.bury()
	case !broke || !errors.Is(err, errBroken):
		r.Fatalf("%s: %v", what, err)
	}
	if h.tries++; broke || h.tries%3 == 0 {
		h.check(r)
	}
}

func pick[T any](r *rapid.T, list []T, what string) T {
	if len(list) == 0 {
		r.Skip("no " + what)
	}
	return list[rapid.IntRange(0, len(list)-1).Draw(r, what)]
}

var names = []string{"a", "b", "c"}

func (h *household) signIn(r *rapid.T) {
	if len(h.sessions) >= 4 {
		r.Skip("enough")
	}
	var issued grants.Issued
	h.try(r, "sign in", func() (err error) {
		issued, err = h.grants.Issue(context.Background(), grants.IssueInput{
			AccountID: h.account, Kind: models.GrantSession, Label: "test", Life: grants.SessionLife, TokenLife: grants.SessionTokenLife,
		})
		return err
	}, func() {
		v := &vault{}
		h.vaults = append(h.vaults, v)
		h.sessions = append(h.sessions, &member{h.principal(issued.Token.Reveal()), v})
	})
}

func (h *household) makeKey(r *rapid.T) {
	if len(h.sessions) >= 4 {
		r.Skip("enough")
	}
	m := pick(r, h.sessions, "session")
	var issued grants.Issued
	h.try(r, "make a key", func() (err error) {
		issued, err = h.grants.CreateKey(context.Background(), m.Principal, audit.Client{}, grants.CreateKeyInput{Name: "key", Scopes: grants.Scopes()})
		return err
	}, func() {
		h.sessions = append(h.sessions, &member{h.principal(issued.Token.Reveal()), m.vault})
	})
}

func (h *household) store(r *rapid.T) {
	m, service := pick(r, h.sessions, "session"), pick(r, names, "name")
	h.secrets++
	secret := fmt.Sprint("secret-", h.secrets)
	var token models.Token
	h.try(r, "store", func() (err error) {
		token, err = h.Store(context.Background(), m.Principal, audit.Client{}, ref(service), fieldsOf(h.t, plain(secret)))
		return err
	}, func() {
		k := m.vault.named(service)
		if k == nil {
			k = &kept{agents: map[uuid.UUID]bool{}}
			m.vault.held = append(m.vault.held, k)
		} else if k.token.ID != token.ID {
			r.Fatalf("%s was replaced by another token", service)
		}
		k.token, k.secret = token, secret
	})
}

func (h *household) remove(r *rapid.T) {
	m, service := pick(r, h.sessions, "session"), pick(r, names, "name")
	k := m.vault.named(service)
	if k == nil {
		r.Skip("no such token")
	}
	h.try(r, "delete", func() error { return h.Delete(context.Background(), m.Principal, audit.Client{}, ref(service)) }, func() { m.vault.drop(k) })
}

// holding is what an agent was granted under a name.
func (h *household) holding(a agent, service string) *kept {
	for _, v := range h.vaults {
		for _, k := range v.held {
			if k.token.ServiceName == service && k.agents[a.AgentID] {
				return k
			}
		}
	}
	return nil
}

func (h *household) grantAgent(r *rapid.T) {
	m, a, service := pick(r, h.sessions, "session"), pick(r, h.agents, "agent"), pick(r, names, "name")
	k := m.vault.named(service)
	if k == nil || h.holding(a, service) != nil {
		r.Skip("nothing to grant")
	}
	h.try(r, "grant", func() error { return h.tryGrant(m.Principal, a, k.token) }, func() { k.agents[a.AgentID] = true })
}

func (h *household) withdraw(r *rapid.T) {
	a, service := pick(r, h.agents, "agent"), pick(r, names, "name")
	k := h.holding(a, service)
	if k == nil {
		r.Skip("nothing was granted")
	}
	h.try(r, "withdraw", func() error {
		return h.brittle.InTx(context.Background(), func(ctx context.Context) error {
			if err := h.world.store.DeleteCredentialGrant(ctx, h.account, a.AgentID, service); err != nil {
				return err
			}
			return h.Withdraw(ctx, h.account, k.token.ID, a.Agent.GrantID)
		})
	}, func() { delete(k.agents, a.AgentID) })
}

func (h *household) use(r *rapid.T) {
	a, service := pick(r, h.agents, "agent"), pick(r, names, "name")
	k := h.holding(a, service)
	if k == nil {
		r.Skip("nothing was granted")
	}
	h.try(r, "use", func() error {
		got, err := h.ReleaseTo(context.Background(), a.Principal, k.token.ID)
		if err == nil && got["accessToken"] != k.secret {
			r.Fatalf("released %v, want %s", got["accessToken"], k.secret)
		}
		return err
	}, func() {})
}

func (h *household) share(r *rapid.T) {
	from, to := pick(r, h.sessions, "session"), pick(r, h.sessions, "other")
	if from == to || from.vault == to.vault {
		r.Skip("nothing to share")
	}
	var e models.Escrow
	h.try(r, "share", func() (err error) {
		e, err = h.Share(context.Background(), from.Principal, audit.Client{}, to.GrantID)
		return err
	}, func() { h.offers = append(h.offers, &offered{e, from, to, from.vault}) })
}

// answer accepts, declines or cancels. Whether that is possible, the escrow's row
// says, and who opens what.
func (h *household) answer(r *rapid.T) {
	o := pick(r, h.offers, "offer")
	row, err := h.world.store.Escrow(context.Background(), h.account, o.ID)
	if err != nil {
		r.Fatal(err)
	}
	waits := row.State == models.EscrowPending
	if waits && (!slices.Contains(h.sessions, o.from) || !slices.Contains(h.sessions, o.to) || o.from.vault != o.vault || o.to.vault == o.vault) {
		r.Fatalf("an offer waits though it could not be made any more")
	}
	possible := waits && h.clock.now().Before(o.ExpiresAt.Add(-time.Minute))
	how := rapid.SampledFrom([]string{"accept", "accept", "accept", "decline", "cancel"}).Draw(r, "answer")
	do := map[string]func() error{
		"accept":  func() error { return h.Accept(context.Background(), o.to.Principal, audit.Client{}, o.ID) },
		"decline": func() error { return h.Decline(context.Background(), o.to.Principal, audit.Client{}, o.ID) },
		"cancel":  func() error { return h.Cancel(context.Background(), o.from.Principal, audit.Client{}, o.ID) },
	}[how]
	if !possible {
		if err := do(); err == nil {
			r.Fatalf("%s of an offer that is %s and ends at %v: got no error", how, row.State, o.ExpiresAt)
		}
		return
	}
	h.try(r, how, do, func() {
		if how == "accept" {
			h.join(r, o.to, o.vault)
		}
	})
}

// join is what accepting should do.
func (h *household) join(r *rapid.T, m *member, shared *vault) {
	left := m.vault
	m.vault, m.Principal = shared, h.now(m.Principal)
	copies := len(h.members(left)) > 0
	for _, own := range slices.Clone(left.held) {
		arrives := own
		if copies {
			c := *own
			c.agents, c.token = map[uuid.UUID]bool{}, h.copyOf(r, own.token, m.VaultID)
			arrives = &c
		} else {
			left.drop(own)
		}
		if there := shared.named(own.token.ServiceName); there != nil && !own.superseded {
			if own.token.CreatedAt.After(there.token.CreatedAt) {
				there.superseded = true
			} else {
				arrives.superseded = true
			}
		}
		shared.held = append(shared.held, arrives)
	}
}

// copyOf finds a copy of a token in another vault.
func (h *household) copyOf(r *rapid.T, original models.Token, vaultID uuid.UUID) models.Token {
	known := map[uuid.UUID]bool{}
	for _, v := range h.vaults {
		for _, k := range v.held {
			known[k.token.ID] = true
		}
	}
	all, err := h.world.store.VaultTokens(context.Background(), h.account, vaultID)
	if err != nil {
		r.Fatal(err)
	}
	for _, t := range all {
		if t.CreationID == original.CreationID && !known[t.ID] {
			if !t.CreatedAt.Equal(original.CreatedAt) {
				r.Fatalf("a copy of %s was created at %v, the original at %v", t.ServiceName, t.CreatedAt, original.CreatedAt)
			}
			return t
		}
	}
	r.Fatalf("there is no copy of %s", original.ServiceName)
	return original
}

func (h *household) revokeGrant(r *rapid.T) {
	by, m := pick(r, h.sessions, "session"), pick(r, h.sessions, "other")
	h.try(r, "revoke", func() error { return h.grants.Revoke(context.Background(), by.Principal, audit.Client{}, m.GrantID) }, func() {
		h.sessions = slices.DeleteFunc(h.sessions, func(other *member) bool { return other == m })
		h.over = append(h.over, m)
	})
}

func (h *household) settleOne(r *rapid.T) {
	m := pick(r, h.sessions, "session")
	h.try(r, "settle", func() error {
		keys, err := h.grants.Keys(context.Background(), m.Principal)
		if err != nil {
			return err
		}
		defer keys.Clear()
		return h.Settle(context.Background(), keys)
	}, func() {})
}

func (h *household) passTime(r *rapid.T) {
	h.clock.pass(time.Duration(rapid.IntRange(1, 14).Draw(r, "hours")) * time.Hour)
	h.try(r, "sweep", func() error { return h.ExpireEscrows(context.Background()) }, func() {})
}

// check holds what everybody opens against what it should be.
func (h *household) check(r *rapid.T) {
	ctx := context.Background()
	for _, m := range h.sessions {
		want := []string{}
		for _, k := range m.vault.held {
			want = append(want, k.text())
		}
		slices.Sort(want)
		if got, err := h.openedBy(ctx, m.Principal); err != nil || !slices.Equal(got, slices.Compact(want)) {
			r.Fatalf("grant %s opens %q, %v, want %q", m.GrantID, got, err, want)
		}
	}
	vaults, err := h.world.store.PlatformVaults(ctx, h.account)
	if err != nil {
		r.Fatal(err)
	}
	stored := 0
	for _, v := range vaults {
		h.checkKeys(ctx, r, v)
		n, err := h.world.store.CountTokens(ctx, h.account, v.ID)
		if err != nil {
			r.Fatal(err)
		}
		stored += int(n)
	}
	held := 0
	for _, v := range h.vaults {
		held += len(v.held)
		for _, k := range v.held {
			h.checkAgents(ctx, r, k)
		}
	}
	if stored != held || len(vaults) != len(h.vaults) {
		r.Fatalf("%d credentials in %d vaults are stored, want %d in %d", stored, len(vaults), held, len(h.vaults))
	}
}

// checkKeys: only who opens a vault has keys of it, of its present generation.
func (h *household) checkKeys(ctx context.Context, r *rapid.T, v models.Vault) {
	for _, m := range slices.Concat(h.sessions, h.over) {
		keys, err := h.keysOfGrant(ctx, m.GrantID, v)
		if err != nil {
			r.Fatal(err)
		}
		g, err := h.world.store.Grant(ctx, h.account, m.GrantID)
		if err != nil {
			r.Fatal(err)
		}
		if opens := g.EndedAt == nil && *g.VaultID == v.ID; opens != (len(keys) > 0) {
			r.Fatalf("grant %s has %d keys of vault %s, and opens it: %v", m.GrantID, len(keys), v.ID, opens)
		}
		for _, k := range keys {
			if k.Generation != v.Generation {
				r.Fatalf("a key of generation %d is left, of vault %s at %d", k.Generation, v.ID, v.Generation)
			}
		}
	}
}

// checkAgents: an agent opens what it was granted, and nothing else.
func (h *household) checkAgents(ctx context.Context, r *rapid.T, k *kept) {
	for _, a := range h.agents {
		got, err := h.ReleaseTo(ctx, a.Principal, k.token.ID)
		if granted := k.agents[a.AgentID]; granted && (err != nil || got["accessToken"] != k.secret) || !granted && err == nil {
			r.Fatalf("agent %s is released %v, %v of %s; it was granted: %v", a.Name, got["accessToken"], err, k.text(), granted)
		}
	}
}

// TestAnyInterleavingLosesNoCredentialAndOpensNoVaultToWhoDidNotAccept drives three
// sessions and their keys, with stores that break off between any two statements.
// rapid prints the seed of what fails.
func TestAnyInterleavingLosesNoCredentialAndOpensNoVaultToWhoDidNotAccept(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		accepted := 0
		interleave := func(r *rapid.T) {
			w, b := brittleWorld(t, s)
			h := &household{world: w, brittle: b, agents: []agent{w.agent("one"), w.agent("two")}}
			for range 3 {
				h.signIn(r)
			}
			actions := map[string]func(*rapid.T){
				"sign in": h.signIn, "key": h.makeKey, "store": h.store, "store more": h.store, "store yet more": h.store, "delete": h.remove,
				"grant": h.grantAgent, "withdraw": h.withdraw, "use": h.use, "share": h.share, "share more": h.share, "answer": h.answer,
				"answer more": h.answer, "revoke": h.revokeGrant, "settle": h.settleOne, "time": h.passTime,
			}
			r.Repeat(actions)
			h.check(r)
			states := map[models.EscrowState]int{}
			for _, o := range h.offers {
				states[w.state(o.Escrow)]++
			}
			accepted += states[models.EscrowAccepted]
			for _, state := range slices.Sorted(maps.Keys(states)) {
				r.Logf("%d offers are %s", states[state], state)
			}
		}
		for range 5 { // a few interleavings may well have none
			if rapid.Check(t, interleave); accepted > 0 {
				break
			}
		}
		if accepted == 0 {
			t.Error("no offer was accepted in any interleaving")
		}
	})
}
