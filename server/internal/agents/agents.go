package agents

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
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
	// CredentialGrantCounts counts those in force at a time, by agent.
	CredentialGrantCounts(ctx context.Context, accountID uuid.UUID, at time.Time) (map[uuid.UUID]int, error)
	// AgentWithGrants also says which of the granted tokens still exist.
	AgentWithGrants(ctx context.Context, accountID, agentID uuid.UUID) (models.Agent, []models.GrantedToken, error)
}

// Grants makes, checks and ends agent keys.
type Grants interface {
	Authenticate(ctx context.Context, token string, kinds ...models.GrantKind) (grants.Principal, error)
	Issue(ctx context.Context, in grants.IssueInput) (grants.Issued, error)
	End(ctx context.Context, accountID, grantID uuid.UUID) error
	// Keys is the holder of p's token, which wraps keys in its name. Clear it.
	Keys(ctx context.Context, p grants.Principal) (*custody.Holder, error)
}

// GrantRows reads grants: to whom a key is wrapped. LockGrants and LockVaults are for
// transactions, and lock in id order; whoever locks both locks grants first.
type GrantRows interface {
	Grant(ctx context.Context, accountID, id uuid.UUID) (models.Grant, error)
	LockGrants(ctx context.Context, accountID uuid.UUID, ids ...uuid.UUID) ([]models.Grant, error)
	LockVaults(ctx context.Context, accountID uuid.UUID, ids ...uuid.UUID) ([]models.Vault, error)
	// VaultAgentGrants are the agents' keys that have to do with a vault.
	VaultAgentGrants(ctx context.Context, accountID, vaultID uuid.UUID) ([]uuid.UUID, error)
}

// Platform keeps the credentials of platform vaults.
type Platform interface {
	// Entrust wraps a credential's key to an agent's grant, in a transaction.
	Entrust(ctx context.Context, h *custody.Holder, tokenID uuid.UUID, to *models.Grant) error
	// Withdraw takes it back, in a transaction: what nobody can open then is deleted.
	Withdraw(ctx context.Context, accountID, tokenID, agentGrantID uuid.UUID) error
	// Settle gives new keys to what somebody lost, as far as h opens it.
	Settle(ctx context.Context, h *custody.Holder) error
	// ReleaseTo opens a credential with an agent's own key, and appends it to room;
	// waited: it was refreshed first, or so it was tried.
	ReleaseTo(ctx context.Context, p grants.Principal, tokenID uuid.UUID, policy models.RefreshPolicy, room []byte) (answer json.RawMessage, waited bool, err error)
}

// Vaults knows the account's tokens and where they are kept.
type Vaults interface {
	Custody(ctx context.Context, accountID uuid.UUID) (*vaults.Custody, error)
	Find(ctx context.Context, p grants.Principal, service string) (vaults.Found, error)
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
	GrantRows  GrantRows
	Vaults     Vaults
	Platform   Platform
	Audit      Recorder
	Keys       *custody.Keyring
	Gate       *cache.Gate
	Now        func() time.Time
	Random     io.Reader
	Logger     *slog.Logger
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
