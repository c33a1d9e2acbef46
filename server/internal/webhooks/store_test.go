package webhooks_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

func TestStoreHandsOverACredentialOnceAndUnsigned(t *testing.T) {
	t.Parallel()
	h := newHook(t, func(_ int, w http.ResponseWriter, _ *http.Request) {
		says(w, 200, `{"status":"stored","service":"github","meta":{}}`)
	})
	data := map[string]any{"tokenType": "PlainText", "accessToken": "canary", "tags": []string{"a"}}
	if err := h.client(patient).Store(t.Context(), h.target(), "the.ticket", "github", data); err != nil {
		t.Fatal(err)
	}
	wantCalls(t, h, 1)
	c := h.seen()[0]
	var sent wire.StoreRequest
	if err := json.Unmarshal(c.Body, &sent); err != nil {
		t.Fatal(err)
	}
	if c.Path != wire.PathStore || sent.Ticket != "the.ticket" || sent.Service != "github" || string(sent.TokenData["accessToken"]) != `"canary"` ||
		c.Header.Get(wire.HeaderSignature) != "" || c.Header.Get("Content-Type") != "application/json" {
		t.Errorf("request %s %s, signed %q, want an unsigned store", c.Path, c.Body, c.Header.Get(wire.HeaderSignature))
	}
}

// A ticket works once: to send it again could only fail, and hide what happened.
func TestStoreIsNeverMadeTwiceAndItsRefusalsQuoteNothing(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		body   string
		status int
		code   fault.Code
	}{
		"taken":        {`{"error":"already_exists","message":"canary"}`, 409, fault.Conflict},
		"another":      {`{"error":"stale_creation","message":"canary"}`, 409, fault.Conflict},
		"not taken":    {`{"error":"invalid_request","message":"canary"}`, 400, fault.InvalidRequest},
		"too large":    {`{"error":"too_large","message":"canary"}`, 413, fault.TooLarge},
		"ticket":       {`{"error":"ticket_invalid","message":"canary"}`, 401, fault.WebhookAuthFailed},
		"forbidden":    {`{"error":"forbidden","message":"canary"}`, 403, fault.WebhookAuthFailed},
		"own error":    {`{"error":"internal_error","message":"canary"}`, 500, fault.WebhookUnavailable},
		"no such path": {`canary`, 404, fault.WebhookUnavailable},
		"a code of it": {`{"error":"canary","message":"canary"}`, 422, fault.WebhookUnavailable},
		"a redirect":   {`{}`, 302, fault.WebhookUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHook(t, func(_ int, w http.ResponseWriter, _ *http.Request) { says(w, c.status, c.body) })
			err := h.client(patient).Store(t.Context(), h.target(), "t", "github", map[string]any{"accessToken": "canary"})
			wantCode(t, err, c.code, c.status)
			wantCalls(t, h, 1)
			if err != nil && strings.Contains(err.Error(), "canary") {
				t.Errorf("the error quotes the webhook: %v", err)
			}
		})
	}
}

func TestStoreSendsNothingThatNoWebhookTakes(t *testing.T) {
	t.Parallel()
	h := newHook(t, func(_ int, w http.ResponseWriter, _ *http.Request) { says(w, 200, `{}`) })
	err := h.client(patient).Store(t.Context(), h.target(), "t", "github", map[string]any{"accessToken": strings.Repeat("x", wire.MaxBody)})
	wantCode(t, err, fault.TooLarge, 0)
	err = h.client(patient).Store(t.Context(), h.target(), "t", "github", map[string]any{"accessToken": make(chan int)})
	wantCode(t, err, fault.Internal, 0)
	wantCalls(t, h, 0)
}

func TestAStoreWithoutAnAnswerIsUnavailable(t *testing.T) {
	t.Parallel()
	h := newHook(t, func(_ int, _ http.ResponseWriter, _ *http.Request) { panic(http.ErrAbortHandler) })
	err := h.client(patient).Store(t.Context(), h.target(), "t", "github", map[string]any{"accessToken": "x"})
	wantCode(t, err, fault.WebhookUnavailable, 0)
	wantCalls(t, h, 1)
}
