package store

import (
	"context"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// releaseQuery takes as many account, grant and credential ids.
const releaseQuery = "SELECT q.grant_id, " + releaseColumns + `
	FROM (SELECT DISTINCT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[]) AS u (account_id, grant_id, credential_id)) q
	CROSS JOIN LATERAL (SELECT * FROM tokens WHERE account_id = q.account_id AND id = q.credential_id OFFSET 0) t
	CROSS JOIN LATERAL (SELECT * FROM credentials WHERE account_id = q.account_id AND id = q.credential_id OFFSET 0) c
	LEFT JOIN LATERAL (SELECT * FROM credential_keys
		WHERE account_id = q.account_id AND credential_id = q.credential_id AND grant_id = q.grant_id OFFSET 0) k ON true
	ORDER BY k.slot`

func (s *Store) loadReleases(ctx context.Context, keys []releaseKey) (map[releaseKey]releaseRow, error) {
	accounts, grants, credentials := make([][16]byte, len(keys)), make([][16]byte, len(keys)), make([][16]byte, len(keys))
	for i, k := range keys {
		accounts[i], grants[i], credentials[i] = k.account, k.grant, k.credential
	}
	found := make(map[releaseKey]releaseRow, len(keys))
	err := s.query(ctx, releaseQuery, []any{accounts, grants, credentials}, func(rows pgx.Rows) error {
		var row releaseKeyRow
		key, err := row.scan(rows)
		if err != nil {
			return err
		}
		r := found[key]
		r.add(key, &row)
		found[key] = r
		return nil
	})
	return found, err
}

// scan reads a grant's id and releaseColumns.
func (row *releaseKeyRow) scan(rows pgx.Rows) (releaseKey, error) {
	t, c, k := &row.Token, &row.Credential, &row.Key
	var grant [16]byte
	var sender *[16]byte
	var tags *string
	err := rows.Scan(&grant,
		(*[16]byte)(&t.AccountID), (*[16]byte)(&t.ID), (*[16]byte)(&t.VaultID), &t.Owner, &t.Bridge, &t.ServiceName, &t.Scheme, &t.TokenType,
		&t.DisplayName, &t.Notes, &tags, &t.Provider, &t.CreationID, &t.ExpiresAt, &t.HasRefreshToken, &t.HasCertificate, &t.HasPrivateKey,
		&t.HasSSHKey, &t.HasTOTPSecret, &t.StoredAt, &t.SeenAt, &t.SeenPath, &t.SeenCreationID, &t.SupersededAt, &t.CreatedAt, &t.UpdatedAt,
		(*[16]byte)(&c.AccountID), (*[16]byte)(&c.ID), (*[16]byte)(&c.VaultID), &c.Generation, &c.Epoch, &c.Version, (*[]byte)(&c.Sealed),
		&c.RekeyDueAt, &c.UpdatedAt,
		&k.Slot, &k.Epoch, &k.Form, &sender, (*[]byte)(&k.Wrapped), &k.CreatedAt, &k.KeyID, (*[]byte)(&k.MAC))
	if err != nil {
		return releaseKey{}, err
	}
	k.SenderID = (*uuid.UUID)(sender)
	t.Tags, err = texts(tags)
	return releaseKey{t.AccountID, grant, t.ID}, err
}
