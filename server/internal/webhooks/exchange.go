package webhooks

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// Exchanged is what a webhook hands over for a registration code, once.
type Exchanged struct {
	Secret       wire.Secret
	WebhookID    string
	Version      string
	Capabilities []string
	SealKey      *wire.SealKey // nil: the webhook has none
	SignKey      string        // Ed25519 public key, standard base64; empty: none
}

// Exchange redeems a registration code (protocol.md §2). It is not signed, and
// never made twice: the code is used up by the first call, whatever becomes of
// the answer. BIND_CODE_INVALID: the webhook does not know the code, or it is
// expired or used. WEBHOOK_UNAVAILABLE: anything else.
func (c *Client) Exchange(ctx context.Context, baseURL, code string) (Exchanged, error) {
	raw, err := json.Marshal(wire.ExchangeRequest{Code: code})
	if err != nil {
		return Exchanged{}, err
	}
	got, failed := c.send(ctx, http.MethodPost, baseURL+wire.PathExchange, jsonHeader(), raw, maxAnswer)
	if failed != nil {
		return Exchanged{}, failed.fault
	}
	if !got.success() {
		return Exchanged{}, got.refusedCode()
	}
	var said wire.ExchangeResponse
	if failed := got.decode("", &said); failed != nil {
		return Exchanged{}, failed.fault
	}
	secret, err := wire.ParseSecret(said.HMACSecret)
	if err != nil {
		return Exchanged{}, got.misbehaved(err, "The webhook's answer holds no valid secret. Update the webhook.").fault
	}
	facts, failed := got.facts(wire.HealthResponse{
		Version: said.Version, Capabilities: said.Capabilities,
		WebhookID: said.WebhookID, SealKey: said.SealKey, SignKey: said.SignKey,
	})
	if failed != nil {
		return Exchanged{}, failed.fault
	}
	return Exchanged{
		Secret: secret, WebhookID: facts.WebhookID, Version: facts.Version, Capabilities: facts.Capabilities,
		SealKey: facts.SealKey, SignKey: facts.SignKey,
	}, nil
}

// refusedCode tells a webhook that knows the protocol and not the code from
// something that does not speak the protocol.
func (a *answer) refusedCode() error {
	said := a.refused()
	cause := &AnswerError{Status: a.status, Code: said.Code}
	switch {
	case a.status == http.StatusGone && said.Code == wire.CodeCodeUsed:
		return fault.Wrap(cause, fault.BindCodeInvalid, "The code was used already. Make a new one on the webhook's bind page.")
	case a.status == http.StatusGone:
		return fault.Wrap(cause, fault.BindCodeInvalid, "The code has expired or was used. Make a new one on the webhook's bind page.")
	case said.Code != "" && a.status >= 400 && a.status < 500 && a.status != http.StatusTooManyRequests:
		return fault.Wrap(cause, fault.BindCodeInvalid, "The webhook does not accept the code (%d%s). Make a new one on its bind page.", a.status, quoted(said))
	}
	return a.refusal(false).fault
}
