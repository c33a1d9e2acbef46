// Package config is the server's configuration: flags, environment variables
// and files of secrets into one checked struct.
//
// It knows nothing of what is configured. All problems are reported at once.
package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Flags are what a person may set: each flag is also the environment variable
// TOKENVAULT_<NAME>; what is secret is also taken from a file.
type Flags struct {
	Listen               string `default:"127.0.0.1:8000" placeholder:"HOST:PORT" help:"Address to listen on."`
	PublicURL            string `default:"http://127.0.0.1:8000" placeholder:"URL" help:"Where people and agents reach this server; links use it."`
	DatabaseURL          string `default:"sqlite:tokenvault.db" placeholder:"URL" help:"sqlite:PATH, or postgres://… for more than one replica."`
	DatabaseURLFile      string `placeholder:"PATH" help:"File that holds the database URL."`
	ServerKeys           string `placeholder:"ID:BASE64,…" help:"Keys of this server, the first is current. Better from a file. With SQLite, made at the first start when absent."`
	ServerKeysFile       string `placeholder:"PATH" help:"File that holds the server keys."`
	AllowPrivateNetworks bool   `help:"Allow webhooks on private and loopback addresses and plain http: for development and tests."`
	MetricsListen        string `placeholder:"HOST:PORT" help:"Address for Prometheus metrics; none without it."`
	Registration         string `default:"closed" placeholder:"open|closed" help:"Who may register after the first account."`
	GCPTokenHosts        string `name:"gcp-token-hosts" placeholder:"HOSTS" help:"Token endpoints besides Google's that keys of Google service accounts in platform vaults may name: host or host:port."`

	GoogleClientID         string `name:"google-client-id" placeholder:"ID" help:"Client id at Google, for connecting accounts."`
	GoogleClientSecret     string `name:"google-client-secret" placeholder:"SECRET" help:"Client secret at Google. Better from a file."`
	GoogleClientSecretFile string `name:"google-client-secret-file" placeholder:"PATH" help:"File that holds the client secret at Google."`
	GitHubClientID         string `name:"github-client-id" placeholder:"ID" help:"Client id at GitHub, for connecting accounts."`
	GitHubClientSecret     string `name:"github-client-secret" placeholder:"SECRET" help:"Client secret at GitHub. Better from a file."`
	GitHubClientSecretFile string `name:"github-client-secret-file" placeholder:"PATH" help:"File that holds the client secret at GitHub."`
	Auth0Domain            string `name:"auth0-domain" placeholder:"HOST" help:"Domain of the Auth0 tenant, for connecting accounts."`
	Auth0ClientID          string `name:"auth0-client-id" placeholder:"ID" help:"Client id at Auth0."`
	Auth0ClientSecret      string `name:"auth0-client-secret" placeholder:"SECRET" help:"Client secret at Auth0. Better from a file."`
	Auth0ClientSecretFile  string `name:"auth0-client-secret-file" placeholder:"PATH" help:"File that holds the client secret at Auth0."`
	Auth0Audience          string `name:"auth0-audience" placeholder:"API" help:"API that Auth0's access tokens are for; without it they are for its own user information alone."`
	Providers              string `placeholder:"JSON" help:"List of further providers of accounts. Holds client secrets: better from a file."`
	ProvidersFile          string `placeholder:"PATH" help:"File that holds the list of providers."`
}

// A Config is checked: what it holds can be used.
type Config struct {
	Listen               string
	PublicURL            *url.URL // without a path
	DatabaseURL          string
	ServerKeys           string // the text of a keyring; a secret
	AllowPrivateNetworks bool
	MetricsListen        string // empty: none
	OpenRegistration     bool
	GCPTokenHosts        []string // host or host:port
	Providers            []Provider
}

// Environment is the name of the variable that goes with a flag.
func Environment(flag string) string {
	return "TOKENVAULT_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// Check turns flags into a configuration, or says everything that is wrong with
// them. makeKeys makes the text of a new keyring, for SQLite's first start.
func (f Flags) Check(makeKeys func() (string, error)) (Config, error) {
	var problems []error
	problem := func(name, format string, args ...any) {
		problems = append(problems, fmt.Errorf("%s: %s", name, fmt.Sprintf(format, args...)))
	}
	c := Config{Listen: f.Listen, AllowPrivateNetworks: f.AllowPrivateNetworks, MetricsListen: f.MetricsListen}
	if err := address(f.Listen); err != nil {
		problem("TOKENVAULT_LISTEN", "%v", err)
	}
	if f.MetricsListen != "" {
		if err := address(f.MetricsListen); err != nil {
			problem("TOKENVAULT_METRICS_LISTEN", "%v", err)
		}
	}
	for host := range strings.SplitSeq(f.GCPTokenHosts, ",") {
		if host = strings.TrimSpace(host); host != "" {
			c.GCPTokenHosts = append(c.GCPTokenHosts, host)
		}
		if strings.ContainsAny(host, "/@? ") {
			problem("TOKENVAULT_GCP_TOKEN_HOSTS", "want host or host:port, separated by commas, got %q", host)
		}
	}
	var err error
	if c.PublicURL, err = publicURL(f.PublicURL); err != nil {
		problem("TOKENVAULT_PUBLIC_URL", "%v", err)
	}
	switch f.Registration {
	case "open", "closed":
		c.OpenRegistration = f.Registration == "open"
	default:
		problem("TOKENVAULT_REGISTRATION", "want open or closed, got %q", f.Registration)
	}
	if c.DatabaseURL, err = secret(f.DatabaseURL, f.DatabaseURLFile, "sqlite:tokenvault.db"); err != nil {
		problem("TOKENVAULT_DATABASE_URL", "%v", err)
	}
	sqlite, isSQLite := strings.CutPrefix(c.DatabaseURL, "sqlite:")
	if !isSQLite && !strings.HasPrefix(c.DatabaseURL, "postgres://") && !strings.HasPrefix(c.DatabaseURL, "postgresql://") || isSQLite && sqlite == "" {
		problem("TOKENVAULT_DATABASE_URL", "want sqlite:PATH or postgres://…")
	}
	c.Providers = f.providers(problem)
	if c.ServerKeys, err = secret(f.ServerKeys, f.ServerKeysFile, ""); err != nil {
		problem("TOKENVAULT_SERVER_KEYS", "%v", err)
	}
	if c.ServerKeys == "" && err == nil && len(problems) == 0 {
		if !isSQLite {
			problem("TOKENVAULT_SERVER_KEYS", `required with PostgreSQL, the same for all replicas; make one with: echo "0:$(openssl rand -base64 32)" > FILE, and set TOKENVAULT_SERVER_KEYS_FILE`)
		} else if c.ServerKeys, err = keysBeside(sqlite, makeKeys); err != nil {
			problem("TOKENVAULT_SERVER_KEYS", "%v", err)
		}
	}
	return c, errors.Join(problems...)
}

// secret takes a value given directly or in a file, but not both.
func secret(value, file, standard string) (string, error) {
	if file == "" {
		return strings.TrimSpace(value), nil
	}
	if value != "" && value != standard {
		return "", errors.New("set either the value or the file, not both")
	}
	info, err := os.Stat(file)
	if err != nil {
		return "", fmt.Errorf("the file cannot be read: %w", err)
	}
	if info.Size() > 64<<10 {
		return "", fmt.Errorf("the file %s is too large", file)
	}
	text, err := os.ReadFile(file) // #nosec G304 -- the operator's own choice
	if err != nil {
		return "", fmt.Errorf("the file cannot be read: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
}

// keysBeside reads the 0600 file of server keys beside an SQLite database, or
// makes it when neither it nor the database exists yet.
func keysBeside(database string, makeKeys func() (string, error)) (string, error) {
	database = strings.TrimPrefix(database, "//") // as the store reads it
	path := database + ".keys"
	info, err := os.Stat(path)
	switch {
	case err == nil:
		if info.Mode().Perm()&0o077 != 0 {
			return "", fmt.Errorf("%s can be read by others; run: chmod 600 %s", path, path)
		}
		text, err := os.ReadFile(path) // #nosec G304 -- beside the database
		return strings.TrimSpace(string(text)), err
	case !errors.Is(err, os.ErrNotExist):
		return "", err
	}
	if _, err := os.Stat(database); err == nil {
		return "", fmt.Errorf("the database %s exists, but its server keys %s do not; without them its sessions, agent keys and webhook bindings are lost. Restore the file, or delete both to start anew", database, path)
	}
	text, err := makeKeys()
	if err != nil {
		return "", err
	}
	return text, writeNew(path, text+"\n")
}

// writeNew makes a 0600 file durable, never over an existing one.
func writeNew(path, text string) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) // #nosec G304 -- beside the database
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	if _, err := file.WriteString(text); err != nil {
		return err
	}
	if err := file.Sync(); err != nil {
		return err
	}
	folder, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer func() { _ = folder.Close() }()
	return folder.Sync()
}

func address(text string) error {
	host, port, err := net.SplitHostPort(text)
	if err != nil || port == "" {
		return fmt.Errorf("want HOST:PORT, got %q", text)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("want a port from 0 to 65535, got %q", port)
	}
	if host == "" || host == "localhost" {
		return nil
	}
	if _, err := netip.ParseAddr(host); err != nil {
		return fmt.Errorf("want an IP address or localhost before the port, got %q", host)
	}
	return nil
}

func publicURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
		return nil, fmt.Errorf("want http(s)://HOST[:PORT], got %q", text)
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "" {
		return nil, fmt.Errorf("want only scheme, host and port, got %q", text)
	}
	if u.Scheme == "http" && !loopback(u.Hostname()) {
		return nil, fmt.Errorf("must be https unless the host is loopback: session cookies and agent keys would travel in the clear (got %q)", text)
	}
	u.Path = ""
	return u, nil
}

func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}
