package refresh

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"
)

// An Authorization is what one authorization request asks for.
type Authorization struct {
	RedirectURI string     // required; the same goes into the CodeExchange
	State       string     // required; binds the answer to who asked
	Challenge   string     // required; Challenge(verifier)
	Scopes      []string   // nil: the provider's; empty: none
	Extra       url.Values // more parameters, such as prompt or nonce; cannot replace the standard ones
}

// NewVerifier draws a PKCE code verifier of 256 bits (RFC 7636 §4.1) from random.
func NewVerifier(random io.Reader) (Secret, error) {
	var raw [32]byte
	if _, err := io.ReadFull(random, raw[:]); err != nil {
		return "", fmt.Errorf("refresh: drawing a verifier: %w", err)
	}
	return Secret(base64.RawURLEncoding.EncodeToString(raw[:])), nil
}

// Challenge is a verifier's S256 challenge (RFC 7636 §4.2). It is no secret.
func Challenge(verifier Secret) string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// AuthorizationRequest returns the URL that begins the authorization-code flow (RFC
// 6749 §4.1.1) with PKCE S256; a browser goes there. It holds no secret but the state.
func (p Provider) AuthorizationRequest(a Authorization) (string, error) {
	u, err := parseEndpoint(p.AuthorizationURL)
	switch {
	case p.AuthorizationURL == "":
		return "", fmt.Errorf("refresh: provider %q: AuthorizationURL is missing", p.ID)
	case err != nil:
		return "", fmt.Errorf("refresh: provider %q: AuthorizationURL %w", p.ID, err)
	case p.ClientID == "":
		return "", fmt.Errorf("refresh: provider %q: ClientID is missing", p.ID)
	}
	if err := a.validate(); err != nil {
		return "", err
	}
	scopes := a.Scopes
	if scopes == nil {
		scopes = p.Scopes
	}
	query := u.Query()
	for name, value := range p.AuthorizationParams {
		query.Set(name, value)
	}
	for name, values := range a.Extra {
		query[name] = slices.Clone(values)
	}
	// The standard ones come last, so that nothing above replaces them.
	query.Set("response_type", "code")
	query.Set("client_id", p.ClientID)
	query.Set("redirect_uri", a.RedirectURI)
	query.Set("state", a.State)
	query.Set("code_challenge", a.Challenge)
	query.Set("code_challenge_method", "S256")
	query.Del("scope")
	if len(scopes) > 0 {
		query.Set("scope", strings.Join(scopes, " "))
	}
	u.RawQuery = query.Encode()
	return u.String(), nil
}

func (a Authorization) validate() error {
	if _, err := parseEndpoint(a.RedirectURI); a.RedirectURI == "" || err != nil {
		return errors.New("refresh: an authorization request needs an absolute RedirectURI")
	}
	if a.State == "" {
		return errors.New("refresh: an authorization request needs a State")
	}
	sum, err := base64.RawURLEncoding.DecodeString(a.Challenge)
	if err != nil || len(sum) != sha256.Size {
		return errors.New("refresh: an authorization request needs a Challenge, which is a SHA-256 in base64url")
	}
	return nil
}
