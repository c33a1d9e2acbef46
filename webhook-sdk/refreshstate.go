package webhook

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"time"

	"github.com/tvzero/tokenvault/refresh"
	"github.com/tvzero/tokenvault/webhook-sdk/credential"
	"github.com/tvzero/tokenvault/webhook-sdk/storage"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// Metadata of a token of a provider. All of it is bound to the secrets, like the rest.
const (
	metaClientID  = "clientId" // of the client that the token was issued to
	metaScopes    = "scopes"   // a list
	metaSubject   = "subject"  // the account behind it, by the provider's id for it
	metaIssuedAt  = "issuedAt" // of the access token, RFC 3339
	metaAttempts  = "refreshAttempts"
	metaRetryAt   = "refreshRetryAt" // RFC 3339
	metaRetryWhy  = "refreshRetryReason"
	metaReconnect = "needsReauthorization" // why; until it was refreshed or stored anew
	metaTriedAt   = "refreshTriedAt"       // RFC 3339, of the last attempt if it gave no tokens
)

// ownMeta is what the webhook alone writes about refreshing: nothing that a caller
// wants stored may say it.
var ownMeta = [...]string{wire.MetaRefreshSequence, metaAttempts, metaRetryAt, metaRetryWhy, metaReconnect, metaTriedAt}

// dropOwnMeta takes from a caller's metadata what is not the caller's to say.
func dropOwnMeta(meta map[string]any) {
	for _, name := range ownMeta {
		delete(meta, name)
	}
}

// stateOf is what refreshing needs to know of an opened token; the provider is the
// caller's to add.
func stateOf(meta map[string]any, secrets map[string]string) refresh.State {
	expires, _ := credential.Credential{Meta: meta}.Expiry()
	retryWhy, _ := meta[metaRetryWhy].(string)
	reconnect, _ := meta[metaReconnect].(string)
	return refresh.State{
		Tokens: refresh.Tokens{
			AccessToken:  refresh.Secret(secrets[wire.FieldAccessToken]),
			RefreshToken: refresh.Secret(secrets[wire.FieldRefreshToken]),
			Scopes:       scopesOf(meta), ExpiresAt: expires,
		},
		IssuedAt: timeOf(meta[metaIssuedAt]), Version: sequenceOf(meta),
		Attempts: int(numberOf(meta[metaAttempts])), RetryAt: timeOf(meta[metaRetryAt]), RetryReason: refresh.Reason(retryWhy),
		NeedsReauthorization: refresh.Reason(reconnect),
	}
}

// sequenceOf counts the changes of a token's tokens under one creation.
func sequenceOf(meta map[string]any) int64 { return numberOf(meta[wire.MetaRefreshSequence]) }

func numberOf(value any) int64 {
	number, _ := value.(json.Number)
	n, err := number.Int64()
	if err != nil || n < 0 {
		return 0
	}
	return n
}

func timeOf(value any) time.Time {
	text, _ := value.(string)
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}
	}
	return at
}

// scopesOf reads a list, or one text as others write it; nil is not known.
func scopesOf(meta map[string]any) []string {
	switch value := meta[metaScopes].(type) {
	case []any:
		scopes := []string{}
		for _, entry := range value {
			if scope, ok := entry.(string); ok {
				scopes = append(scopes, scope)
			}
		}
		return scopes
	case string:
		return refresh.SplitScopes(value)
	}
	return nil
}

// putTokens writes new tokens over those before. What they do not say stays: the
// refresh token, and the scopes.
func putTokens(meta map[string]any, secrets map[string]string, t refresh.Tokens, sequence int64, now time.Time) {
	secrets[wire.FieldAccessToken] = string(t.AccessToken)
	if t.RefreshToken != "" {
		secrets[wire.FieldRefreshToken] = string(t.RefreshToken)
	}
	meta[credential.MetaHasRefreshToken] = secrets[wire.FieldRefreshToken] != ""
	if len(t.Scopes) > 0 {
		meta[metaScopes] = t.Scopes
	}
	putExpiry(meta, t.ExpiresAt)
	putOutcome(meta, refresh.Outcome{Kind: refresh.Rotated}, now)
	meta[metaIssuedAt] = credential.FormatTime(now)
	meta[wire.MetaRefreshSequence] = sequence
}

// putExpiry writes when an access token ends, in the one form or the two that the
// token has it in; zero is never, or unknown.
func putExpiry(meta map[string]any, at time.Time) {
	_, inWords := meta[credential.MetaExpiresAt]
	delete(meta, credential.MetaExpiresAt)
	delete(meta, credential.MetaExpiryTime)
	if at.IsZero() {
		return
	}
	meta[credential.MetaExpiryTime] = at.UnixMilli()
	if inWords {
		meta[credential.MetaExpiresAt] = credential.FormatTime(at)
	}
}

// says reports whether an outcome is what a state has as its last.
func says(s refresh.State, o refresh.Outcome) bool {
	switch o.Kind {
	case refresh.RetryAt:
		return s.RetryAt.Equal(o.At.Truncate(time.Millisecond)) && s.RetryReason == o.Reason && s.Attempts == o.Attempts
	case refresh.NeedsReauthorization:
		return s.NeedsReauthorization == o.Reason && s.Attempts == o.Attempts
	}
	return s.RetryAt.IsZero() && s.NeedsReauthorization == "" && s.Attempts == o.Attempts
}

// putOutcome writes how an attempt ended just now.
func putOutcome(meta map[string]any, o refresh.Outcome, now time.Time) {
	for _, name := range []string{metaAttempts, metaRetryAt, metaRetryWhy, metaReconnect, metaTriedAt} {
		delete(meta, name)
	}
	if o.Kind == refresh.RetryAt || o.Kind == refresh.NeedsReauthorization {
		meta[metaTriedAt] = credential.FormatTime(now)
	}
	switch o.Kind {
	case refresh.RetryAt:
		meta[metaRetryAt], meta[metaRetryWhy] = credential.FormatTime(o.At), string(o.Reason)
	case refresh.NeedsReauthorization:
		meta[metaReconnect] = string(o.Reason)
	}
	if o.Attempts > 0 {
		meta[metaAttempts] = o.Attempts
	}
}

// openAll opens every secret field of a token, to be sealed again with what changed.
func (t token) openAll() (meta map[string]any, secrets map[string]string, err error) {
	document := t.prepared.Document()
	names := make([]string, 0, len(document.Fields))
	for name := range document.Fields {
		names = append(names, name)
	}
	if secrets, err = t.prepared.Open(names...); err != nil {
		return nil, nil, err
	}
	if meta = maps.Clone(document.Meta); meta == nil {
		meta = map[string]any{}
	}
	return meta, secrets, nil
}

// reseal writes what became of a token in its place, if it still is what was read.
// The caller holds the token's write lock.
func (w *Webhook) reseal(ctx context.Context, t token, meta map[string]any, secrets map[string]string) error {
	if t.creationID() == "" { // of version 1
		var err error
		if meta[credential.MetaCreationID], err = w.newID(); err != nil {
			return err
		}
	}
	document, err := w.keys.SealToken(t.service, secrets, meta)
	if err != nil {
		return fmt.Errorf("sealing a token: %w", err)
	}
	return w.saveToken(ctx, t.service, document, storage.Condition{IfVersion: t.version})
}

// refreshable reports whether a token has a refresh token, without opening it.
func (t token) refreshable() bool { return t.prepared.Document().Has(wire.FieldRefreshToken) }

// formatExpiry is when an access token ends, in the form of an answer; "" is never, or
// unknown.
func formatExpiry(at time.Time) string {
	if at.IsZero() {
		return ""
	}
	return credential.FormatTime(at)
}
