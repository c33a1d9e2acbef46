package grants_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/cache"
	"github.com/tvzero/tokenvault/server/internal/custody"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
)

// A house is the service on a real store, with a real record and vaults that note
// what they are told, at a time that tests set.
type house struct {
	*grants.Service
	t       *testing.T
	store   *store.Store
	gate    *cache.Gate
	keys    *custody.Keyring
	vaults  *notedVaults
	audit   *audit.Service
	log     *syncBuffer
	began   time.Time
	later   atomic.Int64 // how much later than began it is
	account uuid.UUID
}

// A syncBuffer is a log that may be read while it is written.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func newHouse(t *testing.T, s *store.Store) *house {
	t.Helper()
	h := &house{t: t, store: s, keys: ring(t), log: &syncBuffer{}, began: time.Now().Truncate(time.Second)}
	h.gate = cache.NewGate(h.now)
	h.gate.Open()
	s.OnChange(h.gate.Changed)
	logger := slog.New(slog.NewTextHandler(h.log, nil))
	h.vaults = &notedVaults{store: s, keys: h.keys, fail: map[string]error{}}
	h.audit = audit.New(audit.Deps{Writer: s, Reader: s, Signer: h.keys, Now: time.Now, Logger: logger})
	h.Service = h.replica(h.gate)
	h.account = h.newAccount()

	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- h.audit.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("audit: %v", err)
		}
	})
	return h
}

func (h *house) now() time.Time { return h.began.Add(time.Duration(h.later.Load())) }

func (h *house) pass(d time.Duration) { h.later.Add(int64(d)) }

// replica is the service of another process on the same database.
func (h *house) replica(gate *cache.Gate) *grants.Service {
	return grants.New(grants.Deps{
		Store: h.store, Rows: h.store, Slots: h.store, VaultRows: h.store, Vaults: h.vaults, Audit: h.audit,
		Keys: h.keys, Gate: gate, Now: h.now, Random: rand.Reader, Logger: slog.New(slog.NewTextHandler(h.log, nil)),
	})
}

func (h *house) newAccount() uuid.UUID {
	h.t.Helper()
	a := models.Account{ID: models.NewID(), CreatedAt: h.began, UpdatedAt: h.began}
	a.Email = a.ID.String() + "@example.com"
	h.ok(h.store.CreateAccount(h.t.Context(), &a))
	return a.ID
}

func (h *house) ok(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatalf("got error %v, want none", err)
	}
}

// session signs the account in, and is who that is.
func (h *house) session() grants.Principal {
	h.t.Helper()
	i, err := h.Issue(h.t.Context(), grants.IssueInput{
		AccountID: h.account, Kind: models.GrantSession, Label: "Firefox on Linux", Life: grants.SessionLife, TokenLife: grants.SessionTokenLife,
	})
	h.ok(err)
	return h.who(i.Token)
}

// agentKey is the key of an agent.
func (h *house) agentKey() grants.Principal {
	h.t.Helper()
	id := models.NewID()
	i, err := h.Issue(h.t.Context(), grants.IssueInput{AccountID: h.account, Kind: models.GrantAgentKey, Label: "robot", AgentID: &id})
	h.ok(err)
	return h.who(i.Token)
}

// key makes an API key with the scopes given, and is who signs in with it.
func (h *house) key(by grants.Principal, scopes ...string) grants.Principal {
	h.t.Helper()
	i, err := h.CreateKey(h.t.Context(), by, client, grants.CreateKeyInput{Name: "ci", Scopes: scopes})
	h.ok(err)
	return h.who(i.Token)
}

var allKinds = []models.GrantKind{models.GrantSession, models.GrantAPIKey, models.GrantAgentKey}

// who is whom a good token speaks for.
func (h *house) who(token grants.Token) grants.Principal {
	h.t.Helper()
	p, err := h.Authenticate(h.t.Context(), token.Reveal(), allKinds...)
	h.ok(err)
	return p
}

// bad demands the one refusal of every bad token, of Authenticate and of Keys.
func (h *house) bad(what string, p grants.Principal) {
	h.t.Helper()
	got, err := h.Authenticate(h.t.Context(), p.Token.Reveal(), allKinds...)
	refused(h.t, what, got, err)
	holder, err := h.Keys(h.t.Context(), p)
	refused(h.t, what+", for its keys", grants.Principal{}, err)
	if holder != nil {
		h.t.Errorf("%s: there are keys", what)
	}
}

// opens demands that a principal's vault key opens, and is of the vault.
func (h *house) opens(p grants.Principal, vault uuid.UUID) {
	h.t.Helper()
	holder, err := h.Keys(h.t.Context(), p)
	h.ok(err)
	defer holder.Clear()
	dek, err := h.vaults.open(h.t.Context(), holder)
	h.ok(err)
	if id, _ := dek.Vault(); id != vault {
		h.t.Errorf("the key is of vault %s, want %s", id, vault)
	}
}

func (h *house) grant(id uuid.UUID) models.Grant {
	h.t.Helper()
	g, err := h.store.Grant(h.t.Context(), h.account, id)
	h.ok(err)
	return g
}

func (h *house) vault(id uuid.UUID) models.Vault {
	h.t.Helper()
	v, err := h.store.Vault(h.t.Context(), h.account, id)
	h.ok(err)
	return v
}

// slots are the numbers of a grant's tokens.
func (h *house) slots(id uuid.UUID) (numbers []int64) {
	h.t.Helper()
	keys, err := h.store.GrantKeys(h.t.Context(), h.account, id)
	h.ok(err)
	for _, k := range keys {
		numbers = append(numbers, k.Slot)
	}
	return numbers
}

// events are the account's, oldest first, as "type outcome detail".
func (h *house) events() (list []string) {
	h.t.Helper()
	page, err := h.audit.List(h.t.Context(), h.account, audit.Filter{Limit: audit.MaxLimit})
	h.ok(err)
	for _, e := range page.Events {
		list = append([]string{fmt.Sprintf("%s %s %s", e.EventType, e.Outcome, e.Detail)}, list...)
	}
	return list
}

func (h *house) recorded(want ...string) {
	h.t.Helper()
	if got := h.events(); !slices.Equal(got, want) {
		h.t.Errorf("on record is %q, want %q", got, want)
	}
}

// state is all that is stored of the account's grants, to show that nothing
// changed.
func (h *house) state() string {
	h.t.Helper()
	all, err := h.store.Grants(h.t.Context(), h.account)
	h.ok(err)
	text := ""
	for _, g := range all {
		text += fmt.Sprintf("%+v %x %x;", g, []byte(g.MAC), g.PublicKey)
		keys, err := h.store.GrantKeys(h.t.Context(), h.account, g.ID)
		h.ok(err)
		for _, k := range keys {
			text += fmt.Sprintf("%d %x %x;", k.Slot, []byte(k.WrappedPrivateKey), []byte(k.MAC))
		}
	}
	vaults, err := h.store.PlatformVaults(h.t.Context(), h.account)
	h.ok(err)
	return text + fmt.Sprintf("%+v", vaults)
}

// refuses demands that do fails with code and field, and changes nothing.
func (h *house) refuses(what string, code fault.Code, field string, do func() error) {
	h.t.Helper()
	before := h.state()
	err := do()
	if f := fault.From(err); f == nil || f.Code != code || f.Field != field {
		h.t.Errorf("%s: got %v, want %s %s", what, err, code, field)
	}
	if after := h.state(); after != before {
		h.t.Errorf("%s: it was refused, and changed\n%s\nto\n%s", what, before, after)
	}
}

var client = audit.Client{Address: "192.0.2.1", UserAgent: "curl/8", RequestID: "r-1"}

// notedVaults note what they are told, fail when a test wants it, and keep one key
// for each vault, as simply as it can be done.
type notedVaults struct {
	store *store.Store
	keys  *custody.Keyring
	mu    sync.Mutex
	told  []string
	fail  map[string]error // by the name of the call
}

func (v *notedVaults) note(call string, format string, args ...any) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.told = append(v.told, call+fmt.Sprintf(format, args...))
	return v.fail[call]
}

// calls are what was told since the last call of calls.
func (v *notedVaults) calls() []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	told := v.told
	v.told = nil
	return told
}

func (v *notedVaults) failing(call string, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.fail[call] = err
}

func (v *notedVaults) Opened(ctx context.Context, h *custody.Holder) error {
	vault := models.Vault{AccountID: h.Grant().AccountID, ID: models.NewID(), Mode: models.ModePlatform, CreatedAt: v.store.Now(ctx), Generation: 1}
	v.keys.SignVault(&vault)
	if err := v.store.CreateVault(ctx, &vault); err != nil {
		return err
	}
	dek, err := custody.NewDEK(rand.Reader, vault.ID, 1)
	if err != nil {
		return err
	}
	return v.give(ctx, h, dek, v.note("opened", " %s", h.Grant().ID))
}

func (v *notedVaults) Copied(ctx context.Context, from, to *custody.Holder) error {
	dek, err := v.open(ctx, from)
	if err != nil {
		return err
	}
	return v.give(ctx, to, dek, v.note("copied", " %s/%d to %s/%d", from.Grant().ID, from.Slot(), to.Grant().ID, to.Slot()))
}

// give lets a holder have a vault's key, and then fails if it should.
func (v *notedVaults) give(ctx context.Context, to *custody.Holder, dek custody.DEK, fail error) error {
	row, err := to.KeepDEK(dek)
	if err != nil {
		return err
	}
	if err := v.store.PutVaultKey(ctx, &row); err != nil {
		return err
	}
	g := *to.Grant()
	g.VaultID = &row.VaultID
	v.keys.SignGrant(&g)
	if err := v.store.UpdateGrant(ctx, &g); err != nil {
		return err
	}
	return fail
}

func (v *notedVaults) open(ctx context.Context, h *custody.Holder) (custody.DEK, error) {
	g, err := v.store.Grant(ctx, h.Grant().AccountID, h.Grant().ID)
	if err != nil {
		return custody.DEK{}, err
	}
	rows, err := v.store.VaultKeys(ctx, g.AccountID, g.ID, *g.VaultID, 1)
	if err != nil {
		return custody.DEK{}, err
	}
	for _, row := range rows {
		if row.Slot == int64(h.Slot()) {
			return h.OpenVaultKey(&row, nil)
		}
	}
	return custody.DEK{}, fmt.Errorf("slot %d of grant %s has no key of its vault: %d others have", h.Slot(), g.ID, len(rows))
}

func (v *notedVaults) NewPair(ctx context.Context, h *custody.Holder, g models.Grant) error {
	// The pair that is going to be replaced is still there.
	if now, err := v.store.Grant(ctx, g.AccountID, g.ID); err != nil || !slices.Equal(now.PublicKey, g.PublicKey) {
		return fmt.Errorf("the grant with the old pair is %+v, %w", now, err)
	}
	return v.note("new pair", " %s by %s/%d", g.ID, h.Grant().ID, h.Slot())
}

func (v *notedVaults) Ended(ctx context.Context, g models.Grant) error {
	// What is told is done already, in the same transaction.
	if now, err := v.store.Grant(ctx, g.AccountID, g.ID); err != nil || now.EndedAt == nil || !now.EndedAt.Equal(*g.EndedAt) {
		return fmt.Errorf("the grant that ended is %+v, %w", now, err)
	}
	return v.note("ended", " %s", g.ID)
}

func (v *notedVaults) Settle(ctx context.Context, h *custody.Holder) error {
	fail := v.note("settle", " %s/%d", h.Grant().ID, h.Slot())
	if _, err := v.open(ctx, h); err != nil {
		return err
	}
	return fail
}

// frail is a service with another record, or other slots.
func (h *house) frail(record grants.Recorder, slots grants.Slots) *grants.Service {
	return grants.New(grants.Deps{
		Store: h.store, Rows: h.store, Slots: slots, VaultRows: h.store, Vaults: h.vaults, Audit: record,
		Keys: h.keys, Gate: h.gate, Now: h.now, Random: rand.Reader, Logger: slog.New(slog.DiscardHandler),
	})
}

// A brokenRecord records nothing while it has an error.
type brokenRecord struct {
	grants.Recorder
	err error
}

func (b *brokenRecord) Record(ctx context.Context, e audit.Event) error {
	if b.err != nil {
		return b.err
	}
	return b.Recorder.Record(ctx, e)
}

// awaySlots cannot say who follows whom.
type awaySlots struct{ *store.Store }

func (awaySlots) Successor(context.Context, uuid.UUID, uuid.UUID, uint32) (models.Successor, error) {
	return models.Successor{}, errAway
}

// newDeafGate is the gate of a replica that is told of no change.
func newDeafGate(h *house) *cache.Gate {
	gate := cache.NewGate(h.now)
	gate.Open()
	return gate
}
