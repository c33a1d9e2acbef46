// Package connect brings accounts at providers into vaults: the authorization-code
// flow with PKCE, from the first redirect to the stored token, and its end, when the
// account is disconnected.
//
// Where a flow stands is in the browser alone, sealed for the session that began it,
// and counts once. In platform mode the tokens go into the session's vault; in webhook
// mode the webhook runs the flow by itself, unless this server holds the provider's
// client secret: then the server sees the tokens, hands them over, and the token's
// badge says so.
//
// The package knows neither cookies nor pages: a door sets what Start returns, and
// shows what Finish says. It keeps no token longer than a call.
package connect

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/refresh"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/server/internal/platform"
	"github.com/tvzero/tokenvault/server/internal/providers"
	"github.com/tvzero/tokenvault/server/internal/vaults"
	"github.com/tvzero/tokenvault/webhook-sdk/credential"
)

// Providers are the authorization servers that this server is a client of.
type Providers interface {
	Provider(ctx context.Context, id string) (refresh.Provider, error)
	Describe(id string) (providers.Summary, bool)
}

// Client speaks to providers, through netguard.
type Client interface {
	Exchange(ctx context.Context, p refresh.Provider, x refresh.CodeExchange) (refresh.Tokens, error)
	Revoke(ctx context.Context, p refresh.Provider, token refresh.Secret, hint string) error
}

// Vaults is where tokens are, whichever the mode, and the way to webhooks.
type Vaults interface {
	Custody(ctx context.Context, accountID uuid.UUID) (*vaults.Custody, error)
	Find(ctx context.Context, p grants.Principal, service string) (vaults.Found, error)
	ConnectTicket(ctx context.Context, p grants.Principal, client audit.Client, service, replaces string) (vaults.Ticket, error)
	StoreConnected(ctx context.Context, p grants.Principal, client audit.Client, in vaults.Connected) (models.Token, error)
	DeleteTokens(ctx context.Context, p grants.Principal, client audit.Client, services ...string) ([]string, error)
}

// Platform is the session's own vault.
type Platform interface {
	Tokens(ctx context.Context, p grants.Principal) ([]models.Token, error)
	StoreConnected(ctx context.Context, p grants.Principal, client audit.Client, ref platform.Ref, fields map[string]json.RawMessage, replaces, detail string) (models.Token, error)
	Borrow(ctx context.Context, p grants.Principal, client audit.Client, ref platform.Ref, detail string, use func(ctx context.Context, c credential.Credential) error) error
}

// Keyring seals what a browser keeps meanwhile.
type Keyring interface {
	SealConnectState(random io.Reader, accountID, grantID uuid.UUID, state []byte) (string, error)
	OpenConnectState(accountID, grantID uuid.UUID, text string) ([]byte, error)
}

// Used remembers which flows have come back, for all replicas: models.ErrConflict for
// one that has. It may forget after until.
type Used interface {
	UseConnect(ctx context.Context, accountID, id uuid.UUID, until time.Time) error
}

// Recorder is the audit record.
type Recorder interface {
	Record(ctx context.Context, e audit.Event) error
}

// Deps is what the service needs.
type Deps struct {
	Providers Providers
	Client    Client
	HTTP      *http.Client // of package netguard, for user information
	Vaults    Vaults
	Platform  Platform
	Keyring   Keyring
	Used      Used
	Audit     Recorder
	PublicURL *url.URL // of this server: providers send browsers back there
	Now       func() time.Time
	Random    io.Reader
	Logger    *slog.Logger
}

// Service connects and disconnects accounts. It may be used concurrently.
type Service struct {
	deps  Deps
	slots chan struct{} // for each callback that is at a provider or a webhook
}

// Limits of the service.
const (
	flowTime    = 10 * time.Minute // from Start to Finish
	finishTime  = 60 * time.Second // of a callback, at the provider and at the webhook
	atOnce      = 64               // callbacks, revocations
	skew        = time.Minute      // of replicas' clocks
	stateSize   = 32               // random bytes
	callbackURL = "/oauth/callback"
)

// FlowTime is how long the cookie of a flow lives.
const FlowTime = flowTime

// New makes the service.
func New(d Deps) *Service { return &Service{deps: d, slots: make(chan struct{}, atOnce)} }

// Redirect is where Start sends a browser.
type Redirect struct {
	URL string
	// Cookie is what the browser is to keep until Finish, HttpOnly, SameSite=Lax and
	// Secure, for FlowTime. Empty: the webhook runs the flow, and this server waits for
	// nothing.
	Cookie string
}

// Connected is what Finish did.
type Connected struct {
	Token          models.Token
	Provider       providers.Summary
	Account        string   // whose it is at the provider, for a person: an address, or a name; may be empty
	AccountChanged bool     // it took the place of a token of another account
	Missing        []string // scopes that were asked for and not granted
	ReturnTo       string   // path on this server
}

// Disconnected is what Disconnect did.
type Disconnected struct {
	Revoked bool   // the provider has revoked it
	Note    string // a sentence for a person; about what is left to do, if not Revoked
}

// redirectURI is where providers send browsers back to.
func (s *Service) redirectURI() string { return s.deps.PublicURL.JoinPath(callbackURL).String() }

// event is what p does through client.
func event(kind audit.EventType, p grants.Principal, client audit.Client, service string) audit.Event {
	return audit.Event{AccountID: p.AccountID, Type: kind, Source: audit.Direct, Service: service, GrantID: p.GrantID, Client: client}
}

// takeSlot waits for one of the calls that may be under way at a time.
func (s *Service) takeSlot(ctx context.Context) (back func(), err error) {
	select {
	case s.slots <- struct{}{}:
		return func() { <-s.slots }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
