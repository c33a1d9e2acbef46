package webhook

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/tvzero/tokenvault/refresh"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

const (
	maxClaims   = 64 << 10 // bytes
	maxSubject  = 255      // characters, as OpenID Connect Core §2 bounds it
	maxLabel    = 128
	clockLeeway = 5 * time.Minute
)

// identity says whose account was connected.
type identity struct {
	subject string // the provider's own, lasting id; "" is not known
	label   string // what the person knows it by; shown once, never stored
}

// claims are those of an ID token or of the user info endpoint. GitHub has id and login
// in place of sub and preferred_username.
type claims struct {
	Issuer   string      `json:"iss"`
	Audience audience    `json:"aud"`
	Expires  json.Number `json:"exp"`
	Nonce    string      `json:"nonce"`
	Subject  string      `json:"sub"`
	ID       any         `json:"id"`
	Email    string      `json:"email"`
	Username string      `json:"preferred_username"`
	Login    string      `json:"login"`
	Name     string      `json:"name"`
}

// audience is one or several.
type audience []string

// UnmarshalJSON reads a string or a list.
func (a *audience) UnmarshalJSON(text []byte) error {
	var one string
	if json.Unmarshal(text, &one) == nil {
		*a = audience{one}
		return nil
	}
	var several []string
	err := json.Unmarshal(text, &several)
	*a = several
	return err
}

// identify says whose tokens these are: by the ID token, and where there is none, by the
// user info endpoint. An ID token that is another's is refused; not to know is no error.
func (w *Webhook) identify(ctx context.Context, provider refresh.Provider, tokens refresh.Tokens, nonce string) (identity, error) {
	if tokens.IDToken != "" {
		c, err := readIDToken(tokens.IDToken)
		if err == nil {
			err = c.check(provider, nonce, w.now())
		}
		if err != nil {
			return identity{}, because(refuse(wire.CodeProviderError, "the provider answered with an identity that is not for this webhook"), err)
		}
		return c.identity(), nil
	}
	if provider.UserInfoURL == "" {
		return identity{}, nil
	}
	c, err := w.userInfo(ctx, provider.UserInfoURL, tokens.AccessToken)
	if err != nil {
		w.log.WarnContext(ctx, "whose account was connected is not known", "provider", provider.ID, "error", err.Error())
		return identity{}, nil
	}
	return c.identity(), nil
}

// readIDToken reads the claims of an ID token without its signature: it came straight
// from the token endpoint, over TLS, which authenticates the issuer in the signature's
// place (OpenID Connect Core §3.1.3.7, 6).
func readIDToken(token refresh.Secret) (claims, error) {
	parts := strings.Split(string(token), ".")
	if len(parts) != 3 {
		return claims{}, fmt.Errorf("the ID token has %d parts, want 3", len(parts))
	}
	text, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(parts[1], "="))
	if err != nil {
		return claims{}, fmt.Errorf("the ID token is not base64url")
	}
	return readClaims(text)
}

func readClaims(text []byte) (claims, error) {
	var c claims
	if len(text) > maxClaims || tooDeep(text, maxJSONDepth) {
		return c, fmt.Errorf("the claims are longer than %d bytes, or nested too deep", maxClaims)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&c); err != nil {
		return claims{}, fmt.Errorf("the claims are not JSON as it should be") // the cause may quote them
	}
	return c, nil
}

// check is OpenID Connect Core §3.1.3.7 but for the signature.
func (c claims) check(provider refresh.Provider, nonce string, now time.Time) error {
	expires, err := c.Expires.Float64()
	switch {
	case provider.Issuer != "" && c.Issuer != provider.Issuer && "https://"+c.Issuer != provider.Issuer: // as Google wrote it
		return fmt.Errorf("the ID token is of another issuer")
	case !slices.Contains(c.Audience, provider.ClientID):
		return fmt.Errorf("the ID token is for another client")
	case err != nil || float64(now.Add(-clockLeeway).Unix()) > expires:
		return fmt.Errorf("the ID token has expired")
	case nonce != "" && c.Nonce != nonce:
		return fmt.Errorf("the ID token has another nonce")
	case c.Subject == "":
		return fmt.Errorf("the ID token has no subject")
	}
	return nil
}

func (c claims) identity() identity {
	subject := c.Subject
	if subject == "" {
		switch id := c.ID.(type) {
		case string:
			subject = id
		case json.Number:
			subject = id.String()
		}
	}
	if len(subject) > maxSubject || strings.ContainsFunc(subject, unprintable) {
		subject = ""
	}
	for _, label := range []string{c.Email, c.Username, c.Login, c.Name, subject} {
		if label != "" && len(label) <= maxLabel && !strings.ContainsFunc(label, unprintable) {
			return identity{subject: subject, label: label}
		}
	}
	return identity{subject: subject}
}

func unprintable(r rune) bool { return !unicode.IsPrint(r) || r == unicode.ReplacementChar }

// userInfo asks the provider (OpenID Connect Core §5.3).
func (w *Webhook) userInfo(ctx context.Context, address string, token refresh.Secret) (claims, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return claims{}, fmt.Errorf("the user info endpoint is not a URL")
	}
	if !validHeaderValue(string(token)) {
		return claims{}, fmt.Errorf("the access token cannot stand in a header")
	}
	r.Header.Set("Authorization", "Bearer "+string(token))
	r.Header.Set("Accept", "application/json")
	answer, err := w.outbound.Do(r)
	if err != nil {
		return claims{}, upstreamRefusal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return claims{}, fmt.Errorf("the user info endpoint answered %d", answer.StatusCode)
	}
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxClaims+1))
	if err != nil {
		return claims{}, upstreamRefusal(err)
	}
	return readClaims(text)
}
