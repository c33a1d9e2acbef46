package refresh

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"
)

// An AuthMethod is how a client authenticates at the token endpoint, by its name in
// OpenID Connect Core §9. "" means basic with a client secret, none without.
type AuthMethod string

// The methods that a Client has.
const (
	AuthBasic AuthMethod = "client_secret_basic" // RFC 6749 §2.3.1, the header
	AuthPost  AuthMethod = "client_secret_post"  // RFC 6749 §2.3.1, the body
	AuthNone  AuthMethod = "none"                // a public client: its id alone
)

// A Provider is an OAuth 2.0 authorization server, and us as its client.
type Provider struct {
	ID     string // our name for it, such as "github"
	Issuer string // RFC 8414 §2; "" when it has none

	AuthorizationURL string // "" if codes are not asked for
	TokenURL         string // required to refresh and to exchange
	RevocationURL    string // RFC 7009; "" when it has none
	UserInfoURL      string // OpenID Connect Core §5.3; "" when it has none

	ClientID     string
	ClientSecret Secret
	AuthMethod   AuthMethod
	Scopes       []string

	// AuthorizationParams go into every authorization request: what this provider wants
	// besides the standard ones, such as access_type=offline. Standard ones stay as they are.
	AuthorizationParams map[string]string

	// DefaultLifetime is that of an access token whose answer has no expires_in. 0: it
	// does not expire.
	DefaultLifetime time.Duration

	// RequireIss says that an authorization response without iss is to be refused
	// (authorization_response_iss_parameter_supported, RFC 9207 §2.4).
	RequireIss bool
}

// Validate returns all problems of a provider at once, joined; none holds the client
// secret. Endpoints are http or https URLs without user or fragment (RFC 6749 §3.1, §3.2);
// whether plain http is dialled is decided where the http.Client was made.
func (p Provider) Validate() error {
	var problems []error
	add := func(field, problem string) {
		problems = append(problems, fmt.Errorf("refresh: provider %q: %s %s", p.ID, field, problem))
	}
	if p.TokenURL == "" {
		add("TokenURL", "is missing")
	}
	if p.ClientID == "" {
		add("ClientID", "is missing")
	}
	for _, e := range []struct{ field, url string }{
		{"Issuer", p.Issuer}, {"AuthorizationURL", p.AuthorizationURL}, {"TokenURL", p.TokenURL},
		{"RevocationURL", p.RevocationURL}, {"UserInfoURL", p.UserInfoURL},
	} {
		if e.url == "" {
			continue
		}
		if _, err := parseEndpoint(e.url); err != nil {
			add(e.field, err.Error())
		}
	}
	switch p.AuthMethod {
	case "", AuthNone:
	case AuthBasic, AuthPost:
		if p.ClientSecret == "" {
			add("ClientSecret", "is missing, and "+string(p.AuthMethod)+" needs one")
		}
	default:
		add("AuthMethod", fmt.Sprintf("is %q: want %s, %s or %s", p.AuthMethod, AuthBasic, AuthPost, AuthNone))
	}
	if p.DefaultLifetime < 0 {
		add("DefaultLifetime", "is negative")
	}
	return errors.Join(problems...)
}

// method is the method in use.
func (p Provider) method() AuthMethod {
	switch {
	case p.AuthMethod != "":
		return p.AuthMethod
	case p.ClientSecret != "":
		return AuthBasic
	}
	return AuthNone
}

// maxURL bounds what is read as a URL, in bytes.
const maxURL = 2048

// parseEndpoint reads the URL of an endpoint. Its error completes a sentence that
// begins with the field's name, and repeats nothing of the URL.
func parseEndpoint(text string) (*url.URL, error) {
	if len(text) > maxURL {
		return nil, fmt.Errorf("is longer than %d bytes", maxURL)
	}
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return nil, errors.New("is not a URL")
	case u.Scheme != "https" && u.Scheme != "http", u.Opaque != "":
		return nil, errors.New("is not an http or https URL")
	case u.Hostname() == "":
		return nil, errors.New("has no host")
	case u.User != nil:
		return nil, errors.New("has a user in it")
	case u.Fragment != "" || strings.HasSuffix(text, "#"):
		return nil, errors.New("has a fragment")
	}
	return u, nil
}
