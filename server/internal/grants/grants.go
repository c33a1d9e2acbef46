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
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/cache"
	"github.com/tvzero/tokenvault/server/internal/custody"
)

// How long a session lasts. Each of its tokens lasts SessionTokenLife and is
// followed by another after a quarter of that, up to the session's own end.
const (
	SessionLife      = 180 * 24 * time.Hour
	SessionTokenLife = 30 * 24 * time.Hour
)

// Store keeps grants and their keys: what every sign-in needs.
type Store interface {
	CreateGrant(ctx context.Context, g *models.Grant, key *models.GrantKey) error
	GrantWithKey(ctx context.Context, accountID, grantID uuid.UUID, slot uint32) (models.Grant, models.GrantKey, error)
	EndGrant(ctx context.Context, accountID, grantID uuid.UUID, at time.Time) error
	TouchGrants(ctx context.Context, used []models.GrantUse) error
	TouchAgents(ctx context.Context, used []models.AgentUse) error
}

// Rows lists and changes grants. LockGrants is for transactions: in id order,
// missing ones left out. VaultGrants leaves out those that have ended.
type Rows interface {
	InTx(ctx context.Context, fn func(ctx context.Context) error) error
	Grant(ctx context.Context, accountID, grantID uuid.UUID) (models.Grant, error)
	Grants(ctx context.Context, accountID uuid.UUID) ([]models.Grant, error)
	LockGrants(ctx context.Context, accountID uuid.UUID, ids ...uuid.UUID) ([]models.Grant, error)
	UpdateGrant(ctx context.Context, g *models.Grant) error
	VaultGrants(ctx context.Context, accountID, vaultID uuid.UUID) ([]models.Grant, error)
}

// Slots stores the tokens of a grant, and which follows which. PutSuccessor is a
// compare-and-set: the first one wins, with its key.
type Slots interface {
	AddGrantKey(ctx context.Context, k *models.GrantKey) error
	DeleteGrantKeys(ctx context.Context, accountID, grantID uuid.UUID, exceptSlot *uint32) error
	GrantKeys(ctx context.Context, accountID, grantID uuid.UUID) ([]models.GrantKey, error)
	PutSuccessor(ctx context.Context, n *models.Successor, k *models.GrantKey) (models.Successor, bool, error)
	Successor(ctx context.Context, accountID, grantID uuid.UUID, slot uint32) (models.Successor, error)
	SuccessorSeen(ctx context.Context, accountID, grantID uuid.UUID, slot uint32, at time.Time) error
}

// VaultRows is what grants need to know of platform vaults' rows.
type VaultRows interface {
	LockVaults(ctx context.Context, accountID uuid.UUID, ids ...uuid.UUID) ([]models.Vault, error)
	UpdateVault(ctx context.Context, v *models.Vault) error
	DeleteVaultKeys(ctx context.Context, accountID, grantID, vaultID uuid.UUID) error
	VaultTokens(ctx context.Context, accountID, vaultID uuid.UUID) ([]models.Token, error)
	// VaultAgentGrants are the agents' keys that have to do with a vault.
	VaultAgentGrants(ctx context.Context, accountID, vaultID uuid.UUID) ([]uuid.UUID, error)
}

// Vaults is told what becomes of grants, and does what that means for platform
// vaults. All but Settle run in the transaction at hand, and undo it by failing.
type Vaults interface {
	// Opened: a session has begun.
	Opened(ctx context.Context, h *custody.Holder) error
	// Copied: to, a new grant or a new slot of from's, gets from's vault key.
	Copied(ctx context.Context, from, to *custody.Holder) error
	// NewPair: g, which opens the holder's vault or none, is about to get another key
	// pair. Both grants are locked.
	NewPair(ctx context.Context, h *custody.Holder, g models.Grant) error
	// Ended: g has just ended.
	Ended(ctx context.Context, g models.Grant) error
	// Settle does what became due when others lost the holder's vault.
	Settle(ctx context.Context, h *custody.Holder) error
}

// Recorder is the audit record.
type Recorder interface {
	Record(ctx context.Context, e audit.Event) error
	Do(ctx context.Context, e audit.Event, do func(ctx context.Context) error) error
}

// Deps is what the service needs. Store, Rows, Slots and VaultRows are the same
// database. Random is crypto/rand.Reader but in tests.
//
// Without Vaults nobody is told. Rows, Slots, VaultRows and Audit may be nil
// where tokens are only issued, checked and ended, and Vaults is nil too.
type Deps struct {
	Store     Store
	Rows      Rows
	Slots     Slots
	VaultRows VaultRows
	Vaults    Vaults
	Audit     Recorder
	Keys      *custody.Keyring
	Gate      *cache.Gate
	Now       func() time.Time
	Random    io.Reader
	Logger    *slog.Logger
}

// Service makes, checks, follows and ends grants. Safe for concurrent use.
type Service struct {
	deps  Deps
	known *cache.Cache[[32]byte, *good] // by a token's SHA-256
	mu    sync.Mutex
	used  map[use]time.Time  // not yet written
	late  map[slot]time.Time // when the use of a followed token was last recorded
}

type (
	use  struct{ accountID, grantID, agentID uuid.UUID }
	slot struct {
		grantID uuid.UUID
		number  uint32
	}
)

// New makes the service.
func New(d Deps) *Service {
	return &Service{deps: d, known: cache.New[[32]byte, *good](d.Gate), used: map[use]time.Time{}, late: map[slot]time.Time{}}
}

// IssueInput is what a grant is made from. Life 0 is until revoked. TokenLife is
// that of its first token, 0 as long as the grant.
type IssueInput struct {
	AccountID uuid.UUID
	Kind      models.GrantKind
	Label     string
	Scopes    []string
	AgentID   *uuid.UUID
	Client    string
	Address   string
	Life      time.Duration
	TokenLife time.Duration
}

// Issue makes a grant and its first token. It joins a running transaction; the
// token is good when that commits. A session gets a vault (Vaults.Opened).
func (s *Service) Issue(ctx context.Context, in IssueInput) (Issued, error) {
	d, err := s.draft(in)
	if err != nil {
		return Issued{}, err
	}
	defer d.claims.Secret.Clear()
	if s.deps.Vaults == nil || in.Kind != models.GrantSession {
		err = s.create(ctx, &d)
	} else {
		err = s.deps.Rows.InTx(ctx, func(ctx context.Context) error {
			return s.createWith(ctx, &d, s.deps.Vaults.Opened)
		})
	}
	if err != nil {
		return Issued{}, err
	}
	return d.issued(), nil
}

func (s *Service) create(ctx context.Context, d *draft) error {
	if err := s.deps.Store.CreateGrant(ctx, &d.grant, &d.key); err != nil {
		return fmt.Errorf("create grant: %w", err)
	}
	return nil
}

// createWith stores a draft and tells of its holder, in a transaction. The draft
// becomes what is stored then.
func (s *Service) createWith(ctx context.Context, d *draft, tell func(ctx context.Context, h *custody.Holder) error) error {
	if err := s.create(ctx, d); err != nil {
		return err
	}
	h, err := s.holder(d)
	if err != nil {
		return err
	}
	defer h.Clear()
	if err := tell(ctx, h); err != nil {
		return err
	}
	d.grant, err = s.deps.Rows.Grant(ctx, d.grant.AccountID, d.grant.ID)
	return err
}

// End ends a grant with all its slots: models.ErrNotFound when there is none or
// it has ended. It joins a running transaction; when that commits, its tokens
// are refused here at once and on other replicas within a second.
func (s *Service) End(ctx context.Context, accountID, grantID uuid.UUID) error {
	if s.deps.Vaults == nil {
		return s.deps.Store.EndGrant(ctx, accountID, grantID, s.deps.Now())
	}
	return s.deps.Rows.InTx(ctx, func(ctx context.Context) error {
		found, err := s.deps.Rows.LockGrants(ctx, accountID, grantID)
		if err != nil {
			return err
		}
		if len(found) == 0 || found[0].EndedAt != nil {
			return fmt.Errorf("grants: %w: grant %s", models.ErrNotFound, grantID)
		}
		return s.end(ctx, found[0])
	})
}

// end ends a grant that is locked and has not ended.
func (s *Service) end(ctx context.Context, g models.Grant) error {
	g.EndedAt = models.StampPtr(s.deps.Now())
	if err := s.deps.Store.EndGrant(ctx, g.AccountID, g.ID, *g.EndedAt); err != nil || s.deps.Vaults == nil {
		return err
	}
	return s.deps.Vaults.Ended(ctx, g)
}
