package api_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/refresh"
	"github.com/tvzero/tokenvault/server/internal/accounts"
	"github.com/tvzero/tokenvault/server/internal/agents"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/cache"
	"github.com/tvzero/tokenvault/server/internal/connect"
	"github.com/tvzero/tokenvault/server/internal/custody"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/server/internal/platform"
	"github.com/tvzero/tokenvault/server/internal/providers"
	"github.com/tvzero/tokenvault/server/internal/renew"
	"github.com/tvzero/tokenvault/server/internal/vaults"
)

var (
	account = uuid.MustParse("01890000-0000-7000-8000-00000000000a")
	agentID = uuid.MustParse("01890000-0000-7000-8000-0000000000a1")

	keyID    = uuid.MustParse("01890000-0000-7000-8000-0000000000b1")
	vaultID  = uuid.MustParse("01890000-0000-7000-8000-0000000000c1")
	escrowID = uuid.MustParse("01890000-0000-7000-8000-0000000000d1")
	at       = time.Date(2026, 1, 2, 3, 4, 5, 600_000_000, time.FixedZone("east", 3600))
)

// services stands for all services: it writes down who called what, and
// answers with what its fields say.
type services struct {
	guarded                          bool // the account has a second factor
	session, agentKey, apiKey, next1 grants.Token

	mu       sync.Mutex
	calls    []string
	released json.RawMessage // the last credential
	kept     string          // in it
	room     []byte          // for it, the whole of it
	late     error           // refuses once the credential is in its room
	err      error           // of every method but Authenticate

	scopes   []string // of the API key
	due      bool     // the session's token is to be followed
	unfollow error    // of Rotate alone
	secret   map[string]any
	views    []grants.View
	escrows  []models.Escrow
	offer    platform.Preview

	status vaults.Status
	tokens []vaults.TokenView
	next   string
	events []models.AuditEvent
	grants []agents.GrantView
	expiry time.Time
	failOn int // List of the audit record fails at this call
	lists  int
	ready  error
}

func newServices(t *testing.T) *services {
	t.Helper()
	later := at.Add(time.Hour)
	return &services{
		offer: platform.Preview{
			Escrow: models.Escrow{ID: escrowID, VaultID: vaultID, FromID: account, ToID: keyID, State: models.EscrowPending, CreatedAt: at, ExpiresAt: later},
			From:   "Firefox on Linux", Shared: 3, Own: make([]models.Token, 2), Copies: true, Agents: 1,
			Conflicts: []platform.Conflict{{Ref: platform.Ref{Service: "github"}, KeepsOwn: true}},
		},
		session: issue(t, models.GrantSession), agentKey: issue(t, models.GrantAgentKey),
		apiKey: issue(t, models.GrantAPIKey), next1: issue(t, models.GrantSession), scopes: grants.Scopes(),
		secret: map[string]any{"accessToken": "s3cret", "tokenType": "another", "allowedHosts": []string{"https://a.example"}},
		views: []grants.View{
			{ID: keyID, Kind: models.GrantAPIKey, Label: "backup", Scopes: []string{"tokens:read"}, VaultID: vaultID, CreatedAt: at, ExpiresAt: &later, LastUsedAt: &at},
			{ID: account, Kind: models.GrantSession, Label: "Firefox on Linux", CreatedAt: at, Current: true},
		},
		escrows: []models.Escrow{{
			ID: escrowID, VaultID: vaultID, FromID: account, ToID: keyID, Wrapped: models.Opaque("wrapped"), State: models.EscrowPending,
			CreatedAt: at, ExpiresAt: later,
		}, {ID: keyID, VaultID: vaultID, FromID: account, ToID: keyID, State: models.EscrowDeclined, CreatedAt: at, ExpiresAt: later, EndedAt: &at}},
		status: vaults.Status{Mode: models.ModeWebhook, Binding: &models.Binding{
			URL: "https://hook.example", State: models.BindingActive, Capabilities: []string{"storage", "store"}, Fingerprint: "ab",
			WebhookID: "w1", Version: "2.4.0", HealthStatus: models.HealthHealthy, HealthCheckedAt: &at, ActivatedAt: &at,
		}},
		tokens: []vaults.TokenView{
			{
				Token: models.Token{
					ID: agentID, ServiceName: "github", TokenType: "PlainText", Tags: []string{"ci"}, ExpiresAt: &later,
					CreatedAt: at, UpdatedAt: at, StoredAt: &at, CreationID: "c1",
				},
				Status: vaults.StatusActive, Trust: vaults.TVZero, TrustReason: "The server never receives it.", Mode: models.ModeWebhook,
			},
			{
				Token: models.Token{
					ID: agentID, ServiceName: "my token", TokenType: "OAuth", CreatedAt: at, UpdatedAt: at,
					SeenAt: &at, SeenPath: "connect", SeenCreationID: "", Provider: "p", HasRefreshToken: true, Subject: "me", Scope: "mail read",
				},
				Status: vaults.StatusExpired, Trust: vaults.TVSeen, TrustReason: "Seen once.", Mode: models.ModeWebhook, Connectable: true,
				Binding: &models.Binding{URL: "https://hook.example", Capabilities: []string{"refresh"}, HealthStatus: models.HealthHealthy, HealthCheckedAt: &at},
				Refresh: &models.Refresh{
					DueAt: &later, Outcome: "retry_at", Reason: "rate_limited", Path: models.PathNotify, TriedAt: &at, RetryAt: &later, Attempts: 2, NotifiedAt: &at,
				},
			},
		},
		grants: []agents.GrantView{
			{Grant: models.CredentialGrant{ServiceName: "github", RefreshPolicy: models.RefreshAuto, ExpiresAt: &later}, Token: vaults.TokenView{Token: models.Token{TokenType: "PlainText"}, Trust: vaults.TVZero}},
			{Grant: models.CredentialGrant{ServiceName: "gone", RefreshPolicy: models.RefreshNever}},
		},
	}
}

// issue makes a real token: nothing else can make a grants.Token.
func issue(t *testing.T, kind models.GrantKind) grants.Token {
	t.Helper()
	text, err := custody.GenerateKeyring(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := custody.ParseKeyring(text)
	if err != nil {
		t.Fatal(err)
	}
	service := grants.New(grants.Deps{
		Store: keep{}, Keys: keys, Gate: cache.NewGate(time.Now), Now: time.Now, Random: rand.Reader, Logger: slog.New(slog.DiscardHandler),
	})
	issued, err := service.Issue(t.Context(), grants.IssueInput{AccountID: account, Kind: kind, Life: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	return issued.Token
}

// keep takes a grant and keeps nothing.
type keep struct{ grants.Store }

func (keep) CreateGrant(context.Context, *models.Grant, *models.GrantKey) error { return nil }

func (s *services) called(format string, args ...any) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, fmt.Sprintf(format, args...))
	return s.err
}

// take returns the calls so far, and forgets them.
func (s *services) take() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	calls := strings.Join(s.calls, "; ")
	s.calls = nil
	return calls
}

func (s *services) Authenticate(_ context.Context, token string, kinds ...models.GrantKind) (grants.Principal, error) {
	for _, kind := range kinds {
		switch {
		case kind == models.GrantSession && token == s.session.Reveal():
			return grants.Principal{AccountID: account, GrantID: account, Kind: kind, RotateDue: s.due, Token: s.session}, nil
		case kind == models.GrantAPIKey && token == s.apiKey.Reveal():
			return grants.Principal{AccountID: account, GrantID: keyID, Kind: kind, Scopes: s.scopes, Token: s.apiKey}, nil
		}
	}
	return grants.Principal{}, badKey()
}

func badKey() error { return fault.New(fault.InvalidKey, "The key is not valid.") }

func (s *services) signIn() accounts.SignIn {
	return accounts.SignIn{AccountID: account, GrantID: agentID, ExpiresAt: at, Token: s.session}
}

func (s *services) Register(_ context.Context, in accounts.RegisterInput, _ audit.Client) (accounts.SignIn, error) {
	return s.signIn(), s.called("Register %s %s", in.Email, in.DisplayName)
}

func (s *services) Login(_ context.Context, in accounts.LoginInput, _ audit.Client) (accounts.SignIn, error) {
	if s.guarded && in.Code == "" {
		return accounts.SignIn{AccountID: account, Challenge: "sealed"}, s.called("Login %s", in.Email)
	}
	return s.signIn(), s.called("Login %s%s", in.Email, in.Code)
}

func (s *services) UpdateProfile(_ context.Context, _ grants.Principal, _ audit.Client, in accounts.ProfileInput) (models.Account, error) {
	name, email := "-", "-"
	if in.DisplayName != nil {
		name = *in.DisplayName
	}
	if in.Email != nil {
		email = *in.Email
	}
	return models.Account{ID: account, Email: "a@b.example", DisplayName: "A", CreatedAt: at}, s.called("UpdateProfile %s %s %s", name, email, in.CurrentPassword)
}

func (s *services) ChangePassword(_ context.Context, _ grants.Principal, _ audit.Client, in accounts.PasswordInput) error {
	return s.called("ChangePassword %s %s", in.CurrentPassword, in.NewPassword)
}

func (s *services) Logout(_ context.Context, p grants.Principal, _ audit.Client) error {
	return s.called("Logout %s", p.AccountID)
}

func (s *services) Tokens(_ context.Context, _ grants.Principal, page vaults.Page) ([]vaults.TokenView, string, error) {
	return s.tokens, s.next, s.called("Tokens %d %q", page.Limit, page.Cursor)
}

func (s *services) Token(_ context.Context, _ grants.Principal, service string) (vaults.TokenView, error) {
	return s.tokens[0], s.called("Token %s", service)
}

func (s *services) UpdateMetadata(_ context.Context, _ grants.Principal, _ audit.Client, service string, in vaults.MetadataInput) (vaults.TokenView, error) {
	return s.tokens[0], s.called("UpdateMetadata %s %s %s %v", service, show(in.DisplayName), show(in.Notes), in.Tags != nil)
}

func (s *services) DeleteTokens(_ context.Context, _ grants.Principal, _ audit.Client, names ...string) ([]string, error) {
	return names[:1], s.called("DeleteTokens %s", strings.Join(names, ","))
}

func (s *services) Status(context.Context, grants.Principal) (vaults.Status, error) {
	return s.status, s.called("Status")
}

func (s *services) Lock(context.Context, grants.Principal, audit.Client) error {
	return s.called("Lock")
}

func (s *services) Unlock(context.Context, grants.Principal, audit.Client) error {
	return s.called("Unlock")
}

func (s *services) StoreTicket(_ context.Context, _ grants.Principal, _ audit.Client, in vaults.StoreTicketInput) (vaults.Ticket, error) {
	return ticket(), s.called("StoreTicket %s %q", in.ServiceName, in.Mode)
}

func (s *services) CredentialTicket(_ context.Context, _ grants.Principal, _ audit.Client, in vaults.CredentialTicketInput) (vaults.Ticket, error) {
	return ticket(), s.called("CredentialTicket %s %s", in.ServiceName, in.Purpose)
}

func ticket() vaults.Ticket {
	return vaults.Ticket{Ticket: "t.t", WebhookURL: "https://hook.example", ExpiresIn: time.Minute}
}

func (s *services) Bind(_ context.Context, _ grants.Principal, _ audit.Client, in vaults.BindInput) (models.Binding, error) {
	return *s.status.Binding, s.called("Bind %s %s %s", in.Code, in.WebhookURL, in.Hash)
}

func (s *services) Unbind(context.Context, grants.Principal, audit.Client) error {
	return s.called("Unbind")
}

func (s *services) Sync(_ context.Context, _ grants.Principal, _ audit.Client, service string) (int, error) {
	return 3, s.called("Sync %q", service)
}

func (s *services) CheckWebhook(context.Context, grants.Principal, audit.Client) ([]vaults.Probe, error) {
	return []vaults.Probe{
		{Name: "health", Title: "Health", Verdict: vaults.Pass, Status: 200, Latency: 1234 * time.Microsecond, Advice: "Fine."},
		{Name: "deny_list", Title: "Deny list", Verdict: vaults.Fail},
	}, s.called("CheckWebhook")
}

func (s *services) Create(_ context.Context, _ grants.Principal, _ audit.Client, in agents.CreateInput) (agents.Created, error) {
	return agents.Created{Agent: agent(), Key: s.agentKey}, s.called("Create %s %s", in.Name, in.Description)
}

func agent() models.Agent {
	return models.Agent{ID: agentID, Name: "deployer", Status: models.AgentActive, CreatedAt: at, UpdatedAt: at, LastUsedAt: &at}
}

func (s *services) List(_ context.Context, _ grants.Principal, page vaults.Page) ([]models.Agent, string, error) {
	return []models.Agent{agent()}, s.next, s.called("List %d %q", page.Limit, page.Cursor)
}

func (s *services) Get(_ context.Context, _ grants.Principal, id uuid.UUID) (agents.Detail, error) {
	return agents.Detail{Agent: agent(), Grants: []models.CredentialGrant{{ServiceName: "github", RefreshPolicy: models.RefreshAuto, CreatedAt: at}}}, s.called("Get %s", id)
}

func (s *services) Update(_ context.Context, _ grants.Principal, _ audit.Client, id uuid.UUID, in agents.UpdateInput) (models.Agent, error) {
	status := "-"
	if in.Status != nil {
		status = string(*in.Status)
	}
	return agent(), s.called("Update %s %s %s %s", id, show(in.Name), show(in.Description), status)
}

func (s *services) Delete(_ context.Context, _ grants.Principal, _ audit.Client, ids ...uuid.UUID) (int, error) {
	return len(ids), s.called("Delete %v", ids)
}

func (s *services) RotateKey(_ context.Context, _ grants.Principal, _ audit.Client, id uuid.UUID) (agents.Created, error) {
	return agents.Created{Agent: agent(), Key: s.agentKey}, s.called("RotateKey %s", id)
}

func (s *services) Grant(_ context.Context, _ grants.Principal, _ audit.Client, id uuid.UUID, in agents.GrantInput) (models.CredentialGrant, error) {
	return models.CredentialGrant{ServiceName: in.ServiceName, RefreshPolicy: in.RefreshPolicy, CreatedAt: at},
		s.called("Grant %s %s %s %s", id, in.ServiceName, in.ExpiresIn, in.RefreshPolicy)
}

func (s *services) Revoke(_ context.Context, _ grants.Principal, _ audit.Client, id uuid.UUID, service string) error {
	return s.called("Revoke %s %s", id, service)
}

const location = "https://hook.example/v1/credential?ticket=t.t&service=github"

func (s *services) Release(_ context.Context, key string, client audit.Client, service string, room []byte) (agents.Released, error) {
	if key != s.agentKey.Reveal() {
		return agents.Released{}, badKey()
	}
	if s.status.Mode == models.ModePlatform {
		s.room = room[:cap(room)]
		s.released = append(room, `{"serviceName":"`+service+`","tokenType":"PlainText","accessToken":"`+s.kept+`"}`...)
		if s.late != nil {
			return agents.Released{}, s.late
		}
		return agents.Released{Credential: s.released}, s.called("Release %s %s", service, client.Address)
	}
	return agents.Released{Location: location}, s.called("Release %s %s", service, client.Address)
}

func (s *services) Granted(_ context.Context, key string) ([]agents.GrantView, error) {
	if key != s.agentKey.Reveal() {
		return nil, badKey()
	}
	return s.grants, s.called("Granted")
}

func (s *services) Whoami(_ context.Context, key string) (agents.Identity, error) {
	if key != s.agentKey.Reveal() {
		return agents.Identity{}, badKey()
	}
	return agents.Identity{Agent: agent(), AccountID: account, ExpiresAt: s.expiry}, s.called("Whoami")
}

func (s *services) Store(_ context.Context, _ grants.Principal, _ audit.Client, ref platform.Ref, fields map[string]json.RawMessage) (models.Token, error) {
	names := slices.Sorted(maps.Keys(fields))
	return models.Token{ID: agentID, ServiceName: ref.Service, Owner: ref.Owner, Bridge: ref.Bridge, Scheme: ref.Scheme, TokenType: "PlainText", CreationID: "c2"},
		s.called("Store %s/%s/%s/%s %s", ref.Owner, ref.Bridge, ref.Service, ref.Scheme, strings.Join(names, ","))
}

func (s *services) Reveal(_ context.Context, _ grants.Principal, client audit.Client, ref platform.Ref) (map[string]any, error) {
	return s.secret, s.called("Reveal %s %s", ref.Service, client.Address)
}

func (s *services) Superseded(context.Context, grants.Principal) ([]models.Token, error) {
	return []models.Token{{ID: agentID, ServiceName: "github", TokenType: "JWT", SupersededAt: &at, CreatedAt: at, UpdatedAt: at}}, s.called("Superseded")
}

func (s *services) Restore(_ context.Context, _ grants.Principal, _ audit.Client, id uuid.UUID, newName string) (models.Token, error) {
	return models.Token{ID: id, ServiceName: newName}, s.called("Restore %s %s", id, newName)
}

func (s *services) Discard(_ context.Context, _ grants.Principal, _ audit.Client, id uuid.UUID) error {
	return s.called("Discard %s", id)
}

func (s *services) ConnectURL(t models.Token) string {
	return "https://tv.example/connect/" + t.Provider + "?service=" + t.ServiceName
}

func (s *services) Disconnect(_ context.Context, _ grants.Principal, _ audit.Client, service string) (connect.Disconnected, error) {
	return connect.Disconnected{Note: "Deleted, and not revoked."}, s.called("Disconnect %s", service)
}

// refreshing is another Refresh than one could have for other things.
type refreshing struct{ *services }

func (r refreshing) Refresh(_ context.Context, _ grants.Principal, client audit.Client, service string) (renew.Result, error) {
	later := at.Add(time.Hour)
	return renew.Result{Path: models.PathNotify, Outcome: refresh.Rotated, ExpiresAt: &later}, r.called("Refresh %s %s", service, client.Address)
}

// known are the providers.
type known struct{}

func (known) List() []providers.Summary {
	return []providers.Summary{
		{ID: "acme", Name: "Acme", Scopes: []string{"openid"}, HoldsSecret: true, ManageURL: "https://acme.example/apps"},
		{ID: "public", Name: "Public", Problem: "its issuer could not be reached"},
	}
}

// keys and sessions are what can sign in: the names of their methods are those of
// agents' or of credential grants' too.
type keys struct{ *services }

func (k keys) APIKeys(context.Context, grants.Principal) ([]grants.View, error) {
	return k.views[:1], k.called("APIKeys")
}

func (k keys) issued(in grants.CreateKeyInput) grants.Issued {
	return grants.Issued{Token: k.apiKey, Grant: models.Grant{
		ID: keyID, Kind: models.GrantAPIKey, Label: in.Name, Scopes: in.Scopes, VaultID: &vaultID, CreatedAt: at, ExpiresAt: in.ExpiresAt,
	}}
}

func (k keys) CreateKey(_ context.Context, _ grants.Principal, _ audit.Client, in grants.CreateKeyInput) (grants.Issued, error) {
	expires := "-"
	if in.ExpiresAt != nil {
		expires = in.ExpiresAt.UTC().Format(time.RFC3339)
	}
	return k.issued(in), k.called("CreateKey %s %s %s", in.Name, strings.Join(in.Scopes, ","), expires)
}

func (k keys) RotateKey(_ context.Context, _ grants.Principal, _ audit.Client, id uuid.UUID) (grants.Issued, error) {
	return k.issued(grants.CreateKeyInput{Name: "backup"}), k.called("RotateAPIKey %s", id)
}

type sessions struct{ *services }

func (s sessions) List(context.Context, grants.Principal) ([]grants.View, error) {
	return s.views, s.called("Grants")
}

func (s sessions) SetLabel(_ context.Context, _ grants.Principal, _ audit.Client, id uuid.UUID, label string) error {
	return s.called("SetLabel %s %s", id, label)
}

func (s sessions) Revoke(_ context.Context, _ grants.Principal, _ audit.Client, id uuid.UUID) error {
	return s.called("RevokeGrant %s", id)
}

func (s sessions) Rotate(context.Context, grants.Principal) (grants.Token, time.Time, error) {
	return s.next1, at.AddDate(0, 0, 30), s.unfollow
}

func (s *services) Share(_ context.Context, _ grants.Principal, _ audit.Client, to uuid.UUID) (models.Escrow, error) {
	return s.escrows[0], s.called("Share %s", to)
}

func (s *services) Escrows(context.Context, grants.Principal) ([]models.Escrow, error) {
	return s.escrows, s.called("Escrows")
}

func (s *services) Preview(_ context.Context, _ grants.Principal, id uuid.UUID) (platform.Preview, error) {
	return s.offer, s.called("Preview %s", id)
}

func (s *services) Accept(_ context.Context, _ grants.Principal, _ audit.Client, id uuid.UUID) error {
	return s.called("Accept %s", id)
}

func (s *services) Decline(_ context.Context, _ grants.Principal, _ audit.Client, id uuid.UUID) error {
	return s.called("Decline %s", id)
}

func (s *services) Cancel(_ context.Context, _ grants.Principal, _ audit.Client, id uuid.UUID) error {
	return s.called("Cancel %s", id)
}

func (s *services) Move(_ context.Context, _ grants.Principal, _ audit.Client, after uuid.UUID) (vaults.Moving, error) {
	done := vaults.Moving{Moved: []string{"github"}, Left: []vaults.Left{{Token: models.Token{ID: agentID, ServiceName: "otp"}, Reason: "The name is taken."}}}
	if after == uuid.Nil {
		done.Next = keyID
	}
	return done, s.called("Move %s", after)
}

func (s *services) Waiting(context.Context, grants.Principal) ([]platform.Waiting, error) {
	return []platform.Waiting{{
		VaultID: vaultID, Tokens: []models.Token{{ID: agentID, ServiceName: "github", TokenType: "JWT", SupersededAt: &at}},
		Grants: []models.Grant{{ID: keyID, Kind: models.GrantAPIKey, Label: "offline"}},
	}}, s.called("Waiting")
}

func (s *services) DropWaiting(_ context.Context, _ grants.Principal, _ audit.Client, id uuid.UUID) error {
	return s.called("DropWaiting %s", id)
}

func (s *services) MoveBackPlan(context.Context, grants.Principal) ([]vaults.Back, error) {
	return []vaults.Back{
		{Token: models.Token{ID: keyID, ServiceName: "github", TokenType: "JWT"}, Movable: true},
		{Token: models.Token{ID: agentID, ServiceName: "otp", TokenType: "TOTP"}, Reason: "Never leaves."},
	}, s.called("MoveBackPlan")
}

func (s *services) MoveBack(_ context.Context, _ grants.Principal, _ audit.Client, service string, fields map[string]json.RawMessage) (models.Token, error) {
	return models.Token{ID: agentID, ServiceName: service}, s.called("MoveBack %s %s", service, strings.Join(slices.Sorted(maps.Keys(fields)), ","))
}

// record is the audit record: its List has another shape than that of agents.
type record struct{ *services }

func (r record) List(_ context.Context, id uuid.UUID, f audit.Filter) (audit.Page, error) {
	err := r.called("Events %s %s %s %s %s %v %q %d", id, f.Service, f.AgentID, f.Type, f.Source, f.Since.UTC().Format(time.RFC3339), f.Cursor, f.Limit)
	if r.lists++; r.lists == r.failOn {
		err = errors.New("the database is away")
	}
	return audit.Page{Events: r.events, NextCursor: r.next}, err
}

func show(s *string) string {
	if s == nil {
		return "-"
	}
	return *s
}
