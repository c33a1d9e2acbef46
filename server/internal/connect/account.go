package connect

import (
	"context"
	"encoding/base64"
	"encoding/json"
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
	Subject  string          `json:"sub"`
	Email    string          `json:"email"`
	Handle   string          `json:"preferred_username"`
	Login    string          `json:"login"`
	Name     string          `json:"name"`
	ID       json.RawMessage `json:"id"`
}

// whose asks whose tokens these are. It is nobody when neither an ID token nor user
// information says so: a connection does not fail for it.
func (s *Service) whose(ctx context.Context, p refresh.Provider, t refresh.Tokens) identity {
	if c, ok := readIDToken(string(t.IDToken), p, s.deps.Now()); ok {
		who := c.identity()
		if who.name != who.id {
			return who
		}
		// An ID token need not say more than an id.
		if more, ok := s.userInfo(ctx, p, t); ok && (more.Subject == c.Subject) {
			return more.identity()
		}
		return who
	}
	if c, ok := s.userInfo(ctx, p, t); ok {
		return c.identity()
	}
	return identity{}
}

// readIDToken reads the claims of an ID token that came from the token endpoint itself
// over TLS, which is what vouches for it in the place of its signature (OpenID Connect
// Core section 3.1.3.7, 6). Whom it is from and for, and until when, is checked.
func readIDToken(text string, p refresh.Provider, now time.Time) (c claims, ok bool) {
	if text == "" || len(text) > maxIDToken {
		return c, false
	}
	parts := strings.Split(text, ".")
	if len(parts) != 3 {
		return c, false
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || json.Unmarshal(payload, &c) != nil {
		return claims{}, false
	}
	if c.Subject == "" || c.Issuer != p.Issuer || !c.isFor(p.ClientID) || float64(now.Add(-skew).Unix()) >= c.Expires {
		return claims{}, false
	}
	return c, true
}

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
