package store

import (
	"context"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"github.com/tvzero/tokenvault/models"
)

// signedTables hold rows that bear the MAC of a server key.
var signedTables = [...]string{"grants", "grant_keys", "credential_grants", "vaults", "vault_keys", "credential_keys", "escrows", "passkeys"}

// RowsByKeyID counts the authenticated rows of all accounts by the server key that
// authenticates them, so that the operator sees which old key is still needed.
func (s *Store) RowsByKeyID(ctx context.Context) (map[int]int64, error) {
	counts := map[int]int64{}
	for _, table := range signedTables {
		if err := s.countByKey(ctx, counts, s.view(ctx).Table(table).Where("mac IS NOT NULL"), "key_id"); err != nil {
			return nil, failed(err, "%s by key", table)
		}
	}
	return counts, nil
}

// TokensByKeyID counts the tokens that have not ended by the server key that seals
// them. Nothing but their end makes such a key unnecessary: the tokens are with
// their holders.
func (s *Store) TokensByKeyID(ctx context.Context, at time.Time) (map[int]int64, error) {
	counts := map[int]int64{}
	db := s.view(ctx).Table("grant_keys").Where("expires_at IS NULL OR expires_at > ?", models.Stamp(at))
	return counts, failed(s.countByKey(ctx, counts, db, "token_key_id"), "tokens by key")
}

func (s *Store) countByKey(ctx context.Context, counts map[int]int64, db *gorm.DB, column string) error {
	var rows []struct {
		KeyID int
		N     int64
	}
	if err := db.WithContext(ctx).Select(column + " AS key_id, count(*) AS n").Group(column).Scan(&rows).Error; err != nil {
		return err
	}
	for _, r := range rows {
		counts[r.KeyID] += r.N
	}
	return nil
}

// A pass looks at rows under other server keys than the current one, in the order
// of their primary keys, after those that were passed over; it hands each to sign,
// and writes what it has become unless the row has changed meanwhile. Rows that
// sign refuses stay as they are. It returns how many it looked at, and how many of
// them were refused.
type pass struct {
	keyColumn, column string // key id, and what is made under it
	order             string
	where             string
}

func resign[T any](ctx context.Context, s *Store, p pass, current, skip, limit int, sign func(*T) error, state func(*T) (int, models.Opaque)) (seen, refused int, err error) {
	var rows []T
	err = s.view(ctx).Where(p.column+" IS NOT NULL AND "+p.keyColumn+" <> ?"+p.where, current).
		Order(p.order).Offset(skip).Limit(limit).Find(&rows).Error
	if err != nil {
		return 0, 0, failed(err, "rows under old keys")
	}
	for i := range rows {
		row := &rows[i]
		keyID, was := state(row)
		if sign(row) != nil {
			refused++
			continue
		}
		newID, made := state(row)
		err := s.record(ctx, func(db *gorm.DB) error {
			return db.Model(row).Where(p.keyColumn+" = ? AND "+p.column+" = ?", keyID, was).
				UpdateColumns(map[string]any{p.keyColumn: newID, p.column: made}).Error
		})
		if err != nil {
			return i, refused, failed(err, "sign a row anew")
		}
	}
	return len(rows), refused, nil
}

func macPass(order string) pass { return pass{keyColumn: "key_id", column: "mac", order: order} }

// ResignGrants lets sign authenticate grants of all accounts anew that another
// server key than current authenticates, ended ones too, at most limit of them after
// the first skip. Rows that sign refuses stay as they are. It returns how many rows
// it looked at and how many were refused; it is no change of an account.
func (s *Store) ResignGrants(ctx context.Context, current, skip, limit int, sign func(*models.Grant) error) (seen, refused int, err error) {
	return resign(ctx, s, macPass("account_id, id"), current, skip, limit, sign,
		func(g *models.Grant) (int, models.Opaque) { return g.KeyID, g.MAC })
}

// ResignGrantKeys is ResignGrants for the slots of grants.
func (s *Store) ResignGrantKeys(ctx context.Context, current, skip, limit int, sign func(*models.GrantKey) error) (seen, refused int, err error) {
	return resign(ctx, s, macPass("account_id, grant_id, slot"), current, skip, limit, sign,
		func(k *models.GrantKey) (int, models.Opaque) { return k.KeyID, k.MAC })
}

// ResignCredentialGrants is ResignGrants for credential grants.
func (s *Store) ResignCredentialGrants(ctx context.Context, current, skip, limit int, sign func(*models.CredentialGrant) error) (seen, refused int, err error) {
	return resign(ctx, s, macPass("account_id, agent_id, service_name"), current, skip, limit, sign,
		func(g *models.CredentialGrant) (int, models.Opaque) { return g.KeyID, g.MAC })
}

// ResignVaults is ResignGrants for platform vaults.
func (s *Store) ResignVaults(ctx context.Context, current, skip, limit int, sign func(*models.Vault) error) (seen, refused int, err error) {
	p := macPass("account_id, id")
	p.where = " AND mode = 'platform'"
	return resign(ctx, s, p, current, skip, limit, sign, func(v *models.Vault) (int, models.Opaque) { return v.KeyID, v.MAC })
}

// ResignVaultKeys is ResignGrants for wrapped keys of vaults.
func (s *Store) ResignVaultKeys(ctx context.Context, current, skip, limit int, sign func(*models.VaultKey) error) (seen, refused int, err error) {
	return resign(ctx, s, macPass("account_id, grant_id, vault_id, generation, slot"), current, skip, limit, sign,
		func(k *models.VaultKey) (int, models.Opaque) { return k.KeyID, k.MAC })
}

// ResignCredentialKeys is ResignGrants for wrapped keys of credentials.
func (s *Store) ResignCredentialKeys(ctx context.Context, current, skip, limit int, sign func(*models.CredentialKey) error) (seen, refused int, err error) {
	return resign(ctx, s, macPass("account_id, credential_id, grant_id, slot"), current, skip, limit, sign,
		func(k *models.CredentialKey) (int, models.Opaque) { return k.KeyID, k.MAC })
}

// ResignEscrows is ResignGrants for escrows.
func (s *Store) ResignEscrows(ctx context.Context, current, skip, limit int, sign func(*models.Escrow) error) (seen, refused int, err error) {
	return resign(ctx, s, macPass("account_id, id"), current, skip, limit, sign,
		func(e *models.Escrow) (int, models.Opaque) { return e.KeyID, e.MAC })
}

// ResealBindings is ResignGrants for the sealed secrets of bindings.
func (s *Store) ResealBindings(ctx context.Context, current, skip, limit int, seal func(*models.Binding) error) (seen, refused int, err error) {
	p := pass{keyColumn: "secret_key_id", column: "sealed_secret", order: "account_id, id"}
	return resign(ctx, s, p, current, skip, limit, seal, func(b *models.Binding) (int, models.Opaque) { return b.SecretKeyID, b.SealedSecret })
}

// expiredAccess is a credential grant that has expired, with the agent's grant
// that still has keys of the credential.
type expiredAccess struct {
	models.CredentialGrant `gorm:"embedded"`
	AgentGrantID           uuid.UUID
}

// ExpiredAccess lists credential grants of all accounts that have expired at a time
// although the agent still has keys of the credential: with each the agent's grant.
// At most limit of them.
func (s *Store) ExpiredAccess(ctx context.Context, at time.Time, limit int) ([]models.CredentialGrant, []uuid.UUID, error) {
	var rows []expiredAccess
	err := s.view(ctx).Raw(`SELECT g.*, a.grant_id AS agent_grant_id FROM credential_grants g
		JOIN agents a ON a.account_id = g.account_id AND a.id = g.agent_id
		WHERE g.expires_at <= ? AND EXISTS (SELECT 1 FROM credential_keys k
			WHERE k.account_id = g.account_id AND k.credential_id = g.token_id AND k.grant_id = a.grant_id)
		ORDER BY g.account_id, g.agent_id, g.service_name LIMIT ?`, models.Stamp(at), limit).Scan(&rows).Error
	expired, keys := make([]models.CredentialGrant, len(rows)), make([]uuid.UUID, len(rows))
	for i, r := range rows {
		expired[i], keys[i] = r.CredentialGrant, r.AgentGrantID
	}
	return expired, keys, failed(err, "expired credential grants")
}
