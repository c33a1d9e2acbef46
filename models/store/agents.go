package store

import (
	"context"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"github.com/tvzero/tokenvault/models"
)

// CreateAgent adds an agent. ErrConflict: the name is taken in its account.
// ErrNotFound: no such account.
func (s *Store) CreateAgent(ctx context.Context, a *models.Agent) error {
	return s.insert(ctx, a.AccountID, a, "agent with this name")
}

// Agent by id. ErrNotFound.
func (s *Store) Agent(ctx context.Context, accountID, agentID uuid.UUID) (models.Agent, error) {
	var a models.Agent
	err := s.view(ctx).Where("account_id = ? AND id = ?", accountID, agentID).Take(&a).Error
	return a, failed(err, "agent %s", agentID)
}

// LockAgent is Agent for who is about to change it: until the transaction ends,
// nobody else changes or deletes the row, so that what was read still holds when
// it is written. It must run inside InTx. ErrNotFound.
func (s *Store) LockAgent(ctx context.Context, accountID, agentID uuid.UUID) (models.Agent, error) {
	if s.txOf(ctx) == nil {
		return models.Agent{}, errNoTransaction
	}
	var a models.Agent
	err := locked(s.view(ctx)).Where("account_id = ? AND id = ?", accountID, agentID).Take(&a).Error
	return a, failed(err, "agent %s", agentID)
}

// Agents lists an account's agents by id, those after one id, at most limit of
// them; limit 0 is no limit.
func (s *Store) Agents(ctx context.Context, accountID, after uuid.UUID, limit int) ([]models.Agent, error) {
	var agents []models.Agent
	db := s.view(ctx).Where("account_id = ? AND id > ?", accountID, after).Order("id")
	err := atMost(db, limit).Find(&agents).Error
	return agents, failed(err, "agents of account %s", accountID)
}

func atMost(db *gorm.DB, limit int) *gorm.DB {
	if limit > 0 {
		return db.Limit(limit)
	}
	return db
}

// UpdateAgent replaces an agent's name, description, status and grant, and its
// time of update (the transaction's, unless set). ErrNotFound; ErrConflict: the
// name is taken.
func (s *Store) UpdateAgent(ctx context.Context, a *models.Agent) error {
	if err := clean(a); err != nil {
		return err
	}
	return s.change(ctx, func(db *gorm.DB) error {
		if a.UpdatedAt.IsZero() {
			a.UpdatedAt = db.NowFunc()
		}
		result := db.Model(&models.Agent{}).Where("account_id = ? AND id = ?", a.AccountID, a.ID).
			Select("Name", "Description", "Status", "GrantID", "UpdatedAt").UpdateColumns(a)
		return affected(result, "agent %s", a.ID)
	}, a.AccountID)
}

// DeleteAgent deletes an agent and its credential grants; ending its agent key
// is EndGrant. ErrNotFound.
func (s *Store) DeleteAgent(ctx context.Context, accountID, agentID uuid.UUID) error {
	return s.change(ctx, func(db *gorm.DB) error {
		// The agent's row is locked first, so that a concurrent credential grant
		// waits, and then fails, instead of slipping in between.
		var a models.Agent
		err := locked(db).Select("id").Where("account_id = ? AND id = ?", accountID, agentID).Take(&a).Error
		if err != nil {
			return failed(err, "agent %s", agentID)
		}
		err = db.Where("account_id = ? AND agent_id = ?", accountID, agentID).Delete(&models.CredentialGrant{}).Error
		if err != nil {
			return failed(err, "credential grants of agent %s", agentID)
		}
		err = db.Where("account_id = ? AND id = ?", accountID, agentID).Delete(&models.Agent{}).Error
		return failed(err, "agent %s", agentID)
	}, accountID)
}

// PutCredentialGrant gives an agent a token, or replaces what it had of that
// service name. ErrNotFound: no such agent.
func (s *Store) PutCredentialGrant(ctx context.Context, g *models.CredentialGrant) error {
	return s.put(ctx, g.AccountID, g, "credential grant")
}

// DeleteCredentialGrant takes a token from an agent. ErrNotFound: it had none of
// that name.
func (s *Store) DeleteCredentialGrant(ctx context.Context, accountID, agentID uuid.UUID, service string) error {
	return s.change(ctx, func(db *gorm.DB) error {
		result := db.Where("account_id = ? AND agent_id = ? AND service_name = ?", accountID, agentID, service).
			Delete(&models.CredentialGrant{})
		return affected(result, "credential grant of agent %s", agentID)
	}, accountID)
}

// CredentialGrants lists what an agent was granted, by service name, expired
// ones too.
func (s *Store) CredentialGrants(ctx context.Context, accountID, agentID uuid.UUID) ([]models.CredentialGrant, error) {
	var grants []models.CredentialGrant
	err := s.view(ctx).Where("account_id = ? AND agent_id = ?", accountID, agentID).
		Order("service_name").Find(&grants).Error
	return grants, failed(err, "credential grants of agent %s", agentID)
}

// CredentialGrantCounts counts what agents were granted and still is in force at a
// time, by agent; those without any are left out.
func (s *Store) CredentialGrantCounts(ctx context.Context, accountID uuid.UUID, at time.Time) (map[uuid.UUID]int, error) {
	var rows []struct {
		AgentID uuid.UUID
		N       int
	}
	err := s.view(ctx).Model(&models.CredentialGrant{}).Select("agent_id, count(*) AS n").
		Where("account_id = ? AND (expires_at IS NULL OR expires_at > ?)", accountID, models.Stamp(at)).
		Group("agent_id").Scan(&rows).Error
	counts := make(map[uuid.UUID]int, len(rows))
	for _, r := range rows {
		counts[r.AgentID] = r.N
	}
	return counts, failed(err, "credential grants of account %s", accountID)
}

// TokenGrants lists who was granted a token, by agent, expired grants too.
func (s *Store) TokenGrants(ctx context.Context, accountID, tokenID uuid.UUID) ([]models.CredentialGrant, error) {
	var grants []models.CredentialGrant
	err := s.view(ctx).Where("account_id = ? AND token_id = ?", accountID, tokenID).
		Order("agent_id, service_name").Find(&grants).Error
	return grants, failed(err, "credential grants of token %s", tokenID)
}

// agentWithGrant is a row of AgentWithGrants; all of Grant is nil for an agent
// without any.
type agentWithGrant struct {
	models.Agent `gorm:"embedded"`
	Grant        struct {
		ServiceName   *string
		TokenID       *uuid.UUID
		RefreshPolicy *models.RefreshPolicy
		ExpiresAt     *time.Time
		CreatedAt     *time.Time
		KeyID         *int
		MAC           models.Opaque
	} `gorm:"embedded;embeddedPrefix:grant_"`
	TokenExists bool
	Platform    bool
}

// AgentWithGrants is an agent and what it was granted, by service name, with
// whether the tokens still exist (superseded ones do) and have a credential here,
// all as of one moment, in one round trip.
// ErrNotFound: no such agent.
//
// On PostgreSQL, callers at the same time share that round trip.
func (s *Store) AgentWithGrants(ctx context.Context, accountID, agentID uuid.UUID) (models.Agent, []models.GrantedToken, error) {
	if s.dialect == Postgres && s.txOf(ctx) == nil {
		known, err := s.agents.get(ctx, agentKey{accountID, agentID})
		return known.agent, known.grants, failed(err, "agent %s", agentID)
	}
	var rows []agentWithGrant
	err := s.view(ctx).Raw(`SELECT a.account_id, a.id, a.name, a.description, a.status, a.grant_id,
			a.created_at, a.updated_at, a.last_used_at,
			g.service_name AS grant_service_name, g.token_id AS grant_token_id, g.refresh_policy AS grant_refresh_policy,
			g.expires_at AS grant_expires_at, g.created_at AS grant_created_at, g.key_id AS grant_key_id, g.mac AS grant_mac,
			t.id IS NOT NULL AS token_exists, c.id IS NOT NULL AS platform
		FROM agents a
		LEFT JOIN credential_grants g ON g.account_id = a.account_id AND g.agent_id = a.id
		LEFT JOIN tokens t ON t.account_id = g.account_id AND t.id = g.token_id
		LEFT JOIN credentials c ON c.account_id = g.account_id AND c.id = g.token_id
		WHERE a.account_id = ? AND a.id = ? ORDER BY g.service_name`, accountID, agentID).Scan(&rows).Error
	if err == nil && len(rows) == 0 {
		err = gorm.ErrRecordNotFound
	}
	if err != nil {
		return models.Agent{}, nil, failed(err, "agent %s", agentID)
	}
	var granted []models.GrantedToken
	for _, row := range rows {
		if g, ok := row.granted(); ok {
			granted = append(granted, g)
		}
	}
	return rows[0].Agent, granted, nil
}

// granted is the row's credential grant, if it has one.
func (r *agentWithGrant) granted() (models.GrantedToken, bool) {
	g := r.Grant
	if g.ServiceName == nil {
		return models.GrantedToken{}, false
	}
	return models.GrantedToken{Grant: models.CredentialGrant{
		AccountID: r.AccountID, AgentID: r.ID, ServiceName: *g.ServiceName, TokenID: *g.TokenID,
		RefreshPolicy: *g.RefreshPolicy, ExpiresAt: g.ExpiresAt, CreatedAt: *g.CreatedAt, KeyID: *g.KeyID, MAC: g.MAC,
	}, TokenExists: r.TokenExists, Platform: r.Platform}, true
}
