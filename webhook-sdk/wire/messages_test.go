package wire_test

import (
	"encoding/json"
	"reflect"
	"testing"

	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// shapes are the messages of the protocol with every field set, and with none,
// as they are on the wire. Webhooks that others wrote depend on each letter.
func shapes() map[string]struct {
	value any
	want  string
} {
	type shape = struct {
		value any
		want  string
	}
	page := &wire.Pagination{HasMore: true, NextCursor: "c", TotalCount: 9}
	seal := &wire.SealKey{ID: "k1", KEM: "MLKEM768X25519", Key: "AA=="}
	return map[string]shape{
		"register-url": {
			&wire.RegisterURL{RegistrationURL: "u", Code: "c", ExpiresIn: 300, WebhookURL: "w", HMACHash: "h"},
			`{"registrationUrl":"u","code":"c","expiresIn":300,"webhookUrl":"w","hmacHash":"h"}`,
		},
		"register-url of others": {
			&wire.RegisterURL{RegistrationURL: "u", Code: "c", ExpiresIn: 300, WebhookURL: "w"},
			`{"registrationUrl":"u","code":"c","expiresIn":300,"webhookUrl":"w"}`,
		},
		"exchange": {&wire.ExchangeRequest{Code: "c"}, `{"code":"c"}`},
		"exchange's answer": {
			&wire.ExchangeResponse{HMACSecret: "s", WebhookID: "w", Version: "2.4.0", Capabilities: []string{"storage"}, SealKey: seal, SignKey: "AQ=="},
			`{"hmacSecret":"s","webhookId":"w","version":"2.4.0","capabilities":["storage"],` +
				`"sealKey":{"id":"k1","kem":"MLKEM768X25519","key":"AA=="},"signKey":"AQ=="}`,
		},
		"exchange's answer of others": {
			&wire.ExchangeResponse{HMACSecret: "s", WebhookID: "w", Version: "2.4.0", Capabilities: []string{}},
			`{"hmacSecret":"s","webhookId":"w","version":"2.4.0","capabilities":[]}`,
		},
		"health": {
			&wire.HealthResponse{
				Status: "healthy", Version: "2.4.0", KeyConfigured: true, Capabilities: []string{"totp"}, Uptime: 5, TokenCount: 3,
				RequestID: "r", WebhookID: "w", SealKey: seal, SignKey: "AQ==",
			},
			`{"status":"healthy","version":"2.4.0","keyConfigured":true,"capabilities":["totp"],"uptime":5,"tokenCount":3,` +
				`"requestId":"r","webhookId":"w","sealKey":{"id":"k1","kem":"MLKEM768X25519","key":"AA=="},"signKey":"AQ=="}`,
		},
		"health of others": {
			&wire.HealthResponse{Status: "healthy", Version: "2.4.0", Capabilities: []string{}},
			`{"status":"healthy","version":"2.4.0","keyConfigured":false,"capabilities":[],"uptime":0,"tokenCount":0}`,
		},
		"storage list": {
			&wire.StorageRequest{
				RequestID: "r", Operation: "list", Collection: "tokens",
				Options: &wire.ListOptions{Filters: map[string]any{"serviceName": "x"}, Since: "2026-01-01T00:00:00Z", After: "c", Limit: 10},
			},
			`{"requestId":"r","operation":"list","collection":"tokens",` +
				`"options":{"filters":{"serviceName":"x"},"since":"2026-01-01T00:00:00Z","after":"c","limit":10}}`,
		},
		"storage set": {
			&wire.StorageRequest{RequestID: "r", Operation: "set", Collection: "tokens", Key: "k", Data: json.RawMessage(`{"notes":"n"}`)},
			`{"requestId":"r","operation":"set","collection":"tokens","key":"k","data":{"notes":"n"}}`,
		},
		"storage list_batch": {
			&wire.StorageRequest{RequestID: "r", Operation: "list_batch", Collections: []string{"tokens", "audit"}},
			`{"requestId":"r","operation":"list_batch","collections":["tokens","audit"]}`,
		},
		"storage's answer to get":           {&wire.StorageResponse{RequestID: "r", Data: json.RawMessage(`{"a":1}`)}, `{"requestId":"r","data":{"a":1}}`},
		"storage's answer to set":           {&wire.StorageResponse{RequestID: "r", Status: "ok"}, `{"requestId":"r","status":"ok"}`},
		"storage's answer to an empty list": {&wire.StorageResponse{RequestID: "r", Items: []wire.StorageItem{}}, `{"requestId":"r","items":[]}`},
		"storage's answer to list": {
			&wire.StorageResponse{RequestID: "r", Items: []wire.StorageItem{
				{Key: "k", Meta: json.RawMessage(`{"tokenType":"TOTP"}`)}, {Key: "a", Meta: json.RawMessage(`{}`), Data: json.RawMessage(`{"timestamp":1}`)},
			}, Pagination: page},
			`{"requestId":"r","items":[{"key":"k","meta":{"tokenType":"TOTP"}},{"key":"a","meta":{},"data":{"timestamp":1}}],` +
				`"pagination":{"hasMore":true,"nextCursor":"c","totalCount":9}}`,
		},
		"storage's answer to list_batch": {
			&wire.StorageResponse{RequestID: "r", Results: map[string]wire.ListAnswer{
				"audit": {Items: []wire.StorageItem{}, Pagination: &wire.Pagination{}}, "tokens": {Items: []wire.StorageItem{{Key: "k"}}},
			}},
			`{"requestId":"r","results":{"audit":{"items":[],"pagination":{"hasMore":false,"totalCount":0}},"tokens":{"items":[{"key":"k"}]}}}`,
		},
		"store": {
			&wire.StoreRequest{Ticket: "t", Service: "s", TokenData: map[string]json.RawMessage{"accessToken": json.RawMessage(`"a"`), "tokenType": json.RawMessage(`"OAuth"`)}},
			`{"ticket":"t","service":"s","tokenData":{"accessToken":"a","tokenType":"OAuth"}}`,
		},
		"store's answer": {
			&wire.StoreResponse{Status: "stored", Service: "s", Meta: map[string]any{"tokenType": "OAuth"}},
			`{"status":"stored","service":"s","meta":{"tokenType":"OAuth"}}`,
		},
		"credential and totp-code": {&wire.TicketRequest{Ticket: "t", Service: "s"}, `{"ticket":"t","service":"s"}`},
		"credential's answer":      {&wire.CredentialResponse{Token: map[string]any{"accessToken": "a"}}, `{"token":{"accessToken":"a"}}`},
		"totp-code's answer": {
			&wire.TOTPResponse{Code: "012345", RemainingSeconds: 7, Period: 30, Digits: 6},
			`{"code":"012345","remainingSeconds":7,"period":30,"digits":6}`,
		},
		"proxy": {
			&wire.ProxyRequest{
				RequestID: "r", Ticket: "t", Service: "s",
				Upstream:        wire.ProxyUpstream{URL: "https://a", Method: "POST", Headers: map[string]string{"Accept": "*/*"}, Body: "AA=="},
				HeaderTemplates: map[string]string{"Authorization": "Bearer ${TOKEN}"},
			},
			`{"requestId":"r","ticket":"t","service":"s","upstream":{"url":"https://a","method":"POST","headers":{"Accept":"*/*"},"body":"AA=="},` +
				`"headerTemplates":{"Authorization":"Bearer ${TOKEN}"}}`,
		},
		"refresh-notify": {
			&wire.RefreshNotifyRequest{RequestID: "r", Service: "s", Reason: "token_expiring", RefreshHint: wire.RefreshHint{Provider: "p", TokenURL: "u", ClientID: "c"}},
			`{"requestId":"r","service":"s","reason":"token_expiring","refreshHint":{"provider":"p","tokenUrl":"u","clientId":"c"}}`,
		},
		"refresh-notify's answer": {
			&wire.RefreshNotifyResponse{RequestID: "r", Status: "refreshed", NewExpiresAt: "2026-01-01T00:00:00Z", Message: "m"},
			`{"requestId":"r","status":"refreshed","newExpiresAt":"2026-01-01T00:00:00Z","message":"m"}`,
		},
		"refresh-notify's answer of a failure": {
			&wire.RefreshNotifyResponse{
				RequestID: "r", Status: "refresh_failed", Message: "m", Reason: "invalid_grant", RetryAt: "2026-01-01T00:00:00Z", NeedsReauthorization: true,
			},
			`{"requestId":"r","status":"refresh_failed","message":"m","reason":"invalid_grant","retryAt":"2026-01-01T00:00:00Z","needsReauthorization":true}`,
		},
		"refresh get": {
			&wire.RefreshRequest{RequestID: "r", Action: "get", Service: "s"}, `{"requestId":"r","action":"get","service":"s"}`,
		},
		"refresh get's answer": {
			&wire.RefreshResponse{RequestID: "r", Status: "ok", RefreshToken: "t", Meta: map[string]any{"provider": "p"}},
			`{"requestId":"r","status":"ok","refreshToken":"t","meta":{"provider":"p"}}`,
		},
		"refresh update": {
			&wire.RefreshRequest{
				RequestID: "r", Action: "update", Service: "s", CreationID: "c", Sequence: 7,
				Tokens: &wire.RefreshTokens{AccessToken: "a", RefreshToken: "t", ExpiryTime: 1767225600000, Scopes: []string{"x"}},
			},
			`{"requestId":"r","action":"update","service":"s","tokens":{"accessToken":"a","refreshToken":"t","expiryTime":1767225600000,"scopes":["x"]},` +
				`"creationId":"c","sequence":7}`,
		},
		"refresh update of others": {
			&wire.RefreshRequest{RequestID: "r", Action: "update", Service: "s", Tokens: &wire.RefreshTokens{AccessToken: "a"}},
			`{"requestId":"r","action":"update","service":"s","tokens":{"accessToken":"a"}}`,
		},
		"refresh update from the outbox": {
			&wire.RefreshRequest{
				RequestID: "r", Action: "update", Service: "s",
				Sealed: &wire.Sealed{KeyID: "k", CreationID: "c", Sequence: 7, Enc: "AA==", CT: "AQ=="},
			},
			`{"requestId":"r","action":"update","service":"s","sealed":{"keyId":"k","creationId":"c","sequence":7,"enc":"AA==","ct":"AQ=="}}`,
		},
		"refresh update's answer": {
			&wire.RefreshResponse{RequestID: "r", Status: "updated", NewExpiresAt: "2026-01-01T00:00:00Z"},
			`{"requestId":"r","status":"updated","newExpiresAt":"2026-01-01T00:00:00Z"}`,
		},
		"refresh-notify's short answer": {&wire.RefreshNotifyResponse{RequestID: "r", Status: "no_token"}, `{"requestId":"r","status":"no_token"}`},
		"an error":                      {&wire.Error{Code: "forbidden", Message: "m"}, `{"error":"forbidden","message":"m"}`},
		"a ticket with everything": {
			&wire.Ticket{Subject: "a", Service: "s", Purpose: "store", IssuedAt: 1, ExpiresAt: 2, Nonce: "n", AgentID: "i", ProxyConfigID: "p", CreationID: "c", Mode: "create"},
			`{"sub":"a","svc":"s","pur":"store","iat":1,"exp":2,"nonce":"n","aid":"i","pid":"p","cid":"c","mode":"create"}`,
		},
	}
}

func TestMessagesHaveTheShapeOfTheProtocol(t *testing.T) {
	t.Parallel()
	for name, s := range shapes() {
		out, err := json.Marshal(s.value)
		if err != nil || string(out) != s.want {
			t.Errorf("%s: got\n%s, %v, want\n%s", name, out, err, s.want)
		}
	}
}

func TestMessagesAreReadAsTheyAreWritten(t *testing.T) {
	t.Parallel()
	for name, s := range shapes() {
		got := reflect.New(reflect.TypeOf(s.value).Elem())
		if err := json.Unmarshal([]byte(s.want), got.Interface()); err != nil {
			t.Errorf("%s: got %v, want it read", name, err)
			continue
		}
		if again, err := json.Marshal(got.Interface()); err != nil || string(again) != s.want {
			t.Errorf("%s: read and written got\n%s, %v, want\n%s", name, again, err, s.want)
		}
	}
}

func TestMessagesWithUnknownFieldsAreRead(t *testing.T) {
	t.Parallel()
	for name, s := range shapes() {
		got := reflect.New(reflect.TypeOf(s.value).Elem())
		extended := `{"fromTheFuture":{"x":[1,2]},` + s.want[1:]
		if err := json.Unmarshal([]byte(extended), got.Interface()); err != nil || !reflect.DeepEqual(got.Interface(), s.value) {
			t.Errorf("%s: got %+v, %v, want %+v", name, got.Interface(), err, s.value)
		}
	}
}

func TestTheConstantsSpellTheNamesOfTheProtocol(t *testing.T) {
	t.Parallel()
	for got, want := range map[string]string{
		wire.Version:      "2.4.0",
		wire.PathExchange: "/v1/exchange", wire.PathHealth: "/v1/health", wire.PathStorage: "/v1/storage",
		wire.PathRefreshNotify: "/v1/refresh-notify", wire.PathRefresh: "/v1/refresh", wire.PathProxy: "/v1/proxy",
		wire.PathStore: "/v1/store", wire.PathCredential: "/v1/credential", wire.PathTOTPCode: "/v1/totp-code",
		wire.PathRegisterURL: "/v1/register-url", wire.PathBind: "/bind", wire.PathConnect: "/connect/", wire.PathConsent: "/vault/webhook-bind",
		wire.HeaderTimestamp: "X-TokenVault-Timestamp", wire.HeaderRequestID: "X-TokenVault-Request-Id",
		wire.HeaderSignature: "X-TokenVault-Signature", wire.HeaderUpstreamStatus: "X-Upstream-Status", wire.HeaderAdminSecret: "X-TV-Admin-Secret",
		string(wire.PurposeAgentCredential): "agent_credential", string(wire.PurposeUserReveal): "user_reveal",
		string(wire.PurposeTOTPCode): "totp_code", string(wire.PurposeStore): "store", string(wire.PurposeProxy): "proxy",
		string(wire.PurposeConnect): "connect", wire.ModeCreate: "create", wire.ModeOverwrite: "overwrite",
		wire.CapStorage: "storage", wire.CapCredential: "credential", wire.CapRefresh: "refresh", wire.CapTVRefresh: "tv-refresh",
		wire.CapTOTP: "totp", wire.CapTicketConstraints: "ticketConstraints", wire.CapMint: "mint", wire.CapOutbox: "outbox", wire.CapTwoKey: "two-key",
		wire.CollectionTokens: "tokens", wire.CollectionProxyConfigs: "proxy_configs", wire.CollectionAudit: "audit", wire.CollectionVaultConfig: "vault_config",
		wire.OpGet: "get", wire.OpList: "list", wire.OpSet: "set", wire.OpDelete: "delete", wire.OpListBatch: "list_batch",
		wire.NotifyRefreshed: "refreshed", wire.NotifyAcknowledged: "acknowledged", wire.NotifyNoToken: "no_token",
		wire.NotifyNoRefreshToken: "no_refresh_token", wire.NotifyFailed: "refresh_failed",
		wire.StatusHealthy: "healthy", wire.TemplateToken: "${TOKEN}",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	for got, want := range map[string]string{wire.CapStore: "store", wire.CapProxy: "proxy", wire.CapConnect: "connect"} {
		if got != want {
			t.Errorf("capability: got %q, want %q", got, want)
		}
	}
}
