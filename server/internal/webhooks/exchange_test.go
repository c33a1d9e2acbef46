package webhooks_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

func TestExchangeYieldsTheSecretAndWhatTheWebhookSaysOfItself(t *testing.T) {
	t.Parallel()
	var h *hook
	h = newHook(t, func(_ int, w http.ResponseWriter, _ *http.Request) {
		says(w, 200, `{"hmacSecret":"`+h.secret.Encode()+`","webhookId":"wh-1","version":"2.4.0",
			"capabilities":["storage","","`+strings.Repeat("x", 500)+`","store"],
			"sealKey":{"id":"k1","kem":"X25519","key":"AAAA"},"signKey":"`+strings.Repeat("A", 43)+`="}`)
	})
	got, err := h.client(patient).Exchange(t.Context(), h.URL, "code-1")
	if err != nil {
		t.Fatal(err)
	}
	if !got.Secret.Equal(h.secret) || got.WebhookID != "wh-1" || got.Version != "2.4.0" || got.SealKey == nil || got.SealKey.ID != "k1" {
		t.Errorf("Exchange = %+v, want what the webhook sent", got)
	}
	if strings.Join(got.Capabilities, " ") != "storage store" {
		t.Errorf("capabilities %q, want the two that are names", got.Capabilities)
	}
	c := h.seen()[0]
	if c.Path != wire.PathExchange || string(c.Body) != `{"code":"code-1"}` || c.Header.Get(wire.HeaderSignature) != "" {
		t.Errorf("request %s %s signed %q, want an unsigned code", c.Path, c.Body, c.Header.Get(wire.HeaderSignature))
	}
}

func TestExchangeTellsABadCodeFromABadWebhook(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name, body string
		status     int
		code       fault.Code
	}{
		{"used", `{"error":"code_used","message":"x"}`, 410, fault.BindCodeInvalid},
		{"expired", `{"error":"code_expired","message":"x"}`, 410, fault.BindCodeInvalid},
		{"gone without words", `gone`, 410, fault.BindCodeInvalid},
		{"unknown", `{"error":"invalid_request","message":"x"}`, 400, fault.BindCodeInvalid},
		{"not found, by a webhook", `{"error":"code_unknown","message":"x"}`, 404, fault.BindCodeInvalid},
		{"not found, by something else", `404 page not found`, 404, fault.WebhookUnavailable},
		{"broken", `{"error":"internal_error","message":"x"}`, 500, fault.WebhookUnavailable},
		{"busy", `{"error":"slow_down","message":"x"}`, 429, fault.WebhookUnavailable},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h := newHook(t, func(_ int, w http.ResponseWriter, _ *http.Request) { says(w, c.status, c.body) })
			_, err := h.client(patient).Exchange(t.Context(), h.URL, "code")
			wantCode(t, err, c.code, c.status)
			wantCalls(t, h, 1)
		})
	}
}
