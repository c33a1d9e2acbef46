package grants

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/cache"
	"github.com/tvzero/tokenvault/server/internal/custody"
)

// Store keeps grants and their keys.
type Store interface {
	CreateGrant(ctx context.Context, g *models.Grant, key *models.GrantKey) error
	GrantWithKey(ctx context.Context, accountID, grantID uuid.UUID, slot uint32) (models.Grant, models.GrantKey, error)
	EndGrant(ctx context.Context, accountID, grantID uuid.UUID, at time.Time) error
	TouchGrants(ctx context.Context, used []models.GrantUse) error
	TouchAgents(ctx context.Context, used []models.AgentUse) error
}

// Deps is what the service needs. Random is crypto/rand.Reader but in tests.
type Deps struct {
	Store  Store
	Keys   *custody.Keyring
	Gate   *cache.Gate
	Now    func() time.Time
	Random io.Reader
	Logger *slog.Logger
}

// Service makes, checks and ends grants. Safe for concurrent use.
type Service struct {
	deps  Deps
	known *cache.Cache[[32]byte, *good] // by a token's SHA-256
	mu    sync.Mutex
	used  map[use]time.Time // not yet written
}

type use struct{ accountID, grantID, agentID uuid.UUID }

// New makes the service.
func New(d Deps) *Service {
	return &Service{deps: d, known: cache.New[[32]byte, *good](d.Gate), used: map[use]time.Time{}}
}

// IssueInput is what a grant is made from. Life 0 is until revoked.
type IssueInput struct {
	AccountID uuid.UUID
	Kind      models.GrantKind
	Label     string
	AgentID   *uuid.UUID
	Client    string
	Address   string
	Life      time.Duration
}

// Issue makes a grant and its first token. It joins a running transaction; the
// token is good when that commits.
func (s *Service) Issue(ctx context.Context, in IssueInput) (Issued, error) {
	now := models.Stamp(s.deps.Now())
	grant := models.Grant{
		AccountID: in.AccountID, ID: models.NewID(), Kind: in.Kind, Label: in.Label, AgentID: in.AgentID,
		Client: in.Client, Address: in.Address, CreatedAt: now,
	}
	claims := custody.Claims{Kind: in.Kind, AccountID: in.AccountID, GrantID: grant.ID, IssuedAt: now}
	if in.Life > 0 {
		claims.ExpiresAt = now.Add(in.Life).Truncate(time.Second)
		grant.ExpiresAt = models.StampPtr(claims.ExpiresAt)
	}
	text, keyID, err := s.deps.Keys.SealToken(s.deps.Random, &claims)
	if err != nil {
		return Issued{}, err
	}
	public, wrapped, err := claims.NewGrantKey(s.deps.Random)
	if err != nil {
		return Issued{}, err
	}
	grant.PublicKey = public
	key := models.GrantKey{
		AccountID: grant.AccountID, GrantID: grant.ID, Slot: int64(claims.Slot), TokenKeyID: keyID,
		WrappedPrivateKey: wrapped, IssuedAt: now, ExpiresAt: grant.ExpiresAt,
	}
	s.deps.Keys.SignGrant(&grant)
	s.deps.Keys.SignGrantKey(&key)
	if err := s.deps.Store.CreateGrant(ctx, &grant, &key); err != nil {
		return Issued{}, fmt.Errorf("create grant: %w", err)
	}
	return Issued{Grant: grant, Token: newToken(text)}, nil
}

// End ends a grant with all its slots: models.ErrNotFound when there is none or
// it has ended. It joins a running transaction; when that commits, its tokens
// are refused here at once and on other replicas within a second.
func (s *Service) End(ctx context.Context, accountID, grantID uuid.UUID) error {
	return s.deps.Store.EndGrant(ctx, accountID, grantID, s.deps.Now())
}
