package webhook

import (
	"net/http"
	"slices"
	"time"

	"github.com/tvzero/tokenvault/webhook-sdk/storage"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// capabilities lists what this webhook does, as it is configured.
func (w *Webhook) capabilities() []string {
	list := []string{wire.CapStorage, wire.CapTicketConstraints}
	for capability, purposes := range map[string][]wire.Purpose{
		wire.CapCredential: {wire.PurposeAgentCredential, wire.PurposeUserReveal},
		wire.CapStore:      {wire.PurposeStore},
		wire.CapProxy:      {wire.PurposeProxy},
		wire.CapTOTP:       {wire.PurposeTOTPCode, wire.PurposeAgentCredential, wire.PurposeUserReveal},
	} {
		if slices.ContainsFunc(purposes, func(p wire.Purpose) bool { return slices.Contains(w.purposes, p) }) {
			list = append(list, capability)
		}
	}
	if len(w.minters) > 0 {
		list = append(list, wire.CapMint)
	}
	if w.servesRefresh() {
		list = append(list, wire.CapRefresh)
	}
	if w.tvRefresh {
		list = append(list, wire.CapTVRefresh, wire.CapOutbox)
	}
	if w.connectsSome() {
		list = append(list, wire.CapConnect)
	}
	slices.Sort(list)
	return list
}

// health answers GET /v1/health, which anybody may ask.
func (w *Webhook) health(rw http.ResponseWriter, _ *http.Request) error {
	return writeJSON(rw, http.StatusOK, w.healthNow(""))
}

// signedHealth answers POST /v1/health. TV's first one closes a binding.
func (w *Webhook) signedHealth(rw http.ResponseWriter, r *http.Request, _ []byte) error {
	return writeJSON(rw, http.StatusOK, w.healthNow(r.Header.Get(wire.HeaderRequestID)))
}

func (w *Webhook) healthNow(requestID string) wire.HealthResponse {
	now := w.now()
	return wire.HealthResponse{
		Status:        wire.StatusHealthy,
		Version:       wire.Version,
		KeyConfigured: len(w.bindings.active(now)) > 0,
		Capabilities:  w.capabilities(),
		Uptime:        int64(now.Sub(w.started) / time.Second),
		TokenCount:    w.storage.Count(storage.CollectionTokens),
		RequestID:     requestID,
		WebhookID:     w.keys.WebhookID(),
		SealKey:       w.keys.SealKey(),
		SignKey:       w.keys.SignKey(),
	}
}
