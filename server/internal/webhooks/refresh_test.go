package webhooks_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/webhooks"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

func TestANotificationSaysWhichTokenAndHoldsNoSecret(t *testing.T) {
	t.Parallel()
	h := newHook(t, func(_ int, w http.ResponseWriter, r *http.Request) {
		says(w, 200, `{"requestId":"`+r.Header.Get(wire.HeaderRequestID)+`","status":"refreshed","newExpiresAt":"2030-01-02T03:04:05Z"}`)
	})
	hint := wire.RefreshHint{Provider: "google", TokenURL: "https://provider.example/token", ClientID: "c"}
	got, err := h.client(patient).RefreshNotify(t.Context(), h.target(), "github", wire.ReasonExpiring, hint)
	if err != nil || got.Status != wire.NotifyRefreshed || got.NewExpiresAt != "2030-01-02T03:04:05Z" {
		t.Fatalf("RefreshNotify = %+v, %v; want refreshed until 2030", got, err)
	}
	wantCalls(t, h, 1)
	c := h.seen()[0]
	if _, _, err := wire.Verify(c.Header, []wire.Secret{h.secret}, c.Body, h.now()); err != nil || c.Path != wire.PathRefreshNotify {
		t.Errorf("call of %s, signature: %v; want a signed one of %s", c.Path, err, wire.PathRefreshNotify)
	}
	want := `{"requestId":"` + c.requestID(t) + `","service":"github","reason":"token_expiring","refreshHint":{"provider":"google","tokenUrl":"https://provider.example/token","clientId":"c"}}`
	if string(c.Body) != want {
		t.Errorf("body %s, want %s", c.Body, want)
	}
}

func TestARefreshTokenIsTakenOnlyIfItCanBeOne(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		answer string
		token  string
		status string
		code   fault.Code
	}{
		"one":              {`{"status":"ok","refreshToken":"rt-1","meta":{"creationId":"1"}}`, "rt-1", wire.RefreshOK, ""},
		"none there":       {`{"status":"no_token","refreshToken":"canary"}`, "", wire.NotifyNoToken, ""},
		"not refreshable":  {`{"status":"no_refresh_token","refreshToken":"canary"}`, "", wire.NotifyNoRefreshToken, ""},
		"empty":            {`{"status":"ok","refreshToken":""}`, "", "", fault.WebhookUnavailable},
		"missing":          {`{"status":"ok"}`, "", "", fault.WebhookUnavailable},
		"a line break":     {`{"status":"ok","refreshToken":"canary\n"}`, "", "", fault.WebhookUnavailable},
		"not ASCII":        {`{"status":"ok","refreshToken":"canaryé"}`, "", "", fault.WebhookUnavailable},
		"too long":         {`{"status":"ok","refreshToken":"` + strings.Repeat("canary", 50_000) + `"}`, "", "", fault.WebhookUnavailable},
		"not a text":       {`{"status":"ok","refreshToken":{"canary":1}}`, "", "", fault.WebhookUnavailable},
		"of an update":     {`{"status":"updated","refreshToken":"canary"}`, "", "", fault.WebhookUnavailable},
		"no status":        {`{"refreshToken":"canary"}`, "", "", fault.WebhookUnavailable},
		"another's answer": {`{"requestId":"an earlier one","status":"ok","refreshToken":"canary"}`, "", "", fault.WebhookUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHook(t, func(_ int, w http.ResponseWriter, _ *http.Request) { says(w, 200, c.answer) })
			got, err := h.client(patient).RefreshGet(t.Context(), h.target(), "github")
			if fault.CodeOf(err) != c.code || string(got.RefreshToken) != c.token || got.Status != c.status {
				t.Errorf("RefreshGet = %q with %d bytes of token, %v; want %q, %q, code %q", got.Status, len(got.RefreshToken), err, c.status, c.token, c.code)
			}
			if err != nil && strings.Contains(err.Error(), "canary") {
				t.Errorf("the error quotes the webhook: %v", err)
			}
			if s := fmt.Sprintf("%v %+v", got.RefreshToken, got); c.token != "" && strings.Contains(s, c.token) {
				t.Errorf("an answer prints its token: %s", s)
			}
			wantCalls(t, h, 1)
		})
	}
}

func TestAnUpdateBearsWhatItIsFor(t *testing.T) {
	t.Parallel()
	h := newHook(t, func(_ int, w http.ResponseWriter, _ *http.Request) {
		says(w, 200, `{"status":"updated","newExpiresAt":"2030-01-02T03:04:05Z","refreshToken":"canary"}`)
	})
	got, err := h.client(patient).RefreshUpdate(t.Context(), h.target(), "github", webhooks.Update{
		Tokens: &wire.RefreshTokens{AccessToken: "at", RefreshToken: "rt", ExpiryTime: 7}, CreationID: "c1", Sequence: 4,
	})
	if err != nil || got.Status != wire.RefreshUpdated || got.NewExpiresAt == "" || got.RefreshToken != "" {
		t.Fatalf("RefreshUpdate = %+v, %v; want updated, with an expiry and no token", got, err)
	}
	if _, err := h.client(patient).RefreshUpdate(t.Context(), h.target(), "github", webhooks.Update{Sealed: &wire.Sealed{KeyID: "k", CreationID: "c1", Sequence: 5}}); err != nil {
		t.Fatal(err)
	}
	var sent [2]wire.RefreshRequest
	for i, c := range h.seen() {
		if err := json.Unmarshal(c.Body, &sent[i]); err != nil {
			t.Fatal(err)
		}
	}
	if s := sent[0]; s.Action != wire.RefreshUpdate || s.Service != "github" || s.Tokens.AccessToken != "at" || s.CreationID != "c1" || s.Sequence != 4 || s.Sealed != nil {
		t.Errorf("the first update was %s", h.seen()[0].Body)
	}
	if s := sent[1]; s.Tokens != nil || s.Sealed == nil || s.Sealed.Sequence != 5 || s.CreationID != "" || s.Sequence != 0 {
		t.Errorf("the sealed update was %s", h.seen()[1].Body)
	}
}

// Whoever handles secrets may put one anywhere: nothing that a webhook says of a
// refusal gets into errors or the log.
func TestRefusalsOfRefreshesQuoteNothing(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		body   string
		status int
		code   fault.Code
		calls  int
	}{
		"stale":            {`{"error":"stale_creation","message":"canary"}`, 409, fault.Conflict, 1},
		"not taken":        {`{"error":"invalid_request","message":"canary"}`, 400, fault.InvalidRequest, 1},
		"bad signature":    {`{"error":"auth_failed","message":"canary"}`, 401, fault.WebhookAuthFailed, 1},
		"not served":       {`{"error":"forbidden","message":"canary"}`, 403, fault.WebhookAuthFailed, 1},
		"no such token":    {`{"error":"token_not_found","message":"canary"}`, 404, fault.TokenNotFound, 1},
		"no such path":     {`canary`, 404, fault.WebhookUnavailable, 1},
		"a code of it":     {`{"error":"canary","message":"canary"}`, 422, fault.WebhookUnavailable, 1},
		"a redirect":       {`{"error":"canary"}`, 302, fault.WebhookUnavailable, 1},
		"its own error":    {`{"error":"canary","message":"canary"}`, 500, fault.WebhookUnavailable, 3},
		"a provider error": {`{"error":"provider_error","message":"canary"}`, 502, fault.WebhookUnavailable, 3},
		"an odd status":    {`{"requestId":"","status":"canary"}`, 200, fault.WebhookUnavailable, 1},
		"garbage":          {`{"status":"canary`, 200, fault.WebhookUnavailable, 1},
		"deep":             {`{"status":` + strings.Repeat("[", 100) + `"canary"`, 200, fault.WebhookUnavailable, 1},
	} {
		for _, call := range []string{"notify", "get", "update"} {
			if call != "update" && c.code == fault.InvalidRequest {
				continue // of these nothing is retried either way: see "a code of it"
			}
			t.Run(name+"/"+call, func(t *testing.T) {
				t.Parallel()
				var log bytes.Buffer
				h := newHook(t, func(_ int, w http.ResponseWriter, _ *http.Request) { says(w, c.status, c.body) })
				client := h.loggingClient(slog.New(slog.NewTextHandler(&log, nil)))
				var err error
				switch call {
				case "notify":
					_, err = client.RefreshNotify(t.Context(), h.target(), "github", wire.ReasonExpiring, wire.RefreshHint{})
				case "get":
					_, err = client.RefreshGet(t.Context(), h.target(), "github")
				case "update":
					_, err = client.RefreshUpdate(t.Context(), h.target(), "github", webhooks.Update{Tokens: &wire.RefreshTokens{AccessToken: "canary"}})
				}
				wantCode(t, err, c.code, c.status)
				wantCalls(t, h, c.calls)
				if s := fmt.Sprintf("%v %+v %s", err, err, log.String()); strings.Contains(s, "canary") {
					t.Errorf("error or log quote the webhook: %s", s)
				}
			})
		}
	}
}

func TestAReplayedAnswerIsNotTaken(t *testing.T) {
	t.Parallel()
	var first string
	h := newHook(t, func(n int, w http.ResponseWriter, r *http.Request) {
		if n == 0 {
			first = r.Header.Get(wire.HeaderRequestID)
		}
		says(w, 200, `{"requestId":"`+first+`","status":"refreshed","newExpiresAt":"2030-01-02T03:04:05Z"}`)
	})
	client := h.client(patient)
	if _, err := client.RefreshNotify(t.Context(), h.target(), "github", wire.ReasonExpiring, wire.RefreshHint{}); err != nil {
		t.Fatal(err)
	}
	_, err := client.RefreshNotify(t.Context(), h.target(), "github", wire.ReasonExpiring, wire.RefreshHint{})
	wantCode(t, err, fault.WebhookUnavailable, 200)
}

// FuzzRefreshAnswer: whatever a webhook answers to a refresh, a token that is taken
// can be one, and no error holds what it said.
func FuzzRefreshAnswer(f *testing.F) {
	f.Add(200, []byte(`{"status":"ok","refreshToken":"rt","meta":{"a":[1]}}`))
	f.Add(200, []byte(`{"status":"updated","newExpiresAt":"x"}`))
	f.Add(409, []byte(`{"error":"stale_creation","message":"fuzz-canary"}`))
	f.Add(500, []byte(`{"error":"fuzz-canary"}`))
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		if status < 200 || status > 599 || status == 204 || status == 304 {
			return // not a final answer with a body
		}
		h := newHook(t, func(_ int, w http.ResponseWriter, _ *http.Request) { says(w, status, string(body)) })
		defer h.Close()
		client := h.client(patient)
		got, err := client.RefreshGet(t.Context(), h.target(), "github")
		token := string(got.RefreshToken)
		if (err != nil || got.Status != wire.RefreshOK) && token != "" || strings.ContainsFunc(token, func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Fatalf("a token of %d bytes with status %q and error %v", len(token), got.Status, err)
		}
		_, updateErr := client.RefreshUpdate(t.Context(), h.target(), "github", webhooks.Update{Tokens: &wire.RefreshTokens{AccessToken: "a"}})
		for _, err := range []error{err, updateErr} {
			if err != nil && strings.Contains(err.Error(), "fuzz-canary") {
				t.Fatalf("the error quotes the webhook: %v", err)
			}
		}
		client.CloseIdle()
	})
}
