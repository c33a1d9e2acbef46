package connect

import (
	"context"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/refresh"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/server/internal/platform"
	"github.com/tvzero/tokenvault/server/internal/vaults"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// Limits of what a flow asks for.
const (
	maxScopes    = 100
	maxScopeText = 2000 // bytes, all together
	maxRefPart   = 128
)

// StartInput is what the address of a connect link says. Provider, or Service, or Owner
// and Bridge, say what is to be connected.
type StartInput struct {
	Provider string
	Service  string // name of the token; empty: the one that is found, or the provider's id
	Owner    string // of a bridge, whose stored token says provider and scopes
	Bridge   string
	Scopes   []string // besides those that the token has
	ReturnTo string   // path on this server; empty: "/"
}

// Start begins to connect an account: for a name that is free, or again for a token of
// the same provider, with the scopes that it has and those asked for.
//
// Only a session may: SIGN_IN_REQUIRED otherwise. NOT_FOUND: no such provider, here or at
// the webhook, or nothing stored for the bridge; CONFLICT: the name is another token's;
// VAULT_LOCKED; UNAVAILABLE: the provider cannot be discovered; INVALID_REQUEST.
func (s *Service) Start(ctx context.Context, p grants.Principal, client audit.Client, in StartInput) (Redirect, error) {
	if err := session(p); err != nil {
		return Redirect{}, err
	}
	if err := in.check(); err != nil {
		return Redirect{}, err
	}
	back, err := returnPath(in.ReturnTo)
	if err != nil {
		return Redirect{}, err
	}
	c, err := s.deps.Vaults.Custody(ctx, p.AccountID)
	if err != nil {
		return Redirect{}, err
	}
	if c.Locked {
		return Redirect{}, fault.New(fault.VaultLocked, "The owner has locked the vault: no account is connected until it is unlocked.")
	}
	g, err := s.aim(ctx, p, c, in)
	if err != nil {
		return Redirect{}, err
	}
	known, here := s.deps.Providers.Describe(g.provider)
	byWebhook := c.Mode == models.ModeWebhook && slices.Contains(c.Binding.Capabilities, wire.CapConnect)
	switch {
	case byWebhook && !known.HoldsSecret:
		return s.throughWebhook(ctx, p, client, g, back)
	case !here:
		return Redirect{}, fault.New(fault.NotFound, "There is no provider named %q here. The operator of this server sets providers up, or you at your webhook.", g.provider)
	}
	return s.throughServer(ctx, p, c, g, back)
}

// session refuses who has no browser that could come back.
func session(p grants.Principal) error {
	if p.Kind != models.GrantSession {
		return fault.New(fault.SignInRequired, "Connecting an account takes a browser that is signed in.")
	}
	return nil
}

var providerID = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`)

func validProvider(id string) bool { return providerID.MatchString(id) }

func (in StartInput) check() error {
	if in.Provider != "" && !validProvider(in.Provider) {
		return fault.Field("provider", "A provider's name is 1–64 of a–z, 0–9 and . _ -")
	}
	if in.Service != "" && !wire.ValidServiceName(in.Service) {
		return fault.Field("service", "A service name is 1–%d letters, digits, spaces and . _ : @ -, and begins with a letter or digit.", wire.MaxServiceNameLength)
	}
	if len(in.Owner) > maxRefPart || len(in.Bridge) > maxRefPart {
		return fault.Field("bridge", "Owner and bridge have at most %d bytes.", maxRefPart)
	}
	if (in.Owner == "") != (in.Bridge == "") {
		return fault.Field("bridge", "Name both the bridge and its owner, or neither.")
	}
	if in.Provider == "" && in.Service == "" && in.Bridge == "" {
		return fault.Field("provider", "Say what to connect: a provider, a stored token, or a bridge with its owner.")
	}
	return checkScopes(in.Scopes)
}

func checkScopes(scopes []string) error {
	if text := strings.Join(scopes, " "); len(scopes) > maxScopes || len(text) > maxScopeText {
		return fault.Field("scope", "At most %d scopes of %d bytes together can be asked for at once.", maxScopes, maxScopeText)
	}
	for _, scope := range scopes {
		if clean := refresh.SplitScopes(scope); len(clean) != 1 || clean[0] != scope || strings.ContainsAny(scope, `"\`) {
			return fault.Field("scope", "%.64q is not a scope.", scope)
		}
	}
	return nil
}

// A goal is what a flow is for.
type goal struct {
	provider string
	ref      platform.Ref
	replaces string   // creation; empty: the name is free
	subject  string   // of what is replaced
	scopes   []string // that it has, and those asked for; without the provider's own
}

// aim finds what is to be connected, and what of it is there already.
func (s *Service) aim(ctx context.Context, p grants.Principal, c *vaults.Custody, in StartInput) (goal, error) {
	g := goal{provider: in.Provider, ref: platform.Ref{Service: in.Service}, scopes: in.Scopes}
	if in.Service == "" {
		g.ref.Service = in.Provider
	}
	found, exists, err := s.existing(ctx, p, c, g.ref.Service, in)
	if err != nil {
		return goal{}, err
	}
	if !exists {
		if g.provider == "" {
			return goal{}, fault.New(fault.TokenNotFound, "There is no token named %q, whose provider this could be.", in.Service)
		}
		return g, nil
	}
	t := found.Token
	if g.provider == "" {
		g.provider = t.Provider
	}
	switch {
	case !validProvider(g.provider):
		return goal{}, fault.Field("provider", "The token %q does not say from which provider it is. Name the provider.", t.ServiceName)
	case t.TokenType != wire.TypeOAuth || t.Provider != g.provider:
		return goal{}, fault.New(fault.Conflict, "There is a token named %q that is not from %s. Give another name for this connection, or delete that token first.", t.ServiceName, g.provider)
	}
	g.ref = platform.Ref{Owner: t.Owner, Bridge: t.Bridge, Service: t.ServiceName, Scheme: t.Scheme}
	g.scopes = union(refresh.SplitScopes(t.Scope), in.Scopes)
	if err := checkScopes(g.scopes); err != nil {
		return goal{}, err
	}
	// What waits in a platform vault for its move keeps its place there.
	if found.Mode == c.Mode {
		g.replaces, g.subject = t.CreationID, t.Subject
	}
	return g, nil
}

// existing is the token that a flow would take the place of.
func (s *Service) existing(ctx context.Context, p grants.Principal, c *vaults.Custody, service string, in StartInput) (vaults.Found, bool, error) {
	if in.Bridge != "" {
		t, err := s.ofBridge(ctx, p, c, in)
		return vaults.Found{Token: t, Mode: models.ModePlatform}, err == nil, err
	}
	if !wire.ValidServiceName(service) {
		return vaults.Found{}, false, fault.Field("service", "Give a name for the token: the provider's own cannot be one.")
	}
	found, err := s.deps.Vaults.Find(ctx, p, service)
	if fault.CodeOf(err) == fault.TokenNotFound {
		return vaults.Found{}, false, nil
	}
	return found, err == nil, err
}

// ofBridge is the stored token of a bridge.
func (s *Service) ofBridge(ctx context.Context, p grants.Principal, c *vaults.Custody, in StartInput) (models.Token, error) {
	missing := fault.New(fault.NotFound, "Nothing is stored for %q of %q that could be connected again. Store or connect its token first.", in.Bridge, in.Owner)
	if c.Mode != models.ModePlatform {
		return models.Token{}, missing // webhooks know no bridges
	}
	all, err := s.deps.Platform.Tokens(ctx, p)
	if err != nil {
		return models.Token{}, err
	}
	all = slices.DeleteFunc(all, func(t models.Token) bool {
		return t.Owner != in.Owner || t.Bridge != in.Bridge || t.TokenType != wire.TypeOAuth ||
			in.Service != "" && t.ServiceName != in.Service || in.Provider != "" && t.Provider != in.Provider
	})
	switch len(all) {
	case 0:
		return models.Token{}, missing
	case 1:
		return all[0], nil
	}
	return models.Token{}, fault.New(fault.Conflict, "The bridge %q has several tokens here. Say which service.", in.Bridge)
}

// throughWebhook sends the browser to the webhook, which runs the flow by itself.
func (s *Service) throughWebhook(ctx context.Context, p grants.Principal, client audit.Client, g goal, back string) (Redirect, error) {
	ticket, err := s.deps.Vaults.ConnectTicket(ctx, p, client, g.ref.Service, g.replaces)
	if err != nil {
		return Redirect{}, err
	}
	query := url.Values{"ticket": {ticket.Ticket}, "return": {back}}
	if len(g.scopes) > 0 {
		query.Set("scope", strings.Join(g.scopes, " "))
	}
	return Redirect{URL: ticket.WebhookURL + wire.PathConnect + g.provider + "?" + query.Encode()}, nil
}

// throughServer sends the browser to the provider, which sends it back here.
func (s *Service) throughServer(ctx context.Context, p grants.Principal, c *vaults.Custody, g goal, back string) (Redirect, error) {
	provider, err := s.deps.Providers.Provider(ctx, g.provider)
	if err != nil {
		return Redirect{}, err
	}
	f, err := s.newFlow()
	if err != nil {
		return Redirect{}, err
	}
	f.Provider, f.Ref, f.Replaces, f.Subject, f.Return = g.provider, g.ref, g.replaces, g.subject, back
	f.Scopes = union(provider.Scopes, g.scopes)
	if err := checkScopes(f.Scopes); err != nil {
		return Redirect{}, err
	}
	f.Binding = bindingOf(c)
	extra := url.Values{}
	if slices.Contains(f.Scopes, "openid") {
		extra.Set("nonce", f.Nonce)
	}
	address, err := provider.AuthorizationRequest(refresh.Authorization{
		RedirectURI: s.redirectURI(), State: f.State, Challenge: refresh.Challenge(refresh.Secret(f.Verifier)), Scopes: f.Scopes, Extra: extra,
	})
	if err != nil {
		return Redirect{}, fault.Wrap(err, fault.Unavailable, "The provider %s is not set up as it should be. Tell the operator.", g.provider)
	}
	cookie, err := s.seal(p, f)
	if err != nil {
		return Redirect{}, err
	}
	return Redirect{URL: address, Cookie: cookie}, nil
}

// bindingOf is the webhook that gets new tokens; zero: none does.
func bindingOf(c *vaults.Custody) uuid.UUID {
	if c.Mode == models.ModeWebhook {
		return c.Binding.ID
	}
	return uuid.Nil
}

// union is a, and what of b it lacks.
func union(a, b []string) []string {
	all := slices.Clone(a)
	for _, scope := range b {
		if !slices.Contains(all, scope) {
			all = append(all, scope)
		}
	}
	if all == nil {
		all = []string{}
	}
	return all
}
