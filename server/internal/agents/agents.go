package agents

import (
	"context"
	"io"
	"time"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/cache"
	"github.com/tvzero/tokenvault/server/internal/custody"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/server/internal/vaults"
)

// Store keeps agents.
type Store interface {
	InTx(ctx context.Context, do func(ctx context.Context) error) error
	CreateAgent(ctx context.Context, a *models.Agent) error
	// LockAgent reads an agent that this transaction is going to change.
	LockAgent(ctx context.Context, accountID, id uuid.UUID) (models.Agent, error)
	Agents(ctx context.Context, accountID, after uuid.UUID, limit int) ([]models.Agent, error)
	UpdateAgent(ctx context.Context, a *models.Agent) error
	DeleteAgent(ctx context.Context, accountID, id uuid.UUID) error
}

// GrantStore keeps credential grants, and reads the agents that they are of.
type GrantStore interface {
	Agent(ctx context.Context, accountID, id uuid.UUID) (models.Agent, error)
	PutCredentialGrant(ctx context.Context, g *models.CredentialGrant) error
	DeleteCredentialGrant(ctx context.Context, accountID, agentID uuid.UUID, service string) error
	CredentialGrants(ctx context.Context, accountID, agentID uuid.UUID) ([]models.CredentialGrant, error)
	// AgentWithGrants also says which of the granted tokens still exist.
	AgentWithGrants(ctx context.Context, accountID, agentID uuid.UUID) (models.Agent, []models.GrantedToken, error)
}

// Grants makes, checks and ends agent keys.
type Grants interface {
	Authenticate(ctx context.Context, token string, kinds ...models.GrantKind) (grants.Principal, error)
	Issue(ctx context.Context, in grants.IssueInput) (grants.Issued, error)
	End(ctx context.Context, accountID, grantID uuid.UUID) error
}

// Vaults knows the account's tokens and where they are kept.
type Vaults interface {
	Custody(ctx context.Context, accountID uuid.UUID) (*vaults.Custody, error)
	Find(ctx context.Context, accountID uuid.UUID, service string) (models.Token, error)
	View(ctx context.Context, accountID, tokenID uuid.UUID) (vaults.TokenView, error)
}

// Recorder is the audit record.
type Recorder interface {
	Record(ctx context.Context, e audit.Event) error
	Do(ctx context.Context, e audit.Event, do func(ctx context.Context) error) error
}

// Deps is what the service needs. Random is crypto/rand.Reader but in tests.
type Deps struct {
	Store      Store
	GrantStore GrantStore
	Grants     Grants
	Vaults     Vaults
	Audit      Recorder
	Keys       *custody.Keyring
	Gate       *cache.Gate
	Now        func() time.Time
	Random     io.Reader
}

// Service manages agents and releases credentials to them. Safe for concurrent
// use.
type Service struct {
	deps  Deps
	known *cache.Cache[uuid.UUID, *subject] // by agent id
}

// New makes the service.
func New(d Deps) *Service {
	return &Service{deps: d, known: cache.New[uuid.UUID, *subject](d.Gate)}
}
