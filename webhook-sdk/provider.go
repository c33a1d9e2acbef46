package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/tvzero/tokenvault/refresh"
	"github.com/tvzero/tokenvault/webhook-sdk/credential"
	"github.com/tvzero/tokenvault/webhook-sdk/netguard"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// A Provider is an OAuth 2.0 authorization server of which this webhook is a client,
// with a client secret of its own: TV refreshes and connects nothing there.
//
// ID names it, in a token's metadata (provider) and in the path under which accounts
// are connected: lower-case letters, digits, ".", "_" and "-". Without a TokenURL the
// endpoints come from Issuer by discovery, at first use; those that are set win over
// those that are discovered. At the provider, register ExternalURL +
// "/connect/<ID>/callback" as redirect URI.
type Provider struct {
	refresh.Provider
	// Name is what people call it. Zero: the ID.
	Name string
	// AllowedHosts are those of a token that is connected here: to where /v1/proxy may
	// send it. Zero: nowhere.
	AllowedHosts []string
}

func (p Provider) name() string {
	if p.Name != "" {
		return p.Name
	}
	return p.ID
}

const (
	maxProviders     = 64
	maxProviderName  = 64 // bytes
	discoveryLife    = 24 * time.Hour
	discoveryRetry   = 15 * time.Second // after a discovery that failed
	discoveryTimeout = 6 * time.Second
)

var providerID = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`)

// validateProviders returns everything that is wrong with a list of providers; no
// error holds a client secret.
func validateProviders(list []Provider, outbound netguard.Policy) []error {
	var problems []error
	if len(list) > maxProviders {
		return []error{fmt.Errorf("has more than %d entries", maxProviders)}
	}
	seen := map[string]bool{}
	for i, p := range list {
		switch {
		case !providerID.MatchString(p.ID):
			problems = append(problems, fmt.Errorf("has an entry (number %d) without an id of lower-case letters, digits, '.', '_' and '-'", i+1))
			continue
		case seen[p.ID]:
			problems = append(problems, fmt.Errorf("has the id %q twice", p.ID))
		}
		seen[p.ID] = true
		for _, err := range p.problems(outbound) {
			problems = append(problems, fmt.Errorf("has an entry %q that cannot be used: %w", p.ID, err))
		}
	}
	return problems
}

func (p Provider) problems(outbound netguard.Policy) []error {
	var problems []error
	checked := p.Provider
	if checked.TokenURL == "" && checked.Issuer != "" {
		checked.TokenURL = checked.Issuer // discovery will say
	}
	prefix := fmt.Sprintf("refresh: provider %q: ", p.ID)
	if joined, ok := checked.Validate().(interface{ Unwrap() []error }); ok {
		for _, err := range joined.Unwrap() {
			problems = append(problems, errors.New(strings.TrimPrefix(err.Error(), prefix)))
		}
	}
	for name, endpoint := range map[string]string{
		"issuer": p.Issuer, "authorizationUrl": p.AuthorizationURL, "tokenUrl": p.TokenURL,
		"revocationUrl": p.RevocationURL, "userInfoUrl": p.UserInfoURL,
	} {
		if u, err := url.Parse(endpoint); endpoint != "" && err == nil && outbound.CheckURL(u) != nil {
			problems = append(problems, fmt.Errorf("%s must be an https:// URL that is not of a private network", name))
		}
	}
	if p.AuthMethod != refresh.AuthNone && p.ClientSecret == "" {
		problems = append(problems, errors.New("clientSecret is missing; for a public client say tokenEndpointAuthMethod none"))
	}
	if _, err := parseScopes(strings.Join(p.Scopes, " ")); err != nil {
		problems = append(problems, fmt.Errorf("scopes %w", err))
	}
	if len(p.Name) > maxProviderName || strings.ContainsFunc(p.Name, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		problems = append(problems, fmt.Errorf("name is longer than %d bytes or not printable", maxProviderName))
	}
	if err := checkAllowedHosts(p.AllowedHosts, outbound.AllowPrivate); err != nil {
		problems = append(problems, err)
	}
	slices.SortFunc(problems, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return problems
}

// checkAllowedHosts holds them against what a stored token may have.
func checkAllowedHosts(hosts []string, plainHTTP bool) error {
	text, err := json.Marshal(hosts)
	if err != nil || len(hosts) == 0 {
		return err
	}
	_, err = credential.Parse(map[string]json.RawMessage{
		credential.MetaTokenType: []byte(`"` + wire.TypePlainText + `"`), wire.FieldAccessToken: []byte(`"-"`), credential.MetaAllowedHosts: text,
	}, credential.Options{PlainHTTP: plainHTTP})
	return err
}

// providers are those of the configuration, with what discovery said of them.
type providers struct {
	client *refresh.Client
	now    func() time.Time
	byID   map[string]*knownProvider
}

// A knownProvider is one, and what discovery said of it.
type knownProvider struct {
	Provider // as it is configured

	turn chan struct{} // holds one: whoever took it may look at the rest
	full refresh.Provider
	good time.Time // full is from then; zero: there is none
	next time.Time // no discovery before
	err  error     // of the last discovery
}

func newProviders(list []Provider, client *refresh.Client, now func() time.Time) *providers {
	p := &providers{client: client, now: now, byID: make(map[string]*knownProvider, len(list))}
	for _, configured := range list {
		configured.Scopes = slices.Clone(configured.Scopes)
		configured.AllowedHosts = slices.Clone(configured.AllowedHosts)
		configured.AuthorizationParams = maps.Clone(configured.AuthorizationParams)
		known := &knownProvider{Provider: configured, turn: make(chan struct{}, 1)}
		known.turn <- struct{}{}
		p.byID[configured.ID] = known
	}
	return p
}

// of is the provider that a token's metadata names, if it is one of ours. A token that
// names another client of the provider was issued to that one: only it can refresh it. One
// of another issuer is another's, whatever its provider is called: its refresh token is no
// business of ours.
func (p *providers) of(meta map[string]any) (*knownProvider, bool) {
	id, _ := meta[credential.MetaProvider].(string)
	known, ok := p.byID[id]
	if !ok {
		return nil, false
	}
	if client, given := meta[metaClientID].(string); given && client != known.ClientID {
		return nil, false
	}
	if given := meta[credential.MetaIssuer]; given != nil && given != "" && known.Issuer != "" {
		if issuer, _ := given.(string); plainIssuer(issuer) != plainIssuer(known.Issuer) {
			return nil, false
		}
	}
	return known, true
}

// plainIssuer is an issuer without what people write one way or the other.
func plainIssuer(text string) string {
	return strings.TrimSuffix(strings.TrimPrefix(text, "https://"), "/")
}

// endpoints is the provider with all that is known of it. The error is a
// *refresh.Refusal or that of the context.
func (p *providers) endpoints(ctx context.Context, known *knownProvider) (refresh.Provider, error) {
	if known.TokenURL != "" {
		return known.Provider.Provider, nil
	}
	select {
	case <-known.turn:
	case <-ctx.Done():
		return refresh.Provider{}, ctx.Err()
	}
	defer func() { known.turn <- struct{}{} }()
	now := p.now()
	if now.Before(known.next) {
		return known.full, known.err
	}
	// Others wait for this answer too: it does not end with the caller.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), discoveryTimeout)
	defer cancel()
	found, err := p.client.Discover(ctx, known.Issuer)
	switch {
	case err == nil:
		known.full, known.err = known.over(found), nil
		known.good, known.next = now, now.Add(discoveryLife)
	case known.good.IsZero():
		known.err, known.next = err, now.Add(discoveryRetry)
	default: // what was found before is better than nothing
		known.next = now.Add(discoveryRetry)
	}
	return known.full, known.err
}

// over is what was discovered, under what is configured.
func (p Provider) over(found refresh.Provider) refresh.Provider {
	full := p.Provider
	for _, endpoint := range []struct{ configured, found *string }{
		{&full.AuthorizationURL, &found.AuthorizationURL}, {&full.TokenURL, &found.TokenURL},
		{&full.RevocationURL, &found.RevocationURL}, {&full.UserInfoURL, &found.UserInfoURL},
	} {
		if *endpoint.configured == "" {
			*endpoint.configured = *endpoint.found
		}
	}
	if full.AuthMethod == "" {
		full.AuthMethod = found.AuthMethod
	}
	full.RequireIss = full.RequireIss || found.RequireIss
	return full
}

const (
	maxScopes     = 64
	maxScopesText = 4 << 10
)

// parseScopes reads scopes with spaces between (RFC 6749 §3.3). Its error completes a
// sentence.
func parseScopes(text string) ([]string, error) {
	scopes := strings.Fields(text)
	if len(text) > maxScopesText || len(scopes) > maxScopes {
		return nil, fmt.Errorf("are more than %d, or longer than %d bytes", maxScopes, maxScopesText)
	}
	for _, scope := range scopes {
		for i := range len(scope) {
			if c := scope[i]; c <= ' ' || c > '~' || c == '"' || c == '\\' {
				return nil, errors.New("have characters that no scope has")
			}
		}
	}
	return scopes, nil
}
