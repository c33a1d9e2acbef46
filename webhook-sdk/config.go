package webhook

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/tvzero/tokenvault/webhook-sdk/credential"
	"github.com/tvzero/tokenvault/webhook-sdk/custody"
	"github.com/tvzero/tokenvault/webhook-sdk/mint"
	"github.com/tvzero/tokenvault/webhook-sdk/netguard"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// minAdminSecret is the shortest admin secret, in bytes.
const minAdminSecret = 16

// Config is what New needs. Keys, Storage and ExternalURL are required; each other
// field says what its zero value means.
type Config struct {
	// Keys seal tokens and the secrets of bindings (custody.LoadOrCreate or Derive).
	Keys *custody.Keys
	// Storage keeps them. It stays the caller's: Close does not close it.
	Storage Storage
	// ExternalURL is where TV, agents and browsers reach this handler, with the
	// path under which it is mounted, if any. https, or http on loopback, or http
	// anywhere when Outbound.AllowPrivate is set.
	ExternalURL string

	// TokenVaultURL is the origin of the Token Vault server that /bind offers.
	// Zero: whoever opens /bind says which.
	TokenVaultURL string
	// AdminSecret allows to make registration codes, at least 16 bytes. Zero: the
	// first binding needs a set-up link (SetupLink), and a later one is refused.
	AdminSecret AdminSecret
	// LoopbackListener says that the server listens on a loopback address only.
	// With an ExternalURL on loopback too, the first binding needs no secret. Zero:
	// it needs one.
	LoopbackListener bool

	// Purposes lists the purposes of tickets that are served. Nil: all. An empty
	// list serves none.
	Purposes []wire.Purpose
	// Deny lists the networks to which no credential and no code is given. TV's own
	// egress addresses belong there. Zero: none.
	Deny []netip.Prefix
	// TrustedProxies lists the proxies whose X-Forwarded-For says where a request
	// came from. While there is a deny list, what comes through one of them without
	// that header gets nothing. Zero: none, the connection's address counts.
	TrustedProxies []netip.Prefix
	// Minters turn raw credentials into short-lived tokens. Nil: mint.Default(). An
	// empty set mints nothing.
	Minters mint.Set
	// Providers are those at which this webhook is a client: it refreshes their tokens,
	// connects accounts there (GET /connect/<ID>, purpose connect), and revokes what is
	// deleted. Zero: none; tokens that expire are not refreshed here.
	Providers []Provider
	// TVRefresh serves POST /v1/refresh, by which TV gets refresh tokens, in transit, of
	// providers whose client secret is not here, and brings back what they gave. What it
	// sees is no longer out of TV's reach. Zero: it is refused.
	TVRefresh bool
	// Outbound holds for every request that the webhook makes. Zero: public
	// addresses and https only, 25 s and 4 MiB for an upstream's answer.
	// Outbound.AllowPrivate also permits allowedHosts with http.
	Outbound netguard.Policy

	// Logger gets one line for each refusal and failure, without query, headers or
	// credential material. Nil: nothing is logged.
	Logger *slog.Logger
	// Now is the clock. Nil: time.Now.
	Now func() time.Time
	// Random is where secrets, codes and ids come from; it is used concurrently.
	// Nil: crypto/rand.Reader.
	Random io.Reader
}

// An AdminSecret is the operator's password for binding. It prints as
// "[redacted]" in every format and refuses to be marshalled.
type AdminSecret string

const redacted = "[redacted]"

// Format writes no secret, under every verb.
func (AdminSecret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// String returns no secret.
func (AdminSecret) String() string { return redacted }

// LogValue returns no secret.
func (AdminSecret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText always fails.
func (AdminSecret) MarshalText() ([]byte, error) {
	return nil, errors.New("webhook: an admin secret is not marshalled")
}

// A ConfigError is one problem of a Config.
type ConfigError struct {
	Field   string // of Config
	Problem string // completes a sentence that begins with the field; holds no secret
}

func (e *ConfigError) Error() string { return "webhook: Config." + e.Field + " " + e.Problem }

// Validate returns all problems of a configuration at once, each a *ConfigError,
// joined. It does not look at Keys and Storage, so that it can come before they are
// opened.
func (c Config) Validate() error {
	var problems []error
	add := func(field string, err error) {
		if err != nil {
			problems = append(problems, &ConfigError{Field: field, Problem: err.Error()})
		}
	}
	_, err := parseBase(c.ExternalURL, c.Outbound.AllowPrivate)
	add("ExternalURL", err)
	if c.TokenVaultURL != "" {
		_, err := parseOrigin(c.TokenVaultURL)
		add("TokenVaultURL", err)
	}
	if c.AdminSecret != "" && len(c.AdminSecret) < minAdminSecret {
		add("AdminSecret", fmt.Errorf("is shorter than %d bytes", minAdminSecret))
	}
	for field, list := range map[string][]netip.Prefix{"Deny": c.Deny, "TrustedProxies": c.TrustedProxies} {
		if slices.ContainsFunc(list, func(p netip.Prefix) bool { return !p.IsValid() }) {
			add(field, errors.New("has an entry that is not a network"))
		}
	}
	for _, err := range validateProviders(c.Providers, c.Outbound) {
		add("Providers", err)
	}
	for _, p := range c.Purposes {
		if !slices.Contains(servedPurposes(), p) {
			add("Purposes", fmt.Errorf("has %q, which this webhook does not know", string(p)))
		}
	}
	return errors.Join(problems...)
}

// parsed is the URLs of a valid configuration: base without a trailing slash, tv ""
// or an origin.
func (c Config) parsed() (base *url.URL, tv string, err error) {
	problems := c.Validate()
	if c.Keys == nil {
		problems = errors.Join(problems, &ConfigError{"Keys", "is missing"})
	}
	if c.Storage == nil {
		problems = errors.Join(problems, &ConfigError{"Storage", "is missing"})
	}
	if problems != nil {
		return nil, "", problems
	}
	if base, err = parseBase(c.ExternalURL, c.Outbound.AllowPrivate); err != nil {
		return nil, "", err
	}
	if c.TokenVaultURL != "" {
		tv, err = parseOrigin(c.TokenVaultURL)
	}
	return base, tv, err
}

func servedPurposes() []wire.Purpose {
	return []wire.Purpose{
		wire.PurposeAgentCredential, wire.PurposeUserReveal, wire.PurposeTOTPCode, wire.PurposeStore, wire.PurposeProxy,
		wire.PurposeConnect,
	}
}

// parseBase reads the URL under which the webhook is reached.
func parseBase(text string, plainHTTP bool) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case text == "":
		return nil, errors.New("is missing: say where this webhook is reached, such as https://webhook.example.com")
	case err != nil || u.Host == "" || u.Hostname() == "" || u.Opaque != "":
		return nil, errors.New("is not a URL such as https://webhook.example.com")
	case u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return nil, errors.New("must have neither user information nor query nor fragment")
	case u.Scheme != "https" && (u.Scheme != "http" || !plainHTTP && !isLoopback(u.Hostname())):
		return nil, errors.New("must begin with https:// (http:// only on loopback)")
	}
	if _, err := credential.Origin(u); err != nil {
		return nil, err
	}
	u.Path, u.RawPath = strings.TrimRight(u.Path, "/"), ""
	return u, nil
}

// parseOrigin reads the origin of a TV: https, or http on loopback, and no path.
func parseOrigin(text string) (string, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.Hostname() == "" || u.Opaque != "":
		return "", errors.New("is not an origin such as https://tokenvault.example.com")
	case u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || strings.Trim(u.Path, "/") != "":
		return "", errors.New("must be an origin: scheme, host and port, and nothing else")
	case u.Scheme != "https" && (u.Scheme != "http" || !isLoopback(u.Hostname())):
		return "", errors.New("must begin with https:// (http:// only on loopback)")
	}
	origin, err := credential.Origin(u)
	if err != nil {
		return "", err
	}
	return origin, nil
}

// isLoopback reports whether a URL's host is this machine by its name alone.
func isLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}
