package apitest

import (
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

// A checker that cannot fail would prove nothing: each answer here is wrong in
// one way, and the transport must say so.
func TestTheTransportReportsWhatTheDocumentDoesNotDescribe(t *testing.T) {
	t.Parallel()
	const (
		token = `{"id":"01890000-0000-7000-8000-000000000000","serviceName":"github","tokenType":"PlainText","status":"active","displayName":"","notes":"","tags":[],"expiryTime":null,"hasRefreshToken":false,"hasCertificate":false,"hasPrivateKey":false,"hasSSHKey":false,"hasTotpSecret":false,"trust":"tv-zero","trustReason":"x","trustFacts":{"mode":"webhook","webhookCheckedAt":null,"lastNotify":null,"lastTvMediated":null,"lastPlatform":null},"refresh":null,"seenByServer":null,"storedAt":null,"createdAt":"2026-01-02T03:04:05Z","updatedAt":"2026-01-02T03:04:05Z"}`
		agent = `{"id":"01890000-0000-7000-8000-000000000000","name":"a","description":"","status":"active","createdAt":"2026-01-02T03:04:05Z","updatedAt":"2026-01-02T03:04:05Z","lastUsedAt":null}`
	)
	problem := func(status, code string) string {
		return `{"type":"about:blank","title":"x","status":` + status + `,"detail":"x","code":"` + code + `","requestId":"r"}`
	}
	for _, tt := range []struct {
		name, method, path, sent string
		status                   int
		contentType, body, also  string // also: "Header: value"
		want                     string // part of the complaint; empty: none
	}{
		{"good", "GET", "/api/tokens/github", "", 200, "application/json", token, "", ""},
		{"good list", "GET", "/api/agents", "", 200, "application/json", "[" + agent + "]", "", ""},
		{"good, name with a space", "GET", "/api/tokens/my%20token", "", 200, "application/json", token, "", ""},
		{"good refusal", "GET", "/api/tokens/github", "", 404, "application/problem+json", problem("404", "TOKEN_NOT_FOUND"), "", ""},
		{"a page", "GET", "/login", "", 200, "text/html", "<p>", "", ""},
		{"unknown path refused", "GET", "/api/nothing", "", 404, "application/problem+json", problem("404", "NOT_FOUND"), "", ""},
		{"wrong method refused", "PUT", "/api/tokens", "", 405, "application/problem+json", problem("405", "METHOD_NOT_ALLOWED"), "Allow: GET, POST", ""},

		{"unknown path taken", "GET", "/api/nothing", "", 200, "application/json", "{}", "", "no such operation"},
		{"undocumented method taken", "PUT", "/api/tokens", "", 200, "application/json", "{}", "", "no such operation"},
		{"405 without Allow", "PUT", "/api/tokens", "", 405, "application/problem+json", problem("405", "METHOD_NOT_ALLOWED"), "", "Allow"},
		{"undocumented status", "GET", "/api/tokens/github", "", 202, "application/json", token, "", "status"},
		{"undocumented status by code", "GET", "/api/tokens/github", "", 404, "application/problem+json", problem("404", "NO_GRANT"), "", "code"},
		{"an error that is no problem", "GET", "/api/tokens/github", "", 404, "application/json", `{"error":"x"}`, "", "Content-Type"},
		{"wrong type of a field", "GET", "/api/tokens/github", "", 200, "application/json", strings.Replace(token, `"tags":[]`, `"tags":null`, 1), "", "tags"},
		{"missing field", "GET", "/api/tokens/github", "", 200, "application/json", strings.Replace(token, `"notes":"",`, "", 1), "", "notes"},
		{"a field too many", "GET", "/api/tokens/github", "", 200, "application/json", strings.Replace(token, `"notes":"",`, `"notes":"","accessToken":"x",`, 1), "", "accessToken"},
		{"a field too many beside allOf", "GET", "/api/agents", "", 200, "application/json", "[" + strings.Replace(agent, `"name"`, `"apiKey":"tvagent_x","name"`, 1) + "]", "", "apiKey"},
		{"time not in UTC", "GET", "/api/tokens/github", "", 200, "application/json", strings.Replace(token, `05Z"`, `05+01:00"`, 1), "", "createdAt"},
		{"unknown trust", "GET", "/api/tokens/github", "", 200, "application/json", strings.Replace(token, "tv-zero", "tv-one", 1), "", "trust"},
		{"null for an empty list", "GET", "/api/agents", "", 200, "application/json", "null", "", "array"},
		{"redirect without Location", "GET", "/api/agents/credentials?service=a", "", 307, "", "", "", "Location"},
		{"redirect to a place without a ticket", "GET", "/api/agents/credentials?service=a", "", 307, "", "", "Location: https://w.example/v1/credential", "Location"},
		{"cached", "GET", "/api/tokens/github", "", 200, "application/json", token, "Cache-Control: max-age=60", "Cache-Control"},
		{"a body with 204", "GET", "/api/agents", "", 204, "", "", "", "status"},
		{"a taken request that is not documented", "POST", "/api/vault/sync", `{"unheard":"of"}`, 200, "application/json", `{"synced":1}`, "", "request was taken"},
		{"a taken name that is none", "DELETE", "/api/tokens/-x", "", 204, "", "", "", "request was taken"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				for name, value := range map[string]string{
					"Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff", "X-Request-Id": "r", "Content-Type": tt.contentType,
				} {
					w.Header().Set(name, value)
				}
				if name, value, found := strings.Cut(tt.also, ": "); found {
					w.Header().Set(name, value)
				}
				w.WriteHeader(tt.status)
				_, _ = io.WriteString(w, tt.body)
			}))
			t.Cleanup(server.Close)
			var reports []string
			client := &http.Client{
				Transport: &transport{report: func(s string) { reports = append(reports, s) }, spec: Load(t), next: http.DefaultTransport},
				CheckRedirect: func(*http.Request, []*http.Request) error {
					return http.ErrUseLastResponse
				},
			}
			req, err := http.NewRequestWithContext(t.Context(), tt.method, server.URL+tt.path, strings.NewReader(tt.sent))
			if err != nil {
				t.Fatal(err)
			}
			if tt.sent != "" {
				req.Header.Set("Content-Type", "application/json")
			}
			resp, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			if body, _ := io.ReadAll(resp.Body); string(body) != tt.body {
				t.Errorf("the client read %q, want what was sent, %q", body, tt.body)
			}
			_ = resp.Body.Close()
			if all := strings.Join(reports, "\n"); (tt.want == "") != (all == "") || !strings.Contains(all, tt.want) {
				t.Errorf("reports: %q\nwant something about %q", all, tt.want)
			}
		})
	}
}

func TestUnseenShrinksAsAnswersAreSeen(t *testing.T) {
	t.Parallel()
	spec := Load(t)
	if !slices.Contains(spec.Unseen(), "GET /healthz 200") {
		t.Fatalf("unseen at first: %v; want every documented success", spec.Unseen())
	}
	spec.note("GET", "/healthz", 200)
	if slices.Contains(spec.Unseen(), "GET /healthz 200") {
		t.Errorf("unseen afterwards: %v; want GET /healthz 200 gone", spec.Unseen())
	}
}
