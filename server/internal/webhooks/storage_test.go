package webhooks_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/webhooks"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// collect reads a whole list.
func collect(t *testing.T, h *hook, o wire.ListOptions) (keys []string, err error) {
	t.Helper()
	for item, failed := range h.client(patient).List(t.Context(), h.target(), wire.CollectionTokens, o) {
		if failed != nil {
			err = failed
			continue // the iterator ends by itself
		}
		keys = append(keys, item.Key)
	}
	return keys, err
}

func requestOf(t *testing.T, r *http.Request) wire.StorageRequest {
	t.Helper()
	var request wire.StorageRequest
	if err := json.NewDecoder(r.Body).Decode(&request); err != nil {
		t.Errorf("storage request: %v", err)
	}
	return request
}

func TestAListIsReadPageByPage(t *testing.T) {
	t.Parallel()
	h := newHook(t, func(n int, w http.ResponseWriter, r *http.Request) {
		request := requestOf(t, r)
		if request.Operation != wire.OpList || request.Collection != wire.CollectionTokens || request.Options.Limit != webhooks.PageSize {
			t.Errorf("request %+v, want a list of tokens with a limit", request)
		}
		if want := []string{"", "p1", "p2"}[n]; request.Options.After != want {
			t.Errorf("page %d asks after %q, want %q", n, request.Options.After, want)
		}
		more := n < 2
		says(w, 200, fmt.Sprintf(`{"requestId":%q,"items":[{"key":"k%d","meta":{"serviceName":"k%d"}}],
			"pagination":{"hasMore":%v,"nextCursor":"p%d","totalCount":3}}`, request.RequestID, n, n, more, n+1))
	})
	keys, err := collect(t, h, wire.ListOptions{})
	if err != nil || strings.Join(keys, " ") != "k0 k1 k2" {
		t.Fatalf("list = %q, %v; want k0 k1 k2", keys, err)
	}
}

func TestAListMayBeLeftEarly(t *testing.T) {
	t.Parallel()
	h := newHook(t, func(_ int, w http.ResponseWriter, _ *http.Request) {
		says(w, 200, `{"items":[{"key":"a"},{"key":"b"}],"pagination":{"hasMore":true,"nextCursor":"x","totalCount":9}}`)
	})
	for item, err := range h.client(patient).List(t.Context(), h.target(), wire.CollectionTokens, wire.ListOptions{}) {
		if err != nil || item.Key != "a" {
			t.Fatalf("first item %+v, %v; want a", item, err)
		}
		break
	}
	wantCalls(t, h, 1)
}

func TestLyingListsEnd(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name   string
		answer func(n int) string
		says   string
		calls  int
	}{
		{"no items", func(int) string { return `{"status":"ok"}` }, "without items", 1},
		{"items that are no list", func(int) string { return `{"items":{"a":1}}` }, "without items", 1},
		{"items that are none", func(int) string { return `{"items":[{"key":"a"},7]}` }, "not an item", 1},
		{"goes on nowhere", func(int) string { return `{"items":[],"pagination":{"hasMore":true}}` }, "not where", 1},
		{"goes in circles", func(int) string { return `{"items":[],"pagination":{"hasMore":true,"nextCursor":"same"}}` }, "not where", 2},
		{"a cursor like a book", func(int) string {
			return `{"items":[],"pagination":{"hasMore":true,"nextCursor":"` + strings.Repeat("x", 5000) + `"}}`
		}, "not where", 1},
		{"never ends", func(n int) string {
			return fmt.Sprintf(`{"items":[],"pagination":{"hasMore":true,"nextCursor":"c%d"}}`, n)
		}, "pages", 2000},
		{"too many items", func(n int) string {
			items := strings.Repeat(`{"key":"a"},`, 60_000)
			return fmt.Sprintf(`{"items":[%s],"pagination":{"hasMore":true,"nextCursor":"c%d"}}`, items[:len(items)-1], n)
		}, "items", 4},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h := newHook(t, func(n int, w http.ResponseWriter, _ *http.Request) { says(w, 200, c.answer(n)) })
			keys, err := collect(t, h, wire.ListOptions{})
			if fault.CodeOf(err) != fault.WebhookUnavailable || !strings.Contains(fault.From(err).Message, c.says) {
				t.Errorf("got %v, want WEBHOOK_UNAVAILABLE that says %q", err, c.says)
			}
			if len(keys) > webhooks.MaxItems {
				t.Errorf("%d items were yielded, want at most %d", len(keys), webhooks.MaxItems)
			}
			wantCalls(t, h, c.calls)
		})
	}
}

func TestAPageMayBeLargerThanOtherAnswersButNotEndless(t *testing.T) {
	t.Parallel()
	h := newHook(t, func(_ int, w http.ResponseWriter, r *http.Request) {
		size := 2 << 20
		if requestOf(t, r).Collection == wire.CollectionAudit {
			size = 5 << 20
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"items":[`))
		_, _ = w.Write(bytes.Repeat([]byte(" "), size))
		_, _ = w.Write([]byte(`]}`))
	})
	if _, err := collect(t, h, wire.ListOptions{}); err != nil {
		t.Errorf("a page of 2 MiB: %v, want no error", err)
	}
	for _, err := range h.client(patient).List(t.Context(), h.target(), wire.CollectionAudit, wire.ListOptions{}) {
		if fault.CodeOf(err) != fault.WebhookUnavailable {
			t.Errorf("a page of 5 MiB: %v, want WEBHOOK_UNAVAILABLE", err)
		}
	}
	wantCalls(t, h, 2)
}

func TestTokensAreNeverRead(t *testing.T) {
	t.Parallel()
	h := newHook(t, func(_ int, w http.ResponseWriter, _ *http.Request) { says(w, 200, `{"data":{"accessToken":"leak"}}`) })
	data, err := h.client(patient).Get(t.Context(), h.target(), wire.CollectionTokens, "github")
	if err == nil || data != nil {
		t.Errorf("Get = %q, %v; want a refusal", data, err)
	}
	wantCalls(t, h, 0)
}

func TestMetadataIsWrittenWhole(t *testing.T) {
	t.Parallel()
	h := newHook(t, func(_ int, w http.ResponseWriter, r *http.Request) {
		request := requestOf(t, r)
		if got, want := string(request.Data), `{"displayName":"GitHub","notes":"","tags":[]}`; got != want {
			t.Errorf("data %s, want %s", got, want)
		}
		says(w, 200, `{"requestId":"`+request.RequestID+`","status":"ok"}`)
	})
	if err := h.client(patient).SetMetadata(t.Context(), h.target(), "github", webhooks.Metadata{DisplayName: "GitHub"}); err != nil {
		t.Fatal(err)
	}
	wantCalls(t, h, 1)
}

func TestAnUnconfirmedWriteIsNoSuccess(t *testing.T) {
	t.Parallel()
	h := newHook(t, func(_ int, w http.ResponseWriter, _ *http.Request) { says(w, 200, `{}`) })
	err := h.client(patient).Delete(t.Context(), h.target(), wire.CollectionTokens, "github")
	if fault.CodeOf(err) != fault.WebhookUnavailable {
		t.Errorf("got %v, want WEBHOOK_UNAVAILABLE", err)
	}
}

func TestAProbeReadsStatusAndCodeOnly(t *testing.T) {
	t.Parallel()
	h := newHook(t, func(n int, w http.ResponseWriter, _ *http.Request) {
		if n == 0 {
			says(w, 403, `{"error":"forbidden","message":"x"}`)
			return
		}
		says(w, 500, `{"error":"internal_error","message":"x"}`)
	})
	for _, want := range []webhooks.ProbeAnswer{{Status: 403, Code: wire.CodeForbidden}, {Status: 500, Code: wire.CodeInternal}} {
		got, err := h.client(patient).Probe(t.Context(), h.target(), webhooks.ProbeRequest{Path: wire.PathHealth, Signed: true})
		if err != nil || got != want {
			t.Errorf("Probe = %+v, %v; want %+v", got, err, want)
		}
	}
	wantCalls(t, h, 2) // once each, 5xx included
}
