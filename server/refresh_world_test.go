package main_test

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	mathrand "math/rand/v2"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tvzero/tokenvault/models/store/storetest"
	"github.com/tvzero/tokenvault/refresh/refreshtest/oidc"
	"github.com/tvzero/tokenvault/server/internal/app/apptest"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

const (
	roundsEnv = "TOKENVAULT_SOAK_ROUNDS" // what `make soak` sets: these tests do their full count then
	seedEnv   = "TOKENVAULT_TEST_SEED"   // repeats a run's draws
)

// rounds is how often a test does what it is about: few times, or as often as was
// promised. A lower number in roundsEnv counts.
func rounds(t *testing.T, few, full int) int {
	t.Helper()
	text := os.Getenv(roundsEnv)
	if text == "" {
		return few
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s = %q, want a number", roundsEnv, text)
	}
	return min(n, full)
}

// seeded draws what a test leaves to chance. Moments of a machine's own are left to
// that.
func seeded(t *testing.T) *mathrand.Rand {
	t.Helper()
	seed := mathrand.Uint64()
	if text := os.Getenv(seedEnv); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("%s = %q, want a number", seedEnv, text)
		}
	}
	t.Logf("seed: %s=%d", seedEnv, seed)
	return mathrand.New(mathrand.NewPCG(seed, 0)) // #nosec G404 -- repeatable on purpose
}

// providerID is what servers and webhooks of these tests call the provider.
const providerID = "example"

// known is the provider as an operator configures it, at servers and webhooks alike.
// base is where its endpoints are reached.
func known(t testing.TB, p *oidc.Provider, base string) string {
	t.Helper()
	at := func(endpoint string) string { return base + strings.TrimPrefix(endpoint, p.Issuer) }
	text, err := json.Marshal([]map[string]any{{
		"id": providerID, "issuer": p.Issuer, "authorizationUrl": at(p.AuthorizationURL), "tokenUrl": at(p.TokenURL),
		"revocationUrl": at(p.RevocationURL), "clientId": p.ClientID, "clientSecret": p.ClientSecret, "scopes": []string{"openid", "offline_access"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// connected is a new pair of tokens, as a client stores it, which expires when it is
// told to.
func connected(t testing.TB, p *oidc.Provider, account string, expires time.Time) (data map[string]any, tokens oidc.Tokens) {
	t.Helper()
	tokens, err := p.Connect(t.Context(), oidc.Connection{Account: account})
	if err != nil {
		t.Fatal(err)
	}
	return oauthData(tokens.AccessToken, tokens.RefreshToken, expires), tokens
}

func oauthData(access, refreshToken string, expires time.Time) map[string]any {
	return map[string]any{
		"tokenType": wire.TypeOAuth, wire.FieldAccessToken: access, wire.FieldRefreshToken: refreshToken, "provider": providerID,
		"expiresAt": expires.UTC().Format(time.RFC3339Nano),
	}
}

// programs are the binaries as they are released.
type programs struct{ server, webhook string }

// What is promised of refreshing, held against the real binaries and a real provider, which rotates refresh tokens and
// ends a family when one is used twice: a call too many is the last, and a token that gets lost is seen to be.
func TestRefreshing(t *testing.T) {
	t.Parallel()
	var p programs
	p.server, p.webhook = build(t)
	for name, promise := range map[string]func(t *testing.T, p programs, dialect string){
		"a thousand readers of an expired token cause one refresh":                            oneRefresh,
		"killed servers lose no token but those on their way":                                 randomKills,
		"a server that is killed with new tokens on their way loses these and no others":      killedInTheWindow,
		"a server that is killed before its provider is reached loses nothing":                killedBeforeTheWindow,
		"killed webhooks that refresh lose no token but those on their way":                   notifiedKills,
		"killed webhooks for which the server refreshes lose nothing":                         mediatedKills,
		"a webhook that is killed while the server refreshes gets its tokens when it is back": killedBeforeTheUpdate,
		"no refresh token passes through a server that may not refresh":                       nothingPasses,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, dialect := range storetest.Dialects {
				t.Run(dialect, func(t *testing.T) {
					t.Parallel()
					promise(t, p, dialect)
				})
			}
		})
	}
}

// A site is a database and what servers on it share.
type site struct {
	program   string
	database  string
	keys      string
	providers string // of known; empty: none
	extra     []string
}

func newSite(t *testing.T, program, database, providers string) *site {
	t.Helper()
	key := make([]byte, 32)
	_, _ = rand.Read(key)
	return &site{program: program, database: database, keys: "0:" + base64.StdEncoding.EncodeToString(key), providers: providers}
}

var serving = regexp.MustCompile(`msg=serving address=(\S+)`)

// start runs a server until the test ends or it is killed.
func (s *site) start(t *testing.T) (p *apptest.Process, url string) {
	t.Helper()
	environment := append([]string{
		"TOKENVAULT_LISTEN=127.0.0.1:0", "TOKENVAULT_PUBLIC_URL=http://127.0.0.1:0", "TOKENVAULT_DATABASE_URL=" + s.database,
		"TOKENVAULT_SERVER_KEYS=" + s.keys, "TOKENVAULT_ALLOW_PRIVATE_NETWORKS=true", "TOKENVAULT_REGISTRATION=open",
	}, s.extra...)
	if s.providers != "" {
		environment = append(environment, "TOKENVAULT_PROVIDERS="+s.providers)
	}
	p = apptest.Start(t, serving, environment, s.program)
	return p, "http://" + p.Ready[1]
}

// crowd is a client that keeps as many connections as it has callers.
func crowd(t testing.TB, callers int) *http.Client {
	t.Helper()
	return apptest.NewClient(t, func(next http.RoundTripper) http.RoundTripper {
		if transport, ok := next.(*http.Transport); ok {
			transport.MaxIdleConnsPerHost = callers
		}
		return next
	})
}

// A reading is an agent's answer for a token.
type reading struct {
	apptest.Answer
	AccessToken string
	ExpiresAt   time.Time
}

// ask asks a server for a token in an agent's name. An error is one of the network.
func ask(ctx context.Context, client *http.Client, server, key, service string) (reading, error) {
	answer, err := apptest.Call(ctx, client, http.MethodGet, server+"/api/agents/credentials?service="+service, nil, "Authorization", "Bearer "+key)
	r := reading{Answer: answer}
	if err == nil && answer.Status == http.StatusOK {
		err = json.Unmarshal(answer.Body, &r)
	}
	return r, err
}

// stored is what its owner finds stored under a name.
type stored struct{ AccessToken, RefreshToken string }

func keep(t testing.TB, o *apptest.Owner, service string, data map[string]any) {
	t.Helper()
	o.Must(http.MethodPost, "/api/tokens", map[string]any{"serviceName": service, "tokenData": data}, nil)
}

func revealed(o *apptest.Owner, service string) (s stored) {
	o.Must(http.MethodGet, "/api/tokens/"+service+"?reveal=true", nil, &s)
	return s
}

// serviceNamed is the name of one of many tokens.
func serviceNamed(i int) string { return fmt.Sprintf("service-%03d", i) }

func readFile(t testing.TB, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path) // #nosec G304 -- the test's own
	if err != nil {
		t.Fatal(err)
	}
	return text
}
