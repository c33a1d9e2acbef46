package app_test

import (
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tvzero/tokenvault/models/store/storetest"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"

	"github.com/tvzero/tokenvault/server/internal/app/apptest"
)

func answer(status int, contentType, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}
}

// lies are answers that no path of a webhook may give; each costs the attempts
// that protocol.md §1.4 has for it.
func lies(elsewhere string) []lie {
	const isJSON = "application/json"
	return []lie{
		{"wrong content type", answer(200, "text/html", "<p>Please sign in</p>"), 1},
		{"no JSON", answer(200, isJSON, "{"), 1},
		{"another shape", answer(200, isJSON, `{"hmacSecret":[],"status":[],"items":{}}`), 1},
		{"nested deep", answer(200, isJSON, `{"items":`+strings.Repeat("[", 1000)+strings.Repeat("]", 1000)+`}`), 1},
		{"huge answer", answer(200, isJSON, `{"x":"`+strings.Repeat("a", 5<<20)+`"}`), 1},
		{"endless answer", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", isJSON)
			line := []byte(`{"x":"` + strings.Repeat("a", 64<<10))
			for r.Context().Err() == nil {
				if _, err := w.Write(line); err != nil {
					return
				}
			}
		}, 1},
		{"redirect", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere+r.URL.Path, http.StatusTemporaryRedirect)
		}, 1},
		{"error of its own", answer(500, isJSON, `{"error":"internal_error","message":"x"}`), 3},
		{"connection broken off", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, 3},
		{"compressed though nobody asked", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			w.Header().Set("Content-Type", isJSON)
			_, _ = w.Write([]byte("\x1f\x8b"))
		}, 1},
	}
}

type lie struct {
	name     string
	handler  http.HandlerFunc
	attempts int // of a call that may be made again
}

func TestALyingWebhookIsNotBound(t *testing.T) {
	t.Parallel()
	storetest.EachURL(t, func(t *testing.T, database string) {
		h := newHouse(t, database)
		liar, elsewhere := apptest.StartLiar(t, "github"), apptest.StartLiar(t, "github")
		// A bind that is refused leaves the binding in use as it was; what was
		// exchanged waits beside it, since the webhook may have closed its set-up.
		refused := func(name string, link apptest.Link, status int, code string) {
			t.Helper()
			before := settled(dump(t, h.db))
			if got := h.owner.TryBind(link); got.Status != status || got.Code != code {
				t.Errorf("bind to %s: got %s, want %d %s", name, got, status, code)
			}
			wantUnchanged(t, name, before, settled(dump(t, h.db)))
		}
		for _, l := range lies(elsewhere.URL) {
			liar.Lie(wire.PathExchange, l.handler)
			refused(l.name+" to the exchange", liar.Link(), 502, "WEBHOOK_UNAVAILABLE")
			if n := liar.Calls(wire.PathExchange); n != 1 {
				t.Errorf("%s: the exchange was called %d times, want once: its code is used up", l.name, n)
			}
			liar.Lie(wire.PathExchange, nil)
			liar.Lie(wire.PathHealth, l.handler)
			refused(l.name+" to signed health", liar.Link(), 502, "WEBHOOK_UNAVAILABLE")
			if n := liar.Calls(wire.PathHealth); n != l.attempts {
				t.Errorf("%s: signed health was called %d times, want %d", l.name, n, l.attempts)
			}
			liar.Lie(wire.PathHealth, nil)
		}
		const isJSON = "application/json"
		for _, tt := range []struct {
			name, path string
			lie        http.HandlerFunc
			status     int
			code       string
		}{
			{"a short secret", wire.PathExchange, answer(200, isJSON, `{"hmacSecret":"YQ=="}`), 502, "WEBHOOK_UNAVAILABLE"},
			{"a secret of another hash", wire.PathExchange, answer(200, isJSON, `{"hmacSecret":"`+elsewhere.Secret.Encode()+`"}`), 422, "WEBHOOK_MISMATCH"},
			{"an expired code", wire.PathExchange, answer(410, isJSON, `{"error":"code_expired"}`), 400, "BIND_CODE_INVALID"},
			{"a used code", wire.PathExchange, answer(410, isJSON, `{"error":"code_used"}`), 400, "BIND_CODE_INVALID"},
			{"a refused signature", wire.PathHealth, answer(401, isJSON, `{"error":"auth_failed"}`), 502, "WEBHOOK_AUTH_FAILED"},
			{"another identity a moment later", wire.PathHealth, answer(200, isJSON, `{"status":"healthy","webhookId":"other"}`), 422, "WEBHOOK_MISMATCH"},
		} {
			liar.Lie(tt.path, tt.lie)
			refused(tt.name, liar.Link(), tt.status, tt.code)
			liar.Lie(tt.path, nil)
		}
		closed, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		_ = closed.Close()
		for _, tt := range []struct {
			name   string
			link   apptest.Link
			status int
			code   string
		}{
			{"nobody", apptest.Link{Code: "c", WebhookURL: "http://" + closed.Addr().String(), Hash: liar.Secret.Hash()}, 502, "WEBHOOK_UNAVAILABLE"},
			{"a URL with a password", apptest.Link{Code: "c", WebhookURL: "http://a:b@127.0.0.1", Hash: liar.Secret.Hash()}, 400, "INVALID_REQUEST"},
			{"no URL", apptest.Link{Code: "c", WebhookURL: "file:///etc/passwd", Hash: liar.Secret.Hash()}, 400, "INVALID_REQUEST"},
			{"a hash that is none", apptest.Link{Code: "c", WebhookURL: liar.URL, Hash: "abc"}, 400, "INVALID_REQUEST"},
			{"no code", apptest.Link{WebhookURL: liar.URL, Hash: liar.Secret.Hash()}, 400, "INVALID_REQUEST"},
			{"an over-long code", apptest.Link{Code: strings.Repeat("c", 257), WebhookURL: liar.URL, Hash: liar.Secret.Hash()}, 400, "INVALID_REQUEST"},
		} {
			refused(tt.name, tt.link, tt.status, tt.code)
		}
		if n := elsewhere.Calls(wire.PathExchange) + elsewhere.Calls(wire.PathHealth); n != 0 {
			t.Errorf("a redirect was followed %d times", n)
		}
		wantFetched(t, newAgent(t, h.server.URL(), h.agentKey), apptest.Sample{Service: "github", Data: map[string]any{"accessToken": "ghp_value"}})
	})
}

// settled is a dump without bindings that wait to be settled.
func settled(d map[string][]string) map[string][]string {
	d["bindings"] = slices.DeleteFunc(d["bindings"], func(line string) bool { return strings.Contains(line, "state=pending") })
	return d
}

func TestABoundWebhookThatLiesChangesNothing(t *testing.T) {
	t.Parallel()
	storetest.EachURL(t, func(t *testing.T, database string) {
		s, liar, elsewhere := start(t, database, newKeys(t)), apptest.StartLiar(t, "github"), apptest.StartLiar(t, "github")
		owner, db := s.owner(t, "owner@example.com"), connect(t, database)
		if got := owner.TryBind(liar.Link()); got.Status != 200 {
			t.Fatalf("bind: %s", got)
		}
		owner.Must(http.MethodGet, "/api/tokens/github", nil, nil)
		for _, l := range append(lies(elsewhere.URL),
			lie{"no items", answer(200, "application/json", `{"requestId":"another"}`), 1},
		) {
			liar.Lie(wire.PathStorage, l.handler)
			before := dump(t, db)
			for _, call := range []struct {
				method, path string
				body         any
			}{
				{"POST", "/api/vault/sync", nil}, {"POST", "/api/vault/sync", map[string]string{"serviceName": "github"}},
				{"GET", "/api/tokens/gitlab", nil}, {"DELETE", "/api/tokens/github", nil},
				{"PATCH", "/api/tokens/github/metadata", map[string]string{"notes": "x"}},
			} {
				if got := owner.Do(call.method, call.path, call.body); got.Status != 502 || got.Code != "WEBHOOK_UNAVAILABLE" {
					t.Errorf("%s: %s %s: got %s, want 502 WEBHOOK_UNAVAILABLE", l.name, call.method, call.path, got)
				}
			}
			wantUnchanged(t, l.name, before, dump(t, db))
		}
		liar.Lie(wire.PathStorage, answer(401, "application/json", `{"error":"auth_failed"}`))
		before := dump(t, db)
		if got := owner.Do("POST", "/api/vault/sync", nil); got.Status != 502 || got.Code != "WEBHOOK_AUTH_FAILED" {
			t.Errorf("a webhook that refuses the signature: got %s, want 502 WEBHOOK_AUTH_FAILED", got)
		}
		wantUnchanged(t, "refused signature", before, dump(t, db))
	})
}

func TestASlowWebhookIsGivenUp(t *testing.T) {
	t.Parallel()
	storetest.EachURL(t, func(t *testing.T, database string) {
		s := start(t, database, newKeys(t), func(c *setup) { c.timeout = 2 * time.Second })
		liar, owner, db := apptest.StartLiar(t, "github"), s.owner(t, "owner@example.com"), connect(t, database)
		slow := func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
		for path, attempts := range map[string]int{wire.PathExchange: 1, wire.PathHealth: 3} {
			liar.Lie(path, slow)
			before := settled(dump(t, db))
			if got := owner.TryBind(liar.Link()); got.Status != 502 || got.Code != "WEBHOOK_UNAVAILABLE" || !strings.Contains(string(got.Body), "2s") {
				t.Errorf("slow at %s: got %s, want 502 WEBHOOK_UNAVAILABLE that says how long it waited", path, got)
			}
			wantUnchanged(t, "slow at "+path, before, settled(dump(t, db)))
			// A call counts when the webhook has read it, which may be after it was given up.
			for limit := time.Now().Add(time.Minute); liar.Calls(path) < attempts && time.Now().Before(limit); {
				wantAlive(t, owner)
			}
			if n := liar.Calls(path); n != attempts {
				t.Errorf("slow at %s: called %d times, want %d", path, n, attempts)
			}
			liar.Lie(path, nil)
		}
	})
}
