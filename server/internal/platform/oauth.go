package platform

import (
	"strings"
	"time"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/refresh"
	"github.com/tvzero/tokenvault/webhook-sdk/credential"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// issued reports whether tokens of a type are issued by a provider, which may renew
// them.
func issued(kind string) bool { return kind == wire.TypeOAuth || kind == credential.TypeOpenIDConnect }

// refreshable reports whether a provider may be asked to renew a token.
func refreshable(t models.Token) bool { return issued(t.TokenType) && t.HasRefreshToken }

// readLead is how long before its expiry a token may be due at the earliest when it is
// read: see refresh.DueOnRead.
const readLead = 5 * time.Minute

// nearExpiry is from when on a token is looked at closely before it is released; zero:
// never. What it rests on is readable in the database, and decides nothing else.
func nearExpiry(t models.Token) time.Time {
	switch {
	case t.ExpiresAt == nil || !issued(t.TokenType):
		return time.Time{}
	case t.HasRefreshToken:
		return t.ExpiresAt.Add(-readLead)
	}
	return *t.ExpiresAt
}

// freshness says of an opened credential whether it is due for a refresh, and whether
// its access token has expired. One without a refresh token is due when it has.
func freshness(c credential.Credential, now time.Time) (due, expired bool) {
	expires, ok := c.Expiry()
	if !ok || !issued(c.Type) {
		return false, false
	}
	expired = !now.Before(expires)
	if c.Secrets[wire.FieldRefreshToken] == "" {
		return expired, expired
	}
	return refresh.DueOnRead(issuedAt(c.Meta), expires, now), expired
}

// tokensOf is what a provider has issued, as a credential keeps it.
func tokensOf(c credential.Credential) refresh.Tokens {
	t := refresh.Tokens{
		AccessToken:  refresh.Secret(c.Secrets[wire.FieldAccessToken]),
		RefreshToken: refresh.Secret(c.Secrets[wire.FieldRefreshToken]),
		IDToken:      refresh.Secret(c.Secrets[credential.FieldIDToken]),
		Scopes:       scopesOf(c.Meta),
	}
	t.ExpiresAt, _ = c.Expiry()
	return t
}

// putTokens writes into a credential what a provider has issued at now. An ID token is
// kept where the credential is one of OpenID Connect.
func putTokens(c credential.Credential, t refresh.Tokens, now time.Time) {
	secrets := map[string]refresh.Secret{wire.FieldAccessToken: t.AccessToken, wire.FieldRefreshToken: t.RefreshToken}
	if c.Type == credential.TypeOpenIDConnect && t.IDToken != "" {
		secrets[credential.FieldIDToken] = t.IDToken
	}
	for name, secret := range secrets {
		if secret == "" {
			delete(c.Secrets, name)
		} else {
			c.Secrets[name] = string(secret)
		}
	}
	c.Meta[credential.MetaHasRefreshToken] = t.RefreshToken != ""
	c.Meta[MetaIssuedAt] = credential.FormatTime(now)
	delete(c.Meta, credential.MetaExpiresAt)
	delete(c.Meta, credential.MetaExpiryTime)
	if !t.ExpiresAt.IsZero() {
		c.Meta[credential.MetaExpiresAt] = credential.FormatTime(t.ExpiresAt)
		c.Meta[credential.MetaExpiryTime] = t.ExpiresAt.UnixMilli()
	}
	if len(t.Scopes) == 0 {
		return
	}
	if _, asText := c.Meta[MetaScope]; asText {
		c.Meta[MetaScope] = strings.Join(t.Scopes, " ")
		delete(c.Meta, MetaScopes)
		return
	}
	list := make([]any, len(t.Scopes))
	for i, scope := range t.Scopes {
		list[i] = scope
	}
	c.Meta[MetaScopes] = list
}

// scopesOf is what metadata says that tokens may do; nil: nothing.
func scopesOf(meta map[string]any) []string {
	text, ok := meta[MetaScope].(string)
	if list, isList := meta[MetaScopes].([]any); isList {
		words := make([]string, 0, len(list))
		for _, scope := range list {
			if word, ok := scope.(string); ok {
				words = append(words, word)
			}
		}
		text, ok = strings.Join(words, " "), true
	}
	if !ok {
		return nil
	}
	return refresh.SplitScopes(text)
}

// scopeHint is what stands readable of scopes: all of them, or nothing that could be
// taken for all.
func scopeHint(scopes []string) string {
	if text := strings.Join(scopes, " "); len(text) <= maxScopeText {
		return text
	}
	return ""
}

// issuedAt is since when tokens are as metadata says; zero: unknown.
func issuedAt(meta map[string]any) time.Time {
	text, _ := meta[MetaIssuedAt].(string)
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return time.Time{}
	}
	return at
}
