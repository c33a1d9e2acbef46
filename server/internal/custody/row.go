package custody

import (
	"crypto/hmac"
	"crypto/sha256"
	"hash"
	"sync"

	"github.com/tvzero/tokenvault/models"
)

// Rows that steer keys, or who may use what, bear an HMAC-SHA-256 under a
// server key over table, key id and all other steering fields. It stops a
// writer of the database; it does not stop who runs the server.

// SignGrant authenticates a grant's steering fields under the current key.
func (k *Keyring) SignGrant(g *models.Grant) {
	g.KeyID, g.MAC = k.sign("grants", func(e *encoder) { grantRow(e, g) })
}

// CheckGrant reports ErrRow or ErrKeyID unless the grant is as it was signed.
func (k *Keyring) CheckGrant(g *models.Grant) error {
	return k.check(g.KeyID, g.MAC, "grants", func(e *encoder) { grantRow(e, g) })
}

func grantRow(e *encoder, g *models.Grant) {
	e.id(g.AccountID)
	e.id(g.ID)
	e.string(string(g.Kind))
	e.optionalID(g.AgentID)
	e.optionalID(g.VaultID)
	e.bytes(g.PublicKey)
	e.time(g.CreatedAt)
	e.optionalTime(g.ExpiresAt)
	for _, scope := range g.Scopes { // nothing follows, so that their number is certain
		e.string(scope)
	}
}

// SignGrantKey authenticates a slot of a grant under the current key.
func (k *Keyring) SignGrantKey(g *models.GrantKey) {
	g.KeyID, g.MAC = k.sign("grant_keys", func(e *encoder) { grantKeyRow(e, g) })
}

// CheckGrantKey reports ErrRow or ErrKeyID unless the slot is as it was signed.
func (k *Keyring) CheckGrantKey(g *models.GrantKey) error {
	return k.check(g.KeyID, g.MAC, "grant_keys", func(e *encoder) { grantKeyRow(e, g) })
}

func grantKeyRow(e *encoder, g *models.GrantKey) {
	e.id(g.AccountID)
	e.id(g.GrantID)
	e.number(g.Slot)
	e.number(int64(g.TokenKeyID))
	e.bytes(g.WrappedPrivateKey)
	e.time(g.IssuedAt)
	e.optionalTime(g.ExpiresAt)
}

// SignCredentialGrant authenticates a credential grant under the current key.
func (k *Keyring) SignCredentialGrant(g *models.CredentialGrant) {
	g.KeyID, g.MAC = k.sign("credential_grants", func(e *encoder) { credentialGrantRow(e, g) })
}

// CheckCredentialGrant reports ErrRow or ErrKeyID unless the credential grant is
// as it was signed.
func (k *Keyring) CheckCredentialGrant(g *models.CredentialGrant) error {
	return k.check(g.KeyID, g.MAC, "credential_grants", func(e *encoder) { credentialGrantRow(e, g) })
}

func credentialGrantRow(e *encoder, g *models.CredentialGrant) {
	e.id(g.AccountID)
	e.id(g.AgentID)
	e.string(g.ServiceName)
	e.id(g.TokenID)
	e.string(string(g.RefreshPolicy))
	e.optionalTime(g.ExpiresAt)
	e.time(g.CreatedAt)
}

// SignVault authenticates a platform vault under the current key. That a rotation
// is due is not covered: it is a mark, made by whoever ends a grant.
func (k *Keyring) SignVault(v *models.Vault) {
	v.KeyID, v.MAC = k.sign("vaults", func(e *encoder) { vaultRow(e, v) })
}

// CheckVault reports ErrRow or ErrKeyID unless the vault is as it was signed.
func (k *Keyring) CheckVault(v *models.Vault) error {
	return k.check(v.KeyID, v.MAC, "vaults", func(e *encoder) { vaultRow(e, v) })
}

func vaultRow(e *encoder, v *models.Vault) {
	e.id(v.AccountID)
	e.id(v.ID)
	e.string(string(v.Mode))
	e.time(v.CreatedAt)
	e.number(v.Generation)
}

// SignVaultKey authenticates a wrapped vault key under the current key.
func (k *Keyring) SignVaultKey(v *models.VaultKey) {
	v.KeyID, v.MAC = k.sign("vault_keys", func(e *encoder) { vaultKeyRow(e, v) })
}

// CheckVaultKey reports ErrRow or ErrKeyID unless the wrapped key is as it was
// signed.
func (k *Keyring) CheckVaultKey(v *models.VaultKey) error {
	return k.check(v.KeyID, v.MAC, "vault_keys", func(e *encoder) { vaultKeyRow(e, v) })
}

func vaultKeyRow(e *encoder, v *models.VaultKey) {
	e.id(v.AccountID)
	e.id(v.GrantID)
	e.id(v.VaultID)
	e.number(v.Generation)
	e.number(v.Slot)
	e.string(string(v.Form))
	e.optionalID(v.SenderID)
	e.bytes(v.Wrapped)
	e.time(v.CreatedAt)
}

// SignCredentialKey authenticates an agent's wrapped key under the current key.
func (k *Keyring) SignCredentialKey(c *models.CredentialKey) {
	c.KeyID, c.MAC = k.sign("credential_keys", func(e *encoder) { credentialKeyRow(e, c) })
}

// CheckCredentialKey reports ErrRow or ErrKeyID unless the wrapped key is as it
// was signed.
func (k *Keyring) CheckCredentialKey(c *models.CredentialKey) error {
	return k.check(c.KeyID, c.MAC, "credential_keys", func(e *encoder) { credentialKeyRow(e, c) })
}

func credentialKeyRow(e *encoder, c *models.CredentialKey) {
	e.id(c.AccountID)
	e.id(c.CredentialID)
	e.id(c.GrantID)
	e.number(c.Slot)
	e.number(c.Epoch)
	e.string(string(c.Form))
	e.optionalID(c.SenderID)
	e.bytes(c.Wrapped)
	e.time(c.CreatedAt)
}

// SignEscrow authenticates an escrow under the current key: anew after each
// transition.
func (k *Keyring) SignEscrow(e *models.Escrow) {
	e.KeyID, e.MAC = k.sign("escrows", func(to *encoder) { escrowRow(to, e) })
}

// CheckEscrow reports ErrRow or ErrKeyID unless the escrow is as it was signed.
func (k *Keyring) CheckEscrow(e *models.Escrow) error {
	return k.check(e.KeyID, e.MAC, "escrows", func(to *encoder) { escrowRow(to, e) })
}

func escrowRow(to *encoder, e *models.Escrow) {
	to.id(e.AccountID)
	to.id(e.ID)
	to.id(e.VaultID)
	to.number(e.Generation)
	to.id(e.FromID)
	to.id(e.ToID)
	to.bytes(e.Wrapped)
	to.string(string(e.State))
	to.time(e.CreatedAt)
	to.time(e.ExpiresAt)
	to.optionalTime(e.EndedAt)
}

func (k *Keyring) sign(table string, fields func(*encoder)) (int, models.Opaque) {
	a := k.now().rows.take()
	defer k.now().rows.put(a)
	return k.current, append(models.Opaque(nil), a.mac(k.current, table, fields)...)
}

func (k *Keyring) check(keyID int, mac models.Opaque, table string, fields func(*encoder)) error {
	key, err := k.key(keyID)
	if err != nil {
		return err
	}
	a := key.rows.take()
	defer key.rows.put(a)
	if !hmac.Equal(mac, a.mac(keyID, table, fields)) {
		return ErrRow
	}
	return nil
}

// authenticators are the HMACs of one server key for rows, several of which are
// checked at every request: made once, and used again.
type authenticators struct {
	key  []byte
	free sync.Pool // of *authenticator
}

type authenticator struct {
	hmac hash.Hash
	text encoder
	sum  []byte
}

func (p *authenticators) take() *authenticator {
	if a, ok := p.free.Get().(*authenticator); ok {
		return a
	}
	return &authenticator{hmac: hmac.New(sha256.New, p.key), sum: make([]byte, 0, sha256.Size)}
}

func (p *authenticators) put(a *authenticator) { p.free.Put(a) }

// mac is good until the authenticator is put back.
func (a *authenticator) mac(keyID int, table string, fields func(*encoder)) []byte {
	a.text.text = append(a.text.text[:0], "tokenvault/row/v1"...)
	a.text.string(table)
	a.text.uint32(uint32(keyID)) // #nosec G115 -- 0–255
	fields(&a.text)
	a.hmac.Reset()
	a.hmac.Write(a.text.text)
	return a.hmac.Sum(a.sum)
}
