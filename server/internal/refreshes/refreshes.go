// Package refreshes keeps the OAuth tokens of webhooks fresh: on schedule, and when
// somebody asks. Any replica takes what is due, under a lease of the database, and
// either tells the webhook, which refreshes with a client secret of its own ("notify"),
// or, where webhook and configuration permit it, fetches the refresh token, calls the
// provider and brings back what that gave ("tv-mediated"). What a webhook that is
// away cannot be given is kept sealed to its own key until it is back.
//
// On the notify path it never sees a secret. On the other it holds tokens in memory for as
// long as that takes, and writes none to database, log or error. It knows nothing of
// platform vaults, which refresh when they are read, and nothing of doors.
package refreshes

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/refresh"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/server/internal/vaults"
	"github.com/tvzero/tokenvault/server/internal/webhooks"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// Leases stores who refreshes what, when it is due, and what came of it.
type Leases interface {
	ClaimDue(ctx context.Context, limit int, ttl time.Duration) ([]models.DueRefresh, error)
	TakeLease(ctx context.Context, accountID, tokenID uuid.UUID, ttl time.Duration) (models.Lease, error)
	FinishLease(ctx context.Context, lease models.Lease, r models.Refresh) error
	EndLease(ctx context.Context, lease models.Lease) error
	Refresh(ctx context.Context, accountID, tokenID uuid.UUID) (models.Refresh, error)
}

// Outbox stores what waits for webhooks that were away.
type Outbox interface {
	PutOutbox(ctx context.Context, e *models.OutboxEntry) error
	Outbox(ctx context.Context, accountID, tokenID uuid.UUID) (models.OutboxEntry, error)
	ClaimOutbox(ctx context.Context, limit int, ttl time.Duration) ([]models.OutboxEntry, error)
	PostponeOutbox(ctx context.Context, e models.OutboxEntry, due time.Time) error
	DeleteOutbox(ctx context.Context, accountID, tokenID uuid.UUID, creationID string, sequence int64) error
}

// Index stores the metadata of tokens.
type Index interface {
	InTx(ctx context.Context, fn func(ctx context.Context) error) error
	LockVaults(ctx context.Context, accountID uuid.UUID, ids ...uuid.UUID) ([]models.Vault, error)
	Token(ctx context.Context, accountID, vaultID uuid.UUID, service string) (models.Token, error)
	TokenByID(ctx context.Context, accountID, id uuid.UUID) (models.Token, error)
	SyncTokens(ctx context.Context, accountID, vaultID uuid.UUID, found []models.Token, complete bool) (changed int, err error)
}

// Webhooks calls them.
type Webhooks interface {
	RefreshNotify(ctx context.Context, t webhooks.Target, service, reason string, hint wire.RefreshHint) (wire.RefreshNotifyResponse, error)
	RefreshGet(ctx context.Context, t webhooks.Target, service string) (wire.RefreshResponse, error)
	RefreshUpdate(ctx context.Context, t webhooks.Target, service string, u webhooks.Update) (wire.RefreshResponse, error)
}

// Vaults knows accounts' webhooks, and reads what they report of a token.
type Vaults interface {
	Custody(ctx context.Context, accountID uuid.UUID) (*vaults.Custody, error)
	Sync(ctx context.Context, p grants.Principal, client audit.Client, service string) (int, error)
}

// Providers is the registry of this server. What a webhook says of a provider's
// endpoints counts for nothing.
type Providers interface {
	Provider(ctx context.Context, id string) (refresh.Provider, error)
	HoldsSecret(id string) bool
	Has(id string) bool
}

// Recorder is the audit record.
type Recorder interface {
	Record(ctx context.Context, e audit.Event) error
}

// Keyring authenticates what waits for webhooks, which a writer of the database could
// seal as well: custody.ErrKeyID, custody.ErrRow.
type Keyring interface {
	SignOutbox(e *models.OutboxEntry, sealed []byte) (keyID int, mac []byte)
	CheckOutbox(e *models.OutboxEntry, sealed []byte, keyID int, mac []byte) error
}

// Deps is what the service needs. Leases, Outbox and Index are the same database. Zero
// values of the rest mean what is said.
type Deps struct {
	Leases    Leases
	Outbox    Outbox
	Index     Index
	Webhooks  Webhooks
	Vaults    Vaults
	Providers Providers
	Client    refresh.Refresher // calls providers
	Keyring   Keyring
	Audit     Recorder
	Logger    *slog.Logger

	Now    func() time.Time // nil: time.Now
	Random func() float64   // jitter in [0,1); nil: math/rand/v2. Used concurrently
	Limits Limits
}

// Limits bound what a replica does at a time. Zero fields are as said.
type Limits struct {
	Running     int // refreshes in all; 0: 64. Half of them at most are of webhooks that are slow
	Queued      int // claimed and waiting for their turn; 0: 256
	PerWebhook  int // of one webhook; 0: 4. As many again that people ask for
	PerProvider int // calls at one provider; 0: 16

	LeaseTime  time.Duration // of one refresh; 0: 45 s
	CommitTime time.Duration // how long new tokens are kept in memory for a webhook that is away and has no outbox; 0: 10 minutes
	BringTime  time.Duration // how long a webhook may take that new tokens can wait for in the outbox; 0: 2 s
	Poll       time.Duration // how often an idle replica looks for what is due, ±20 %; 0: 5 s
	Drain      time.Duration // how long Run lets refreshes finish at its end; 0: 9 s

	Failures  int           // in a row, until a webhook counts as down; 0: 5
	FirstWait time.Duration // until one that is down is tried again, doubled up to LongWait, ±20 %; 0: 30 s
	LongWait  time.Duration // 0: 15 minutes
}

func (l Limits) orDefaults() Limits {
	for _, n := range []struct {
		value *int
		zero  int
	}{{&l.Running, 64}, {&l.Queued, 256}, {&l.PerWebhook, 4}, {&l.PerProvider, 16}, {&l.Failures, 5}} {
		if *n.value <= 0 {
			*n.value = n.zero
		}
	}
	for _, d := range []struct {
		value *time.Duration
		zero  time.Duration
	}{
		{&l.LeaseTime, 45 * time.Second}, {&l.CommitTime, 10 * time.Minute}, {&l.BringTime, 2 * time.Second}, {&l.Poll, 5 * time.Second}, {&l.Drain, 9 * time.Second},
		{&l.FirstWait, 30 * time.Second}, {&l.LongWait, 15 * time.Minute},
	} {
		if *d.value <= 0 {
			*d.value = d.zero
		}
	}
	return l
}

// claimTime is for how long a row is claimed: it may wait for half of it.
func (l Limits) claimTime() time.Duration { return 2 * l.LeaseTime }

// Service refreshes the tokens of webhooks. It may be used concurrently. Run does what
// is due; RefreshNow works without it.
type Service struct {
	deps   Deps
	limits Limits
	engine *refresh.Engine
	lanes  *lanes
	counts counts
	freed  chan struct{}  // holds a value when a refresh has ended since the loop looked
	work   sync.WaitGroup // goroutines of Run
}

// New makes the service. It starts nothing.
func New(d Deps) *Service {
	if d.Now == nil {
		d.Now = time.Now
	}
	if d.Random == nil {
		d.Random = rand.Float64
	}
	if d.Logger == nil {
		d.Logger = slog.New(slog.DiscardHandler)
	}
	limits := d.Limits.orDefaults()
	return &Service{
		deps: d, limits: limits, lanes: newLanes(limits, d.Random), freed: make(chan struct{}, 1),
		engine: refresh.New(refresh.Deps{
			Client: d.Client, Now: d.Now, Random: d.Random, LeaseTime: limits.LeaseTime, CommitTime: limits.CommitTime,
			MaxFlights: 8 * limits.Running, // those that wait for a webhook that is away have left their lanes
			Logger:     d.Logger,
		}),
	}
}

func (s *Service) now() time.Time { return models.Stamp(s.deps.Now()) }
