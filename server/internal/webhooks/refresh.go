package webhooks

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// maxRefreshToken is how long a refresh token may be, in bytes.
const maxRefreshToken = 256 << 10

// RefreshNotify tells a webhook that a token of it expires soon (wire.ReasonExpiring),
// or that somebody wants it refreshed now (wire.ReasonRequested). The hint holds no
// secret, and a webhook takes nothing from it. The answer's status is one that the
// protocol has; the rest of it is as the webhook gave it, and Message is not for showing:
// nobody knows what a webhook puts there.
//
// Nothing that a webhook says of a refusal is shown or logged, here and below, but for
// codes of the protocol: it knows the secrets.
func (c *Client) RefreshNotify(ctx context.Context, t Target, service, reason string, hint wire.RefreshHint) (wire.RefreshNotifyResponse, error) {
	var said wire.RefreshNotifyResponse
	err := c.hushed(ctx, t, wire.PathRefreshNotify, func(id string) any {
		return wire.RefreshNotifyRequest{RequestID: id, Service: service, Reason: reason, RefreshHint: hint}
	}, &said)
	if err != nil {
		return wire.RefreshNotifyResponse{}, err
	}
	switch said.Status {
	case wire.NotifyRefreshed, wire.NotifyAcknowledged, wire.NotifyNoToken, wire.NotifyNoRefreshToken, wire.NotifyFailed:
		return said, nil
	}
	return wire.RefreshNotifyResponse{}, unknownStatus()
}

// RefreshGet asks a webhook for a refresh token (capability tv-refresh): with
// RefreshUpdate the one call by which credential material comes here. The answer's
// status is wire.RefreshOK, and then it has a refresh token, or wire.NotifyNoToken or
// wire.NotifyNoRefreshToken. What Meta says is not checked. WEBHOOK_AUTH_FAILED also stands for
// a webhook that does not serve this: StatusOf tells.
func (c *Client) RefreshGet(ctx context.Context, t Target, service string) (wire.RefreshResponse, error) {
	var said wire.RefreshResponse
	err := c.hushed(ctx, t, wire.PathRefresh, func(id string) any {
		return wire.RefreshRequest{RequestID: id, Action: wire.RefreshGet, Service: service}
	}, &said)
	if err != nil {
		return wire.RefreshResponse{}, err
	}
	switch {
	case said.Status == wire.NotifyNoToken, said.Status == wire.NotifyNoRefreshToken:
		said.RefreshToken = ""
		return said, nil
	case said.Status != wire.RefreshOK:
		return wire.RefreshResponse{}, unknownStatus()
	case !isToken(string(said.RefreshToken)):
		return wire.RefreshResponse{}, fault.Wrap(&AnswerError{Status: http.StatusOK}, fault.WebhookUnavailable,
			"The webhook answered with a refresh token that can be none. Look at the token there.")
	}
	return said, nil
}

// An Update brings a webhook what a provider gave: Tokens, or Sealed ones, which only
// the webhook opens. CreationID and Sequence go with Tokens and make the update count
// for what it was meant for alone; a webhook without capability outbox ignores them.
type Update struct {
	Tokens     *wire.RefreshTokens
	Sealed     *wire.Sealed
	CreationID string
	Sequence   int64
}

// RefreshUpdate hands new tokens to a webhook. It may be made again when nobody knows
// how a first one ended. The answer's status is wire.RefreshUpdated, or wire.NotifyNoToken or
// wire.NotifyNoRefreshToken: the token has gone meanwhile. CONFLICT: the token has been replaced, or
// has newer tokens. INVALID_REQUEST: the webhook does not take it, and will not.
func (c *Client) RefreshUpdate(ctx context.Context, t Target, service string, u Update) (wire.RefreshResponse, error) {
	var said wire.RefreshResponse
	err := c.hushed(ctx, t, wire.PathRefresh, func(id string) any {
		return wire.RefreshRequest{
			RequestID: id, Action: wire.RefreshUpdate, Service: service,
			Tokens: u.Tokens, Sealed: u.Sealed, CreationID: u.CreationID, Sequence: u.Sequence,
		}
	}, &said)
	if err != nil {
		if codeOf(err) == wire.CodeInvalidRequest {
			err = fault.Wrap(err, fault.InvalidRequest, "The webhook does not take the new tokens. Look into its log.")
		}
		return wire.RefreshResponse{}, err
	}
	said.RefreshToken = "" // not asked for
	switch said.Status {
	case wire.RefreshUpdated, wire.NotifyNoToken, wire.NotifyNoRefreshToken:
		return said, nil
	}
	return wire.RefreshResponse{}, unknownStatus()
}

func unknownStatus() error {
	return fault.Wrap(&AnswerError{Status: http.StatusOK}, fault.WebhookUnavailable,
		"The webhook answered with a status that the protocol does not have. Update the webhook.")
}

// isToken reports whether text can be a refresh token: printable ASCII (RFC 6749
// appendix A.17), not too long.
func isToken(text string) bool {
	if text == "" || len(text) > maxRefreshToken {
		return false
	}
	for i := range len(text) {
		if text[i] < ' ' || text[i] > '~' {
			return false
		}
	}
	return true
}

// hushed is signed for calls in which the other end handles secrets.
func (c *Client) hushed(ctx context.Context, t Target, path string, body func(requestID string) any, out any) error {
	return c.call(ctx, t, request{path: path, limit: maxAnswer, body: body, hush: true}, out)
}

// hush takes a webhook's own words from a refusal, but for a code of the protocol.
func (a *answer) hush() {
	said := a.refused()
	said.Message = ""
	if !isCode(said.Code) {
		said.Code = ""
	}
	a.body, _ = json.Marshal(said)
}

func isCode(code wire.ErrorCode) bool {
	switch code {
	case wire.CodeInvalidRequest, wire.CodeTooLarge, wire.CodeAuthFailed, wire.CodeSetupRequired, wire.CodeForbidden,
		wire.CodeTokenNotFound, wire.CodeStaleCreation, wire.CodeInternal, wire.CodeProviderError, wire.CodeProviderTimeout:
		return true
	}
	return false
}
