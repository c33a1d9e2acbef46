package store

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/tvzero/tokenvault/models"
)

// loadTurns is how many queries of a loader run at once: the fewer, the more
// look-ups share one.
const loadTurns = 2

// slotKey names a slot of a grant, agentKey an agent.
type (
	slotKey struct {
		account, grant uuid.UUID
		slot           int64
	}
	agentKey struct{ account, agent uuid.UUID }

	agentAndGrants struct {
		agent  models.Agent
		grants []models.GrantedToken
	}
)

// query runs a statement with the driver itself: gorm's reflection would cost
// more than PostgreSQL does.
func (s *Store) query(ctx context.Context, sql string, args []any, row func(pgx.Rows) error) error {
	pool, err := s.read.DB()
	if err != nil {
		return err
	}
	conn, err := pool.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	return conn.Raw(func(driver any) error {
		c, ok := driver.(*stdlib.Conn)
		if !ok {
			return fmt.Errorf("the driver is a %T", driver)
		}
		rows, err := c.Conn().Query(ctx, sql, args...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			if err := row(rows); err != nil {
				return err
			}
		}
		return rows.Err()
	})
}

// The queries of loaders look up each key by itself, through the primary keys: OFFSET 0
// keeps the planner from making one join of them. Left to itself it reads the whole
// tables where it knows nothing of them yet, after an import for example, and a
// release then cost PostgreSQL fifty times as much.

func (s *Store) loadSlots(ctx context.Context, keys []slotKey) (map[slotKey]grantWithKey, error) {
	accounts, grants, slots := make([][16]byte, len(keys)), make([][16]byte, len(keys)), make([]int64, len(keys))
	for i, k := range keys {
		accounts[i], grants[i], slots[i] = k.account, k.grant, k.slot
	}
	found := make(map[slotKey]grantWithKey, len(keys))
	err := s.query(ctx, `SELECT g.account_id, g.id, g.kind, g.label, g.scopes, g.agent_id, g.vault_id, g.public_key, g.client,
			g.address, g.created_at, g.expires_at, g.last_used_at, g.ended_at, g.key_id, g.mac,
			k.slot, k.token_key_id, k.wrapped_private_key, k.issued_at, k.expires_at, k.key_id, k.mac
		FROM (SELECT DISTINCT * FROM unnest($1::uuid[], $2::uuid[], $3::bigint[]) AS u (account_id, grant_id, slot)) q
		CROSS JOIN LATERAL (SELECT * FROM grant_keys WHERE account_id = q.account_id AND grant_id = q.grant_id AND slot = q.slot OFFSET 0) k
		CROSS JOIN LATERAL (SELECT * FROM grants WHERE account_id = q.account_id AND id = q.grant_id OFFSET 0) g`,
		[]any{accounts, grants, slots}, func(rows pgx.Rows) error {
			var r grantWithKey
			g, k := &r.Grant, &r.Key
			var agent, vault *[16]byte
			var scopes *string
			err := rows.Scan((*[16]byte)(&g.AccountID), (*[16]byte)(&g.ID), (*string)(&g.Kind), &g.Label, &scopes, &agent, &vault,
				&g.PublicKey, &g.Client, &g.Address, &g.CreatedAt, &g.ExpiresAt, &g.LastUsedAt, &g.EndedAt, &g.KeyID, (*[]byte)(&g.MAC),
				&k.Slot, &k.TokenKeyID, (*[]byte)(&k.WrappedPrivateKey), &k.IssuedAt, &k.ExpiresAt, &k.KeyID, (*[]byte)(&k.MAC))
			g.AgentID, g.VaultID = (*uuid.UUID)(agent), (*uuid.UUID)(vault)
			if err == nil {
				g.Scopes, err = texts(scopes)
			}
			k.AccountID, k.GrantID = g.AccountID, g.ID
			found[slotKey{g.AccountID, g.ID, k.Slot}] = r
			return err
		})
	return found, err
}

// texts reads a column of several texts.
func texts(column *string) (list []string, err error) {
	if column != nil {
		err = json.Unmarshal([]byte(*column), &list)
	}
	return list, err
}

func (s *Store) loadAgents(ctx context.Context, keys []agentKey) (map[agentKey]agentAndGrants, error) {
	accounts, agents := make([][16]byte, len(keys)), make([][16]byte, len(keys))
	for i, k := range keys {
		accounts[i], agents[i] = k.account, k.agent
	}
	found := make(map[agentKey]agentAndGrants, len(keys))
	err := s.query(ctx, `SELECT a.account_id, a.id, a.name, a.description, a.status, a.grant_id,
			a.created_at, a.updated_at, a.last_used_at,
			g.service_name, g.token_id, g.refresh_policy, g.expires_at, g.created_at, g.key_id, g.mac, t.id IS NOT NULL, c.id IS NOT NULL
		FROM (SELECT DISTINCT * FROM unnest($1::uuid[], $2::uuid[]) AS u (account_id, agent_id)) q
		CROSS JOIN LATERAL (SELECT * FROM agents WHERE account_id = q.account_id AND id = q.agent_id OFFSET 0) a
		LEFT JOIN LATERAL (SELECT * FROM credential_grants WHERE account_id = q.account_id AND agent_id = q.agent_id OFFSET 0) g ON true
		LEFT JOIN LATERAL (SELECT id FROM tokens WHERE account_id = q.account_id AND id = g.token_id OFFSET 0) t ON true
		LEFT JOIN LATERAL (SELECT id FROM credentials WHERE account_id = q.account_id AND id = g.token_id OFFSET 0) c ON true
		ORDER BY a.account_id, a.id, g.service_name`,
		[]any{accounts, agents}, func(rows pgx.Rows) error {
			var r agentWithGrant
			a, g := &r.Agent, &r.Grant
			var token *[16]byte
			err := rows.Scan((*[16]byte)(&a.AccountID), (*[16]byte)(&a.ID), &a.Name, &a.Description, (*string)(&a.Status), (*[16]byte)(&a.GrantID),
				&a.CreatedAt, &a.UpdatedAt, &a.LastUsedAt,
				&g.ServiceName, &token, &g.RefreshPolicy, &g.ExpiresAt, &g.CreatedAt, &g.KeyID, (*[]byte)(&g.MAC), &r.TokenExists, &r.Platform)
			g.TokenID = (*uuid.UUID)(token)
			key := agentKey{a.AccountID, a.ID}
			known := found[key]
			known.agent = *a
			if granted, ok := r.granted(); ok {
				known.grants = append(known.grants, granted)
			}
			found[key] = known
			return err
		})
	return found, err
}
