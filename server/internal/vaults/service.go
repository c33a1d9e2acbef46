package vaults

import (
	"context"
	"encoding/json"
	"io"
	"iter"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/cache"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/server/internal/platform"
	"github.com/tvzero/tokenvault/server/internal/webhooks"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// Accounts stores accounts' kill switches.
type Accounts interface {
	Account(ctx context.Context, id uuid.UUID) (models.Account, error)
	SetAccountLock(ctx context.Context, id uuid.UUID, at *time.Time) error
}

// Bindings stores bindings and the vaults that they are of.
type Bindings interface {
	InTx(ctx context.Context, fn func(ctx context.Context) error) error
	BindingByState(ctx context.Context, accountID uuid.UUID, state models.BindingState) (models.Binding, error)
	PutBinding(ctx context.Context, b *models.Binding) error
	DeletePendingBindings(ctx context.Context, accountID uuid.UUID) error
	SetBindingHealth(ctx context.Context, accountID, bindingID uuid.UUID, status, detail string, at time.Time, version string, capabilities []string) error
}

// Containers stores vaults.
type Containers interface {
	Vault(ctx context.Context, accountID, id uuid.UUID) (models.Vault, error)
	WebhookVault(ctx context.Context, accountID uuid.UUID) (models.Vault, error)
	CreateVault(ctx context.Context, v *models.Vault) error
}

// Index stores the metadata of tokens.
type Index interface {
	Token(ctx context.Context, accountID, vaultID uuid.UUID, service string) (models.Token, error)
	TokenByID(ctx context.Context, accountID, id uuid.UUID) (models.Token, error)
	Tokens(ctx context.Context, accountID, vaultID uuid.UUID, afterService string, limit int) ([]models.Token, error)
	DeleteToken(ctx context.Context, accountID, vaultID uuid.UUID, service string) error
	SyncTokens(ctx context.Context, accountID, vaultID uuid.UUID, found []models.Token, complete bool) (changed int, err error)
}

// Keyring seals binding secrets at rest.
type Keyring interface {
	SealWebhookSecret(b *models.Binding, secret []byte) error
	OpenWebhookSecret(b *models.Binding) ([]byte, error)
}

// Pairing is the part of the webhooks' client that binds and examines.
type Pairing interface {
	Exchange(ctx context.Context, baseURL, code string) (webhooks.Exchanged, error)
	Health(ctx context.Context, t webhooks.Target) (wire.HealthResponse, error)
	PlainHealth(ctx context.Context, baseURL string) (wire.HealthResponse, error)
	Preflight(ctx context.Context, baseURL string) webhooks.Preflight
	Probe(ctx context.Context, t webhooks.Target, p webhooks.ProbeRequest) (webhooks.ProbeAnswer, error)
}

// Platform keeps the credentials of platform vaults.
type Platform interface {
	Drop(ctx context.Context, p grants.Principal, client audit.Client, tokenID uuid.UUID) error
	UpdateMetadata(ctx context.Context, p grants.Principal, client audit.Client, ref platform.Ref, in platform.MetadataInput) (models.Token, error)
	Delete(ctx context.Context, p grants.Principal, client audit.Client, refs ...platform.Ref) error
}

// Moves lets credentials of platform vaults go to webhooks and come back.
type Moves interface {
	Holds(ctx context.Context, p grants.Principal) ([]models.Token, error)
	Leave(ctx context.Context, p grants.Principal, tokenID uuid.UUID) (platform.Leaving, error)
	Moved(ctx context.Context, p grants.Principal, l platform.Leaving, to models.Token) error
	Retire(ctx context.Context, p grants.Principal) error
	Waiting(ctx context.Context, p grants.Principal) ([]platform.Waiting, error)
	TakeBack(ctx context.Context, p grants.Principal, client audit.Client, from models.Token, fields map[string]json.RawMessage) (models.Token, error)
}

// Documents is the part of the webhooks' client that speaks about metadata, and
// stores what leaves platform mode.
type Documents interface {
	Store(ctx context.Context, t webhooks.Target, ticket, service string, tokenData map[string]any) error
	List(ctx context.Context, t webhooks.Target, collection string, o wire.ListOptions) iter.Seq2[wire.StorageItem, error]
	Get(ctx context.Context, t webhooks.Target, collection, key string) (json.RawMessage, error)
	Set(ctx context.Context, t webhooks.Target, collection, key string, data any) error
	SetMetadata(ctx context.Context, t webhooks.Target, service string, m webhooks.Metadata) error
	Delete(ctx context.Context, t webhooks.Target, collection, key string) error
}

// Recorder is the audit record.
type Recorder interface {
	Record(ctx context.Context, e audit.Event) error
	Do(ctx context.Context, e audit.Event, do func(ctx context.Context) error) error
}

// Samples keeps how webhooks took health calls.
type Samples interface {
	PutHealthSample(ctx context.Context, sample models.HealthSample) error
}

// Deps is what the service needs. Accounts, Bindings, Containers, Index and
// Finder are the same database, Audit and History the same record. Now and Random are clock and randomness.
type Deps struct {
	Accounts   Accounts
	Bindings   Bindings
	Containers Containers
	Index      Index
	Finder     Finder
	Keyring    Keyring
	Pairing    Pairing
	Documents  Documents
	Platform   Platform
	Moves      Moves
	Samples    Samples   // nil: none are kept
	Refreshes  Refreshes // nil: nothing is known of refreshing
	Providers  Providers // nil: none
	Audit      Recorder
	History    History
	Gate       *cache.Gate
	Now        func() time.Time
	Random     io.Reader
	Logger     *slog.Logger

	// AllowPrivate permits webhooks on private addresses, on plain http and on
	// OwnHost: development and tests.
	AllowPrivate bool
	// OwnHost is the host of the server's public URL.
	OwnHost string
	// MaxListText is how many bytes of names, notes and tags one webhook's list may
	// bring; 0 = 32 MiB.
	MaxListText int
}

// Service is what accounts do with their vaults. It may be used concurrently.
type Service struct {
	deps    Deps
	custody *cache.Cache[uuid.UUID, *Custody]
	syncs   flights
	turns   turns
	full    chan struct{} // a slot for each complete sync that may run at once

	paces      paces         // of preflights
	preflights chan struct{} // a slot for each that may run at once

	mu       sync.Mutex
	settling map[uuid.UUID]time.Time // when Status last tried an account's pending binding
}

// New makes the service.
func New(d Deps) *Service {
	if d.MaxListText <= 0 {
		d.MaxListText = maxListText
	}
	return &Service{
		deps:       d,
		custody:    cache.New[uuid.UUID, *Custody](d.Gate),
		syncs:      flights{running: map[flightKey]*flight{}, waiting: map[flightKey]*flight{}},
		full:       make(chan struct{}, maxFullSyncs),
		preflights: make(chan struct{}, preflightsAtOnce),
		settling:   map[uuid.UUID]time.Time{},
	}
}

func (s *Service) now() time.Time { return models.Stamp(s.deps.Now()) }

// user refuses agents, which have nothing to say about vaults.
func user(p grants.Principal) error {
	if p.Kind == models.GrantAgentKey {
		return fault.New(fault.ScopeDenied, "An agent's key cannot do this. Sign in as a user.")
	}
	return nil
}

// event is what p does through client.
func event(kind audit.EventType, p grants.Principal, client audit.Client) audit.Event {
	return audit.Event{AccountID: p.AccountID, Type: kind, Source: audit.Direct, GrantID: p.GrantID, Client: client}
}

// validService refuses what cannot name a token.
func validService(name string) error {
	if !wire.ValidServiceName(name) {
		return fault.Field("serviceName", "A service name is 1–%d letters, digits, spaces and . _ : @ -, and begins with a letter or digit; "+
			`"audit-log" and "bulk" are reserved.`, wire.MaxServiceNameLength)
	}
	return nil
}

func tokenNotFound(service string) error {
	return fault.New(fault.TokenNotFound, "There is no token named %q.", service)
}
