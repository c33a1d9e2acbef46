package mint_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"go.uber.org/goleak"

	"github.com/tvzero/tokenvault/webhook-sdk/mint"
	"github.com/tvzero/tokenvault/webhook-sdk/netguard"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// now is the clock of the tests.
func now() time.Time { return time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC) }

// testKey makes one RSA key for all tests: making one takes long.
var testKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

func pkcs8(key any) string {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		panic(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

func pkcs1(key *rsa.PrivateKey) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}))
}

// keyFile is a service account's key file with fields changed; nil leaves one out.
func keyFile(changes map[string]any) []byte {
	fields := map[string]any{
		"type":           "service_account",
		"project_id":     "sample-project",
		"private_key_id": "key-1",
		"private_key":    pkcs8(testKey()),
		"client_email":   "robot@sample-project.iam.gserviceaccount.com",
		"client_id":      "1234567890",
		"auth_uri":       "https://accounts.google.com/o/oauth2/auth",
		"token_uri":      "https://oauth2.googleapis.com/token",
	}
	maps.Copy(fields, changes)
	maps.DeleteFunc(fields, func(_ string, v any) bool { return v == nil })
	raw, err := json.Marshal(fields)
	if err != nil {
		panic(err)
	}
	return raw
}

// tokenEndpoint is a token endpoint on loopback. It records what it was asked.
type tokenEndpoint struct {
	url    string // of the endpoint
	host   string
	minter mint.GCP
	client *http.Client

	mu    sync.Mutex
	calls int
	form  url.Values
}

// newEndpoint starts an endpoint that answers with h, after reading the form.
func newEndpoint(t *testing.T, p netguard.Policy, h func(w http.ResponseWriter, r *http.Request)) *tokenEndpoint {
	t.Helper()
	e := &tokenEndpoint{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		e.mu.Lock()
		e.calls++
		e.form = r.PostForm
		e.mu.Unlock()
		h(w, r)
	}))
	p.AllowPrivate = true
	e.client = p.Client()
	t.Cleanup(func() { e.client.CloseIdleConnections(); server.Close() })
	e.url, e.host = server.URL+"/token", server.Listener.Addr().String()
	e.minter = mint.GCP{AllowedTokenHosts: []string{e.host}}
	return e
}

// answers is a handler that gives a fixed answer.
func answers(status int, body string) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

func (e *tokenEndpoint) seen() (calls int, form url.Values) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.calls, e.form
}

// request asks with a key file that names this endpoint.
func (e *tokenEndpoint) request(changes, meta map[string]any) mint.Request {
	all := map[string]any{"token_uri": e.url}
	maps.Copy(all, changes)
	return mint.Request{Raw: keyFile(all), Meta: meta, Now: now(), Client: e.client}
}

// verify checks an assertion as a provider would, and returns its claims.
func (e *tokenEndpoint) verify(t *testing.T, assertion string) (header map[string]any, claims jwt.MapClaims) {
	t.Helper()
	claims = jwt.MapClaims{}
	token, err := jwt.ParseWithClaims(assertion, claims,
		func(*jwt.Token) (any, error) { return &testKey().PublicKey, nil },
		jwt.WithValidMethods([]string{"RS256"}), jwt.WithTimeFunc(now), jwt.WithAudience(e.url),
		jwt.WithIssuer("robot@sample-project.iam.gserviceaccount.com"), jwt.WithExpirationRequired(), jwt.WithIssuedAt())
	if err != nil {
		t.Fatalf("the assertion does not verify: %v", err)
	}
	return token.Header, claims
}
