package connect

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/refresh"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/server/internal/platform"
	"github.com/tvzero/tokenvault/server/internal/providers"
	"github.com/tvzero/tokenvault/server/internal/vaults"
	"github.com/tvzero/tokenvault/webhook-sdk/credential"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// keep stores what a provider issued where the flow began for.
func (s *Service) keep(ctx context.Context, p grants.Principal, client audit.Client, f *flow, provider refresh.Provider, summary providers.Summary, tokens refresh.Tokens) (Connected, error) {
	if tokens.Scopes == nil {
		tokens.Scopes = f.Scopes // RFC 6749 section 5.1: as they were asked for
	}
	who, err := s.whose(ctx, provider, f, tokens)
	if err != nil {
		return Connected{}, fault.Wrap(err, fault.Unavailable, "%s gave an identity that is not for this connection. Nothing was stored; tell the operator if it stays.", summary.Name)
	}
	out := Connected{
		Provider: summary, Account: who.name, Missing: missing(f.Scopes, tokens.Scopes), ReturnTo: f.Return,
		AccountChanged: f.Subject != "" && who.id != "" && f.Subject != who.id,
	}
	detail := "connected at " + f.Provider
	if who.name != "" {
		detail += " as " + who.name
	}
	name := summary.Name // of a token that is new, for people
	if who.name != "" {
		name += " (" + who.name + ")"
	}
	data := s.tokenData(provider, tokens, who)
	if f.Replaces == "" && len(summary.AllowedHosts) > 0 { // later they are its owner's to change
		data[credential.MetaAllowedHosts] = summary.AllowedHosts
	}
	if f.Binding != uuid.Nil {
		out.Token, err = s.deps.Vaults.StoreConnected(ctx, p, client, vaults.Connected{
			Service: f.Ref.Service, Replaces: f.Replaces, ID: f.ID.String(), Data: data, Name: name, Detail: detail,
		})
	} else {
		if f.Replaces == "" {
			data[credential.MetaDisplayName] = name
		}
		out.Token, err = s.keepHere(ctx, p, client, f, provider, data, detail)
	}
	return out, err
}

// keepHere stores into the session's own vault. Where the secret may be sent goes into
// the ciphertext with it.
func (s *Service) keepHere(ctx context.Context, p grants.Principal, client audit.Client, f *flow, provider refresh.Provider, data map[string]any, detail string) (models.Token, error) {
	data[credential.MetaTokenURL] = provider.TokenURL
	fields := make(map[string]json.RawMessage, len(data))
	for name, value := range data {
		text, err := json.Marshal(value)
		if err != nil {
			return models.Token{}, errors.New("connect: a token has no JSON form") // the cause may quote it
		}
		fields[name] = text
	}
	return s.deps.Platform.StoreConnected(ctx, p, client, f.Ref, fields, f.Replaces, detail)
}

// tokenData is what was issued, as it is stored: wherever that is, without the ID
// token, which has served.
func (s *Service) tokenData(p refresh.Provider, t refresh.Tokens, who identity) map[string]any {
	data := map[string]any{
		credential.MetaTokenType: wire.TypeOAuth,
		wire.FieldAccessToken:    string(t.AccessToken),
		credential.MetaProvider:  p.ID,
		platform.MetaClientID:    p.ClientID,
		platform.MetaIssuedAt:    credential.FormatTime(s.deps.Now()),
	}
	if t.RefreshToken != "" {
		data[wire.FieldRefreshToken] = string(t.RefreshToken)
	}
	if !t.ExpiresAt.IsZero() {
		data[credential.MetaExpiresAt] = credential.FormatTime(t.ExpiresAt)
	}
	if p.Issuer != "" {
		data[credential.MetaIssuer] = p.Issuer
	}
	if len(t.Scopes) > 0 {
		data[platform.MetaScopes] = t.Scopes
	}
	if who.id != "" {
		data[platform.MetaSubject] = who.id
	}
	return data
}

// missing is what was asked for and not granted, but for scopes that providers grant
// under other names, or by giving what they stand for.
func missing(asked, granted []string) []string {
	out := []string{}
	for _, scope := range asked {
		switch scope {
		case "openid", "email", "profile", "offline_access":
			continue
		}
		if !slices.ContainsFunc(granted, func(g string) bool { return g == scope || strings.EqualFold(g, scope) }) {
			out = append(out, scope)
		}
	}
	return out
}
