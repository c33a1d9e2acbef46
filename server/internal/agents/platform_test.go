package agents_test

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/models/store/storetest"
	"github.com/tvzero/tokenvault/server/internal/agents"
	"github.com/tvzero/tokenvault/server/internal/custody"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/server/internal/platform"
	"github.com/tvzero/tokenvault/server/internal/vaults"
)

// A sealed world is one whose account keeps its tokens here: with real platform
// vaults, and an owner who has signed in.
type sealed struct {
	*world
	platform *platform.Service
}

// holders are the grants of a world, which are made after the platform service.
type holders struct{ w *world }

func (h holders) Keys(ctx context.Context, p grants.Principal) (*custody.Holder, error) {
	return h.w.grants.Keys(ctx, p)
}

func (h holders) RememberedKeys(ctx context.Context, p grants.Principal) (*custody.Holder, error) {
	return h.w.grants.RememberedKeys(ctx, p)
}

// platformIndex finds tokens in the vault that a principal opens.
type platformIndex struct {
	*vault
	platform *platform.Service
}

func (i platformIndex) Find(ctx context.Context, p grants.Principal, service string) (vaults.Found, error) {
	token, err := i.platform.Token(ctx, p, platform.Ref{Service: service})
	return vaults.Found{Token: token, Mode: models.ModePlatform}, err
}

// unsettled is a platform that cannot make new keys afterwards, as when the server
// is killed before.
type unsettled struct{ *platform.Service }

func (unsettled) Settle(context.Context, *custody.Holder) error { return errors.New("killed") }

func newSealed(t *testing.T, s *store.Store) sealed {
	t.Helper()
	w := newWorld(t, s)
	logger := slog.New(slog.DiscardHandler)
	p := platform.New(platform.Deps{
		Accounts: s, Vaults: s, VaultKeys: s, GrantRows: s, Tokens: s, Agents: s, Credentials: s, Wraps: s, Escrows: s, Leases: s,
		Signed: s, SignedVault: s, SignIn: s, KeyCounts: s, Holders: holders{w}, Audit: w.audit, Keyring: w.deps.Keys, Gate: w.gate,
		Now: w.clock.now, Random: rand.Reader, Logger: logger,
	})
	w.grants = grants.New(grants.Deps{
		Store: s, Rows: s, Slots: s, VaultRows: s, Vaults: p, Audit: w.audit, Keys: w.deps.Keys, Gate: w.gate,
		Now: w.clock.now, Random: rand.Reader, Logger: logger,
	})
	w.vaults.set(func(v *vault) { v.custody = vaults.Custody{Mode: models.ModePlatform} })
	w.deps.Grants, w.deps.Platform, w.deps.Vaults = w.grants, p, platformIndex{w.vaults, p}
	w.Service = agents.New(w.deps)
	sw := sealed{w, p}
	w.owner = sw.session(w.owner.AccountID)
	return sw
}

func (w sealed) session(account uuid.UUID) grants.Principal {
	w.t.Helper()
	issued, err := w.grants.Issue(w.t.Context(), grants.IssueInput{
		AccountID: account, Kind: models.GrantSession, Label: "test", Life: grants.SessionLife, TokenLife: grants.SessionTokenLife,
	})
	w.check(err)
	p, err := w.grants.Authenticate(w.t.Context(), issued.Token.Reveal(), models.GrantSession)
	w.check(err)
	return p
}

func (w sealed) put(services ...string) {
	w.t.Helper()
	for _, service := range services {
		fields := map[string]json.RawMessage{"tokenType": json.RawMessage(`"PlainText"`), "accessToken": json.RawMessage(`"secret of ` + service + `"`)}
		_, err := w.platform.Store(w.t.Context(), w.owner, client, platform.Ref{Service: service}, fields)
		w.check(err)
	}
}

func (w sealed) tokenID(service string) uuid.UUID {
	w.t.Helper()
	found, err := w.deps.Vaults.Find(w.t.Context(), w.owner, service)
	w.check(err)
	return found.ID
}

func (w sealed) releases(key, service string) {
	w.t.Helper()
	got, err := w.Release(w.t.Context(), key, client, service, nil)
	var answer struct{ AccessToken string }
	if err != nil || json.Unmarshal(got.Credential, &answer) != nil || answer.AccessToken != "secret of "+service {
		w.t.Errorf("%s: got %s, %v", service, got.Credential, err)
	}
}

// holds are the services of whose credentials an agent's present key has a wrapped
// key, among those given.
func (w sealed) holds(id uuid.UUID, services ...string) (held []string) {
	w.t.Helper()
	agent, err := w.store.Agent(w.t.Context(), w.owner.AccountID, id)
	w.check(err)
	keys, err := w.store.AgentKeys(w.t.Context(), w.owner.AccountID, agent.GrantID)
	w.check(err)
	for _, service := range services {
		token := w.tokenID(service)
		if slices.ContainsFunc(keys, func(k models.CredentialKey) bool { return k.CredentialID == token }) {
			held = append(held, service)
		}
	}
	return held
}

func TestANewKeyOfAnAgentOpensWhatItIsGrantedAndNothingElse(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		w := newSealed(t, s)
		all := []string{"bank", "github", "gitlab", "mail"}
		w.put(all...)
		id, _ := w.agent("ci", "github", "mail")
		_, err := w.Grant(t.Context(), w.owner, client, id, agents.GrantInput{ServiceName: "gitlab", ExpiresIn: agents.MinGrantLife})
		w.check(err)
		w.clock.set(agents.MinGrantLife + time.Minute) // nobody has swept yet

		// Somebody who writes the database grants the agent more.
		granted, err := s.CredentialGrants(t.Context(), w.owner.AccountID, id)
		w.check(err)
		forged := granted[0]
		forged.ServiceName, forged.TokenID = "bank", w.tokenID("bank")
		w.check(s.PutCredentialGrant(t.Context(), &forged))
		stolen := granted[slices.IndexFunc(granted, func(g models.CredentialGrant) bool { return g.ServiceName == "mail" })]
		stolen.ExpiresAt = models.StampPtr(w.clock.now().Add(time.Hour))
		w.check(s.PutCredentialGrant(t.Context(), &stolen))

		w.deps.Platform = unsettled{w.platform}
		w.Service = agents.New(w.deps)
		rotated, err := w.RotateKey(t.Context(), w.owner, client, id)
		w.check(err)
		if got := w.holds(id, all...); !slices.Equal(got, []string{"github"}) {
			t.Errorf("the new key opens %q, want what was granted and has not expired alone", got)
		}
		if len(rotated.Lost) > 0 {
			t.Errorf("lost %q: those were not the agent's", rotated.Lost)
		}
		w.releases(rotated.Key.Reveal(), "github")
		w.refused("expired", rotated.Key.Reveal(), "gitlab", fault.GrantExpired)
		w.refused("forged", rotated.Key.Reveal(), "bank", fault.Internal)
	})
}

func TestACredentialIsGivenToTheKeyOfTheAgentThatIsGrantedIt(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		w := newSealed(t, s)
		w.put("github")
		id, _ := w.agent("ci")
		thief, _ := w.agent("thief")

		// Somebody who writes the database says that the key of one is the other's.
		mine, err := s.Agent(t.Context(), w.owner.AccountID, id)
		w.check(err)
		other, err := s.Agent(t.Context(), w.owner.AccountID, thief)
		w.check(err)
		own := mine.GrantID
		mine.GrantID = other.GrantID
		w.check(s.UpdateAgent(t.Context(), &mine))

		_, err = w.Grant(t.Context(), w.owner, client, id, agents.GrantInput{ServiceName: "github"})
		mustBe(t, "grant", err, fault.Internal)
		if got := w.holds(thief, "github"); len(got) > 0 {
			t.Errorf("the other agent's key opens %q, which it was never granted", got)
		}

		mine.GrantID = own
		w.check(s.UpdateAgent(t.Context(), &mine))
		w.grant(id, "github")
		if got := w.holds(id, "github"); len(got) != 1 {
			t.Error("the agent's key does not open what it was granted")
		}
	})
}

func TestAKeyIsReplacedThoughOneOfTheCredentialsIsDamaged(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		w := newSealed(t, s)
		w.put("github", "gitlab")
		id, old := w.agent("ci", "github", "gitlab")
		was, err := s.Credential(t.Context(), w.owner.AccountID, w.tokenID("github"))
		w.check(err)
		broken := was
		broken.Sealed = slices.Clone(was.Sealed)
		broken.Sealed[20] ^= 1
		w.check(s.UpdateCredential(t.Context(), &broken, was))

		rotated, err := w.RotateKey(t.Context(), w.owner, client, id)
		if err != nil {
			t.Fatalf("a leaked key cannot be replaced: %v", err)
		}
		if !slices.Equal(rotated.Lost, []string{"github"}) {
			t.Errorf("lost %q, want the damaged one", rotated.Lost)
		}
		w.releases(rotated.Key.Reveal(), "gitlab")
		if _, err := w.Release(t.Context(), old, client, "gitlab", nil); fault.CodeOf(err) != fault.InvalidKey {
			t.Errorf("the old key: got %v", err)
		}
	})
}

func TestAgentsOfOneVaultAreManagedAtOnce(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		w := newSealed(t, s)
		names := []string{"a", "b", "c", "d"}
		w.put(names...)
		ids := make([]uuid.UUID, len(names))
		for i := range ids {
			ids[i], _ = w.agent(fmt.Sprint("ci ", i), names[i], names[(i+1)%len(names)])
		}
		var all sync.WaitGroup
		for i, id := range ids {
			all.Go(func() {
				for range 6 {
					if _, err := w.RotateKey(t.Context(), w.owner, client, id); err != nil {
						t.Errorf("rotate: %v", err)
					}
				}
			})
			all.Go(func() {
				for range 6 {
					if _, err := w.Grant(t.Context(), w.owner, client, id, agents.GrantInput{ServiceName: names[i]}); err != nil {
						t.Errorf("grant: %v", err)
					}
					if err := w.Revoke(t.Context(), w.owner, client, id, names[i]); err != nil {
						t.Errorf("revoke: %v", err)
					}
				}
			})
		}
		all.Wait()
	})
}

// withdrawing lets something happen before a credential grant is deleted.
type withdrawing struct {
	*store.Store
	before func(service string)
}

func (w withdrawing) DeleteCredentialGrant(ctx context.Context, account, agent uuid.UUID, service string) error {
	w.before(service)
	return w.Store.DeleteCredentialGrant(ctx, account, agent, service)
}

// What an agent loses is locked vault by vault, and whoever links two of them locks both.
func TestAnAgentIsDeletedThoughOthersLockItsVaultsInAnotherOrder(t *testing.T) {
	t.Parallel()
	url := storetest.URL(t, store.Postgres) // SQLite has one writer at a time
	w := newSealed(t, storetest.Open(t, url))
	// Of the two it is not this one that the database ends.
	other := storetest.Open(t, url+"&deadlock_timeout=10min")
	w.put("a")
	first := w.owner
	w.owner = w.session(first.AccountID)
	w.put("b")
	second := w.owner
	id, key := w.agent("ci", "b")
	w.owner = first
	w.grant(id, "a")

	db, err := sql.Open("pgx", url)
	w.check(err)
	defer func() { _ = db.Close() }()
	done := make(chan error, 1)
	cross := sync.OnceFunc(func() {
		go func() {
			done <- other.InTx(t.Context(), func(ctx context.Context) error {
				_, err := other.LockVaults(ctx, second.AccountID, second.VaultID)
				if err == nil {
					_, err = other.LockVaults(ctx, first.AccountID, first.VaultID)
				}
				return err
			})
		}()
		for waits := 0; waits == 0; {
			select {
			case err := <-done:
				t.Fatalf("the other transaction has ended: %v", err)
			default:
			}
			w.check(db.QueryRowContext(t.Context(), `SELECT count(*) FROM pg_stat_activity
				WHERE application_name = current_setting('application_name') AND wait_event_type = 'Lock'`).Scan(&waits))
		}
	})
	w.deps.GrantStore = withdrawing{w.store, func(service string) {
		if service == "b" { // the vault of a is locked by now
			cross()
		}
	}}
	w.Service = agents.New(w.deps)
	if n, err := w.Delete(t.Context(), w.owner, client, id); n != 1 || err != nil {
		t.Fatalf("%d were deleted, %v", n, err)
	}
	w.check(<-done)
	if _, err := w.Release(t.Context(), key, client, "a", nil); fault.CodeOf(err) != fault.InvalidKey {
		t.Errorf("its key afterwards: %v", err)
	}
}

// A key that another replaces has wrapped credentials to agents, which take them up at
// the same time.
func TestAgentsAreServedWhileTheKeyThatGrantedThemIsReplaced(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		w := newSealed(t, s)
		names := []string{"a", "b", "c"}
		w.put(names...)
		issued, err := w.grants.CreateKey(t.Context(), w.owner, client, grants.CreateKeyInput{Name: "k", Scopes: grants.Scopes()})
		w.check(err)
		key := w.apiKey(issued)
		ids, tokens := make([]uuid.UUID, 5), make([]string, 5)
		for i := range ids {
			ids[i], tokens[i] = w.agent(fmt.Sprint("ci ", i), names...)
		}
		for range 4 {
			for _, id := range ids {
				for _, name := range names { // again, so that it is wrapped by the key, and taken up anew
					_, err := w.Grant(t.Context(), key, client, id, agents.GrantInput{ServiceName: name})
					w.check(err)
				}
			}
			var all sync.WaitGroup
			for _, token := range tokens {
				all.Go(func() {
					for range 3 {
						for _, name := range names {
							// One that read its wrap just before the pair changed may be refused, once.
							if _, err := w.Release(t.Context(), token, client, name, nil); err != nil && !errors.Is(err, custody.ErrOpen) {
								t.Errorf("release of %s: %v", name, err)
							}
						}
					}
				})
			}
			issued, err := w.grants.RotateKey(t.Context(), w.owner, client, key.GrantID)
			all.Wait()
			w.check(err)
			for _, token := range tokens {
				w.releases(token, "a")
			}
			key = w.apiKey(issued)
		}
	})
}

func (w sealed) apiKey(issued grants.Issued) grants.Principal {
	w.t.Helper()
	p, err := w.grants.Authenticate(w.t.Context(), issued.Token.Reveal(), models.GrantAPIKey)
	w.check(err)
	return p
}
