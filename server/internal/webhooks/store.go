package webhooks

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// Store hands a credential to a webhook with a store ticket: the one method through
// which a secret passes, and outward only. A ticket works once, so the call is made
// once: after WEBHOOK_UNAVAILABLE nobody knows whether the token is there, but a list
// tells. CONFLICT: it is there already, or is not the one that the ticket is for.
// INVALID_REQUEST: the webhook does not take such a token; TOO_LARGE.
//
// What the webhook says of a refusal is neither shown nor logged: it knows the secret.
func (c *Client) Store(ctx context.Context, t Target, ticket, service string, tokenData map[string]any) error {
	raw, err := json.Marshal(map[string]any{"ticket": ticket, "service": service, "tokenData": tokenData}) // a wire.StoreRequest
	if err != nil {
		return errors.New("webhooks: the credential has no JSON form") // the cause may quote it
	}
	if len(raw) > wire.MaxBody {
		return fault.New(fault.TooLarge, "The credential is larger than the %d bytes that a webhook takes.", wire.MaxBody)
	}
	answer, failed := c.send(ctx, http.MethodPost, t.BaseURL+wire.PathStore, jsonHeader(), raw, maxAnswer)
	if failed != nil {
		return failed.fault
	}
	if !answer.success() {
		return storeRefusal(answer)
	}
	var said wire.StoreResponse
	if failed := answer.decode("", &said); failed != nil {
		return failed.fault
	}
	return nil
}

func storeRefusal(a *answer) error {
	said := a.refused().Code
	if said.Status() == http.StatusInternalServerError {
		said = "" // none of the protocol's, perhaps, and then it may be anything
	}
	cause := &AnswerError{Status: a.status, Code: said}
	switch {
	case said == wire.CodeAlreadyExists || said == wire.CodeStaleCreation:
		return fault.Wrap(cause, fault.Conflict, "The webhook has a token of this name, or another one than before.")
	case said == wire.CodeInvalidRequest:
		return fault.Wrap(cause, fault.InvalidRequest, "The webhook does not take this credential: it finds something wrong with it.")
	case a.status == http.StatusRequestEntityTooLarge:
		return fault.Wrap(cause, fault.TooLarge, "The credential is larger than the webhook takes.")
	case a.status == http.StatusUnauthorized || a.status == http.StatusForbidden:
		return fault.Wrap(cause, fault.WebhookAuthFailed, "The webhook refused this server's ticket (%d). Check both clocks; if it was bound again elsewhere, bind it here again.", a.status)
	}
	return fault.Wrap(cause, fault.WebhookUnavailable, "The webhook did not store the credential (%d). Look into its log.", a.status)
}
