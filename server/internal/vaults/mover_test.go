package vaults_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"iter"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/custody"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/server/internal/platform"
	"github.com/tvzero/tokenvault/server/internal/vaults"
	"github.com/tvzero/tokenvault/server/internal/webhooks"
	"github.com/tvzero/tokenvault/webhook-sdk/webhooktest"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// A mover is a world with real platform vaults, of an account that is signed in.
type mover struct {
	*world
	platform *platform.Service
	grants   *grants.Service
	ring     *custody.Keyring
	breaks   *breaker
	hooks    *hooked
	ahead    time.Duration // of the clock
	still    time.Time     // where the clock stands; zero: it goes
	wh       *webhooktest.Webhook
	tv       *webhooktest.TV
}

// newMover makes a mover of a new account that has no webhook yet.
func newMover(t testing.TB, db *store.Store) *mover {
	t.Helper()
	m := &mover{breaks: &breaker{}}
	m.hooks = &hooked{m: m}
	m.world = newService(t, db, func(d *vaults.Deps) {
		ring, ok := d.Keyring.(*custody.Keyring)
		if !ok {
			t.Fatal("the keyring is not custody's")
		}
		m.ring = ring
		logger := slog.New(slog.DiscardHandler)
		m.platform = platform.New(platform.Deps{
			Accounts: steps{db, m.breaks}, Vaults: db, VaultKeys: db, GrantRows: db, Tokens: db, Agents: db, Credentials: db, Wraps: db, Escrows: db, Leases: db,
			Holders: m, Audit: d.Audit, Keyring: ring, PlainHTTP: true, Gate: d.Gate, Now: time.Now, Random: rand.Reader, Logger: logger,
		})
		m.grants = grants.New(grants.Deps{
			Store: db, Rows: db, Slots: db, VaultRows: db, Vaults: m.platform, Audit: d.Audit, Keys: ring, Gate: d.Gate,
			Now: time.Now, Random: rand.Reader, Logger: logger,
		})
		m.hooks.Documents = d.Documents
		d.Documents, d.Index, d.Platform = m.hooks, brokenIndex{d.Index, m.breaks}, m.platform
		d.Moves = brokenMoves{m.platform, m.breaks, m.hooks}
		d.Now = func() time.Time {
			if !m.still.IsZero() {
				return m.still.Add(m.ahead)
			}
			return time.Now().Add(m.ahead)
		}
	})
	m.user = m.newUser(models.NewID().String() + "@example.com")
	m.user = m.session()
	return m
}

// Keys implements platform.Holders: grants are made after the vaults.
func (m *mover) Keys(ctx context.Context, p grants.Principal) (*custody.Holder, error) {
	return m.grants.Keys(ctx, p)
}

// RememberedKeys implements platform.Holders.
func (m *mover) RememberedKeys(ctx context.Context, p grants.Principal) (*custody.Holder, error) {
	return m.grants.RememberedKeys(ctx, p)
}

// session signs in once more.
func (m *mover) session() grants.Principal {
	m.t.Helper()
	issued, err := m.grants.Issue(m.t.Context(), grants.IssueInput{
		AccountID: m.user.AccountID, Kind: models.GrantSession, Label: "test", Life: grants.SessionLife, TokenLife: grants.SessionTokenLife,
	})
	m.must(err)
	return m.principal(issued.Token.Reveal())
}

func (m *mover) principal(token string) grants.Principal {
	m.t.Helper()
	p, err := m.grants.Authenticate(m.t.Context(), token, models.GrantSession, models.GrantAPIKey, models.GrantAgentKey)
	m.must(err)
	return p
}

// again is the user as of now.
func (m *mover) again() grants.Principal {
	m.t.Helper()
	m.user = m.principal(m.user.Token.Reveal())
	return m.user
}

func (m *mover) must(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
}

// keep stores into the user's platform vault.
func (m *mover) keep(service, text string) models.Token {
	m.t.Helper()
	token, err := m.platform.Store(m.t.Context(), m.user, m.client, platform.Ref{Service: service}, fieldsOf(m.t, text))
	if err != nil {
		m.t.Fatalf("storing %s: %v", service, err)
	}
	return token
}

func fieldsOf(t testing.TB, text string) map[string]json.RawMessage {
	t.Helper()
	var fields map[string]json.RawMessage
	if err := json.Unmarshal([]byte(text), &fields); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return fields
}

func plain(secret string) string { return `{"tokenType":"PlainText","accessToken":"` + secret + `"}` }

// agent makes an agent that was granted tokens of the user's platform vault.
func (m *mover) agent(tokens ...models.Token) (models.Agent, grants.Principal) {
	m.t.Helper()
	ctx := m.t.Context()
	a := models.Agent{AccountID: m.user.AccountID, ID: models.NewID(), Name: models.NewID().String(), Status: models.AgentActive}
	issued, err := m.grants.Issue(ctx, grants.IssueInput{AccountID: a.AccountID, Kind: models.GrantAgentKey, AgentID: &a.ID})
	m.must(err)
	a.GrantID = issued.Grant.ID
	m.must(m.db.CreateAgent(ctx, &a))
	h, err := m.grants.Keys(ctx, m.user)
	m.must(err)
	defer h.Clear()
	for _, t := range tokens {
		g := models.CredentialGrant{
			AccountID: a.AccountID, AgentID: a.ID, ServiceName: t.ServiceName, TokenID: t.ID, RefreshPolicy: models.RefreshAuto,
			CreatedAt: models.Stamp(time.Now()),
		}
		m.ring.SignCredentialGrant(&g)
		m.must(m.db.InTx(ctx, func(ctx context.Context) error {
			return errors.Join(m.platform.Entrust(ctx, h, t.ID, &issued.Grant), m.db.PutCredentialGrant(ctx, &g))
		}))
	}
	return a, m.principal(issued.Token.Reveal())
}

// granted checks that an agent was granted a token, in rows that are as they were
// signed.
func (m *mover) granted(a models.Agent, t models.Token) {
	m.t.Helper()
	rows, err := m.db.CredentialGrants(m.t.Context(), a.AccountID, a.ID)
	m.must(err)
	for _, g := range rows {
		if g.TokenID == t.ID && g.ServiceName == t.ServiceName {
			if err := m.ring.CheckCredentialGrant(&g); err != nil {
				m.t.Errorf("the agent's grant of %s: %v", t.ServiceName, err)
			}
			return
		}
	}
	m.t.Errorf("the agent was granted %v, want %s among them", rows, t.ServiceName)
}

// webhook binds a real one.
func (m *mover) webhook(options ...webhooktest.Option) {
	m.t.Helper()
	m.wh = webhooktest.Start(m.t, m.t.TempDir(), options...)
	m.bind(registration(m.t, m.wh.URL))
	m.tv = webhooktest.NewTV(m.t, m.wh.URL)
	m.tv.Owner, m.tv.Secret = m.user.AccountID.String(), m.secret()
}

// patient stops the clock, so that one call of Move has time for everything.
func (m *mover) patient() { m.still = time.Now() }

// move moves until nothing is left to try.
func (m *mover) move() vaults.Moving {
	m.t.Helper()
	var all vaults.Moving
	for {
		done, err := m.Move(m.t.Context(), m.again(), m.client, all.Next)
		if err != nil {
			m.t.Fatalf("Move: %v, after %+v", err, done)
		}
		all.Moved, all.Left, all.Next = append(all.Moved, done.Moved...), append(all.Left, done.Left...), done.Next
		if done.Next == uuid.Nil {
			return all
		}
	}
}

// held are the names of what the user's platform vault holds.
func (m *mover) held() []string {
	m.t.Helper()
	list, err := m.platform.Holds(m.t.Context(), m.again())
	m.must(err)
	names := make([]string, len(list))
	for i, t := range list {
		names[i] = t.ServiceName
	}
	return names
}

// there is the index's row of a webhook's token.
func (m *mover) there(service string) models.Token {
	m.t.Helper()
	m.sync("")
	c, err := m.Custody(m.t.Context(), m.user.AccountID)
	m.must(err)
	t, err := m.db.Token(m.t.Context(), m.user.AccountID, c.Binding.VaultID, service)
	if err != nil {
		m.t.Fatalf("the webhook's %s: %v", service, err)
	}
	return t
}

var errBroken = errors.New("the process was killed")

// A breaker kills at the nth step from now: that step and all later ones fail until
// it is armed anew. Zero never does.
type breaker struct {
	mu    sync.Mutex
	left  int
	armed bool
	dead  bool
}

func (b *breaker) arm(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.left, b.armed, b.dead = n, n > 0, false
}

func (b *breaker) killed() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.dead
}

func (b *breaker) step() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.armed {
		b.left--
		b.dead = b.dead || b.left <= 0
	}
	if b.dead {
		return errBroken
	}
	return nil
}

// around is a step before something is done, and one after, when it has happened and
// nobody has heard of it.
func (b *breaker) around(do func() error) error {
	if err := b.step(); err != nil {
		return err
	}
	err := do()
	if broken := b.step(); broken != nil {
		return broken
	}
	return err
}

// steps breaks platform's transactions.
type steps struct {
	*store.Store
	b *breaker
}

func (s steps) InTx(ctx context.Context, do func(ctx context.Context) error) error {
	return s.b.around(func() error { return s.Store.InTx(ctx, do) })
}

// hooked is the webhook's client with a breaker, and what tests put in its way.
type hooked struct {
	vaults.Documents
	m       *mover
	onStore func()                                          // before a credential is sent
	alter   func(item wire.StorageItem) wire.StorageItem    // what the webhook lists
	onBack  func()                                          // when a copy is here, and before the webhook's goes
	refuse  func(service string, data map[string]any) error // instead of storing
}

func (h *hooked) List(ctx context.Context, t webhooks.Target, collection string, o wire.ListOptions) iter.Seq2[wire.StorageItem, error] {
	return func(yield func(wire.StorageItem, error) bool) {
		if err := h.m.breaks.step(); err != nil {
			yield(wire.StorageItem{}, err)
			return
		}
		for item, err := range h.Documents.List(ctx, t, collection, o) {
			if err == nil && h.alter != nil {
				item = h.alter(item)
			}
			if !yield(item, err) {
				return
			}
		}
	}
}

func (h *hooked) Store(ctx context.Context, t webhooks.Target, ticket, service string, data map[string]any) error {
	return h.m.breaks.around(func() error {
		if h.onStore != nil {
			h.onStore()
		}
		if h.refuse != nil {
			return h.refuse(service, data)
		}
		return h.Documents.Store(ctx, t, ticket, service, data)
	})
}

func (h *hooked) Delete(ctx context.Context, t webhooks.Target, collection, key string) error {
	return h.m.breaks.around(func() error {
		return h.Documents.Delete(ctx, t, collection, key)
	})
}

// brokenIndex and brokenMoves are the real things with a breaker.
type brokenIndex struct {
	vaults.Index
	b *breaker
}

func (i brokenIndex) SyncTokens(ctx context.Context, accountID, vaultID uuid.UUID, found []models.Token, complete bool) (n int, err error) {
	return n, i.b.around(func() error {
		n, err = i.Index.SyncTokens(ctx, accountID, vaultID, found, complete)
		return err
	})
}

func (i brokenIndex) DeleteToken(ctx context.Context, accountID, vaultID uuid.UUID, service string) error {
	return i.b.around(func() error { return i.Index.DeleteToken(ctx, accountID, vaultID, service) })
}

type brokenMoves struct {
	vaults.Moves
	b     *breaker
	hooks *hooked
}

func (m brokenMoves) Leave(ctx context.Context, p grants.Principal, id uuid.UUID) (l platform.Leaving, err error) {
	err = m.b.around(func() error {
		l, err = m.Moves.Leave(ctx, p, id)
		return err
	})
	if errors.Is(err, errBroken) {
		l.End(ctx) // a lease of who was killed ends by its time, for which no test waits
	}
	return l, err
}

func (m brokenMoves) Moved(ctx context.Context, p grants.Principal, l platform.Leaving, to models.Token) error {
	return m.b.around(func() error { return m.Moves.Moved(ctx, p, l, to) })
}

func (m brokenMoves) Retire(ctx context.Context, p grants.Principal) error {
	return m.b.around(func() error { return m.Moves.Retire(ctx, p) })
}

func (m brokenMoves) TakeBack(
	ctx context.Context, p grants.Principal, client audit.Client, from models.Token, fields map[string]json.RawMessage,
) (t models.Token, err error) {
	return t, m.b.around(func() error {
		t, err = m.Moves.TakeBack(ctx, p, client, from, fields)
		if m.hooks.onBack != nil {
			m.hooks.onBack()
		}
		return err
	})
}
