package app

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// Names of the sample provider, and of the client that the server is there.
const (
	devProviderID = "sample"
	devClientID   = "tokenvault-dev"
)

// A devProvider is an OAuth 2.0 authorization server for development: it agrees to
// everything, and its refresh tokens are good for one use.
type devProvider struct {
	listener net.Listener
	server   *http.Server
	secret   string // of the server as its client

	mu        sync.Mutex
	live      map[string]bool    // refresh tokens
	codes     map[string]devCode // authorizations that wait
	refreshed int
}

type devCode struct{ challenge, redirect string }

func startProvider(ctx context.Context) (*devProvider, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &devProvider{listener: l, secret: rand.Text(), live: map[string]bool{}, codes: map[string]devCode{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /authorize", p.authorize)
	mux.HandleFunc("POST /token", p.token)
	mux.HandleFunc("POST /revoke", p.revoke)
	mux.HandleFunc("GET /userinfo", func(w http.ResponseWriter, _ *http.Request) {
		devAnswer(w, http.StatusOK, map[string]any{"sub": "sample-user", "email": "sample@example.com"})
	})
	p.server = &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second}
	return p, nil
}

func (p *devProvider) serve() error {
	if err := p.server.Serve(p.listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func (p *devProvider) close() error { return p.server.Shutdown(context.Background()) }
func (p *devProvider) url() string  { return "http://" + p.listener.Addr().String() }

// config is the entry of TOKENVAULT_PROVIDERS.
func (p *devProvider) config() (string, error) {
	text, err := json.Marshal([]map[string]any{{
		"id": devProviderID, "name": "Sample", "clientId": devClientID, "clientSecret": p.secret, "scopes": []string{"mail.read"},
		"authorizationUrl": p.url() + "/authorize", "tokenUrl": p.url() + "/token", "revocationUrl": p.url() + "/revoke", "userInfoUrl": p.url() + "/userinfo",
	}})
	return string(text), err
}

// refreshes is how often a refresh token was used.
func (p *devProvider) refreshes() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.refreshed
}

// issue makes a refresh token.
func (p *devProvider) issue() string {
	token := "sample-refresh-" + rand.Text()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.live[token] = true
	return token
}

// authorize agrees, and sends the browser back.
func (p *devProvider) authorize(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	back, err := url.Parse(q.Get("redirect_uri"))
	if err != nil || back.Scheme != "http" || q.Get("client_id") != devClientID || q.Get("code_challenge_method") != "S256" {
		http.Error(w, "This is no request of the server in development mode.", http.StatusBadRequest)
		return
	}
	code := rand.Text()
	p.mu.Lock()
	p.codes[code] = devCode{challenge: q.Get("code_challenge"), redirect: q.Get("redirect_uri")}
	p.mu.Unlock()
	values := back.Query()
	values.Set("code", code)
	values.Set("state", q.Get("state"))
	back.RawQuery = values.Encode()
	http.Redirect(w, r, back.String(), http.StatusFound) // #nosec G710 -- a loopback provider for development, which sends browsers where they ask to go
}

func (p *devProvider) token(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
	id, secret, _ := r.BasicAuth()
	if id != devClientID || subtle.ConstantTimeCompare([]byte(secret), []byte(p.secret)) != 1 {
		devAnswer(w, http.StatusUnauthorized, map[string]any{"error": "invalid_client"})
		return
	}
	if !p.grant(r) {
		devAnswer(w, http.StatusBadRequest, map[string]any{"error": "invalid_grant"})
		return
	}
	devAnswer(w, http.StatusOK, map[string]any{
		"access_token": "sample-access-" + rand.Text(), "refresh_token": p.issue(), "token_type": "Bearer", "expires_in": 3600, "scope": "mail.read",
	})
}

// grant uses up what the request brings.
func (p *devProvider) grant(r *http.Request) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch r.PostFormValue("grant_type") {
	case "refresh_token":
		token := r.PostFormValue("refresh_token")
		good := p.live[token]
		delete(p.live, token)
		if good {
			p.refreshed++
		}
		return good
	case "authorization_code":
		code, good := p.codes[r.PostFormValue("code")]
		delete(p.codes, r.PostFormValue("code"))
		sum := sha256.Sum256([]byte(r.PostFormValue("code_verifier")))
		return good && code.redirect == r.PostFormValue("redirect_uri") && code.challenge == base64.RawURLEncoding.EncodeToString(sum[:])
	}
	return false
}

func (p *devProvider) revoke(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
	token := r.PostFormValue("token")
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.live, token)
	w.WriteHeader(http.StatusOK)
}

func devAnswer(w http.ResponseWriter, status int, body map[string]any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}
