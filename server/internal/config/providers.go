package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Ids of providers whose endpoints the server knows.
const (
	Google = "google"
	GitHub = "github"
	Auth0  = "auth0"
)

// A Provider is an OAuth 2.0 authorization server, and this server as its client, as
// the operator set it up: by an id that is known (google, github), by an issuer,
// whose metadata is discovered, or by a pair of endpoints.
type Provider struct {
	ID                  string
	Name                string // for people; empty: the id, or what is known
	Issuer              string // with endpoints: only what `iss` is compared with
	AuthorizationURL    string
	TokenURL            string
	RevocationURL       string
	UserInfoURL         string
	ClientID            string
	ClientSecret        Secret // empty: a public client
	AuthMethod          string // of RFC 7591's token_endpoint_auth_method; empty: by what is known
	Scopes              []string
	AllowedHosts        []string          // to which tokens that are new may be sent
	AuthorizationParams map[string]string // added to every authorization request
	DefaultLifetime     time.Duration     // of access tokens whose answer has no expires_in; 0: they do not expire
}

// Limits of what is configured.
const (
	maxProviders    = 64
	maxProviderText = 512 // bytes of an id of a client, a name, a parameter
	maxEndpoint     = 2048
	maxScopes       = 64
	maxScope        = 128
	maxParameters   = 16
	maxHosts        = 32
	maxLifetime     = 10 * 365 * 24 * time.Hour
)

// AuthMethods are how a client may authenticate at a token endpoint.
func AuthMethods() []string { return []string{"client_secret_basic", "client_secret_post", "none"} }

var (
	providerID = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`)
	scopeToken = regexp.MustCompile(`^[!#-\[\]-~]+$`) // RFC 6749 section 3.3
	hostname   = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:[0-9]{1,5})?$`)
)

// ownParameters are those of an authorization request that the server decides itself.
var ownParameters = []string{
	"client_id", "client_secret", "code_challenge", "code_challenge_method", "nonce", "redirect_uri", "request", "request_uri",
	"response_mode", "response_type", "scope", "state",
}

// providers reads what flags say of providers. problem is told of all that is wrong.
func (f Flags) providers(problem func(name, format string, args ...any)) []Provider {
	var list []Provider
	for _, known := range []struct {
		id, variable, clientID, value, file string
	}{
		{Google, "TOKENVAULT_GOOGLE", f.GoogleClientID, f.GoogleClientSecret, f.GoogleClientSecretFile},
		{GitHub, "TOKENVAULT_GITHUB", f.GitHubClientID, f.GitHubClientSecret, f.GitHubClientSecretFile},
		{Auth0, "TOKENVAULT_AUTH0", f.Auth0ClientID, f.Auth0ClientSecret, f.Auth0ClientSecretFile},
	} {
		clientSecret, err := secret(known.value, known.file, "")
		if err != nil {
			problem(known.variable+"_CLIENT_SECRET", "%v", err)
			continue
		}
		domain := strings.TrimSpace(f.Auth0Domain)
		isAuth0 := known.id == Auth0
		if known.clientID == "" && clientSecret == "" && (!isAuth0 || domain == "" && f.Auth0Audience == "") {
			continue
		}
		p := Provider{ID: known.id, ClientID: strings.TrimSpace(known.clientID), ClientSecret: Secret(clientSecret)}
		if p.ClientID == "" {
			problem(known.variable+"_CLIENT_ID", "required with the provider's other settings")
		} else if err := shortText(p.ClientID); err != nil {
			problem(known.variable+"_CLIENT_ID", "%v", err)
		}
		if p.ClientSecret == "" {
			problem(known.variable+"_CLIENT_SECRET", "required with the provider's other settings; better as _FILE")
		}
		if isAuth0 {
			if !hostname.MatchString(domain) {
				problem("TOKENVAULT_AUTH0_DOMAIN", "want the tenant's domain, such as example.eu.auth0.com, got %q", domain)
			}
			p.Issuer = "https://" + domain + "/" // with the slash, which is part of it
			if f.Auth0Audience != "" {
				if err := shortText(f.Auth0Audience); err != nil {
					problem("TOKENVAULT_AUTH0_AUDIENCE", "%v", err)
				}
				p.AuthorizationParams = map[string]string{"audience": f.Auth0Audience}
			}
		}
		list = append(list, p)
	}
	text, err := secret(f.Providers, f.ProvidersFile, "")
	if err != nil {
		problem("TOKENVAULT_PROVIDERS", "%v", err)
		return list
	}
	for i, p := range parseProviders(text, f.AllowPrivateNetworks, problem) {
		if slices.ContainsFunc(list, func(other Provider) bool { return other.ID == p.ID }) {
			problem("TOKENVAULT_PROVIDERS", "entry %d: the id %q stands twice, or has variables of its own", i+1, p.ID)
		}
		list = append(list, p)
	}
	return list
}

// A listedProvider is an entry of TOKENVAULT_PROVIDERS.
type listedProvider struct {
	ID                  string            `json:"id"`
	Name                string            `json:"name"`
	Issuer              string            `json:"issuer"`
	AuthorizationURL    string            `json:"authorizationUrl"`
	TokenURL            string            `json:"tokenUrl"`
	RevocationURL       string            `json:"revocationUrl"`
	UserInfoURL         string            `json:"userInfoUrl"`
	ClientID            string            `json:"clientId"`
	ClientSecret        string            `json:"clientSecret"`
	ClientSecretFile    string            `json:"clientSecretFile"`
	AuthMethod          string            `json:"tokenEndpointAuthMethod"`
	Scopes              []string          `json:"scopes"`
	AllowedHosts        []string          `json:"allowedHosts"`
	AuthorizationParams map[string]string `json:"authorizationParams"`
	DefaultLifetime     int64             `json:"defaultLifetimeSeconds"`
}

func parseProviders(text string, plainHTTP bool, problem func(name, format string, args ...any)) []Provider {
	if text == "" {
		return nil
	}
	var listed []listedProvider
	d := json.NewDecoder(bytes.NewReader([]byte(text)))
	d.DisallowUnknownFields()
	err := d.Decode(&listed)
	if err == nil {
		if _, more := d.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("something follows the list")
		}
	}
	if err != nil {
		problem("TOKENVAULT_PROVIDERS", "want a JSON list of providers: %v", jsonProblem(err))
		return nil
	}
	if len(listed) > maxProviders {
		problem("TOKENVAULT_PROVIDERS", "has %d entries; at most %d", len(listed), maxProviders)
		return nil
	}
	list := make([]Provider, len(listed))
	for i, entry := range listed {
		var wrong []error
		list[i], wrong = entry.check(plainHTTP)
		for _, err := range wrong {
			problem("TOKENVAULT_PROVIDERS", "entry %d (%.64q): %v", i+1, entry.ID, err)
		}
	}
	return list
}

// jsonProblem is an error of decoding without the value that it may quote, which may
// be a secret.
func jsonProblem(err error) error {
	var kind *json.UnmarshalTypeError
	if errors.As(err, &kind) {
		return fmt.Errorf("at byte %d: %q has the wrong type, want %s", kind.Offset, kind.Field, kind.Type)
	}
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		return fmt.Errorf("at byte %d it is not JSON", syntax.Offset)
	}
	return err
}

// check turns an entry into a provider, and says everything that is wrong with it.
func (e listedProvider) check(plainHTTP bool) (Provider, []error) {
	var wrong []error
	problem := func(format string, args ...any) { wrong = append(wrong, fmt.Errorf(format, args...)) }
	p := Provider{
		ID: e.ID, Name: e.Name, Issuer: e.Issuer, AuthorizationURL: e.AuthorizationURL, TokenURL: e.TokenURL, RevocationURL: e.RevocationURL,
		UserInfoURL: e.UserInfoURL, ClientID: e.ClientID, AuthMethod: e.AuthMethod, Scopes: e.Scopes, AllowedHosts: e.AllowedHosts, AuthorizationParams: e.AuthorizationParams,
		DefaultLifetime: time.Duration(e.DefaultLifetime) * time.Second,
	}
	if !providerID.MatchString(e.ID) {
		problem("id: want 1–64 of a–z, 0–9 and . _ -, beginning with a letter or digit")
	}
	known := e.ID == Google || e.ID == GitHub
	if pair := e.AuthorizationURL != "" && e.TokenURL != ""; !pair && (e.AuthorizationURL != "" || e.TokenURL != "" || e.Issuer == "" && !known) {
		problem("give an issuer, or both authorizationUrl and tokenUrl")
	}
	for _, endpoint := range []struct{ name, value string }{
		{"issuer", e.Issuer}, {"authorizationUrl", e.AuthorizationURL}, {"tokenUrl", e.TokenURL}, {"revocationUrl", e.RevocationURL}, {"userInfoUrl", e.UserInfoURL},
	} {
		if endpoint.value == "" {
			continue
		}
		if err := endpointURL(endpoint.value, endpoint.name == "issuer", plainHTTP); err != nil {
			problem("%s: %w", endpoint.name, err)
		}
	}
	if err := shortText(e.ClientID); err != nil {
		problem("clientId: %w", err)
	}
	if e.Name != "" {
		if err := shortText(e.Name); err != nil {
			problem("name: %w", err)
		}
	}
	clientSecret, err := secret(e.ClientSecret, e.ClientSecretFile, "")
	if err != nil {
		problem("clientSecret: %w", err)
	}
	p.ClientSecret = Secret(clientSecret)
	switch {
	case e.AuthMethod != "" && !slices.Contains(AuthMethods(), e.AuthMethod):
		problem("tokenEndpointAuthMethod: want one of %s", strings.Join(AuthMethods(), ", "))
	case e.AuthMethod == "none" && clientSecret != "":
		problem("tokenEndpointAuthMethod: none goes without a clientSecret")
	case known && clientSecret == "" && err == nil:
		problem("clientSecret: %s has no clients without one", e.ID)
	case strings.HasPrefix(e.AuthMethod, "client_secret") && clientSecret == "" && err == nil:
		problem("clientSecret: required with tokenEndpointAuthMethod %s", e.AuthMethod)
	}
	if len(e.AllowedHosts) > maxHosts {
		problem("allowedHosts: at most %d", maxHosts)
	}
	for _, host := range e.AllowedHosts {
		if u, err := url.Parse(host); endpointURL(host, true, plainHTTP) != nil || err != nil || strings.Trim(u.Path, "/") != "" {
			problem("allowedHosts: %.64q is not of the form https://api.example.com", host)
		}
	}
	return p, append(wrong, e.checkRequest()...)
}

// checkRequest looks at what is put into authorization requests.
func (e listedProvider) checkRequest() (wrong []error) {
	problem := func(format string, args ...any) { wrong = append(wrong, fmt.Errorf(format, args...)) }
	if len(e.Scopes) > maxScopes {
		problem("scopes: at most %d", maxScopes)
	}
	for _, scope := range e.Scopes {
		if len(scope) > maxScope || !scopeToken.MatchString(scope) {
			problem("scopes: %.64q is not a scope (one each, without spaces and quotes)", scope)
		}
	}
	if len(e.AuthorizationParams) > maxParameters {
		problem("authorizationParams: at most %d", maxParameters)
	}
	for _, name := range slices.Sorted(maps.Keys(e.AuthorizationParams)) {
		value := e.AuthorizationParams[name]
		if slices.Contains(ownParameters, name) {
			problem("authorizationParams: %s is the server's to set", name)
		} else if shortText(name) != nil || shortText(value) != nil {
			problem("authorizationParams: %.64q or its value is empty, too long or not printable", name)
		}
	}
	if e.DefaultLifetime < 0 || e.DefaultLifetime > int64(maxLifetime/time.Second) {
		problem("defaultLifetimeSeconds: want 0 (tokens do not expire) up to ten years")
	}
	return wrong
}

// endpointURL refuses what is no URL that a secret may be sent to.
func endpointURL(text string, issuer, plainHTTP bool) error {
	u, err := url.Parse(text)
	switch {
	case err != nil || len(text) > maxEndpoint || u.Hostname() == "" || u.Opaque != "":
		return errors.New("want a URL that begins with https://")
	case u.Scheme != "https" && (u.Scheme != "http" || !plainHTTP):
		return errors.New("must begin with https:// (http:// only with TOKENVAULT_ALLOW_PRIVATE_NETWORKS)")
	case u.User != nil || u.Fragment != "" || strings.Contains(text, "#"):
		return errors.New("must have neither user information nor a fragment")
	case issuer && (u.RawQuery != "" || u.ForceQuery):
		return errors.New("an issuer has no query")
	}
	return nil
}

// shortText refuses what is empty, too long, or not printable ASCII but for a name.
func shortText(text string) error {
	if text == "" || len(text) > maxProviderText {
		return fmt.Errorf("want 1–%d bytes", maxProviderText)
	}
	for _, r := range text {
		if r < ' ' || r == 0x7f || r == '\uFFFD' {
			return errors.New("has characters that cannot be printed")
		}
	}
	return nil
}
