package dashboard_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/accounts"
	"github.com/tvzero/tokenvault/server/internal/agents"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/cache"
	"github.com/tvzero/tokenvault/server/internal/connect"
	"github.com/tvzero/tokenvault/server/internal/custody"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/server/internal/health"
	"github.com/tvzero/tokenvault/server/internal/platform"
	"github.com/tvzero/tokenvault/server/internal/providers"
	"github.com/tvzero/tokenvault/server/internal/renew"
	"github.com/tvzero/tokenvault/server/internal/vaults"
)

var (
	account = uuid.MustParse("01890000-0000-7000-8000-00000000000a")
	agentID = uuid.MustParse("01890000-0000-7000-8000-0000000000a1")
	at      = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	now     = at.Add(time.Hour)

	sessionID    = uuid.MustParse("01890000-0000-7000-8000-0000000000b1")
	otherID      = uuid.MustParse("01890000-0000-7000-8000-0000000000b2")
	keyID        = uuid.MustParse("01890000-0000-7000-8000-0000000000b3")
	grantOfAgent = uuid.MustParse("01890000-0000-7000-8000-0000000000b4")
	vaultID      = uuid.MustParse("01890000-0000-7000-8000-000000c0ffee")
	otherVault   = uuid.MustParse("01890000-0000-7000-8000-000000decade")
	escrowID     = uuid.MustParse("01890000-0000-7000-8000-0000000000d1")
)

const (
	fingerprint = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
	hook        = "https://hook.example:8443"
)

// services stands for all services: it writes down who called what, and
// answers with what its fields say. Reads are not written down.
type services struct {
	session, agentKey, apiKey, next grants.Token

	mu    sync.Mutex
	calls []string
	err   error // of every method that changes something
	read  error // of every method that reads

	asked    audit.Filter // of the record, last
	chained  audit.ChainState
	quiet    bool // the record has nothing to count
	sealed   bool // the account is in platform mode
	expires  time.Time
	due      bool // the session's token is to be followed
	unfollow error
	last     bool // each vault ends with the grant that is asked about
	count    int  // of the credentials lost then
	views    []grants.View
	escrows  []models.Escrow
	moved    vaults.Moving
	waits    []platform.Waiting
	changes  platform.Preview
	secret   map[string]any
	notReady bool // of Preflight
	keysDue  *time.Time
	rekeyDue int
	aside    []models.Token

	challenge string // the account has a second factor
	security  accounts.SecurityView
	loss      grants.Loss
	codes     accounts.Codes
	noKeys    string // why passkeys are not possible

	row         *models.Refresh // of the token; nil: nothing is known
	connectable bool
	health      string // status of the token; empty: active
	renewed     renew.Result
	redirect    connect.Redirect
	finished    connect.Connected
	ended       connect.Disconnected
	known       []providers.Summary

	searched     vaults.SearchInput
	found        *vaults.SearchResult // nil: the token
	unsearchable error
	explained    vaults.Explanation
	trust        vaults.Trust // of the token; empty: as its mode says

	status  vaults.Status
	token   models.Token
	agent   models.Agent
	grants  []models.CredentialGrant
	events  []models.AuditEvent
	preview vaults.BindPreview
	open    bool
}

func newServices(t *testing.T) *services {
	t.Helper()
	later := at.Add(time.Hour)
	s := &services{
		session: issue(t, models.GrantSession), agentKey: issue(t, models.GrantAgentKey),
		apiKey: issue(t, models.GrantAPIKey), next: issue(t, models.GrantSession), expires: now.AddDate(0, 0, 30),
		views: []grants.View{
			{ID: sessionID, Kind: models.GrantSession, Label: "Firefox on Linux", VaultID: vaultID, CreatedAt: at, Current: true, ExpiresAt: &later},
			{ID: otherID, Kind: models.GrantSession, Label: "Safari on macOS", VaultID: otherVault, CreatedAt: at, LastUsedAt: &at},
			{ID: keyID, Kind: models.GrantAPIKey, Label: "offline", VaultID: vaultID, Scopes: []string{"tokens:read"}, CreatedAt: at},
			{ID: grantOfAgent, Kind: models.GrantAgentKey, Label: "deployer", AgentID: agentID, CreatedAt: at},
		},
		secret: map[string]any{"accessToken": "s3cret", "refreshToken": "r3fresh", "displayName": "Mine", "serviceName": "my token", "allowedHosts": []any{"https://a.example"}},
		token: models.Token{
			ID: agentID, ServiceName: "my token", TokenType: "PlainText", DisplayName: "Mine", Notes: "line 1\nline 2", Tags: []string{"ci", "prod"},
			ExpiresAt: &later, StoredAt: &at,
		},
		agent:  models.Agent{ID: agentID, Name: "deployer", Description: "deploys", Status: models.AgentActive, CreatedAt: at},
		grants: []models.CredentialGrant{{ServiceName: "my token", CreatedAt: at, ExpiresAt: &at}, {ServiceName: "other", CreatedAt: at}},
		events: []models.AuditEvent{
			{ID: agentID, At: at, EventType: "release", Source: "agent", Outcome: "ok", ServiceName: "my token", AgentID: &agentID, Address: "192.0.2.1", Client: "probe/1"},
			{ID: account, At: at, EventType: "refusal", Source: "agent", Outcome: "NO_GRANT", AgentID: &account, Detail: "no grant"},
		},
		open: true, loss: grants.Loss{Sessions: 1},
		security: accounts.SecurityView{Passkeys: []accounts.PasskeyView{{ID: keyID, Name: "phone", CreatedAt: at}}},
	}
	s.bind()
	s.preview = vaults.BindPreview{WebhookURL: "https://new.example", Host: "new.example", Fingerprint: fingerprint}
	return s
}

func (s *services) bind() {
	s.status = vaults.Status{Mode: models.ModeWebhook, Binding: &models.Binding{
		URL: hook, State: models.BindingActive, Fingerprint: fingerprint, Version: "2.4.0", Capabilities: []string{"storage"},
		HealthStatus: models.HealthHealthy, HealthCheckedAt: &at, ActivatedAt: &at,
	}}
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
	if len(kinds) == 1 && kinds[0] == models.GrantSession && token == s.session.Reveal() {
		p := grants.Principal{AccountID: account, GrantID: sessionID, Kind: models.GrantSession, ExpiresAt: s.expires, RotateDue: s.due, Token: s.session}
		if s.sealed {
			p.VaultID = vaultID
		}
		return p, nil
	}
	return grants.Principal{}, fault.New(fault.InvalidKey, "The key is not valid.")
}

func (s *services) signIn() accounts.SignIn {
	return accounts.SignIn{AccountID: account, GrantID: agentID, ExpiresAt: at.AddDate(10, 0, 0), Token: s.session}
}

func (s *services) Register(_ context.Context, in accounts.RegisterInput, _ audit.Client) (accounts.SignIn, error) {
	return s.signIn(), s.called("Register %s %s %s", in.Email, in.Password, in.DisplayName)
}

func (s *services) Login(_ context.Context, in accounts.LoginInput, _ audit.Client) (accounts.SignIn, error) {
	if s.challenge != "" {
		return accounts.SignIn{AccountID: account, Challenge: s.challenge}, s.called("Login %s %s", in.Email, in.Password)
	}
	return s.signIn(), s.called("Login %s %s", in.Email, in.Password)
}

func (s *services) Logout(context.Context, grants.Principal, audit.Client) error {
	return s.called("Logout")
}

func (s *services) Account(context.Context, grants.Principal) (models.Account, error) {
	return models.Account{ID: account, Email: "owner@b.example", CreatedAt: at}, s.read
}

func (s *services) RegistrationOpen(context.Context) (bool, error) { return s.open, s.read }

func (s *services) view() vaults.TokenView {
	v := vaults.TokenView{
		Token: s.token, Status: vaults.StatusActive, Trust: vaults.TVZero, TrustReason: "This server never receives it.",
		Mode: models.ModeWebhook, Binding: s.status.Binding, Refresh: s.row, Connectable: s.connectable,
	}
	if s.sealed {
		v.Trust, v.TrustReason, v.Mode, v.Binding = vaults.Sealed, "Sealed.", models.ModePlatform, nil
	}
	if s.health != "" {
		v.Status = s.health
	}
	if s.trust != "" {
		v.Trust = s.trust
	}
	return v
}

// refreshing refreshes as renewed says.
type refreshing struct{ *services }

func (r refreshing) Refresh(_ context.Context, _ grants.Principal, _ audit.Client, service string) (renew.Result, error) {
	return r.renewed, r.called("Refresh %s", service)
}

func (s *services) Start(_ context.Context, _ grants.Principal, _ audit.Client, in connect.StartInput) (connect.Redirect, error) {
	return s.redirect, s.called("Start %q %q %q/%q %q %s", in.Provider, in.Service, in.Owner, in.Bridge, in.Scopes, in.ReturnTo)
}

func (s *services) Finish(_ context.Context, _ grants.Principal, _ audit.Client, in connect.Callback) (connect.Connected, error) {
	return s.finished, s.called("Finish %q %q %q %q %q", in.Cookie, in.State, string(in.Code), in.Issuer, in.Error)
}

func (s *services) Disconnect(_ context.Context, _ grants.Principal, _ audit.Client, service string) (connect.Disconnected, error) {
	return s.ended, s.called("Disconnect %s", service)
}

// registry has the providers that known says.
type registry struct{ *services }

func (r registry) List() []providers.Summary { return r.known }

func (s *services) Tokens(context.Context, grants.Principal, vaults.Page) ([]vaults.TokenView, string, error) {
	return []vaults.TokenView{s.view()}, "next&page", s.read
}

func (s *services) Search(_ context.Context, _ grants.Principal, in vaults.SearchInput) (vaults.SearchResult, error) {
	s.searched = in
	if s.found != nil {
		return *s.found, s.read
	}
	return vaults.SearchResult{Tokens: []vaults.TokenView{s.view()}, Next: "next&page", Count: 1, All: 3,
		Types: []models.TokenLabel{{Name: s.token.TokenType, Count: 3}}, Tags: []models.TokenLabel{{Name: s.token.Tags[0], Count: 1}}}, s.unsearchable
}

func (s *services) Explain(_ context.Context, _ grants.Principal, service string) (vaults.Explanation, error) {
	if service != s.token.ServiceName {
		return vaults.Explanation{}, fault.New(fault.TokenNotFound, "There is no token named %q.", service)
	}
	e := s.explained
	e.TokenView = s.view()
	return e, s.read
}

func (s *services) Token(_ context.Context, _ grants.Principal, service string) (vaults.TokenView, error) {
	if service != s.token.ServiceName {
		return vaults.TokenView{}, fault.New(fault.TokenNotFound, "There is no token named %q.", service)
	}
	return s.view(), s.read
}

func (s *services) UpdateMetadata(_ context.Context, _ grants.Principal, _ audit.Client, service string, in vaults.MetadataInput) (vaults.TokenView, error) {
	return s.view(), s.called("UpdateMetadata %s %q %q %q", service, *in.DisplayName, *in.Notes, *in.Tags)
}

func (s *services) DeleteTokens(_ context.Context, _ grants.Principal, _ audit.Client, names ...string) ([]string, error) {
	return names, s.called("DeleteTokens %s", strings.Join(names, ","))
}

func (s *services) Status(context.Context, grants.Principal) (vaults.Status, error) {
	return s.status, s.read
}

func (s *services) Lock(context.Context, grants.Principal, audit.Client) error {
	return s.called("Lock")
}

func (s *services) Unlock(context.Context, grants.Principal, audit.Client) error {
	return s.called("Unlock")
}

func (s *services) PreviewBind(_ context.Context, _ grants.Principal, in vaults.BindInput) (vaults.BindPreview, error) {
	return s.preview, s.called("PreviewBind %s %s %s", in.Code, in.WebhookURL, in.Hash)
}

func (s *services) Bind(_ context.Context, _ grants.Principal, _ audit.Client, in vaults.BindInput) (models.Binding, error) {
	return models.Binding{}, s.called("Bind %s %s %s", in.Code, in.WebhookURL, in.Hash)
}

func (s *services) Unbind(context.Context, grants.Principal, audit.Client) error {
	return s.called("Unbind")
}

func (s *services) Sync(_ context.Context, _ grants.Principal, _ audit.Client, service string) (int, error) {
	return 1, s.called("Sync %q", service)
}

func (s *services) CheckWebhook(context.Context, grants.Principal, audit.Client) ([]vaults.Probe, error) {
	return []vaults.Probe{
		{Name: "health", Title: "Health", Verdict: vaults.Pass, Status: 200, Latency: 1500 * time.Microsecond, Advice: "The webhook answers."},
		{Name: "deny_list", Title: "Deny list", Verdict: vaults.Warn, Status: 404, Advice: "Put it on the list."},
		{Name: "forged_ticket", Title: "Forged ticket", Verdict: vaults.Fail, Advice: "No answer came."},
	}, s.called("CheckWebhook")
}

func (s *services) Create(_ context.Context, _ grants.Principal, _ audit.Client, in agents.CreateInput) (agents.Created, error) {
	return agents.Created{Agent: s.agent, Key: s.agentKey}, s.called("Create %s %q", in.Name, in.Description)
}

func (s *services) List(context.Context, grants.Principal, vaults.Page) ([]models.Agent, string, error) {
	return []models.Agent{s.agent}, "next", s.read
}

func (s *services) Get(_ context.Context, _ grants.Principal, id uuid.UUID) (agents.Detail, error) {
	if id != agentID {
		return agents.Detail{}, fault.New(fault.NotFound, "There is no agent with this id.")
	}
	return agents.Detail{Agent: s.agent, Grants: s.grants}, s.read
}

func (s *services) Update(_ context.Context, _ grants.Principal, _ audit.Client, _ uuid.UUID, in agents.UpdateInput) (models.Agent, error) {
	if in.Status != nil {
		return s.agent, s.called("Update %s", *in.Status)
	}
	return s.agent, s.called("Update %q %q", *in.Name, *in.Description)
}

func (s *services) Delete(_ context.Context, _ grants.Principal, _ audit.Client, ids ...uuid.UUID) (int, error) {
	return len(ids), s.called("Delete %v", ids)
}

func (s *services) RotateKey(context.Context, grants.Principal, audit.Client, uuid.UUID) (agents.Created, error) {
	return agents.Created{Agent: s.agent, Key: s.agentKey}, s.called("RotateKey")
}

func (s *services) Grant(_ context.Context, _ grants.Principal, _ audit.Client, _ uuid.UUID, in agents.GrantInput) (models.CredentialGrant, error) {
	return models.CredentialGrant{}, s.called("Grant %s %s %s", in.ServiceName, in.ExpiresIn, in.RefreshPolicy)
}

func (s *services) Revoke(_ context.Context, _ grants.Principal, _ audit.Client, _ uuid.UUID, service string) error {
	return s.called("Revoke %s", service)
}

// seal makes the account one in platform mode.
func (s *services) seal() {
	s.sealed, s.status = true, vaults.Status{Mode: models.ModePlatform}
	s.aside = []models.Token{{ID: agentID, ServiceName: "github", TokenType: "JWT", SupersededAt: &at}}
}

func (s *services) Store(_ context.Context, _ grants.Principal, _ audit.Client, ref platform.Ref, fields map[string]json.RawMessage) (models.Token, error) {
	text, err := json.Marshal(fields)
	if err != nil {
		return models.Token{}, err
	}
	return s.token, s.called("Store %s %s", ref.Service, text)
}

func (s *services) Reveal(_ context.Context, _ grants.Principal, _ audit.Client, ref platform.Ref) (map[string]any, error) {
	return s.secret, s.called("Reveal %s", ref.Service)
}

func (s *services) Superseded(context.Context, grants.Principal) ([]models.Token, error) {
	return s.aside, s.read
}

func (s *services) Restore(_ context.Context, _ grants.Principal, _ audit.Client, id uuid.UUID, newName string) (models.Token, error) {
	return models.Token{ServiceName: newName}, s.called("Restore %s %s", id, newName)
}

func (s *services) Discard(_ context.Context, _ grants.Principal, _ audit.Client, id uuid.UUID) error {
	return s.called("Discard %s", id)
}

// keys and sessions are what can sign in: some of their methods are called as those
// of agents or credential grants are.
type keys struct{ *services }

func (k keys) APIKeys(context.Context, grants.Principal) ([]grants.View, error) {
	return k.views[2:3], k.read
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
	return k.issued(grants.CreateKeyInput{Name: "offline"}), k.called("RotateAPIKey %s", id)
}

type sessions struct{ *services }

func (s sessions) List(context.Context, grants.Principal) ([]grants.View, error) {
	return s.views, s.read
}

func (s sessions) SetLabel(_ context.Context, _ grants.Principal, _ audit.Client, id uuid.UUID, label string) error {
	return s.called("SetLabel %s %s", id, label)
}

func (s sessions) Revoke(_ context.Context, _ grants.Principal, _ audit.Client, id uuid.UUID) error {
	return s.called("RevokeGrant %s", id)
}

func (s sessions) LastOfVault(context.Context, grants.Principal, uuid.UUID) (bool, int, error) {
	return s.last, s.count, s.read
}

func (s sessions) Rotate(context.Context, grants.Principal) (grants.Token, time.Time, error) {
	return s.services.next, now.AddDate(0, 0, 30), s.unfollow
}

func (s *services) Share(_ context.Context, _ grants.Principal, _ audit.Client, to uuid.UUID) (models.Escrow, error) {
	return models.Escrow{}, s.called("Share %s", to)
}

func (s *services) Escrows(context.Context, grants.Principal) ([]models.Escrow, error) {
	return s.escrows, s.read
}

func (s *services) Preview(context.Context, grants.Principal, uuid.UUID) (platform.Preview, error) {
	return s.changes, s.read
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
	return s.moved, s.called("Move %s", after)
}

func (s *services) Waiting(context.Context, grants.Principal) ([]platform.Waiting, error) {
	return s.waits, s.read
}

func (s *services) DropWaiting(_ context.Context, _ grants.Principal, _ audit.Client, id uuid.UUID) error {
	return s.called("DropWaiting %s", id)
}

func (s *services) MoveBackPlan(context.Context, grants.Principal) ([]vaults.Back, error) {
	return []vaults.Back{
		{Token: s.token, Movable: true},
		{Token: models.Token{ServiceName: "otp", TokenType: "TOTP"}, Reason: "A TOTP secret never leaves a webhook."},
	}, s.read
}

// chain is what is known of the record's chains.
type chain struct{ *services }

func (c chain) State(context.Context) (audit.ChainState, error) { return c.chained, c.read }

// History has two steps with checks, one of which failed in part.
func (s *services) History(_ context.Context, _ grants.Principal, f health.Filter) ([]health.Point, health.Share, error) {
	if s.quiet {
		return []health.Point{{At: f.Since}}, health.Share{}, s.read
	}
	return []health.Point{
		{At: f.Since, Checks: 12, Mean: 12500 * time.Microsecond, Worst: 40 * time.Millisecond},
		{At: f.Since.Add(f.Step), Checks: 12, Failures: 3, Mean: 20 * time.Millisecond, Worst: 90 * time.Millisecond},
		{At: f.Since.Add(2 * f.Step), Checks: 1, Failures: 1},
		{At: f.Since.Add(3 * f.Step)},
	}, health.Share{Checks: 2016, Failures: 14}, s.read
}

// record is the audit record: its List has another shape than that of agents.
type record struct{ *services }

// Series has a release, two refusals, three renewals and four failures in each step.
func (r record) Series(_ context.Context, _ uuid.UUID, f audit.SeriesFilter) ([]audit.Point, error) {
	if r.quiet {
		return nil, r.read
	}
	var points []audit.Point
	for at := f.Since; at.Before(f.Until); at = at.Add(f.Bucket) {
		points = append(points, audit.Point{At: at, Releases: 1, Refusals: 2, Refreshed: 3, RefreshFailed: 4})
	}
	return points, r.read
}

func (r record) List(_ context.Context, _ uuid.UUID, f audit.Filter) (audit.Page, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked = f
	return audit.Page{Events: r.events, NextCursor: "older"}, r.read
}
