// Package platform is vaults that the server keeps and cannot read: it stores
// ciphertext, and opens it only while a request brings a token whose holder may.
//
// A session, an API key or an OAuth client opens its whole vault; an agent opens
// only credentials that were wrapped to it. What somebody loses is at once out of
// their reach in the database, and gets new keys as soon as somebody is here who
// opens it. A token that is due is refreshed when it is read, with the reader's key. The
// package knows neither HTTP nor webhooks, and keeps no key longer than a call, or than
// the refresh that one has caused.
//
// Locks are taken in one order: agents, grants by id, then vaults by id, then leases by id, then escrows; rows of credentials and tokens last.
package platform

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/cache"
	"github.com/tvzero/tokenvault/server/internal/custody"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/webhook-sdk/mint"
)

// Accounts says how an account keeps its tokens.
type Accounts interface {
	InTx(ctx context.Context, fn func(ctx context.Context) error) error
	Account(ctx context.Context, id uuid.UUID) (models.Account, error)
	BindingByState(ctx context.Context, accountID uuid.UUID, state models.BindingState) (models.Binding, error)
}

// Vaults stores vaults. LockVaults is for transactions: in id order, missing ones
// left out. DeleteVault deletes all that is in it too.
type Vaults interface {
	CreateVault(ctx context.Context, v *models.Vault) error
	Vault(ctx context.Context, accountID, id uuid.UUID) (models.Vault, error)
	LockVaults(ctx context.Context, accountID uuid.UUID, ids ...uuid.UUID) ([]models.Vault, error)
	UpdateVault(ctx context.Context, v *models.Vault) error
	DeleteVault(ctx context.Context, accountID, id uuid.UUID) error
	PlatformVaults(ctx context.Context, accountID uuid.UUID) ([]models.Vault, error)
}

// VaultKeys stores vaults' keys, each wrapped for a grant or a slot of it.
type VaultKeys interface {
	PutVaultKey(ctx context.Context, k *models.VaultKey) error
	VaultKeys(ctx context.Context, accountID, grantID, vaultID uuid.UUID, generation int64) ([]models.VaultKey, error)
	DeleteVaultKeys(ctx context.Context, accountID, grantID, vaultID uuid.UUID) error
	DeleteOldVaultKeys(ctx context.Context, accountID, vaultID uuid.UUID, before int64) error
	// SentElsewhere says whether a grant wrapped keys, of other vaults than one or of
	// credentials there, that others have.
	SentElsewhere(ctx context.Context, accountID, grantID, vaultID uuid.UUID) (bool, error)
}

// GrantRows reads grants, and says which vault they open. LockGrants is as
// LockVaults.
type GrantRows interface {
	Grant(ctx context.Context, accountID, id uuid.UUID) (models.Grant, error)
	LockGrants(ctx context.Context, accountID uuid.UUID, ids ...uuid.UUID) ([]models.Grant, error)
	UpdateGrant(ctx context.Context, g *models.Grant) error
	VaultGrants(ctx context.Context, accountID, vaultID uuid.UUID) ([]models.Grant, error)
	ExpiredGrants(ctx context.Context, at time.Time, limit int) ([]models.Grant, error)
	EndExpiredGrant(ctx context.Context, accountID, grantID uuid.UUID, at time.Time) error
}

// Slots ends single tokens of grants.
type Slots interface {
	ExpiredSlots(ctx context.Context, at time.Time, limit int) ([]models.GrantKey, error)
	DeleteSlot(ctx context.Context, accountID, grantID uuid.UUID, slot uint32) error
}

// Tokens stores what is readable of a credential.
type Tokens interface {
	TokenByRef(ctx context.Context, accountID, vaultID uuid.UUID, owner, bridge, service, scheme string) (models.Token, error)
	TokenByID(ctx context.Context, accountID, id uuid.UUID) (models.Token, error)
	VaultTokens(ctx context.Context, accountID, vaultID uuid.UUID) ([]models.Token, error)
	CountTokens(ctx context.Context, accountID, vaultID uuid.UUID) (int64, error)
	UpdateToken(ctx context.Context, t *models.Token) error
	// GrantedTokens are those of a vault that agents were granted or have keys of.
	GrantedTokens(ctx context.Context, accountID, vaultID uuid.UUID) ([]uuid.UUID, error)
}

// Escrows stores vaults' keys in transit between grants.
type Escrows interface {
	PutEscrow(ctx context.Context, e *models.Escrow) error
	Escrow(ctx context.Context, accountID, id uuid.UUID) (models.Escrow, error)
	LockEscrow(ctx context.Context, accountID, id uuid.UUID) (models.Escrow, error)
	Escrows(ctx context.Context, accountID uuid.UUID) ([]models.Escrow, error)
	PendingEscrows(ctx context.Context, accountID uuid.UUID) ([]models.Escrow, error)
	ExpiredEscrows(ctx context.Context, at time.Time, limit int) ([]models.Escrow, error)
}

// Agents says who was granted a token. LockAgent is for transactions.
type Agents interface {
	Agent(ctx context.Context, accountID, id uuid.UUID) (models.Agent, error)
	LockAgent(ctx context.Context, accountID, id uuid.UUID) (models.Agent, error)
	PutCredentialGrant(ctx context.Context, g *models.CredentialGrant) error
	TokenGrants(ctx context.Context, accountID, tokenID uuid.UUID) ([]models.CredentialGrant, error)
	CredentialGrants(ctx context.Context, accountID, agentID uuid.UUID) ([]models.CredentialGrant, error)
	// ExpiredAccess are credential grants of all accounts that have expired while the
	// agent still has keys of the credential, with the agents' grants.
	ExpiredAccess(ctx context.Context, at time.Time, limit int) ([]models.CredentialGrant, []uuid.UUID, error)
}

// Credentials stores ciphertext. UpdateCredential is conditional on what was
// there; CredentialForAgent is one round trip.
type Credentials interface {
	CreateCredential(ctx context.Context, t *models.Token, c *models.Credential) error
	UpdateCredential(ctx context.Context, c *models.Credential, was models.Credential) error
	Credential(ctx context.Context, accountID, id uuid.UUID) (models.Credential, error)
	Credentials(ctx context.Context, accountID, vaultID uuid.UUID) ([]models.Credential, error)
	DeleteCredential(ctx context.Context, accountID, id uuid.UUID) error
	CredentialForAgent(ctx context.Context, accountID, grantID, id uuid.UUID) (models.Token, models.Credential, []models.CredentialKey, error)
}

// Wraps stores credentials' keys, wrapped for agents, and says which credentials
// are due for another one.
type Wraps interface {
	PutCredentialKey(ctx context.Context, k *models.CredentialKey) error
	KeepCredentialKey(ctx context.Context, k *models.CredentialKey) error
	CredentialKeys(ctx context.Context, accountID, credentialID uuid.UUID) ([]models.CredentialKey, error)
	DeleteCredentialKeys(ctx context.Context, accountID, credentialID, grantID uuid.UUID) error
	AgentKeys(ctx context.Context, accountID, grantID uuid.UUID) ([]models.CredentialKey, error)
	RekeyDue(ctx context.Context, accountID, vaultID uuid.UUID) ([]models.Credential, error)
	VaultAgentGrants(ctx context.Context, accountID, vaultID uuid.UUID) ([]uuid.UUID, error)
}

// SignedRows lets rows of all accounts be authenticated anew that are under another
// server key than the current one: at most limit of them, after the first skip. Rows
// that sign refuses stay as they are; seen counts those looked at.
type SignedRows interface {
	ResignGrants(ctx context.Context, current, skip, limit int, sign func(*models.Grant) error) (seen, refused int, err error)
	ResignGrantKeys(ctx context.Context, current, skip, limit int, sign func(*models.GrantKey) error) (seen, refused int, err error)
	ResignCredentialGrants(ctx context.Context, current, skip, limit int, sign func(*models.CredentialGrant) error) (seen, refused int, err error)
	ResealBindings(ctx context.Context, current, skip, limit int, seal func(*models.Binding) error) (seen, refused int, err error)
}

// SignedVaultRows is SignedRows for what platform vaults have.
type SignedVaultRows interface {
	ResignVaults(ctx context.Context, current, skip, limit int, sign func(*models.Vault) error) (seen, refused int, err error)
	ResignVaultKeys(ctx context.Context, current, skip, limit int, sign func(*models.VaultKey) error) (seen, refused int, err error)
	ResignCredentialKeys(ctx context.Context, current, skip, limit int, sign func(*models.CredentialKey) error) (seen, refused int, err error)
	ResignEscrows(ctx context.Context, current, skip, limit int, sign func(*models.Escrow) error) (seen, refused int, err error)
}

// SignInRows is SignedRows for what guards signing in.
type SignInRows interface {
	ResignPasskeys(ctx context.Context, current, skip, limit int, sign func(*models.Passkey) error) (seen, refused int, err error)
	ResealSecondFactors(ctx context.Context, current, skip, limit int, seal func(*models.SecondFactor) error) (seen, refused int, err error)
}

// KeyCounts says what server keys are still needed for.
type KeyCounts interface {
	SecondFactorsByKeyID(ctx context.Context) (map[int]int64, error)
	RowsByKeyID(ctx context.Context) (map[int]int64, error)
	TokensByKeyID(ctx context.Context, at time.Time) (map[int]int64, error)
	BindingsByKeyID(ctx context.Context) (map[int]int64, error)
}

// Holders opens a principal's token again, for its keys.
type Holders interface {
	Keys(ctx context.Context, p grants.Principal) (*custody.Holder, error)
	// RememberedKeys need not read the database when the token was good a moment ago.
	RememberedKeys(ctx context.Context, p grants.Principal) (*custody.Holder, error)
}

// Recorder is the audit record.
type Recorder interface {
	Do(ctx context.Context, e audit.Event, do func(ctx context.Context) error) error
}

// Deps is what the service needs. All that stores is the same database. Random is
// crypto/rand.Reader but in tests.
type Deps struct {
	Accounts    Accounts
	Vaults      Vaults
	VaultKeys   VaultKeys
	GrantRows   GrantRows
	Slots       Slots // for Run
	Tokens      Tokens
	Agents      Agents
	Credentials Credentials
	Wraps       Wraps
	Escrows     Escrows
	Leases      Leases
	Engine      Engine                      // nil: tokens are not refreshed
	Providers   Providers                   // nil: none
	ConnectURL  func(t models.Token) string // where an owner connects a token's account again; nil: nowhere
	Signed      SignedRows                  // for Run
	SignedVault SignedVaultRows             // for Run
	SignIn      SignInRows                  // for Run
	KeyCounts   KeyCounts                   // for KeyUse
	Holders     Holders
	Audit       Recorder
	Keyring     *custody.Keyring
	Minters     mint.Set     // of raw credentials; none: such a one is not released
	Client      *http.Client // of package netguard, for minting
	PlainHTTP   bool         // credentials may name hosts on plain http: development and tests
	Gate        *cache.Gate
	Now         func() time.Time
	Clock       func(ctx context.Context) (time.Time, error) // the database's time, by which offers expire; nil: Now
	Random      io.Reader
	Logger      *slog.Logger
}

// Service keeps platform vaults. Safe for concurrent use.
type Service struct {
	deps   Deps
	known  *cache.Cache[agentCredential, *held]
	locked *cache.Cache[uuid.UUID, bool] // accounts' kill switches

	rooms   sync.Pool     // of *[]byte: cleared room for opened secrets
	keeping chan struct{} // holds an element for each agent's key that is being kept

	aloft  sync.Mutex
	places map[uuid.UUID]*place // tokens that are being refreshed
}

// New makes the service.
func New(d Deps) *Service {
	return &Service{
		deps: d, known: cache.New[agentCredential, *held](d.Gate), locked: cache.New[uuid.UUID, bool](d.Gate),
		rooms:   sync.Pool{New: func() any { room := make([]byte, 0, roomForSecret); return &room }},
		keeping: make(chan struct{}, keptAtOnce), places: map[uuid.UUID]*place{},
	}
}

func (s *Service) now() time.Time { return models.Stamp(s.deps.Now()) }
