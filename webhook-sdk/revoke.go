package webhook

import (
	"context"
	"errors"
	"time"

	"github.com/tvzero/tokenvault/refresh"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// revokeTimeout is for the calls at a provider when a token is deleted, within what TV
// waits for the deletion.
const revokeTimeout = 5 * time.Second

// Hints of RFC 7009 §2.1.
const (
	hintRefreshToken = "refresh_token"
	hintAccessToken  = "access_token"
)

// A revocation is what makes a deleted token useless at its provider.
type revocation struct {
	known    *knownProvider // nil: there is nothing to revoke
	token    refresh.Secret
	hint     string
	creation string
}

// revocationOf is that of a stored token, if it is of a provider of ours. What cannot
// be read cannot be revoked.
func (w *Webhook) revocationOf(ctx context.Context, service string) revocation {
	stored, err := w.loadToken(ctx, service)
	if err != nil {
		return revocation{}
	}
	known, ours := w.providers.of(stored.meta())
	if !ours || stored.kind() != wire.TypeOAuth {
		return revocation{}
	}
	secrets, err := stored.prepared.Open(wire.FieldRefreshToken, wire.FieldAccessToken)
	if err != nil {
		return revocation{}
	}
	end := revocation{known: known, creation: stored.creationID(), token: refresh.Secret(secrets[wire.FieldRefreshToken]), hint: hintRefreshToken}
	if end.token == "" { // with a refresh token goes what was issued for it (RFC 7009 §2.1)
		end.token, end.hint = refresh.Secret(secrets[wire.FieldAccessToken]), hintAccessToken
	}
	return end
}

// revoke tells the provider, and records what it said; address is of who caused it. The
// token is deleted whatever that is: a failure is not the caller's.
func (w *Webhook) revoke(ctx context.Context, address, service string, end revocation) {
	if end.known == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), revokeTimeout)
	defer cancel()
	provider, err := w.providers.endpoints(ctx, end.known)
	if err == nil {
		err = w.oauth.Revoke(ctx, provider, end.token, end.hint)
	}
	rec := record{
		Action: actionRevoke, Service: clip(service), CreationID: end.creation, Address: address,
		Upstream: originOf(provider.RevocationURL), Outcome: revokeOutcome(err),
	}
	if err != nil {
		w.log.WarnContext(ctx, "a deleted token was not revoked at its provider", "service", service, "provider", end.known.ID, "error", err.Error())
	}
	if err := w.appendRecord(ctx, rec); err != nil {
		w.log.ErrorContext(ctx, "a revocation has no record", "service", service, "outcome", rec.Outcome, "error", err.Error())
	}
}

func revokeOutcome(err error) string {
	var refusal *refresh.Refusal
	switch {
	case err == nil:
		return outcomeOK
	case errors.Is(err, refresh.ErrNoRevocation):
		return "not_revocable"
	case errors.As(err, &refusal):
		return "failed: " + string(refusal.Reason)
	}
	return "failed: " + string(refresh.ReasonProviderTimeout)
}
