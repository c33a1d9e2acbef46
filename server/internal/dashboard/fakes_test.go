package dashboard_test

import (
	"context"
	"crypto/rand"
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
	"github.com/tvzero/tokenvault/server/internal/custody"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/server/internal/vaults"
)

var (
	account = uuid.MustParse("01890000-0000-7000-8000-00000000000a")
	agentID = uuid.MustParse("01890000-0000-7000-8000-0000000000a1")
	at      = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
)

const (
	fingerprint = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
	hook        = "https://hook.example:8443"
)

// services stands for all services: it writes down who called what, and
// answers with what its fields say. Reads are not written down.
type services struct {
	session, agentKey grants.Token

	mu    sync.Mutex
	calls []string
	err   error // of every method that changes something
	read  error // of every method that reads

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
		open: true,
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
		return grants.Principal{AccountID: account, Kind: models.GrantSession}, nil
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
	return vaults.TokenView{Token: s.token, Status: vaults.StatusActive, Trust: vaults.TVZero, TrustReason: "This server never receives it."}
}

func (s *services) Tokens(context.Context, grants.Principal, vaults.Page) ([]vaults.TokenView, string, error) {
	return []vaults.TokenView{s.view()}, "next&page", s.read
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
	return models.CredentialGrant{}, s.called("Grant %s %s", in.ServiceName, in.ExpiresIn)
}

func (s *services) Revoke(_ context.Context, _ grants.Principal, _ audit.Client, _ uuid.UUID, service string) error {
	return s.called("Revoke %s", service)
}

// record is the audit record: its List has another shape than that of agents.
type record struct{ *services }

func (r record) List(context.Context, uuid.UUID, audit.Filter) (audit.Page, error) {
	return audit.Page{Events: r.events, NextCursor: "older"}, r.read
}
