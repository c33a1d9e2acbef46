package webhooks_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/webhooks"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

var bothPauses = []time.Duration{time.Second, 3 * time.Second}

func TestAFlappingWebhookIsAskedAgainWithFreshSignatures(t *testing.T) {
	t.Parallel()
	h := newHook(t, func(n int, w http.ResponseWriter, _ *http.Request) {
		if n < 2 {
			says(w, http.StatusServiceUnavailable, `{"error":"internal_error","message":"starting"}`)
			return
		}
		says(w, http.StatusOK, healthy)
	})
	got, err := h.client(patient).Health(t.Context(), h.target())
	if err != nil || got.TokenCount != 2 {
		t.Fatalf("Health = %+v, %v; want 2 tokens and no error", got, err)
	}
	if got := h.pauses(); !slices.Equal(got, bothPauses) {
		t.Errorf("paused %v, want %v", got, bothPauses)
	}
	calls := h.seen()
	if len(calls) != 3 {
		t.Fatalf("%d attempts, want 3", len(calls))
	}
	start := time.Unix(1_800_000_000, 0)
	wantTimes := []time.Time{start, start.Add(time.Second), start.Add(4 * time.Second)}
	ids, macs := map[string]bool{}, map[string]bool{}
	for i, c := range calls {
		signed, _, err := wire.Verify(c.Header, []wire.Secret{h.secret}, c.Body, wantTimes[i])
		if err != nil {
			t.Fatalf("attempt %d: %v", i+1, err)
		}
		if !signed.Time.Equal(wantTimes[i]) {
			t.Errorf("attempt %d is dated %v, want %v", i+1, signed.Time, wantTimes[i])
		}
		if got := c.requestID(t); got != signed.RequestID {
			t.Errorf("attempt %d: requestId %q in the body, %q in the header", i+1, got, signed.RequestID)
		}
		ids[signed.RequestID], macs[c.Header.Get(wire.HeaderSignature)] = true, true
	}
	if len(ids) != 3 || len(macs) != 3 {
		t.Errorf("%d request ids and %d signatures in 3 attempts, want 3 of each", len(ids), len(macs))
	}
}

func TestThreeServerErrorsAreTheEnd(t *testing.T) {
	t.Parallel()
	h := newHook(t, func(_ int, w http.ResponseWriter, _ *http.Request) {
		says(w, http.StatusBadGateway, `{"error":"upstream_error","message":"no"}`)
	})
	_, err := h.client(patient).Health(t.Context(), h.target())
	wantCode(t, err, fault.WebhookUnavailable, http.StatusBadGateway)
	wantCalls(t, h, 3)
}

func TestRefusalsAreNotRetried(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name, body string
		status     int
		code       fault.Code
	}{
		{"bad request", `{"error":"invalid_request","message":"x"}`, 400, fault.WebhookUnavailable},
		{"wrong signature", `{"error":"auth_failed","message":"x"}`, 401, fault.WebhookAuthFailed},
		{"not set up", `{"error":"setup_required","message":"x"}`, 403, fault.WebhookAuthFailed},
		{"unknown token", `{"error":"token_not_found","message":"x"}`, 404, fault.TokenNotFound},
		{"unknown path", `nothing here`, 404, fault.WebhookUnavailable},
		{"stale", `{"error":"stale_creation","message":"x"}`, 409, fault.Conflict},
		{"too large", `{"error":"too_large","message":"x"}`, 413, fault.WebhookUnavailable},
		{"slow down", `{}`, 429, fault.WebhookUnavailable},
		{"teapot", `{"error":"teapot","message":"short and stout"}`, 418, fault.WebhookUnavailable},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h := newHook(t, func(_ int, w http.ResponseWriter, _ *http.Request) { says(w, c.status, c.body) })
			err := h.client(patient).Delete(t.Context(), h.target(), wire.CollectionTokens, "github")
			wantCode(t, err, c.code, c.status)
			wantCalls(t, h, 1)
		})
	}
}

func TestTheExchangeIsNeverRetried(t *testing.T) {
	t.Parallel()
	h := newHook(t, func(_ int, w http.ResponseWriter, _ *http.Request) { says(w, 503, `{}`) })
	_, err := h.client(patient).Exchange(t.Context(), h.URL, "code")
	wantCode(t, err, fault.WebhookUnavailable, 503)
	wantCalls(t, h, 1)
}

func TestASlowWebhookTimesOutThreeTimes(t *testing.T) {
	t.Parallel()
	for _, slow := range []string{"headers", "body"} {
		t.Run(slow, func(t *testing.T) {
			t.Parallel()
			h := newHook(t, func(_ int, w http.ResponseWriter, r *http.Request) {
				if slow == "body" {
					w.Header().Set("Content-Type", "application/json")
					_, _ = w.Write([]byte(`{"status":`))
					_ = http.NewResponseController(w).Flush()
				}
				<-r.Context().Done()
			})
			_, err := h.client(impatient).Health(t.Context(), h.target())
			wantCode(t, err, fault.WebhookUnavailable, 0)
			if message := fault.From(err).Message; !strings.Contains(message, "did not answer within 100ms") {
				t.Errorf("message %q, want it to name the timeout", message)
			}
			// A busy machine may take longer than the timeout to count a call; pauses are ours.
			if got := h.pauses(); !slices.Equal(got, bothPauses) {
				t.Errorf("paused %v, want %v", got, bothPauses)
			}
		})
	}
}

func TestABrokenConnectionIsTriedAgain(t *testing.T) {
	t.Parallel()
	h := newHook(t, func(n int, w http.ResponseWriter, _ *http.Request) {
		if n > 0 {
			says(w, http.StatusOK, healthy)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", "1000")
		_, _ = w.Write([]byte(`{"status":`))
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler) // resets the connection in the middle of the answer
	})
	if _, err := h.client(patient).Health(t.Context(), h.target()); err != nil {
		t.Fatalf("Health: %v, want success at the second attempt", err)
	}
	wantCalls(t, h, 2)
}

func TestAnUnreachableWebhookIsTriedThreeTimes(t *testing.T) {
	t.Parallel()
	h := newHook(t, func(int, http.ResponseWriter, *http.Request) {})
	client := h.client(patient)
	h.Close()
	_, err := client.Health(t.Context(), h.target())
	wantCode(t, err, fault.WebhookUnavailable, 0)
	if got := h.pauses(); !slices.Equal(got, bothPauses) {
		t.Errorf("paused %v, want %v", got, bothPauses)
	}
}

func TestThePauseEndsWithTheContext(t *testing.T) {
	t.Parallel()
	h := newHook(t, func(_ int, w http.ResponseWriter, _ *http.Request) { says(w, 500, `{}`) })
	ctx, cancel := context.WithCancel(t.Context())
	client := webhooks.New(webhooks.Options{AllowPrivate: true, Wait: func(ctx context.Context, _ time.Duration) error {
		cancel() // the caller leaves during the pause
		<-ctx.Done()
		return ctx.Err()
	}})
	_, err := client.Health(ctx, h.target())
	wantCode(t, err, fault.WebhookUnavailable, 0)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("cause %v, want the context's", err)
	}
	wantCalls(t, h, 1)
}

func TestAnUnboundTargetIsNeverCalled(t *testing.T) {
	t.Parallel()
	h := newHook(t, func(_ int, w http.ResponseWriter, _ *http.Request) { says(w, 200, healthy) })
	_, err := h.client(patient).Health(t.Context(), webhooks.Target{BaseURL: h.URL})
	wantCode(t, err, fault.WebhookNotConfigured, 0)
	wantCalls(t, h, 0)
}
