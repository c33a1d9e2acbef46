package providers

import (
	"maps"
	"slices"
	"time"

	"github.com/tvzero/tokenvault/refresh"
)

// Ids of providers whose endpoints are known here, and of one whose ways are.
const (
	google = "google"
	github = "github"
	auth0  = "auth0"
)

// facts are what is known of a provider besides what its operator configured.
type facts struct {
	name      string
	manageURL string
	hosts     []string         // of its API
	server    refresh.Provider // endpoints, method, parameters; without id and client
}

// Scopes of OpenID Connect Core §5.4 and §11.
const (
	scopeOpenID  = "openid"
	scopeEmail   = "email"
	scopeOffline = "offline_access"
)

// factsOf is what is known of a provider by its id. Nothing but an issuer known: it
// speaks OpenID Connect, most likely.
func factsOf(id string) facts {
	switch id {
	case google:
		return facts{name: "Google", manageURL: "https://myaccount.google.com/connections", hosts: []string{"https://www.googleapis.com"}, server: refresh.Provider{
			Issuer:           "https://accounts.google.com",
			AuthorizationURL: "https://accounts.google.com/o/oauth2/v2/auth",
			TokenURL:         "https://oauth2.googleapis.com/token",
			RevocationURL:    "https://oauth2.googleapis.com/revoke",
			UserInfoURL:      "https://openidconnect.googleapis.com/v1/userinfo",
			AuthMethod:       refresh.AuthPost,
			Scopes:           []string{scopeOpenID, scopeEmail},
			// A refresh token is given only for offline access, and after the first time
			// only when consent is asked for again. What was granted before stays granted.
			AuthorizationParams: map[string]string{"access_type": "offline", "prompt": "consent", "include_granted_scopes": "true"},
			DefaultLifetime:     time.Hour,
		}}
	case github:
		// Tokens of an OAuth app do not expire and come without a refresh token; those of
		// a GitHub App say when they do. There is no RFC 7009: its owner removes it there.
		return facts{name: "GitHub", manageURL: "https://github.com/settings/applications", hosts: []string{"https://api.github.com"}, server: refresh.Provider{
			AuthorizationURL: "https://github.com/login/oauth/authorize",
			TokenURL:         "https://github.com/login/oauth/access_token",
			UserInfoURL:      "https://api.github.com/user",
			AuthMethod:       refresh.AuthPost,
		}}
	case auth0:
		return facts{name: "Auth0"}
	}
	return facts{}
}

// assemble is a provider as it is configured, over what is known of it and what its
// issuer says of itself.
func assemble(s Setting, known facts, discovered refresh.Provider) refresh.Provider {
	p := known.server
	if s.Issuer != "" {
		p.Issuer = s.Issuer
	}
	// A setting wins over what was discovered, and both over what is known.
	for _, from := range []refresh.Provider{discovered, {
		AuthorizationURL: s.AuthorizationURL, TokenURL: s.TokenURL, RevocationURL: s.RevocationURL, UserInfoURL: s.UserInfoURL,
	}} {
		override(&p.AuthorizationURL, from.AuthorizationURL)
		override(&p.TokenURL, from.TokenURL)
		override(&p.RevocationURL, from.RevocationURL)
		override(&p.UserInfoURL, from.UserInfoURL)
	}
	p.RequireIss = p.RequireIss || discovered.RequireIss
	p.ID, p.ClientID, p.ClientSecret = s.ID, s.ClientID, s.ClientSecret
	p.AuthMethod = method(s, p.AuthMethod, discovered.AuthMethod)
	switch {
	case len(s.Scopes) > 0:
		p.Scopes = slices.Clone(s.Scopes)
	case len(p.Scopes) == 0 && p.Issuer != "":
		p.Scopes = []string{scopeOpenID, scopeEmail, scopeOffline}
	default:
		p.Scopes = slices.Clone(p.Scopes)
	}
	p.AuthorizationParams = maps.Clone(p.AuthorizationParams)
	if p.AuthorizationParams == nil {
		p.AuthorizationParams = map[string]string{}
	}
	if slices.Contains(p.Scopes, scopeOffline) {
		p.AuthorizationParams["prompt"] = "consent" // OpenID Connect Core §11 wants it with offline_access
	}
	maps.Copy(p.AuthorizationParams, s.AuthorizationParams)
	if s.DefaultLifetime > 0 {
		p.DefaultLifetime = s.DefaultLifetime
	}
	return p
}

func override(value *string, with string) {
	if with != "" {
		*value = with
	}
}

// method is how we authenticate: as configured; else, with a secret, as the provider
// says or is known to; without one there is nothing to authenticate with.
func method(s Setting, known, discovered refresh.AuthMethod) refresh.AuthMethod {
	switch {
	case s.AuthMethod != "":
		return s.AuthMethod
	case s.ClientSecret == "":
		return refresh.AuthNone
	case discovered != "" && discovered != refresh.AuthNone:
		return discovered
	case known != "":
		return known
	}
	return refresh.AuthBasic
}
