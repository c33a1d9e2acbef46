package app

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// jwtBearer is the grant type of RFC 7523, section 2.1.
const jwtBearer = "urn:ietf:params:oauth:grant-type:jwt-bearer"

// A devTokenEndpoint stands in for Google's token endpoint: it mints a made-up
// token for an assertion whose signature, issuer, audience and lifetime hold.
type devTokenEndpoint struct {
	listener net.Listener
	server   *http.Server
	public   *rsa.PublicKey // of the sample service account
	mu       sync.Mutex
	last     string
}

func startTokenEndpoint(ctx context.Context, public *rsa.PublicKey) (*devTokenEndpoint, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	e := &devTokenEndpoint{listener: l, public: public}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /token", e.token)
	e.server = &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second}
	return e, nil
}

func (e *devTokenEndpoint) serve() error {
	if err := e.server.Serve(e.listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func (e *devTokenEndpoint) close() error { return e.server.Shutdown(context.Background()) }
func (e *devTokenEndpoint) host() string { return e.listener.Addr().String() }
func (e *devTokenEndpoint) url() string  { return "http://" + e.host() }

// verified is what the endpoint checked last.
func (e *devTokenEndpoint) verified() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.last
}

func (e *devTokenEndpoint) token(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
	w.Header().Set("Content-Type", "application/json")
	var claims struct {
		jwt.RegisteredClaims
		Scope string `json:"scope"`
	}
	_, err := jwt.ParseWithClaims(r.PostFormValue("assertion"), &claims, func(*jwt.Token) (any, error) { return e.public, nil },
		jwt.WithValidMethods([]string{"RS256"}), jwt.WithAudience(e.url()+"/token"), jwt.WithIssuer(devServiceAccountEmail),
		jwt.WithExpirationRequired(), jwt.WithIssuedAt(), jwt.WithLeeway(5*time.Second))
	if err != nil || r.PostFormValue("grant_type") != jwtBearer {
		w.WriteHeader(http.StatusBadRequest)
		_ = json.NewEncoder(w).Encode(map[string]string{"error": "invalid_grant", "error_description": "the assertion does not verify"})
		return
	}
	e.mu.Lock()
	e.last = fmt.Sprintf("RS256 signature of %s holds, for scope %s; minted a token for an hour.", claims.Issuer, claims.Scope)
	e.mu.Unlock()
	_ = json.NewEncoder(w).Encode(map[string]any{"access_token": "ya29.minted-" + rand.Text(), "expires_in": 3600, "token_type": "Bearer"})
}
