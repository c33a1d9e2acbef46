package webhook

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/tvzero/tokenvault/refresh"
	"github.com/tvzero/tokenvault/webhook-sdk/credential"
	"github.com/tvzero/tokenvault/webhook-sdk/storage"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// storeConnected stores what a provider gave, under the service of the ticket and on
// its terms, and records it. refreshable: there is a refresh token.
func (w *Webhook) storeConnected(r *http.Request, known *knownProvider, fl flow, tokens refresh.Tokens, who identity) (refreshable bool, err error) {
	id, err := w.newID()
	if err != nil {
		return false, err
	}
	defer w.writes.lock(fl.ticket.Service)()
	data, err := w.connected(r.Context(), known, fl.ticket.Service, tokens, who)
	if err == nil {
		data.Describe(fl.ticket.Service, id, w.now())
		err = w.saveConnected(r.Context(), fl.ticket, data)
	}
	if err := w.record(r, actionConnect, fl.ticket, id, outcomeOf(err)); err != nil {
		return false, err
	}
	return data.Secrets[wire.FieldRefreshToken] != "", err
}

func (w *Webhook) saveConnected(ctx context.Context, ticket wire.Ticket, data credential.Credential) error {
	document, err := w.keys.SealToken(ticket.Service, data.Secrets, data.Meta)
	if err != nil {
		return fmt.Errorf("sealing a token: %w", err)
	}
	condition := storage.Condition{IfCreationID: ticket.CreationID, Create: ticket.Mode == wire.ModeCreate}
	return w.saveToken(ctx, ticket.Service, document, condition)
}

// connected is the token that is to be stored.
func (w *Webhook) connected(ctx context.Context, known *knownProvider, service string, tokens refresh.Tokens, who identity) (credential.Credential, error) {
	fields := map[string]any{
		credential.MetaTokenType: wire.TypeOAuth, credential.MetaProvider: known.ID, metaClientID: known.ClientID,
		metaIssuedAt: credential.FormatTime(w.now()), wire.FieldAccessToken: string(tokens.AccessToken),
	}
	optional := func(name, value string) {
		if value != "" {
			fields[name] = value
		}
	}
	optional(credential.MetaIssuer, known.Issuer)
	optional(metaSubject, who.subject)
	optional(wire.FieldRefreshToken, string(tokens.RefreshToken))
	if len(tokens.Scopes) > 0 {
		fields[metaScopes] = tokens.Scopes
	}
	if len(known.AllowedHosts) > 0 {
		fields[credential.MetaAllowedHosts] = known.AllowedHosts
	}
	if !tokens.ExpiresAt.IsZero() {
		fields[credential.MetaExpiryTime] = tokens.ExpiresAt.UnixMilli()
	}
	w.keepOfReplaced(ctx, known, service, fields)
	raw := make(map[string]json.RawMessage, len(fields))
	for name, value := range fields {
		text, err := json.Marshal(value)
		if err != nil {
			return credential.Credential{}, fmt.Errorf("a field of a connected token has no JSON form: %s", name)
		}
		raw[name] = text
	}
	data, err := w.parseTokenData(raw)
	if err != nil {
		return credential.Credential{}, because(refuse(wire.CodeProviderError, "%s gave a token that cannot be stored", known.name()), err)
	}
	return data, nil
}

// keepOfReplaced adds what stays when an account is connected again: what people wrote
// about the token, and, when the provider gave no new one, its refresh token. Google
// gives one at the first time only; it is of the same account and client, or it is
// dropped. To where the token may go does not stay: that is the operator's to say, and
// what is replaced may be a token that TV put there.
func (w *Webhook) keepOfReplaced(ctx context.Context, known *knownProvider, service string, fields map[string]any) {
	stored, err := w.loadToken(ctx, service)
	if err != nil || stored.meta()[credential.MetaProvider] != known.ID {
		return
	}
	meta := stored.meta()
	for _, name := range credential.Notes() {
		if value, ok := meta[name]; ok {
			fields[name] = value
		}
	}
	subject, _ := fields[metaSubject].(string)
	if fields[wire.FieldRefreshToken] != nil || subject == "" || meta[metaSubject] != subject || meta[metaClientID] != known.ClientID {
		return
	}
	if secrets, err := stored.prepared.Open(wire.FieldRefreshToken); err == nil && secrets[wire.FieldRefreshToken] != "" {
		fields[wire.FieldRefreshToken] = secrets[wire.FieldRefreshToken]
	}
}
