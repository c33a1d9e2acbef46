package webhook_test

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/tvzero/tokenvault/webhook-sdk/webhooktest"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// answerTo serves a request without a network. A 5xx is a finding: nothing that a
// caller sends is an internal error.
func answerTo(t *testing.T, wh *webhooktest.Webhook, r *http.Request) *httptest.ResponseRecorder {
	t.Helper()
	recorder := httptest.NewRecorder()
	wh.ServeHTTP(recorder, r)
	if recorder.Code >= 500 {
		t.Fatalf("answered %d %s", recorder.Code, recorder.Body)
	}
	return recorder
}

// FuzzSignedRequest sends bodies and headers to an endpoint of TV, unsigned as they
// are, and then with a signature that holds.
func FuzzSignedRequest(f *testing.F) {
	wh, tv := webhooktest.New(f)
	tv.Store("github", plain("ghp_canary"))
	f.Add([]byte(`{"operation":"list","collection":"tokens","options":{"limit":1,"filters":{"a":1}}}`), "1", "id", "sha256=00")
	f.Add([]byte(`{"requestId":"x","operation":"set","collection":"tokens","key":"github","data":{"notes":"n"}}`), "", "", "")
	f.Add([]byte(`{"operation":"list_batch","collections":["tokens","audit"],"options":{"since":1}}`), "9999999999", "x", "sha256=")
	f.Add([]byte(`{"operation":"set","collection":"audit","key":"k","data":{}}`), "-1", "\x00", "SHA256=")
	f.Fuzz(func(t *testing.T, body []byte, timestamp, id, signature string) {
		tv := tv.In(t)
		r := httptest.NewRequest(http.MethodPost, wire.PathStorage, bytes.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		r.Header["X-Tokenvault-Timestamp"] = []string{timestamp}
		r.Header["X-Tokenvault-Request-Id"] = []string{id}
		r.Header["X-Tokenvault-Signature"] = []string{signature}
		if got := answerTo(t, wh, r); got.Code < 400 {
			t.Fatalf("a forged signature was answered %d", got.Code)
		}
		for _, path := range []string{wire.PathStorage, wire.PathProxy, wire.PathHealth} {
			r := httptest.NewRequest(http.MethodPost, path, bytes.NewReader(body))
			r.Header.Set("Content-Type", "application/json")
			wire.Sign(r.Header, tv.Secret, body, tv.Random(), tv.Now())
			got := answerTo(t, wh, r)
			if bytes.Contains(got.Body.Bytes(), []byte("ghp_canary")) {
				t.Fatal("the secret left through a signed call")
			}
		}
	})
}

// FuzzTicket sends tickets, services and token data to the endpoints of agents and
// browsers: as they are, and as payload of a ticket that is signed.
func FuzzTicket(f *testing.F) {
	wh, tv := webhooktest.New(f)
	tv.Store("github", plain("ghp_canary"))
	f.Add("a.b", "github", []byte(`{"tokenType":"PlainText","accessToken":"x"}`))
	f.Add("eyJzdWIiOiJ4In0.00", "x", []byte(`{"tokenType":"TOTP","totpSecret":"otpauth://totp/a?secret=GEZDGNBVGY3TQOJQ"}`))
	f.Add("", "", []byte(`{"tokenType":"Certificate","certificateData":"-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----"}`))
	f.Add("..", "\x00", []byte(`{"tokenType":"OAuth","accessToken":"x","expiresAt":"2030-01-01","allowedHosts":["a:1"],"tags":["x"]}`))
	f.Add("x", "s", []byte(`{"tokenType":"SSHKey","sshPrivateKey":"-----BEGIN OPENSSH PRIVATE KEY-----"}`))
	f.Fuzz(func(t *testing.T, ticket, service string, tokenData []byte) {
		tv := tv.In(t)
		for _, path := range []string{wire.PathCredential, wire.PathTOTPCode, wire.PathStore} {
			r := tv.Request(http.MethodPost, path, map[string]any{"ticket": ticket, "service": service})
			if got := answerTo(t, wh, serverSide(r)); got.Code < 400 {
				t.Fatalf("%s: a forged ticket was answered %d", path, got.Code)
			}
		}
		good := tv.Ticket(wire.PurposeStore, "fuzzed")
		body := append([]byte(`{"ticket":"`+tv.Sign(good)+`","service":"fuzzed","tokenData":`), append(tokenData, '}')...)
		if got := answerTo(t, wh, serverSide(tv.Request(http.MethodPost, wire.PathStore, body))); got.Code != http.StatusOK {
			return
		}
		// What was stored can be released, and listed without its secret.
		read := tv.Ticket(wire.PurposeAgentCredential, "fuzzed")
		r := tv.Request(http.MethodPost, wire.PathCredential, map[string]any{"ticket": tv.Sign(read), "service": "fuzzed"})
		recorder := httptest.NewRecorder()
		wh.ServeHTTP(recorder, serverSide(r))
		if recorder.Code != http.StatusOK && !bytes.Contains(recorder.Body.Bytes(), []byte("mint_failed")) {
			t.Fatalf("what was stored is answered %d %s", recorder.Code, recorder.Body)
		}
	})
}

// serverSide turns a client's request into what a server gets.
func serverSide(r *http.Request) *http.Request {
	r.RequestURI, r.RemoteAddr = r.URL.RequestURI(), "192.0.2.1:1234"
	return r
}
