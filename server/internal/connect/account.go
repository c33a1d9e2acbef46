package connect

import (
	"context"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/tvzero/tokenvault/refresh"
)

// Limits of what is read of an account.
const (
	maxIDToken  = 64 << 10 // bytes
	maxUserInfo = 64 << 10 // bytes
	maxSubject  = 255      // characters, as OpenID Connect Core section 2 has it
	maxName     = 100      // characters
	infoTime    = 10 * time.Second
)

// An identity is whose account it is at a provider, as the provider says: id for
// comparing, name for a person. Nobody signs in here with it, and nothing is decided
// by it; it is shown.
type identity struct{ id, name string }

// claims are what is read of an ID token, and of user information: that of GitHub,
// which is not OpenID Connect's, too.
type claims struct {
	Issuer   string          `json:"iss"`
	Audience json.RawMessage `json:"aud"`
	Expires  float64         `json:"exp"`
	Nonce    string          `json:"nonce"`
	Subject  string          `json:"sub"`
	Email    string          `json:"email"`
	Handle   string          `json:"preferred_username"`
	Login    string          `json:"login"`
	Name     string          `json:"name"`
	ID       json.RawMessage `json:"id"`
}

// whose says whose tokens these are: nobody's when neither an ID token nor user
// information says so, for which no connection fails. An ID token that is not from this
// provider, for this server and of this flow is an error: then nothing else of the
// answer is to be believed.
func (s *Service) whose(ctx context.Context, p refresh.Provider, f *flow, t refresh.Tokens) (identity, error) {
	if t.IDToken == "" {
		c, _ := s.userInfo(ctx, p, t)
		return c.identity(), nil
	}
	c, err := readIDToken(string(t.IDToken))
	if err == nil {
		err = c.check(p, f, s.deps.Now())
	}
	if err != nil {
		return identity{}, err
	}
	who := c.identity()
	if who.name == who.id { // an ID token need not say more
		if more, ok := s.userInfo(ctx, p, t); ok && more.Subject == c.Subject {
			return more.identity(), nil
		}
	}
	return who, nil
}

// readIDToken reads the claims of an ID token that came from the token endpoint itself
// over TLS, which vouches for it in the place of its signature (OpenID Connect Core
// section 3.1.3.7, 6).
func readIDToken(text string) (c claims, err error) {
	parts := strings.Split(text, ".")
	if len(text) > maxIDToken || len(parts) != 3 {
		return c, errIDToken
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || json.Unmarshal(payload, &c) != nil {
		return claims{}, errIDToken
	}
	return c, nil
}

// check is section 3.1.3.7, 2 to 11: whom a token is from and for, until when, and of
// which flow. Whom one is from that came from a pair of endpoints, nobody knows.
func (c claims) check(p refresh.Provider, f *flow, now time.Time) error {
	asked := slices.Contains(f.Scopes, "openid")
	if c.Subject == "" || p.Issuer != "" && c.Issuer != p.Issuer || !c.isFor(p.ClientID) || float64(now.Add(-skew).Unix()) >= c.Expires ||
		asked && subtle.ConstantTimeCompare([]byte(c.Nonce), []byte(f.Nonce)) != 1 {
		return errIDToken
	}
	return nil
}

var errIDToken = errors.New("connect: an ID token that is not for this connection")

// isFor reports whether a client is the audience, or one of it.
func (c claims) isFor(clientID string) bool {
	var one string
	if json.Unmarshal(c.Audience, &one) == nil {
		return one == clientID
	}
	var several []string
	return json.Unmarshal(c.Audience, &several) == nil && slices.Contains(several, clientID)
}

// userInfo asks for user information (OpenID Connect Core section 5.3).
func (s *Service) userInfo(ctx context.Context, p refresh.Provider, t refresh.Tokens) (c claims, ok bool) {
	if p.UserInfoURL == "" {
		return c, false
	}
	ctx, cancel := context.WithTimeout(ctx, infoTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.UserInfoURL, nil)
	if err != nil {
		return c, false
	}
	req.Header.Set("Authorization", "Bearer "+string(t.AccessToken))
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "TokenVault") // GitHub refuses who has none
	answer, err := s.deps.HTTP.Do(req)
	if err != nil {
		return c, false
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxUserInfo+1))
	if err != nil || answer.StatusCode != http.StatusOK || len(body) > maxUserInfo || json.Unmarshal(body, &c) != nil {
		return claims{}, false
	}
	return c, true
}

// identity is whose claims these are: by the id that does not change, and by what a
// person knows the account by.
func (c claims) identity() identity {
	who := identity{id: readable(c.Subject, maxSubject)}
	if who.id == "" {
		who.id = readable(c.Login, maxSubject)
	}
	if id := strings.Trim(string(c.ID), `"`); who.id == "" && id != "null" {
		who.id = readable(id, maxSubject)
	}
	for _, name := range []string{c.Email, c.Handle, c.Login, c.Name, who.id} {
		if who.name = readable(name, maxName); who.name != "" {
			break
		}
	}
	return who
}

// readable is text if a page can show it and it is short enough, and else nothing.
func readable(text string, most int) string {
	text = strings.TrimSpace(text)
	if !utf8.ValidString(text) || utf8.RuneCountInString(text) > most || strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return ""
	}
	return text
}
