package platform_test

import (
	"context"
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/models/store/storetest"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/server/internal/platform"
)

var errBroken = errors.New("the store has broken off")

// A brittle store breaks off before a write or a commit that the test chooses.
type brittle struct {
	*store.Store
	left   int // writes until it breaks; 0: it does not
	writes int // since it was armed
	broke  bool
	before func(write int) // each write
}

// arm makes the nth write from now on fail.
func (b *brittle) arm(n int) { b.left, b.writes, b.broke = n, 0, false }

func (b *brittle) step(do func() error) error {
	b.writes++
	if b.before != nil {
		b.before(b.writes)
	}
	if b.writes == b.left {
		b.broke = true
		return errBroken
	}
	return do()
}

func (b *brittle) InTx(ctx context.Context, fn func(ctx context.Context) error) error {
	return b.Store.InTx(ctx, func(ctx context.Context) error {
		if err := fn(ctx); err != nil {
			return err
		}
		return b.step(func() error { return nil })
	})
}

func (b *brittle) CreateVault(ctx context.Context, v *models.Vault) error {
	return b.step(func() error { return b.Store.CreateVault(ctx, v) })
}

func (b *brittle) UpdateVault(ctx context.Context, v *models.Vault) error {
	return b.step(func() error { return b.Store.UpdateVault(ctx, v) })
}

func (b *brittle) DeleteVault(ctx context.Context, account, id uuid.UUID) error {
	return b.step(func() error { return b.Store.DeleteVault(ctx, account, id) })
}

func (b *brittle) PutVaultKey(ctx context.Context, k *models.VaultKey) error {
	return b.step(func() error { return b.Store.PutVaultKey(ctx, k) })
}

func (b *brittle) DeleteVaultKeys(ctx context.Context, account, grant, vault uuid.UUID) error {
	return b.step(func() error { return b.Store.DeleteVaultKeys(ctx, account, grant, vault) })
}

func (b *brittle) DeleteOldVaultKeys(ctx context.Context, account, vault uuid.UUID, before int64) error {
	return b.step(func() error { return b.Store.DeleteOldVaultKeys(ctx, account, vault, before) })
}

func (b *brittle) CreateGrant(ctx context.Context, g *models.Grant, k *models.GrantKey) error {
	return b.step(func() error { return b.Store.CreateGrant(ctx, g, k) })
}

func (b *brittle) UpdateGrant(ctx context.Context, g *models.Grant) error {
	return b.step(func() error { return b.Store.UpdateGrant(ctx, g) })
}

func (b *brittle) EndGrant(ctx context.Context, account, grant uuid.UUID, at time.Time) error {
	return b.step(func() error { return b.Store.EndGrant(ctx, account, grant, at) })
}

func (b *brittle) EndExpiredGrant(ctx context.Context, account, grant uuid.UUID, at time.Time) error {
	return b.step(func() error { return b.Store.EndExpiredGrant(ctx, account, grant, at) })
}

func (b *brittle) UpdateToken(ctx context.Context, t *models.Token) error {
	return b.step(func() error { return b.Store.UpdateToken(ctx, t) })
}

func (b *brittle) CreateCredential(ctx context.Context, t *models.Token, c *models.Credential) error {
	return b.step(func() error { return b.Store.CreateCredential(ctx, t, c) })
}

func (b *brittle) UpdateCredential(ctx context.Context, c *models.Credential, was models.Credential) error {
	return b.step(func() error { return b.Store.UpdateCredential(ctx, c, was) })
}

func (b *brittle) DeleteCredential(ctx context.Context, account, id uuid.UUID) error {
	return b.step(func() error { return b.Store.DeleteCredential(ctx, account, id) })
}

func (b *brittle) KeepCredentialKey(ctx context.Context, k *models.CredentialKey) error {
	return b.step(func() error { return b.Store.KeepCredentialKey(ctx, k) })
}

func (b *brittle) PutCredentialKey(ctx context.Context, k *models.CredentialKey) error {
	return b.step(func() error { return b.Store.PutCredentialKey(ctx, k) })
}

func (b *brittle) DeleteCredentialKeys(ctx context.Context, account, credential, grant uuid.UUID) error {
	return b.step(func() error { return b.Store.DeleteCredentialKeys(ctx, account, credential, grant) })
}

func (b *brittle) PutEscrow(ctx context.Context, e *models.Escrow) error {
	return b.step(func() error { return b.Store.PutEscrow(ctx, e) })
}

// under makes a service keep all it stores in the brittle one.
func (b *brittle) under(d *platform.Deps) {
	d.Accounts, d.Vaults, d.VaultKeys, d.GrantRows, d.Tokens, d.Credentials, d.Wraps, d.Escrows = b, b, b, b, b, b, b, b
}

// grants are those of a service that is over the brittle store.
func (b *brittle) grants(over *platform.Service, d platform.Deps) *grants.Service {
	return grants.New(grants.Deps{
		Store: b, Rows: b, Slots: b, VaultRows: b, Vaults: over, Audit: d.Audit.(grants.Recorder), Keys: d.Keyring, Gate: d.Gate,
		Now: d.Now, Random: d.Random, Logger: d.Logger,
	})
}

// brittleWorld is a world on a store that breaks where it is told to.
func brittleWorld(t testing.TB, s *store.Store) (*world, *brittle) {
	t.Helper()
	b := &brittle{Store: s}
	w := newWorldWith(t, s, b.under)
	w.grants = b.grants(w.Service, w.deps)
	return w, b
}

// Whichever write of an acceptance fails, nothing of it has happened, and it can be
// tried again.
func TestAnAcceptanceThatBreaksOffAnywhereHasChangedNothing(t *testing.T) {
	t.Parallel()
	for what, shares := range map[string]bool{"others open the vault that is left": true, "nobody else opens it": false} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			storetest.Each(t, func(t *testing.T, s *store.Store) {
				w, b := brittleWorld(t, s)
				from, to, agent := w.session(), w.session(), w.agent("agent")
				w.put(from, "both", "a1")
				w.put(to, "own", "b1")
				token := w.put(to, "both", "b2")
				w.grant(to, agent, token)
				w.releases(agent, token, "b2")
				if shares {
					w.apiKey(to)
				}
				other := w.session()
				w.offers(to, other)
				e := w.offers(from, to)
				broken := 0
				for n := 1; ; n++ {
					before := w.snapshot()
					b.arm(n)
					err := w.Accept(t.Context(), to, audit.Client{}, e.ID)
					reached := b.broke
					b.arm(0)
					if !reached {
						w.must(err)
						break
					}
					broken++
					if !errors.Is(err, errBroken) {
						t.Fatalf("write %d: got %v, want that it broke off", n, err)
					}
					if after := w.snapshot(); !reflect.DeepEqual(after, before) {
						t.Fatalf("write %d failed, and something changed:\n%v\nbefore:\n%v", n, after, before)
					}
					w.wantOpens(to, "own=b1", "both=b2")
				}
				if broken < 10 {
					t.Errorf("an acceptance has %d writes, want more of this one", broken)
				}
				w.wantOpens(w.now(to), "own=b1", "both=b2", "!both=a1")
				w.wantOpens(from, "own=b1", "both=b2", "!both=a1")
				w.releases(agent, token, "b2")
			})
		})
	}
}
