package webhooks

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"net/http"

	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// Limits of what a webhook says of itself.
const (
	maxVersion      = 32
	maxCapabilities = 64
	maxCapability   = 40
	maxWebhookID    = 128
	maxKeyName      = 64
	maxSealKey      = 8 << 10 // base64
)

type healthRequest struct {
	RequestID string `json:"requestId"`
}

// Health asks a bound webhook how it is, signed and retried.
func (c *Client) Health(ctx context.Context, t Target) (wire.HealthResponse, error) {
	var said wire.HealthResponse
	err := c.signed(ctx, t, wire.PathHealth, maxAnswer, func(id string) any { return healthRequest{RequestID: id} }, &said)
	if err != nil {
		return wire.HealthResponse{}, err
	}
	return checkedHealth(&answer{status: http.StatusOK}, said)
}

// PlainHealth asks any webhook how it is, without a signature, once.
func (c *Client) PlainHealth(ctx context.Context, baseURL string) (wire.HealthResponse, error) {
	got, failed := c.send(ctx, http.MethodGet, baseURL+wire.PathHealth, http.Header{}, nil, maxAnswer)
	if failed != nil {
		return wire.HealthResponse{}, failed.fault
	}
	return got.health()
}

func checkedHealth(a *answer, said wire.HealthResponse) (wire.HealthResponse, error) {
	said, failed := a.facts(said)
	if failed != nil {
		return wire.HealthResponse{}, failed.fault
	}
	if said.Status != wire.StatusHealthy {
		return wire.HealthResponse{}, a.misbehaved(nil, "The webhook reports its status as %q. Look into its log.", clip(said.Status, 40)).fault
	}
	return said, nil
}

// facts cuts what a webhook says of itself to size, and refuses keys that are none.
func (a *answer) facts(h wire.HealthResponse) (wire.HealthResponse, *failure) {
	h.Version = clip(h.Version, maxVersion)
	h.WebhookID = clip(h.WebhookID, maxWebhookID)
	capabilities := []string{}
	for _, name := range h.Capabilities[:min(len(h.Capabilities), maxCapabilities)] {
		if name != "" && len(name) <= maxCapability && clip(name, maxCapability) == name {
			capabilities = append(capabilities, name)
		}
	}
	h.Capabilities = capabilities
	if h.SignKey != "" {
		key, err := base64.StdEncoding.Strict().DecodeString(h.SignKey)
		if err != nil || len(key) != ed25519.PublicKeySize {
			return h, a.misbehaved(err, "The webhook's signKey is not an Ed25519 public key in base64. Update the webhook.")
		}
	}
	if k := h.SealKey; k != nil {
		_, err := base64.StdEncoding.Strict().DecodeString(k.Key)
		if err != nil || k.Key == "" || len(k.Key) > maxSealKey || !keyName(k.ID) || !keyName(k.KEM) {
			return h, a.misbehaved(err, "The webhook's sealKey is not a key with id, kem and base64. Update the webhook.")
		}
	}
	return h, nil
}

// keyName accepts 1–64 printable ASCII characters without a space.
func keyName(s string) bool {
	if s == "" || len(s) > maxKeyName {
		return false
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
