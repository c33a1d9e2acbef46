package apptest

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// A TokenEndpoint stands in for Google's: it mints a token for an assertion that
// verifies, and refuses every other. Safe for concurrent use.
type TokenEndpoint struct {
	URL  string // where assertions go
	Host string // HOST:PORT, for the webhook's list of allowed hosts

	account string
	public  *rsa.PublicKey
	mu      sync.Mutex
	minted  []string
}

// startTokenEndpoint serves until the test ends.
func startTokenEndpoint(t testing.TB, account string, public *rsa.PublicKey) *TokenEndpoint {
	e := &TokenEndpoint{account: account, public: public}
	server := httptest.NewServer(http.HandlerFunc(e.serve))
	t.Cleanup(server.Close)
	e.URL, e.Host = server.URL+"/token", strings.TrimPrefix(server.URL, "http://")
	return e
}

func (e *TokenEndpoint) serve(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	var claims jwt.RegisteredClaims
	_, err := jwt.ParseWithClaims(r.PostFormValue("assertion"), &claims, func(*jwt.Token) (any, error) { return e.public, nil },
		jwt.WithValidMethods([]string{"RS256"}), jwt.WithAudience(e.URL), jwt.WithIssuer(e.account),
		jwt.WithExpirationRequired(), jwt.WithIssuedAt(), jwt.WithLeeway(10*time.Second))
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write([]byte(`{"error":"invalid_grant"}`))
		return
	}
	token := "ya29.minted-" + rand.Text()
	e.mu.Lock()
	e.minted = append(e.minted, token)
	e.mu.Unlock()
	_ = json.NewEncoder(w).Encode(map[string]any{"access_token": token, "expires_in": 3600, "token_type": "Bearer"})
}

// Minted lists the tokens that were given for assertions that verified.
func (e *TokenEndpoint) Minted() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]string(nil), e.minted...)
}
