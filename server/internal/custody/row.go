package custody

import (
	"crypto/hmac"
	"crypto/sha256"
	"time"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
)

// Rows that steer keys, or who may use what, bear an HMAC-SHA-256 under a
// server key over table, key id and all other steering fields. It stops a
// writer of the database; it does not stop who runs the server.

// SignGrant authenticates a grant's steering fields under the current key.
func (k *Keyring) SignGrant(g *models.Grant) { g.KeyID, g.MAC = k.sign(grantRow(g)) }

// CheckGrant reports ErrRow or ErrKeyID unless the grant is as it was signed.
func (k *Keyring) CheckGrant(g *models.Grant) error { return k.check(g.KeyID, g.MAC, grantRow(g)) }

// SignGrantKey authenticates a slot of a grant under the current key.
func (k *Keyring) SignGrantKey(g *models.GrantKey) { g.KeyID, g.MAC = k.sign(grantKeyRow(g)) }

// CheckGrantKey reports ErrRow or ErrKeyID unless the slot is as it was signed.
func (k *Keyring) CheckGrantKey(g *models.GrantKey) error {
	return k.check(g.KeyID, g.MAC, grantKeyRow(g))
}

// SignCredentialGrant authenticates a credential grant under the current key.
func (k *Keyring) SignCredentialGrant(g *models.CredentialGrant) {
	g.KeyID, g.MAC = k.sign(credentialGrantRow(g))
}

// CheckCredentialGrant reports ErrRow or ErrKeyID unless the credential grant is
// as it was signed.
func (k *Keyring) CheckCredentialGrant(g *models.CredentialGrant) error {
	return k.check(g.KeyID, g.MAC, credentialGrantRow(g))
}

// A row is a table's name and the fields that its MAC covers, in order.
type row struct {
	table  string
	fields [][]byte
}

func grantRow(g *models.Grant) row {
	r := row{"grants", [][]byte{
		g.AccountID[:], g.ID[:], []byte(g.Kind), optional(g.AgentID), optional(g.VaultID),
		g.PublicKey, micros(&g.CreatedAt), micros(g.ExpiresAt),
	}}
	for _, scope := range g.Scopes {
		r.fields = append(r.fields, []byte(scope))
	}
	return r
}

func grantKeyRow(g *models.GrantKey) row {
	return row{"grant_keys", [][]byte{
		g.AccountID[:], g.GrantID[:], be64(uint64(g.Slot)), be64(uint64(g.TokenKeyID)), // #nosec G115 -- encodings
		g.WrappedPrivateKey, micros(&g.IssuedAt), micros(g.ExpiresAt),
	}}
}

func credentialGrantRow(g *models.CredentialGrant) row {
	return row{"credential_grants", [][]byte{
		g.AccountID[:], g.AgentID[:], []byte(g.ServiceName), g.TokenID[:], []byte(g.RefreshPolicy),
		micros(g.ExpiresAt), micros(&g.CreatedAt),
	}}
}

// SignVault authenticates a platform vault under the current key.
func (k *Keyring) SignVault(v *models.Vault) { v.KeyID, v.MAC = k.sign(vaultRow(v)) }

// CheckVault reports ErrRow or ErrKeyID unless the vault is as it was signed.
func (k *Keyring) CheckVault(v *models.Vault) error { return k.check(v.KeyID, v.MAC, vaultRow(v)) }

// SignVaultKey authenticates a wrapped vault key under the current key.
func (k *Keyring) SignVaultKey(v *models.VaultKey) { v.KeyID, v.MAC = k.sign(vaultKeyRow(v)) }

// CheckVaultKey reports ErrRow or ErrKeyID unless the wrapped key is as it was
// signed.
func (k *Keyring) CheckVaultKey(v *models.VaultKey) error {
	return k.check(v.KeyID, v.MAC, vaultKeyRow(v))
}

// SignCredentialKey authenticates an agent's wrapped key under the current key.
func (k *Keyring) SignCredentialKey(c *models.CredentialKey) {
	c.KeyID, c.MAC = k.sign(credentialKeyRow(c))
}

// CheckCredentialKey reports ErrRow or ErrKeyID unless the wrapped key is as it
// was signed.
func (k *Keyring) CheckCredentialKey(c *models.CredentialKey) error {
	return k.check(c.KeyID, c.MAC, credentialKeyRow(c))
}

// SignEscrow authenticates an escrow under the current key: anew after each
// transition.
func (k *Keyring) SignEscrow(e *models.Escrow) { e.KeyID, e.MAC = k.sign(escrowRow(e)) }

// CheckEscrow reports ErrRow or ErrKeyID unless the escrow is as it was signed.
func (k *Keyring) CheckEscrow(e *models.Escrow) error { return k.check(e.KeyID, e.MAC, escrowRow(e)) }

func vaultRow(v *models.Vault) row {
	return row{"vaults", [][]byte{v.AccountID[:], v.ID[:], []byte(v.Mode), micros(&v.CreatedAt), number(v.Generation)}}
}

func vaultKeyRow(v *models.VaultKey) row {
	return row{"vault_keys", [][]byte{
		v.AccountID[:], v.GrantID[:], v.VaultID[:], number(v.Generation), number(v.Slot), []byte(v.Form),
		optional(v.SenderID), v.Wrapped, micros(&v.CreatedAt),
	}}
}

func credentialKeyRow(c *models.CredentialKey) row {
	return row{"credential_keys", [][]byte{
		c.AccountID[:], c.CredentialID[:], c.GrantID[:], number(c.Slot), number(c.Epoch), []byte(c.Form),
		optional(c.SenderID), c.Wrapped, micros(&c.CreatedAt),
	}}
}

func escrowRow(e *models.Escrow) row {
	return row{"escrows", [][]byte{
		e.AccountID[:], e.ID[:], e.VaultID[:], number(e.Generation), e.FromID[:], e.ToID[:], e.Wrapped, []byte(e.State),
		micros(&e.CreatedAt), micros(&e.ExpiresAt), micros(e.EndedAt),
	}}
}

func number(v int64) []byte { return be64(uint64(v)) } // #nosec G115 -- an encoding

func (k *Keyring) sign(r row) (int, models.Opaque) {
	return k.current, k.mac(k.now(), k.current, r)
}

func (k *Keyring) check(keyID int, mac models.Opaque, r row) error {
	key, err := k.key(keyID)
	if err != nil {
		return err
	}
	if !hmac.Equal(mac, k.mac(key, keyID, r)) {
		return ErrRow
	}
	return nil
}

func (k *Keyring) mac(key *serverKey, keyID int, r row) []byte {
	h := hmac.New(sha256.New, key.row)
	h.Write(encode("tokenvault/row/v1", append([][]byte{[]byte(r.table), be32(uint32(keyID))}, r.fields...)...)) // #nosec G115 -- 0–255
	return h.Sum(nil)
}

// optional and micros encode absence as no bytes, which no value has.
func optional(id *uuid.UUID) []byte {
	if id == nil {
		return nil
	}
	return id[:]
}

func micros(t *time.Time) []byte {
	if t == nil {
		return nil
	}
	return be64(uint64(t.UnixMicro())) // #nosec G115 -- an encoding
}
