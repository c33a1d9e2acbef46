package platform_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/models/store/storetest"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/platform"
)

// tampered is a store whose rows somebody changed who has the database alone: each
// is changed on its way out.
type tampered struct {
	*store.Store
	grant         func(*models.Grant)
	vault         func(*models.Vault)
	vaultKey      func(*models.VaultKey)
	token         func(*models.Token)
	credential    func(*models.Credential)
	credentialKey func(*models.CredentialKey)
}

func spoil[T any](change func(*T), rows ...*T) {
	if change == nil {
		return
	}
	for _, r := range rows {
		change(r)
	}
}

func pointers[T any](rows []T) []*T {
	all := make([]*T, len(rows))
	for i := range rows {
		all[i] = &rows[i]
	}
	return all
}

func (s *tampered) Grant(ctx context.Context, accountID, id uuid.UUID) (models.Grant, error) {
	g, err := s.Store.Grant(ctx, accountID, id)
	spoil(s.grant, &g)
	return g, err
}

func (s *tampered) LockGrants(ctx context.Context, accountID uuid.UUID, ids ...uuid.UUID) ([]models.Grant, error) {
	rows, err := s.Store.LockGrants(ctx, accountID, ids...)
	spoil(s.grant, pointers(rows)...)
	return rows, err
}

func (s *tampered) Vault(ctx context.Context, accountID, id uuid.UUID) (models.Vault, error) {
	v, err := s.Store.Vault(ctx, accountID, id)
	spoil(s.vault, &v)
	return v, err
}

func (s *tampered) LockVaults(ctx context.Context, accountID uuid.UUID, ids ...uuid.UUID) ([]models.Vault, error) {
	rows, err := s.Store.LockVaults(ctx, accountID, ids...)
	spoil(s.vault, pointers(rows)...)
	return rows, err
}

func (s *tampered) VaultKeys(ctx context.Context, accountID, grantID, vaultID uuid.UUID, generation int64) ([]models.VaultKey, error) {
	rows, err := s.Store.VaultKeys(ctx, accountID, grantID, vaultID, generation)
	spoil(s.vaultKey, pointers(rows)...)
	return rows, err
}

func (s *tampered) TokenByRef(ctx context.Context, accountID, vaultID uuid.UUID, owner, bridge, service, scheme string) (models.Token, error) {
	t, err := s.Store.TokenByRef(ctx, accountID, vaultID, owner, bridge, service, scheme)
	spoil(s.token, &t)
	return t, err
}

func (s *tampered) Credential(ctx context.Context, accountID, id uuid.UUID) (models.Credential, error) {
	c, err := s.Store.Credential(ctx, accountID, id)
	spoil(s.credential, &c)
	return c, err
}

func (s *tampered) CredentialForAgent(ctx context.Context, accountID, grantID, id uuid.UUID) (models.Token, models.Credential, []models.CredentialKey, error) {
	t, c, keys, err := s.Store.CredentialForAgent(ctx, accountID, grantID, id)
	keys = slices.Clone(keys)
	spoil(s.token, &t)
	spoil(s.credential, &c)
	spoil(s.credentialKey, pointers(keys)...)
	return t, c, keys, err
}

// restore ends all changes.
func (s *tampered) restore() { *s = tampered{Store: s.Store} }

// bits are changes of one bit in every fourth byte of a column that is size bytes
// long, or shorter. (Package custody flips each.)
func bits[T any](name string, size int, column func(*T) *models.Opaque) map[string]func(*T) {
	all := map[string]func(*T){fmt.Sprintf("%s cut short", name): func(r *T) {
		if c := column(r); len(*c) > 0 {
			*c = (*c)[:len(*c)-1]
		}
	}}
	for i := 0; i < size; i += 4 {
		all[fmt.Sprintf("%s, bit %d of byte %d", name, i/4%8, i)] = func(r *T) {
			if c := column(r); len(*c) > 0 {
				*c = slices.Clone(*c)
				(*c)[i%len(*c)] ^= 1 << (i / 4 % 8)
			}
		}
	}
	return all
}

func merge[T any](all ...map[string]func(*T)) map[string]func(*T) {
	out := map[string]func(*T){}
	for _, some := range all {
		for name, change := range some {
			out[name] = change
		}
	}
	return out
}

var (
	otherID = uuid.MustParse("01900000-0000-7000-8000-000000000001")
	later   = time.Second
)

func TestEveryChangedColumnIsAClearRefusal(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		rows := &tampered{Store: s}
		w := newWorldWith(t, s, func(d *platform.Deps) {
			d.Vaults, d.VaultKeys, d.GrantRows, d.Tokens, d.Credentials, d.Wraps = rows, rows, rows, rows, rows, rows
		})
		w.gate.Close() // nothing is remembered: every row is read
		p := w.session()
		shared := w.apiKey(p)
		w.must(w.grants.Revoke(t.Context(), p, audit.Client{}, w.apiKey(p).GrantID)) // so that the key is given by sharing
		first, again := w.agent("first"), w.agent("again")
		token := w.put(p, "github", "secret")
		w.grant(p, first, token)
		w.grant(p, again, token)
		w.releases(again, token, "secret") // by its slot from now on

		user := func(name string) {
			got, err := w.Reveal(t.Context(), p, audit.Client{}, ref("github"))
			w.clear(name, got, err)
		}
		viaShare := func(name string) {
			got, err := w.Reveal(t.Context(), shared, audit.Client{}, ref("github"))
			w.clear(name+", by a shared key", got, err)
		}
		agents := func(name string) {
			for _, a := range []agent{first, again} {
				got, err := w.ReleaseTo(t.Context(), a.Principal, token.ID)
				w.clear(name+", to the agent "+a.Name, got, err)
			}
		}
		for name, change := range merge(
			bits("vaults.mac", 32, func(v *models.Vault) *models.Opaque { return &v.MAC }),
			map[string]func(*models.Vault){
				"vaults.account_id": func(v *models.Vault) { v.AccountID = otherID },
				"vaults.id":         func(v *models.Vault) { v.ID = otherID },
				"vaults.mode":       func(v *models.Vault) { v.Mode = models.ModeWebhook },
				"vaults.generation": func(v *models.Vault) { v.Generation-- },
				"vaults.created_at": func(v *models.Vault) { v.CreatedAt = v.CreatedAt.Add(later) },
				"vaults.key_id":     func(v *models.Vault) { v.KeyID++ },
			}) {
			rows.vault = change
			user(name)
			rows.restore()
		}
		for name, change := range merge(
			bits("vault_keys.mac", 32, func(k *models.VaultKey) *models.Opaque { return &k.MAC }),
			bits("vault_keys.wrapped", 104, func(k *models.VaultKey) *models.Opaque { return &k.Wrapped }),
			map[string]func(*models.VaultKey){
				"vault_keys.account_id": func(k *models.VaultKey) { k.AccountID = otherID },
				"vault_keys.grant_id":   func(k *models.VaultKey) { k.GrantID = otherID },
				"vault_keys.vault_id":   func(k *models.VaultKey) { k.VaultID = otherID },
				"vault_keys.generation": func(k *models.VaultKey) { k.Generation++ },
				"vault_keys.slot":       func(k *models.VaultKey) { k.Slot += 2 },
				"vault_keys.form":       func(k *models.VaultKey) { k.Form += "x" },
				"vault_keys.sender_id":  func(k *models.VaultKey) { k.SenderID = &otherID },
				"vault_keys.created_at": func(k *models.VaultKey) { k.CreatedAt = k.CreatedAt.Add(later) },
				"vault_keys.key_id":     func(k *models.VaultKey) { k.KeyID++ },
			}) {
			rows.vaultKey = change
			viaShare(name)
			user(name)
			rows.restore()
		}
		size := len(w.credential(token).Sealed)
		for name, change := range merge(
			bits("credentials.sealed", size, func(c *models.Credential) *models.Opaque { return &c.Sealed }),
			map[string]func(*models.Credential){
				"credentials.account_id": func(c *models.Credential) { c.AccountID = otherID },
				"credentials.id":         func(c *models.Credential) { c.ID = otherID },
				"credentials.vault_id":   func(c *models.Credential) { c.VaultID = otherID },
				"credentials.epoch":      func(c *models.Credential) { c.Epoch++ },
				"credentials.version":    func(c *models.Credential) { c.Version++ },
			}) {
			rows.credential = change
			user(name)
			agents(name)
			rows.restore()
		}
		rows.credential = func(c *models.Credential) { c.Generation++ } // agents have no vault's key, of any generation
		user("credentials.generation")
		rows.restore()
		for name, change := range map[string]func(*models.Token){
			"tokens.account_id":   func(k *models.Token) { k.AccountID = otherID },
			"tokens.id":           func(k *models.Token) { k.ID = otherID },
			"tokens.owner":        func(k *models.Token) { k.Owner = "x" },
			"tokens.bridge":       func(k *models.Token) { k.Bridge = "x" },
			"tokens.service_name": func(k *models.Token) { k.ServiceName = "x" },
			"tokens.scheme":       func(k *models.Token) { k.Scheme = "x" },
		} {
			rows.token = change
			user(name)
			agents(name)
			rows.restore()
		}
		for name, change := range merge(
			bits("credential_keys.mac", 32, func(k *models.CredentialKey) *models.Opaque { return &k.MAC }),
			bits("credential_keys.wrapped", 104, func(k *models.CredentialKey) *models.Opaque { return &k.Wrapped }),
			map[string]func(*models.CredentialKey){
				"credential_keys.account_id":    func(k *models.CredentialKey) { k.AccountID = otherID },
				"credential_keys.credential_id": func(k *models.CredentialKey) { k.CredentialID = otherID },
				"credential_keys.grant_id":      func(k *models.CredentialKey) { k.GrantID = otherID },
				"credential_keys.slot":          func(k *models.CredentialKey) { k.Slot += 2 },
				"credential_keys.epoch":         func(k *models.CredentialKey) { k.Epoch++ },
				"credential_keys.form":          func(k *models.CredentialKey) { k.Form += "x" },
				"credential_keys.sender_id":     func(k *models.CredentialKey) { k.SenderID = &otherID },
				"credential_keys.created_at":    func(k *models.CredentialKey) { k.CreatedAt = k.CreatedAt.Add(later) },
				"credential_keys.key_id":        func(k *models.CredentialKey) { k.KeyID++ },
			}) {
			rows.credentialKey = change
			agents(name)
			rows.restore()
		}
		for name, change := range merge(
			bits("grants.mac", 32, func(g *models.Grant) *models.Opaque { return &g.MAC }),
			bits("grants.public_key", 32, func(g *models.Grant) *models.Opaque { return (*models.Opaque)(&g.PublicKey) }),
			map[string]func(*models.Grant){
				"grants.kind":     func(g *models.Grant) { g.Kind = models.GrantOAuthRefresh },
				"grants.vault_id": func(g *models.Grant) { g.VaultID = &otherID },
				"grants.scopes":   func(g *models.Grant) { g.Scopes = append(slices.Clone(g.Scopes), "x") },
				"grants.key_id":   func(g *models.Grant) { g.KeyID++ },
			}) {
			rows.grant = change
			user(name)
			got, err := w.ReleaseTo(t.Context(), first.Principal, token.ID) // names its sender
			w.clear(name+", to the agent first", got, err)
			rows.restore()
		}
		// Nothing of that has stuck.
		w.reveals(p, "github", "secret")
		w.reveals(shared, "github", "secret")
		w.releases(first, token, "secret")
		w.releases(again, token, "secret")
	})
}

// clear checks that something was refused, and that nothing came out.
func (w *world) clear(name string, got map[string]any, err error) {
	w.t.Helper()
	switch code := fault.CodeOf(err); code {
	case fault.Internal, fault.Conflict, fault.InvalidKey, fault.TokenNotFound, fault.NoGrant:
		if got == nil {
			return
		}
	}
	w.t.Errorf("%s: got %v, %v, want a refusal", name, got, err)
}
