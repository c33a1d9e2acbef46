package refreshtest

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/tvzero/tokenvault/refresh"
)

// A code is an authorization that waits for its exchange.
type code struct {
	challenge, redirectURI string
	scopes                 []string
}

func (p *Provider) describe(w http.ResponseWriter, _ *http.Request) {
	c := p.Config()
	writeJSON(w, http.StatusOK, map[string]any{
		"issuer": c.Issuer, "authorization_endpoint": c.AuthorizationURL, "token_endpoint": c.TokenURL,
		"revocation_endpoint": c.RevocationURL, "userinfo_endpoint": c.UserInfoURL,
		"token_endpoint_auth_methods_supported":          []string{"private_key_jwt", "client_secret_post", "client_secret_basic"},
		"authorization_response_iss_parameter_supported": true, "code_challenge_methods_supported": []string{"S256"},
	})
}

// authorize consents to everything and sends the browser back with a code.
func (p *Provider) authorize(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	back, err := url.Parse(q.Get("redirect_uri"))
	if err != nil || !back.IsAbs() || q.Get("client_id") != ClientID || q.Get("response_type") != "code" ||
		q.Get("code_challenge") == "" || q.Get("code_challenge_method") != "S256" {
		http.Error(w, "not an authorization request with PKCE S256 from a client of ours", http.StatusBadRequest)
		return
	}
	p.mu.Lock()
	value := fmt.Sprintf("code-%06d-canary", len(p.codes))
	p.codes[value] = code{challenge: q.Get("code_challenge"), redirectURI: q.Get("redirect_uri"), scopes: strings.Fields(q.Get("scope"))}
	p.mu.Unlock()
	answer := back.Query()
	answer.Set("code", value)
	answer.Set("state", q.Get("state"))
	answer.Set("iss", p.Issuer())
	back.RawQuery = answer.Encode()
	http.Redirect(w, r, back.String(), http.StatusFound)
}

func (p *Provider) token(w http.ResponseWriter, r *http.Request) {
	fault := p.arrive()
	c := &Call{w: w, r: r, closed: p.closed, p: p}
	if fault == nil {
		c.Answer(nil)
		return
	}
	fault(c)
}

// grant does what a call of the token endpoint asks for.
func (p *Provider) grant(r *http.Request) (status int, body map[string]any) {
	if !isOurs(r) {
		return http.StatusUnauthorized, map[string]any{"error": "invalid_client"}
	}
	var t refresh.Tokens
	switch r.PostFormValue("grant_type") {
	case "refresh_token":
		granted, err := p.Refresh(r.Context(), refresh.Provider{}, refresh.Secret(r.PostFormValue("refresh_token")), nil)
		if err != nil {
			return http.StatusBadRequest, map[string]any{
				"error": "invalid_grant", "error_description": "refresh token " + r.PostFormValue("refresh_token") + " is used, revoked or not ours",
			}
		}
		t = granted
	case "authorization_code":
		p.mu.Lock()
		c, ok := p.codes[r.PostFormValue("code")]
		p.codes[r.PostFormValue("code")] = code{} // used, or never there: no verifier fits
		p.mu.Unlock()
		sum := sha256.Sum256([]byte(r.PostFormValue("code_verifier")))
		if !ok || c.redirectURI != r.PostFormValue("redirect_uri") || c.challenge != base64.RawURLEncoding.EncodeToString(sum[:]) {
			return http.StatusBadRequest, map[string]any{"error": "invalid_grant"}
		}
		t = p.Issue(c.scopes...)
	default:
		return http.StatusBadRequest, map[string]any{"error": "unsupported_grant_type"}
	}
	body = map[string]any{
		"access_token": string(t.AccessToken), "token_type": "Bearer", "expires_in": int64(p.lifetime().Seconds()),
		"scope": strings.Join(t.Scopes, " "), "something_else": map[string]any{"ignored": true},
	}
	if t.RefreshToken != "" {
		body["refresh_token"] = string(t.RefreshToken)
	}
	return http.StatusOK, body
}

// isOurs authenticates the client, by header or body.
func isOurs(r *http.Request) bool {
	if id, secret, ok := r.BasicAuth(); ok {
		id, err1 := url.QueryUnescape(id)
		secret, err2 := url.QueryUnescape(secret)
		return err1 == nil && err2 == nil && id == ClientID && secret == string(ClientSecret) && r.PostFormValue("client_secret") == ""
	}
	return r.PostFormValue("client_id") == ClientID && r.PostFormValue("client_secret") == string(ClientSecret)
}

func (p *Provider) revoke(w http.ResponseWriter, r *http.Request) {
	if !isOurs(r) {
		writeJSON(w, http.StatusUnauthorized, map[string]any{"error": "invalid_client"})
		return
	}
	token := refresh.Secret(r.PostFormValue("token"))
	p.mu.Lock()
	p.revoked = append(p.revoked, token)
	p.mu.Unlock()
	p.Revoke(token)
}

func (p *Provider) userInfo(w http.ResponseWriter, r *http.Request) {
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !p.Newest(refresh.Secret(token)) {
		w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
		writeJSON(w, http.StatusUnauthorized, map[string]any{"error": "invalid_token"})
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{"sub": "user-1", "email": "user@example.com"})
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}
