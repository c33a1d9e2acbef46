package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strings"

	webhook "github.com/tvzero/tokenvault/webhook-sdk"
	"github.com/tvzero/tokenvault/webhook-sdk/custody"
	"github.com/tvzero/tokenvault/webhook-sdk/mint"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// commands is the command line.
type commands struct {
	options

	Serve   struct{} `cmd:"" default:"1" help:"Serve; what tv-webhook does when no command is given."`
	Health  struct{} `cmd:"" help:"Ask the webhook on this machine whether it is healthy; for container health checks."`
	Version struct{} `cmd:"" help:"Print the version."`
}

// options are the flags, each with its variable. Lists are parsed later,
// so that all problems can be said at once.
type options struct {
	Listen               string `default:"127.0.0.1:8080" env:"TV_WEBHOOK_LISTEN" placeholder:"ADDRESS" help:"Where to listen (${default}; ${env})."`
	ExternalURL          string `name:"external-url" env:"TV_WEBHOOK_EXTERNAL_URL" placeholder:"URL" help:"Where Token Vault, agents and browsers reach this webhook; needed unless it listens on loopback (${env})."`
	Data                 string `default:"./tv-webhook-data" env:"TV_WEBHOOK_DATA" placeholder:"FOLDER" help:"Where everything is kept; created if missing (${default}; ${env})."`
	TokenvaultURL        string `name:"tokenvault-url" env:"TV_WEBHOOK_TOKENVAULT_URL" placeholder:"URL" help:"The Token Vault server to bind to; without it the bind page asks (${env})."`
	Deny                 string `env:"TV_WEBHOOK_DENY" placeholder:"NETWORKS" help:"Networks to which no credential is given, such as Token Vault's own: 192.0.2.0/24,2001:db8::1 (${env})."`
	TrustedProxies       string `env:"TV_WEBHOOK_TRUSTED_PROXIES" placeholder:"NETWORKS" help:"Reverse proxies whose X-Forwarded-For counts (${env})."`
	Purposes             string `env:"TV_WEBHOOK_PURPOSES" placeholder:"PURPOSES" help:"Purposes of tickets to serve; all without it: agent_credential,user_reveal,totp_code,store,proxy,connect (${env})."`
	TVRefresh            bool   `name:"tv-refresh" env:"TV_WEBHOOK_TV_REFRESH" help:"Give Token Vault refresh tokens of providers whose client secret it has, in transit; it is refused without this (${env})."`
	AllowPrivateNetworks bool   `env:"TV_WEBHOOK_ALLOW_PRIVATE_NETWORKS" help:"Allow calls to private addresses and plain http; for development and tests (${env})."`
	GCPTokenHosts        string `name:"gcp-token-hosts" env:"TV_WEBHOOK_GCP_TOKEN_HOSTS" placeholder:"HOSTS" help:"Token endpoints besides Google's that keys of Google service accounts may name: host or host:port (${env})."`
}

// Environment variables that are no flags.
const (
	envSeed        = "TV_WEBHOOK_SEED"
	envAdminSecret = "TV_WEBHOOK_ADMIN_SECRET"
	envProviders   = "TV_WEBHOOK_OAUTH_PROVIDERS"
	fileSuffix     = "_FILE"
	maxSecretFile  = 64 << 10
)

// notYet are variables of features that this version does not have. Ignoring them
// would leave an operator in the belief that they hold.
var notYet = []string{"TV_WEBHOOK_KEEPER", "TV_WEBHOOK_REQUIRE_TWO_KEY"}

// configErrors are all problems of the configuration.
type configErrors struct{ problems []string }

func (e *configErrors) Error() string { return strings.Join(e.problems, "\n") }

func (e *configErrors) add(format string, args ...any) {
	e.problems = append(e.problems, fmt.Sprintf(format, args...))
}

// settings is a valid configuration, before anything was opened.
type settings struct {
	config webhook.Config // without Keys and Storage
	keys   *custody.Keys  // derived from the seed, or nil
	listen string
	data   string

	unknown []string // variables that look like ours and are not
}

// read validates the options and the environment, and reports all problems as
// configErrors.
func (o options) read(environ []string) (settings, error) {
	var wrong configErrors
	env := environment(environ)
	for _, name := range notYet {
		if _, given := env[name]; given {
			wrong.add("%s: this version does not have that feature; unset it", name)
		}
	}
	s := settings{listen: o.Listen, data: o.Data, unknown: unknownVariables(env)}
	if o.Data == "" {
		wrong.add("TV_WEBHOOK_DATA is empty")
	}
	s.config.AdminSecret = webhook.AdminSecret(strings.TrimSpace(secret(env, envAdminSecret, &wrong)))
	if seed := secret(env, envSeed, &wrong); seed != "" {
		keys, err := custody.Derive([]byte(seed))
		if err != nil {
			wrong.add("%s: %v", envSeed, err)
		}
		s.keys = keys
	}
	s.config.TokenVaultURL = o.TokenvaultURL
	s.config.Deny = prefixes("TV_WEBHOOK_DENY", o.Deny, &wrong)
	s.config.TrustedProxies = prefixes("TV_WEBHOOK_TRUSTED_PROXIES", o.TrustedProxies, &wrong)
	for _, name := range list(o.Purposes) {
		s.config.Purposes = append(s.config.Purposes, wire.Purpose(name))
	}
	s.config.Outbound.AllowPrivate = o.AllowPrivateNetworks
	s.config.Providers = readProviders(env, &wrong)
	s.config.TVRefresh = o.TVRefresh
	s.config.Minters = mint.Set{mint.GCP{AllowedTokenHosts: list(o.GCPTokenHosts)}}
	o.readAddresses(&s, &wrong)
	s.addProblems(&wrong)
	if len(wrong.problems) > 0 {
		return settings{}, &wrong
	}
	return s, nil
}

// readAddresses reads where to listen and where the webhook is reached. On
// loopback the one is the other's default.
func (o options) readAddresses(s *settings, wrong *configErrors) {
	host, port, err := net.SplitHostPort(o.Listen)
	if err != nil || port == "" {
		wrong.add("TV_WEBHOOK_LISTEN is not an address such as 127.0.0.1:8080")
		return
	}
	s.config.LoopbackListener = host == "localhost" || isLoopback(host)
	switch {
	case o.ExternalURL != "":
		s.config.ExternalURL = o.ExternalURL
	case s.config.LoopbackListener:
		// Which port 0 becomes is known once it listens.
		s.config.ExternalURL = "http://" + strings.TrimSuffix(o.Listen, ":0")
	default:
		wrong.add("TV_WEBHOOK_EXTERNAL_URL is missing: say where this webhook is reached, such as https://webhook.example.com")
	}
}

func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}

// addProblems says what package webhook finds, by the names of the variables.
func (s settings) addProblems(wrong *configErrors) {
	variables := map[string]string{
		"ExternalURL": "TV_WEBHOOK_EXTERNAL_URL", "TokenVaultURL": "TV_WEBHOOK_TOKENVAULT_URL", "AdminSecret": envAdminSecret,
		"Purposes": "TV_WEBHOOK_PURPOSES", "Providers": envProviders,
	}
	joined, _ := s.config.Validate().(interface{ Unwrap() []error })
	if joined == nil {
		return
	}
	for _, err := range joined.Unwrap() {
		var problem *webhook.ConfigError
		if !errors.As(err, &problem) {
			wrong.add("%v", err)
			continue
		}
		if problem.Field == "ExternalURL" && s.config.ExternalURL == "" {
			continue // said already
		}
		name := variables[problem.Field]
		if name == "" {
			name = problem.Field
		}
		wrong.add("%s %s", name, problem.Problem)
	}
}

// unknownVariables are those whose name is perhaps mistyped. Kubernetes sets some
// for a service that is called tv-webhook.
func unknownVariables(env map[string]string) []string {
	known := []string{envSeed, envSeed + fileSuffix, envAdminSecret, envAdminSecret + fileSuffix, envProviders, envProviders + fileSuffix}
	fields := reflect.TypeFor[options]()
	for i := range fields.NumField() {
		known = append(known, fields.Field(i).Tag.Get("env"))
	}
	var out []string
	for name := range env {
		if strings.HasPrefix(name, "TV_WEBHOOK_") && !slices.Contains(known, name) && !slices.Contains(notYet, name) &&
			!strings.HasPrefix(name, "TV_WEBHOOK_SERVICE_") && !strings.HasPrefix(name, "TV_WEBHOOK_PORT") {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

func environment(environ []string) map[string]string {
	out := make(map[string]string, len(environ))
	for _, entry := range environ {
		if name, value, ok := strings.Cut(entry, "="); ok {
			out[name] = value
		}
	}
	return out
}

// secret reads a secret from its variable, or from the file that name_FILE names.
func secret(env map[string]string, name string, wrong *configErrors) string {
	value, path := env[name], env[name+fileSuffix]
	switch {
	case path == "":
		return value
	case value != "":
		wrong.add("%s and %s%s are both set; unset one", name, name, fileSuffix)
		return ""
	}
	file, err := os.Open(path)
	if err != nil {
		wrong.add("%s%s: %v", name, fileSuffix, err)
		return ""
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxSecretFile+1))
	switch {
	case err != nil:
		wrong.add("%s%s: %v", name, fileSuffix, err)
	case len(text) > maxSecretFile:
		wrong.add("%s%s: the file is longer than %d bytes", name, fileSuffix, maxSecretFile)
	case strings.TrimSpace(string(text)) == "":
		wrong.add("%s%s: the file is empty", name, fileSuffix)
	default:
		return strings.TrimRight(string(text), "\r\n")
	}
	return ""
}

// prefixes reads networks and single addresses, with commas between.
func prefixes(name, text string, wrong *configErrors) []netip.Prefix {
	var out []netip.Prefix
	for _, entry := range list(text) {
		prefix, err := netip.ParsePrefix(entry)
		if addr, addrErr := netip.ParseAddr(entry); addrErr == nil && addr.Zone() == "" {
			addr = addr.Unmap()
			prefix, err = netip.PrefixFrom(addr, addr.BitLen()), nil
		}
		if err != nil {
			wrong.add("%s has %q, which is neither a network such as 192.0.2.0/24 nor an address", name, entry)
			continue
		}
		out = append(out, prefix.Masked())
	}
	return out
}

// list splits at commas; empty entries do not count.
func list(text string) []string {
	entries := strings.Split(text, ",")
	for i := range entries {
		entries[i] = strings.TrimSpace(entries[i])
	}
	return slices.DeleteFunc(entries, func(entry string) bool { return entry == "" })
}
